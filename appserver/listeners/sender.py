"""The writing half of a connection: what the kernel does not take at once leaves as the client reads."""

from __future__ import annotations

import logging
import select
import sys
from fcntl import ioctl
from math import inf
from termios import TIOCOUTQ
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gevent import getcurrent

from appserver.errors import ClientGone
from appserver.listeners.outbox import Outbox, ShortFile
from appserver.listeners.patience import Patience

if TYPE_CHECKING:
    from greenlet import greenlet

    from appserver.listeners.channel import Channel
    from appserver.protocols.codec import Piece

log = logging.getLogger("appserver.listeners")

_poll = select.poll  # the real one, also where gevent replaces it later
_WRITE: Final = 2  # libev's event bit
_HIGH_WATER: Final = 262144  # bytes of an answer that may wait for the client before the application does
_LOOK: Final = 1.0  # seconds between looks of a native thread at what else may have happened


def queued(fd: int) -> int:
    """Return how many bytes the kernel has that the peer of a connection has not."""
    try:
        return int.from_bytes(ioctl(fd, TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:  # it is closed already
        return 0


class Sender:
    """Send what waits for a slow client: by the loop, or by the native thread that has made it.

    A connection makes one when the kernel first takes less than all. It is true while anything waits.
    """

    __slots__ = ("_connection", "_outbox", "_patience", "_taken", "_waiters", "_watcher", "limit")

    def __init__(self, connection: Channel) -> None:
        self._connection = connection
        self._outbox = Outbox(connection.fd)
        limits = connection.listener.limits
        self._patience = Patience(limits, limits.send)
        self._taken = -self._queued()  # bytes that the client has taken since
        self.limit = inf  # when the client has taken too long; inf = nobody waits for it
        self._watcher: Any = None
        self._waiters: list[greenlet] = []  # one, unless greenlets of the application write beside each other

    def __bool__(self) -> bool:
        return bool(self._outbox)

    @property
    def size(self) -> int:
        """How many bytes wait."""
        return self._outbox.size

    @property
    def paces(self) -> bool:
        """Whether a greenlet waits for the client."""
        return self._waiters != []

    def holds(self, core: greenlet | None) -> bool:
        """Tell whether the greenlet *core* does."""
        return core in self._waiters

    def wrote(self, count: int) -> None:
        """Note what the connection has given the kernel by itself, as nothing waited."""
        self._outbox.flushed += count

    def put(self, pieces: list[Piece], sent: int) -> None:
        """Keep what of *pieces* is behind the first *sent* bytes."""
        self._outbox.put(pieces, sent)

    def put_file(self, fd: int, offset: int, count: int) -> None:
        """Send a part of a file by sendfile(2), and keep the rest; *fd* may be closed afterwards."""
        self._outbox.put_file(fd, offset, count)
        self._flush()

    def pace(self) -> None:
        """Wait in a core while the client is slow; raise `ClientGone` where it is too slow."""
        connection = self._connection
        if connection.service.cores.native:
            self._poll()
        else:
            self.drain()
            waiter = getcurrent()
            self._waiters.append(waiter)
            try:
                while self._outbox.size > _HIGH_WATER and not connection.gone:
                    connection.listener.hub.switch()
            finally:  # a time limit may be raised here
                self._waiters.remove(waiter)
                if not self._waiters and connection.running:
                    self._patience.rest()
                    self._until(inf)
        if connection.gone:
            raise ClientGone

    def _poll(self) -> None:
        """Send in a native thread; the loop does not write until the answer is made."""
        connection = self._connection
        poll = _poll()
        poll.register(connection.fd, select.POLLOUT)
        limit = self._patience.until()
        while self._outbox and not connection.gone:
            if poll.poll(_LOOK * 1000) and not connection.gone:
                self._flush()
                limit = self._patience.until()
            elif monotonic() > limit:
                if not self._account():
                    connection.gone = True
                limit = self._patience.until()
        self._patience.rest()

    def late(self) -> bool:
        """Tell whether the client's time is up; else give it more."""
        if not self._account():
            return True
        self._until(self._patience.until())
        return False

    def _until(self, limit: float) -> None:
        self.limit = limit
        self._connection.limited()

    def _account(self) -> bool:
        """Credit the client with what it has taken; tell whether it is anything.

        The kernel asks for more only when a third of its queue, which may be megabytes, is free.
        """
        taken = self._outbox.flushed - self._queued()
        moved = taken - self._taken
        self._taken = taken
        self._patience.moved(moved)
        return moved > 0

    def _queued(self) -> int:
        return queued(self._connection.fd)

    def leave(self) -> None:
        """Have the loop send the rest of an answer that is made; called in its core, as the last."""
        connection = self._connection
        if connection.service.cores.native:
            connection.listener.loop.run_callback_threadsafe(self._take_over)
        else:
            self.drain()

    def _take_over(self) -> None:
        if self._outbox:  # else the connection has ended
            self.drain()

    def drain(self) -> None:
        """Have the loop send the rest; `Channel.flushed` is called when all of it is."""
        if self._watcher is None:
            self._watcher = self._connection.listener.loop.io(self._connection.fd, _WRITE)
        if not self._watcher.active:
            self._watcher.start(self._writable)
        self._until(self._patience.until())

    def _writable(self) -> None:
        connection = self._connection
        self._flush()
        if self._outbox.size <= _HIGH_WATER or connection.gone:
            self.wake()
        if not self._outbox or connection.gone:
            self._watcher.stop()
            self.limit = inf
            connection.flushed()
        elif self.paces or not connection.running:
            self._until(self._patience.until())

    def _flush(self) -> None:
        """Send what the kernel takes."""
        connection = self._connection
        try:
            self._outbox.flush()
        except ShortFile:
            log.error(  # noqa: TRY400  (the place in our code is of no interest)
                "%s: a file became shorter while it was sent", connection.listener.name
            )
            connection.failed = True
            self._outbox.clear()
        except OSError:
            connection.gone = True
        self._account()

    def wake(self) -> None:
        """Let the application go on, if it waits here, in the loop's next turn."""
        if self._waiters:
            self._connection.listener.loop.run_callback(self._go_on)

    def _go_on(self) -> None:
        for waiter in self._waiters.copy():
            if waiter in self._waiters:
                waiter.switch()

    def close(self) -> None:
        """Release everything; safe twice."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        self._outbox.clear()
        self.wake()
