"""When timers are due, in memory that all processes of a server share.

A timer is that of the process which has begun with it last, as long as that lives. So a worker goes on with
the timers of the one before, which may still be in the middle of a request.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from appserver.compat.locks import lock

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMERS = 1024  # of all workers
_NUMBER = 8
_ROW = 4  # numbers of a timer: two of its own, 0 at first, then its generation and the pid of its process
_GENERATION, _PID = 2, 3
_EMPTY = memoryview(bytes(_NUMBER * _ROW)).cast("d")


class Dues:
    """The numbers of each timer, by a key that it has in all processes."""

    def __init__(self) -> None:
        self._fd = -1
        self._threads = threading.Lock()  # which the kernel does not tell apart
        self._begun: set[int] = set()  # keys that this process has asked for

    def share(self) -> None:
        """Make the memory, in the process from which all others descend."""
        if self._fd < 0:
            self._fd = os.memfd_create("appserver-timers", os.MFD_CLOEXEC)
            os.ftruncate(self._fd, _NUMBER * (1 + _ROW) * _TIMERS)
            numbers = memoryview(mmap.mmap(self._fd, 0))
            self._keys = numbers[: _NUMBER * _TIMERS].cast("q")
            self._rows = numbers[_NUMBER * _TIMERS :].cast("d")

    @contextmanager
    def of(self, key: int, generation: int) -> Iterator[memoryview[float] | None]:
        """Yield the numbers of a timer, which nobody else changes meanwhile; None if it is another's."""
        with self._threads:
            self.share()
            lock(self._fd)
            try:
                row = self._row(key, float(generation))
                if key not in self._begun or not _lives(int(row[_PID])):
                    self._begun.add(key)
                    row[_PID] = os.getpid()
                yield row if row[_PID] == os.getpid() else None
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _row(self, key: int, generation: float) -> memoryview[float]:
        """Return a timer's row; it begins anew where it was none of the generation before.

        That may be further back than one: those that have failed count, too. Its worker lives then.
        """
        keys = self._keys.tolist()
        if key in keys:
            row = self._numbered(keys.index(key))
            if row[_GENERATION] < generation - 1 and not _lives(int(row[_PID])):
                row[:] = _EMPTY
        else:  # in the place of one that nobody has any more, once there are so many
            number = min(range(_TIMERS), key=lambda each: self._numbered(each)[_GENERATION])
            self._keys[number] = key
            row = self._numbered(number)
            row[:] = _EMPTY
        row[_GENERATION] = max(row[_GENERATION], generation)
        return row

    def _numbered(self, number: int) -> memoryview[float]:
        return self._rows[number * _ROW : (number + 1) * _ROW]


def _lives(pid: int) -> bool:
    """Tell whether there is a process of this server's with that pid; 0 is none."""
    try:
        if pid:
            os.kill(pid, 0)
    except OSError:
        return False
    return pid > 0


DUES = Dues()
