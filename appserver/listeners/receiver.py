"""The process that reads one Mongrel2's requests for all workers, and passes their answers on.

It holds the connection to Mongrel2 while workers come, go and die, so nothing that Mongrel2 has dealt
is lost with them.
"""

from __future__ import annotations

import logging
import os
import select
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import zmq

from appserver.listeners import upload
from appserver.listeners.absence import Absence
from appserver.listeners.arrivals import Arrivals
from appserver.listeners.clients import Clients
from appserver.listeners.dispatch import Dispatch
from appserver.listeners.loops import Loops
from appserver.listeners.outlet import Outlet
from appserver.listeners.pull import NOT_ATTACHED, Pull
from appserver.listeners.replies import Replies
from appserver.listeners.responder import POLL, POLL_ATTACHED, Responder
from appserver.listeners.zeromq import context
from appserver.protocols.handoff import FLOW, LEAVE, WELCOME

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.listeners.mongrel2 import Mongrel2Listener
    from appserver.listeners.rendezvous import Rendezvous

log = logging.getLogger("appserver.listeners")

_BATCH = 256  # messages taken in one turn
_LOOK = 0.01  # seconds between looks whether loops take what they are given
_TRY_AGAIN = 0.01  # seconds between tries while Mongrel2 takes no answers
_IDENTITY = "appserver-%d"  # of the process
_SUBSCRIBED = f"{_IDENTITY}, for all workers"
_LARGEST = 65536  # bytes of a message from the master


class Receiver:
    """Serve as the attendant of a `Mongrel2Listener` whose workers share it.

    *control* is the descriptor of the channel to the master.
    """

    def __init__(
        self, listener: Mongrel2Listener, rendezvous: Rendezvous, control: int, reopen: Callable[[], None]
    ) -> None:
        self._name = name = f"mongrel2 {listener.pull}"
        self._listener = listener
        self._control = control
        self._reopen = reopen
        self._rendezvous = rendezvous
        self._epoll = select.epoll()
        self._context = context()
        self._responder = Responder(self._context, listener.publish, listener.timeout)
        self._outlet = Outlet(name, self._responder, listener.timeout)
        options, mongrel2 = listener.options, listener.mongrel2
        discard = partial(
            upload.discard, directory=mongrel2.mongrel2_upload_dir, chroot=mongrel2.mongrel2_chroot
        )
        self._dispatch = dispatch = Dispatch(options.zeromq_queue, discard)
        self._loops = loops = Loops(name, rendezvous, dispatch, self._epoll)
        self._clients = Clients(name, dispatch, loops, self._outlet, listener.unheard)
        self._arrivals = Arrivals(name, dispatch, loops, self._clients, listener.count)
        self._replies = Replies(name, dispatch, loops, self._clients)
        self._absence = Absence(self._context, name, listener.publish)
        self._pull: Pull | None = None
        self._failed = False  # to subscribe, which has been told
        self._more = False  # there may be messages, though the descriptor does not tell
        self._paused = False  # none are read
        self._look_at = self._follow_at = 0.0
        self._keep_alive_at = 0.0 if options.mongrel2_keepalive else float("inf")

    def run(self) -> int:
        """Serve until the master says otherwise, and return the exit code."""
        self._epoll.register(self._control, select.EPOLLIN)
        self._epoll.register(self._responder.fd, select.EPOLLIN)
        while not self._over():
            self._turn()
        self._loops.close()
        self._detach()
        self._epoll.close()
        self._absence.close()
        self._responder.close()
        self._context.term()
        self._listener.tell_strange()
        return 0

    def _turn(self) -> None:
        self._settle()
        ready = dict(self._epoll.poll(self._pause()))
        now = monotonic()
        if self._control in ready:
            self._obey()
        if self._rendezvous.fileno() in ready:
            self._join()
        if now >= self._follow_at or self._responder.fd in ready:
            self._follow(now)
        for fd, event in ready.items():
            self._hear(fd, event)
        if self._outlet:
            self._clients.lose_addressees(self._outlet.flush(now))
        if self._pull is not None and not self._outlet.full and (self._more or self._pull.fd in ready):
            self._read(self._pull)
        if now >= self._look_at:
            self._look_at = now + _LOOK
            self._loops.look(now)
        self._deal()

    def _settle(self) -> None:
        """While Mongrel2 takes nothing have those wait who would make more for it: itself, and the loops."""
        outlet, pull = self._outlet, self._pull
        if pull is not None and self._paused != outlet.full:
            self._paused = outlet.full
            self._epoll.modify(pull.fd, 0 if self._paused else select.EPOLLIN)
            self._more = True
        if self._loops.unheard != bool(outlet):
            self._loops.listen(listening=not outlet)

    def _pause(self) -> float:
        """Return how many seconds to wait for events."""
        if self._more and not self._outlet.full:
            return 0.0
        pause = self._follow_at - monotonic()
        if self._outlet:
            pause = min(pause, _TRY_AGAIN)
        if self._loops.watched:
            pause = min(pause, _LOOK)
        return max(pause, 0.0)

    # The master

    def _obey(self) -> None:
        message = os.read(self._control, _LARGEST).decode()
        if message == "reopen-logs":
            self._reopen()
        else:  # drain, or the master's end
            self._drain()

    def _drain(self) -> None:
        """Take what Mongrel2 has dealt, hand it out and end; nothing the master could say changes that."""
        self._epoll.unregister(self._control)
        self._dispatch.draining = True
        if self._pull is not None:
            self._pull.drain()

    def _ask_master(self, *, ended: bool) -> None:
        """Hear the master before a loop that leaves: where all do, they are needed for the rest.

        With *ended* a loop has found out before us that there is no master any more.
        """
        if ended:
            self._drain()
            return
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while not self._dispatch.draining and poll.poll(0):
            self._obey()

    def _over(self) -> bool:
        """Tell whether all that Mongrel2 has dealt is answered, and nothing more will come."""
        dispatch = self._dispatch
        # Being dry comes first: it leaves Mongrel2 in time, and may give out the last requests.
        if not dispatch.draining or not self._dry() or dispatch.jobs or self._outlet or self._more:
            return False
        if dispatch.size and not dispatch.consumers:  # nobody will answer them any more
            for job in dispatch.refuse_all():
                if not job.gone:
                    self._clients.refuse(job.connection, job.attachment, uploads=job.uploads)
            return self._over()
        return not dispatch.size

    def _dry(self) -> bool:
        pull = self._pull
        if pull is not None and self._clients.expected:
            pull.drain()  # put off
            return False
        if pull is None or pull.quiet():
            return True
        if pull.ended():
            self._read(pull)
            self._deal()
            pull.last = 0.0
        return pull.quiet()

    # Mongrel2

    def _follow(self, now: float) -> None:
        """Attach to Mongrel2 whenever it has come, once there is a loop to serve it."""
        dispatch, clients = self._dispatch, self._clients
        attachment = self._responder.attachment()
        if attachment != clients.attachment and clients.attachment:
            clients.lose_all()
            self._detach()
        wanted = not dispatch.draining and (dispatch.consumers or self._replies.orphans)
        if attachment and not clients.attachment and wanted:
            self._attach(attachment)
        pull = self._pull
        if pull is not None:
            pull.look(self._name, _SUBSCRIBED % os.getpid())
        self._absence.look(attached=attachment > 0 or dispatch.draining)
        if self._outlet:  # nobody can say what clients read
            self._follow_at = now + POLL_ATTACHED
            return
        clients.look()
        if pull is not None and now >= clients.credits.due:
            self._read(pull)  # perhaps what has been waited for
            if not self._more:
                clients.settle()
        if now >= self._keep_alive_at:
            clients.keep_alive()
            self._keep_alive_at = now + self._listener.options.mongrel2_keepalive
        pause = POLL_ATTACHED if pull is not None and pull.ready else POLL
        self._follow_at = min(now + pause, clients.credits.due)

    def _attach(self, attachment: int) -> None:
        """Subscribe, if there are the means; else the next look tries again."""
        listener = self._listener
        try:
            self._pull = Pull(
                self._context, listener.pull, _IDENTITY % os.getpid(), listener.options.zeromq_max_message
            )
        except zmq.ZMQError as error:
            self._fail(error)
            return
        self._failed = False
        self._clients.attachment = attachment
        self._replies.adopt()
        self._epoll.register(self._pull.fd, select.EPOLLIN)
        self._more = True

    def _fail(self, error: zmq.ZMQError) -> None:
        if not self._failed:
            self._failed = True
            log.error(NOT_ATTACHED, self._name, error)

    def _detach(self) -> None:
        if self._pull is not None:
            self._epoll.unregister(self._pull.fd)
            self._pull.tell(self._name, _SUBSCRIBED % os.getpid())
            self._pull.close()
        self._pull = None
        self._more = self._paused = False

    def _read(self, pull: Pull) -> None:
        """Take what waits; the descriptor signals only once."""
        if not pull.told:
            pull.tell(self._name, _SUBSCRIBED % os.getpid())
        self._more = True
        for _ in range(_BATCH):
            message = pull.take()
            if message is None:
                self._more = False
                return
            self._arrivals.take(message)

    # The loops

    def _join(self) -> None:
        for consumer in self._loops.join():
            self._loops.say(consumer, WELCOME, 0)
            if self._clients.flow_control:
                self._loops.say(consumer, FLOW, 1)
            self._follow_at = 0.0

    def _hear(self, fd: int, event: int) -> None:
        consumer = self._loops.of(fd)
        if consumer is None:
            return
        said, ended = self._loops.hear(consumer, fd, event)
        if not self._dispatch.draining:
            leaving = [each.number for each in said if each.kind == LEAVE]
            if leaving:
                self._ask_master(ended=any(leaving))
        for each in said:
            self._replies.take(consumer, each)
        if ended:
            self._replies.bury(consumer)

    def _deal(self) -> None:
        """Give out what loops have room for."""
        dealt = False
        while not dealt:
            for job in self._dispatch.deal():
                if job.consumer is not None:
                    job.consumer.give(job)
                elif not job.gone:
                    self._clients.refuse(job.connection, job.attachment, uploads=job.uploads)
            dealt = self._loops.flush()
