"""The answer to one request: made in a core, framed by flup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gevent.event import Event

from appserver.errors import ApplicationError, ClientGone
from appserver.protocols.codec import Codec

if TYPE_CHECKING:
    from appserver.exchange import Exchange
    from appserver.listeners.listener import Service
    from appserver.protocols.codec import Piece, ProtocolError
    from appserver_ajp.connection import AjpConnection
    from appserver_ajp.listener import AjpListener
    from appserver_ajp.request import AjpRequest

_HEAD_LIMIT = 8192  # bytes of a packet; mod_proxy_ajp refuses longer ones


class AjpCodec(Codec):
    """Have flup encode an answer; it ends the answer itself when its handler returns."""

    __slots__ = ("_request",)

    def __init__(self, request: AjpRequest) -> None:
        super().__init__()
        self._request = request

    def head(self, x: Exchange) -> bytes:
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in x.headers]
        self._request.startResponse(int(x.status[:3]), x.status[4:].encode("latin-1"), fields)
        packet = self._request.connection.written.take()
        if len(packet) > _HEAD_LIMIT:
            self._request._headersSent = False  # noqa: SLF001  (a head that says 500 may follow)
            raise ApplicationError(f"the head has {len(packet)} bytes, AJP carries {_HEAD_LIMIT}")
        return packet

    def body(self, x: Exchange, data: bytes) -> tuple[bytes]:
        # flup cuts what it has sent off the front; a memoryview makes that cheap.
        self._request.write(memoryview(data))
        return (self._request.connection.written.take(),)


class Answer:
    """The task of one request, and the channel of its answer."""

    def __init__(
        self, listener: AjpListener, service: Service, connection: AjpConnection, x: Exchange
    ) -> None:
        self.gone = False
        self.listener = listener
        self.x = x
        self._service = service
        self._connection = connection
        self._ended = Event()

    def run(self) -> None:
        """Wait for a core, and until it has made the answer; called in the loop's thread."""
        self._service.cores.run(self)
        self._ended.wait()

    # The task

    def work(self) -> None:
        self._service.respond(self.x, self)

    def refuse(self, error: ProtocolError) -> None:
        self._service.refuse(self.x, self, error)

    def done(self) -> None:
        self._ended.set()

    def cut(self) -> None:
        self.gone = self._connection.failed = True
        self._ended.set()

    # The channel, used in the core

    def send(self, pieces: list[Piece], more: bool) -> None:
        """Send pieces; the last ones wait for flup's end packet, and need no core to be sent."""
        for piece in pieces:
            self._connection.written.send(bytes(piece))
        if not more:
            return
        try:
            self._connection.flush(in_core=True)
        except OSError:
            self.gone = self._connection.failed = True
            raise ClientGone from None
        self._service.cores.turn()

    def send_file(self, fd: int, offset: int, count: int) -> bool:
        return False  # packets cannot be left to the kernel

    def give_up(self, direct: bool = False) -> None:
        if not direct:  # else the process ends now, and with it the connection
            self.cut()

    def refused(self, what: str) -> None:
        pass  # no body is refused in its middle here

    def abort(self) -> None:
        self._connection.failed = True
