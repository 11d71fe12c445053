"""The log lines of requests that are refused: so many, and then a count, as a flood of them is no news."""

from __future__ import annotations

import logging
from time import monotonic

log = logging.getLogger("appserver.listeners")

_AT_ONCE = 100  # lines
_RATE = 10.0  # lines a second, beyond those


class Refusals:
    """Tell of refused requests for *name*, a listener's, without writing more than anybody reads."""

    __slots__ = ("_left", "_name", "_since", "_untold", "count")

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = float(_AT_ONCE)  # lines that may be written
        self._since = monotonic()
        self._untold = 0
        self.count = 0  # of all

    def note(self, reason: str) -> None:
        """Log *reason*, or count it."""
        self.count += 1
        now = monotonic()
        self._left = min(_AT_ONCE, self._left + (now - self._since) * _RATE)
        self._since = now
        if self._left < 1:
            self._untold += 1
            return
        self._left -= 1
        log.warning("%s: %s", self._name, reason)

    def tell(self) -> None:
        """Log how many were only counted; to be called now and then."""
        if self._untold:
            log.warning("%s: %d more requests were refused", self._name, self._untold)
            self._untold = 0
