"""Cores that are native threads beside the loop's, which does all reading."""

from __future__ import annotations

import logging
import sys
from contextvars import Context
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from gevent import getcurrent

from appserver.cores.contract import CORE, DONE, IN_HAND
from appserver.cores.queueing import FAILED, Queueing, abort, cut
from appserver.interrupt import spoilt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from greenlet import greenlet

    from appserver.cores.contract import Load, Task
    from appserver.fairqueue import QueueOptions

log = logging.getLogger("appserver")


class ThreadCores(Queueing):
    """Run up to *count* tasks at once in native threads; the loop's thread does all reading."""

    native = True

    def __init__(self, count: int, load: Load, options: QueueOptions) -> None:
        super().__init__(count, load, options)
        self._calls: SimpleQueue[bool] = SimpleQueue()  # one for each task put into the queue; False = end
        self._threads = [self._another(number) for number in range(1, count + 1)]
        for thread in self._threads:
            thread.start()

    def _another(self, number: int) -> Thread:
        return Thread(target=self._serve, args=(number,), name=f"core-{number}", daemon=True)

    def run(self, task: Task) -> None:
        self._in_hand += 1
        self._load[IN_HAND] = self._in_hand
        self._wait(task)
        self._calls.put(True)

    def run_soon(self, task: Task) -> None:
        self.run(task)

    def _serve(self, number: int) -> None:
        setattr(getcurrent(), CORE, number)
        while self._calls.get():
            task = self._take()
            if task is not None:  # else it was refused meanwhile
                try:
                    Context().run(task.work)  # what one request sets is not for the next one
                except BaseException:  # without this the thread would end, and the core with it
                    log.exception(FAILED)
                    abort(task)
                self._loop.run_callback_threadsafe(self._done, task)
                task = None  # an idle core keeps nothing of it
                if getcurrent() in spoilt:
                    spoilt.discard(getcurrent())
                    self._threads[number - 1] = self._another(number)
                    self._threads[number - 1].start()
                    return

    def _done(self, task: Task) -> None:
        self._in_hand -= 1
        self._answered += 1
        self._load[IN_HAND] = self._in_hand
        self._load[DONE] = self._answered
        try:
            task.done()
        except Exception:
            log.exception(FAILED)
            cut(task)
        if self._when_free:
            self._pump_soon()

    def turn(self) -> None:
        """Do nothing: the loop has a thread of its own."""

    def stacks(self) -> Iterator[tuple[FrameType, greenlet | None]]:
        frames = sys._current_frames()  # noqa: SLF001  (there is no other way)
        for thread in self._threads:
            if thread.ident in frames:
                yield frames[thread.ident], None

    def stop(self) -> None:
        super().stop()
        for _ in self._threads:
            self._calls.put(False)
