"""WebSocket over a connection of HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appserver.errors import ClientGone
from appserver.websocket.handshake import check
from appserver.websocket.options import WebSocketOptions
from appserver.websocket.raw import offer_socket
from appserver.websocket.socket import KEY, WebSocket

if TYPE_CHECKING:
    from appserver.listeners.connection import Connection
    from appserver.protocols.codec import ProtocolError
    from appserver.protocols.upgrade import Upgrade
    from appserver.websocket.deflate import Deflate
    from appserver.websocket.messages import Messages
    from appserver.websocket.wire import Peer


class StreamWire:
    """Carry frames over *connection*, whose request is *x*.

    What is to be sent leaves as all answers do, by the `Sender` where the client is slow; here only the
    loop writes, also where cores are native threads.
    """

    together = None

    def __init__(self, connection: Connection, x: Upgrade) -> None:
        self._connection = connection
        self.x = x
        self.hub = connection.listener.hub
        self.cancels = not connection.listener.options.ignore_client_abort

    @property
    def pending(self) -> int:
        sender = self._connection.sender
        return sender.size if sender is not None else 0

    def deflate(self, limit: int) -> Deflate | None:
        from appserver.websocket.deflate import negotiated  # noqa: PLC0415  (it, too)

        return negotiated(self.x.environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS", ""), limit)

    def messages(self, limit: int, deflate: Deflate | None) -> Messages:
        from appserver.websocket.messages import Messages  # noqa: PLC0415  (wsproto is for WebSocket alone)

        return Messages(limit, deflate)

    def open(self, head: bytes, peer: Peer) -> None:
        if self._connection.gone:
            raise ClientGone
        self._connection.socket = peer
        self._connection.switch(head)

    def write(self, data: bytes) -> None:
        self._connection.put_frames(data)

    def pause(self) -> bool:
        self._connection.pause()
        return True

    def resume(self) -> None:
        self._connection.resume()

    def end(self) -> None:
        self._connection.end_frames()

    def cut(self) -> None:
        self._connection.cut()


def offer(connection: Connection, x: Upgrade) -> ProtocolError | None:
    """Put a WebSocket into the environ of a request that asks for one, or return why it gets none."""
    options = connection.listener.settings.of(WebSocketOptions)
    error = check(x.environ, options.websocket_origin)
    if error is None:
        wire = StreamWire(connection, x)
        x.environ[KEY] = WebSocket(wire, options)
        offer_socket(wire, native=connection.service.cores.native)
    return error
