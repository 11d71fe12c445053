"""What passes messages from each worker to all others of its server: a part of the master.

It looks into nothing: what a worker sends goes to the others as it is. What only one of them can take comes
back to a worker that is alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Protocol

from appserver.listeners.outbox import Outbox
from appserver.protocols.handoff import Frames, frame
from appserver.websocket.meeting import MOST, STRAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.websocket.meeting import Meeting

log = logging.getLogger("appserver.websocket")

_BUFFER = 262144  # bytes read at once


class _Closing(Protocol):
    def close(self) -> None: ...


class _Worker:
    """A stream to a worker."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.frames = Frames()
        self.outbox = Outbox(fd)
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
        try:
            worker = _Worker(self._meeting.accept())
        except BlockingIOError:
            return
        except OSError as error:
            if not self._short:
                log.error(  # noqa: TRY400
                    "a worker is not told what others publish and signal, nor they what it does: %s; it tries"
                    " again; set a higher limit of open files, as LimitNOFILE of systemd", error.strerror,
                )  # fmt: skip
            self._short = True
            return
        self._short = False
        os.set_blocking(worker.fd, False)
        self._workers.add(worker)
        self._added(worker)
        self._loop.add_reader(worker.fd, self._read, worker)

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
        for each in worker.frames.feed(data):
            message = frame(each.kind, each.number, each.data)
            others = self._workers - {worker}
            for other in {worker} if each.kind == STRAY and not others else others:
                self._pass_on(other, message)

    def _pass_on(self, worker: _Worker, message: bytes) -> None:
        if worker.outbox.size > MOST:
            if not worker.behind:
                log.error("a worker does not take what others publish; it loses messages")
            worker.behind = True
            return
        worker.outbox.put([message])
        self._write(worker)

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
