"""One Mongrel2's clients, as the receiver answers them: each within what it takes."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from appserver.errors import ClientGone
from appserver.listeners.credits import Credits
from appserver.listeners.rivals import Rivals
from appserver.protocols.framing import BROKEN, BUSY, HttpAnswers
from appserver.protocols.handoff import FLOW, GO_ON, GONE, WAIT
from appserver.protocols.mongrel2 import MOST_TARGETS, RELEASE, addressees, control, envelope, envelope_to
from appserver.websocket.frames import closing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from appserver.listeners.dispatch import Dispatch, Job
    from appserver.listeners.loops import Loops
    from appserver.listeners.outlet import Outlet
    from appserver.protocols.mongrel2 import Connection

log = logging.getLogger("appserver.listeners")

_refusal = HttpAnswers().refuse
_TOO_MUCH = closing(1008, "too many messages wait for the application")


class Clients:
    """Send to clients what loops answer, and have loops know who has gone and who is slow."""

    def __init__(self, name: str, dispatch: Dispatch, loops: Loops, outlet: Outlet, timeout: float) -> None:
        self.attachment = 0  # of the Mongrel2 that has them; 0 = there is none
        self.flow_control = False  # it is known that Mongrel2 tells what they have read
        self.credits = Credits(outlet.put, timeout)
        self.rivals = Rivals(name)
        self._name = name
        self._dispatch = dispatch
        self._loops = loops
        self._outlet = outlet

    def learn(self) -> None:
        """Note that Mongrel2 controls the flow to them, and have the loops know."""
        if not self.flow_control:
            self.flow_control = True
            self.credits.learn(self.attachment)
            self._loops.tell_all(FLOW, 1)

    @property
    def expected(self) -> bool:
        """Whether an answer is on its way that needs to hear from Mongrel2."""
        if self.credits.waits:
            return True
        jobs = self._dispatch.jobs.values()
        tells = self.credits.uncontrolled != self.attachment
        return any((job.uploads or job.switched or (job.begun and tells)) and not job.gone for job in jobs)

    # What they are sent

    def answer(self, connection: Connection, data: bytes, attachment: int, *, close: bool = True) -> bool:
        """Send something to a client, now or when it is taken; return False where nobody is there."""
        if close:
            self._dispatch.closed(connection)
        try:
            if attachment != self.credits.uncontrolled:
                self.credits.put((attachment, connection), data, close=close)
                return True
            if data:
                self._outlet.put(envelope(connection, [data]), attachment)
            if close:
                self._outlet.put(envelope(connection), attachment)
        except ClientGone:
            return False
        return True

    def refuse(self, connection: Connection, attachment: int, *, uploads: bool) -> None:
        """Answer 503, as there is no room for a request, of which more may come if it *uploads*."""
        self.answer(connection, _refusal(BUSY), attachment)
        if uploads:
            self.release(connection, attachment)

    def break_off(self, connection: Connection, attachment: int, *, begun: bool, uploads: bool) -> None:
        """Answer 502, or end an answer of which something has been sent in a way that shows."""
        self.answer(connection, b"" if begun else _refusal(BROKEN), attachment)
        if uploads:
            self.release(connection, attachment)

    def shed(self, job: Job) -> None:
        """End a WebSocket whose client sends more than its loop takes: nothing makes Mongrel2 read less."""
        log.info(
            "%s: a WebSocket is closed with 1008: %d bytes wait for its worker, which is busy",
            self._name, job.ahead,
        )  # fmt: skip
        self.answer(job.connection, _TOO_MUCH, job.attachment)
        self._loops.tell(job, GONE)

    def release(self, connection: Connection, attachment: int) -> None:
        """Have Mongrel2 see that the connection of an upload has ended."""
        self.order(control(connection, credits=RELEASE), attachment)

    def piece(self, job: Job, data: bytes) -> None:
        """Send a piece of an answer, and have the loop wait where there is too much of it."""
        if not self.answer(job.connection, data, job.attachment, close=False):
            job.gone = True
            self._loops.tell(job, GONE)
        elif self.credits.held_up((job.attachment, job.connection)):
            self._loops.tell(job, WAIT)

    def publish(self, jobs: Iterable[Job], data: bytes) -> None:
        """Send the same to the clients of several requests, in as few messages as can be."""
        groups: dict[tuple[int, bytes], list[Job]] = {}
        for job in jobs:
            groups.setdefault((job.attachment, job.connection[0]), []).append(job)
        for (attachment, uuid), group in groups.items():
            for at in range(0, len(group), MOST_TARGETS):
                some = group[at : at + MOST_TARGETS]
                if attachment != self.credits.uncontrolled:
                    lines = {(attachment, job.connection): job for job in some}
                    for line in self.credits.put_together(list(lines), data):
                        self.piece(lines[line], data)
                else:
                    self.order(envelope_to(uuid, [job.connection[1] for job in some], data), attachment)

    def order(self, message: bytes, attachment: int) -> None:
        """Send Mongrel2 a message that is nobody's answer, if it is still there."""
        with suppress(ClientGone):
            self._outlet.put(message, attachment)

    def keep_alive(self) -> None:
        """Have Mongrel2 not take long work for an idle connection, also where that blocks a loop."""
        for job in self._dispatch.lasting():
            if not job.gone and self.credits.reads((job.attachment, job.connection)):
                self.order(control(job.connection, keep_alive=True), job.attachment)

    # Who has gone

    def lose(self, connection: Connection) -> None:
        """Note that a client is no more."""
        job = self._dispatch.holder(connection)
        if job is not None and not job.gone:
            self._loops.tell(job, GONE)
        self._dispatch.disconnect(connection)

    def lose_all(self) -> None:
        """Note that Mongrel2 is no more."""
        for job in self._dispatch.lose_all():
            self._loops.tell(job, GONE)
        self.credits.lost(self.attachment)
        if self.flow_control:
            self.flow_control = False
            self._loops.tell_all(FLOW, 0)
        self.rivals = Rivals(self._name)
        self.attachment = 0

    def lose_addressees(self, messages: Iterable[tuple[bytes, int]]) -> None:
        """Note that what was for clients has been given up, with the attachment of each message."""
        lost = {
            each
            for message, attachment in messages
            if attachment == self.attachment
            for each in addressees(message)
        }
        for connection in lost:
            self.lose(connection)

    def settle(self) -> None:
        """Note that Mongrel2 has said nothing of what they were sent, and have answers go on."""
        for _, connection in self.credits.settle(self.attachment):
            self.go_on(connection)

    def go_on(self, connection: Connection) -> None:
        """Have a stream go on, or the next answer begin, as its client has read what waited."""
        job = self._dispatch.holder(connection)
        if job is not None:
            self._loops.tell(job, GO_ON)
        else:
            self._dispatch.reads(connection)

    def look(self) -> None:
        """Drop clients that read nothing; to be called now and then."""
        for _, connection in self.credits.look():
            log.info("%s: a client that reads nothing is dropped", self._name)
            self.lose(connection)
