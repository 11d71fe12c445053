"""Mongrel2 over ZeroMQ: requests are pulled, answers are published.

Every thread that serves has a `Subscription` with a PULL socket of its own; all share one
`Responder`. Mongrel2 deals its messages out in turn to whoever is connected, notices included.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, deque
from dataclasses import dataclass
from io import BytesIO
from threading import Lock
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, ClassVar

import gevent
import zmq
from gevent import get_hub

from appserver.address import AddressError
from appserver.exchange import ClientGone
from appserver.listeners import upload
from appserver.listeners.responder import Responder
from appserver.listeners.stream import StreamOptions
from appserver.options import BadValue, option
from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import TOO_LARGE
from appserver.protocols.mongrel2 import (
    DONE,
    START,
    Message,
    Mongrel2Codec,
    envelope,
    parse,
    sender,
)
from appserver.protocols.mongrel2 import Connection as Client

if TYPE_CHECKING:
    from appserver.exchange import Exchange
    from appserver.listeners.listener import Service
    from appserver.options import Settings

Line = tuple[int, Client]  # a client connection: Mongrel2 numbers them anew for each attachment

log = logging.getLogger("appserver.listeners")

_ERROR = "500 Internal Server Error"

_READ = 1  # libev's event bit
_BATCH = 64  # messages taken in one turn of the loop
_POLL = 0.05  # seconds between looks for Mongrel2's subscription,
_POLL_ATTACHED = 0.25  # and between looks whether it still has it
_RECONNECT = 30000  # milliseconds that an application may block a thread; see Subscription
_QUIET = 0.25  # seconds without a message after which the queue counts as dry

# Mongrel2 disconnects a client that has 16 messages to read and gets one more, and does not tell
# how many it has read (DELIVER_OUTSTANDING_MSGS in src/connection.c). So a stream is sent at once
# as long as it is slow, and in few large messages where it is fast.
_BURST = 8.0  # messages that may leave at once
_INTERVAL = 0.1  # seconds in which a client is taken to read one more,
_RATE = 1048576  # and the bytes of a message in one second more
_PIECES = 12  # messages into which a body of known length is cut at most
_BURST_OF_LENGTH = 3.0  # smaller ones that may leave besides, while the application is slow
_SMALL, _LARGE = 65536, 16777216  # bytes of a stream that are worth a message, and held at most

_DETAILS = re.compile(r"b?'[^']*'|b?\"[^\"]*\"|\d+")


def specs(text: str) -> str:
    """Convert ``zeromq``: the endpoints of Mongrel2's send_spec and recv_spec."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(re.fullmatch(r"(tcp|ipc|inproc)://.+", part) for part in parts):
        raise BadValue("Mongrel2's send_spec,recv_spec, such as tcp://127.0.0.1:9999,tcp://127.0.0.1:9998")
    return ",".join(parts)


@dataclass(frozen=True)
class Mongrel2Options:
    """Mongrel2."""

    zeromq: tuple[str, ...] = option(
        (), "Serve Mongrel2: pull from the first endpoint, answer to the second.",
        aliases=("zmq", "zeromq-socket", "zmq-socket", "mongrel2"), convert=specs,
        expects="send_spec,recv_spec", mounts=True,
    )  # fmt: skip
    mongrel2_upload_dir: str = option(
        "", "The directory of Mongrel2's upload.temp_store, as this server sees it.", expects="directory"
    )
    mongrel2_chroot: str = option(
        "", "The directory that Mongrel2 has for its root, as this server sees it.", expects="directory"
    )
    mongrel2_script_name: bool = option(False, "Make SCRIPT_NAME of the route that Mongrel2 has chosen.")


class Mongrel2Listener:
    """Attach to one Mongrel2 server."""

    name: ClassVar[str] = "mongrel2"
    Options: ClassVar[type] = Mongrel2Options
    subscribes: ClassVar[bool] = True

    def __init__(self, spec: str, settings: Settings) -> None:
        self.address = specs(spec)
        self.pull, self.publish = self.address.split(",")
        self.options = settings.of(Mongrel2Options)
        self.limit_post = settings.of(StreamOptions).limit_post
        self.turns = Turns()
        self.strange: Counter[str] = Counter()  # malformed messages of nobody, by kind
        self._lock = Lock()
        self._context: zmq.Context[Any] | None = None
        self._responder: Responder | None = None
        self._subscriptions: dict[Any, Subscription] = {}  # by the hub of their thread

    def bind(self, passed: dict[str, int]) -> None:
        """Check the endpoints; Mongrel2 is who binds. Raise `AddressError`."""
        with zmq.Context() as context:
            for endpoint in (self.pull, self.publish):
                # No PULL: Mongrel2 could deal it requests, which would be lost with it.
                with context.socket(zmq.XPUB) as socket:
                    socket.linger = 0
                    try:
                        socket.connect(endpoint)
                    except zmq.ZMQError as error:
                        raise AddressError(f"cannot connect to {endpoint}: {error.strerror}") from None

    def start(self, service: Service) -> None:
        """Subscribe in this thread's loop."""
        with self._lock:
            if self._context is None or self._responder is None:
                self._context = zmq.Context()
                self._responder = Responder(self._context, self.publish)
            hub = get_hub()
            self._subscriptions[hub] = Subscription(self, service, self._context, self._responder)

    def stop(self) -> None:
        """Read and answer until nothing comes any more; Mongrel2 would lose what is queued for us."""
        subscription = self._subscriptions.get(get_hub())
        if subscription is not None:
            subscription.drain()

    def busy(self) -> int:
        """Return the requests in hand, or 1 while more may come."""
        subscription = self._subscriptions.get(get_hub())
        return subscription.busy() if subscription is not None else 0

    def close(self) -> None:
        """Close this thread's socket, and with the last one what all share."""
        with self._lock:
            subscription = self._subscriptions.pop(get_hub(), None)
            if subscription is not None:
                subscription.close()
            if self._subscriptions or self._context is None or self._responder is None:
                return
            self._responder.close()
            self._context.term()
            self._context = self._responder = None
        for kind, count in self.strange.items():
            log.warning("mongrel2 %s: %d messages were malformed: %s", self.pull, count, kind)

    def count(self, reason: str) -> None:
        """Count a message that nobody can be told about; log the first of its kind."""
        kind = _DETAILS.sub("…", reason)
        if kind not in self.strange and len(self.strange) < 100:
            log.warning("mongrel2 %s: a message was dropped: %s", self.pull, reason)
        self.strange[kind if len(self.strange) < 100 else "others"] += 1


class Turns:
    """Whose turn it is on each client connection: answers go out in the order of the requests.

    Shared by all threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._lines: dict[Line, deque[Request]] = {}

    def enter(self, request: Request) -> bool:
        """Queue up; return True where *request* is the first and may run."""
        with self._lock:
            line = self._lines.setdefault(request.line, deque())
            line.append(request)
            return len(line) == 1

    def leave(self, request: Request) -> Request | None:
        """End *request*'s turn and return the next on its connection."""
        with self._lock:
            line = self._lines[request.line]
            line.popleft()
            if line:
                return line[0]
            del self._lines[request.line]
            return None

    def gone(self, line: Line) -> None:
        """Note that a client has left: what runs for it ends at its next send."""
        with self._lock:
            for request in self._lines.get(line, ()):
                request.gone = True

    def lost(self, attachment: int) -> None:
        """Note that Mongrel2 has left, and all its clients with it."""
        with self._lock:
            for (number, _), line in self._lines.items():
                if number == attachment:
                    for request in line:
                        request.gone = True


class Subscription:
    """One thread's connection to Mongrel2's requests.

    It has a PULL socket for each attachment of Mongrel2 (see `Responder`), connected once the
    answers can leave. When Mongrel2 has gone, what the socket still holds has nobody to be
    answered; so that no requests of the next Mongrel2 get among it, the socket must not connect
    again by itself before this thread has had the time to notice.
    """

    def __init__(
        self,
        listener: Mongrel2Listener,
        service: Service,
        context: zmq.Context[Any],
        responder: Responder,
    ) -> None:
        self.listener = listener
        self.cores = service.cores
        self.service = service
        self.responder = responder
        self.loop = get_hub().loop
        self.in_hand = 0
        self.draining = False
        self.last = 0.0  # when the last message came or the last request ended
        self.attachment = 0  # the one that the socket belongs to; 0 without a socket
        base = service.environ | {"appserver.listener": listener.name}
        self.codec = Mongrel2Codec(base, listener.options.mongrel2_script_name)
        self._context = context
        self._socket: zmq.Socket[bytes] | None = None
        self._watcher: Any = None
        self._again = self.loop.timer(0.0)
        self._following = gevent.spawn(self._follow)

    def _follow(self) -> None:
        """Attach to Mongrel2 whenever it has come."""
        while True:
            if not self.draining:
                attachment = self.responder.attachment()
                if attachment != self.attachment:
                    self.listener.turns.lost(self.attachment)
                    self._detach()
                    if attachment:
                        self._attach(attachment)
            gevent.sleep(_POLL_ATTACHED if self.attachment else _POLL)

    def _attach(self, attachment: int) -> None:
        self.attachment = attachment
        self._socket = self._context.socket(zmq.PULL)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT)
        self._socket.connect(self.listener.pull)
        self._watcher = self.loop.io(self._socket.fd, _READ)
        self._watcher.start(self.read)
        self.read()

    def _detach(self) -> None:
        if self._socket is None:
            return
        self._again.stop()
        self._watcher.stop()
        self._watcher.close()
        self._socket.close()
        self._socket = None
        self.attachment = 0

    def read(self) -> None:
        """Take what waits. The descriptor signals only once, so go on until there is nothing."""
        socket = self._socket
        if socket is None:
            return
        for _ in range(_BATCH):
            try:
                message = socket.recv(zmq.DONTWAIT)
            except zmq.Again:
                return
            self.last = monotonic()
            try:
                self._take(message)
            except ProtocolError as error:
                self._refuse(message, error)
            except Exception:
                log.exception("mongrel2 %s: a message cannot be served", self.listener.pull)
                self._refuse(message, ProtocolError(_ERROR, "The request cannot be served."))
        self._again.start(self.read)

    def _take(self, message: bytes) -> None:
        try:
            parsed = parse(message)
        except ProtocolError as error:
            if message.split(b" ", 3)[2:3] != [b"@*"]:
                raise
            self.listener.count(error.reason)  # as good as a notice
            return
        if parsed.path == b"@*":
            notice = parsed.notice
            if notice == "disconnect":
                self.listener.turns.gone((self.attachment, parsed.connection))
            if notice is not None:
                return  # a notice is never answered: Mongrel2 would send another
        fields = parsed.fields
        if START in fields and upload.announced(parsed):
            if DONE in fields:
                self._upload(parsed)
            return  # without an end the file is still growing; an answer now would end the upload
        limit = self.listener.limit_post
        if limit and len(parsed.body) > limit:
            raise self._too_long(limit)
        x = self.codec.exchange(parsed)
        x.environ["wsgi.input"] = body = BytesIO(parsed.body)
        self._submit(Request(self, parsed.connection, x, body))

    def _upload(self, message: Message) -> None:
        options = self.listener.options
        file, size = upload.take(message, options.mongrel2_upload_dir, options.mongrel2_chroot)
        try:
            limit = self.listener.limit_post
            if limit and size > limit:
                raise self._too_long(limit)
            x = self.codec.exchange(message, size)
        except ProtocolError:
            file.close()
            raise
        x.environ["wsgi.input"] = file
        self._submit(Request(self, message.connection, x, file))

    def _too_long(self, limit: int) -> ProtocolError:
        return ProtocolError(TOO_LARGE, f"The body has more than the {limit} bytes of limit-post.")

    def _refuse(self, message: bytes, error: ProtocolError) -> None:
        """Answer what is no request, in its turn, and close its connection."""
        client = sender(message)
        if client is None:
            self.listener.count(error.reason)
            return
        hint = f" {error.hint}" if error.hint else ""
        log.warning("mongrel2 %s: %s%s", self.listener.pull, error.reason, hint)
        request = Request(self, client, None, None)
        # The hint is the operator's: it may name files.
        request.refusal = self.codec.refuse(ProtocolError(error.status, error.reason))
        self._submit(request)

    def _submit(self, request: Request) -> None:
        self.in_hand += 1
        if self.listener.turns.enter(request):
            self.cores.run(request)

    def next(self, request: Request) -> None:
        """Let the next request of a connection run, in the thread that took it."""
        self.in_hand -= 1
        self.last = monotonic()
        following = self.listener.turns.leave(request)
        if following is not None:
            owner = following.subscription
            if owner is self:
                self.cores.run(following)
            else:
                owner.loop.run_callback_threadsafe(owner.cores.run, following)

    def drain(self) -> None:
        """Go on until Mongrel2 has been quiet for a while."""
        self.draining = True
        self.last = monotonic()

    def busy(self) -> int:
        """Return the requests in hand, or 1 while more may come."""
        if self.draining and not self.in_hand:
            self.read()  # a blocking application may have kept the loop from it
        if self.in_hand:
            return self.in_hand
        return int(not self.draining or monotonic() - self.last < _QUIET)

    def close(self) -> None:
        """Release the socket; safe twice."""
        self._following.kill(block=False)
        self._detach()
        self._again.close()


class Request:
    """One request of a client connection: the task, and the channel of its answer."""

    __slots__ = (
        "body", "burst", "failed", "gone", "held", "held_size", "interval", "least", "line", "paced",
        "refilled", "refusal", "subscription", "timer", "tokens", "x",
    )  # fmt: skip

    def __init__(
        self, subscription: Subscription, client: Client, x: Exchange | None, body: IO[bytes] | None
    ) -> None:
        self.subscription = subscription
        self.line: Line = (subscription.attachment, client)
        self.x = x
        self.body = body
        self.refusal = b""
        self.gone = False
        self.failed = False
        self.held: list[bytes] = []  # pieces of a stream that wait to be one message
        self.held_size = 0
        self.least = 0  # bytes that are worth a message; 0 before the first piece
        self.paced = True  # there may be more messages than any client takes
        self.burst = self.tokens = 0.0  # messages that may leave at once; those left of them
        self.interval = _INTERVAL  # seconds for one more
        self.refilled = 0.0
        self.timer: Any = None

    # The task: in a core, and after it

    def work(self) -> None:
        """Make and send the answer."""
        x = self.x
        if x is None:
            self._publish(self.refusal)
            return
        if self.gone:
            return
        self.subscription.service.respond(x, self)
        self._flush()

    def done(self) -> None:
        """Close what must be closed and let the next request of the connection run."""
        if self.timer is not None:
            self.timer.stop()
            self.timer.close()
        if self.body is not None:
            self.body.close()
        if not self.gone and (self.failed or self.x is None or not self.x.keep_alive):
            self._publish(b"")
        self.subscription.next(self)

    # The channel: in a core

    def send(self, pieces: list[bytes], more: bool) -> None:
        """Send pieces of the answer, as few messages."""
        if self.gone:
            raise ClientGone
        if more:
            self._hold(pieces)
            self.subscription.cores.turn()
            self.subscription.read()  # the client may have left, and the loop had no time for it
        elif self.held:
            self.held += pieces
            self._flush()
        elif len(pieces) == 1:
            self._publish(pieces[0])
        else:
            self._publish(b"".join(pieces))
        if self.gone:
            raise ClientGone

    def send_file(self, fd: int, offset: int, count: int) -> bool:
        """Refuse: ZeroMQ carries messages."""
        return False

    def abort(self) -> None:
        """Give the answer up: `done` closes the connection where the client misses something."""
        self.failed = True

    def _publish(self, data: bytes) -> None:
        attachment, client = self.line
        try:
            self.subscription.responder.send(envelope(client, data), attachment)
        except ClientGone:
            self.gone = True

    def _hold(self, pieces: list[bytes]) -> None:
        """Send a stream's pieces now if the client may have room, else with those that follow."""
        if not self.least:
            self._plan()
        self.held += pieces
        self.held_size += sum(map(len, pieces))
        self._refill()
        if self.paced:
            while self.tokens < 1 and self.held_size >= self.least and not self.gone:
                gevent.sleep(_INTERVAL)
                self.tokens = 1.0  # the client may be slower; no more than this can be held for it
        if self.tokens >= 1 or self.held_size >= self.least:
            self._flush()
        if self.held and self.timer is None:
            self.timer = self.subscription.loop.timer(_INTERVAL, _INTERVAL)
            self.timer.start(self._tick)

    def _plan(self) -> None:
        """Choose how large messages shall be, once the head tells whether there is a length."""
        assert self.x is not None
        length = self.x.length
        self.refilled = monotonic()
        if length is not None and length <= _PIECES * _LARGE:  # few enough for any client
            self.paced = False
            self.least = max(_SMALL, -(-length // _PIECES))
            self.burst = _BURST_OF_LENGTH
        else:
            self.least = _LARGE
            self.burst = _BURST
        self.tokens = self.burst

    def _refill(self) -> None:
        now = monotonic()
        self.tokens = min(self.burst, self.tokens + (now - self.refilled) / self.interval)
        self.refilled = now

    def _take_held(self) -> bytes:
        """Return what is held, as one message's body."""
        data = b"".join(self.held)
        self.interval = _INTERVAL + self.held_size / _RATE
        self.tokens = max(0.0, self.tokens - 1)
        self.held = []
        self.held_size = 0
        return data

    def _flush(self) -> None:
        if self.held and not self.gone:
            self._publish(self._take_held())

    def _tick(self) -> None:
        """Send what a pausing application has left behind; called by the loop."""
        self._refill()
        if not self.held or self.gone or self.tokens < 1:
            return
        attachment, client = self.line
        message = envelope(client, b"".join(self.held))
        try:
            if self.subscription.responder.try_send(message, attachment):
                self._take_held()
        except ClientGone:
            self.gone = True
