"""How long a peer may take, for each phase of a request."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from time import monotonic


@dataclass(frozen=True)
class Limits:
    """The time limits of a listener's connections, in seconds; *rate* is in bytes a second."""

    pause: float  # between two pieces of anything
    head: float  # for a whole head
    body: float  # for a body, beyond what its bytes take at the rate
    send: float  # the same for an answer
    rate: int  # 0 = only pauses count
    idle: float  # between two requests


class Patience:
    """The time that a peer has left for a body or an answer.

    It begins with *grace* seconds, loses those in which the peer is waited for, and gains them by what
    it moves: never more than it began with, so that nobody saves up for a time of idling.
    """

    __slots__ = ("_grace", "_left", "_limits", "_since")

    def __init__(self, limits: Limits, grace: float) -> None:
        self._limits = limits
        self._grace = self._left = grace
        self._since = inf  # when the peer was last looked at; inf = it is not waited for

    def until(self) -> float:
        """Wait for the peer; return when its time is up, in `monotonic` seconds."""
        self.rest()
        self._since = now = monotonic()
        return now + (min(self._limits.pause, self._left) if self._limits.rate else self._limits.pause)

    def moved(self, count: int) -> None:
        """Credit the peer with *count* bytes."""
        if self._limits.rate:
            self._settle()
            self._left = min(self._grace, self._left + count / self._limits.rate)

    def rest(self) -> None:
        """Stop the clock: what comes next is not up to the peer."""
        self._settle()
        self._since = inf

    def _settle(self) -> None:
        if self._since < inf:
            now = monotonic()
            self._left -= now - self._since
            self._since = now
