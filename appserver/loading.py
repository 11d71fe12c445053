"""A load that does not come to its end: told once, with its stack, by a native thread beside it."""

from __future__ import annotations

import _thread
import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from greenlet import getcurrent

from appserver import stacks
from appserver.blocking import described

if TYPE_CHECKING:
    from collections.abc import Iterator

    from greenlet import greenlet

log = logging.getLogger("appserver")

# The real ones, also where gevent replaces them later.
_start, _get_ident, _Lock = _thread.start_new_thread, _thread.get_ident, _thread.allocate_lock

_LONG = 10.0  # seconds


@contextmanager
def watched(what: str) -> Iterator[None]:
    """Have it told if what is done meanwhile, the load of *what*, takes long."""
    ended = _Lock()
    ended.acquire()
    _start(_watch, (what, ended, getcurrent(), _get_ident()))
    try:
        yield
    finally:
        ended.release()


def _watch(what: str, ended: _thread.LockType, loading: greenlet, thread: int) -> None:
    if ended.acquire(timeout=_LONG):
        return
    runs = sys._current_frames().get(thread)  # noqa: SLF001  (there is no other way)
    waits = loading.gr_frame
    frame = waits or runs
    if frame is None:
        return
    text = described(frame)
    if waits is not None and runs is not None and stacks.spawned(runs):
        text += f"\nIt waits for another greenlet, which blocks: {described(runs)}"
    log.warning("loading %s takes more than %g s: %s", what, _LONG, text)
