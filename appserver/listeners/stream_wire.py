"""WebSocket over a connection of HTTP."""

from __future__ import annotations

import os
from dataclasses import replace
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from appserver.errors import ClientGone
from appserver.listeners.channel import SWITCHED
from appserver.listeners.patience import Patience
from appserver.listeners.sender import Sender, queued
from appserver.websocket.environ import fill
from appserver.websocket.handshake import check
from appserver.websocket.options import WebSocketOptions

if TYPE_CHECKING:
    from appserver.listeners.connection import Connection
    from appserver.protocols.codec import ProtocolError
    from appserver.protocols.upgrade import Upgrade
    from appserver.websocket.deflate import Deflate
    from appserver.websocket.messages import Messages
    from appserver.websocket.wire import Peer


_READ = 1  # libev's event bit
_RECV = 16384  # bytes at once: of frames, of which each may be 6 bytes, and the `Quantum` waits for them
_LOOK = 5.0  # seconds in which a client must take something of the last that it is sent


class StreamWire:
    """Carry frames over *connection*, whose request is *x*.

    What is to be sent leaves as all answers do, by the `Sender` where the client is slow; here only the
    loop writes, also where cores are native threads.
    """

    together = None

    def __init__(self, connection: Connection, x: Upgrade) -> None:
        self._connection = connection
        self._peer: Peer | None = None  # while it is open
        self._left = False  # the client has gone; what it has said before is still to be read
        self.x = x
        self.hub = connection.listener.hub
        self.cancels = not connection.listener.options.ignore_client_abort

    @property
    def pending(self) -> int:
        sender = self._connection.sender
        return sender.size if sender is not None else 0

    @property
    def untaken(self) -> int:
        return self.pending + queued(self._connection.fd)

    def patience(self, seconds: float) -> Patience:
        return Patience(replace(self._connection.listener.limits, pause=seconds), seconds)

    def deflate(self, limit: int) -> Deflate | None:
        from appserver.websocket.deflate import negotiated  # noqa: PLC0415  (it, too)

        return negotiated(self.x.environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS", ""), limit)

    def messages(self, limit: int, deflate: Deflate | None) -> Messages:
        from appserver.websocket.messages import Messages  # noqa: PLC0415  (wsproto is for WebSocket alone)

        return Messages(limit, deflate)

    def open(self, head: bytes, peer: Peer) -> None:
        connection = self._connection
        if connection.gone:
            raise ClientGone
        self._peer = peer
        self._switch()
        self.write(head)
        self._hear()

    def _switch(self) -> None:
        """Take over what has come behind the request, and all that comes from now on."""
        connection = self._connection
        connection.state = SWITCHED
        connection.backlog = connection.codec.buffer + connection.backlog
        connection.codec.buffer = b""
        if connection.reader is None:
            connection.reader = connection.listener.loop.io(connection.fd, _READ)
        else:
            connection.reader.stop()

    def write(self, data: bytes) -> None:
        connection = self._connection
        if connection.gone:
            return
        connection.put([data])
        if connection.gone:
            connection.listener.loop.run_callback(self.flushed)
        elif connection.sender:
            connection.sender.drain()

    def pause(self) -> bool:
        if self._left:
            return False
        if self._open:
            self._connection.mute()
        return True

    def resume(self) -> None:
        if self._open:
            self._hear()

    def end(self) -> None:
        if self._open and not self._connection.sender:
            self._linger()

    def cut(self) -> None:
        self._connection.cut()

    @property
    def _open(self) -> bool:
        """Whether the connection carries frames still."""
        return self._connection.state == SWITCHED

    # What the connection tells

    def _hear(self) -> None:
        """Take frames from now on: those that have been read already, then what comes."""
        connection = self._connection
        connection.listener.muted.discard(connection)
        if connection.backlog:
            connection.listener.quantum.wait(connection)
        elif not connection.reader.active:
            connection.reader.start(self._readable)

    def _readable(self) -> None:
        """Take what has come, if this turn of the loop has not had enough frames of others."""
        connection = self._connection
        if not self._open:
            connection.readable()
        elif not connection.listener.quantum.take(connection):
            connection.reader.stop()
            connection.listener.quantum.wait(connection)

    def take_turn(self) -> None:
        """Take a piece of what is there, and go on unless the connection is muted for it."""
        connection = self._connection
        data = connection.backlog
        if len(data) > _RECV:
            data, connection.backlog = data[:_RECV], data[_RECV:]
        elif data:
            connection.backlog = b""
        else:
            try:
                data = os.read(connection.fd, _RECV)
            except BlockingIOError:
                self._hear()
                return
            except OSError:
                connection.gone = True
        if not data:
            self.cut()
        elif self._peer is not None:
            self._peer.feed(data)
        if self._open and connection not in connection.listener.muted:
            self._hear()

    def left(self) -> None:
        """Read on, as the client has gone while it was made to wait: its end is behind what it has said."""
        self._left = True
        if self._peer is not None:
            self._peer.resume()
        self.resume()

    def flushed(self) -> None:
        """Go on, as the client has taken all, or has gone."""
        connection, peer = self._connection, self._peer
        if not self._open or peer is None:
            return
        connection.deadline = inf
        if connection.gone:
            connection.close()
        elif peer.ended:
            self._linger()
        else:
            peer.drained()

    def _linger(self) -> None:
        """End, and wait for who has not taken all: what it still says would have the kernel drop the rest."""
        if self._connection.sender is None:
            self._connection.sender = Sender(self._connection)  # which has an account of what is taken
        self._connection.linger()

    def expire(self) -> None:
        """End the connection of a client that does not read."""
        connection = self._connection
        sender = connection.sender
        if sender is None or not self.untaken or sender.late():
            self.cut()
        elif not self._open:  # nobody tells when all is taken
            connection.deadline = monotonic() + _LOOK

    def finish(self, *, failed: bool) -> None:
        """End, as the application's call is over."""
        if self._peer is not None:
            self._peer.finish(failed=failed)

    def lost(self) -> None:
        """Note that the connection has ended; safe twice."""
        peer, self._peer = self._peer, None  # they know each other
        if peer is not None:
            peer.lost()


def offer(connection: Connection, x: Upgrade) -> ProtocolError | None:
    """Put a WebSocket into the environ of a request that asks for one, or return why it gets none."""
    options = connection.listener.settings.of(WebSocketOptions)
    error = check(x.environ, options.websocket_origin)
    if error is None:
        wire = StreamWire(connection, x)
        connection.wire = wire
        fill(wire, options, native=connection.service.cores.native)
    return error
