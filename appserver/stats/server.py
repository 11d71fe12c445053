"""The statistics server: a document for each who connects, then the end.

It never waits for a client: it is told when something can be done, by whatever loop looks at its descriptor,
and does that. So it has one form for the master's loop and for a thread beside an application.
"""

from __future__ import annotations

import _thread
import json
import logging
import select
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from appserver import address
from appserver.address import AddressError
from appserver.binding import BindOptions, adapt, bind, socket_name
from appserver.lifecycle.error import StartError
from appserver.listeners.socket_file import SocketFile
from appserver.listeners.warnings import Warnings

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.options import Settings

from appserver.stats.options import StatsOptions

log = logging.getLogger("appserver.stats")

# The real ones, also where gevent replaces them later.
_Epoll, _start = select.epoll, _thread.start_new_thread

_PATIENCE = 10.0  # seconds that a client may take to ask and to read
_CLIENTS = 64  # who may be served at once; the oldest gives way
_LONGEST = 8192  # bytes of an HTTP request
_LOOK = 1.0  # seconds between looks at who takes too long, in a thread
_PAUSE = 1.0  # seconds without accepting when descriptors run out
_END = b"\r\n\r\n"
_HEAD = (
    "HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
    "Content-Length: {}\r\n\r\n"
)


@dataclass
class _Client:
    """Somebody who has connected, and what he still gets."""

    sock: socket.socket
    deadline: float
    asked: bytes = b""
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))


class StatsServer:
    """Serve what *document* returns, which is called for each client.

    `bind` first, then `turn` whenever `fileno` is readable and now and then besides, or `run_in_thread`.
    """

    def __init__(self, settings: Settings) -> None:
        self._options = settings.of(StatsOptions)
        self._bound = settings.of(BindOptions)  # what the socket has of them
        self.document: Callable[[], dict[str, Any]] | None = None
        self._sock: socket.socket | None = None
        self._file: SocketFile | None = None
        self._epoll: select.epoll | None = None
        self._clients: dict[int, _Client] = {}
        self._resume = inf  # when to accept again; it does while that is infinite
        self._warnings = Warnings("the statistics server")

    @property
    def address(self) -> str:
        """Where it listens; the real address once it is bound."""
        return self._options.stats if self._sock is None else address.name_of(self._sock)

    def bind(self) -> None:
        """Take the address; raise `StartError` where it cannot be had."""
        spec = self._options.stats
        try:
            self._sock = bind(spec, self._bound, {})
        except AddressError as error:
            raise StartError("stats", str(error), spec) from None
        where = address.parse(spec)
        if isinstance(where, str) and self.address[0] != "@":
            self._file = SocketFile(where)
        self._epoll = _Epoll()
        self._epoll.register(self._sock.fileno(), select.EPOLLIN)

    def listens(self, settings: Settings) -> bool:
        """Tell whether this server has the address that other settings want."""
        wanted = socket_name(settings.of(StatsOptions).stats, settings.of(BindOptions))
        return wanted in {socket_name(self._options.stats, self._bound), self.address}

    def follow(self, settings: Settings) -> None:
        """Listen and speak from now on as the options of a reload say; log what cannot be."""
        self._options = settings.of(StatsOptions)
        if self._sock is None or isinstance(address.parse(self._options.stats), int):
            return
        self._bound, left = adapt(self._sock, self._file, self._bound, settings.of(BindOptions))
        for option in left:
            log.warning("stats %s: %s has changed, which takes effect at a restart", self.address, option)

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to do."""
        assert self._epoll is not None
        return self._epoll.fileno()

    def run_in_thread(self) -> None:
        """Serve in a native thread from now on, until the process ends."""
        _start(self._run, ())

    def _run(self) -> None:
        while self._sock is not None:
            self.turn(_LOOK)

    def turn(self, seconds: float = 0) -> None:
        """Do what can be done without waiting, or what comes within some seconds."""
        epoll, sock = self._epoll, self._sock
        if epoll is None or sock is None:
            return
        try:
            for fd, _ in epoll.poll(seconds):
                if fd == sock.fileno():
                    self._accept(sock)
                elif (client := self._clients.get(fd)) is not None:
                    self._go_on(client)
            now = monotonic()
            if now >= self._resume:
                self._resume = inf
                epoll.register(sock.fileno(), select.EPOLLIN)
            for client in [each for each in self._clients.values() if each.deadline < now]:
                self._end(client)
        except (OSError, ValueError):
            if self._sock is not None:  # else it was closed meanwhile
                log.exception("the statistics server failed")

    def _accept(self, listening: socket.socket) -> None:
        assert self._epoll is not None
        try:
            sock, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._warnings.tell(f"cannot accept for now: {error.strerror}")
            self._epoll.unregister(listening.fileno())  # which stays readable, so the loop would spin
            self._resume = monotonic() + _PAUSE
            return
        if len(self._clients) >= _CLIENTS:
            self._end(next(iter(self._clients.values())))
        sock.setblocking(False)
        client = self._clients[sock.fileno()] = _Client(sock, monotonic() + _PATIENCE)
        if self._options.stats_http:
            self._epoll.register(sock.fileno(), select.EPOLLIN)
        else:
            self._epoll.register(sock.fileno(), select.EPOLLOUT)
            self._answer(client)

    def _go_on(self, client: _Client) -> None:
        if client.unsent:
            self._send(client)
            return
        try:
            data = client.sock.recv(_LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.asked += data
        if _END in client.asked or b"\n\n" in client.asked:
            assert self._epoll is not None
            self._epoll.modify(client.sock.fileno(), select.EPOLLOUT)
            self._answer(client)
        elif not data or len(client.asked) > _LONGEST:
            self._end(client)

    def _answer(self, client: _Client) -> None:
        assert self.document is not None
        try:
            document = self.document()
        except Exception:  # a fault in what is told must not end the server that tells it
            log.exception("there are no statistics")
            self._end(client)
            return
        small = self._options.stats_minified
        text = json.dumps(
            document, indent=None if small else "\t", separators=(",", ":"),
        ).encode()  # fmt: skip
        head = _HEAD.format(len(text)).encode() if self._options.stats_http else b""
        client.unsent = memoryview(head + text)
        self._send(client)

    def _send(self, client: _Client) -> None:
        try:
            client.unsent = client.unsent[client.sock.send(client.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            client.unsent = client.unsent[:0]
        if not client.unsent:
            self._end(client)

    def _end(self, client: _Client) -> None:
        """Close a connection, in such a way that what was sent is read."""
        sock = client.sock
        del self._clients[sock.fileno()]
        if self._epoll is not None:
            self._epoll.unregister(sock.fileno())  # a child may still have its copy
        with suppress(OSError):
            sock.recv(_LONGEST)  # closing with something unread would take the answer back
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()

    def remove(self) -> None:
        """End, and remove the socket's file if it is still ours; safe twice."""
        if self._file is not None:
            self._file.remove()
            self._file = None
        self.close()

    def close(self) -> None:
        """Close this process's copies, as a child must whose parent goes on."""
        for each in (self._sock, self._epoll, *(client.sock for client in self._clients.values())):
            if each is not None:
                each.close()
        self._sock = self._epoll = None
        self._clients.clear()
