"""Signals between an application's own functions: raised by timers, the clock, or by hand."""

from __future__ import annotations

import _thread
import logging
import re
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from appserver import forks
from appserver.clock import Schedule
from appserver.compat.dues import DUES, Dues
from appserver.identity import generation, worker_id
from appserver.websocket.link import Link
from appserver.websocket.meeting import SIGNAL, Meeting
from appserver.wsgi import Harakiri

if TYPE_CHECKING:
    from collections.abc import Callable, MutableSequence
    from contextlib import AbstractContextManager

    from appserver.clock import Clock

    Handler = Callable[[int], object]
    Numbers = Callable[[], AbstractContextManager[MutableSequence[float] | None]]

log = logging.getLogger("appserver.compat")

_LOOK = 1.0  # seconds between looks at whether the process lives that has a timer now
_EVERYWHERE = frozenset({"workers", "active-workers"})
_TARGET = re.compile("|workers|active-workers|worker[0-9]*")


def _named(handler: Handler) -> str:
    """Return what a function is called in all workers that have it."""
    return f"{getattr(handler, '__module__', '')}.{getattr(handler, '__qualname__', '')}"


@dataclass(frozen=True)
class Timer:
    """Raise a signal whenever *seconds* have passed; so many *times*, or without end for 0.

    Of its numbers the first is when it is due, by the clock that all processes share, and the second how
    often it has been. To be used while nobody else changes them.
    """

    number: int
    seconds: float
    times: int = 0

    def pause(self, numbers: MutableSequence[float]) -> float | None:
        """Return the seconds until it is due, None where it will not be any more."""
        if self.times and numbers[1] >= self.times:
            return None
        now = time.monotonic()
        numbers[0] = numbers[0] or now + self.seconds
        return max(numbers[0] - now, 0.0)

    def due(self, numbers: MutableSequence[float]) -> bool:
        """Tell whether it is, and have it be due again later."""
        pause = self.pause(numbers)
        if pause is None or pause > 0:
            return False
        now = time.monotonic()
        following = numbers[0] + self.seconds
        numbers[0] = following if following > now else now + self.seconds  # nothing missed is made up for
        numbers[1] += 1
        return True


@dataclass(frozen=True)
class Alarm:
    """Raise a signal in the minutes that match."""

    number: int
    clock: Clock

    def pause(self, numbers: MutableSequence[float]) -> float:
        """Return the seconds after which to ask `due`."""
        return Schedule(self.clock, numbers).pause()

    def due(self, numbers: MutableSequence[float]) -> bool:
        """Tell whether a minute has begun that matches."""
        return Schedule(self.clock, numbers).due()


class Signals:
    """Handlers by number, and what raises their signals.

    A handler runs in the worker that raises its signal, or where its target says. Timers are those of the
    first worker, or of all where the target is all; they run in a thread of their own, or a greenlet where
    gevent has patched threads. What is added before a worker begins is the same timer in all processes of
    that worker; what it adds later, its own.
    """

    def __init__(self, dues: Dues | None = None) -> None:
        self._dues = dues or Dues()
        self._handlers: dict[int, tuple[str, Handler]] = {}
        self._raised: list[Timer | Alarm] = []
        self.begun = False  # in a worker
        self._ended = False
        self._lock = threading.Lock()
        self.note: Callable[[], object] | None = None  # called for each that is raised, by one at a time

    def register(self, number: int, target: str, handler: Handler) -> None:
        """Have *handler* called with the number of its signal."""
        if not 0 <= number <= 255:
            raise ValueError(f"{number} is no signal: expected 0 to 255")
        if not _TARGET.fullmatch(target):
            raise NotImplementedError(
                f"a signal to {target}: there are only workers; take workers, or worker1 and so on"
            )
        self._handlers[number] = (target, handler)

    def registered(self, number: int) -> bool:
        """Tell whether a signal has a handler."""
        return number in self._handlers

    def free(self) -> int:
        """Return a number that no handler has."""
        return next(number for number in range(255, -1, -1) if number not in self._handlers)

    def raise_(self, number: int) -> None:
        """Have the handler of a signal called where its target says: here and now, elsewhere soon."""
        found = self._handlers.get(number)
        if found is None:
            raise ValueError(f"signal {number} has no handler")
        target, handler = found
        if self._is_for_us(target):
            self._call(number, handler)
        if target in _EVERYWHERE or not self._is_for_us(target):
            self._tell_others(number, target, handler)

    @staticmethod
    def _is_for_us(target: str) -> bool:
        return target in _EVERYWHERE or target in {"", "worker", "worker0", f"worker{worker_id()}"}

    def _tell_others(self, number: int, target: str, handler: Handler) -> None:
        if Link.here is not None:
            Link.here.send(SIGNAL, _named(handler), bytes([number]))
        elif Meeting.here is not None:
            log.warning("signal %d does not reach %s before this worker serves", number, target)
        elif target not in _EVERYWHERE:
            raise ValueError(f"signal {number} is for {target}, and there is one worker")

    def hear(self, name: str, data: bytes) -> None:
        """Take a signal that another worker has raised, and call its handler beside the loop."""
        if self._ended:  # its successor hears it, too
            return
        number = data[0]
        target, handler = self._handlers.get(number, ("", None))
        if handler is None or _named(handler) != name:  # another generation may have other functions
            return
        if target in _EVERYWHERE or target == f"worker{worker_id()}":
            _thread.start_new_thread(self._obey, (number, handler))

    def _obey(self, number: int, handler: Handler) -> None:
        self._apart(partial(self._call, handler=handler), number)

    @staticmethod
    def _apart(act: Callable[[int], None], number: int) -> None:
        """Call handlers in a thread of ours, which nothing that they raise ends; their children end here."""
        try:
            act(number)
        except BaseException as error:  # a gevent.Timeout, sys.exit() as in a request, a time limit
            forks.leave(error)
            how = "took too long" if isinstance(error, Harakiri) else "failed"
            log.exception("the handler of signal %d %s", number, how)
        else:
            forks.leave()

    def _call(self, number: int, handler: Handler) -> None:
        if self.note is not None:
            with self._lock:
                self.note()
        try:
            handler(number)
        except Exception:
            log.exception("the handler of signal %d failed", number)

    def add(self, timer: Timer | Alarm) -> None:
        """Raise a signal by time."""
        if isinstance(timer, Timer) and timer.seconds <= 0:
            log.warning("signal %d: a timer of %s seconds never ticks", timer.number, timer.seconds)
        elif self.begun:
            numbers = [0.0, 0.0]
            self._start(timer, lambda: nullcontext(numbers), self.raise_)
        else:
            self._raised.append(timer)

    def begin(self) -> None:
        """Start what raises signals, in a worker; all whose handlers are to be called have their own."""
        self.begun = True
        mine = worker_id()
        for place, timer in enumerate(self._raised):
            target = self._handlers.get(timer.number, ("", None))[0]
            if mine == 1 or target in _EVERYWHERE or target == f"worker{mine}":
                # What ticks so many times does so again after a reload, and the time of all others goes on.
                since = generation() if isinstance(timer, Timer) and timer.times else 0
                key = hash((mine, since, self._raised[:place].count(timer), timer)) or 1
                self._start(timer, partial(self._dues.of, key, generation()), self._tick)  # type: ignore[arg-type]

    def end(self) -> None:
        """Raise no signals by time any more, and hear none: this worker is about to end."""
        self._ended = True

    def _start(self, timer: Timer | Alarm, numbers: Numbers, act: Callable[[int], None]) -> None:
        name = f"signal-{timer.number}"
        threading.Thread(target=self._run, args=(timer, numbers, act), name=name, daemon=True).start()

    def _tick(self, number: int) -> None:
        self._call(number, self._handlers[number][1])

    def _run(self, timer: Timer | Alarm, numbers: Numbers, act: Callable[[int], None]) -> None:
        while True:
            with numbers() as row:
                pause = timer.pause(row) if row is not None else _LOOK
            if pause is None:
                return
            time.sleep(pause)
            if self._ended:
                return
            with numbers() as row:
                due = row is not None and timer.due(row)
            if due and timer.number in self._handlers:
                self._apart(act, timer.number)
            elif due:
                log.error("signal %d has no handler here", timer.number)


SIGNALS = Signals(DUES)
