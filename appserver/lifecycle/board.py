"""What a worker tells of itself without a message: counters in memory that its master shares."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

from appserver.application import mountpoints
from appserver.cores.contract import DONE, IN_HAND
from appserver.stats import tally
from appserver.stats.options import StatsOptions
from appserver.stats.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.configuration import Configuration

_NUMBER = 8
_HEAD = 5  # numbers of the process itself
_BEATS, _HARAKIRIS, _SIGNALS, _SERVES, _LOST = range(_HEAD)
_ROW = 2  # a loop's numbers, which `cores.Load` names


class Board:
    """The counters of one worker's loops, in a file of memory that both processes map.

    `fd` goes to the worker, which makes its own `Board` of it; -1 is memory of this process alone. Each
    number has one writer. With *listeners* each loop has a `Tally` besides, for so many of them, for its
    *cores* and for the applications at *mounts*.
    """

    def __init__(
        self,
        loops: int,
        fd: int | None = None,
        *,
        cores: int = 0,
        listeners: int = 0,
        mounts: Sequence[str] = (),
    ) -> None:
        self.loops = loops
        self.cores = cores
        self.listeners = listeners
        self.mounts = mounts
        self._tally = tally.size(cores, listeners, len(mounts)) if listeners else 0
        size = _NUMBER * (_HEAD + (_ROW + self._tally) * loops)
        self.fd = os.memfd_create("appserver-board", os.MFD_CLOEXEC) if fd is None else fd
        try:
            if fd is None:
                os.ftruncate(self.fd, size)
            self._numbers = memoryview(mmap.mmap(self.fd, size)).cast("Q")
        except OSError:
            self.close()
            raise

    @classmethod
    def of(cls, configuration: Configuration, fd: int | None = None) -> Board:
        """Return a board for a worker of that configuration."""
        plan = configuration.plan
        assert plan is not None
        settings = configuration.settings
        counted = len(configuration.listeners) if settings.of(StatsOptions).stats else 0
        return cls(plan.loops, fd, cores=plan.cores, listeners=counted, mounts=mountpoints(settings))

    def row(self, loop: int) -> memoryview:
        """Return the two counters of a loop, numbered from 0."""
        at = _HEAD + loop * _ROW
        return self._numbers[at : at + _ROW]

    def tally(self, loop: int) -> Tally | None:
        """Return what counts a loop's requests, None where that is not asked for."""
        if not self.listeners:
            return None
        at = _HEAD + self.loops * _ROW + loop * self._tally
        return Tally(self._numbers[at : at + self._tally], self.cores, self.listeners, self.mounts)

    def beat(self) -> None:
        """Show that the process is alive."""
        self._numbers[_BEATS] += 1

    def note_harakiri(self) -> None:
        """Count a request that has taken too long."""
        self._numbers[_HARAKIRIS] += 1

    def note_signal(self) -> None:
        """Count a signal of the application's own."""
        self._numbers[_SIGNALS] += 1

    def note_service(self) -> None:
        """Show that the process takes requests from now on."""
        self._numbers[_SERVES] = 1

    def note_lost(self, lines: int) -> None:
        """Note how many lines of the log nobody has taken at its end."""
        self._numbers[_LOST] = lines

    @property
    def lost(self) -> int:
        """How many lines of its log were lost with the process."""
        return self._numbers[_LOST]

    @property
    def serves(self) -> bool:
        """Whether the process may have requests in hand."""
        return bool(self._numbers[_SERVES])

    @property
    def beats(self) -> int:
        """How often the process has shown that it is alive."""
        return self._numbers[_BEATS]

    @property
    def harakiris(self) -> int:
        """How many requests have taken too long."""
        return self._numbers[_HARAKIRIS]

    @property
    def signals(self) -> int:
        """How many of the application's signals have been raised."""
        return self._numbers[_SIGNALS]

    @property
    def requests(self) -> int:
        """How many requests the loops have answered."""
        return sum(self.row(loop)[DONE] for loop in range(self.loops))

    @property
    def in_hand(self) -> int:
        """How many requests the loops have begun or keep waiting."""
        return sum(self.row(loop)[IN_HAND] for loop in range(self.loops))

    def settle(self) -> None:
        """Keep the counters as they are, and unmap the memory, which takes a descriptor as long."""
        self._numbers = memoryview(self._numbers.tobytes()).cast("Q")

    def close(self) -> None:
        """Close the descriptor; the counters stay readable as long as this object."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
