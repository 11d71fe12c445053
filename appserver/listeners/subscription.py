"""One thread's subscription to a Mongrel2: its requests and notices, read as they come."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
import zmq
from gevent import get_hub

from appserver.errors import ClientGone
from appserver.listeners import strays
from appserver.listeners.intake import FAILED, Intake, last_words
from appserver.listeners.pull import NOT_ATTACHED, Pull
from appserver.listeners.responder import POLL, POLL_ATTACHED
from appserver.listeners.rivals import Rivals
from appserver.protocols.codec import ProtocolError
from appserver.protocols.mongrel2 import MOST_CREDITS, control, envelope, envelope_to, parse
from appserver.protocols.upgrade import Upgrade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.listeners.absence import Absence
    from appserver.listeners.credits import Credits
    from appserver.listeners.mongrel2 import Mongrel2Listener
    from appserver.listeners.request import Request
    from appserver.listeners.responder import Responder
    from appserver.listeners.service import Service
    from appserver.listeners.turns import Line
    from appserver.protocols.codec import Piece
    from appserver.protocols.mongrel2 import Connection, Message

log = logging.getLogger("appserver.listeners")

_READ = 1  # libev's event bit
_BATCH = 64  # messages taken in one turn of the loop
_RELOADS = ProtocolError("503 Service Unavailable", "The server reloads; connect again.", retry_after=1)


class Subscription(Intake):
    """One thread's connection to Mongrel2's requests.

    It has a `Pull` for each attachment of Mongrel2 (see `Responder`), connected once the answers can
    leave. The origin of its messages is the attachment.
    """

    def __init__(
        self,
        listener: Mongrel2Listener,
        service: Service,
        context: zmq.Context[Any],
        responder: Responder,
        accounts: Credits,
        *,
        absence: Absence | None,
    ) -> None:
        super().__init__(listener, service)
        self.responder = responder
        self.accounts = accounts
        self._absence = absence  # which one thread looks for
        self.draining = False
        self._followed = False  # besides, another process gets what Mongrel2 tells, and hands on what is ours
        self.attachment = 0  # the one that the socket belongs to; 0 without a socket
        self.read_at = 0.0  # when nothing more has waited last
        self.identity = f"appserver-{os.getpid()}-{threading.current_thread().name}"
        self._name = f"mongrel2 {listener.pull}"
        self._context = context
        self._rivals = Rivals(self._name)
        self._pull: Pull | None = None
        self._left = 0  # messages that may be taken in this turn; less where no more wait
        self._apart = b""  # a message that is more than a request, or none,
        self._parsed: Message | None = None  # and what is in it
        self._error: Exception | None = None  # of what takes messages
        self._failed = False  # to subscribe, which has been told
        self._watcher: Any = None
        self._again = self.loop.timer(0.0)
        accounts.readers.append(self)
        self._following = gevent.spawn(self._follow)

    def _follow(self) -> None:
        """Attach to Mongrel2 whenever it has come."""
        while True:
            try:
                pause = self._look()
            except Exception:  # nobody would look again
                log.exception("%s: Mongrel2 cannot be seen to", self._name)
                pause = POLL_ATTACHED
            gevent.sleep(pause)

    def _look(self) -> float:
        """See to the attachment and to the clients; return the seconds to the next look."""
        if not self.draining:
            attachment = self.responder.attachment()
            if attachment != self.attachment:
                self.listener.turns.lost(self.attachment)
                self.accounts.lost(self.attachment)
                self._detach()
                if attachment:
                    self._attach(attachment)
        pull = self._pull
        if pull is not None:
            pull.look(self._name, self.identity)
        if self._absence is not None:
            self._absence.look(attached=self.attachment > 0 or self.draining)
        for line in self.accounts.look():
            log.info("mongrel2 %s: a client that reads nothing is dropped", self.listener.pull)
            self.listener.turns.gone(line)
        self._keep_alive()
        now = monotonic()
        if now >= self.accounts.due:
            self._settle()
        pause = POLL_ATTACHED if pull is not None and pull.ready else POLL
        return min(pause, max(self.accounts.due - now, POLL))

    def _settle(self) -> None:
        """Go on where Mongrel2 has said nothing of what clients were sent."""
        if self._read_all():
            for line in self.accounts.settle(self.attachment):
                self._go_on(line)

    def _go_on(self, line: Line) -> None:
        request = self.listener.turns.first(line)
        if request is not None:
            request.intake.loop.run_callback_threadsafe(request.go_on)

    def _keep_alive(self) -> None:
        """Have Mongrel2 not take long work for an idle connection, whichever thread does it."""
        listener = self.listener
        every = listener.options.mongrel2_keepalive
        now = monotonic()
        if not every or now < listener.kept_alive + every:
            return
        listener.kept_alive = now
        for request in listener.turns.lasting():
            if self.accounts.reads(request.line):
                request.order(keep_alive=True)

    def _attach(self, attachment: int) -> None:
        """Subscribe, if there are the means; else the next look tries again."""
        most = self.listener.options.zeromq_max_message
        try:
            self._pull = Pull(self._context, self.listener.pull, self.identity, most)
        except zmq.ZMQError as error:
            self._fail(error)
            return
        self._failed = False
        self.attachment = attachment
        self._rivals = Rivals(self._name)
        if self.listener.several:  # what Mongrel2 tells would reach any of them
            self.accounts.uncontrolled = attachment
        self._watcher = self.loop.io(self._pull.fd, _READ)
        self._watcher.start(self._read_first)
        self._read_first()

    def _fail(self, error: zmq.ZMQError) -> None:
        if not self._failed:
            self._failed = True
            log.error(NOT_ATTACHED, self._name, error)

    def _detach(self) -> None:
        if self._pull is None:
            return
        self._again.stop()
        self._watcher.stop()
        self._watcher.close()
        self._pull.tell(self._name, self.identity)
        self._pull.close()
        self._pull = None
        self.attachment = 0

    def _read_first(self) -> None:
        """Read as long as nothing tells that there is a connection."""
        pull = self._pull
        try:
            if pull is not None:
                pull.tell(self._name, self.identity)
                if pull.told:
                    self._watcher.start(self.read)
        except Exception:
            self.put_off()
            log.exception(FAILED, self.listener.pull)
        self.read()

    def read(self) -> None:
        """Take what waits. The descriptor signals only once, so go on until there is nothing."""
        try:
            self._read_all()
        except Exception:
            self.put_off()
            log.exception(FAILED, self.listener.pull)

    def resume(self) -> None:
        if self._pull is not None:
            self._watcher.start(self._read_first)
            self._read_first()

    def _read_all(self) -> bool:
        """Do so; return False where more may wait."""
        if self._pull is None:
            return False
        self._left = _BATCH
        while self._left > 0:
            self._apart = b""
            self.cores.run_all(self._next)
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._parsed is not None:
                parsed, self._parsed = self._parsed, None
                self.take_parsed(parsed, self._apart, self.attachment)
            elif self._apart:
                self.take(self._apart, self.attachment)
        if self._left < 0:
            self.read_at = monotonic()
            return True
        self._again.start(self.read)
        return False

    def _next(self) -> Request | None:
        """Take messages until one is a request that may run; None behind the last, or at one that is more.

        A core calls this. Messages that other calls of the application wait for are taken where those can
        be woken, and malformed ones where they can be told.
        """
        while self._left > 0:
            try:
                message = None if self._pull is None else self._pull.take()
            except Exception as error:  # noqa: BLE001  (it is raised where that ends the turn)
                self._error = error
                message = None
            if message is None:
                self._left = -1
                return None
            self._left -= 1
            try:
                parsed = parse(message, self.codec.base)
                if parsed.aside or parsed.path == b"@*":
                    self._apart, self._parsed = message, parsed
                    return None
                request = self.request_of(parsed, self.attachment)
            except Exception:  # noqa: BLE001  (it is found again there)
                self._apart = message
                return None
            self.in_hand += 1
            if self.listener.turns.enter(request):
                return request
        return None

    def submit(self, request: Request) -> None:
        if self.listener.turns.enter(request):
            self.cores.run(request)

    def notice(self, message: Message, origin: int, raw: bytes) -> None:
        line = origin, message.connection
        if not self._heed(message, line) and not self._hand_on(line, raw):
            self._disown(message, line)

    def _heed(self, message: Message, line: Line) -> bool:
        """Do what a notice says; return False where it is about no connection of ours."""
        if message.credits:
            self.learn(line[0])
            freed = self.accounts.give(line, message.credits)
            if freed:
                self._go_on(line)
            return freed is not None
        if message.notice != "disconnect":
            return True
        ours = line[0] == self.accounts.uncontrolled or self.listener.turns.first(line) is not None
        self.accounts.forget(line)
        self.listener.turns.gone(line)
        return ours

    def _hand_on(self, line: Line, raw: bytes) -> bool:
        """Have other workers take what is about none of our connections; return False where nobody may."""
        if self.listener.several or self.listener.turns.closed(line):
            return False
        return strays.hand_on(self.listener.address, raw)

    def _disown(self, message: Message, line: Line) -> None:
        """See to what is about nobody's connection: a body is cut off."""
        known = self.listener.several or self.listener.turns.closed(line)
        if not known and message.notice != "disconnect":
            self._rivals.suspect(line[1])
        if message.continues:
            with suppress(ClientGone):
                self.responder.try_send(control(line[1], credits=1, cancel=True), line[0])

    @property
    def attached(self) -> bool:
        return self.attachment > 0

    def take_stray(self, message: bytes, nobodys: bool) -> bool:
        told = parse(message)
        line = self.attachment, told.connection
        here = self.hub is get_hub()
        if self._feed(told, line, here) if told.notice is None else self._heed(told, line):
            return True
        closed = self.listener.turns.closed(line)
        if nobodys or closed:
            self._disown(told, line)
        return closed

    def order(self, request: Request, message: bytes) -> bool:
        return self.responder.try_send(message, request.origin)

    def proceed(self, piece: Message, origin: int, raw: bytes) -> None:
        """Give a piece to the thread whose request it belongs to; what belongs to none is cut off."""
        line = origin, piece.connection
        if not self._feed(piece, line) and not self._hand_on(line, raw):
            self._disown(piece, line)

    def _feed(self, piece: Message, line: Line, here: bool = True) -> bool:
        """Give a piece to its request; return False where there is none. From another thread not *here*."""
        request = self.listener.turns.first(line)
        if request is None:
            return False
        if here and request.intake is self:
            request.feed(piece)
        else:
            request.intake.loop.run_callback_threadsafe(request.feed, piece)
        return True

    def take_frame(self, message: Message, origin: int) -> None:
        request = self.listener.turns.first((origin, message.connection))
        if request is None:  # of a WebSocket that has ended, of another process's, or of none
            with suppress(ClientGone):
                if words := last_words(message):
                    self.responder.try_send(envelope(message.connection, [words]), origin)
                self.responder.try_send(envelope(message.connection), origin)
        elif request.intake is self:
            request.take_frame(message)
        else:
            request.intake.loop.run_callback_threadsafe(request.take_frame, message)

    def astray(self) -> ProtocolError | None:
        return _RELOADS if self._followed else super().astray()

    def switch(self, request: Request) -> None:
        if self._followed:  # it was about to be accepted
            self.loop.run_callback(self._send_away, request)

    def send_together(self, requests: list[Request], data: bytes) -> list[Request]:
        ours = [each for each in requests if each.origin == requests[0].origin]
        others = [each for each in requests if each not in ours]
        if self.accounted(ours[0]):
            left = set(self.accounts.put_together([each.line for each in ours], data))
            return [*others, *(each for each in ours if each.line in left)]
        message = envelope_to(ours[0].client[0], [each.client[1] for each in ours], data)
        with suppress(ClientGone):  # each of them finds that out by itself
            if self.responder.try_send(message, ours[0].origin):
                return others
        return requests

    def credited(self, request: Request) -> bool:
        return request.origin == self.accounts.controlled

    def accounted(self, request: Request) -> bool:
        return request.origin != self.accounts.uncontrolled

    def begin(self, connection: Connection) -> None:
        self._rivals.begin(connection)

    def learn(self, origin: int) -> None:
        listener = self.listener
        if listener.several:
            if not listener.told:
                listener.told = True
                log.error(
                    "mongrel2 %s: download.flow_control needs zeromq-dispatch = shared where there are "
                    "several processes: credits reach any of them, and answers above %d bytes may be cut off",
                    listener.pull, MOST_CREDITS,
                )  # fmt: skip
        elif self.accounts.controlled != origin:
            self.accounts.learn(origin)

    def held_up(self, request: Request) -> bool:
        return self.accounts.held_up(request.line)

    def send(self, request: Request, pieces: Sequence[Piece], last: bool) -> None:
        if request.origin != self.accounts.uncontrolled and self._put(request, b"".join(pieces), last):
            return
        if pieces:
            self.responder.send(envelope(request.client, pieces), request.origin)
        if last and request.closes:
            self.responder.send(envelope(request.client), request.origin)

    def _put(self, request: Request, data: bytes, last: bool) -> bool:
        """Have it sent as there is credit; return False where nobody accounts for that any more."""
        close = last and request.closes
        return not (data or close) or self.accounts.put(request.line, data, close=close)

    def try_send(self, request: Request, pieces: Sequence[Piece], last: bool) -> bool:
        if request.origin != self.accounts.uncontrolled and self._put(request, b"".join(pieces), last):
            return True
        if pieces and not self.responder.try_send(envelope(request.client, pieces), request.origin):
            return False
        if not last or not request.closes:
            return True
        if self.responder.try_send(envelope(request.client), request.origin):
            return True
        if pieces:  # which may not be sent again
            self.loop.run_callback_threadsafe(gevent.spawn, self._close, request)
        return bool(pieces)

    def _close(self, request: Request) -> None:
        """End a connection once Mongrel2 takes that."""
        with suppress(ClientGone):
            self.responder.send(envelope(request.client), request.origin)

    def end(self, request: Request) -> None:
        if self.draining and self._pull is not None:
            self._pull.last = monotonic()
        if not (self.accounts.open and self._holds(request)):
            self.pass_turn(request)
        self.in_hand -= 1  # behind what may raise: it is called again then

    def _holds(self, request: Request) -> bool:
        """Tell whether the next answer waits, as a client that asks on and on need not read any."""
        request.answered = not (request.gone or request.closes) and self.accounts.held_up(request.line)
        # Another thread may have heard meanwhile that the client goes on, and has passed no turn on.
        return request.answered and self.accounts.held_up(request.line)

    def pass_turn(self, request: Request) -> None:
        """Let the next request of the connection run, in the thread that took it."""
        request.answered = False
        following = self.listener.turns.leave(request)
        if following is not None:
            owner = following.intake
            if owner is self:
                self.cores.run(following)
            else:
                owner.loop.run_callback_threadsafe(owner.cores.run, following)

    def drain(self) -> None:
        """Go on until Mongrel2 has been quiet for a while, or deals to others."""
        self.draining = True
        self._followed = self.service.followed()
        if self._followed and (switched := self.listener.turns.switched()):
            log.info("%s: %d WebSockets are told to connect again (1001)", self._name, len(switched))
            for request in switched:
                self._send_away(request)
        if self._pull is not None:
            self._pull.drain()

    def _send_away(self, request: Request) -> None:
        """End a WebSocket in time: what its client says reaches another process, its answer included."""
        x = request.x
        assert isinstance(x, Upgrade)
        if x.go_away is not None:
            x.go_away()
        if not self.accounts.reads(request.line):  # who reads so slowly is not waited for
            self.accounts.forget(request.line)
            request.drop()

    def busy(self) -> int:
        """Return the requests in hand, or 1 while more may come."""
        if self.draining and not self.in_hand:
            self.read()  # a blocking application may have kept the loop from it
        if self._followed:
            self._leave()
        if self.accounts.waits or self.listener.turns.expects(frames=not self._followed):
            if self._pull is not None and self.draining and not self._followed:
                self._pull.drain()  # put off: Mongrel2 has to tell us more
            return self.in_hand or 1
        return self.in_hand or int(not self.draining or not self._dry())

    def _leave(self) -> None:
        """Have Mongrel2 deal to whoever comes now, whatever is still in hand."""
        pull = self._pull
        if pull is not None:
            pull.quiet()
            if pull.ended():
                self.read()  # what came before the end
                pull.last = 0.0

    def _dry(self) -> bool:
        """Whether nothing more can come: it has been quiet, or the connection has ended, and all is read."""
        pull = self._pull
        if pull is None or pull.quiet():
            return True
        self._leave()
        return not self.in_hand and pull.quiet()

    def close(self) -> None:
        """Release the socket; safe twice."""
        super().close()
        if self in self.accounts.readers:
            self.accounts.readers.remove(self)
        self._following.kill(block=False)
        self._detach()
        if self._absence is not None:
            self._absence.close()
        self._again.close()
