"""The loops that have joined the receiver, and their sockets among all that it waits for."""

from __future__ import annotations

import logging
import resource
import select
from contextlib import suppress
from typing import TYPE_CHECKING

from appserver.listeners.consumer import Consumer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appserver.listeners.dispatch import Dispatch, Job
    from appserver.listeners.rendezvous import Rendezvous
    from appserver.protocols.handoff import Frame

log = logging.getLogger("appserver.listeners")

_EACH, _OTHERS = 4, 64  # descriptors that a loop needs here, and all else


class Loops:
    """Let loops join at a rendezvous, hear what they say, and give them what *dispatch* has dealt to them."""

    def __init__(self, name: str, rendezvous: Rendezvous, dispatch: Dispatch, epoll: select.epoll) -> None:
        self.crowded = False  # so many have joined that no other can
        self.unheard = False  # Mongrel2 takes nothing, so they wait as well
        self._name = name
        self._rendezvous = rendezvous
        self._dispatch = dispatch
        self._epoll = epoll
        self._most = max(1, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHERS) // _EACH)
        self._by_fd: dict[int, Consumer] = {}  # of their stream and of their life
        epoll.register(rendezvous.fileno(), select.EPOLLIN)

    def join(self) -> Iterator[Consumer]:
        """Yield the loops that join: all, as those that still wait at the end would do so for ever."""
        with suppress(BlockingIOError):
            while not self.crowded:
                consumer = Consumer(*self._rendezvous.accept())
                self._add(consumer)
                yield consumer
                if len(self._dispatch.consumers) >= self._most:
                    self._set_crowded(crowded=True)
                    log.error(
                        "%s: %d loops are served, and for more there are no descriptors (RLIMIT_NOFILE):"
                        " others wait", self._name, self._most,
                    )  # fmt: skip

    def _set_crowded(self, *, crowded: bool) -> None:
        """Have loops that join wait until another has left, or not."""
        self.crowded = crowded
        self._epoll.modify(self._rendezvous.fileno(), 0 if crowded else select.EPOLLIN)

    def _add(self, consumer: Consumer) -> None:
        self._dispatch.consumers.append(consumer)
        self._by_fd[consumer.stream.fileno()] = consumer
        self._epoll.register(consumer.stream, select.EPOLLET if self.unheard else select.EPOLLIN)
        if consumer.life >= 0:
            self._by_fd[consumer.life] = consumer
            self._epoll.register(consumer.life, select.EPOLLIN)

    def remove(self, consumer: Consumer) -> None:
        """Take leave of a loop that has ended; what it has not begun is there for others."""
        self._dispatch.take_back(consumer.take_back())
        self._dispatch.consumers.remove(consumer)
        for fd in (consumer.stream.fileno(), consumer.life):
            if self._by_fd.pop(fd, None) is not None:
                self._epoll.unregister(fd)
        consumer.close()
        if self.crowded:
            self._set_crowded(crowded=False)

    def close(self) -> None:
        """Let all of them end, once they have read so: without that they wait for another receiver."""
        for consumer in self._dispatch.consumers:
            consumer.farewell()
        for consumer in self._dispatch.consumers:
            consumer.finish()
            consumer.close()

    # What they say

    def of(self, fd: int) -> Consumer | None:
        """Return the loop that a descriptor belongs to."""
        return self._by_fd.get(fd)

    def hear(self, consumer: Consumer, fd: int, event: int) -> tuple[list[Frame], bool]:
        """Return what a loop says, of which *fd* has had an event; and whether it has ended."""
        if event & select.EPOLLOUT:
            consumer.write()
            self._watch(consumer)
        dead = fd == consumer.life
        said: list[Frame] = []
        if event & ~select.EPOLLOUT:
            with suppress(BlockingIOError):
                while (frames := consumer.read()) is not None:
                    said += frames
                    if not dead:  # else there is no more than what it has sent before its end
                        return said, False
                dead = True
        return said, dead

    def listen(self, *, listening: bool) -> None:
        """Read what they say from now on, or have them wait."""
        self.unheard = not listening
        for each in self._dispatch.consumers:
            self._watch(each)

    def _watch(self, consumer: Consumer) -> None:
        events = select.EPOLLET if self.unheard else select.EPOLLIN
        self._epoll.modify(consumer.stream, events | (select.EPOLLOUT if consumer.writes else 0))

    # What they are told

    def tell(self, job: Job, kind: int, data: bytes = b"") -> None:
        """Tell the loop that has a request something about it."""
        assert job.consumer is not None
        self.say(job.consumer, kind, job.number, data)

    def pass_on(self, job: Job, message: bytes) -> None:
        """Pass a message over a connection that has switched to the loop that has it."""
        consumer = job.consumer
        assert consumer is not None
        consumer.pass_on(job, message)
        if consumer.writes:
            self._watch(consumer)

    def tell_all(self, kind: int, number: int) -> None:
        """Tell every loop the same."""
        for each in self._dispatch.consumers:
            self.say(each, kind, number)

    def say(self, consumer: Consumer, kind: int, number: int, data: bytes = b"") -> None:
        """Send a frame to a loop, now or when there is room."""
        consumer.say(kind, number, data)
        if consumer.writes:
            self._watch(consumer)

    def flush(self) -> bool:
        """Send the requests that they were given; return False where some are there for others again."""
        left = [one for each in self._dispatch.consumers for one in each.flush()]
        if left:
            self._dispatch.take_back(left)
            return False
        for each in self._dispatch.consumers:
            if each.writes:  # a large request
                self._watch(each)
        return True

    # Whether they take it

    @property
    def watched(self) -> bool:
        """Whether one of them may not have taken yet what it was given."""
        return any(each.watched for each in self._dispatch.consumers)

    def look(self, now: float) -> None:
        """Find loops that do not take what they are given, and have it given to others that would."""
        for each in self._dispatch.consumers:
            each.look(now)
        if self._dispatch.idle():
            for each in self._dispatch.consumers:
                if each.stuck and not each.probed:
                    self._dispatch.take_back(each.take_back())
                    if each.in_hand < each.cores:  # else the end of an answer tells that it goes on
                        each.probe()
