"""Pipes and sockets that somebody reads the log from: a reader that has stopped holds nobody up."""

from __future__ import annotations

import errno
import os
import stat
from _thread import start_new_thread  # the real one, also where gevent replaces it later
from collections import deque
from select import PIPE_BUF, POLLOUT, poll  # the real one, also where gevent replaces it later
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 1.0  # seconds that a slow reader is waited for
_HELD = 10000  # pieces, most of them lines, that wait for one that has stopped, before new ones are dropped

# Where Python, the kernel (pipes: before Linux 6.4) or a filter of system calls has no RWF_NOWAIT.
_LACKING = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM}
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


def pipe_at(fd: int) -> Pipe | None:
    """Return what writes to a descriptor that somebody reads from, None for another one; raise `OSError`."""
    mode = os.fstat(fd).st_mode
    return Pipe(fd) if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None


class Pipe:
    """Write lines, and wait for a slow reader, so that nothing is lost.

    One that takes nothing for a second is not waited for until it has caught up. A bounded number of lines is
    held for it, and a thread gives it those as it takes them; what is dropped beyond that is counted, and
    reported once it has caught up.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._nowait = bool(_NOWAIT)
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """Hold nothing: what a child finds is for its parent to write."""
        self._held: deque[bytes] = deque()
        self._dropped = 0
        self._patience = _PATIENCE
        self._watched = False  # by the thread that waits for room
        self._writing = Lock()
        self._room = poll()
        self._room.register(self._fd, POLLOUT)

    def put(self, text: str) -> None:
        """Write *text*, lines with their ends, or hold it; never raise."""
        held = self._held
        if len(held) >= _HELD:
            self._flush()
        if len(held) >= _HELD:
            self._dropped += text.count("\n")
        else:
            data = text.encode("utf-8", "backslashreplace")
            if len(data) > PIPE_BUF:
                held.extend(_pieces(data))
            elif data:
                held.append(data)
            self._flush()

    def _flush(self) -> None:
        """Write what is held; where somebody does already, that one writes it all.

        It may be what a signal has interrupted, which cannot be waited for.
        """
        while self._held and self._writing.acquire(blocking=False):
            try:
                if not self._write():
                    return
            finally:
                self._writing.release()

    def _watch(self) -> None:
        """Write what is held as there is room, beside all that logs, until nothing is."""
        room = poll()
        room.register(self._fd, POLLOUT)
        while self._watched:
            room.poll()
            with self._writing:  # of who never waits for this thread
                self._watched = not self._write()
        self._flush()  # what has come meanwhile

    def close(self) -> int:
        """Give the reader a last chance to take what is held; return how many lines it does not get."""
        with self._writing:
            self._patience = _PATIENCE
            while (self._held or self._dropped) and self._write():
                pass
            lost = self._dropped + sum(piece.count(b"\n") for piece in self._held)
            self._held.clear()
            self._dropped = 0
        return lost

    def _write(self) -> bool:
        """Write what is held as long as there is room; tell whether that was all. Only one does so."""
        held = self._held
        while held:
            piece = held[0]
            taken = self._offer(piece)
            if not taken:
                self._patience = 0.0
                if not self._watched:
                    self._watched = True
                    try:
                        start_new_thread(self._watch, ())
                    except RuntimeError:  # there can be none now: the next line tries again
                        self._watched = False
                return False
            if taken == len(piece):
                held.popleft()
            else:
                held[0] = piece[taken:]
        self._patience = _PATIENCE
        if self._dropped:
            held.append(b"%d lines of the log were dropped: nobody read them\n" % self._dropped)
            self._dropped = 0
        return True

    def _offer(self, piece: bytes) -> int:
        """Return how many bytes were taken, or will never be, as nobody reads any more.

        The descriptor stays as it is: others who have it expect that their writes wait.
        """
        until = 0.0
        while True:
            try:
                if self._nowait:
                    return os.pwritev(self._fd, (piece,), -1, _NOWAIT)
                if self._room.poll(0):  # and if no other process takes the room meanwhile
                    return os.write(self._fd, piece)
            except BlockingIOError:
                pass
            except OSError as error:
                if not self._nowait or error.errno not in _LACKING:
                    return len(piece)
                self._nowait = False
                continue
            until = until or monotonic() + self._patience
            left = until - monotonic()
            if left <= 0 or not self._room.poll(left * 1000):
                return 0


def _pieces(data: bytes) -> Iterator[bytes]:
    """Cut lines into pieces that are taken whole or not at all (pipe(7)), behind the ends of lines."""
    at = 0
    while at < len(data):
        end = data.rfind(b"\n", at, at + PIPE_BUF) + 1 or at + PIPE_BUF
        yield data[at:end]
        at = end
