"""The application's side of a WebSocket: ``environ["wsgi.websocket"]``."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import gevent
from gevent import getcurrent

from appserver.errors import ApplicationError, ClientGone, ConnectionClosed
from appserver.interrupt import cancel
from appserver.protocols.upgrade import accepting
from appserver.websocket import frames
from appserver.websocket.frames import Violation, closing, frame, payload_of
from appserver.websocket.handshake import offered
from appserver.websocket.room import Room
from appserver.websocket.waiting import Waiters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from appserver.websocket.frames import Event
    from appserver.websocket.options import WebSocketOptions
    from appserver.websocket.wire import Wire

log = logging.getLogger("appserver.websocket")

KEY = "wsgi.websocket"  # in the environ, as gevent-websocket has it

CONNECTING, OPEN, CLOSING, CLOSED = range(4)

_HIGH_WATER = 262144  # bytes that may wait for the client before the sender does
_READ_AHEAD = 262144  # bytes of messages that wait for the application before the client does
_MOST_AHEAD = 4194304  # the same where the client cannot be made to wait: more ends the connection
_CLOSE_TIMEOUT = 5.0  # seconds that a client has to answer a close frame
_NORMAL, _GOING_AWAY, _LOST, _POLICY, _FAILED, _LATER = 1000, 1001, 1006, 1008, 1011, 1013
_NO_CODE = 1005
_SENDABLE = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
_OURS = frozenset(
    {
        "connection",
        "content-length",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "upgrade",
    }
)


class WebSocket:
    """A WebSocket that a client asks for, and has once the application accepts.

    Any method may be called by any greenlet or thread of the process, and by several at once. All but
    `close` accept, where that has not been done.
    """

    def __init__(self, wire: Wire, options: WebSocketOptions) -> None:
        self.environ = wire.x.environ
        self.subprotocol: str | None = None
        self.close_code = 0  # of the end; 0 before it
        self.close_reason = ""
        self.state = CONNECTING
        self.wire = wire
        self._options = options
        self._waiters = Waiters(wire.hub)
        self._room: Room | None = None
        self._inbox: deque[Event] = deque()
        self._unread = 0  # bytes of it
        self._paused = False
        self._receives = False  # the application has asked for messages, so it hears of the end
        self._heard = self._pinged = 0.0  # when the client last said something; when it was asked to
        self._close_by = 0.0

    # What the application calls

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.state >= CLOSING

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offers, the ones it likes best first."""
        return offered(self.environ)

    @property
    def origin(self) -> str | None:
        """The origin of the page that has opened it, None where it is no browser's."""
        return self.environ.get("HTTP_ORIGIN")

    def accept(self, subprotocol: str | None = None, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Accept, with one of the subprotocols that the client offers, and *headers* in the answer.

        `ApplicationError` says what is wrong with them, `ClientGone` that nobody is there any more.
        """
        if subprotocol is not None and subprotocol not in self.subprotocols:
            raise ApplicationError(f"the client does not offer the subprotocol {subprotocol!r}")
        own = list(headers)
        for name, _ in own:
            if name.lower() in _OURS:
                raise ApplicationError(f"{name} is not the application's to set")
        self._waiters.run(self._accept, subprotocol, own)

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """Return the next message, None after the last one; ``close_code`` tells then how it has ended.

        Raise `TimeoutError` where none comes within *timeout* seconds.
        """
        self._begin()
        self._receives = True
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            with self._resting():
                if not self._waiters.wait(self._receivable, left):
                    raise TimeoutError("no message has come")
            try:
                event = self._inbox.popleft()
            except IndexError:
                if self.closed:
                    return None
                continue  # somebody else has got it
            self._unread -= event.size
            if self._paused and self._unread <= _READ_AHEAD // 2:
                self._waiters.run(self._resume)
            return event.data

    def __iter__(self) -> Iterator[str | bytes]:
        while (message := self.receive()) is not None:
            yield message

    def send(self, data: str | bytes) -> None:
        """Send a message: str as text, bytes as they are; wait where the client does not keep pace.

        Raise `ConnectionClosed` where it has ended.
        """
        payload_of(data)  # a mistake is told here, with the caller's stack
        self._begin()
        self._waiters.run(self._send, data)
        with self._resting():
            self._waiters.wait(self._sendable)
        if self._waiters.here:
            gevent.sleep(1e-9)  # a turn of the loop (see `GreenletCores.turn`)

    def ping(self, data: bytes = b"") -> None:
        """Send a ping; its answer is not told. Raise `ConnectionClosed` where it has ended."""
        if len(data) > frames.LARGEST_CONTROL:
            raise ValueError(f"a ping has {frames.LARGEST_CONTROL} bytes at most")
        self._begin()
        self._waiters.run(self._put, frame(frames.PING, bytes(data)))

    def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """End it; what has been sent still goes. Before it is accepted, refuse it with 403.

        Nothing happens where it has ended already.
        """
        if code not in _SENDABLE and not 3000 <= code < 5000:
            raise ValueError(
                f"{code} is no code to close with: 1000 is, and 3000 to 4999 are the application's"
            )
        if len(reason.encode()) > frames.LARGEST_CONTROL - 2:
            raise ValueError(f"a reason has {frames.LARGEST_CONTROL - 2} bytes of UTF-8 at most")
        if self.state == CONNECTING:
            self.state = CLOSED
            x = self.wire.x
            x.start_response("403 Forbidden", [("Content-Type", "text/plain")])
            x.send(b"Forbidden\n", False, len(b"Forbidden\n"))
        else:
            self._waiters.run(self._close, code, reason)

    def subscribe(self, channel: str) -> None:
        """Have messages sent that are published to *channel* (`appserver.publish`) from now on."""
        self._begin()
        self._waiters.run(self._subscribe, channel)

    def unsubscribe(self, channel: str) -> None:
        """Have them sent no more."""
        self._waiters.run(self._unsubscribe, channel)

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be sent, not even the answer to a close frame."""
        return self.state == CLOSED

    # In the caller's thread

    def _begin(self) -> None:
        if self.state == CONNECTING:
            self.accept()

    def _receivable(self) -> bool:
        return bool(self._inbox) or self.closed

    def _sendable(self) -> bool:
        return self.wire.pending <= _HIGH_WATER or self.state == CLOSED

    @contextmanager
    def _resting(self) -> Iterator[None]:
        """Have the call's time limit not count what the client makes it wait."""
        clock = self.wire.x.clock
        if clock is None or self.wire.x.core is not getcurrent():
            yield
            return
        clock.pause()
        try:
            yield
        finally:
            clock.resume()

    # In the loop's thread, for the application

    def _accept(self, subprotocol: str | None, own: list[tuple[str, str]]) -> None:
        if self.state != CONNECTING:
            raise ApplicationError("the WebSocket is accepted, or refused, already")
        wire, x = self.wire, self.wire.x
        if x.begun:
            raise ApplicationError("the request has been answered already")
        x.reset()
        x.start_response("200 OK", own)  # checks them
        limit = self._options.websocket_max_size * 1024
        deflate = wire.deflate(limit) if self._options.websocket_deflate else None
        answer = [
            ("Upgrade", "websocket"), ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accepting(self.environ["HTTP_SEC_WEBSOCKET_KEY"])),
        ]  # fmt: skip
        if subprotocol is not None:
            answer.append(("Sec-WebSocket-Protocol", subprotocol))
        if deflate is not None:
            answer.append(("Sec-WebSocket-Extensions", deflate.answer()))
        self.subprotocol = subprotocol
        self.messages = wire.messages(limit, deflate)
        self.state = OPEN
        self._heard = monotonic()
        self._room = Room.here()
        self._room.enter(self)
        x.go_away = self.go_away
        try:
            wire.open(x.switch([*answer, *x.headers]), self)
        except ClientGone:
            self._ended(_LOST, "", cancels=False)
            raise

    def _send(self, data: str | bytes) -> None:
        if self.state != OPEN:
            raise self._closed()
        self._put(self.messages.message(data))

    def _put(self, data: bytes) -> None:
        if self.state != OPEN:
            raise self._closed()
        self.write(data)

    def write(self, data: bytes) -> None:
        """Send frames and count them."""
        self.wire.x.sent += len(data)
        self.wire.write(data)

    def _closed(self) -> ConnectionClosed:
        return ConnectionClosed(self.close_code, self.close_reason)

    def _close(self, code: int, reason: str) -> None:
        if self.state != OPEN:
            return
        self.close_code, self.close_reason = code, reason
        self.state = CLOSING
        self._close_by = monotonic() + _CLOSE_TIMEOUT
        self._inbox.clear()
        self._unread = 0
        self.write(closing(code, reason))
        self._resume()  # the answer may be behind what was not read
        self._leave_channels()
        self._waiters.wake()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self.wire.resume()

    def _subscribe(self, channel: str) -> None:
        if self.state != OPEN or self._room is None:
            raise self._closed()
        self._room.subscribe(self, channel)

    def _unsubscribe(self, channel: str) -> None:
        if self._room is not None:
            self._room.unsubscribe(self, channel)

    def _leave_channels(self) -> None:
        if self._room is not None:
            self._room.unsubscribe_all(self)

    # In the loop's thread, for the wire

    def feed(self, data: bytes) -> None:
        """Take frames, or parts of them."""
        if self.state not in {OPEN, CLOSING}:
            return
        self._heard = monotonic()
        self._pinged = 0.0
        try:
            for event in self.messages.feed(data):
                self._take(event)
        except Violation as error:
            self.fail(error.code, error.reason)

    def feed_frame(self, first: int, payload: bytes) -> None:
        """Take a message that has been put together, or a control frame: its first byte and its payload."""
        self.feed(frame(first & ~frames.FIN, payload))

    def _take(self, event: Event) -> None:
        if event.kind == frames.CLOSE:
            self._take_close(event)
        elif self.state != OPEN or event.kind == frames.PONG:
            pass
        elif event.kind == frames.PING:
            # Who does not read need not hear every answer (RFC 6455 section 5.5.3).
            if self.wire.pending <= _HIGH_WATER:
                self.write(frame(frames.PONG, event.data))  # type: ignore[arg-type]
        else:
            self._inbox.append(event)
            self._unread += event.size
            self._waiters.wake()
            if self._unread > _READ_AHEAD and not self._paused:
                self._paused = self.wire.pause()
                if not self._paused and self._unread > _MOST_AHEAD + self._options.websocket_max_size * 1024:
                    self.fail(_POLICY, "too many messages wait for the application")

    def _take_close(self, event: Event) -> None:
        """End, as the client wishes, or as it agrees to."""
        if self.state == OPEN:
            assert isinstance(event.data, str)
            self.write(closing(event.code, ""))
            self._ended(event.code, event.data, cancels=not self._receives)
        else:
            self._ended(self.close_code, self.close_reason, cancels=False)
        self.wire.end()

    def fail(self, code: int, reason: str) -> None:
        """End a WebSocket whose client does what it may not."""
        if self.state not in {OPEN, CLOSING}:
            return
        if self.state == OPEN:
            x = self.wire.x
            log.info("%s: %s is closed with %d: %s", x.environ.get("appserver.listener"), x.uri, code, reason)
            self.write(closing(code, reason))
            self._ended(code, reason, cancels=not self._receives)
        else:
            self._ended(self.close_code, self.close_reason, cancels=False)
        self.wire.end()

    def lost(self) -> None:
        """Note that the connection has ended without a word."""
        if self.state == OPEN:
            self._ended(_LOST, "", cancels=self.wire.cancels)
        elif self.state == CLOSING:
            self._ended(self.close_code, self.close_reason, cancels=False)

    def _ended(self, code: int, reason: str, *, cancels: bool) -> None:
        """Note the end; where nothing would tell the application, or it *cancels*, its call is ended."""
        self.close_code, self.close_reason = code, reason
        self.state = CLOSED
        if self._room is not None:
            self._room.leave(self)
        x = self.wire.x
        if cancels and not self._waiters.has(x.core):
            gevent.get_hub().loop.run_callback(cancel, x)
        self._waiters.wake()

    def drained(self) -> None:
        """Let those go on who wait for the client to read."""
        self._waiters.wake()

    def finish(self, *, failed: bool) -> None:
        """Close, as the application's call is over, and *failed* if it has not ended by itself."""
        self._close(_FAILED if failed else _NORMAL, "")

    def go_away(self) -> None:
        """Close, as the server stops."""
        self._close(_GOING_AWAY, "the server stops")

    def tick(self, now: float) -> None:
        """See to clients that have fallen silent; to be called now and then."""
        options = self._options
        if self.state == CLOSING:
            if now > self._close_by:
                self.cut()
        elif self.state == OPEN and options.websocket_ping_interval:
            if self._pinged:
                if options.websocket_ping_timeout and now - self._pinged > options.websocket_ping_timeout:
                    log.info("a WebSocket client does not answer any more: %s", self.wire.x.uri)
                    self.cut()
            elif now - self._heard > options.websocket_ping_interval and not self._paused:
                self._pinged = now
                self.write(frame(frames.PING, b""))

    def cut(self) -> None:
        """End at once."""
        self.lost()
        self.wire.cut()

    @property
    def crowded(self) -> bool:
        """Whether so much waits for the client that it gets nothing more that is published."""
        return self.wire.pending > self._options.websocket_backlog * 1024

    def shed(self) -> None:
        """End a WebSocket whose client does not read what is published."""
        self.fail(_LATER, "the client reads too slowly")
