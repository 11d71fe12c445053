"""The end of a process by os._exit: what Python would have done before its own."""

from __future__ import annotations

import atexit
import sys
import threading
from contextlib import suppress
from time import monotonic

_PATIENCE = 5.0  # seconds that pools have for the work they were given: some never end, as a consumer's


def finish() -> None:
    """Do what Python does at its end, in its order, and write out what has been printed.

    Only pools are waited for, and not for ever; other threads are not.
    """
    _end_pools()
    with suppress(Exception):
        atexit._run_exitfuncs()  # noqa: SLF001  (Python calls them only when it has waited for threads)
    flush()


def _end_pools() -> None:
    """Have the pools of ``concurrent.futures`` end: ``atexit`` joins their processes, which wait for work."""
    calls = reversed(threading._threading_atexits)  # type: ignore[attr-defined]  # noqa: SLF001  (no other way)
    ending = [threading.Thread(target=call, daemon=True) for call in calls]
    until = monotonic() + _PATIENCE
    with suppress(RuntimeError):  # no thread can be started
        for each in ending:  # none waits for another, which may never come to its end
            each.start()
        for each in ending:
            each.join(max(until - monotonic(), 0))


def flush() -> None:
    """Write out what has been printed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it may be closed, or None
            stream.flush()
