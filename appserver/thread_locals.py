"""What a thread keeps for itself, in each `threading.local` that there is."""

from __future__ import annotations

import _thread
import gc
from contextlib import suppress
from threading import Thread, local
from typing import Any
from weakref import ref

from gevent import monkey

# The real ones, also where gevent replaces them later.
_get_ident, _Lock = _thread.get_ident, _thread.allocate_lock

# Copies of the data that stood in them when a thread had loaded the application, by name; for that thread.
_noted: dict[int, list[tuple[ref[local], dict[str, Any]]]] = {}
_changing = _Lock()  # classes, which are for all threads
_ATOMS = {type(None), bool, int, float, complex, str, bytes}
_PLURALS: set[type] = {list, tuple, set, frozenset}


def shared() -> bool:
    """Tell whether requests share it with their thread: with gevent's patching each greenlet has its own."""
    return not monkey.is_module_patched("threading")


def note() -> None:
    """Note what the application has put there while this thread loaded it, for requests to rely on.

    It is data alone. Any other object, such as Django's of a database, may come to hold a connection later.
    """
    _noted.clear()
    noted = _noted[_get_ident()] = []
    for each in _all():
        with suppress(Exception):  # of the __init__ of a class of the application's
            found = _data(vars(each))
            if found:
                noted.append((ref(each), found))


def forget() -> None:
    """Have this thread keep what it had before all requests: a connection may be in the middle of something.

    A class of the application's makes its own anew, in this thread: what it makes may be for no other.
    """
    kept = _all()
    for each in kept:
        with suppress(Exception):  # of what is given up with its last reference
            vars(each).clear()
    with _changing:
        asked = _arguments(kept)
    for each, (given, named) in asked:
        with suppress(Exception):  # of the class
            type(each).__init__(each, *given, **named)
    for known, found in _noted.get(_get_ident(), ()):
        if (there := known()) is not None:
            with suppress(Exception):
                vars(there).update(_data(found))


def _arguments(kept: list[local]) -> list[tuple[local, tuple[tuple[Any, ...], dict[str, Any]]]]:
    """Return those that each thread makes by an ``__init__`` of its own, and what that is called with.

    Only what calls it for another thread is told that: so such a one finds another class there, which asks.
    Threads of the application that come to one meanwhile do so, too, and have theirs made.
    """
    looking = 0
    asked: list[tuple[local, tuple[tuple[Any, ...], dict[str, Any]]]] = []

    class Asking(local):
        def __init__(self, *given: Any, **named: Any) -> None:
            if _get_ident() == looking:
                asked.append((self, (given, named)))
            else:
                super().__init__(*given, **named)

    changed: list[tuple[local, type]] = []

    def look() -> None:
        nonlocal looking
        looking = _get_ident()
        for each, _ in changed:
            with suppress(Exception):
                vars(each)
        looking = 0  # another thread may be called so next

    try:
        for each in kept:
            kind = type(each)
            if kind.__init__ is not local.__init__:
                with suppress(Exception):  # another layout, or a class that does not like to be derived from
                    each.__class__ = type(kind.__name__, (Asking, kind), {"__slots__": ()})
                    changed.append((each, kind))
        thread = Thread(target=look)
        with suppress(RuntimeError):  # there can be no more threads
            thread.start()
            thread.join()
    finally:
        for each, kind in changed:
            each.__class__ = kind
    return asked


def _all() -> list[local]:
    # Not isinstance(): a proxy would look for what it stands for. Gevent keeps the loop of this thread so.
    return [each for each in gc.get_objects() if _is_local(type(each))]


def _data(values: dict[str, Any]) -> dict[str, Any]:
    """Return copies of those *values* that are data alone."""
    found = {}
    for name, value in values.items():
        with suppress(TypeError, RecursionError):  # it contains itself
            found[name] = _copy(value)
    return found


def _copy(value: Any) -> Any:
    """Return a copy of data; raise `TypeError` for anything else."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind in _PLURALS:
        return kind(map(_copy, value))
    if kind is dict:
        return {_copy(name): _copy(each) for name, each in value.items()}
    raise TypeError


def _is_local(kind: type) -> bool:
    return issubclass(kind, local) and kind.__module__.partition(".")[0] != "gevent"
