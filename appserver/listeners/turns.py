"""Whose turn it is on each of Mongrel2's client connections."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING

from appserver.protocols.mongrel2 import Connection

if TYPE_CHECKING:
    from appserver.listeners.request import Request

# An attachment of Mongrel2 and a client connection: each attachment numbers its clients anew.
Line = tuple[int, Connection]


class Turns:
    """Have answers go out in the order of the requests of a connection; shared by all threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lines: dict[Line, deque[Request]] = {}

    def enter(self, request: Request) -> bool:
        """Queue up; return True where *request* is the first and may run."""
        with self._lock:
            line = self._lines.setdefault((request.origin, request.client), deque())
            line.append(request)
            return len(line) == 1

    def leave(self, request: Request) -> Request | None:
        """End *request*'s turn and return the next on its connection."""
        with self._lock:
            key = request.origin, request.client
            line = self._lines[key]
            line.popleft()
            if line:
                return line[0]
            del self._lines[key]
            return None

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
