"""Time limits of requests, and of what blocks the loop; kept by a native thread beside all others.

A request that is overdue is interrupted by an exception, `Harakiri`, in the place where it is:

* in a greenlet that waits: thrown by its loop, once it had its turn;
* in a greenlet that blocks the main thread: raised by a signal's handler, which ends blocking
  system calls, too, and knows for certain what the thread was running; where that blocks the loop, a greenlet
  that the application has spawned is interrupted as well;
* in another native thread: raised asynchronously, at its next instruction of Python.

Where none of them frees it, the worker is given up: the request is answered in the application's
place, and a successor is asked for. Others that the worker has in hand are finished if its loop lives.
One is asked for as well where all requests share a thread: a connection to a database that all of them use
may have been left in the middle of a reply.
"""

from __future__ import annotations

import _thread
import logging
import signal
import sys
from dataclasses import dataclass
from math import inf
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from gevent import get_hub, getcurrent

from appserver import critical, stacks, thread_locals
from appserver.blocking import Places, described
from appserver.interrupt import interrupt, spoilt
from appserver.listeners.service import Service
from appserver.options import option
from appserver.protocols.upgrade import Upgrade
from appserver.wsgi import Harakiri

if TYPE_CHECKING:
    from collections.abc import Callable

    from greenlet import greenlet

    from appserver.blocking import BlockingOptions
    from appserver.exchange import Channel, Exchange
    from appserver.wsgi import Application

log = logging.getLogger("appserver.harakiri")

# The real ones, also where gevent replaces them later.
_start, _sleep, get_ident, _Lock = _thread.start_new_thread, sleep, _thread.get_ident, _thread.allocate_lock

_LOOK = 0.1  # seconds between looks at what runs
_IDLE = 0.5  # seconds between looks while nothing does
_GRACE = 2.0  # seconds that an interrupted request has to end
_SIGNAL = signal.SIGRTMIN + 1
_LAST = -1  # behind what has become due while the loop was blocked


@dataclass(frozen=True)
class HarakiriOptions:
    """Time limits."""

    harakiri: float = option(
        0.0,
        "Seconds that the application may take for a request; 0 = no limit.",
        short="t",
        note="The request is interrupted and answered 504; its worker goes on where it can.",
    )
    gevent_block_limit: float = option(
        10.0,
        "Seconds that one greenlet may keep the loop from all others, with gevent; 0 = no limit.",
        note="own",
    )


class _Loop:
    """A loop that is pinged."""

    def __init__(self) -> None:
        self.loop = get_hub().loop
        self.thread = get_ident()
        self.pinged = 0.0  # when it was asked for an answer that has not come; 0 = it has
        self.looked = 0.0  # for how long it had been blocked when that was last looked into
        self.sentenced = False  # it has been told that this is interrupted
        self.lost = False  # and that this was of no use

    def answer(self) -> None:
        self.pinged = 0.0
        self.looked = 0.0
        self.sentenced = self.lost = False


class Running:
    """A request in the application, as far as its time limit is concerned."""

    __slots__ = (
        "asynchronous", "channel", "due", "greenlet", "hit", "loop", "reached", "since", "thread", "told",
        "x",
    )  # fmt: skip

    def __init__(self, x: Exchange, channel: Channel, loop: _Loop) -> None:
        self.x = x
        self.channel = channel
        self.loop = loop
        self.thread = get_ident()
        self.greenlet: greenlet = getcurrent()
        self.since = monotonic()
        self.told = 0.0  # when it was found to be overdue
        self.due = False  # its loop is about to raise the exception in it
        self.reached = 0.0  # when it has tried that first
        self.hit = False  # the exception has been raised in it
        self.asynchronous = False  # and may still be on its way

    @property
    def blocks(self) -> bool:
        """Whether it runs at this moment, and so blocks what else its thread has to do."""
        return self.greenlet.gr_frame is None


class Watchdog:
    """Watch the requests and loops of this process.

    *give_up* is called once, with a reason, when a worker cannot go on; *end* when nothing of it
    can, as its only loop is blocked. *beat* is called at each look, *overdue* for each request whose time is
    up. All in the native thread.
    With *pings* the loops are watched, too.
    """

    def __init__(
        self,
        options: HarakiriOptions,
        blocking: BlockingOptions,
        give_up: Callable[[str], None],
        end: Callable[[], None],
        beat: Callable[[], None] = lambda: None,
        *,
        overdue: Callable[[], None] = lambda: None,
        pings: bool,
    ) -> None:
        self._limit = options.harakiri
        self._block_limit = options.gevent_block_limit or inf
        self._block_warning = blocking.gevent_block_warning or inf
        self._places = Places()
        self._give_up = give_up
        self._end = end
        self._beat = beat
        self._note_overdue = overdue
        self._lock = critical.lock()
        self._pinging = _Lock()
        self._running: dict[int, Running] = {}  # the oldest first
        self._loops: dict[int, _Loop] = {}  # by thread
        self._ended: set[int] = set()  # those of them that need not turn any more
        self._given_up = False
        self._spoilt = False  # what all requests of a loop's thread share
        self._main = 0  # the thread that signals' handlers run in; gevent gives it another identity
        self.limits = self._limit > 0  # of requests
        soon = min(self._block_limit, self._block_warning)
        self._pings = pings and soon < inf
        self._idle = min(_IDLE, soon / 2) if self._pings else _IDLE

    @classmethod
    def wanted(cls, options: HarakiriOptions, blocking: BlockingOptions, greenlets: int) -> bool:
        """Tell whether there is anything to watch."""
        limits = options.gevent_block_limit, blocking.gevent_block_warning
        return options.harakiri > 0 or (any(limits) and greenlets > 1)

    def start(self) -> None:
        """Begin to watch, before the first request; in the main thread."""
        self._main = get_ident()
        if self.limits and thread_locals.shared():
            thread_locals.note()
        signal.signal(_SIGNAL, self._interrupted)
        _start(self._watch, ())

    def attach(self) -> None:
        """Watch the loop of this thread as well."""
        loop = _Loop()
        self._loops[loop.thread] = loop

    def detach(self) -> None:
        """Have the loop of this thread turn no more, as its process ends; its calls keep their limits.

        Of what is said about the loop nothing comes behind this: the log may end.
        """
        with self._pinging:
            self._ended.add(get_ident())

    def begin(self, x: Exchange, channel: Channel, loop: int) -> Running:
        """Note that a request runs in this thread, for the loop of another or the same thread."""
        run = Running(x, channel, self._loops[loop])
        self._running[id(run)] = run
        return run

    def finish(self, run: Running) -> None:
        """Note that it has ended; the exception cannot come any more."""
        try:
            with self._lock:
                self._running.pop(id(run), None)
                if run.asynchronous:
                    _raise_in(run.thread, None)
        except Harakiri:
            self._running.pop(id(run), None)

    def pause(self, run: Running) -> None:
        """Have a request's time not count for now: it waits for its client."""
        self.finish(run)

    def resume(self, run: Running) -> None:
        """Count it from 0."""
        run.since = monotonic()
        run.told = run.reached = 0.0
        run.hit = run.asynchronous = False
        self._running[id(run)] = run

    # In the native thread

    def _watch(self) -> None:
        while True:
            try:
                self._beat()
                self._look()
            except Exception:  # nobody else would tell that nothing is watched any more
                log.exception("the watchdog failed")
            _sleep(min(_LOOK, self._idle) if self._running else self._idle)

    def _look(self) -> None:
        """Look at what runs, and keep none of it afterwards."""
        if self._spoilt:
            self._surrender("a request was interrupted in a thread that others share")
        now = monotonic()
        for run in list(self._running.values()):
            if now - run.since < self._limit:
                break
            self._overdue(run, now)
        if self._pings:
            for thread, loop in self._loops.items():
                with self._pinging:
                    if thread not in self._ended:
                        self._ping(loop, now)

    def _overdue(self, run: Running, now: float) -> None:
        if not run.told:
            run.told = now
            self._note_overdue()
            frame = run.greenlet.gr_frame or sys._current_frames().get(run.thread)  # noqa: SLF001
            log.error(
                "harakiri: %s takes more than %g s: %s",
                stacks.request_line(run.x), self._limit,
                stacks.described("its stack", frame) if frame is not None else "it has no stack",
            )  # fmt: skip
        if not run.hit:
            self._interrupt(run)
        late = now - max(run.told, run.reached) > _GRACE
        if late and id(run) in self._running and (run.reached or not self._held_up(run)):
            self._abandon(run)

    def _held_up(self, run: Running) -> bool:
        """Tell whether a request waits only for another one, which keeps the loop and has a limit, too."""
        loop = run.loop.thread
        return not run.blocks and any(
            each.blocks and each.thread == loop for each in list(self._running.values())
        )

    def _interrupt(self, run: Running) -> None:
        """Raise `Harakiri` where a request is."""
        if not run.blocks:
            run.loop.loop.run_callback_threadsafe(self._throw, run)
        elif run.thread == self._main:
            signal.pthread_kill(run.thread, _SIGNAL)
        else:
            with self._lock:
                if id(run) in self._running and run.blocks:
                    run.hit = run.asynchronous = True
                    self._spoil(run)
                    _raise_in(run.thread, Harakiri)

    def _throw(self, run: Running) -> None:
        """Throw into a greenlet that waits, in its loop; first it has its turn, if another one kept that."""
        if run.due:
            return
        run.due = True
        timer = run.loop.loop.timer(0, priority=_LAST)

        def now() -> None:
            timer.close()
            run.due = False
            self._throw_now(run)

        timer.start(now)

    def _throw_now(self, run: Running) -> None:
        run.reached = run.reached or monotonic()
        if id(run) in self._running and run.told and not run.hit:
            run.hit = True  # before: it may have ended when the call returns
            run.hit = interrupt(run.x, Harakiri)

    def _interrupted(self, number: int, frame: Any) -> None:
        """Raise in the main thread, if what it runs now is what shall be interrupted."""
        call = stacks.call_on(frame)
        if call is not None:
            for run in self._running.values():
                if run.x is call.x and run.told and not run.hit:
                    run.hit = True
                    self._spoil(run)
                    raise Harakiri
        elif not stacks.spawned(frame):
            return
        loop = self._loops.get(get_ident())
        if loop is not None and loop.sentenced:
            raise Harakiri

    def _spoil(self, run: Running) -> None:
        """Note what may be in the middle of something: what the core has for itself, or all that there is."""
        spoilt.add(run.greenlet)
        if run.thread == run.loop.thread and thread_locals.shared():
            self._spoilt = True

    def _abandon(self, run: Running) -> None:
        """Answer in the application's place, and give up the worker that cannot be freed of it."""
        self._running.pop(id(run), None)
        log.error("harakiri: %s cannot be interrupted", stacks.request_line(run.x))
        if run.blocks and run.thread == run.loop.thread:
            run.channel.give_up(direct=True)
            self._surrender("a request cannot be interrupted")
            if len(self._loops) == 1:
                self._end()
        else:
            run.loop.loop.run_callback_threadsafe(run.channel.give_up)
            self._surrender("a request cannot be interrupted")

    def _surrender(self, why: str) -> None:
        if not self._given_up:
            self._given_up = True
            self._give_up(why)

    def _ping(self, loop: _Loop, now: float) -> None:
        """Find out whether a loop still turns."""
        if not loop.pinged:
            loop.pinged = now
            loop.loop.run_callback_threadsafe(loop.answer)
            return
        blocked = now - loop.pinged
        if blocked < min(self._block_limit, max(self._block_warning, 2 * loop.looked)):
            return
        frame = sys._current_frames().get(loop.thread)  # noqa: SLF001  (there is no other way)
        if frame is None:
            return
        call = stacks.call_on(frame)
        spawned = call is None and stacks.spawned(frame)
        if blocked < self._block_limit:
            loop.looked = blocked
            if self._places.new(frame):
                what = "a call" if call is not None else "a greenlet" if spawned else "a callback"
                log.warning(
                    "%s keeps the loop from all other requests, for %.1f s now (told once a place): %s",
                    what, blocked, described(frame),
                )  # fmt: skip
            return
        if not loop.sentenced:
            loop.sentenced = True
            log.error("the loop has been blocked for %.1f s by %s", blocked, described(frame))
        if (call is not None or spawned) and blocked < self._block_limit + _GRACE:
            signal.pthread_kill(loop.thread, _SIGNAL)
            return
        if loop.lost:  # nobody replaces this process
            return
        loop.lost = True
        log.error("the loop has been blocked for %.1f s and cannot be freed", blocked)
        if call is not None:
            call.channel.give_up(direct=True)
        self._surrender("its loop is blocked")
        self._end()


class _Clock:
    """The time limit of a call with a WebSocket: it is for what the application does with each message."""

    def __init__(self, watchdog: Watchdog, run: Running) -> None:
        self._watchdog = watchdog
        self._run = run

    def pause(self) -> None:
        self._watchdog.pause(self._run)

    def resume(self) -> None:
        self._watchdog.resume(self._run)


class LimitedService(Service):
    """A service whose requests have a time limit; to be made in the thread of their loop."""

    def __init__(self, watchdog: Watchdog, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.watchdog = watchdog
        self.loop = get_ident()

    def respond(self, x: Exchange, channel: Channel, app: Application | None = None) -> None:
        """Call the application for *x* and send all of its answer; to be called in a core."""
        run = self.watchdog.begin(x, channel, self.loop)
        if isinstance(x, Upgrade):
            x.clock = _Clock(self.watchdog, run)
        try:
            super().respond(x, channel, app)
        except Harakiri:  # after the answer, or while the failure of another one was dealt with
            if not x.ended:
                channel.abort()
        finally:
            self.watchdog.finish(run)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise in a native thread at its next instruction, or take back what has not been raised yet."""
    import ctypes  # noqa: PLC0415  (few threads are ever interrupted)

    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(error) if error is not None else None
    )
