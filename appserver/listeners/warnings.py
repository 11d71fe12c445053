"""Warnings of what goes on at a listener: each kind once in a while, as what causes one causes many."""

from __future__ import annotations

import logging
from time import monotonic

log = logging.getLogger("appserver.listeners")

_SILENCE = 60.0  # seconds between two warnings of the same kind


class Warnings:
    """Warn of what happens to connections at *name*, a listener's."""

    __slots__ = ("_name", "_told")

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: dict[str, float] = {}

    def tell(self, what: str, more: str = "") -> None:
        """Log *what* and *more*, unless the same *what* has just been logged."""
        now = monotonic()
        if now - self._told.get(what, -_SILENCE) >= _SILENCE:
            self._told[what] = now
            log.warning("%s: %s%s", self._name, what, more)
