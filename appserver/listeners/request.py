"""One request that came from Mongrel2, and the messages of its answer."""

from __future__ import annotations

from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

import gevent
from gevent import get_hub, getcurrent

from appserver.errors import ClientGone
from appserver.interrupt import cancel
from appserver.listeners.mongrel2_wire import offer
from appserver.listeners.portions import INTERVAL, Portions
from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import OVERDUE
from appserver.protocols.mongrel2 import RELEASE, control
from appserver.protocols.upgrade import Upgrade
from appserver.websocket.environ import clear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from greenlet import greenlet

    from appserver.exchange import Exchange
    from appserver.listeners.inflow import Inflow
    from appserver.listeners.intake import Intake
    from appserver.listeners.mongrel2 import Mongrel2Listener
    from appserver.listeners.mongrel2_wire import Mongrel2Wire
    from appserver.protocols.codec import Piece
    from appserver.protocols.mongrel2 import Connection, Message

_TRY_AGAIN = 0.01  # seconds between tries to end an answer
_LINGER = 5.0  # seconds that a client has to send the rest of a body that nobody reads


class Request:
    """The task of one request, and the channel of its answer.

    *origin* is where *intake* has it from. *x* is None where a message is no request; with *error* it
    is refused in its turn, and its connection closed. *body* is closed at the end; it may read from
    *inflow*, of which nothing is left over when the connection goes on.
    """

    __slots__ = (
        "answered", "begun", "body", "client", "ended", "error", "failed", "given_up", "gone", "inflow",
        "intake", "lasts", "line", "lingers", "origin", "portions", "timer", "waiters", "wire", "x",
    )  # fmt: skip

    def __init__(
        self,
        intake: Intake,
        origin: int,
        client: Connection,
        x: Exchange | None,
        *,
        body: IO[bytes] | None = None,
        inflow: Inflow | None = None,
        error: ProtocolError | None = None,
    ) -> None:
        self.intake = intake
        self.origin = origin
        self.client = client
        self.line: Any = (origin, client)  # see `Turns`; any, as compiled it would be made anew for each look
        self.x = x
        self.body = body
        self.inflow = inflow
        if inflow is not None:
            inflow.of(self)
        self.error = error
        self.gone = False
        self.lasts = False  # see `Turns.lasting`
        self.answered = False  # and its client has too much of that to read for the next answer
        self.given_up = False
        self.begun = False  # a message of the answer has been sent
        self.ended = False  # and the last one
        self.lingers = False  # the application is done, and the client still sends what it has not read
        self.failed = error is not None  # the connection cannot be kept
        self.portions: Portions | None = None  # of an answer that is made piece by piece
        self.timer: Any = None
        self.wire: Mongrel2Wire | None = None  # once the connection carries a WebSocket's frames
        self.waiters: tuple[greenlet, ...] = ()  # who waits for the client: who sends, and who reads

    @property
    def closes(self) -> bool:
        """Whether the connection ends with the answer."""
        return self.failed or self.x is None or not self.x.keep_alive

    @property
    def listener(self) -> Mongrel2Listener:
        """Whose request it is."""
        return self.intake.listener

    @property
    def held(self) -> int:
        """How many bytes of the answer wait to be sent."""
        return 0 if self.portions is None else self.portions.size

    @property
    def expects(self) -> bool:
        """Whether Mongrel2 will tell something that the request needs."""
        if self.inflow is not None and not self.inflow.finished:
            return True
        if self.switched:
            return not self.gone and not self.ended
        return self.x is not None and self.x.begun and not self.ended and self.intake.accounted(self)

    @property
    def switched(self) -> bool:
        """Whether the connection carries a WebSocket's frames."""
        return self.wire is not None

    # The task: in a core, and after it

    def work(self) -> None:
        """Make and send the answer."""
        if self.gone:  # before its turn came
            self._log("499")
        elif self.error is not None:
            self._refuse(self.error)
        elif self.x is not None:
            x = self.x
            if type(x) is not Upgrade:
                self.intake.service.respond(x, self)
            elif (error := offer(self, x)) is not None:
                self.intake.service.refuse(x, self, error)
            else:
                self.intake.service.respond(x, self)
                clear(x)
            if not self.switched:
                self._flush()

    def refuse(self, error: ProtocolError) -> None:
        """Answer without the application; the connection is kept where that would keep it."""
        if self.gone or self.error is not None or self.x is None:
            self.work()  # without it, too
        else:
            self.intake.service.refuse(self.x, self, error)

    def deny(self, error: ProtocolError) -> None:
        """Have it refused when its turn comes, and its connection closed."""
        self.error = error
        self.failed = True

    def depart(self) -> None:
        """Note that the client has left, and have the application stopped; may be called by any thread."""
        if not self.gone:
            self.gone = True
            self.intake.loop.run_callback_threadsafe(self._stop)

    def _stop(self) -> None:
        """End the application where it waits: in `send`, which raises `ClientGone`, or anywhere else."""
        if self.answered:
            self.intake.pass_turn(self)
            return
        ends = self.x is not None and self.x.core in self.waiters
        self._wake()
        if ends:  # in `send`, or while it reads
            return
        if self.wire is not None:
            self.wire.lost()
        elif self.lingers:
            self.finish()
        elif self.x is not None:
            self.intake.service.cores.withdraw(self)
            cancel(self.x)

    def _refuse(self, error: ProtocolError) -> None:
        # The hint is the operator's: it may name files.
        said = ProtocolError(error.status, error.reason, bodiless=error.bodiless)
        answer = self.intake.codec.refuse(said, self.x)
        self._publish([answer], last=True)
        self._log(error.status[:3])

    def _log(self, status: str) -> None:
        """Write the access line of a request that the application does not see."""
        access = self.intake.service.access
        if self.x is not None and access is not None:
            access.line(self.x, status, 0.0)

    def done(self) -> None:
        """Close what must be closed and let the next request of the connection run."""
        if self.given_up:
            return
        if self.wire is not None:
            self.wire.finish(failed=self.failed)
            return
        self._end_timer()
        if self.inflow is not None and not self.inflow.finished and not self.gone:
            self.lingers = True
            self.timer = self.intake.loop.timer(_LINGER)
            self.timer.start(self.drop)
            self.inflow.discard()
            self._wake_later()
        else:
            self.finish()

    def finish(self) -> None:
        """End it, as the application has, and the client where it has sent a body."""
        self.lingers = False
        inflow, self.inflow = self.inflow, None
        if inflow is not None:
            if not inflow.finished:
                self.order(credits=RELEASE)
            inflow.end()
            self._wake_later()
        elif self.body is not None:
            self.body.close()
        self._end()

    def _end(self) -> None:
        """End the answer in the way that the connection needs, and let the next request run."""
        self._end_timer()
        if not self.gone and not self.ended:
            try:
                if not self.intake.try_send(self, (), last=True):
                    self.timer = self.intake.loop.timer(_TRY_AGAIN)
                    self.timer.start(self._end)
                    return
                self.ended = True
            except ClientGone:
                self.gone = True
        self._leave()

    def _leave(self) -> None:
        """Let the next request run; what a WebSocket had of this one is let go."""
        self.intake.end(self)
        wire, self.wire = self.wire, None  # they know each other
        if wire is not None:
            wire.lost()

    def _end_timer(self) -> None:
        if self.timer is not None:
            self.timer.stop()
            self.timer.close()
            self.timer = None

    def cut(self) -> None:
        """End it, as `done` has not, and its connection, unless the answer is whole; let the next one run."""
        if self.given_up:
            return
        self._end_timer()
        self.lingers = False
        if not (self.ended or self.gone):
            self.failed = True
            with suppress(Exception):  # whatever it is, the others are not to wait for it
                self._close_connection(())
            self.gone = True
        self.given_up = True
        self._leave()

    def _close_connection(self, answer: Sequence[Piece]) -> None:
        """Send the last of it at once, if that can be."""
        self.ended = True
        self.intake.try_send(self, answer, last=True)
        if self.inflow is not None and not self.inflow.finished:
            self.order(credits=RELEASE)

    # The body that comes in pieces

    def feed(self, piece: Message) -> None:
        """Take a piece of the body; in the loop."""
        inflow = self.inflow
        if inflow is None or self.gone:
            self.order(credits=1, cancel=True)
            return
        inflow.feed(piece)
        if self.lingers and inflow.finished:
            self.finish()

    def order(self, **orders: int | bool) -> bool:
        """Have Mongrel2 obey (see `control`), unless it takes nothing now; then return False."""
        try:
            return self.intake.order(self, control(self.client, **orders))
        except ClientGone:
            self.gone = True
            return True

    def drop(self) -> None:
        """End the connection of a client that does not send what it should.

        One that uploads is not cancelled: Mongrel2 would close the descriptor under its own task, which may
        then read what the next client of that descriptor says.
        """
        if self.inflow is not None and not self.inflow.finished:
            self.failed = True
            with suppress(ClientGone):
                self._close_connection(())
        else:
            self.order(cancel=True)
        self.gone = True
        if self.wire is not None:
            self.wire.lost()
        elif self.lingers:
            self.finish()

    # WebSocket: all in the loop

    def take_frame(self, message: Message) -> None:
        """Take a frame; who sends one before there is an answer loses its connection."""
        if self.wire is not None:
            self.wire.take(message)
        else:
            self.drop()

    def post(self, data: bytes) -> None:
        """Send frames behind those that wait, or have them wait; the timer sends what does."""
        self._plan().add([data])
        self._tick()
        self._tick_later()

    def ready(self) -> bool:
        """Tell whether a frame could leave now, by itself."""
        room = self._plan().room()
        return room and not (self.gone or self.held or self.intake.held_up(self))

    def spend(self, size: int) -> None:
        """Note that a message of *size* bytes has left, which was not for this client alone."""
        self._plan().spend(size)

    # The channel: in a core

    def send(self, pieces: list[Piece], more: bool) -> None:
        """Send pieces of the answer, as few messages."""
        if self.gone:
            raise ClientGone
        if more:
            self._hold(pieces)
            self.intake.cores.turn()
            while self.intake.held_up(self) and not self.gone:
                self.wait()
            if self.gone:  # as it was told meanwhile
                raise ClientGone
        elif self.portions is not None:
            self.portions.add(pieces)
            self._publish(self.portions.take(), last=True)
        else:
            self._publish(pieces, last=True)
        if self.gone:
            raise ClientGone

    def wait(self, seconds: float = 0.0) -> None:
        """Let a greenlet of the application wait until `go_on` is called, or so long (0 = any time).

        It may be called for another one, too: what is waited for has to be looked at again.
        """
        waiter = getcurrent()
        self.waiters = (*self.waiters, waiter)
        timer = None
        if seconds > 0:
            timer = self.intake.loop.timer(seconds)
            timer.start(self._wake)
        try:
            get_hub().switch()
        finally:  # a time limit may be raised here
            self.waiters = tuple(each for each in self.waiters if each is not waiter)
            if timer is not None:
                timer.stop()
                timer.close()

    def go_on(self) -> None:
        """Let it look again whether it still has to wait; to be called in the loop's thread."""
        if self.answered:
            self.intake.pass_turn(self)
        elif self.waiters:
            if getcurrent() is self.intake.hub:
                self._wake()
            else:  # which nobody would switch back to
                self._wake_later()
        elif self.switched:
            self._tick()

    def _wake_later(self) -> None:
        """Have another greenlet of the application, which still reads, hear of the end."""
        if self.waiters:
            self.intake.loop.run_callback(self._wake)

    def _wake(self) -> None:
        for waiter in self.waiters:  # as they are now
            if waiter in self.waiters:
                waiter.switch()

    def send_file(self, fd: int, offset: int, count: int) -> bool:
        """Refuse: ZeroMQ carries messages."""
        return False

    def abort(self) -> None:
        """Give the answer up: `done` closes the connection where the client misses something."""
        self.failed = True

    def refused(self, what: str) -> None:
        """Log that a request is refused for its body, or count it."""
        self.intake.refusals.note(what)

    def give_up(self, direct: bool = False) -> None:
        """Answer in the place of an application that does not come back, and end the connection."""
        if self.gone or self.x is None:
            return
        if not self.ended:
            self.failed = True
            with suppress(ClientGone):
                self._close_connection([] if self.x.begun else [self.intake.codec.refuse(OVERDUE, self.x)])
        self._log(self.x.status[:3] if self.x.begun else OVERDUE.status[:3])
        self.x.logged = True  # should the application come back
        self.gone = True  # what the application still sends
        if direct:  # `done` ends it, should the application come back
            if self.wire is not None:
                self.intake.loop.run_callback_threadsafe(self.wire.lost)
            return
        self.given_up = True
        self._end_timer()
        self._leave()

    def _publish(self, pieces: list[Piece], last: bool = False) -> None:
        if last and self.inflow is not None and not self.inflow.finished:
            last = False  # the connection goes on until the body has come
        try:
            self.intake.send(self, pieces, last)
            self.ended |= last
        except ClientGone:
            self.gone = True

    def _hold(self, pieces: list[Piece]) -> None:
        """Send a stream's pieces now if the client may have room, else with those that follow."""
        portions = self._plan()
        portions.add(pieces)
        room = portions.room()
        if portions.paced and portions.full and not room:
            gevent.sleep(INTERVAL)
            portions.grant()
            room = True
        if room or portions.full:
            self._flush()
        self._tick_later()

    def _plan(self) -> Portions:
        """Return what holds pieces; the head, which is made, tells how large messages shall be."""
        if self.portions is None:
            assert self.x is not None
            self.portions = Portions(self.x.length, credited=self.intake.credited(self))
        return self.portions

    def _flush(self) -> None:
        if self.portions is not None and self.portions.pieces and not self.gone:
            self._publish(self.portions.take())

    def _tick_later(self) -> None:
        """Have the loop send what waits."""
        if self.portions is not None and self.held and self.timer is None:
            self.timer = self.intake.loop.timer(self.portions.pause)
            self.timer.start(self._due)

    def _due(self) -> None:
        """Send what waits, or have it wait on."""
        self._end_timer()
        self._tick()
        self._tick_later()

    def _tick(self) -> None:
        """Send what a pausing application has left behind; called by the loop."""
        portions = self.portions
        if portions is None or not portions.room() or not portions.pieces:
            return
        if self.gone or self.intake.held_up(self):
            return
        try:
            if not self.intake.try_send(self, portions.pieces, last=False):
                return
            portions.take()
        except ClientGone:
            self.gone = True
        if self.wire is not None:
            self._end_timer()  # a connection that idles costs nothing
            self.wire.sent()
