"""WebSocket over a connection that Mongrel2 has: it reads the frames that come, and passes on what goes."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from appserver.errors import ClientGone
from appserver.listeners.patience import Limits, Patience
from appserver.websocket.handshake import check
from appserver.websocket.options import WebSocketOptions
from appserver.websocket.raw import offer_socket
from appserver.websocket.socket import KEY, WebSocket

if TYPE_CHECKING:
    from appserver.listeners.intake import Intake
    from appserver.listeners.request import Request
    from appserver.protocols.codec import ProtocolError
    from appserver.protocols.upgrade import Upgrade
    from appserver.websocket.deflate import Deflate
    from appserver.websocket.messages import Messages
    from appserver.websocket.wire import Peer


_ANY_TIME = Limits(pause=inf, head=inf, body=inf, send=inf, rate=0, idle=inf)  # Mongrel2 has its own


class Mongrel2Wire:
    """Carry frames for the client of *request*, which is *x*.

    They are put together where there are many, as a client that has 16 messages to read is dropped (see
    `portions`). Nothing can make a client wait: Mongrel2 reads whatever comes.
    """

    def __init__(self, request: Request, x: Upgrade) -> None:
        self.request = request
        self.x = x
        self.hub = request.intake.hub
        self.cancels = True

    @property
    def pending(self) -> int:
        return self.request.held

    @property
    def untaken(self) -> int:
        return self.request.held

    def patience(self, seconds: float) -> Patience:
        return Patience(replace(_ANY_TIME, pause=seconds), seconds)

    @property
    def together(self) -> Intake:
        return self.request.intake

    def deflate(self, limit: int) -> Deflate | None:
        return None  # Mongrel2 tells no extensions apart, and puts packed fragments together as they are

    def messages(self, limit: int, deflate: Deflate | None) -> Messages:
        from appserver.websocket.messages import Messages  # noqa: PLC0415  (wsproto is for WebSocket alone)

        return Messages(limit, deflate, masked=False)

    def open(self, head: bytes, peer: Peer) -> None:
        if self.request.gone:
            raise ClientGone
        self.request.socket = peer
        self.request.switch(head)

    def write(self, data: bytes) -> None:
        if not self.request.gone:
            self.request.post(data)

    def pause(self) -> bool:
        return False

    def resume(self) -> None:
        """Do nothing: it was not made to wait."""

    def end(self) -> None:
        self.request.end_frames()

    def cut(self) -> None:
        self.request.drop()


def offer(request: Request, x: Upgrade) -> ProtocolError | None:
    """Put a WebSocket into the environ of a request that asks for one, or return why it gets none."""
    options = request.listener.settings.of(WebSocketOptions)
    error = check(x.environ, options.websocket_origin)
    if error is None and x.able:
        wire = Mongrel2Wire(request, x)
        x.environ[KEY] = WebSocket(wire, options)
        offer_socket(wire, native=request.intake.cores.native)
    return error
