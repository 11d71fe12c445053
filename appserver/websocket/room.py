"""The WebSockets that one loop has open: seen to once a second, and found by their channels."""

from __future__ import annotations

import _thread
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from gevent import get_hub

if TYPE_CHECKING:
    from appserver.websocket.session import Session
    from appserver.websocket.wire import Together, Wire

log = logging.getLogger("appserver.websocket")

_get_ident = _thread.get_ident  # the real one, also where gevent replaces it later
_TICK = 1.0  # seconds


def check_channel(channel: object) -> None:
    """Raise `TypeError` or `ValueError` for what no channel can be called."""
    if not isinstance(channel, str):
        hint = "channel.decode()" if isinstance(channel, bytes) else "str(channel)"
        raise TypeError(f"a channel is str, not {type(channel).__name__}: {channel!r}; try {hint}")
    try:
        channel.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the channel {channel!r} has a surrogate, which no other worker can be told of; try text that"
            " UTF-8 has bytes for"
        ) from error


class Room:
    """Those of one thread; there is one as long as there are any."""

    rooms: ClassVar[dict[int, Room]] = {}  # by thread

    def __init__(self) -> None:
        self.thread = _get_ident()
        self.loop = get_hub().loop
        self._sessions: set[Session] = set()
        self._channels: dict[str, set[Session]] = {}
        self._of: dict[Session, set[str]] = {}
        self._timer: Any = self.loop.timer(_TICK, _TICK)
        self._timer.start(self._tick)

    @classmethod
    def here(cls) -> Room:
        """Return the room of this thread, and make it where there is none."""
        found = cls.rooms.get(_get_ident())
        if found is None:
            found = cls.rooms[_get_ident()] = cls()
        return found

    def enter(self, session: Session) -> None:
        """Take in one that is open."""
        self._sessions.add(session)

    def leave(self, session: Session) -> None:
        """Forget one that has ended; safe twice."""
        self.unsubscribe_all(session)
        self._sessions.discard(session)
        if not self._sessions and self.rooms.get(self.thread) is self:
            del self.rooms[self.thread]
            self._timer.stop()
            self._timer.close()

    def _tick(self) -> None:
        now = monotonic()
        for session in list(self._sessions):
            try:
                session.tick(now)
            except Exception:  # the others want to be seen to, too
                log.exception("a WebSocket cannot be seen to")
                self.leave(session)

    def subscribe(self, session: Session, channel: str) -> None:
        """Have it get what is published to *channel*."""
        self._channels.setdefault(channel, set()).add(session)
        self._of.setdefault(session, set()).add(channel)

    def unsubscribe(self, session: Session, channel: str) -> None:
        """Have it not get that any more."""
        found = self._channels.get(channel)
        if found is not None and session in found:
            found.discard(session)
            self._of[session].discard(channel)
            if not found:
                del self._channels[channel]

    def unsubscribe_all(self, session: Session) -> None:
        """Have it get nothing any more."""
        for channel in list(self._of.get(session, ())):
            self.unsubscribe(session, channel)
        self._of.pop(session, None)

    def deliver(self, channel: str, data: bytes) -> None:
        """Send a frame to all of *channel*; in the loop. None of them holds up another."""
        together: dict[Together, list[Wire]] = {}
        for session in list(self._channels.get(channel, ())):
            wire = session.wire
            if session.crowded:
                session.shed()
            elif wire.together is None:
                session.write(data)
            else:
                wire.x.sent += len(data)
                together.setdefault(wire.together, []).append(wire)
        for group, wires in together.items():
            group.write_all(wires, data)
