"""Whose turn it is on each of Mongrel2's client connections."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING

from appserver.protocols.framing import BUSY
from appserver.protocols.mongrel2 import Connection

if TYPE_CHECKING:
    from appserver.listeners.request import Request

# An attachment of Mongrel2 and a client connection: each attachment numbers its clients anew.
Line = tuple[int, Connection]

PIPELINED = 100  # requests of one connection that may wait; Mongrel2 reads on while one is answered
REMEMBERED = 10000  # connections of which it is known that an answer has ended them


class Turns:
    """Have answers go out in the order of the requests of a connection; shared by all threads.

    What follows an answer that ends its connection is no request any more: nobody could be answered,
    and where the end has come from bad bytes nobody knows what those behind them are. Mongrel2 passes
    it on until it has been told.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._lines: dict[Line, deque[Request]] = {}
        self._closed: dict[Line, None] = {}  # the latest ones

    def enter(self, request: Request) -> bool:
        """Queue up; return True where *request* may run: as the first, or because nobody waits for it.

        Where too many wait it is refused in its turn.
        """
        key = request.origin, request.client
        with self._lock:
            line = self._lines.get(key)
            if key in self._closed or (line is not None and line[-1].error is not None):
                request.gone = True
                return True
            if line is None:
                self._lines[key] = deque((request,))
                return True
            if len(line) >= PIPELINED:
                request.deny(BUSY)
            line.append(request)
            return False

    def leave(self, request: Request) -> Request | None:
        """End *request*'s turn and return the next on its connection."""
        with self._lock:
            key = request.origin, request.client
            line = self._lines.get(key)
            if line is None or line[0] is not request:  # nobody waited for it
                return None
            line.popleft()
            if request.closes:
                self._close(key, line)
            if line:
                return line[0]
            del self._lines[key]
            return None

    def _close(self, key: Line, line: deque[Request]) -> None:
        self._closed[key] = None
        if len(self._closed) > REMEMBERED:
            del self._closed[next(iter(self._closed))]
        for request in line:
            request.gone = True

    def first(self, line: Line) -> Request | None:
        """Return the request of a connection whose turn it is."""
        with self._lock:
            waiting = self._lines.get(line)
            return waiting[0] if waiting else None

    def gone(self, line: Line) -> None:
        """Note that a client has left: what runs for it is stopped."""
        with self._lock:
            for request in self._lines.get(line, ()):
                request.depart()

    def lasting(self) -> list[Request]:
        """Return those requests, of whose turn it is, that this has found before."""
        with self._lock:
            found = []
            for line in self._lines.values():
                if line[0].lasts:
                    found.append(line[0])
                line[0].lasts = True
            return found

    def expects(self) -> bool:
        """Tell whether an answer is on its way that needs to hear from Mongrel2."""
        with self._lock:
            return any(line[0].expects for line in self._lines.values())

    def lost(self, attachment: int) -> None:
        """Note that Mongrel2 has left, and all its clients with it."""
        with self._lock:
            for (number, _), line in self._lines.items():
                if number == attachment:
                    for request in line:
                        request.depart()
