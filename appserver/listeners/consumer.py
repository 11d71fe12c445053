"""A loop that takes requests from the receiver, as the receiver sees it."""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from appserver.listeners.outbox import Outbox
from appserver.protocols.handoff import BODY, FAREWELL, GONE, PROBE, REQUEST, Frames, frame, frames

if TYPE_CHECKING:
    from appserver.listeners.dispatch import Job
    from appserver.protocols.handoff import Frame

LARGEST = 65536  # bytes of a packet; larger requests go over the stream
_BUFFER = 262144  # bytes read at once
_AHEAD = 8  # requests that a loop with few cores may have, running and waiting
_SWIFT = 0.002  # seconds since its last answer in which a loop counts as quick,
_STUCK = 0.02  # and seconds in which it has to take what it is given, unless it has answered since


class Consumer:
    """Send requests to one loop and read its answers.

    It has two sockets. Requests go in packets, which the loop takes one after the other when it has
    cores for them; the receiver holds the other end as well, so it can take back what is not begun.
    All else goes over a stream. The process of the loop is watched besides: a child of its
    application may have its sockets open after its end.
    """

    def __init__(self, pid: int, cores: int, fds: list[int]) -> None:
        self.pid = pid
        self.cores = cores
        self.limit = max(cores, _AHEAD)
        self.in_hand = 0
        self.leaving = False  # it wants no more,
        self.released = False  # and has been told that it gets no more
        self.stuck = False  # it does not take what it is given
        self.probed = False  # a probe is all that it has not taken
        self.packets, self._unread, self.stream = (socket.socket(fileno=fd) for fd in fds)
        for each in (self.packets, self._unread, self.stream):
            each.setblocking(False)
        try:
            self.life = os.pidfd_open(pid)
        except OSError:  # it has gone already, or belongs to another name space: the stream tells
            self.life = -1
        self._frames = Frames()
        self._outbox = Outbox(self.stream.fileno())
        self._passing: deque[tuple[int, Job, int]] = deque()  # frames in the outbox: where they end there
        self._jobs: list[Job] = []  # given, and not sent yet
        self._given = 0.0  # when it was given what it may not have taken yet; 0 = it has taken all
        self._answered = 0.0  # when its last answer ended

    @property
    def swift(self) -> bool:
        """Whether it has just answered another: what waits for it does so for a moment."""
        return monotonic() - self._answered < _SWIFT

    def answered(self) -> None:
        """Note that an answer has ended."""
        self._answered = monotonic()
        self.stuck = False

    def give(self, job: Job) -> None:
        """Have a request sent by the next `flush`."""
        self._jobs.append(job)

    def flush(self) -> list[tuple[int, bytes]]:
        """Send the requests that it was given; return those that its socket has no room for.

        What is too large for a packet goes over the stream, and cannot be taken back.
        """
        jobs, self._jobs = self._jobs, []
        if not jobs:
            return []
        self._given = self._given or monotonic()
        self.probed = False
        packet = b""
        sent = ahead = 0
        for number, job in enumerate(jobs):
            if len(job.message) > LARGEST:
                if job.gone:
                    self.say(GONE, job.number)
                self.say(REQUEST, job.number, job.message)
                job.message = b""
                continue
            if ahead == self.cores or len(packet) + len(job.message) > LARGEST:
                if not self._send(packet):
                    return self._left(jobs[sent:])
                for each in jobs[sent:number]:
                    each.message = b""
                packet, ahead, sent = b"", 0, number
            if job.gone:
                packet += frame(GONE, job.number)
            packet += frame(REQUEST, job.number, job.message)
            ahead += 1
        if packet and not self._send(packet):
            return self._left(jobs[sent:])
        for job in jobs:
            job.message = b""
        return []

    def _send(self, packet: bytes) -> bool:
        try:
            self.packets.send(packet)
        except BlockingIOError:
            return False
        except OSError:  # it has gone; what it was given is taken back when that is noticed
            return False
        return True

    def _left(self, jobs: list[Job]) -> list[tuple[int, bytes]]:
        self.stuck = True
        return [(job.number, job.message) for job in jobs if job.message]

    def say(self, kind: int, number: int, data: bytes = b"") -> None:
        """Send a frame over the stream, now or when there is room."""
        self._outbox.put([frame(kind, number, data)])
        self.write()

    def pass_on(self, job: Job, message: bytes) -> None:
        """Send a message over a connection that has switched, and count it for as long as it waits here."""
        self.say(BODY, job.number, message)
        outbox = self._outbox
        if outbox:
            size = len(message)
            job.ahead += size
            self._passing.append((outbox.flushed + outbox.size, job, size))

    def write(self) -> None:
        """Send what waits for room in the stream."""
        try:
            self._outbox.flush()
        except OSError:  # it has gone
            self._outbox.clear()
        passing, flushed = self._passing, self._outbox.flushed
        while passing and (passing[0][0] <= flushed or not self._outbox):
            _, job, size = passing.popleft()
            job.ahead -= size

    @property
    def writes(self) -> bool:
        """Whether something waits for room in the stream."""
        return bool(self._outbox)

    def read(self) -> list[Frame] | None:
        """Return the frames that have come, None at the end of the stream.

        Raise `BlockingIOError` where nothing has.
        """
        try:
            data = self.stream.recv(_BUFFER)
        except ConnectionError:
            return None
        return self._frames.feed(data) if data else None

    def look(self, now: float) -> None:
        """Find out whether it takes what it is given."""
        if not self._given:
            return
        try:
            self._unread.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            self._given = 0.0
            self.stuck = self.probed = False
        else:
            self.stuck = self.stuck or now - max(self._given, self._answered) > _STUCK

    @property
    def watched(self) -> bool:
        """Whether it may not have taken yet what it was given."""
        return self._given > 0

    def take_back(self) -> list[tuple[int, bytes]]:
        """Return the requests that it has not taken: their numbers and messages."""
        found = []
        with suppress(BlockingIOError):
            while packet := self._unread.recv(LARGEST + 4096):
                found += [(each.number, each.data) for each in frames(packet) if each.kind == REQUEST]
        self._given = 0.0
        return found

    def probe(self) -> None:
        """Have something wait for it that shows when it takes what it is given again."""
        self.probed = self._send(frame(PROBE, 0))
        self._given = self._given or monotonic()

    def farewell(self) -> None:
        """Let it end: it has answered all, and gets no more."""
        self.released = True
        self.say(FAREWELL, 0)

    def finish(self) -> None:
        """Wait until all that was said to it is on its way, or it has ended."""
        poll = select.poll()
        poll.register(self.stream, select.POLLOUT)
        if self.life >= 0:
            poll.register(self.life, select.POLLIN)
        while self.writes and self.life not in dict(poll.poll()):
            self.write()

    def close(self) -> None:
        """Release all."""
        for each in (self.packets, self._unread, self.stream):
            each.close()
        if self.life >= 0:
            os.close(self.life)
