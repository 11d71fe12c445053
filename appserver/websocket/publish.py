"""One message to many WebSockets: `publish`."""

from __future__ import annotations

import _thread

from appserver import wsgi
from appserver.websocket.frames import frame, payload_of
from appserver.websocket.link import Link
from appserver.websocket.meeting import PUBLISHED
from appserver.websocket.room import Room, check_channel

_get_ident = _thread.get_ident  # the real one, also where gevent replaces it later


def publish(channel: str, data: str | bytes) -> None:
    """Send a message to all WebSockets that have subscribed to *channel*; return at once.

    Those of other threads get it in their loop's next turn, those of other workers by way of the master.
    Who reads too slowly to get it loses its connection (``websocket-backlog``). May be called by any
    greenlet or thread of a serving process; in one that the application has forked it is a `RuntimeError`.
    """
    check_channel(channel)
    if wsgi.end is not None:
        raise RuntimeError(
            f"nobody can be reached on channel {channel!r} from a process that the application has forked;"
            " publish in the server's process, when the child has told it"
        )
    message = frame(*payload_of(data))
    deliver(channel, message)
    if Link.here is not None:
        Link.here.send(PUBLISHED, channel, message)


def deliver(channel: str, data: bytes) -> None:
    """Send a frame to those of this process."""
    for room in list(Room.rooms.values()):
        if room.thread == _get_ident():
            room.deliver(channel, data)
        else:
            room.loop.run_callback_threadsafe(room.deliver, channel, data)
