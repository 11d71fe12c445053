"""What becomes of each word of a loop in the receiver, and of what a loop leaves behind."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from appserver.counting import number_of
from appserver.protocols import handoff
from appserver.protocols.mongrel2 import sender

if TYPE_CHECKING:
    from appserver.listeners.clients import Clients
    from appserver.listeners.consumer import Consumer
    from appserver.listeners.dispatch import Dispatch
    from appserver.listeners.loops import Loops
    from appserver.protocols.handoff import Frame
    from appserver.protocols.mongrel2 import Connection

log = logging.getLogger("appserver.listeners")

_FIRST = 1  # the number of the first attachment
_CLOSING = frozenset({handoff.LAST_CLOSE, handoff.CLOSE})


class Replies:
    """Have clients get what loops answer, and *dispatch* know of its end."""

    def __init__(self, name: str, dispatch: Dispatch, loops: Loops, clients: Clients) -> None:
        self.orphans: list[tuple[Connection, bool]] = []  # until Mongrel2 is here
        self._name = name
        self._dispatch = dispatch
        self._loops = loops
        self._clients = clients

    def take(self, consumer: Consumer, told: Frame) -> None:
        """Do what a loop says."""
        match told.kind:
            case handoff.LEAVE:
                consumer.leaving = True
                if not self._dispatch.draining:
                    self._dispatch.take_back(consumer.take_back())
                self._let_go(consumer)
            case handoff.ORPHAN:
                client = sender(told.data)
                if client is not None:
                    self._adopt(client, begun=bool(told.number))
            case handoff.PUBLISH:
                numbers, data = handoff.unnumbered(told)
                jobs = map(self._dispatch.jobs.get, numbers)
                self._clients.publish([job for job in jobs if job is not None and not job.gone], data)
            case _:
                self._answer(consumer, told)

    def _answer(self, consumer: Consumer, told: Frame) -> None:
        """Do what a loop says of a request that it has."""
        job = self._dispatch.jobs.get(told.number)
        if job is None:
            return
        if told.kind == handoff.SWITCHED:
            self._dispatch.switch(job)
            return
        if told.kind == handoff.ORDER:
            job.uploads = True
            self._clients.order(told.data, job.attachment)
            return
        close = told.kind in _CLOSING
        if not job.gone and (told.data or close):
            job.begun = True
            if told.kind == handoff.PIECE:
                self._clients.piece(job, told.data)
            elif not self._clients.answer(job.connection, told.data, job.attachment, close=close):
                job.gone = True
            elif close and job.uploads:
                self._clients.release(job.connection, job.attachment)
        if told.kind != handoff.PIECE:
            line = job.attachment, job.connection
            slow = not (close or job.gone) and self._clients.credits.held_up(line)
            self._dispatch.finish(told.number, slow=slow)
            consumer.answered()
            if consumer.leaving:
                self._let_go(consumer)

    def _let_go(self, consumer: Consumer) -> None:
        """Let a loop that is leaving end, unless it has requests or is needed for the last ones."""
        if not consumer.in_hand and not self._dispatch.draining:
            consumer.farewell()

    def bury(self, consumer: Consumer) -> None:
        """Give up what a loop has begun that has ended."""
        self._loops.remove(consumer)
        broken = self._dispatch.of(consumer)
        for job in broken:
            if not job.gone:
                self._clients.break_off(job.connection, job.attachment, begun=job.begun, uploads=job.uploads)
            self._dispatch.finish(job.number)
        if broken:
            log.error(
                "%s: the worker with pid %d has gone with %s in its hands, to be answered 502",
                self._name, consumer.pid, number_of(len(broken), "request"),
            )  # fmt: skip

    def _adopt(self, connection: Connection, *, begun: bool) -> None:
        """Break off what the receiver before has left, once Mongrel2 is here.

        It is taken for the same one if it is the first: the next one numbers its clients anew. A loop
        that blocks tells late of what it had in hand.
        """
        if not self._clients.attachment:
            self.orphans.append((connection, begun))
        elif self._clients.attachment == _FIRST:
            self._clients.break_off(connection, _FIRST, begun=begun, uploads=True)  # perhaps

    def adopt(self) -> None:
        """Break off what waits for that, as Mongrel2 is here."""
        orphans, self.orphans = self.orphans, []
        for connection, begun in orphans:
            self._adopt(connection, begun=begun)
