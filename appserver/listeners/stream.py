"""Listeners on stream sockets: bind, accept, and end what takes too long."""

from __future__ import annotations

import errno
import logging
import os
import resource
import select
import socket
from contextlib import suppress
from operator import attrgetter
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from gevent import get_hub
from mypy_extensions import mypyc_attr

from appserver import address
from appserver.address import AddressError
from appserver.binding import BindOptions, adapt, bind, leaves_ipv4, socket_name
from appserver.listeners.connection import Connection
from appserver.listeners.dangers import dangers
from appserver.listeners.later import Later
from appserver.listeners.options import StreamOptions
from appserver.listeners.patience import Limits
from appserver.listeners.pause import Pause
from appserver.listeners.quantum import Quantum
from appserver.listeners.refusals import Refusals
from appserver.listeners.shutter import shut
from appserver.listeners.socket_file import SocketFile
from appserver.listeners.warnings import Warnings
from appserver.spec import Spec, addresses
from appserver.stats.backlog import backlog
from appserver.trust import TrustOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.exchange import Exchange
    from appserver.listeners.service import Service
    from appserver.options import Settings
    from appserver.protocols.codec import Codec

log = logging.getLogger("appserver.listeners")

# The real ones, also where gevent replaces them later; and compiled they need not be looked for.
_set_blocking: Final = os.set_blocking
_poll: Final = select.poll
_READ = 1  # libev's event bit
_REFUSALS = 2  # after which a turn is over: a flood of bad requests is not to hold up the others
_MOMENT = 0.001  # seconds after which most peers near by have ended the connection that they were refused
_LONG = 0.1  # seconds after which an answer takes long; most requests cost no watcher then
_ACCEPTS = 16  # connections taken in one turn of the loop; those that are open have theirs in between
_EVERY = 1 << 30
_SHARE = 32  # of the connections at most, one in so many is ended where it idles and others wait
_SWEEP = 1.0  # seconds between looks at the deadlines
_PAUSE = 0.1  # seconds without accepting when that fails, for want of descriptors above all
_UNSERVED = "%s: a connection cannot be served"


def _allowed() -> int:
    """Return how many connections the limit of open files allows, some left for the application."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _EVERY if soft == resource.RLIM_INFINITY else max(1, soft - min(256, soft // 4))


@mypyc_attr(allow_interpreted_subclasses=True)
class StreamListener:
    """Listen on one stream socket; subclasses say what is spoken there."""

    name: ClassVar[str]
    Options: ClassVar[type]
    Spoken: ClassVar[type]
    """The codec of one connection, made from what every environ starts from and ``buffer-size``."""
    subscribes: ClassVar[bool] = False
    speaks_for_clients: ClassVar[bool] = True
    """Whether a peer's REMOTE_ADDR, REMOTE_USER and HTTPS are believed, as those of CGI variables are."""

    def __init__(self, spec: str, settings: Settings) -> None:
        self.spec = spec
        self.settings = settings
        self.options = settings.of(StreamOptions)
        self.given = Spec(spec)
        self._bind = self.given.of(settings, BindOptions)
        self._bound = self._bind  # what the socket has of them
        self._wanted = socket_name(self.given.address, self._bind)
        self.trust = self.given.of(settings, TrustOptions)
        self.address = self.given.address
        self.forwarded = self.trust.forwarded(self._ignored)
        self.proxied = self.trust.enable_proxy_protocol and not self.speaks_for_clients
        self.limits = self._limits(self.options)
        self.buffer = self.options.buffer_size  # bytes; at hand for each connection
        self.connections: set[Connection] = set()
        self.muted: set[Connection] = set()  # those that are not read because enough is read already
        self.tcp = False
        self.base: dict[str, Any] = {}
        self._sock: socket.socket | None = None
        self._file: SocketFile | None = None
        self._ours = False  # the socket was made here, for nobody but us
        # Whether there is anything to ask about a peer before it is heard.
        self._guarded = self.trust.allow is not None or (self.proxied and self.forwarded is not None)
        self.turned_away = 0  # connections
        self._accepts = _ACCEPTS
        # What can be replaced costs to call.
        self.prepares = type(self).prepare is not StreamListener.prepare
        own = type(self).codec is not StreamListener.codec
        self.speaks: Any = None if own else getattr(self, "Spoken", None)  # who replaces `accepted` has none
        self._in_core = False  # a core accepts
        self._fetching = False  # and does so now
        self.accepting: Connection | None = None  # the one that is read then; with a request at once it is
        self.ready: Connection | None = None  # to be run
        self._arrived = 1  # how many have come at once; and the last time:
        self._expected = 1
        self._taken = self._room = 0  # in this turn of the loop, and how many may be
        self._enough = 0  # refusals; then the turn is over
        self._refusals = _REFUSALS
        self._most = _EVERY  # connections at once
        self.full = False  # accepting waits for a connection to end
        self._shared = False  # other processes accept from the same socket
        self._watchers: list[Any] = []
        self.null = -1  # the null device; `ending.close_under` wants it when there may be no more descriptors

    def _limits(self, options: StreamOptions) -> Limits:
        """Return the time limits of connections."""
        return Limits(
            options.socket_timeout, options.header_timeout, options.body_timeout, options.send_timeout,
            options.min_rate, options.keepalive_timeout,
        )  # fmt: skip

    def codec(self, peer: Any) -> Codec:
        """Return the codec of a new connection from *peer*, an address as accept(2) gives it."""
        made: Codec = self.Spoken(self.base, self.buffer)
        return made

    def prepare(self, connection: Connection, x: Exchange) -> None:
        """Add to a request's environ what needs its connection; called in a core."""

    def dangers(self) -> list[str]:
        """Tell of a public socket whose peers are believed, and of options without any effect."""
        return dangers(self)

    def bind(self, passed: dict[str, int]) -> None:
        """Take the address; raise `AddressError`."""
        wanted = address.parse(self.address)
        before = len(passed)
        self._sock = bind(self.address, self._bind, passed, addresses(self.settings))
        self.address = address.name_of(self._sock)
        self.tcp = self._sock.family != socket.AF_UNIX
        self._ours = not isinstance(wanted, int) and len(passed) == before
        if isinstance(wanted, str) and self.address[0] != "@" and self._ours:
            self._file = SocketFile(wanted)

    def follows(self, other: Self) -> bool:
        """Tell whether both listen on the same address."""
        return self._wanted in {other._wanted, other.address}

    def take_over(self, other: Self) -> None:
        """Listen on the socket of *other*, which is not closed; raise `AddressError` where it is another."""
        apart = leaves_ipv4(self.given.address, addresses(self.settings))
        if other._ours and apart != leaves_ipv4(other.given.address, addresses(other.settings)):
            wanted = "IPv6 alone" if apart else "IPv4, too"
            raise AddressError(
                f"cannot listen on {self.given.address} for {wanted}: a socket that is bound cannot change"
                " that; restart the server",
                self.given.address,
            )
        self.address, self.tcp = other.address, other.tcp
        self._sock, self._file, self._ours = other._sock, other._file, other._ours
        self._bound = other._bound

    def adapt(self) -> None:
        """Have a socket that was taken over be as the options say, and tell of what it cannot be."""
        if self._sock is None or not self._ours:
            return
        self._bound, left = adapt(self._sock, self._file, self._bound, self._bind)
        for option in left:
            log.warning(
                "%s %s: %s has changed, which takes effect at a restart", self.name, self.address, option
            )

    def attendant(self) -> None:
        """Return None: the workers accept by themselves."""

    def refuse(self) -> None:
        """Have no more connections come, while those that wait can still be accepted."""
        if self._sock is not None and self._ours:
            shut(self._sock)

    def abandon(self) -> None:
        """Free the address in any thread while the loop is blocked, which serves later what waits."""
        listening = self._sock
        if listening is None or not self._ours:
            return
        shut(listening)
        with suppress(OSError):  # nobody waits any more
            while True:  # bare descriptors, as in `_take`
                fd, peer = listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001
                self.loop.run_callback_threadsafe(self._adopt, fd, peer)
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)

    def sever(self) -> None:
        """Have the end of the process show which answers it cuts; in any thread, with the loop blocked."""
        for connection in list(self.connections):
            if isinstance(connection, Connection):  # a plug-in may have its own
                with suppress(OSError):
                    connection.sever()

    def _adopt(self, fd: int, peer: Any) -> None:
        """Serve a descriptor that another thread has accepted."""
        if self._sock is None or (self._guarded and not self._admits(peer)):
            os.close(fd)
            return
        os.set_blocking(fd, False)
        self.accepted(fd, peer)

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
        name = f"{self.name} {self.address}"
        self.refusals = Refusals(name)
        self._warnings = Warnings(name)
        self._most = self.options.max_connections or _allowed()
        self._arrivals = _poll()
        self._arrivals.register(self._sock.fileno(), select.POLLIN)
        # An `accepted` of a plug-in's own may want the loop's own greenlet, as what it runs has it.
        self._in_core = type(self).accepted is StreamListener.accepted
        self._accepting = self.loop.io(self._sock.fileno(), _READ)
        self._accepting.start(self._accept)
        self._resume = Pause(self.loop, _PAUSE)
        self._drying = Later(self.loop, _MOMENT, Connection.dry)
        self._unwatched = Later(self.loop, _LONG, Connection.hear)
        self.quantum = Quantum(self.loop)  # of small frames, chunks and records
        sweep = self.loop.timer(_SWEEP, _SWEEP)
        sweep.start(self._sweep)
        self._watchers = [
            self._accepting, self._resume, self._drying, self._unwatched, self.quantum, sweep,
        ]  # fmt: skip

    def _accept(self) -> None:
        """Accept what waits and read each at once: its request is often there already."""
        if self._shared and self.service.cores.full():
            self._leave_to_others()
        else:
            self._take()

    def _take(self) -> None:
        listening = self._sock
        assert listening is not None
        room = self._most - len(self.connections)
        if room <= 0:
            self._wait_for_room()
            return
        self._enough = self.refusals.count + self._refusals
        self._room = min(self._accepts, room)
        self._taken = 0
        self._expected, self._arrived = self._arrived, 1
        cores = self.service.cores
        if self._in_core:
            cores.run_all(self._next, Connection.waits)
        else:
            self._next()  # where each is run by whoever accepts it

    def _next(self) -> Connection | None:
        """Accept until a request has come, and return its connection; None at the end of the turn."""
        listening = self._sock
        while self._taken < self._room and listening is not None:
            # An accept in vain costs several times what poll(2) does: the kernel makes a socket for it first.
            if self._taken >= self._expected and not self._arrivals.poll(0):
                return None
            try:
                fd, peer = listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return None
            except OSError as error:
                self._pause(error)
                return None
            self._taken += 1
            self._arrived = self._taken
            # Bare descriptors: a socket object around one costs two system calls and its own making.
            _set_blocking(fd, False)
            if self._guarded and not self._admits(peer):
                os.close(fd)
                continue
            self._fetching = self._in_core
            try:
                if self._in_core:
                    _serve(self, fd, peer)
                else:
                    self.accepted(fd, peer)
            except Exception:  # gevent would stop accepting
                log.exception(_UNSERVED, self.name)
            finally:
                self._fetching = False
            if self.refusals.count >= self._enough:
                self._room = 0
            ready, self.ready = self.ready, None
            if ready is not None:
                return ready
        return None

    def accepted(self, fd: int, peer: Any) -> None:
        """Serve an accepted, non-blocking descriptor, which is the callee's to close."""
        _serve(self, fd, peer)

    def dry(self, connection: Connection) -> None:
        """Look in a moment whether the peer has ended its half: most have, which saves a watcher for each."""
        if not self._watchers:  # closed: nobody will look
            connection.close()
            return
        self._drying.add(connection)

    def watch_later(self, connection: Connection) -> None:
        """Have a connection watched if its answer takes long, for a watcher is a tenth of what most cost."""
        if self._watchers:  # else closed: nobody will look
            self._unwatched.add(connection)

    def _admits(self, peer: Any) -> bool:
        """Tell whether a peer may connect; log where it may not, not every time."""
        host = peer[0] if self.tcp else ""
        allow, proxies = self.trust.allow, self.trust.trusted_proxies
        if self.tcp and allow is not None and host not in allow:
            self._refused(host, "allow")
        elif self.proxied and proxies is not None and host not in proxies:
            self._refused(host or "unix", "trusted-proxies, and only those may send the PROXY protocol")
        else:
            return True
        return False

    def _refused(self, host: str, why: str) -> None:
        self.turned_away += 1
        self._warnings.tell("a peer was turned away", f" ({self.turned_away} so far): {host} is not in {why}")

    def _ignored(self, name: str, value: str) -> None:
        assert self.forwarded is not None
        count = self.forwarded.ignored[name]
        self._warnings.tell(f"a {name} was ignored", f" ({count} so far): {value[:80]!r} is malformed")

    def _leave_to_others(self) -> None:
        """Accept nothing until a core is free: another process may serve at once what waits."""
        self._accepting.stop()
        self.service.cores.when_free(self._go_on)

    def _go_on(self) -> None:
        """Accept again; what waits now is taken, though the cores may be full: it is this listener's turn."""
        if self._sock is not None and self._watchers and not self._accepting.active:
            self._accepting.start(self._accept)
            self._take()

    def _wait_for_room(self) -> None:
        """Accept nothing until a connection has ended; those that are refused or idle longest end at once."""
        spare = [c for c in self.connections if isinstance(c, Connection) and c.spare]
        spare.sort(key=attrgetter("deadline"))
        for connection in spare[: max(1, self._most // _SHARE)]:
            self._apart(connection, connection.expire)
        if len(self.connections) < self._most:
            return  # and be called again
        self._warnings.tell(f"max-connections = {self._most} are open; more wait")
        self.full = True
        self._accepting.stop()

    def go_on(self) -> None:
        """Accept again, as there is room."""
        self.full = False
        self._go_on()

    def _pause(self, error: OSError) -> None:
        """Accept nothing for a moment; a listening socket stays readable, so the loop would spin."""
        self._accepting.stop()
        if error.errno == errno.EINVAL:  # it has been shut
            return
        self._warnings.tell(f"cannot accept for now: {error.strerror}")
        self._resume.begin(self._go_on)

    def _sweep(self) -> None:
        now = monotonic()
        for connection in [c for c in self.connections if c.deadline < now]:
            self._apart(connection, connection.expire)
        for connection in list(self.muted):
            self._apart(connection, connection.look)
        self.refusals.tell()
        if self.full and len(self.connections) < self._most:  # a plug-in's connections may end unheard
            self.go_on()

    def _apart(self, connection: Connection, call: Callable[[], None]) -> None:
        """Call something for one connection of many, which the others do not suffer from."""
        try:
            call()
        except Exception:
            log.exception(_UNSERVED, self.name)
            connection.cut()

    def stop(self) -> None:
        """Take what has arrived unless others will, accept no more, end connections when they are idle."""
        if self._sock is None:
            return
        if self._watchers:
            self._accepting.stop()
            if not self.service.followed():
                self._shared = False
                self._accepts = self._refusals = self._most = _EVERY
                self._accept()
        self._sock.close()
        self._sock = None
        if self._watchers:
            self._resume.stop()
        for connection in list(self.connections):
            self._apart(connection, connection.stop)

    def in_hand(self) -> int:
        """Return how many connections are open."""
        return len(self.connections)

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
        if self._watchers:
            self.refusals.tell()
        self._watchers = []
        for connection in list(self.connections):
            connection.cut()
        if self.null >= 0:
            os.close(self.null)
            self.null = -1
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._file is not None and self._bind.vacuum:
            self._file.remove()


def _serve(listener: StreamListener, fd: int, peer: Any) -> None:
    """Do as `StreamListener.accepted`; by itself, as to call what a plug-in may replace costs more."""
    try:
        if listener.speaks is None:
            codec = listener.codec(peer)
        else:
            codec = listener.speaks(listener.base, listener.buffer)
        connection = Connection(listener, fd, codec)
    except BaseException:  # nobody else closes it
        os.close(fd)
        raise
    connection.codec.trust = listener.forwarded
    if listener._fetching:  # noqa: SLF001  (it is the listener's own)
        listener.accepting = connection
    try:
        connection.readable()
    finally:
        listener.accepting = None
