"""A socket for libraries that speak WebSocket by themselves, such as simple-websocket below flask-sock.

They take it from the environ, where Werkzeug's server puts its client's socket. It is one of a pair; this
end of it is pumped to the wire, so that it is a real one, with a descriptor, and of the kind that the
process uses. Both ends are made when it is first used.
"""

from __future__ import annotations

import _socket
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import gevent.monkey

from appserver.errors import BodyError, ClientGone
from appserver.interrupt import cancel, wait_of
from appserver.websocket import frames
from appserver.websocket.frames import closing, frame
from appserver.websocket.waiting import Waiters

if TYPE_CHECKING:
    from types import FrameType

    from appserver.websocket.wire import Wire

KEY = "werkzeug.socket"  # in the environ

_READ, _WRITE = 1, 2  # libev's event bits
_PIECE = 65536
_HIGH_WATER = 262144  # bytes that wait on either side before the other has to
_GOING_AWAY = 1001
_LAST_WORDS = 1.0  # seconds that a thread of the library's own has to close its end, or tell the call of ours
_CLOSE = bytes([frames.FIN | frames.CLOSE])
_UNMASKED = bytes(4)  # a key that changes nothing


class RawSocket:
    """Stand for the client's socket; all that it has is the real one's."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._waiters = Waiters(wire.hub)
        self._made: socket.socket | None = None
        self._tunnel: Tunnel | None = None  # once it is made
        self._sending = threading.Lock()  # as gevent has it, where the process is patched

    def send(self, data: Any, flags: int = 0) -> int:
        """Send all of *data*, which blocking sockets do but gevent's do not; return how many bytes these are.

        Libraries rely on it, and send from a thread of their own as well.
        """
        blocks = self.gettimeout() != 0.0  # made, if it was not before
        if self._tunnel is not None:
            self._tunnel.speaks(data)
        if not blocks:  # who has it not block sends the rest by itself
            sent: int = self.__getattr__("send")(data, flags)
            return sent
        with self._sending:
            self.sendall(data, flags)
        return memoryview(data).nbytes

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            pair = socket.socketpair()  # as gevent has it, where the process is patched
            self._made = pair[0]
            tunnel = self._waiters.run(Tunnel, self._wire, pair[1].detach())
            self._tunnel = tunnel
            self._wire.x.catch_up = partial(self._waiters.run, tunnel.catch_up)
        return getattr(self._made, name)


class NoSocket:
    """Stand there where the client's socket could not be waited for, and say so to who uses it."""

    def __getattr__(self, name: str) -> Any:
        raise BodyError(
            "501 Not Implemented",
            "a library that speaks WebSocket by itself would block the loop here: use gevent = N, or over"
            " HTTP threads = N; see docs/websocket.md",
        )


class Tunnel:
    """Pump what is written to the other end of *fd* to the client, and what comes from there back.

    The first bytes are the answer to the client's handshake: from there on its connection carries frames.
    """

    def __init__(self, wire: Wire, fd: int) -> None:
        self.ended = False
        self._wire = wire
        self._end = _socket.socket(fileno=fd)  # not gevent's: it may not wait
        self._end.setblocking(False)
        self._waiting = bytearray()  # for the application
        self._paused = False
        self._switched = False
        # Where the call waited when the library's own thread spoke, if neither call nor client has since.
        # What the library tells the call then has it go on from there.
        self._wait: tuple[FrameType, int] | None = None
        self._closed = False  # the call has closed by itself, and knows
        loop = wire.hub.loop
        self._reader: Any = loop.io(fd, _READ)
        self._writer: Any = loop.io(fd, _WRITE)
        self._reader.start(self._readable)
        self._ending: Any = loop.timer(_LAST_WORDS)

    # What the application says

    def speaks(self, data: Any) -> None:
        """Note who does, before it is sent; to be called in the thread or greenlet that does."""
        self._wait = wait_of(self._wire.x)
        if self._wait is None and data[:1] == _CLOSE:
            self._closed = True

    def catch_up(self) -> None:
        """Take all that it has said by now."""
        while not self.ended and self._readable():
            pass

    def _readable(self) -> bool:
        """Take a piece; return False where there is none."""
        try:
            data = self._end.recv(_PIECE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end_call()  # if it is the client's closing that the library has answered
            self._finish()
        elif not self._switched:
            self._open(data)
        else:
            self._send(data)
        return True

    def _open(self, data: bytes) -> None:
        x = self._wire.x
        head, blank, rest = data.partition(b"\r\n\r\n")
        if x.begun or not head.startswith(b"HTTP/1.1 101 ") or not blank:
            self.lost()  # it is no handshake; whatever the application answers is sent
            return
        self._switched = True
        x.go_away = self.go_away
        x.answered_by_hand(head + blank)
        try:
            self._wire.open(head + blank, self)
        except ClientGone:
            self.lost()
            return
        if x.clock is not None:  # nobody knows when the library waits for the client
            x.clock.pause()
        if rest:
            self._send(rest)

    def _send(self, data: bytes) -> None:
        self._wire.x.sent += len(data)
        self._wire.write(data)
        if self._wire.pending > _HIGH_WATER:
            self._reader.stop()

    def drained(self) -> None:
        if not self.ended and not self._reader.active:
            self._reader.start(self._readable)

    # What the client says

    def feed(self, data: bytes) -> None:
        if self.ended:
            return
        self._wait = None
        self._waiting += data
        self._pump()
        if len(self._waiting) > _HIGH_WATER and not self._paused:
            self._paused = self._wire.pause()
            if not self._paused and len(self._waiting) > 16 * _HIGH_WATER:
                self._wire.cut()

    def feed_frame(self, first: int, payload: bytes) -> None:
        self.feed(frame(first & ~frames.FIN, payload, _UNMASKED))

    def _pump(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: self._end.send(self._waiting[:_PIECE])]
        except BlockingIOError:
            if not self._writer.active:
                self._writer.start(self._pump)
            return
        except OSError:  # the application does not listen any more
            self._waiting.clear()
        self._writer.stop()
        self.resume()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._wire.resume()

    # The end

    def lost(self) -> None:
        if not self.ended and self._wire.cancels:
            if self._wait is None:
                self._wait = wait_of(self._wire.x)
            self._end_call()
        self._close()

    def _end_call(self) -> None:
        """End a call that goes on without its client, unless the library tells it in time."""
        if self._switched and self._wait is not None and not self._closed:
            timer = self._wire.hub.loop.timer(_LAST_WORDS)
            timer.start(self._cancel, timer, self._wait)

    def _cancel(self, timer: Any, wait: tuple[FrameType, int]) -> None:
        timer.close()
        if wait_of(self._wire.x) == wait:  # else it knows, and has something to do still
            cancel(self._wire.x)

    def finish(self, *, failed: bool) -> None:
        """End when the library has closed its end, which may answer the client's closing only now."""
        self.catch_up()
        if failed or not self._switched:
            self._finish()
        elif not self.ended:
            self._ending.start(self._finish)

    def _finish(self) -> None:
        if not self.ended:
            self._close()
            if self._switched:
                self._wire.end()

    def go_away(self) -> None:
        """Close, as the server stops."""
        if not self.ended:
            if not self._ending.active:  # else the library has closed, or could have
                self._send(closing(_GOING_AWAY, "the server stops"))
            self._finish()

    def _close(self) -> None:
        if not self.ended:
            self.ended = True
            self._wait = None
            self._wire.x.go_away = None  # which knows this tunnel, and this its request
            for watcher in (self._reader, self._writer, self._ending):
                watcher.stop()
                watcher.close()
            self._end.close()


def offer_socket(wire: Wire, *, native: bool) -> None:
    """Put a socket into the environ, if waiting for it does not block the loop that has to fill it."""
    works = native or gevent.monkey.is_module_patched("socket")
    wire.x.environ[KEY] = RawSocket(wire) if works else NoSocket()
