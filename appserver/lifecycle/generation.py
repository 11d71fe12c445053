"""One generation: an application as it was loaded once, and the workers that serve it."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from contextlib import contextmanager
from math import inf
from time import monotonic, time
from typing import TYPE_CHECKING

from appserver import leaving
from appserver.lifecycle.board import Board
from appserver.lifecycle.child import Child, Children, first, told
from appserver.lifecycle.limits import Limits
from appserver.lifecycle.preloader import Preloader
from appserver.lifecycle.recycling import RecyclingOptions
from appserver.server import StopOptions

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterator

    from appserver.configuration import Configuration
    from appserver.lifecycle.watcher import Look
    from appserver.log.destinations import Log
    from appserver.stats.ledger import Ledger

    Report = Callable[[str], None]

log = logging.getLogger("appserver.lifecycle")

_YOUNG = 10.0  # seconds of service below which a worker's death counts as part of a crash loop
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0  # seconds between starts in a crash loop
_LIFELESS = 10.0  # seconds without a sign of life from a worker that has a watchdog
_PAUSED = 2.0  # seconds between two looks at a worker; after more all processes may have been stopped


class Failed(Exception):
    """Say why a generation, or a worker of it, cannot serve."""


class Serving(Child):
    """A worker as the master sees it."""

    def __init__(self, children: Children, generation: Generation, number: int) -> None:
        super().__init__(children, f"worker {number}")
        loop = asyncio.get_running_loop()
        self.number = number
        self.generation = generation.number
        self._note = generation.note
        try:
            self.board = Board.of(generation.configuration)
        except OSError:
            self.close()
            raise
        self.names = [(each.name, each.address) for each in generation.configuration.listeners]
        self.spawned = time()
        self.startup = generation.startup
        self._begun = monotonic()
        self.limits = Limits(generation.configuration.settings.of(RecyclingOptions))
        self.ready: asyncio.Future[str] = loop.create_future()
        self.recycle: asyncio.Future[str] = loop.create_future()
        self.since = 0.0  # when it began to serve
        self.stopping = False
        self.beats = 0
        self.beaten = 0.0
        self._looked = 0.0  # when its life was checked last
        self._aborted: float | None = None  # when it was sent SIGABRT for showing none

    def hear(self, message: str) -> None:
        """Take that it serves or cannot, what it has loaded, or that it is to be replaced."""
        verb, _, rest = message.partition(" ")
        if verb == "ready" and not self.ready.done():
            self.since = monotonic()
            self.startup += self.since - self._begun
            self.ready.set_result(rest)
        elif verb == "failed" and not self.ready.done():
            self.ready.set_exception(Failed(rest))
            self.ready.exception()  # looked at, even if nobody waits any more
        elif verb == "sources":
            self._note(rest)
        elif verb == "replace" and not self.recycle.done():
            self.recycle.set_result(rest)

    def check_life(self, now: float) -> None:
        """Kill a process whose watchdog has not run for long: something in it holds the interpreter.

        A look that comes late proves nothing: this process was stopped, as by Ctrl-Z; so may the worker be.
        """
        beats = self.board.beats
        paused = now - self._looked > _PAUSED
        self._looked = now
        if beats != self.beats or not beats or paused:
            self.beats, self.beaten, self._aborted = beats, now, None
        elif self._aborted is not None:
            if now - self._aborted > leaving.AT_ONCE:
                self.kill()
        elif now - self.beaten > _LIFELESS:
            self._aborted = now
            log.error("worker %d (pid %d) shows no life and is killed", self.number, self.pid)
            self.kill(signal.SIGABRT)  # faulthandler writes the stacks

    @property
    def failed(self) -> bool:
        """Whether it has served, and ended otherwise than it was told to."""
        told_to = self.stopping and (self.killed or not self.exited.result())
        return bool(self.since) and not told_to

    @property
    def serving(self) -> bool:
        """Whether it takes requests."""
        return bool(self.since) and not self.stopping and not self.exited.done()


class Generation:
    """Load the application, and keep so many workers of it."""

    def __init__(
        self,
        number: int,
        configuration: Configuration,
        logs: Log,
        children: Children,
        hurry: asyncio.Event,
        *,
        ledger: Ledger,
    ) -> None:
        self.number = number
        self.configuration = configuration
        self.workers: set[Serving] = set()  # all that have not ended
        self.sources: dict[str, Look] = {}  # the files that its processes have loaded, as they were then
        self._logs = logs
        self._children = children
        self._hurry = hurry
        self._ledger = ledger
        self.startup = 0.0  # seconds that loading the application took, where that is done once
        self.mercy = configuration.settings.of(StopOptions).worker_reload_mercy  # seconds; inf = no limit
        self._limited = asyncio.Event()  # what finishes without a limit has one from now on
        self.followed = True  # others accept from all of its sockets when a worker of it leaves
        self._preloader: Child | None = None
        self._loading: asyncio.Task[None] | None = None
        self._slots: dict[int, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    # Loading

    async def load(self) -> None:
        """Have the application loaded; raise `Failed` where that cannot be done."""
        if self._loading is None or self._loading.done():
            self._loading = asyncio.get_running_loop().create_task(self._load())
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        loaded = asyncio.get_running_loop().create_future()
        begun = monotonic()

        def heard(message: str) -> None:
            verb, _, rest = message.partition(" ")
            if loaded.done():
                return
            if verb == "failed":
                loaded.set_exception(Failed(rest))
            elif verb == "sources":
                self.note(rest)
            else:
                loaded.set_result(None)

        def run(sock: socket.socket) -> int:
            try:
                return Preloader(self.configuration, self._logs, self.number, sock).run()
            finally:
                self._logs.close()

        with _needed():
            preloader = self._preloader = self._children.fork(
                "preloader",
                heard,
                run,
            )
        await first(loaded, preloader.exited)
        if not loaded.done():
            loaded.cancel()
            raise Failed(f"the process that loads the application ended: {told(preloader.exited.result())}")
        loaded.result()
        self.startup = monotonic() - begun

    def note(self, sources: str) -> None:
        """Note files that a process has loaded, given as JSON; the first look at each counts."""
        self.sources = {**json.loads(sources), **self.sources}

    # Workers

    async def spawn(self, number: int, *, strict: bool = False) -> Serving:
        """Start a worker and return it once it serves; raise `Failed` where it cannot.

        With *strict* a failed warm-up request is a failure, too.
        """
        if self._preloader is None or self._preloader.exited.done():
            await self.load()
        assert self._preloader is not None
        with _needed():
            worker = Serving(self._children, self, number)
        self.workers.add(worker)
        self._ledger.begin(worker)
        worker.exited.add_done_callback(lambda _: self._gone(worker))
        assert worker.theirs is not None
        how = "strict" if strict else "lenient"
        self._preloader.send(f"spawn {number} {how}", [worker.theirs.fileno(), worker.board.fd])
        worker.started()
        worker.board.close()
        try:
            await first(worker.ready, worker.exited)
            if not worker.ready.done():
                why = f"worker {number} ended before it served: {told(worker.exited.result())}"
                worker.ready.set_exception(Failed(why))
            worker.ready.result()
        except Failed:
            worker.stopping = True
            worker.kill()
            raise
        except BaseException:
            if not worker.stopping:
                self.end(worker)
            raise
        return worker

    def _gone(self, worker: Serving) -> None:
        worker.close()
        if worker.failed:
            log.error("worker %d (pid %d) ended: %s", worker.number, worker.pid, told(worker.exited.result()))
        if lost := worker.board.lost:
            log.error(
                "%s (pid %d) has ended, and %d lines of its log were dropped: nobody read them",
                worker.name, worker.pid, lost,
            )  # fmt: skip
        self.workers.discard(worker)
        self._ledger.end(worker)
        worker.board.settle()

    def keep(self, number: int, worker: Serving | None = None) -> None:
        """Keep a worker of that number from now on, beginning with one that serves already."""
        task = asyncio.get_running_loop().create_task(self._keep(number, worker))
        task.add_done_callback(_tell)
        self._slots[number] = task

    async def _keep(self, number: int, worker: Serving | None) -> None:
        """Replace a worker that has ended, and one that is to be, once another serves.

        At once, or slower and slower if it is a crash loop, or there can be no other.
        """
        pause = wait = 0.0  # without a worker, and with one that has no successor
        while True:
            if worker is None:
                try:
                    worker = await self.spawn(number)
                except Failed as error:
                    pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                    log.error("worker %d: %s; the next try is in %.1f s", number, error, pause)  # noqa: TRY400
                    await asyncio.sleep(pause)
                    continue
                log.info("worker %d (pid %d) serves", number, worker.pid)
            await first(worker.exited, worker.recycle)
            if worker.exited.done():
                young = monotonic() - worker.since < _YOUNG
                pause = min(2 * pause or _FIRST_PAUSE, _LONGEST_PAUSE) if young else 0.0
                worker = None
                if pause > _FIRST_PAUSE:  # one death may be chance
                    log.warning("worker %d: the next try is in %.1f s", number, pause)
                    await asyncio.sleep(pause)
                continue
            why = worker.recycle.result()
            log.info("worker %d (pid %d) is replaced: %s", number, worker.pid, why)
            worker.recycle = asyncio.get_running_loop().create_future()
            try:
                successor = await self.spawn(number)
            except Failed as error:
                wait = min(max(2 * wait, _FIRST_PAUSE), _LONGEST_PAUSE)
                log.error("worker %d has no successor: %s; the next try is in %.1f s", number, error, wait)  # noqa: TRY400
                await first(worker.exited, timeout=wait)
                if not worker.recycle.done():
                    worker.recycle.set_result(why)  # it may say that only once
                continue
            log.info("worker %d (pid %d) serves", number, successor.pid)
            wait = 0.0
            self.end(worker)
            worker = successor

    @property
    def numbers(self) -> list[int]:
        """The numbers of the workers that are kept."""
        return sorted(self._slots)

    def worker(self, number: int) -> Serving | None:
        """Return the worker of a number that serves, if there is one now."""
        return next((each for each in self.workers if each.number == number and each.serving), None)

    # The end

    def end(self, worker: Serving) -> asyncio.Task[None]:
        """Have a worker finish what is in its hands and end; one that does not serve yet ends at once."""
        worker.stopping = True
        task = asyncio.get_running_loop().create_task(self._end(worker))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    def limit(self) -> float:
        """Give workers that finish the options' time from now on, instead of any; return it."""
        self.mercy = self.configuration.settings.of(StopOptions).worker_reload_mercy
        for worker in self.workers:
            if worker.stopping:
                self._say_stop(worker)
        self._limited.set()
        return self.mercy

    def _say_stop(self, worker: Serving) -> None:
        worker.send(f"stop {self.mercy} {'followed' if self.followed else 'last'}")

    async def _end(self, worker: Serving) -> None:
        self._say_stop(worker)
        if not worker.board.serves:  # it looks for that word before it does
            worker.kill()
        loop = asyncio.get_running_loop()
        hurry, limited = loop.create_task(self._hurry.wait()), loop.create_task(self._limited.wait())
        try:
            if self.mercy == inf:
                await first(worker.exited, hurry, limited)
            longest = leaving.limit(self.mercy) if self.mercy < inf else None
            await first(worker.exited, hurry, timeout=longest)
        finally:
            hurry.cancel()
            limited.cancel()
        if worker.exited.done():
            return
        worker.send("stop 0")
        await asyncio.wait({worker.exited}, timeout=leaving.AT_ONCE)
        if not worker.exited.done():
            log.error("worker %d (pid %d) does not end and is killed", worker.number, worker.pid)
            worker.kill()
            await worker.exited

    def drop(self, number: int) -> Coroutine[None, None, None]:
        """Keep no worker of that number any more; return what waits until the one that there is has ended."""
        self._slots.pop(number).cancel()  # at once: the next command looks at `numbers` before anything waits
        return _ended(
            [self.end(each) for each in self.workers if each.number == number and not each.stopping]
        )

    async def retire(self, report: Report) -> None:
        """End the preloader, then all workers.

        The preloader has the listening sockets too, and accepts nothing: what came after the last
        worker's look would wait for it, and be reset.
        """
        for task in self._slots.values():
            task.cancel()
        self._slots.clear()
        await self._end_preloader()

        async def leave(worker: Serving) -> None:
            await (self.end(worker) if not worker.stopping else worker.exited)
            report(f"generation {self.number}: worker {worker.number} (pid {worker.pid}) has gone")

        if self.workers:
            await asyncio.wait([asyncio.create_task(leave(each)) for each in self.workers])

    def give_up(self) -> None:
        """Load nothing any more; the workers, which may have requests in hand, are the caller's to retire."""
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()

    def reopen_logs(self) -> None:
        """Have every process of it open its log files anew; workers yet to come have the preloader's."""
        if self._preloader is not None:
            self._preloader.send("reopen-logs")
        for worker in self.workers:
            worker.send("reopen-logs")

    async def _end_preloader(self) -> None:
        preloader = self._preloader
        if preloader is not None:
            preloader.close()
            if not preloader.exited.done():
                preloader.kill()
            await preloader.exited


async def _ended(ending: list[asyncio.Task[None]]) -> None:
    """Wait until all of them have."""
    if ending:
        await asyncio.wait(ending)


@contextmanager
def _needed() -> Iterator[None]:
    """Raise `Failed` where the system has not what a process needs."""
    try:
        yield
    except OSError as error:
        raise Failed(f"cannot start a process: {error.strerror}") from None


def _tell(task: asyncio.Task[None]) -> None:
    """Log what nothing should have raised: a worker is not kept any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a worker is not kept any more", exc_info=error)
