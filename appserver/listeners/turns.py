"""Whose turn it is on each of Mongrel2's client connections."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from appserver import critical
from appserver.protocols.framing import BUSY
from appserver.protocols.mongrel2 import Connection

if TYPE_CHECKING:
    from collections.abc import Iterable

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
        self._lock = critical.lock()
        self._first: dict[Line, Request] = {}  # whose turn it is
        self._behind: dict[Line, deque[Request]] = {}  # those that wait, where any do
        self._closed: dict[Line, None] = {}  # the latest ones

    def enter(self, request: Request) -> bool:
        """Queue up; return True where *request* may run: as the first, or because nobody waits for it.

        Where too many wait it is refused in its turn.
        """
        line: Any = request.line
        # Most are the first, and need no lock: this is one step of a dictionary, and `leave` notes the end of
        # a connection before it takes its request away.
        if self._first.setdefault(line, request) is request:
            if self._closed and line in self._closed:
                request.gone = True
            return True
        with self._lock:
            if line in self._closed:
                request.gone = True
                return True
            first = self._first.setdefault(line, request)
            if first is request:
                return True
            behind = self._behind.get(line)
            last = behind[-1] if behind else first
            if last.error is not None:
                request.gone = True
                return True
            if behind is None:
                behind = self._behind[line] = deque()
            elif len(behind) + 1 >= PIPELINED:
                request.deny(BUSY)
            behind.append(request)
            return False

    def leave(self, request: Request) -> Request | None:
        """End *request*'s turn and return the next on its connection."""
        line: Any = request.line
        with self._lock:
            if self._first.get(line) is not request:  # nobody waited for it
                return None
            behind = self._behind.get(line) if self._behind else None
            if request.closes:
                self._close(line, behind or ())
            if not behind:
                del self._first[line]
                return None
            self._first[line] = following = behind.popleft()
            if not behind:
                del self._behind[line]
            return following

    def _close(self, line: Line, behind: Iterable[Request]) -> None:
        self._closed[line] = None
        if len(self._closed) > REMEMBERED:
            del self._closed[next(iter(self._closed))]
        for request in behind:
            request.gone = True

    def first(self, line: Line) -> Request | None:
        """Return the request of a connection whose turn it is."""
        return self._first.get(line)

    def closed(self, line: Line) -> bool:
        """Tell whether an answer has ended a connection lately."""
        return line in self._closed

    def gone(self, line: Line) -> None:
        """Note that a client has left: what runs for it is stopped."""
        with self._lock:
            first = self._first.get(line)
            if first is not None:
                self._depart(line, first)

    def _depart(self, line: Line, first: Request) -> None:
        first.depart()
        for request in self._behind.get(line, ()):
            request.depart()

    def lasting(self) -> list[Request]:
        """Return those requests, of whose turn it is, that this has found before."""
        found = []
        for request in list(self._first.values()):
            if request.lasts:
                found.append(request)
            request.lasts = True
        return found

    def switched(self) -> list[Request]:
        """Return those requests whose connections carry a WebSocket's frames."""
        return [request for request in list(self._first.values()) if request.switched]

    def expects(self, *, frames: bool = True) -> bool:
        """Tell whether an answer, or with *frames* a WebSocket, needs to hear from Mongrel2."""
        first = list(self._first.values())
        return any(request.expects for request in first if frames or not request.switched)

    def lost(self, attachment: int) -> None:
        """Note that Mongrel2 has left, and all its clients with it."""
        with self._lock:
            for line, first in list(self._first.items()):
                if line[0] == attachment:
                    self._depart(line, first)
