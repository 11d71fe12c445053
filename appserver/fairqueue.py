"""A queue in front of the application: bounded, and fair between listeners; no loop and no threads here."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from appserver.options import option

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

QUEUED = "appserver.queued"  # the key in the environ of the seconds that a request has waited for a core


@dataclass(frozen=True)
class QueueOptions:
    """Queue."""

    max_queue: int = option(
        1000,
        "Requests that may wait for a core (gevent, threads) in a process; more are answered 503.",
        note="own",
    )
    queue_timeout: float = option(
        60.0,
        "Seconds that a request may wait for a core before it is answered 503; 0 = no limit.",
        note="own",
    )


class FairQueue(Generic[T]):
    """Hold what waits for a core, in one line for each listener, and take from the lines in turn.

    A *key* tells the lines apart. Times are seconds of any one clock that never goes back.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lines: dict[object, deque[tuple[float, T]]] = {}
        self._ring: deque[object] = deque()  # the keys of lines with something in them, the next one first
        self.size = 0
        self.taken = 0  # in all

    @property
    def lines(self) -> int:
        """How many listeners have something waiting."""
        return len(self._ring)

    def put(self, key: object, item: T, now: float) -> None:
        """Add to the end of a line."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = deque()
            self._ring.append(key)
        line.append((now, item))
        self.size += 1

    def displace(self, key: object) -> T | None:
        """Take out the item whose place one that comes to line *key* may have, None if there is none.

        That is the last one of the longest line, if that line is still not the shorter one then.
        """
        longest = max(self._ring, key=lambda each: len(self._lines[each]), default=key)
        own = self._lines.get(key, ())
        if len(self._lines.get(longest, ())) <= len(own) + 1:
            return None
        self.size -= 1
        return self._lines[longest].pop()[1]

    def remove(self, key: object, item: T) -> float | None:
        """Take an item out of line *key* and return the time it came at; None if it is not there."""
        line = self._lines.get(key, ())
        for place, (since, each) in enumerate(line):
            if each is item:
                del self._lines[key][place]
                self.size -= 1
                if len(line) == 0:
                    del self._lines[key]
                    self._ring.remove(key)
                return since
        return None

    def take(self) -> tuple[T, float] | None:
        """Take the first of the next line and return it with the time it came at; None if all are empty."""
        if not self._ring:
            return None
        key = self._ring.popleft()
        line = self._lines[key]
        since, item = line.popleft()
        if line:
            self._ring.append(key)
        else:
            del self._lines[key]
        self.size -= 1
        self.taken += 1
        return item, since

    def expired(self, now: float) -> Iterator[tuple[T, float]]:
        """Take out all whose time is up, and yield them as `take` does; there must be a limit to it."""
        for key in list(self._ring):
            line = self._lines[key]
            while line and line[0][0] + self._timeout <= now:
                self.size -= 1
                since, item = line.popleft()
                yield item, since
            if not line:
                del self._lines[key]
                self._ring.remove(key)

    def clear(self) -> None:
        """Drop all."""
        self._lines.clear()
        self._ring.clear()
        self.size = 0
