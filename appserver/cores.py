"""Where application calls run: so many at once, in greenlets or in native threads.

A core is room for one running request, as in uWSGI. A task is anything with ``work``, which runs
in a core, and ``done``, which runs afterwards in the thread of the loop; neither may raise, and one that
does ends its own request and no other. Tasks that find no core wait in a queue, which is fair between
listeners.
"""

from __future__ import annotations

import logging
import sys
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Iterator, MutableSequence
from contextvars import Context
from queue import SimpleQueue
from sys import getrefcount
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol, final

from gevent import get_hub, getcurrent
from greenlet import greenlet

from appserver import thread_locals
from appserver.fairqueue import QUEUED, FairQueue, QueueOptions
from appserver.interrupt import spoilt
from appserver.protocols.framing import BUSY, LATE

if TYPE_CHECKING:
    from types import FrameType

    from appserver.exchange import Exchange
    from appserver.protocols.codec import ProtocolError

log = logging.getLogger("appserver")

# Two counters that somebody else may read: requests done, requests in hand (running or waiting).
Load = MutableSequence[int] | memoryview
DONE: Final = 0
IN_HAND: Final = 1
CORE = "appserver_core"  # the attribute of a core's greenlet, or of its thread's, that has its number, from 1

_FAILED: Final = "a request cannot be served to its end"
_LAST = -1  # behind the sockets of the same turn of the loop, which may tell that a client has gone
_WORTH_TELLING = 0.001  # seconds; less is a turn of the loop
_LOOK = 1.0  # seconds between looks for tasks whose time is up, at most
_TELL = 10.0  # seconds between lines about tasks that are refused


class Task(Protocol):
    """One request on its way through a core."""

    x: Exchange | None

    @property
    def listener(self) -> object:
        """Whose request it is; listeners have their turns in the queue."""

    def work(self) -> None:
        """Make and send the answer; may wait."""

    def refuse(self, error: ProtocolError) -> None:
        """Answer without the application, in its place, if somebody wants that; may wait, in a greenlet."""

    def abort(self) -> None:
        """Have `done` end the connection, as `work` or `refuse` has raised in the middle of an answer."""

    def done(self) -> None:
        """Go on in the loop's thread after `work` or `refuse`; may not wait."""

    def cut(self) -> None:
        """End the request at once, and its connection, as `done` has raised; may not wait."""


class Cores(Protocol):
    """The contract of both kinds."""

    native: bool  # a core is a thread beside the loop's
    count: int

    def run(self, task: Task) -> None:
        """Give *task* a core, at once or when one is free, or have it refused; never waits."""

    def run_soon(self, task: Task) -> None:
        """Do as `run`, only that of several in one turn of the loop all but the first run at its end.

        They are run by one core after the other, as long as they do not wait: to wake it for each costs
        as much as reading one, and the answers leave together. What this process has not taken yet, and
        another could, is better run at once.
        """

    def withdraw(self, task: Task) -> None:
        """End *task*, which knows that it is not wanted any more, if it waits; others may have its place."""

    def full(self) -> bool:
        """Tell whether one more task would have to wait."""

    def when_free(self, call: Callable[[], object]) -> None:
        """Call *call* once, in the hub, when a core is free for what it brings, or its turn has come.

        While tasks wait, those that wait here have a turn in each round of the queue, one at a time.
        """

    def turn(self) -> None:
        """Let the loop have a turn, called in a core between two pieces of an answer."""

    def stacks(self) -> Iterator[tuple[FrameType, greenlet | None]]:
        """Yield the innermost frame of each core, and the greenlet if it is one that waits."""

    def stop(self) -> None:
        """Take the cores down; tasks still waiting are dropped."""


class _Queueing:
    """What both kinds do with tasks that find no core; all in the loop's thread but `_take`."""

    def __init__(self, count: int, load: Load, options: QueueOptions) -> None:
        self.count = count
        self._load = load
        self._in_hand = 0  # as it has them; to look there costs more
        self._answered = 0
        self._hub = get_hub()
        self._loop = self._hub.loop
        self._most = options.max_queue
        self._queue: FairQueue[Task] = FairQueue(options.queue_timeout)
        self._lock = allocate_lock()  # of the queue; the real one, also where gevent replaces it
        self._expires = options.queue_timeout > 0
        look = min(_LOOK, options.queue_timeout / 4)
        self._looking = self._loop.timer(look, look)
        self._refused: deque[tuple[Task, ProtocolError]] = deque()
        self._refusing = 0  # tasks in hand that get no core any more
        self._count = 0  # of those since it was told
        self._telling = self._loop.timer(_TELL, _TELL)
        self._when_free: deque[Callable[[], object]] = deque()
        self._round = 0  # what the queue had given out when one of those had its turn
        self._pumping = False

    def _wait(self, task: Task) -> None:
        """Put a task that counts as in hand into the queue, or find one that is refused for want of room."""
        over = self._in_hand - self._refusing - self.count > self._most
        with self._lock:
            refused = self._queue.displace(task.listener) or task if over else None
            if refused is not task:
                self._queue.put(task.listener, task, monotonic())
        if refused is not None:
            self._refuse(refused, BUSY)
        elif self._expires and not self._looking.active:
            self._looking.start(self._expire)

    def _refuse(self, task: Task, error: ProtocolError) -> None:
        """Have a task refused in a turn of the loop's own: its `done` may bring the next one."""
        if not self._telling.active:
            why = f"{self._most} others wait (max-queue)" if error is BUSY else "queue-timeout is over"
            log.error("no core is free for a request: %s; it is answered 503", why)
            self._telling.start(self._tell)
        self._count += 1
        self._end(task, error)

    def _end(self, task: Task, error: ProtocolError) -> None:
        self._refusing += 1
        self._refused.append((task, error))
        self._pump_soon()

    def withdraw(self, task: Task) -> None:
        if self._queue.size:
            with self._lock:
                since = self._queue.remove(task.listener, task)
            if since is not None:
                _note_wait(task, since)
                self._end(task, BUSY)

    def _tell(self) -> None:
        """Tell how many were refused; the first one was told at once."""
        if self._count:
            log.error("%d requests were answered 503 within %g s for want of a core", self._count, _TELL)
        else:
            log.info("requests find a core again")
            self._telling.stop()
        self._count = 0

    def _expire(self) -> None:
        """Refuse tasks whose time is up."""
        with self._lock:
            expired = list(self._queue.expired(monotonic()))
        for task, since in expired:
            _note_wait(task, since)
            self._refuse(task, LATE)
        if not self._queue.size:
            self._looking.stop()

    def _take(self) -> Task | None:
        """Take the next task out of the queue, None where there is none."""
        with self._lock:
            taken = self._queue.take()
        if taken is None:
            return None
        _note_wait(*taken)
        return taken[0]

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.run_callback(self._pump)

    def _pump(self) -> None:
        """Do what has become due; what comes meanwhile waits for the loop's next turn."""
        self._pumping = False
        if self._queue.size and self._expires:  # the application may have kept the loop from looking
            self._expire()
        if self._when_free:
            self._invite()
        self._start_waiting()
        for _ in range(len(self._refused)):
            greenlet(self._answer_refused, self._hub).switch(*self._refused.popleft())
        if self._refused:
            self._pump_soon()

    def _answer_refused(self, task: Task, error: ProtocolError) -> None:
        try:
            task.refuse(error)
        except BaseException:  # as of `work`: the counters below have to go back
            log.exception(_FAILED)
            _abort(task)
        self._refusing -= 1
        self._in_hand -= 1
        self._load[IN_HAND] = self._in_hand
        try:
            task.done()
        except Exception:  # it may not; without this nobody would end the connection
            log.exception(_FAILED)
            _cut(task)

    def _start_waiting(self) -> None:
        """Give cores that are free to tasks that wait."""

    def _invite(self) -> None:
        """Call those that wait for a free core: while there is one, else one in each round of the queue."""
        waiting = self._when_free
        if self.full():
            if self._queue.taken - self._round >= max(1, self._queue.lines):
                self._round = self._queue.taken
                waiting.popleft()()
            return
        for _ in range(len(waiting)):
            waiting.popleft()()
            if self.full():
                return

    def full(self) -> bool:
        return self._in_hand >= self.count

    def when_free(self, call: Callable[[], object]) -> None:
        self._when_free.append(call)

    def stop(self) -> None:
        with self._lock:
            self._queue.clear()
        for timer in (self._looking, self._telling):
            timer.stop()
            timer.close()


@final
class _Core:
    """What a core's greenlet knows of itself: its frame may not, as it would never end, and be read there."""

    __slots__ = ("greenlet",)

    def __init__(self, made: greenlet) -> None:
        self.greenlet = made  # the hub, which runs no task, once it has another one


class GreenletCores(_Queueing):
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
        self._soon: deque[Task] = deque()  # those that have come behind it; not in hand yet
        self._batch: deque[Task] = deque()  # those that are being run; empty outside of `_run_batch`

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
        self._batch, self._soon = self._soon, self._batch
        while self._batch:  # else a core has taken them
            self.run(self._batch.popleft())

    def _start(self, task: Task) -> None:
        self._free -= 1
        if self._idle:
            core = self._idle.pop()
            if getrefcount(core.greenlet) != self._own:
                core = self._renewed(core)
        else:
            core = self._another()
        core.greenlet.switch(task)

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
        task: Task | None = None
        while True:
            while task is None:
                try:
                    task = switch(hub) or None  # an empty tuple is somebody's who knows it
                except BaseException as error:  # noqa: BLE001  (it is for a request that has ended)
                    log.debug("raised behind the request that it was for: %r", error)
                if core.greenlet is hub:
                    return
            try:
                task.work()
            except BaseException:  # it may not; without this the core would be lost as well
                log.exception(_FAILED)
                _abort(task)
            if core.greenlet.gr_context is not None:  # what one request sets is not for the next one
                core.greenlet.gr_context = None
            self._free += 1
            self._in_hand -= 1
            self._answered += 1
            load[IN_HAND] = self._in_hand
            load[DONE] = self._answered
            try:
                task.done()
            except Exception:
                log.exception(_FAILED)
                _cut(task)
            task = None  # an idle core keeps nothing of it
            if self._queue.size or self._when_free:
                self._pump_soon()
            elif self._batch and getrefcount(core.greenlet) == self._running:
                task = self._batch.popleft()
                self._free -= 1
                self._in_hand += 1
                load[IN_HAND] = self._in_hand
                continue
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


class ThreadCores(_Queueing):
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
                    log.exception(_FAILED)
                    _abort(task)
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
            log.exception(_FAILED)
            _cut(task)
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


def _abort(task: Task) -> None:
    """Have `done` end what is not whole, as `work` or `refuse` has raised."""
    if task.x is None or not task.x.ended:
        task.abort()


def _cut(task: Task) -> None:
    """End what `done` has left, as it has raised."""
    try:
        task.cut()
    except Exception:  # there is nothing more that could be done for it
        log.exception(_FAILED)


def _note_wait(task: Task, since: float) -> None:
    """Note how long a request has waited."""
    waited = monotonic() - since
    if waited >= _WORTH_TELLING and task.x is not None:
        task.x.environ[QUEUED] = waited
