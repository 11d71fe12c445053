"""The end of a worker whose master has gone, where its application does not come back.

The loop hears of the master's end and has what is in hand finished. An application that blocks the loop
keeps it from that, and its worker would hold the sockets for ever: a next server could not have them.
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

_GRACE = 2.0  # seconds that a loop which is not blocked needs at most to end after the mercy


def end_orphaned(fd: int, mercy: float, end: Callable[[], None]) -> None:
    """Have *end* called where this process lives on for more than *mercy* seconds after *fd*'s peer.

    A native thread waits for that, which takes no time of the processor meanwhile.
    """
    _start(_wait, (fd, mercy, end))


def _wait(fd: int, mercy: float, end: Callable[[], None]) -> None:
    poll = _poll()
    poll.register(fd, select.POLLRDHUP)
    poll.poll()
    _sleep(mercy + _GRACE)
    log.error(
        "the master has gone, and this worker does not come to its end: its stacks follow, and it is ended"
    )
    stacks.log_all()
    stacks.wait()
    end()
