"""One connection: flup's loop over its packets, made to wait in a greenlet."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flup.server import ajp_base
from gevent.socket import socket as gevent_socket

from appserver.protocols.codec import ProtocolError

if TYPE_CHECKING:
    from appserver_ajp.server import AjpServer

_END = ajp_base.PKTTYPE_END_RESPONSE
_MALFORMED = (ajp_base.ProtocolError, ProtocolError, ValueError, LookupError, struct.error)


class _Ready:
    """Stand in for the module ``select`` in flup, which holds all greenlets and ends at 1024 descriptors.

    Where flup waits, `AjpConnection` or a socket with a timeout has waited already.
    """

    @staticmethod
    def select(*waiting: list[Any]) -> tuple[list[Any], ...]:
        return waiting


ajp_base.select = _Ready


class Written(list[bytes]):
    """What flup writes, as the socket that it writes to: pieces that leave together."""

    def send(self, data: bytes) -> int:
        self.append(data)
        return len(data)

    def take(self) -> bytes:
        """Return all of it, and forget it."""
        data = b"".join(self)
        self.clear()
        return data


class AjpConnection(ajp_base.Connection):
    """flup's connection; its ``run`` is a greenlet of the loop's thread."""

    deadline = float("inf")  # its greenlet has timeouts of its own, and the listener need not look,
    muted = False  # nor for its end, of which it hears by itself

    def __init__(self, fd: int, peer: Any, server: AjpServer) -> None:
        # flup logs two parts of the peer's address, which a Unix socket's peer has not.
        super().__init__(gevent_socket(fileno=fd), peer if len(peer) > 1 else ("unix", 0), server, 0)
        self.written = Written()
        self.keep = True  # this server would keep it
        self.failed = False  # an answer is cut, and must not be ended
        self._ended = False  # the last answer is sent
        self._timeouts = server.options
        self._sock.settimeout(self._timeouts.socket_timeout or None)
        self._core_sock = self._sock
        if server.service.cores.native:  # a socket of gevent's belongs to the thread of its loop
            self._core_sock = socket.socket(fileno=fd)
            self._core_sock.settimeout(self._timeouts.socket_timeout or None)

    def run(self) -> None:
        super().run()
        if self._core_sock is not self._sock:
            self._core_sock.detach()  # flup has closed the descriptor

    def processInput(self) -> None:  # noqa: N802  (flup's name)
        """Send what is written, wait for a packet and have flup process it.

        Everything that flup writes comes by here: it waits for the next packet after each.
        """
        self._wait()
        try:
            super().processInput()
        except _MALFORMED as error:
            self.server.warn(f"this is no AJP: {error}")
            raise EOFError from None

    def _wait(self) -> None:
        """Raise `EOFError` where there is no next packet; flup takes it for the end."""
        idle = self._request is None
        options = self._timeouts
        try:
            self.flush()
            if self._ended:
                raise EOFError
            self._sock.settimeout((options.keepalive_timeout if idle else options.socket_timeout) or None)
            if not self._sock.recv(1, socket.MSG_PEEK):
                raise EOFError
            self._sock.settimeout(options.socket_timeout or None)
        except OSError:
            raise EOFError from None

    def writePacket(self, packet: ajp_base.Packet) -> None:  # noqa: N802  (flup's name)
        """Hold a packet back until flup waits or a core sends; end no answer that has failed."""
        if packet.data[:1] == _END:
            if self.failed:
                raise EOFError
            if not self.keep:
                packet.data = _END + b"\0"  # flup always says 1: use the connection again
                self._ended = True
        packet.write(self.written)

    def flush(self, in_core: bool = False) -> None:
        """Send what is held back; raise `OSError` where the peer does not take it."""
        if data := self.written.take():
            # flup's loop, because the timeout of sendall() is one for all of the data.
            ajp_base.Packet._sendall(self._core_sock if in_core else self._sock, memoryview(data))  # noqa: SLF001

    def stop(self) -> None:
        """End after the request in hand, or after what has arrived."""
        self.keep = False
        if self._request is None:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """End at once; what waits for the peer wakes up. Safe twice."""
        self.failed = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End at once; an answer that is not sent whole is never ended, so its peer sees that."""
        self.close()
