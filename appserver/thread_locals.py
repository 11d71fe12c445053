"""What a thread keeps for itself, in each `threading.local` that there is."""

from __future__ import annotations

import gc
from contextlib import suppress
from threading import Thread, local
from typing import Any

from gevent import monkey


def shared() -> bool:
    """Tell whether requests share it with their thread: with gevent's patching each greenlet has its own."""
    return not monkey.is_module_patched("threading")


def forget() -> None:
    """Have this thread keep what a new one would: its connections may be in the middle of something."""
    # Not isinstance(): a proxy would look for what it stands for. Gevent keeps the loop of this thread so.
    kept = [each for each in gc.get_objects() if _is_local(type(each))]
    fresh: list[dict[str, Any]] = [{} for _ in kept]

    def look() -> None:
        for each, values in zip(kept, fresh, strict=True):
            with suppress(Exception):  # of the __init__ of a class of the application's
                values.update(vars(each))

    thread = Thread(target=look)
    thread.start()
    thread.join()
    for each, values in zip(kept, fresh, strict=True):
        with suppress(Exception):  # the same, and of what is given up with its last reference
            own = vars(each)
            own.clear()
            own.update(values)


def _is_local(kind: type) -> bool:
    return issubclass(kind, local) and kind.__module__.partition(".")[0] != "gevent"
