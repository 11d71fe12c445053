"""Listeners on stream sockets: bind, accept, and end what takes too long."""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from contextlib import suppress
from ctypes import addressof, create_string_buffer
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Self

from gevent import get_hub

from appserver import address
from appserver.address import BindOptions
from appserver.listeners.connection import Connection
from appserver.options import option, seconds
from appserver.stats.backlog import backlog

if TYPE_CHECKING:
    from appserver.exchange import Exchange
    from appserver.listeners.listener import Service
    from appserver.options import Settings
    from appserver.protocols.codec import Codec

log = logging.getLogger("appserver.listeners")

_READ = 1  # libev's event bit
_ACCEPTS = 64  # connections taken in one turn of the loop
_EVERY = 1 << 30
_SWEEP = 1.0  # seconds between looks at the deadlines
_PAUSE = 0.1  # seconds without accepting when descriptors run out
_SO_ATTACH_FILTER = 26
# The kernel's packet filter (socket(7)): load the byte of flags; if it has SYN drop the packet, else take it.
_STEPS = ((0x30, 0, 0, 13), (0x45, 0, 1, 2), (6, 0, 0, 0), (6, 0, 0, 0xFFFFFFFF))
_NO_SYN = b"".join(struct.pack("@HBBI", *step) for step in _STEPS)
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


_IDLE = 75.0


def idle(text: str) -> float:
    """Convert ``keepalive-timeout``: seconds, or true for as many as usual."""
    return _IDLE if text.lower() in {"", "true", "yes", "on"} else seconds(text)


@dataclass(frozen=True)
class StreamOptions:
    """Requests."""

    buffer_size: int = option(
        65536,
        "Bytes that a request's head may have.",
        short="b",
        note="4096 there; a request that is too long is answered 431 here.",
    )
    post_buffering: int = option(
        1048576,
        "Bytes of a request's body held in memory; more goes to a temporary file. 0 = the application is"
        " called at once, and reads the body as it comes.",
        note="Off there.",
    )
    limit_post: int = option(
        0,
        "Bytes that a request's body may have; 0 = no limit.",
        example="10485760",
        note="A body that is too long is answered 413.",
    )
    socket_timeout: float = option(
        60.0,
        "Seconds that a peer may take between two pieces of a request or an answer.",
        short="z",
        note="4 there.",
    )
    keepalive_timeout: float = option(
        _IDLE,
        "Seconds that a kept connection may idle.",
        aliases=("http-keepalive",),
        convert=idle,
        expects="seconds",
        note="own; `http-keepalive` is off there until it is set.",
    )
    ignore_client_abort: bool = option(
        False, "Finish a request whose client has closed its side of the connection; it may still read."
    )


class _SocketFile:
    """The file of a Unix socket that this process has made."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # the application may change the directory
        status = os.stat(self._path)
        self._identity = (status.st_dev, status.st_ino)
        self._pid = os.getpid()

    def remove(self) -> None:
        """Remove it, unless another server's is there by now or we are only a child; safe twice."""
        with suppress(OSError):
            status = os.stat(self._path)
            if (status.st_dev, status.st_ino) == self._identity and os.getpid() == self._pid:
                os.unlink(self._path)


class StreamListener:
    """Listen on one stream socket; subclasses say what is spoken there."""

    name: ClassVar[str]
    Options: ClassVar[type]
    subscribes: ClassVar[bool] = False

    def __init__(self, spec: str, settings: Settings) -> None:
        self.spec = spec
        self.settings = settings
        self.options = settings.of(StreamOptions)
        self.address = address.checked(spec)
        self.connections: set[Connection] = set()
        self.tcp = False
        self.base: dict[str, Any] = {}
        self._sock: socket.socket | None = None
        self._file: _SocketFile | None = None
        self._ours = False  # the socket was made here, for nobody but us
        self._accepts = _ACCEPTS
        self._shared = False  # other processes accept from the same socket
        self._watchers: list[Any] = []
        self.null = -1  # the null device; `ending.close_under` wants it when there may be no more descriptors

    def codec(self, peer: Any) -> Codec:
        """Return the codec of a new connection from *peer*, an address as accept(2) gives it."""
        raise NotImplementedError

    def prepare(self, connection: Connection, x: Exchange) -> None:
        """Add to a request's environ what needs its connection; called in a core."""

    def bind(self, passed: dict[str, int]) -> None:
        """Take the address; raise `AddressError`."""
        wanted = address.parse(self.address)
        before = len(passed)
        self._sock = address.bind(self.address, self.settings.of(BindOptions), passed)
        self.address = address.name_of(self._sock)
        self.tcp = self._sock.family != socket.AF_UNIX
        self._ours = not isinstance(wanted, int) and len(passed) == before
        if isinstance(wanted, str) and self.address[0] != "@" and self._ours:
            self._file = _SocketFile(wanted)

    def follows(self, other: Self) -> bool:
        """Tell whether both listen on the same address."""
        return self.spec in {other.spec, other.address}

    def take_over(self, other: Self) -> None:
        """Listen on the socket of *other*, which is not closed."""
        self.address, self.tcp = other.address, other.tcp
        self._sock, self._file, self._ours = other._sock, other._file, other._ours

    def attendant(self) -> None:
        """Return None: the workers accept by themselves."""

    def refuse(self) -> None:
        """Have no more connections come, while those that wait can still be accepted.

        The kernel refuses them for a Unix socket (unix(7)). It would reset those that wait for a TCP
        socket, as it does when that is closed; so there it drops the first packet of new ones, which
        their clients send again after a second.
        """
        if self._sock is None or not self._ours:
            return
        with suppress(OSError):
            if self.tcp:
                program = create_string_buffer(_NO_SYN)
                filtering = struct.pack("@HP", len(_STEPS), addressof(program))
                self._sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtering)
            else:
                self._sock.shutdown(socket.SHUT_RD)

    def waiting(self) -> tuple[int, int]:
        """Return how many connections wait to be accepted, and how many may."""
        return (0, 0) if self._sock is None else backlog(self._sock)

    def start(self, service: Service) -> None:
        """Accept connections in this thread's loop."""
        if service.environ["wsgi.multiprocess"]:
            self._shared = True
            self._accepts = 1  # the next one is for whoever is free
        assert self._sock is not None
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.service = service
        self.hub = get_hub()
        self.loop = self.hub.loop
        self.base = service.environ | {"appserver.listener": self.name}
        self._accepting = self.loop.io(self._sock.fileno(), _READ)
        self._accepting.start(self._accept)
        self._resume = self.loop.timer(_PAUSE)
        sweep = self.loop.timer(_SWEEP, _SWEEP)
        sweep.start(self._sweep)
        self._watchers = [self._accepting, self._resume, sweep]

    def _accept(self) -> None:
        """Accept what waits and read each at once: its request is often there already."""
        if self._shared and self.service.cores.full():
            self._leave_to_others()
        else:
            self._take()

    def _take(self) -> None:
        listening = self._sock
        assert listening is not None
        for _ in range(self._accepts):
            try:
                fd, peer = listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._pause(error)
                return
            # Bare descriptors: a socket object around one costs two system calls and its own making.
            os.set_blocking(fd, False)
            self.accepted(fd, peer)

    def accepted(self, fd: int, peer: Any) -> None:
        """Serve an accepted, non-blocking descriptor, which is the callee's to close."""
        Connection(self, fd, peer).readable()

    def _leave_to_others(self) -> None:
        """Accept nothing until a core is free: another process may serve at once what waits."""
        self._accepting.stop()
        self.service.cores.when_free(self._go_on)

    def _go_on(self) -> None:
        """Accept again; what waits now is taken, though the cores may be full: it is this listener's turn."""
        if self._sock is not None and self._watchers:
            self._accepting.start(self._accept)
            self._take()

    def _pause(self, error: OSError) -> None:
        """Accept nothing for a moment; a listening socket stays readable, so the loop would spin."""
        log.warning("%s %s: cannot accept for now: %s", self.name, self.address, error.strerror)
        self._accepting.stop()
        self._resume.start(self._accepting.start, self._accept)

    def _sweep(self) -> None:
        now = monotonic()
        for connection in [c for c in self.connections if c.deadline < now or c.muted]:
            if connection.deadline < now:
                connection.expire()
            else:
                connection.look()

    def stop(self) -> None:
        """Take what has arrived unless others will, accept no more, end connections when they are idle."""
        if self._sock is None:
            return
        if self._watchers:
            self._accepting.stop()
            if not self.service.followed():
                self._shared = False
                self._accepts = _EVERY
                self._accept()
        self._sock.close()
        self._sock = None
        if self._watchers:
            self._resume.stop()
        for connection in list(self.connections):
            connection.stop()

    def busy(self) -> int:
        """Return how many connections are open."""
        if self._sock is None and self._watchers:
            self._sweep()  # those that are idle have little time
        return len(self.connections)

    def close(self) -> None:
        """Close every connection and the socket; with ``vacuum`` remove the socket's file."""
        for watcher in self._watchers:
            watcher.stop()
            watcher.close()
        self._watchers = []
        for connection in list(self.connections):
            connection.cut()
        if self.null >= 0:
            os.close(self.null)
            self.null = -1
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._file is not None and self.settings.of(BindOptions).vacuum:
            self._file.remove()
