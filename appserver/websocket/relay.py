"""What passes messages from each worker to all others of its server: a part of the master.

It looks into nothing: what a worker sends goes to the others as it is. What only one of them can take is
nobody's once all have denied it, and then comes back.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Protocol

from appserver.listeners.outbox import Outbox
from appserver.protocols.handoff import Frames, frame
from appserver.websocket.meeting import MOST, NOBODYS, STRAY, VERDICT

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.protocols.handoff import Frame
    from appserver.websocket.meeting import Meeting

log = logging.getLogger("appserver.websocket")

_BUFFER = 262144  # bytes read at once


class _Closing(Protocol):
    def close(self) -> None: ...


class _Stray:
    """What only one worker can take, and how many have not denied it."""

    __slots__ = ("asked", "data", "number", "origin")

    def __init__(self, origin: _Worker, told: Frame) -> None:
        self.origin = origin
        self.number = told.number
        self.data = told.data
        self.asked = 1  # by us, as long as it is passed on


class _Worker:
    """A stream to a worker."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.frames = Frames()
        self.outbox = Outbox(fd)
        self.strays: deque[_Stray] = deque()  # of which it has to give a verdict
        self.behind = False  # it has lost something, which has been told

    def close(self) -> None:
        """Close this process's end."""
        os.close(self.fd)


class Relay:
    """Pass messages on, in the asyncio loop that is running.

    *added* and *removed* hear of what children of this process have to close.
    """

    def __init__(
        self, meeting: Meeting, added: Callable[[_Closing], None], removed: Callable[[_Closing], None]
    ) -> None:
        self._meeting = meeting
        self._added, self._removed = added, removed
        self._loop = asyncio.get_running_loop()
        self._workers: set[_Worker] = set()
        self._short = False  # of descriptors, which has been told
        added(meeting.relays)
        self._loop.add_reader(meeting.fileno(), self._accept)

    def _accept(self) -> None:
        """Have all join that want to: who has joined may be known to others before this loop's next turn."""
        try:
            while True:
                self._add(self._meeting.accept())
        except BlockingIOError:
            return
        except OSError as error:
            if not self._short:
                log.error(  # noqa: TRY400
                    "a worker is not told what others publish and signal, nor they what it does: %s; it tries"
                    " again; set a higher limit of open files, as LimitNOFILE of systemd", error.strerror,
                )  # fmt: skip
            self._short = True

    def _add(self, fd: int) -> None:
        self._short = False
        os.set_blocking(fd, False)
        worker = _Worker(fd)
        self._workers.add(worker)
        self._added(worker)
        self._loop.add_reader(fd, self._read, worker)

    def _read(self, worker: _Worker) -> None:
        try:
            data = os.read(worker.fd, _BUFFER)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(worker)
            return
        self._accept()  # it may have said this after they joined
        for each in worker.frames.feed(data):
            if each.kind == VERDICT:
                asked = worker.strays.popleft()
                if not each.number:
                    self._deny(asked)
                continue
            message = frame(each.kind, each.number, each.data)
            stray = _Stray(worker, each) if each.kind == STRAY else None
            for other in self._workers - {worker}:
                if self._pass_on(other, message) and stray is not None:
                    stray.asked += 1
                    other.strays.append(stray)
            if stray is not None:
                self._deny(stray)

    def _deny(self, stray: _Stray) -> None:
        """Note that one of those who were asked does not know it; give back what is nobody's."""
        stray.asked -= 1
        if not stray.asked:
            back = stray.origin if stray.origin in self._workers else next(iter(self._workers), None)
            if back is not None:
                self._pass_on(back, frame(NOBODYS, stray.number, stray.data))

    def _pass_on(self, worker: _Worker, message: bytes) -> bool:
        """Send a message; return False where the worker loses it."""
        if worker.outbox.size > MOST:
            if not worker.behind:
                log.error("a worker does not take what others publish; it loses messages")
            worker.behind = True
            return False
        worker.outbox.put([message])
        self._write(worker)
        return True

    def _write(self, worker: _Worker) -> None:
        try:
            worker.outbox.flush()
        except OSError:  # reading tells
            worker.outbox.clear()
        if worker.outbox:
            self._loop.add_writer(worker.fd, self._write, worker)
        else:
            worker.behind = False
            self._loop.remove_writer(worker.fd)

    def _end(self, worker: _Worker) -> None:
        self._loop.remove_reader(worker.fd)
        self._loop.remove_writer(worker.fd)
        self._workers.discard(worker)
        self._removed(worker)
        worker.close()
        while worker.strays:
            self._deny(worker.strays.popleft())
