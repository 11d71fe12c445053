"""What the workers of each number have counted, also those that have ended: such sums never go back."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from appserver.stats.tally import BYTES, EXCEPTIONS, MICROSECONDS, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from appserver.lifecycle.board import Board

Name = tuple[str, str]  # a listener's: what it speaks and its address


class Process(Protocol):
    """A worker process, as far as it is counted."""

    number: int  # of the worker; its successors have the same
    pid: int
    generation: int
    board: Board
    names: list[Name]  # of its listeners
    spawned: float  # by the clock
    startup: float  # seconds until it served
    since: float  # when that was, in seconds of monotonic(); 0 = it does not yet
    stopping: bool


def tallies(board: Board) -> Iterator[Tally]:
    """Yield what counts the requests of each loop more closely."""
    for loop in range(board.loops):
        tally = board.tally(loop)
        if tally is not None:
            yield tally


def counted(board: Board) -> Counter[str]:
    """Return the numbers of one process by the names that uWSGI has for them."""
    found = Counter(requests=board.requests, harakiri_count=board.harakiris, signals=board.signals)
    for tally in tallies(board):
        found["exceptions"] += tally.total(EXCEPTIONS)
        found["tx"] += tally.total(BYTES)
        found["running_time"] += tally.total(MICROSECONDS)
    return found


def by_listener(process: Process) -> dict[Name, Counter[str]]:
    """Return what came to each listener of one process."""
    found: dict[Name, Counter[str]] = {}
    for number, name in enumerate(process.names):
        numbers = found.setdefault(name, Counter())
        for tally in tallies(process.board):
            numbers.update(tally.of_listener(number))
    return found


def by_application(process: Process) -> dict[str, Counter[str]]:
    """Return what came to each application of one process, by where it is mounted; "" is one alone."""
    found: dict[str, Counter[str]] = {mount: Counter() for mount in process.board.mounts or [""]}
    for tally in tallies(process.board):
        for mount, numbers in found.items():
            numbers.update(tally.of_application(mount))
    return found


class Ledger:
    """Sums over all processes that there were, by number and by listener."""

    def __init__(self) -> None:
        self.spawns: Counter[int] = Counter()
        self._ended: dict[int, Counter[str]] = {}
        self._ended_by_listener: dict[Name, Counter[str]] = {}

    def begin(self, process: Process) -> None:
        """Note a process that has begun."""
        self.spawns[process.number] += 1

    def end(self, process: Process) -> None:
        """Keep what a process has counted that has ended."""
        self._ended.setdefault(process.number, Counter()).update(counted(process.board))
        for name, numbers in by_listener(process).items():
            del numbers["connections"]
            self._ended_by_listener.setdefault(name, Counter()).update(numbers)

    def of(self, number: int, living: Iterable[Process]) -> Counter[str]:
        """Return the sums of a number; *living* are all processes that have not ended."""
        found = Counter(self._ended.get(number))
        for process in living:
            if process.number == number:
                found.update(counted(process.board))
        return found

    def of_listeners(self, living: Iterable[Process]) -> dict[Name, Counter[str]]:
        """Return the sums of each listener that there was."""
        found = {name: Counter(numbers) for name, numbers in self._ended_by_listener.items()}
        for process in living:
            for name, numbers in by_listener(process).items():
                found.setdefault(name, Counter()).update(numbers)
        return found
