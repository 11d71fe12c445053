"""What a request that asks for a WebSocket has in its environ, as long as the application's call lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appserver.websocket import raw
from appserver.websocket.socket import KEY, WebSocket

if TYPE_CHECKING:
    from appserver.protocols.upgrade import Upgrade
    from appserver.websocket.options import WebSocketOptions
    from appserver.websocket.wire import Wire


def fill(wire: Wire, options: WebSocketOptions, *, native: bool) -> None:
    """Put a WebSocket into the environ, and a socket for libraries; cores may be *native* threads."""
    wire.x.environ[KEY] = WebSocket(wire, options)
    raw.offer_socket(wire, native=native)


def clear(x: Upgrade) -> None:
    """Take both out after the call: they know their request, and would be left to the collector."""
    x.catch_up = None
    x.environ.pop(KEY, None)
    x.environ.pop(raw.KEY, None)
