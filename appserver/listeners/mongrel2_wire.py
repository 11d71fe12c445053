"""WebSocket over a connection that Mongrel2 has: it reads the frames that come, and passes on what goes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from appserver.errors import ClientGone
from appserver.listeners.patience import Limits, Patience
from appserver.websocket.environ import fill
from appserver.websocket.handshake import check
from appserver.websocket.options import WebSocketOptions

if TYPE_CHECKING:
    from appserver.listeners.intake import Intake
    from appserver.listeners.request import Request
    from appserver.protocols.codec import ProtocolError
    from appserver.protocols.mongrel2 import Message
    from appserver.protocols.upgrade import Upgrade
    from appserver.websocket.deflate import Deflate
    from appserver.websocket.messages import Messages
    from appserver.websocket.wire import Peer


_ANY_TIME = Limits(pause=inf, head=inf, body=inf, send=inf, rate=0, idle=inf)  # Mongrel2 has its own


class Mongrel2Wire:
    """Carry frames for the client of *request*, which is *x*.

    They are put together where there are many, as a client that has 16 messages to read may be dropped (see
    `portions`). Nothing can make a client wait: Mongrel2 reads whatever comes.
    """

    def __init__(self, request: Request, x: Upgrade) -> None:
        self.request = request
        self.x = x
        self.hub = request.intake.hub
        self.cancels = True
        self._peer: Peer | None = None  # while it is open
        self._over = False  # the connection ends once all frames are sent

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
        request = self.request
        if request.gone:
            raise ClientGone
        self._peer = peer
        request.wire = self
        request.begun = True
        request.intake.switch(request)
        request.post(head)

    def write(self, data: bytes) -> None:
        if not self.request.gone:
            self.request.post(data)

    def pause(self) -> bool:
        return False

    def resume(self) -> None:
        """Do nothing: it was not made to wait."""

    def end(self) -> None:
        self._over = True
        if not self.request.held:
            self._close()

    def _close(self) -> None:
        """End the connection, as all frames are sent."""
        request = self.request
        if request.lingers:
            request.finish()
        elif not request.ended and not request.gone:
            with suppress(ClientGone):  # `Request.done` tries again what Mongrel2 does not take now
                request.ended = request.intake.try_send(request, (), last=True)

    def cut(self) -> None:
        self.request.drop()

    # What the request tells, once it is open

    def take(self, message: Message) -> None:
        """Take a frame."""
        if self._peer is not None:
            self._peer.feed_frame(message.first_byte, message.body)

    def sent(self) -> None:
        """Go on, as no frames wait any more, or nobody is there."""
        request = self.request
        if request.gone:
            request.intake.loop.run_callback(self.lost)
        elif self._over:
            self._close()
        elif self._peer is not None:
            self._peer.drained()

    def finish(self, *, failed: bool) -> None:
        """End in order, as the application's call is over."""
        request = self.request
        request.lingers = True
        if request.ended or request.gone or (self._over and not request.held):
            request.finish()
        elif self._peer is not None:
            self._peer.finish(failed=failed)

    def lost(self) -> None:
        """End, as the client has gone; safe twice."""
        request = self.request
        if request.portions is not None:
            request.portions.drop()
        peer, self._peer = self._peer, None  # they know each other
        if peer is not None:
            peer.lost()
        if request.lingers:
            request.finish()


def offer(request: Request, x: Upgrade) -> ProtocolError | None:
    """Put a WebSocket into the environ of a request that asks for one, or return why it gets none."""
    options = request.listener.settings.of(WebSocketOptions)
    error = check(x.environ, options.websocket_origin)
    if error is None and x.able:
        wire = Mongrel2Wire(request, x)
        fill(wire, options, native=request.intake.cores.native)
    return error
