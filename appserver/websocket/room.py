"""The WebSockets that one loop has open: seen to once a second, and found by their channels."""

from __future__ import annotations

import _thread
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from gevent import get_hub

if TYPE_CHECKING:
    from appserver.websocket.socket import WebSocket
    from appserver.websocket.wire import Together, Wire

_get_ident = _thread.get_ident  # the real one, also where gevent replaces it later
_TICK = 1.0  # seconds


class Room:
    """Those of one thread; there is one as long as there are any."""

    rooms: ClassVar[dict[int, Room]] = {}  # by thread

    def __init__(self) -> None:
        self.thread = _get_ident()
        self.loop = get_hub().loop
        self._sockets: set[WebSocket] = set()
        self._channels: dict[str, set[WebSocket]] = {}
        self._of: dict[WebSocket, set[str]] = {}
        self._timer: Any = self.loop.timer(_TICK, _TICK)
        self._timer.start(self._tick)

    @classmethod
    def here(cls) -> Room:
        """Return the room of this thread, and make it where there is none."""
        found = cls.rooms.get(_get_ident())
        if found is None:
            found = cls.rooms[_get_ident()] = cls()
        return found

    def enter(self, socket: WebSocket) -> None:
        """Take in one that is open."""
        self._sockets.add(socket)

    def leave(self, socket: WebSocket) -> None:
        """Forget one that has ended; safe twice."""
        self.unsubscribe_all(socket)
        self._sockets.discard(socket)
        if not self._sockets and self.rooms.get(self.thread) is self:
            del self.rooms[self.thread]
            self._timer.stop()
            self._timer.close()

    def _tick(self) -> None:
        now = monotonic()
        for socket in list(self._sockets):
            socket.tick(now)

    def subscribe(self, socket: WebSocket, channel: str) -> None:
        """Have it get what is published to *channel*."""
        self._channels.setdefault(channel, set()).add(socket)
        self._of.setdefault(socket, set()).add(channel)

    def unsubscribe(self, socket: WebSocket, channel: str) -> None:
        """Have it not get that any more."""
        found = self._channels.get(channel)
        if found is not None and socket in found:
            found.discard(socket)
            self._of[socket].discard(channel)
            if not found:
                del self._channels[channel]

    def unsubscribe_all(self, socket: WebSocket) -> None:
        """Have it get nothing any more."""
        for channel in list(self._of.get(socket, ())):
            self.unsubscribe(socket, channel)
        self._of.pop(socket, None)

    def deliver(self, channel: str, data: bytes) -> None:
        """Send a frame to all of *channel*; in the loop. None of them holds up another."""
        together: dict[Together, list[Wire]] = {}
        for socket in list(self._channels.get(channel, ())):
            wire = socket.wire
            if socket.crowded:
                socket.shed()
            elif wire.together is None:
                socket.write(data)
            else:
                wire.x.sent += len(data)
                together.setdefault(wire.together, []).append(wire)
        for group, wires in together.items():
            group.write_all(wires, data)
