"""Tasks that find no core: they wait, each for its time, or are refused where too many do."""

from __future__ import annotations

import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from gevent import get_hub
from greenlet import greenlet

from appserver import critical
from appserver.cores.contract import IN_HAND
from appserver.fairqueue import QUEUED, FairQueue, QueueOptions
from appserver.protocols.framing import BUSY, LATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.cores.contract import Load, Task
    from appserver.protocols.codec import ProtocolError

log = logging.getLogger("appserver")

FAILED: Final = "a request cannot be served to its end"
_WORTH_TELLING = 0.001  # seconds; less is a turn of the loop
_LOOK = 1.0  # seconds between looks for tasks whose time is up, at most
_TELL = 10.0  # seconds between lines about tasks that are refused


class Queueing:
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
        self._lock = critical.lock()  # of the queue
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

    def run(self, task: Task) -> None:
        raise NotImplementedError  # in it the two kinds differ

    def run_all(
        self, source: Callable[[], Task | None], waits: Callable[[Any], object] | None = None
    ) -> None:
        while (task := source()) is not None:
            self.run(task)
            if waits is not None:
                let_wait(task, waits)

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
            log.exception(FAILED)
            abort(task)
        self._refusing -= 1
        self._in_hand -= 1
        self._load[IN_HAND] = self._in_hand
        try:
            task.done()
        except Exception:  # it may not; without this nobody would end the connection
            log.exception(FAILED)
            cut(task)

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


def let_wait(task: Task, waits: Callable[[Any], object]) -> None:
    """Call *waits* for a task; one for which it fails ends, and those behind it go on."""
    try:
        waits(task)
    except Exception:
        log.exception(FAILED)
        cut(task)


def abort(task: Task) -> None:
    """Have `done` end what is not whole, as `work` or `refuse` has raised."""
    if task.x is None or not task.x.ended:
        task.abort()


def cut(task: Task) -> None:
    """End what `done` has left, as it has raised."""
    try:
        task.cut()
    except Exception:  # there is nothing more that could be done for it
        log.exception(FAILED)


def _note_wait(task: Task, since: float) -> None:
    """Note how long a request has waited."""
    waited = monotonic() - since
    if waited >= _WORTH_TELLING and task.x is not None:
        task.x.environ[QUEUED] = waited
