"""Mongrel2's messages made into requests, wherever a loop gets them from."""

from __future__ import annotations

import logging
from contextlib import suppress
from io import BytesIO
from typing import IO, TYPE_CHECKING

from gevent import get_hub

from appserver.body import too_long
from appserver.listeners import upload
from appserver.listeners.inflow import Inflow
from appserver.listeners.mongrel2_wire import Mongrel2Wire
from appserver.listeners.pause import Pause
from appserver.listeners.refusals import Refusals
from appserver.listeners.request import Request
from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import UNSERVED
from appserver.protocols.mongrel2 import MOST_TARGETS, Message, Mongrel2Codec, parse, sender
from appserver.protocols.mongrel2_fields import CREDITS, DONE, FLAGS, LAST, OFFSET, START
from appserver.protocols.upgrade import Upgrade
from appserver.reader import Reader
from appserver.websocket.frames import CLOSE, closing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.listeners.mongrel2 import Mongrel2Listener
    from appserver.listeners.service import Service
    from appserver.protocols.codec import Piece
    from appserver.protocols.mongrel2 import Connection
    from appserver.websocket.wire import Wire

log = logging.getLogger("appserver.listeners")

_TELL = 1.0  # seconds between counts of refusals that were not told
_BUFFER = 65536  # bytes that are read of a body at once
_AFTER = 0.5  # seconds after which is read and written again, where that has failed
FAILED = "mongrel2 %s: what comes cannot be seen to; it is tried again"
_UNSERVED = "mongrel2 %s: a message cannot be served"
_ELSEWHERE = ProtocolError(
    "501 Not Implemented",
    "WebSocket is not served here.",
    hint="Set zeromq-dispatch = shared: where several threads or processes read for themselves, frames reach"
    " any of them, in any order.",
)
_AWAY = closing(1001, "the WebSocket has ended here")


def last_words(message: Message) -> bytes:
    """Return what a client is sent for whose frame nobody waits; nothing where it closes or is none."""
    first = message.first_byte
    return b"" if first < 0 or first & 15 == CLOSE else _AWAY


class Intake:
    """Make requests of one loop's messages, and carry their answers.

    Each message has an *origin*, a number that its request keeps: with the id of the client it tells
    where answers go.
    """

    def __init__(self, listener: Mongrel2Listener, service: Service) -> None:
        self.listener = listener
        self.service = service
        self.cores = service.cores
        self.hub = get_hub()
        self.loop = self.hub.loop
        self.in_hand = 0
        self.refusals = Refusals(f"mongrel2 {listener.pull}")
        self._telling = self.loop.timer(_TELL, _TELL)
        self._telling.start(self.refusals.tell)
        self._resuming = Pause(self.loop, _AFTER)
        base = service.environ | {"appserver.listener": listener.name}
        self.codec = Mongrel2Codec(base, listener.mongrel2.mongrel2_script_name)
        self.codec.trust = listener.forwarded

    def close(self) -> None:
        """Release what it has; safe twice."""
        for timer in (self._telling, self._resuming):
            timer.stop()
            timer.close()
        self.refusals.tell()

    def resume(self) -> None:
        """Read and write again."""
        raise NotImplementedError

    def put_off(self) -> None:
        """Have it tried again later what has failed, perhaps for want of memory.

        To be called before that is logged, which may fail as well: then gevent stops the watcher.
        """
        self._resuming.begin(self.resume)

    def submit(self, request: Request) -> None:
        """Have a request answered in its turn."""
        raise NotImplementedError

    def notice(self, message: Message, origin: int, raw: bytes) -> None:
        """Take a notice; it is never answered: Mongrel2 would send another."""
        raise NotImplementedError

    def send(self, request: Request, pieces: Sequence[Piece], last: bool) -> None:
        """Send a message of an answer, waiting while Mongrel2 is slow; raise `ClientGone` after its end.

        With *last* nothing follows, and the connection is closed if ``request.closes``.
        """
        raise NotImplementedError

    def try_send(self, request: Request, pieces: Sequence[Piece], last: bool) -> bool:
        """Send as `send` does, if that can be done now; may be called by a native thread."""
        raise NotImplementedError

    def order(self, request: Request, message: bytes) -> bool:
        """Send Mongrel2 a message that it obeys itself; return False where it takes none now."""
        raise NotImplementedError

    def proceed(self, piece: Message, origin: int, raw: bytes) -> None:
        """Have a request take a later piece of its body."""
        raise NotImplementedError

    def take_frame(self, message: Message, origin: int) -> None:
        """Give a WebSocket's frame to the request that has begun it; end the connection where none has."""
        raise NotImplementedError

    @property
    def attached(self) -> bool:
        """Whether this loop itself hears of what Mongrel2 tells."""
        return False

    def take_stray(self, message: bytes, nobodys: bool) -> bool:
        """Take what Mongrel2 has told another worker, and tell whether it is about a connection of ours.

        With *nobodys* no other worker has it, either. Not where one receiver is told all. From any thread.
        """
        return False

    def astray(self) -> ProtocolError | None:
        """Return why no WebSocket can begin: its frames would go elsewhere; None where they come here."""
        return None if self.listener.ordered else _ELSEWHERE

    def switch(self, request: Request) -> None:
        """Note that what comes over a request's connection belongs to it from now on."""

    def send_together(self, requests: list[Request], data: bytes) -> list[Request]:
        """Send *data* in one message to the clients of requests, `MOST_TARGETS` of one Mongrel2 at most.

        Return those that have to get it by themselves.
        """
        raise NotImplementedError

    def write_all(self, wires: Sequence[Wire], data: bytes) -> None:
        """Send a frame to several WebSockets, in as few messages as can be."""
        groups: dict[bytes, list[Request]] = {}
        for wire in wires:
            assert isinstance(wire, Mongrel2Wire)
            request = wire.request
            if request.ready():
                groups.setdefault(request.client[0], []).append(request)
            elif not request.gone:
                request.post(data)
        for group in groups.values():
            for at in range(0, len(group), MOST_TARGETS):
                some = group[at : at + MOST_TARGETS]
                others = self.send_together(some, data)
                for request in others:
                    request.post(data)
                for request in some:
                    if request not in others:
                        request.spend(len(data))

    def credited(self, request: Request) -> bool:
        """Tell whether Mongrel2 tells what the client of a request has read (``download.flow_control``)."""
        raise NotImplementedError

    def accounted(self, request: Request) -> bool:
        """Tell the same, or that this is not known yet."""
        raise NotImplementedError

    def begin(self, connection: Connection) -> None:
        """Note that a message is the first of its connection."""

    def held_up(self, request: Request) -> bool:
        """Tell whether a stream has to wait for its client; `Request.go_on` is called when that changes."""
        raise NotImplementedError

    def learn(self, origin: int) -> None:
        """Note that Mongrel2 controls the flow to clients, as a message from *origin* shows."""
        raise NotImplementedError

    def end(self, request: Request) -> None:
        """Note that a request has left its core."""
        raise NotImplementedError

    def pass_turn(self, request: Request) -> None:
        """Let the next request of a connection run, which a slow client has had wait.

        Not where one receiver gives out what may run.
        """

    def take(self, message: bytes, origin: int) -> bool:
        """Serve a message; return False where there is nothing to be answered."""
        try:
            parsed = parse(message, self.codec.base)
        except ProtocolError as error:
            if message.split(b" ", 3)[2:3] == [b"@*"]:
                self.listener.count(error.reason)  # as good as a notice
                return False
            return self._refuse(message, origin, error)
        except Exception:  # gevent would stop the watcher, and with it every other client
            log.exception(_UNSERVED, self.listener.pull)
            return self._refuse(message, origin, UNSERVED)
        return self.take_parsed(parsed, message, origin)

    def take_parsed(self, parsed: Message, message: bytes, origin: int) -> bool:
        """Do so with a message that is taken apart."""
        try:
            return self._take(parsed, message, origin)
        except ProtocolError as error:
            return self._refuse(message, origin, error)
        except Exception:  # as above
            log.exception(_UNSERVED, self.listener.pull)
            return self._refuse(message, origin, UNSERVED)

    def _take(self, parsed: Message, message: bytes, origin: int) -> bool:
        if parsed.path == b"@*" and parsed.notice is not None:
            self.notice(parsed, origin, message)
            return False
        aside = parsed.aside
        if not aside:  # as most
            self._enter(self.request_of(parsed, origin))
            return True
        if CREDITS in aside and parsed.credits:
            self.begin(parsed.connection)
            self.learn(origin)
        if OFFSET in aside and parsed.continues:
            self.proceed(parsed, origin, message)
            return False
        if FLAGS in aside:
            self.take_frame(parsed, origin)
            return True
        if OFFSET in aside and LAST not in aside:
            self._inflow(parsed, origin)
        elif START in aside and upload.announced(parsed):
            if DONE not in aside:
                return False  # the file is still growing; an answer now would end the upload
            self._upload(parsed, origin)
        else:
            self._enter(self.request_of(parsed, origin))
        return True

    def request_of(
        self, message: Message, origin: int, body: IO[bytes] | None = None, size: int | None = None
    ) -> Request:
        """Return the request of a message, whose *body* has *size* bytes, by default what it carries.

        Raise `ProtocolError` for what no request may carry.
        """
        if body is None:
            body, size = BytesIO(message.body), len(message.body)
        x = self.codec.exchange(message, size)
        x.environ["wsgi.input"] = BytesIO() if type(x) is Upgrade else body
        error = None
        if type(x) is Upgrade and x.able and (error := self.astray()) is not None:
            self._warn(error)
        if size is not None and 0 < self.listener.limit_post < size:
            error = too_long(self.listener.limit_post)
            self._warn(error)
        return Request(self, origin, message.connection, x, body=body, error=error)

    def _inflow(self, message: Message, origin: int) -> None:
        """Serve a request whose body comes in pieces."""
        x = self.codec.exchange(message, -1 if self.listener.streams else None)
        listener = self.listener
        length = x.environ.get("CONTENT_LENGTH")
        inflow = Inflow(message, int(length) if length else None, listener.limit_post, listener.timeout)
        body = x.environ["wsgi.input"] = Reader(inflow, _BUFFER)
        error = None
        if length and 0 < listener.limit_post < int(length):
            error = too_long(listener.limit_post)
            self._warn(error)
        self._enter(Request(self, origin, message.connection, x, body=body, inflow=inflow, error=error))

    def _upload(self, message: Message, origin: int) -> None:
        options = self.listener.mongrel2
        try:
            file, size = upload.take(message, options.mongrel2_upload_dir, options.mongrel2_chroot)
        except ProtocolError as error:  # it is a request nevertheless, and has its access line
            x = self.codec.exchange(message, -1)
            self._warn(error)
            self._enter(Request(self, origin, message.connection, x, error=error))
            return
        try:
            request = self.request_of(message, origin, file, size)
        except ProtocolError:
            file.close()
            raise
        self._enter(request)

    def _refuse(self, message: bytes, origin: int, error: ProtocolError) -> bool:
        """Answer what is no request, in its turn, and close its connection."""
        client = sender(message)
        if client is None:
            self.listener.count(error.reason)
            return False
        self._warn(error)
        inflow = None
        with suppress(ProtocolError):
            parsed = parse(message)
            if parsed.fields.get("REQUEST_METHOD") == "HEAD":
                error = ProtocolError(error.status, error.reason, bodiless=True)
            if OFFSET in parsed.aside and LAST not in parsed.aside:  # its rest has to be read over
                inflow = Inflow(parsed, None, 0, self.listener.timeout)
        self._enter(Request(self, origin, client, None, inflow=inflow, error=error))
        return True

    def _warn(self, error: ProtocolError) -> None:
        self.refusals.note(f"{error.reason} {error.hint}".rstrip())

    def _enter(self, request: Request) -> None:
        self.in_hand += 1
        self.submit(request)
