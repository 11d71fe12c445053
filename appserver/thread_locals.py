"""What a thread keeps for itself, in each `threading.local` that there is."""

from __future__ import annotations

import gc
import marshal
from contextlib import suppress
from threading import local
from typing import Any
from weakref import ref

from gevent import monkey

# Data that stood in them when the application had been loaded, by name; as bytes, so that nobody changes it.
_noted: list[tuple[ref[local], dict[str, bytes]]] = []


def shared() -> bool:
    """Tell whether requests share it with their thread: with gevent's patching each greenlet has its own."""
    return not monkey.is_module_patched("threading")


def note() -> None:
    """Note what the application has put there while it was loaded, for requests to rely on.

    It is data alone. Any other object, such as Django's of a database, may come to hold a connection later.
    """
    _noted.clear()
    for each in _all():
        with suppress(Exception):  # of the __init__ of a class of the application's
            found = {name: data for name, value in vars(each).items() if (data := _data(value)) is not None}
            if found:
                _noted.append((ref(each), found))


def forget() -> None:
    """Have this thread keep what it had before all requests: a connection may be in the middle of something.

    A class of the application's makes its own anew, in this thread: what it makes may be for no other.
    """
    for each in _all():
        with suppress(Exception):  # of what is given up with its last reference
            vars(each).clear()
        with suppress(Exception):  # of the class
            if type(each).__init__ is not local.__init__:
                each.__init__()  # type: ignore[misc]  # as the first access by a thread does
    for known, found in _noted:
        if (there := known()) is not None:
            with suppress(Exception):
                vars(there).update({name: marshal.loads(data) for name, data in found.items()})  # noqa: S302  (see `_data`)


def _all() -> list[local]:
    # Not isinstance(): a proxy would look for what it stands for. Gevent keeps the loop of this thread so.
    return [each for each in gc.get_objects() if _is_local(type(each))]


def _data(value: Any) -> bytes | None:
    """Return what *value* is made of, None where that is not data alone."""
    try:
        data = marshal.dumps(value)
        return data if type(marshal.loads(data)) is type(value) else None  # noqa: S302  (it is our own)
    except ValueError:
        return None


def _is_local(kind: type) -> bool:
    return issubclass(kind, local) and kind.__module__.partition(".")[0] != "gevent"
