"""Cores that are greenlets of the loop's thread."""

from __future__ import annotations

import logging
from functools import partial
from sys import getrefcount
from typing import TYPE_CHECKING, Any, Final, final

from gevent import getcurrent
from gevent.exceptions import BlockingSwitchOutError
from greenlet import greenlet

from appserver import thread_locals
from appserver.cores.contract import CORE, DONE, IN_HAND
from appserver.cores.queueing import FAILED, Queueing, abort, cut, let_wait
from appserver.interrupt import spoilt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from appserver.cores.contract import Load, Task
    from appserver.fairqueue import QueueOptions

log = logging.getLogger("appserver")

_NO_WAIT: Final = "nothing that waits can be called while requests are taken"
_LAST = -1  # behind the sockets of the same turn of the loop, which may tell that a client has gone


@final
class _Core:
    """What a core's greenlet knows of itself: its frame may not, as it would never end, and be read there."""

    __slots__ = ("greenlet",)

    def __init__(self, made: greenlet) -> None:
        self.greenlet = made  # the hub, which runs no task, once it has another one


class GreenletCores(Queueing):
    """Run up to *count* tasks at once in greenlets of this thread's hub.

    Greenlets are taken from those that are idle: making one costs 25 us, waking one 3 us. One that somebody
    still knows, as a `gevent.Timeout` does that nobody has cancelled, is left to whoever that is, and ends
    when it is known no more. `spoilt` ones are known, too.
    """

    native = False

    def __init__(self, count: int, load: Load, options: QueueOptions) -> None:
        super().__init__(count, load, options)
        self._free = count
        self._own = 0  # references to a greenlet that waits for a task; how many depends on the interpreter
        self._running = 0  # and to one that this loop's own greenlet has given one
        self._all: list[_Core] = []
        self._idle: list[_Core] = []
        self._turn = 0  # of the loop, in which a task came last
        self._soon: list[Task] = []  # those that have come behind it; not in hand yet
        self._source: Callable[[], Task | None] | None = None  # of what is being run, in `run_all`
        self._latest: Task | None = None  # what it has given last
        self._fetching = False  # a core asks it

    def run(self, task: Task) -> None:
        self._in_hand += 1
        self._load[IN_HAND] = self._in_hand
        if self._free and not self._queue.size and getcurrent() is self._hub:
            self._free -= 1
            if self._idle:  # as in `_start`; another call would cost every request
                core = self._idle.pop()
                if getrefcount(core.greenlet) != self._own:
                    core = self._renewed(core)
            else:
                core = self._another()
            core.greenlet.switch(task)
            return
        self._wait(task)
        self._pump_soon()

    def run_soon(self, task: Task) -> None:
        turn = self._loop.iteration
        if turn != self._turn:  # the peer of the first one has something to do meanwhile
            self._turn = turn
            self.run(task)
            return
        if not self._soon:
            self._loop.run_callback(self._run_batch)
        self._soon.append(task)

    def _run_batch(self) -> None:
        """Run what a turn of the loop has brought; what comes meanwhile is for the next one."""
        batch, self._soon = self._soon, []
        self.run_all(partial(next, iter(batch), None))

    def run_all(
        self, source: Callable[[], Task | None], waits: Callable[[Any], object] | None = None
    ) -> None:
        outer = self._source, self._latest  # a task that has ended may have somebody go on to accept
        try:
            while True:
                task: Task | None
                if self._free and not self._queue.size and getcurrent() is self._hub:
                    self._source = source
                    self._free -= 1
                    core = self._one()
                    core.greenlet.switch(core)
                    while self._fetching:
                        # A `__del__` of the application's, run as garbage is collected there, wants to wait.
                        # It may not, as in the loop: another core would take what comes later first.
                        core.greenlet.throw(BlockingSwitchOutError, _NO_WAIT)
                    if self._source is None:
                        return
                    task = self._latest
                else:
                    with self._lock:  # who is no core may not wait there either
                        task = source()
                        if task is None:
                            return
                        self._in_hand += 1
                        self._load[IN_HAND] = self._in_hand
                        self._wait(task)
                    self._pump_soon()
                if waits is not None and task is not None:
                    let_wait(task, waits)
        finally:
            self._source, self._latest = outer

    def _start(self, task: Task) -> None:
        self._free -= 1
        core = self._one()
        core.greenlet.switch(task)

    def _one(self) -> _Core:
        """Return a core for a task: an idle one, if there is any."""
        if not self._idle:
            return self._another()
        core = self._idle.pop()
        return core if getrefcount(core.greenlet) == self._own else self._renewed(core)

    def _another(self) -> _Core:
        """Return one more core, which waits for its first task."""
        core = self._made(len(self._all) + 1)
        self._all.append(core)
        return core

    def _renewed(self, known: _Core) -> _Core:
        """Return a core in the place of one whose greenlet somebody knows, for whom that ends."""
        number = getattr(known.greenlet, CORE)
        if known.greenlet in spoilt:
            spoilt.discard(known.greenlet)
            if self.count == 1 and thread_locals.shared():
                thread_locals.forget()
        known.greenlet = self._hub
        core = self._all[number - 1] = self._made(number)
        return core

    def _made(self, number: int) -> _Core:
        core = _Core(greenlet(self._serve, self._hub))
        setattr(core.greenlet, CORE, number)
        core.greenlet.switch(core)  # not with a task, as it keeps for good what it begins with
        self._own = getrefcount(core.greenlet)
        return core

    def _serve(self, core: _Core) -> None:
        """Work on one task after the other, waiting in the hub between them."""
        load = self._load
        hub, switch = self._hub, greenlet.switch  # its own would ask this greenlet for what it has not
        self._running = getrefcount(core.greenlet)
        task: Any = None
        fetches = False  # see `run_all`
        while True:
            while task is None:
                if not fetches:
                    try:
                        task = switch(hub) or None  # an empty tuple is somebody's who knows it
                    except BaseException as error:  # noqa: BLE001  (it is for a request that has ended)
                        log.debug("raised behind the request that it was for: %r", error)
                    if core.greenlet is hub:
                        return
                    if task is not core:
                        continue
                    task = None
                fetches = False
                source = self._source
                if source is not None:
                    self._fetching = True
                    try:
                        task = source()
                    except BaseException:  # it may not; without this the core would be lost
                        log.exception(FAILED)
                    self._fetching = False
                    if task is not None:
                        self._latest = task
                        self._in_hand += 1
                        load[IN_HAND] = self._in_hand
                        break
                    load[IN_HAND] = self._in_hand
                self._source = None
                self._free += 1
                self._idle.append(core)
            try:
                task.work()
            except BaseException:  # it may not; without this the core would be lost as well
                log.exception(FAILED)
                abort(task)
            if core.greenlet.gr_context is not None:  # what one request sets is not for the next one
                core.greenlet.gr_context = None
            self._free += 1
            self._in_hand -= 1
            self._answered += 1
            load[DONE] = self._answered
            try:
                task.done()
            except Exception:
                log.exception(FAILED)
                cut(task)
            task = None  # an idle core keeps nothing of it
            if self._queue.size or self._when_free:
                self._pump_soon()
            elif self._source is not None and getrefcount(core.greenlet) == self._running:
                fetches = True
                self._free -= 1
                continue
            load[IN_HAND] = self._in_hand
            self._idle.append(core)

    def _start_waiting(self) -> None:
        for _ in range(min(self._free, self._queue.size)):
            if self._free and (task := self._take()) is not None:
                self._start(task)
        if self._free and self._queue.size:
            self._pump_soon()

    def turn(self) -> None:
        with self._loop.timer(0, priority=_LAST) as timer:
            self._hub.wait(timer)

    def stop(self) -> None:
        super().stop()
        self._soon.clear()

    def stacks(self) -> Iterator[tuple[FrameType, greenlet | None]]:
        for core in self._all:
            if core.greenlet.gr_frame is not None:  # it does not run now
                yield core.greenlet.gr_frame, core.greenlet
