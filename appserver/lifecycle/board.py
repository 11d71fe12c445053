"""What a worker tells of itself at no cost: counters in memory that its master shares."""

from __future__ import annotations

import mmap
import os

from appserver.cores import DONE, IN_HAND

_NUMBER = 8
_ROW = 2  # a loop's numbers, which `cores.Load` names


class Board:
    """The counters of one worker's loops, in a file of memory that both processes map.

    `fd` goes to the worker, which makes its own `Board` of it. Each number has one writer.
    """

    def __init__(self, loops: int, fd: int | None = None) -> None:
        size = _NUMBER * (1 + _ROW * loops)
        self.loops = loops
        self.fd = os.memfd_create("appserver-board", os.MFD_CLOEXEC) if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, size)
        self._numbers = memoryview(mmap.mmap(self.fd, size)).cast("Q")

    def row(self, loop: int) -> memoryview:
        """Return the two counters of a loop, numbered from 0."""
        at = 1 + loop * _ROW
        return self._numbers[at : at + _ROW]

    def beat(self) -> None:
        """Show that the process is alive."""
        self._numbers[0] += 1

    @property
    def beats(self) -> int:
        """How often the process has shown that it is alive."""
        return self._numbers[0]

    @property
    def requests(self) -> int:
        """How many requests the loops have answered."""
        return sum(self.row(loop)[DONE] for loop in range(self.loops))

    @property
    def in_hand(self) -> int:
        """How many requests the loops have begun or keep waiting."""
        return sum(self.row(loop)[IN_HAND] for loop in range(self.loops))

    def close(self) -> None:
        """Close the descriptor; the counters stay readable as long as this object."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
