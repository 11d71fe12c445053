"""Signals between an application's own functions: raised by timers, the clock, or by hand, in one worker."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appserver import forks
from appserver.clock import Schedule
from appserver.identity import worker_id
from appserver.wsgi import Harakiri

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.clock import Clock

    Handler = Callable[[int], object]

log = logging.getLogger("appserver.compat")

_EVERYWHERE = frozenset({"workers", "active-workers"})


@dataclass
class Timer:
    """Raise a signal whenever *seconds* have passed; so many times, or without end for 0."""

    number: int
    seconds: float
    left: int = 0


@dataclass
class Alarm:
    """Raise a signal in the minutes that match."""

    number: int
    clock: Clock


class Signals:
    """Handlers by number, and what raises their signals.

    A handler runs in the first worker, or in all of them where its target says so; a worker's timers
    run in a thread of their own, or a greenlet where gevent has patched threads.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, tuple[str, Handler]] = {}
        self._raised: list[Timer | Alarm] = []
        self._begun = False
        self._lock = threading.Lock()
        self.note: Callable[[], object] | None = None  # called for each that is raised, by one at a time

    def register(self, number: int, target: str, handler: Handler) -> None:
        """Have *handler* called with the number of its signal."""
        if not 0 <= number <= 255:
            raise ValueError(f"{number} is no signal: expected 0 to 255")
        if target == "spooler" or target.startswith(("mule", "farm")):
            raise NotImplementedError(f"a signal to {target}: there are only workers")
        self._handlers[number] = (target, handler)

    def registered(self, number: int) -> bool:
        """Tell whether a signal has a handler."""
        return number in self._handlers

    def free(self) -> int:
        """Return a number that no handler has."""
        return next(number for number in range(255, -1, -1) if number not in self._handlers)

    def raise_(self, number: int) -> None:
        """Call the handler, here and now."""
        found = self._handlers.get(number)
        if found is None:
            raise ValueError(f"signal {number} has no handler")
        if self.note is not None:
            with self._lock:
                self.note()
        try:
            found[1](number)
        except Exception:
            log.exception("the handler of signal %d failed", number)

    def add(self, timer: Timer | Alarm) -> None:
        """Raise a signal by time."""
        self._raised.append(timer)
        if self._begun:
            self._start(timer)

    def begin(self) -> None:
        """Start what raises signals, in a worker."""
        self._begun = True
        for each in self._raised:
            self._start(each)

    def _start(self, timer: Timer | Alarm) -> None:
        target = self._handlers.get(timer.number, ("", None))[0]
        if worker_id() == 1 or target in _EVERYWHERE or target == f"worker{worker_id()}":
            name = f"signal-{timer.number}"
            threading.Thread(target=self._run, args=(timer,), name=name, daemon=True).start()

    def _run(self, timer: Timer | Alarm) -> None:
        if isinstance(timer, Timer):
            self._run_timer(timer)
        else:
            self._run_alarm(timer)

    def _run_timer(self, timer: Timer) -> None:
        while True:
            time.sleep(timer.seconds)
            self._call(timer.number)
            if timer.left:
                timer.left -= 1
                if not timer.left:
                    return

    def _run_alarm(self, alarm: Alarm) -> None:
        schedule = Schedule(alarm.clock)
        while True:
            time.sleep(schedule.pause())
            if schedule.due():
                self._call(alarm.number)

    def _call(self, number: int) -> None:
        """Raise a signal by time; a handler that keeps the loop from all others may be interrupted."""
        try:
            self.raise_(number)
        except Harakiri:
            log.exception("the handler of signal %d took too long", number)
        forks.leave()


SIGNALS = Signals()
