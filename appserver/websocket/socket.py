"""The application's side of a WebSocket: ``environ["wsgi.websocket"]``."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakSet

import gevent
from gevent import getcurrent

from appserver.errors import ApplicationError, ConnectionClosed
from appserver.websocket import frames
from appserver.websocket.frames import frame, is_code, payload_of
from appserver.websocket.handshake import offered
from appserver.websocket.room import check_channel
from appserver.websocket.session import CONNECTING, NORMAL, Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greenlet import greenlet

    from appserver.websocket.options import WebSocketOptions
    from appserver.websocket.wire import Wire

KEY = "wsgi.websocket"  # in the environ, as gevent-websocket has it

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
    `close` and `fileno` accept, where that has not been done.
    """

    def __init__(self, wire: Wire, options: WebSocketOptions) -> None:
        self.environ = wire.x.environ
        self._session = Session(wire, options)
        self._told: WeakSet[greenlet] | None = None  # who has been told of the end, once it has come

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that it has been accepted with."""
        return self._session.subprotocol

    @property
    def close_code(self) -> int:
        """The code of its end; 0 before that."""
        return self._session.close_code

    @property
    def close_reason(self) -> str:
        """What has been said at its end."""
        return self._session.close_reason

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._session.closed

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offers, the ones it likes best first."""
        return offered(self.environ)

    @property
    def path(self) -> str:
        """The path of its request, PATH_INFO."""
        path: str = self.environ.get("PATH_INFO", "")
        return path

    @property
    def version(self) -> str | None:
        """The version of the protocol that the client speaks."""
        return self.environ.get("HTTP_SEC_WEBSOCKET_VERSION")

    @property
    def protocol(self) -> str | None:
        """The same as `subprotocol`, as gevent-websocket has it."""
        return self.subprotocol

    @property
    def origin(self) -> str | None:
        """The origin of the page that has opened it, None where it is no browser's."""
        return self.environ.get("HTTP_ORIGIN")

    def accept(self, subprotocol: str | None = None, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Accept, with one of the subprotocols that the client offers, and *headers* in the answer.

        `ApplicationError` says what is wrong with them, `ConnectionClosed` that nobody is there any more.
        """
        if subprotocol is not None and subprotocol not in self.subprotocols:
            raise ApplicationError(f"the client does not offer the subprotocol {subprotocol!r}")
        own = list(headers)
        for name, _ in own:
            if name.lower() in _OURS:
                raise ApplicationError(f"{name} is not the application's to set")
        self._session.waiters.run(self._session.accept, subprotocol, own)

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """Return the next message, None after the last one; ``close_code`` tells then how it has ended.

        Raise `TimeoutError` where none comes within *timeout* seconds, and `ConnectionClosed` for who has had
        None: it would go on for ever, and without a turn of the loop.
        """
        session = self._begin()
        session.receives = True
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            with self._resting():
                if not session.waiters.wait(session.receivable, left):
                    raise TimeoutError("no message has come")
            try:
                event = session.pop()
            except IndexError:
                if session.closed:
                    self._tell_end()
                    return None
                continue  # somebody else has got it
            if session.caught_up:
                session.waiters.run(session.resume)
            if session.bell is not None:
                session.waiters.run(session.ring)
            return event.data

    def fileno(self) -> int:
        """Return a descriptor that is readable while there is a message to receive, or will be none.

        It is for `select` and its kin alone, and closed when the call of the application is over.
        """
        descriptor: int = self._session.waiters.run(self._session.fileno)
        return descriptor

    def _tell_end(self) -> None:
        """Tell a greenlet or thread of the end; raise `ConnectionClosed` where it has been told."""
        if self._told is None:
            self._told = WeakSet()
        reader = getcurrent()
        if reader in self._told:
            raise self._session.told()
        self._told.add(reader)

    def __iter__(self) -> Iterator[str | bytes]:
        with suppress(ConnectionClosed):  # there are no more messages
            while (message := self.receive()) is not None:
                yield message

    def send(self, data: str | bytes) -> None:
        """Send a message: str as text, bytes as they are; wait where the client does not keep pace.

        Raise `ConnectionClosed` where it has ended.
        """
        if not self._session.closed:  # else it may be the None that tells of the end
            payload_of(data)  # a mistake is told here, with the caller's stack
        session = self._begin()
        session.waiters.run(session.send, data)
        with self._resting():
            session.waiters.wait(session.sendable)
        if session.waiters.here:
            gevent.sleep(1e-9)  # a turn of the loop (see `GreenletCores.turn`)

    def ping(self, data: bytes = b"") -> None:
        """Send a ping; its answer is not told. Raise `ConnectionClosed` where it has ended."""
        if len(data) > frames.LARGEST_CONTROL:
            raise ValueError(f"a ping has {frames.LARGEST_CONTROL} bytes at most")
        session = self._begin()
        session.waiters.run(session.put, frame(frames.PING, bytes(data)))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """End it; what has been sent still goes. Before it is accepted, refuse it with 403.

        Nothing happens where it has ended already.
        """
        if not is_code(code):
            raise ValueError(
                f"{code} is no code to close with: 1000 is, and 3000 to 4999 are the application's"
            )
        if len(reason.encode()) > frames.LARGEST_CONTROL - 2:
            raise ValueError(f"a reason has {frames.LARGEST_CONTROL - 2} bytes of UTF-8 at most")
        if self._session.state == CONNECTING:
            self._session.refuse()
        else:
            self._session.waiters.run(self._session.close, code, reason)

    def subscribe(self, channel: str) -> None:
        """Have messages sent that are published to *channel* (`appserver.publish`) from now on."""
        check_channel(channel)
        session = self._begin()
        session.waiters.run(session.subscribe, channel)

    def unsubscribe(self, channel: str) -> None:
        """Have them sent no more."""
        check_channel(channel)
        self._session.waiters.run(self._session.unsubscribe, channel)

    def _begin(self) -> Session:
        if self._session.state == CONNECTING:
            self.accept()
        return self._session

    @contextmanager
    def _resting(self) -> Iterator[None]:
        """Have the call's time limit not count what the client makes it wait."""
        x = self._session.wire.x
        clock = x.clock
        if clock is None or x.core is not getcurrent():
            yield
            return
        clock.pause()
        try:
            yield
        finally:
            clock.resume()
