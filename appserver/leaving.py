"""The end of a process by os._exit: what Python would have done before its own."""

from __future__ import annotations

import atexit
import sys
import threading
from contextlib import suppress
from math import inf
from time import monotonic

import gevent

MORE_MERCY = 2.0  # seconds more for a process to end by itself than it gives its requests
AT_ONCE = 1.0  # seconds that it has when it shall hurry

_PATIENCE = 5.0  # seconds that pools have for the work they were given: some never end, as a consumer's
_CHECK = 0.005  # seconds between looks at those that do not end at once

_deadline = inf


def limit(mercy: float) -> float:
    """Return the seconds that a process has for all of its end, which gives its requests *mercy*."""
    return mercy + MORE_MERCY if mercy else AT_ONCE


def within(mercy: float) -> None:
    """Note that this process is ended after `limit`; a later call can only shorten that."""
    global _deadline  # noqa: PLW0603  (there is one process)
    _deadline = min(_deadline, monotonic() + limit(mercy))


def finish() -> None:
    """Do what Python does at its end, in its order, and write out what has been printed.

    Only pools are waited for, and not for ever; other threads are not. Half of the time that is left is for
    what comes after them.
    """
    _end_pools()
    with suppress(Exception):
        atexit._run_exitfuncs()  # noqa: SLF001  (Python calls them only when it has waited for threads)
    flush()


def _end_pools() -> None:
    """Have the pools of ``concurrent.futures`` end: ``atexit`` joins their processes, which wait for work."""
    calls = reversed(threading._threading_atexits)  # type: ignore[attr-defined]  # noqa: SLF001  (no other way)
    ending = [threading.Thread(target=call, daemon=True) for call in calls]
    begun = monotonic()
    with suppress(RuntimeError):  # no thread can be started
        for each in ending:  # none waits for another, which may never come to its end
            each.start()
    while any(each.is_alive() for each in ending):
        if monotonic() - begun >= min(_PATIENCE, (_deadline - begun) / 2):
            break
        gevent.sleep(_CHECK)  # the loop turns: it hears of a stop that shall hurry


def flush() -> None:
    """Write out what has been printed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it may be closed, or None
            stream.flush()
