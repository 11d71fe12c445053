"""The end of a process whose master has gone, where its application does not come back.

The loop of a worker hears of the master's end and has what is in hand finished. An application that blocks
the loop keeps it from that, and so does one that is being loaded, in a worker or for all of them. The process
would hold the sockets as long: a next server could not have them. One that has a loop gives them up at once,
and keeps whom the kernel has let in already.
"""

from __future__ import annotations

import _thread
import logging
import select
import time
from typing import TYPE_CHECKING

from appserver import stacks

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("appserver.lifecycle")

# The real ones, also where gevent replaces them later.
_start, _poll, _sleep = _thread.start_new_thread, select.poll, time.sleep

_TURN = 0.2  # seconds in which a loop that is not blocked has heard of it
_GRACE = 2.0  # seconds that a loop which is not blocked needs at most to end after the mercy


def end_orphaned(
    what: str,
    fd: int,
    mercy: Callable[[], float],
    end: Callable[[], None],
    abandon: Callable[[], None] = lambda: None,
) -> None:
    """Have *end* called where this process, a *what*, lives on for long after *fd*'s peer.

    It has as many seconds as *mercy* tells then; before that *abandon* is called, once its loop should have
    heard of it. A native thread waits for that, which takes no time of the processor meanwhile; it is none of
    `threading`'s, and no fork takes it along.
    """
    _start(_wait, (what, fd, mercy, end, abandon))


def _wait(
    what: str, fd: int, mercy: Callable[[], float], end: Callable[[], None], abandon: Callable[[], None]
) -> None:
    poll = _poll()
    poll.register(fd, select.POLLRDHUP)
    poll.poll()
    _sleep(_TURN)
    abandon()
    _sleep(mercy() + _GRACE)
    log.error(
        "the master has gone, and this %s does not come to its end: its stacks follow, and it is ended", what
    )
    stacks.write()
    end()
