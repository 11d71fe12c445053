"""A WebSocket as its loop has it: what comes over its wire, what goes, and how it ends."""

from __future__ import annotations

import logging
import sys
from collections import deque
from functools import cache, partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

import gevent

from appserver.errors import ApplicationError, ClientGone, ConnectionClosed
from appserver.interrupt import cancel
from appserver.protocols.upgrade import accepting
from appserver.websocket import frames
from appserver.websocket.bell import Bell
from appserver.websocket.frames import Violation, closing, frame
from appserver.websocket.room import Room
from appserver.websocket.waiting import Waiters

if TYPE_CHECKING:
    from appserver.websocket.frames import Event
    from appserver.websocket.options import WebSocketOptions
    from appserver.websocket.wire import Wire

log = logging.getLogger("appserver.websocket")

CONNECTING, OPEN, CLOSING, CLOSED = range(4)

_HIGH_WATER = 262144  # bytes that may wait for the client before the sender does
_READ_AHEAD = 262144  # bytes of messages that wait for the application before the client does
_MOST_AHEAD = 4194304  # the same where the client cannot be made to wait: more ends the connection
_HELD_UP = 2.0  # seconds between two ticks after which the loop has not read what came meanwhile
_REPRIEVE = 1.0  # seconds; the next tick may follow at once
_CLOSE_TIMEOUT = 5.0  # seconds that a client has to answer a close frame
NORMAL, _GOING_AWAY, _LOST, _POLICY, _FAILED, _LATER = 1000, 1001, 1006, 1008, 1011, 1013


@cache
def _also(error: type[Exception]) -> type[ConnectionClosed]:
    """Return a `ConnectionClosed` that is a library's *error* as well."""
    return type("ConnectionClosed", (ConnectionClosed, error), {"__module__": ConnectionClosed.__module__})


class Session:
    """Be the peer of a wire. All is called in the loop's thread, where nothing else is said."""

    def __init__(self, wire: Wire, options: WebSocketOptions) -> None:
        self.wire = wire
        self.waiters = Waiters(wire.hub)
        self.state = CONNECTING
        self.subprotocol: str | None = None
        self.close_code = 0  # of the end; 0 before it
        self.close_reason = ""
        self.receives = False  # the application has asked for messages, so it hears of the end
        self.bell: Bell | None = None  # of who selects
        self._options = options
        self._room: Room | None = None
        self._inbox: deque[Event] = deque()
        self._unread = 0  # bytes of it, as `Event` counts them
        self._paused = False
        self._pongs: list[bytes] = []  # frames that answer pings, sent together
        self._heard = 0.0  # when the client last said something
        self._pinged = False  # it has been asked to
        self._due = inf  # when it must have answered that, or the close frame
        self._taken = 0  # bytes that it has taken of what stands before
        self._ticked = 0.0  # when it was last seen to
        self._reprieved = False  # it has been given more time, as its answer may not have been read

    # In any thread

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.state >= CLOSING

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be sent, not even the answer to a close frame."""
        return self.state == CLOSED

    def receivable(self) -> bool:
        """Tell whether there is a message, or will be none."""
        return bool(self._inbox) or self.closed

    def sendable(self) -> bool:
        """Tell whether the client keeps pace, or has gone."""
        return self.wire.pending <= _HIGH_WATER or self.state == CLOSED

    def pop(self) -> Event:
        """Return the next message; raise `IndexError` where there is none, as somebody else has got it."""
        event = self._inbox.popleft()
        self._unread -= event.size
        return event

    @property
    def caught_up(self) -> bool:
        """Whether the client waits, and has done so for long enough (see `resume`)."""
        return self._paused and self._unread <= _READ_AHEAD // 2

    # For the application

    def refuse(self) -> None:
        """Answer 403 instead of accepting; in the caller's thread, as every answer."""
        self.state = CLOSED
        x = self.wire.x
        x.start_response("403 Forbidden", [("Content-Type", "text/plain")])
        try:
            x.send(b"Forbidden\n", False, len(b"Forbidden\n"))
        finally:
            x.refused = True

    def accept(self, subprotocol: str | None, own: list[tuple[str, str]]) -> None:
        """Accept, with fields of the application's in the answer."""
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
            ("Sec-WebSocket-Accept", accepting(x.environ["HTTP_SEC_WEBSOCKET_KEY"])),
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
            raise self.told() from None

    def send(self, data: str | bytes) -> None:
        """Send a message; raise `ConnectionClosed` where it has ended."""
        if self.state != OPEN:
            raise self.told()
        self.put(self.messages.message(data))

    def put(self, data: bytes) -> None:
        """Send a frame; raise `ConnectionClosed` where it has ended."""
        if self.state != OPEN:
            raise self.told()
        self.write(data)

    def write(self, data: bytes) -> None:
        """Send frames and count them."""
        self.wire.x.sent += len(data)
        self.wire.write(data)

    def told(self) -> ConnectionClosed:
        """Return what is raised after the end; users of gevent-websocket catch that library's own error."""
        library = sys.modules.get("geventwebsocket.exceptions")
        kind = ConnectionClosed if library is None else _also(library.WebSocketError)
        return kind(self.close_code, self.close_reason, self.wire.x)

    def fileno(self) -> int:
        """Return a descriptor that is readable while `receivable`; who has it hears of the end by it."""
        if self.bell is None:
            self.bell = Bell()
            self.wire.x.over = partial(self.waiters.run, self.bell.close)
            self.ring()
        if self.bell.closed:
            raise self.told()
        return self.bell.fd

    def ring(self) -> None:
        """Have the descriptor say what is so."""
        if self.bell is not None:
            self.bell.ring(self.receivable())

    def _wake(self) -> None:
        """Have all look who wait for messages."""
        self.waiters.wake()
        self.ring()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, unless one has been sent or has come."""
        if self.state != OPEN:
            return
        self.close_code, self.close_reason = code, reason
        self.state = CLOSING
        self._inbox.clear()
        self._unread = 0
        self.write(closing(code, reason))
        self._expect_answer(_CLOSE_TIMEOUT)
        self.resume()  # the answer may be behind what was not read
        if self._room is not None:
            self._room.unsubscribe_all(self)
        self._wake()

    def resume(self) -> None:
        """Have a client go on that waits for messages to be taken."""
        if self._paused:
            self._paused = False
            self._take_all(b"")  # what is left of the last piece
            if not self._paused:
                self.wire.resume()

    def subscribe(self, channel: str) -> None:
        """Have what is published to *channel* sent from now on."""
        if self.state != OPEN or self._room is None:
            raise self.told()
        self._room.subscribe(self, channel)

    def unsubscribe(self, channel: str) -> None:
        """Have it sent no more."""
        if self._room is not None:
            self._room.unsubscribe(self, channel)

    # For the wire

    def feed(self, data: bytes) -> None:
        """Take frames, or parts of them."""
        if self.state not in {OPEN, CLOSING}:
            return
        self._heard = monotonic()
        self._pinged = False
        self._take_all(data)

    def _take_all(self, data: bytes) -> None:
        """Take what is in a piece; the rest of it, which may be packed, waits where the client has to."""
        try:
            for event in self.messages.feed(data):
                self._take(event)
                if self._paused or self.ended:
                    break
        except Violation as error:
            self.fail(error.code, error.reason)
        self._answer_pings()

    def feed_frame(self, first: int, payload: bytes) -> None:
        """Take a message that has been put together, or a control frame: its first byte and its payload."""
        self.feed(frame(first & ~frames.FIN, payload))

    def _take(self, event: Event) -> None:
        if event.kind == frames.CLOSE:
            self._take_close(event)
        elif self.state != OPEN or event.kind == frames.PONG:
            pass
        elif event.kind == frames.PING:
            self._pongs.append(frame(frames.PONG, event.data))  # type: ignore[arg-type]
        else:
            self._inbox.append(event)
            self._unread += event.size
            self._wake()
            if self._unread > _READ_AHEAD and not self._paused:
                self._paused = self.wire.pause()
                if not self._paused and self._unread - event.size > _MOST_AHEAD:
                    self.fail(_POLICY, "too many messages wait for the application")

    def _answer_pings(self) -> None:
        """Answer the pings that have come in one piece, by one call of the system."""
        if self._pongs:
            # Who does not read need not hear every answer (RFC 6455 section 5.5.3).
            if self.state == OPEN and self.wire.pending <= _HIGH_WATER:
                self.write(b"".join(self._pongs))
            self._pongs.clear()

    def _take_close(self, event: Event) -> None:
        """End, as the client wishes, or as it agrees to."""
        self._answer_pings()
        if self.state == OPEN:
            assert isinstance(event.data, str)
            self.write(closing(event.code, ""))
            self._ended(event.code, event.data, cancels=not self.receives)
        else:
            self._ended(self.close_code, self.close_reason, cancels=False)
        self.wire.end()

    def fail(self, code: int, reason: str) -> None:
        """End a WebSocket whose client does what it may not."""
        if self.state not in {OPEN, CLOSING}:
            return
        self._answer_pings()
        if self.state == OPEN:
            x = self.wire.x
            log.info("%s: %s is closed with %d: %s", x.environ.get("appserver.listener"), x.uri, code, reason)
            self.write(closing(code, reason))
            self._ended(code, reason, cancels=not self.receives)
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
        x.go_away = None  # which knows this session, and this its request
        if cancels and self.bell is None and not self.waiters.has(x.core):
            gevent.get_hub().loop.run_callback(cancel, x)
        self._wake()

    def drained(self) -> None:
        """Let those go on who wait for the client to read."""
        self.waiters.wake()

    def finish(self, *, failed: bool) -> None:
        """Close, as the application's call is over, and *failed* if it has not ended by itself."""
        self.close(_FAILED if failed else NORMAL, "")

    def go_away(self) -> None:
        """Close, as the server stops."""
        self.close(_GOING_AWAY, "the server stops")

    # For the room

    def tick(self, now: float) -> None:
        """See to clients that have fallen silent; to be called now and then."""
        options = self._options
        if self.state == CLOSING:
            if self._overdue(now):
                self._give_up()
        elif self.state == OPEN and options.websocket_ping_interval:
            if not self._pinged:
                if now - self._heard > options.websocket_ping_interval:
                    self._pinged = True
                    self.write(frame(frames.PING, b""))
                    self._expect_answer(options.websocket_ping_timeout)
            elif self._paused and not self.wire.untaken:
                self._heard = now  # its answer is behind what is not read, but it has taken the ping
                self._pinged = False
            elif options.websocket_ping_timeout and self._overdue(now):
                log.info("a WebSocket client does not answer any more: %s", self.wire.x.uri)
                self.cut()
        self._ticked = now

    def _expect_answer(self, seconds: float) -> None:
        """Give the client so long to answer what has been written."""
        self._patience = self.wire.patience(seconds)
        self._due = self._patience.until()
        self._reprieved = False
        self._taken = self.wire.x.sent - self.wire.untaken

    def _overdue(self, now: float) -> bool:
        """Tell whether its time is up; it has more while it takes what it was sent before.

        Where the loop was held up when it ended, it has a second: the loop reads what has come by then.
        """
        taken = self.wire.x.sent - self.wire.untaken
        if taken > self._taken:
            self._patience.moved(taken - self._taken)
            self._taken = taken
            self._due = self._patience.until()
        if now > self._due and now - self._ticked > _HELD_UP and not self._reprieved:
            self._reprieved = True
            self._due = now + _REPRIEVE
        return now > self._due

    def _give_up(self) -> None:
        """End without the client's answer to our close frame; who has taken that may not have read it yet."""
        if self.wire.untaken:
            self.cut()
        else:
            self.lost()
            self.wire.end()

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
