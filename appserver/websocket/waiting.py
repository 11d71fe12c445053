"""Waiting for what happens in one loop: by its greenlets, and by native threads."""

from __future__ import annotations

import _thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from gevent import getcurrent

if TYPE_CHECKING:
    from collections.abc import Callable

    from greenlet import greenlet

# The real ones, also where gevent replaces them later.
_Lock, _get_ident = _thread.allocate_lock, _thread.get_ident

_LOOK = 1.0  # seconds after which a native thread that waits can be interrupted
_TURN = 1e-9  # seconds: a timer, for which the loop has a turn


class _Waiter:
    """A greenlet of the loop's thread, or a native thread, which waits at its lock."""

    __slots__ = ("greenlet", "lock", "woken")

    def __init__(self, current: greenlet | None) -> None:
        self.greenlet = current
        self.woken = False  # it is about to look again
        self.lock = None
        if current is None:
            self.lock = _Lock()
            self.lock.acquire()


class Waiters:
    """Those who wait for something to happen in the loop of *hub*."""

    __slots__ = ("_hub", "_thread", "_waiting")

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._thread: int = hub.thread_ident
        self._waiting: list[_Waiter] = []

    @property
    def here(self) -> bool:
        """Whether the caller is in the loop's thread."""
        return _get_ident() == self._thread

    def wait(self, ready: Callable[[], Any], timeout: float | None = None) -> bool:
        """Wait until *ready*; return False where it takes longer than *timeout* seconds.

        In the loop's thread the loop has one turn at least: nothing would ever happen without it.
        """
        if ready():
            return True
        deadline = None if timeout is None else monotonic() + timeout
        waiter = _Waiter(getcurrent() if self.here else None)
        turned = waiter.lock is not None  # the loop of another thread does so by itself
        self._waiting.append(waiter)
        try:
            while not ready():
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    if turned:
                        return False
                    left = _TURN
                turned = True
                if waiter.lock is None:
                    self._switch(waiter, left)
                else:
                    waiter.lock.acquire(timeout=_LOOK if left is None else min(left, _LOOK))
            return True
        finally:  # a time limit may be raised here
            self._waiting.remove(waiter)

    def _switch(self, waiter: _Waiter, timeout: float | None) -> None:
        timer = None
        if timeout is not None:
            timer = self._hub.loop.timer(timeout)
            # By a callback, which comes after the sockets that are readable in the same turn.
            timer.start(self._hub.loop.run_callback, self._go_on, waiter)
        try:
            self._hub.switch()
        finally:
            if timer is not None:
                timer.stop()
                timer.close()

    def wake(self) -> None:
        """Have all look again, in the loop's next turn; to be called in the loop's thread."""
        for waiter in list(self._waiting):
            if waiter.lock is None:
                if not waiter.woken:  # messages may come in thousands, and all callbacks stand in one queue
                    waiter.woken = True
                    self._hub.loop.run_callback(self._go_on, waiter)
            elif waiter.lock.locked():
                waiter.lock.release()

    def _go_on(self, waiter: _Waiter) -> None:
        waiter.woken = False
        if waiter.greenlet is not None and waiter in self._waiting:
            waiter.greenlet.switch()

    def has(self, one: greenlet | None) -> bool:
        """Tell whether a greenlet waits here."""
        return any(each.greenlet is one for each in self._waiting if each.greenlet is not None)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call *function* in the loop's thread, return what it returns, and raise what it raises."""
        if self.here:
            return function(*arguments)
        done: list[tuple[Any, BaseException | None]] = []
        lock = _Lock()
        lock.acquire()

        def call() -> None:
            try:
                done.append((function(*arguments), None))
            except BaseException as error:  # noqa: BLE001  (it is the caller's)
                done.append((None, error))
            lock.release()

        self._hub.loop.run_callback_threadsafe(call)
        while not lock.acquire(timeout=_LOOK):
            pass
        found, error = done.pop()
        if error is None:
            return found
        try:
            raise error
        finally:
            del error  # which knows this frame
