"""Where application calls run: so many at once, in greenlets or in native threads.

A core is room for one running request, as in uWSGI. A task is anything with ``work``, which runs
in a core, and ``done``, which runs afterwards in the thread of the loop; neither may raise.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, MutableSequence
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Protocol

import gevent
from gevent import get_hub, getcurrent
from greenlet import greenlet

if TYPE_CHECKING:
    from types import FrameType

# Two counters that somebody else may read: requests done, requests in hand (running or waiting).
Load = MutableSequence[int] | memoryview
DONE, IN_HAND = 0, 1


class Task(Protocol):
    """One request on its way through a core."""

    def work(self) -> None:
        """Make and send the answer; may wait."""

    def done(self) -> None:
        """Go on in the loop's thread once the core is free; may not wait."""


class Cores(Protocol):
    """The contract of both kinds."""

    native: bool  # a core is a thread beside the loop's
    count: int

    def run(self, task: Task) -> None:
        """Give *task* a core, at once or when one is free; never waits."""

    def full(self) -> bool:
        """Tell whether one more task would have to wait."""

    def when_free(self, call: Callable[[], object]) -> None:
        """Call *call* once, in the loop's thread, when a core has become free."""

    def turn(self) -> None:
        """Let the loop have a turn, called in a core between two pieces of an answer."""

    def stacks(self) -> Iterator[tuple[FrameType, greenlet | None]]:
        """Yield the innermost frame of each core, and the greenlet if it is one that waits."""

    def stop(self) -> None:
        """Take the cores down; tasks still waiting are dropped."""


class GreenletCores:
    """Run up to *count* tasks at once in greenlets of this thread's hub.

    Greenlets are taken from those that are idle: making one costs 25 us, waking one 3 us.
    """

    native = False

    def __init__(self, count: int, load: Load) -> None:
        self.count = count
        self._load = load
        self._free = count
        self._when_free: list[Callable[[], object]] = []
        self._all: list[greenlet] = []
        self._idle: list[greenlet] = []
        self._ready: deque[Task] = deque()
        self._hub = get_hub()
        self._pumping = False

    def run(self, task: Task) -> None:
        self._load[IN_HAND] += 1
        if self._free and not self._ready and getcurrent() is self._hub:
            self._start(task)
            return
        self._ready.append(task)
        self._pump_soon()

    def _start(self, task: Task) -> None:
        self._free -= 1
        worker = self._idle.pop() if self._idle else self._another()
        worker.switch(task)

    def _another(self) -> greenlet:
        made = greenlet(self._serve, self._hub)
        self._all.append(made)
        return made

    def _serve(self, task: Task) -> None:
        """Work on one task after the other, waiting in the hub between them."""
        worker = getcurrent()
        load = self._load
        while True:
            task.work()
            self._free += 1
            load[IN_HAND] -= 1
            load[DONE] += 1
            task.done()
            if self._ready:
                self._pump_soon()
            elif self._when_free:
                _call_all(self._when_free)
            self._idle.append(worker)
            task = self._hub.switch()

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._hub.loop.run_callback(self._pump)

    def _pump(self) -> None:
        """Start waiting tasks; those that come meanwhile wait for the loop's next turn."""
        self._pumping = False
        for _ in range(min(self._free, len(self._ready))):
            if self._free:
                self._start(self._ready.popleft())
        if self._free and self._ready:
            self._pump_soon()

    def full(self) -> bool:
        return self._load[IN_HAND] >= self.count

    def when_free(self, call: Callable[[], object]) -> None:
        self._when_free.append(call)

    def turn(self) -> None:
        gevent.sleep(1e-9)  # a timer; sleep(0) would let callbacks run, and sockets starve

    def stacks(self) -> Iterator[tuple[FrameType, greenlet | None]]:
        for worker in self._all:
            if worker.gr_frame is not None:  # it does not run now
                yield worker.gr_frame, worker

    def stop(self) -> None:
        self._ready.clear()


class ThreadCores:
    """Run up to *count* tasks at once in native threads; the loop's thread does all reading."""

    native = True

    def __init__(self, count: int, load: Load) -> None:
        self.count = count
        self._load = load
        self._when_free: list[Callable[[], object]] = []
        self._loop = get_hub().loop
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._threads = [
            Thread(target=self._serve, name=f"core-{number}", daemon=True) for number in range(1, count + 1)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, task: Task) -> None:
        self._load[IN_HAND] += 1
        self._tasks.put(task)

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            task.work()
            self._loop.run_callback_threadsafe(self._done, task)

    def _done(self, task: Task) -> None:
        self._load[IN_HAND] -= 1
        self._load[DONE] += 1
        task.done()
        if self._when_free and not self.full():
            _call_all(self._when_free)

    def full(self) -> bool:
        return self._load[IN_HAND] >= self.count

    def when_free(self, call: Callable[[], object]) -> None:
        self._when_free.append(call)

    def turn(self) -> None:
        """Do nothing: the loop has a thread of its own."""

    def stacks(self) -> Iterator[tuple[FrameType, greenlet | None]]:
        frames = sys._current_frames()  # noqa: SLF001  (there is no other way)
        for thread in self._threads:
            if thread.ident in frames:
                yield frames[thread.ident], None

    def stop(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)


def _call_all(waiting: list[Callable[[], object]]) -> None:
    """Call all once; they may wait again."""
    calls = waiting[:]
    waiting.clear()
    for call in calls:
        call()
