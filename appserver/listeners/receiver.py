"""The process that reads one Mongrel2's requests for all workers, and passes their answers on.

It holds the connection to Mongrel2 while workers come, go and die, so nothing that Mongrel2 has dealt
is lost with them.
"""

from __future__ import annotations

import logging
import os
import resource
import select
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from appserver.errors import ClientGone
from appserver.listeners.consumer import Consumer
from appserver.listeners.credits import Credits
from appserver.listeners.dispatch import Dispatch
from appserver.listeners.pull import BROKEN_OFF, Pull
from appserver.listeners.responder import POLL, POLL_ATTACHED, Responder
from appserver.listeners.zeromq import context
from appserver.protocols import handoff
from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BROKEN, BUSY, HttpAnswers
from appserver.protocols.mongrel2 import (
    CREDITS,
    LAST,
    MOST_TARGETS,
    addressees,
    control,
    envelope,
    envelope_to,
    may_continue,
    parse,
    sender,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.listeners.dispatch import Job
    from appserver.listeners.mongrel2 import Mongrel2Listener
    from appserver.listeners.rendezvous import Rendezvous
    from appserver.protocols.handoff import Frame
    from appserver.protocols.mongrel2 import Connection, Message

log = logging.getLogger("appserver.listeners")

_BATCH = 256  # messages taken in one turn
_LOOK = 0.01  # seconds between looks whether loops take what they are given
_TRY_AGAIN = 0.01  # seconds between tries while Mongrel2 takes no answers
_MOST_HELD = 1000  # messages that wait for Mongrel2 before no more of its requests are read
_EACH, _OTHERS = 4, 64  # descriptors that a loop needs here, and all else
_LARGEST = 65536  # bytes of a message from the master
_FIRST = 1  # the number of the first attachment
_CREDITS, _HEAD = CREDITS.encode(), 65536  # what is looked for in so many bytes of a request
_BUSY, _BROKEN = map(HttpAnswers().refuse, (BUSY, BROKEN))


class Receiver:
    """Serve as the attendant of a `Mongrel2Listener` whose workers share it.

    *control* is the descriptor of the channel to the master.
    """

    def __init__(
        self, listener: Mongrel2Listener, rendezvous: Rendezvous, control: int, reopen: Callable[[], None]
    ) -> None:
        self._name = f"mongrel2 {listener.pull}"
        self._endpoint = listener.pull
        self._listener = listener
        self._timeout = listener.timeout
        self._control = control
        self._reopen = reopen
        self._rendezvous = rendezvous
        self._dispatch = Dispatch(listener.options.zeromq_queue)
        self._context = context()
        self._responder = Responder(self._context, listener.publish, self._timeout)
        self._flow_control = False  # Mongrel2 tells what clients have read
        self._credits = Credits(self._pass_on, self._timeout)
        self._pull: Pull | None = None
        self._attachment = 0  # the one that the PULL belongs to
        self._more = False  # there may be messages, though the descriptor does not tell
        self._held: deque[tuple[bytes, int]] = deque()  # for Mongrel2, which takes none now
        self._held_since = 0.0
        self._full = False  # so much is held that nothing is read
        self._most_loops = max(1, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHERS) // _EACH)
        self._crowded = False  # so many loops have joined that no other can
        self._orphans: list[tuple[Connection, bool]] = []
        self._consumers: dict[int, Consumer] = {}  # by the descriptors of their stream and their life
        self._draining = False
        self._look_at = self._follow_at = 0.0
        self._keep_alive_at = 0.0 if listener.options.mongrel2_keepalive else float("inf")
        self._refused = 0  # requests in a row that there was no room for
        self._epoll = select.epoll()

    def run(self) -> int:
        """Serve until the master says otherwise, and return the exit code."""
        self._epoll.register(self._control, select.EPOLLIN)
        self._epoll.register(self._rendezvous.fileno(), select.EPOLLIN)
        self._epoll.register(self._responder.fd, select.EPOLLIN)
        while not self._over():
            self._turn()
        for consumer in self._dispatch.consumers:
            consumer.farewell()
            consumer.close()
        self._detach()
        self._epoll.close()
        self._responder.close()
        self._context.term()
        self._listener.tell_strange()
        return 0

    def _turn(self) -> None:
        ready = dict(self._epoll.poll(self._pause()))
        now = monotonic()
        if self._control in ready:
            self._obey()
        if self._rendezvous.fileno() in ready:
            self._join()
        if now >= self._follow_at or self._responder.fd in ready:
            self._follow(now)
        for fd, event in ready.items():
            consumer = self._consumers.get(fd)
            if consumer is not None:
                self._hear(consumer, fd, event)
        if self._held:
            self._try_again(now)
        if self._pull is not None and not self._full and (self._more or self._pull.fd in ready):
            self._read(self._pull)
        if now >= self._look_at:
            self._look(now)
        self._deal()

    def _pause(self) -> float:
        """Return how many seconds to wait for events."""
        if self._more and not self._full:
            return 0.0
        pause = self._follow_at - monotonic()
        if self._held:
            pause = min(pause, _TRY_AGAIN)
        if any(each.watched for each in self._dispatch.consumers):
            pause = min(pause, _LOOK)
        return max(pause, 0.0)

    # The master

    def _obey(self) -> None:
        message = os.read(self._control, _LARGEST).decode()
        if message == "reopen-logs":
            self._reopen()
        else:  # drain, or the master's end
            self._epoll.unregister(self._control)
            self._draining = self._dispatch.draining = True
            if self._pull is not None:
                self._pull.drain()

    def _over(self) -> bool:
        """Tell whether all that Mongrel2 has dealt is answered, and nothing more will come."""
        dispatch = self._dispatch
        # Being dry comes first: it leaves Mongrel2 in time, and may give out the last requests.
        if not self._draining or not self._dry() or dispatch.jobs or self._held or self._more:
            return False
        if dispatch.size and not dispatch.consumers:  # nobody will answer them any more
            for job in dispatch.refuse_all():
                if not job.gone:
                    self._answer(job.connection, _BUSY, job.attachment)
            return self._over()
        return not dispatch.size

    def _dry(self) -> bool:
        pull = self._pull
        if pull is not None and self._expects():
            pull.drain()  # put off
            return False
        if pull is None or pull.quiet():
            return True
        if pull.ended():
            self._read(pull)
            self._deal()
            pull.last = 0.0
        return pull.quiet()

    def _expects(self) -> bool:
        """Tell whether an answer is on its way that needs to hear from Mongrel2."""
        if self._credits.waits:
            return True
        jobs = self._dispatch.jobs.values()
        return any(
            (job.uploads or job.switched or (job.begun and self._flow_control)) and not job.gone
            for job in jobs
        )

    # Mongrel2

    def _follow(self, now: float) -> None:
        """Attach to Mongrel2 whenever it has come, once there is a loop to serve it."""
        attachment = self._responder.attachment()
        if attachment != self._attachment and self._attachment:
            for job in self._dispatch.lose_all():
                self._tell_gone(job)
            self._credits.lost(self._attachment)
            self._learn(flow_control=False)
            self._detach()
        if attachment and not self._attachment and not self._draining and (self._consumers or self._orphans):
            self._attach(attachment)
        if self._pull is not None and self._pull.broken():
            log.error(BROKEN_OFF, self._name)
        if self._held:  # nobody can say what clients read
            self._follow_at = now + POLL_ATTACHED
            return
        for _, connection in self._credits.look():
            log.info("%s: a client that reads nothing is dropped", self._name)
            self._lose(connection)
        if now >= self._keep_alive_at:
            self._keep_alive()
            self._keep_alive_at = now + self._listener.options.mongrel2_keepalive
        self._follow_at = now + (POLL_ATTACHED if self._attachment else POLL)

    def _keep_alive(self) -> None:
        """Have Mongrel2 not take long work for an idle connection, also where that blocks a loop."""
        for job in self._dispatch.lasting():
            if not job.gone and self._credits.reads((job.attachment, job.connection)):
                with suppress(ClientGone):
                    self._pass_on(control(job.connection, keep_alive=True), job.attachment)

    def _attach(self, attachment: int) -> None:
        self._attachment = attachment
        identity = f"appserver-{os.getpid()}"
        orphans, self._orphans = self._orphans, []
        for connection, begun in orphans:
            self._adopt(connection, begun=begun)
        self._pull = Pull(self._context, self._endpoint, identity, self._listener.options.zeromq_max_message)
        self._epoll.register(self._pull.fd, select.EPOLLIN)
        self._more = True
        log.info("%s: subscribed as %s, for all workers", self._name, identity)

    def _detach(self) -> None:
        if self._pull is not None:
            self._epoll.unregister(self._pull.fd)
            self._pull.close()
        self._pull = None
        self._more = self._full = False
        self._attachment = 0

    def _read(self, pull: Pull) -> None:
        """Take what waits; the descriptor signals only once."""
        self._more = True
        for _ in range(_BATCH):
            message = pull.take()
            if message is None:
                self._more = False
                return
            self._take(message)

    def _take(self, message: bytes) -> None:
        connection = sender(message)
        if connection is None:
            self._listener.count("The message does not begin with a UUID and a connection id.")
            return
        if message.startswith(b" @* ", len(connection[0]) + len(connection[1]) + 1):
            try:
                parsed = parse(message)
            except ProtocolError as error:
                self._listener.count(error.reason)
                return
            if parsed.notice is not None:
                self._notice(parsed, message)
                return
        switched = self._dispatch.switched
        if switched and (job := switched.get(connection)) is not None:
            self._say(job, handoff.BODY, message)
            return
        if may_continue(message, connection) and self._continue(connection, message):
            return
        if not self._flow_control and message.find(_CREDITS, 0, _HEAD) >= 0:
            with suppress(ProtocolError):  # a loop refuses it
                if parse(message).credits:
                    self._learn(flow_control=True)
        if self._dispatch.add(connection, message, self._attachment):
            if self._refused:
                log.info("%s: there is room again; %d requests were answered 503", self._name, self._refused)
                self._refused = 0
            return
        if not self._refused:
            log.error(
                "%s: zeromq-queue is full: %d requests wait for a worker; more are answered 503",
                self._name, self._dispatch.size,
            )  # fmt: skip
        self._refused += 1
        self._answer(connection, _BUSY, self._attachment)

    def _notice(self, notice: Message, message: bytes) -> None:
        """Take credit back; tell the loop that answers a client what else Mongrel2 tells of it."""
        connection = notice.connection
        job = self._dispatch.holder(connection)
        if notice.credits:
            self._learn(flow_control=True)
            if self._credits.give((self._attachment, connection), notice.credits) and job is not None:
                self._say(job, handoff.GO_ON)
            return
        if job is not None:
            self._say(job, handoff.NOTICE, message)
        if notice.notice == "disconnect":
            self._credits.forget((self._attachment, connection))
            self._dispatch.disconnect(connection)

    def _continue(self, connection: Connection, message: bytes) -> bool:
        """Pass a later piece of a body to the loop that has its request; return False where it is none."""
        try:
            parsed = parse(message)
        except ProtocolError:  # a loop refuses it
            return False
        if not parsed.continues:
            return False
        job = self._dispatch.holder(connection)
        if job is not None and not job.gone:
            job.uploads = LAST not in parsed.fields
            self._say(job, handoff.BODY, message)
        else:
            with suppress(ClientGone):
                self._pass_on(control(connection, credits=1, cancel=True), self._attachment)
        return True

    def _lose(self, connection: Connection) -> None:
        """Note that a client is no more."""
        job = self._dispatch.holder(connection)
        if job is not None:
            self._tell_gone(job)
        self._dispatch.disconnect(connection)

    def _learn(self, *, flow_control: bool) -> None:
        """Note whether Mongrel2 controls the flow to clients, and have the loops know."""
        if self._flow_control != flow_control:
            self._flow_control = flow_control
            for each in self._dispatch.consumers:
                self._tell(each, handoff.FLOW, int(flow_control))

    def _answer(self, connection: Connection, data: bytes, attachment: int, *, close: bool = True) -> bool:
        """Send a message to a client, now or when Mongrel2 takes it; return False where nobody is there."""
        if close:
            self._dispatch.closed(connection)
        if self._flow_control:
            try:
                self._credits.put((attachment, connection), data, close=close)
            except ClientGone:
                return False
            return True
        messages = [envelope(connection, data)] if data else []
        if close:
            messages.append(envelope(connection, b""))
        try:
            for message in messages:
                self._pass_on(message, attachment)
        except ClientGone:
            return False
        return True

    def _pass_on(self, message: bytes, attachment: int) -> bool:
        """Send a message, now or when Mongrel2 takes it; raise `ClientGone` after its attachment's end."""
        if self._held or not self._responder.try_send(message, attachment):
            self._hold(message, attachment)
        return True

    def _hold(self, message: bytes, attachment: int) -> None:
        if not self._held:
            self._held_since = monotonic()
        self._held.append((message, attachment))
        if len(self._held) == 1:
            self._listen()
        elif len(self._held) == _MOST_HELD:
            self._set_full(full=True)

    def _set_full(self, *, full: bool) -> None:
        """Read on, or not: what Mongrel2 sends waits in its own queue then, as its clients do."""
        self._full = full
        if self._pull is not None:
            self._epoll.modify(self._pull.fd, 0 if full else select.EPOLLIN)
            self._more = True

    def _try_again(self, now: float) -> None:
        """Send what Mongrel2 did not take.

        One that takes nothing for the whole time-out is as good as gone.
        """
        while self._held:
            message, attachment = self._held[0]
            try:
                if not self._responder.try_send(message, attachment):
                    if now - self._held_since < self._timeout:
                        return
                    log.error("%s: Mongrel2 takes no answers", self._name)
                    self._drop_held()
                    break
            except ClientGone:
                pass
            self._held.popleft()
            self._held_since = now
            if self._full and len(self._held) < _MOST_HELD // 2:
                self._set_full(full=False)
        if self._full:  # all has been given up
            self._set_full(full=False)
        self._listen()

    def _drop_held(self) -> None:
        """Give up what Mongrel2 does not take, and with it the rest: no answer may have a gap."""
        lost = {
            each
            for message, attachment in self._held
            if attachment == self._attachment
            for each in addressees(message)
        }
        self._held.clear()
        for connection in lost:
            job = self._dispatch.holder(connection)
            if job is not None and not job.gone:
                self._tell_gone(job)
            self._dispatch.disconnect(connection)

    def _listen(self) -> None:
        for each in self._dispatch.consumers:
            self._watch(each)

    def _watch(self, consumer: Consumer) -> None:
        """Listen to a loop, unless Mongrel2 takes nothing: then it waits as well."""
        events = select.EPOLLET if self._held else select.EPOLLIN
        self._epoll.modify(consumer.stream, events | (select.EPOLLOUT if consumer.writes else 0))

    # The loops

    def _join(self) -> None:
        """Accept the loops that join: all, as those that still wait at the end would do so for ever."""
        with suppress(BlockingIOError):
            while not self._crowded:
                self._accept(Consumer(*self._rendezvous.accept()))
                if len(self._dispatch.consumers) >= self._most_loops:
                    self._set_crowded(crowded=True)
                    log.error(
                        "%s: %d loops are served, and for more there are no descriptors (RLIMIT_NOFILE):"
                        " others wait", self._name, self._most_loops,
                    )  # fmt: skip

    def _set_crowded(self, *, crowded: bool) -> None:
        """Have loops that join wait until another has left, or not."""
        self._crowded = crowded
        self._epoll.modify(self._rendezvous.fileno(), 0 if crowded else select.EPOLLIN)

    def _accept(self, consumer: Consumer) -> None:
        self._dispatch.consumers.append(consumer)
        self._consumers[consumer.stream.fileno()] = consumer
        self._epoll.register(consumer.stream, select.EPOLLIN if not self._held else select.EPOLLET)
        if consumer.life >= 0:
            self._consumers[consumer.life] = consumer
            self._epoll.register(consumer.life, select.EPOLLIN)
        if self._flow_control:
            self._tell(consumer, handoff.FLOW, 1)
        self._follow_at = 0.0

    def _hear(self, consumer: Consumer, fd: int, event: int) -> None:
        if event & select.EPOLLOUT:
            consumer.write()
            self._watch(consumer)
        with suppress(BlockingIOError):
            if event & ~select.EPOLLOUT:
                while (frames := consumer.read()) is not None:
                    for each in frames:
                        self._obey_loop(consumer, each)
                    if fd != consumer.life:  # else there is no more than what it has sent before its end
                        return
                self._bury(consumer)
                return
        if fd == consumer.life:
            self._bury(consumer)

    def _obey_loop(self, consumer: Consumer, told: Frame) -> None:
        if told.kind == handoff.LEAVE:
            consumer.leaving = True
            if not self._draining:
                self._dispatch.take_back(consumer.take_back())
            self._let_go(consumer)
            return
        if told.kind == handoff.ORPHAN:
            client = sender(told.data)
            if client is not None:
                self._adopt(client, begun=bool(told.number))
            return
        if told.kind == handoff.PUBLISH:
            self._publish(*handoff.unnumbered(told))
            return
        job = self._dispatch.jobs.get(told.number)
        if job is None:
            return
        if told.kind == handoff.SWITCHED:
            self._dispatch.switch(job)
            return
        if told.kind == handoff.ORDER:
            job.uploads = True
            with suppress(ClientGone):
                self._pass_on(told.data, job.attachment)
            return
        if not job.gone and (told.data or told.kind in {handoff.LAST_CLOSE, handoff.CLOSE}):
            close = told.kind in {handoff.LAST_CLOSE, handoff.CLOSE}
            job.begun = True
            if not self._answer(job.connection, told.data, job.attachment, close=close):
                job.gone = True
                if told.kind == handoff.PIECE:
                    self._tell_gone(job)
            elif told.kind == handoff.PIECE and self._credits.held_up((job.attachment, job.connection)):
                self._say(job, handoff.WAIT)
        if told.kind != handoff.PIECE:
            self._dispatch.finish(told.number)
            consumer.answered()
            if consumer.leaving:
                self._let_go(consumer)

    def _publish(self, numbers: tuple[int, ...], data: bytes) -> None:
        """Send the same to the clients of several requests, in as few messages as can be."""
        jobs = [job for job in map(self._dispatch.jobs.get, numbers) if job is not None and not job.gone]
        groups: dict[tuple[int, bytes], list[Job]] = {}
        for job in jobs:
            groups.setdefault((job.attachment, job.connection[0]), []).append(job)
        for (attachment, uuid), group in groups.items():
            for at in range(0, len(group), MOST_TARGETS):
                some = group[at : at + MOST_TARGETS]
                if self._flow_control:
                    lines = {(attachment, job.connection): job for job in some}
                    for line in self._credits.put_together(list(lines), data):
                        self._pass_piece(lines[line], data)
                else:
                    with suppress(ClientGone):
                        ids = [job.connection[1] for job in some]
                        self._pass_on(envelope_to(uuid, ids, data), attachment)

    def _pass_piece(self, job: Job, data: bytes) -> None:
        """Send a client a piece of its answer, and have the loop wait where there is too much of it."""
        if not self._answer(job.connection, data, job.attachment, close=False):
            job.gone = True
            self._tell_gone(job)
        elif self._credits.held_up((job.attachment, job.connection)):
            self._say(job, handoff.WAIT)

    def _let_go(self, consumer: Consumer) -> None:
        """Let a loop that is leaving end, unless it has requests or is needed for the last ones."""
        if not consumer.in_hand and not self._draining:
            consumer.farewell()

    def _bury(self, consumer: Consumer) -> None:
        """Take leave of a loop that has ended: what it has not begun goes to others, the rest is given up."""
        self._dispatch.take_back(consumer.take_back())
        self._dispatch.consumers.remove(consumer)
        for fd in (consumer.stream.fileno(), consumer.life):
            if self._consumers.pop(fd, None) is not None:
                self._epoll.unregister(fd)
        broken = self._dispatch.of(consumer)
        consumer.close()
        if self._crowded:
            self._set_crowded(crowded=False)
        for job in broken:
            if not job.gone:
                self._give_up(job.connection, job.attachment, begun=job.begun)
                if job.uploads:  # else Mongrel2 would not see that its connection ends
                    with suppress(ClientGone):
                        self._pass_on(control(job.connection, credits=1), job.attachment)
            self._dispatch.finish(job.number)
        if broken:
            log.error(
                "%s: the worker with pid %d has gone with %d requests in its hands; they are answered 502",
                self._name, consumer.pid, len(broken),
            )  # fmt: skip

    def _give_up(self, connection: Connection, attachment: int, *, begun: bool) -> None:
        """Answer 502, or end an answer of which something has been sent in a way that shows."""
        self._answer(connection, b"" if begun else _BROKEN, attachment)

    def _adopt(self, connection: Connection, *, begun: bool) -> None:
        """Break off what the receiver before has left, once Mongrel2 is here.

        It is taken for the same one if it is the first: the next one numbers its clients anew. A loop
        that blocks tells late of what it had in hand.
        """
        if not self._attachment:
            self._orphans.append((connection, begun))
        elif self._attachment == _FIRST:
            self._give_up(connection, _FIRST, begun=begun)

    def _say(self, job: Job, kind: int, data: bytes = b"") -> None:
        consumer = job.consumer
        assert consumer is not None
        self._tell(consumer, kind, job.number, data)

    def _tell(self, consumer: Consumer, kind: int, number: int, data: bytes = b"") -> None:
        consumer.say(kind, number, data)
        if consumer.writes:
            self._watch(consumer)

    def _tell_gone(self, job: Job) -> None:
        self._say(job, handoff.GONE)

    def _look(self, now: float) -> None:
        """Find loops that do not take what they are given, and give it to others that would."""
        self._look_at = now + _LOOK
        for each in self._dispatch.consumers:
            each.look(now)
        if self._dispatch.idle():
            for each in self._dispatch.consumers:
                if each.stuck and not each.probed:
                    self._dispatch.take_back(each.take_back())
                    if each.in_hand < each.cores:  # else the end of an answer tells that it goes on
                        each.probe()

    def _deal(self) -> None:
        """Give out what loops have room for."""
        while True:
            for job in self._dispatch.deal():
                if job.consumer is not None:
                    job.consumer.give(job)
                elif not job.gone:
                    self._answer(job.connection, _BUSY, job.attachment)
            left = [one for each in self._dispatch.consumers for one in each.flush()]
            if not left:
                break
            self._dispatch.take_back(left)
        for each in self._dispatch.consumers:
            if each.writes:  # a large request
                self._watch(each)
