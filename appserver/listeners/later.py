"""Connections that are looked at when some time has passed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.listeners.connection import Connection

log = logging.getLogger("appserver.listeners")


class Later:
    """Call *call* for each connection that is added, so many *seconds* later, or up to twice as many.

    One timer serves them all, and stands still while there are none; whoever makes it stops and closes it.
    """

    def __init__(self, loop: Any, seconds: float, call: Callable[[Connection], object]) -> None:
        self._timer = loop.timer(seconds, seconds)
        self._call = call
        self._young: list[Connection] = []  # added since the last tick,
        self._old: list[Connection] = []  # and between that and the one before

    def add(self, connection: Connection) -> None:
        """Have a connection looked at."""
        if not self._timer.active:
            self._timer.start(self._tick)
        self._young.append(connection)

    def _tick(self) -> None:
        old, self._old, self._young = self._old, self._young, []
        for connection in old:
            try:
                self._call(connection)
            except Exception:  # nobody would look at the others again
                log.exception("%s: a connection cannot be served", connection.listener.name)
                connection.cut()
        if not self._old and not self._young:
            self._timer.stop()

    def stop(self) -> None:
        """Look at none any more; safe twice."""
        self._timer.stop()

    def close(self) -> None:
        """Release the timer."""
        self._timer.close()
