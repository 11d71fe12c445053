"""Which loop gets which of Mongrel2's requests, and in which order; no sockets here.

A request goes to the least busy loop. Those of one client connection are answered one after the
other, by the same loop as long as it can. What no loop has room for waits here.
"""

from __future__ import annotations

from collections import deque
from itertools import chain, count
from typing import TYPE_CHECKING

from appserver.listeners.turns import PIPELINED, REMEMBERED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from appserver.listeners.consumer import Consumer
    from appserver.protocols.mongrel2 import Connection


class Job:
    """One request, from Mongrel2 to the end of its answer."""

    __slots__ = (
        "ahead", "attachment", "before", "begun", "connection", "consumer", "gone", "lasts", "message",
        "number", "refused", "slow", "switched", "uploads",
    )  # fmt: skip

    def __init__(
        self, number: int, connection: Connection, message: bytes, attachment: int, uploads: bool = False
    ) -> None:
        self.number = number
        self.connection = connection
        self.message = message  # b"" while a loop has it
        self.attachment = attachment
        self.consumer: Consumer | None = None  # who has it
        self.before: Consumer | None = None  # who had the one before it on its connection
        self.begun = False  # a part of the answer has been sent
        self.gone = False  # nobody waits for it any more
        self.refused = False  # there was no room for it
        self.slow = False  # it is answered, and its client has too much of that to read for another answer
        self.uploads = uploads  # more of its body will come
        self.switched = False  # its connection carries a WebSocket's frames,
        self.ahead = 0  # of which so many bytes wait until their loop reads
        self.lasts = False  # see `lasting`


class Dispatch:
    """Hold at most *limit* requests for loops that are busy, and deal them out.

    *discard* is called with the message of each that no loop will get.
    """

    def __init__(self, limit: int, discard: Callable[[bytes], None] = lambda _: None) -> None:
        self.limit = limit
        self._discard = discard
        self.consumers: list[Consumer] = []
        self.jobs: dict[int, Job] = {}  # those that loops have, by number
        self.switched: dict[Connection, Job] = {}
        self.size = 0  # how many wait
        self.draining = False  # loops that are leaving are all there is
        self._numbers = count(1)
        self._ready: deque[Job] = deque()  # the first of their connections
        self._lines: dict[Connection, deque[Job]] = {}
        self._closed: dict[Connection, None] = {}  # the latest ones that answers have ended

    def add(self, connection: Connection, message: bytes, attachment: int, *, uploads: bool = False) -> bool:
        """Take a request; return False where it is refused at once, as too many wait.

        Where one of the same connection is still to be answered it is refused in its turn. What comes
        behind an answer that ends its connection only needs to be logged (see `Turns`).
        """
        line = self._lines.get(connection)
        full = self.size >= self.limit
        if connection in self._closed or (line is not None and line[-1].refused):
            if self.size < self.limit // 2:  # the rest is for those who can be answered
                job = Job(next(self._numbers), connection, message, attachment, uploads)
                job.gone = True
                self.size += 1
                self._ready.append(job)
            else:
                self._discard(message)
            return True
        full = full or (line is not None and len(line) >= PIPELINED)
        if full:
            self._discard(message)
            if line is None:
                return False
        job = Job(next(self._numbers), connection, b"" if full else message, attachment, uploads)
        job.refused = full
        self.size += 1
        if line is None:
            self._lines[connection] = deque((job,))
            self._ready.append(job)
        else:
            line.append(job)
        return True

    def ended(self, connection: Connection) -> bool:
        """Tell whether an answer has ended a connection."""
        return connection in self._closed

    def deal(self) -> Iterator[Job]:
        """Yield each request that a loop has room for, as ``job.consumer``, or that is refused now."""
        while self._ready:
            job = self._ready[0]
            if not job.refused:
                job.consumer = self._room(job.before)
                if job.consumer is None:
                    return
                job.consumer.in_hand += 1
                self.consumers.remove(job.consumer)  # of those equally busy it is the last from now on
                self.consumers.append(job.consumer)
                self.jobs[job.number] = job
            self._ready.popleft()
            self.size -= 1
            yield job
            if job.refused:  # and has been answered
                self._release(job)

    def _room(self, before: Consumer | None) -> Consumer | None:
        """Return the loop that gets the next request: *before*, if it has room, or the least busy."""
        best = None
        for each in self.consumers:
            if not self._free(each):
                continue
            if each is before:
                return each
            if best is None or each.in_hand * best.cores < best.in_hand * each.cores:
                best = each
        if best is not None:
            return best
        for each in self.consumers:
            if each.swift and each.in_hand < each.limit and not each.stuck and not each.leaving:
                return each
        return None

    def _free(self, consumer: Consumer) -> bool:
        if consumer.stuck or (consumer.leaving and (consumer.released or not self.draining)):
            return False
        return consumer.in_hand < consumer.cores

    def idle(self) -> bool:
        """Tell whether some loop would begin a request at once."""
        return any(map(self._free, self.consumers))

    def switch(self, job: Job) -> None:
        """Note that no more requests come over a connection, but what belongs to *job*."""
        job.switched = True
        self.switched[job.connection] = job

    def finish(self, number: int, *, slow: bool = False) -> Job | None:
        """End a request that a loop has had.

        The next one of its connection can be dealt then, or, where the client is *slow*, once it `reads`.
        """
        job = self.jobs.pop(number, None)
        if job is not None:
            assert job.consumer is not None
            job.consumer.in_hand -= 1
            if job.switched and self.switched.get(job.connection) is job:
                del self.switched[job.connection]
            job.slow = slow
            if not slow:
                self._release(job)
        return job

    def reads(self, connection: Connection) -> None:
        """Note that a client that has been slow goes on, or has gone."""
        line = self._lines.get(connection)
        if line is not None and line[0].slow:
            self._release(line[0])

    def _release(self, job: Job) -> None:
        line = self._lines.get(job.connection)
        if line is None or line[0] is not job:
            return  # of a Mongrel2 that has gone
        line.popleft()
        if not line:
            del self._lines[job.connection]
            return
        line[0].before = job.consumer
        self._ready.append(line[0])

    def take_back(self, messages: Iterable[tuple[int, bytes]]) -> None:
        """Have requests that a loop has not begun wait again, before all others."""
        for number, message in reversed(list(messages)):
            job = self.jobs.pop(number, None)
            if job is None:
                continue
            assert job.consumer is not None
            job.consumer.in_hand -= 1
            job.consumer = None
            job.message = message
            self._ready.appendleft(job)
            self.size += 1

    def holder(self, connection: Connection) -> Job | None:
        """Return the request of a connection that a loop has."""
        line = self._lines.get(connection)
        return line[0] if line is not None and line[0].number in self.jobs else None

    def lasting(self) -> list[Job]:
        """Return the first requests of their connections that this has found before, dealt or not."""
        found = []
        for line in self._lines.values():
            if line[0].lasts:
                found.append(line[0])
            line[0].lasts = True
        return found

    def disconnect(self, connection: Connection) -> None:
        """Note that a client has left: what waits for it only needs to be logged."""
        for job in self._lines.get(connection, ()):
            job.gone = True
        self.reads(connection)

    def closed(self, connection: Connection) -> None:
        """Note that an answer ends its connection."""
        self._closed[connection] = None
        if len(self._closed) > REMEMBERED:
            del self._closed[next(iter(self._closed))]
        self.disconnect(connection)

    def lose_all(self) -> list[Job]:
        """Drop all, as Mongrel2 has left, and return what loops have."""
        self._drop()
        self._lines.clear()
        self._closed.clear()
        self.switched.clear()
        for job in self.jobs.values():
            job.gone = True
        return list(self.jobs.values())

    def refuse_all(self) -> list[Job]:
        """Drop all that waits and return it."""
        waiting = (job for line in self._lines.values() for job in line)
        jobs = [job for job in waiting if job.number not in self.jobs and not job.slow]
        self._drop()
        self._lines = {job.connection: deque((job,)) for job in self.jobs.values() if not job.gone}
        return jobs

    def _drop(self) -> None:
        """Have nothing wait any more."""
        for job in {*chain(self._ready, *self._lines.values())}:
            if job.message and job.number not in self.jobs:
                self._discard(job.message)
        self._ready.clear()
        self.size = 0

    def of(self, consumer: Consumer) -> list[Job]:
        """Return the requests that a loop has."""
        return [job for job in self.jobs.values() if job.consumer is consumer]
