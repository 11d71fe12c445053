"""The master: it keeps the workers of one generation, and changes to the next without a gap.

It runs no code of the application and no greenlets, so nothing that workers do can stop it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import ExitStack, suppress
from math import inf
from typing import TYPE_CHECKING

from appserver import __version__
from appserver.lifecycle import succession, title
from appserver.lifecycle.attendant import Attendants
from appserver.lifecycle.autoreload import Autoreload
from appserver.lifecycle.cheaper import Cheaper, CheaperOptions
from appserver.lifecycle.child import Children, first
from appserver.lifecycle.commands import run, wanted_workers
from appserver.lifecycle.error import StartError
from appserver.lifecycle.generation import Failed, Generation
from appserver.lifecycle.programs import Programs
from appserver.lifecycle.reload import WARNING, reread, stats_server, take_over
from appserver.lifecycle.signals import MASTER
from appserver.lifecycle.touch import TouchOptions, Watched
from appserver.lifecycle.watcher import look
from appserver.stats.document import View
from appserver.stats.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from appserver.configuration import Configuration
    from appserver.lifecycle.control import Control
    from appserver.lifecycle.generation import Report, Serving
    from appserver.lifecycle.notify import Notifier
    from appserver.listeners.listener import Listener
    from appserver.log.destinations import Log
    from appserver.stats.server import StatsServer

log = logging.getLogger("appserver.lifecycle")

_TICK = 0.25  # seconds between looks at the workers
_MORE_MERCY = 5.0  # seconds more for attendants than for workers


class Master:
    """Keep the workers of one configuration, and of the next when it is told to reload.

    To be made in the loop that it runs in. The listeners are bound; `serve` closes them. *ready* is
    called once the first generation serves; where there is none, ``failure`` says why. *passed* are systemd's
    sockets by address, those that have been taken included: what one reload drops another may take again.
    """

    def __init__(
        self,
        configuration: Configuration,
        logs: Log,
        notifier: Notifier,
        ready: Callable[[], None],
        passed: dict[str, int],
    ) -> None:
        self.children = Children()
        self.attendants = Attendants(self.children, logs)
        self.configuration = configuration
        self.generations: list[Generation] = []  # all that have workers; the last may be starting
        self.generation: Generation | None = None  # the one that serves
        self.failure = ""
        self.ledger = Ledger()
        self._stats: StatsServer | None = None
        self._logs = logs
        self._notifier = notifier
        self._ready = ready
        self._passed = passed
        self.programs = Programs(configuration.settings, self.children)
        self._control: Control | None = None
        self._autoreload: Autoreload | None = None
        self._hurry = asyncio.Event()
        self._begun = asyncio.Event()  # the first generation serves, or there is none
        self._stopping = asyncio.Event()
        self._mercy: float | None = None  # other than the options'
        self._number = 0
        self._reloads = 0  # asked for
        self._changing: asyncio.Task[asyncio.Task[None]] | None = (
            None  # a reload until the new generation serves
        )
        self._chaining = False  # one worker at a time follows another
        self._running: set[asyncio.Task[None]] = set()  # what goes on beside
        self._leaving: set[asyncio.Task[None]] = set()  # generations and workers that finish
        self.cheaper = self._scale(configuration)
        self._watched = Watched(configuration.settings.of(TouchOptions))
        self._beaten = 0.0  # when systemd was last told that this process lives

    @staticmethod
    def _scale(configuration: Configuration) -> Cheaper:
        assert configuration.plan is not None
        return Cheaper(configuration.settings.of(CheaperOptions), configuration.plan.processes)

    def obey(self, control: Control) -> None:
        """Take commands from a control socket that is bound, and remove it in the end."""

        async def handle(words: list[str], report: Report) -> str | None:
            log.info("the control socket: %s", " ".join(words))

            def both(text: str) -> None:
                _note(text)
                report(text)

            try:
                await run(self, words, report if words == ["status"] else both)
            except Failed as error:
                return str(error)
            return None

        self.children.private.add(control)
        self._control = control
        control.start(handle)

    def tell(self, stats: StatsServer) -> None:
        """Serve statistics on a socket that is bound, until another takes its place or the server ends."""
        stats.document = lambda: self.view().document()
        self.children.private.add(stats)
        self._stats = stats
        asyncio.get_running_loop().add_reader(stats.fileno(), stats.turn)
        log.info("statistics: %s", stats.address)

    def _end_stats(self, stats: StatsServer | None) -> None:
        if stats is not None:
            asyncio.get_running_loop().remove_reader(stats.fileno())
            self.children.private.discard(stats)
            stats.remove()

    def view(self) -> View:
        """Return what statistics are made of."""
        generation = self.generation.number if self.generation is not None else 0
        return View(self.configuration, self.ledger, self.all_workers(), self.cheaper.wanted, generation)

    def watch(self) -> None:
        """Reload whenever a file of an imported module changes, if the options ask for it.

        Raise `StartError` where that cannot be.
        """
        self._autoreload = self._watching(self.configuration)

    def _watching(self, configuration: Configuration) -> Autoreload | None:
        """Return what watches imported files: the one there is, a new one, or None."""
        if not configuration.settings.of(TouchOptions).py_autoreload:
            return None
        if self._autoreload is not None:
            return self._autoreload

        def changed(files: list[str]) -> None:
            self._order(f"{files[0]} has changed", "reload")

        watching = Autoreload(changed)
        self.children.private.add(watching)
        return watching

    def _end_watching(self, watching: Autoreload | None) -> None:
        if watching is not None:
            self.children.private.discard(watching)
            watching.stop()

    # From start to end

    async def serve(self) -> int:
        """Serve until told to stop; return the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self.children.reap)
        for number, (command, _) in MASTER.items():
            loop.add_signal_handler(number, self._order, number.name, command)
        self._announce()
        self.attendants.listeners = self.configuration.listeners
        for listener in self.configuration.listeners:
            self.attendants.keep(listener)
        generation = self._next_generation(self.configuration)
        starting = loop.create_task(succession.start(generation, self.cheaper.wanted, log.info, strict=False))
        stopped = loop.create_task(self._stopping.wait())
        await first(starting, stopped)
        self._begun.set()  # whoever waits for that goes on when all of this has been noted
        code = 0
        if not starting.done():
            starting.cancel()
            self._give_up(generation, [])
        elif (error := starting.exception()) is None:
            self.generation = generation
            self._ready()
            log.info("ready")
            self._fit()  # somebody may have set the number meanwhile
            self._serves()
            await self._watch(stopped)
        else:
            self._give_up(generation, [])
            if not isinstance(error, Failed):
                raise error
            log.error("%s", error)
            self.failure = str(error)
            code = 1
        stopped.cancel()
        await self._end()
        log.info("stopped")
        return code

    def _next_generation(self, configuration: Configuration) -> Generation:
        self._number += 1
        generation = Generation(
            self._number, configuration, self._logs, self.children, self._hurry, ledger=self.ledger
        )
        self.generations.append(generation)
        return generation

    async def _watch(self, stopped: asyncio.Task[bool]) -> None:
        """Look after the workers until the server is to stop."""
        while not stopped.done():
            await asyncio.wait({stopped}, timeout=_TICK)
            self._look()
            if self._logs.rotate_full():
                self.reopen_logs()
            if self._stats is not None:
                self._stats.turn()
            for command, path in self._watched.look():
                self._order(f"{path} has changed", command)
            for command, path in self._watched.look_for_programs():
                log.info("%s has changed: %s", path, command)
                self.programs.run(command)
            now = asyncio.get_running_loop().time()
            if self._notifier.interval and now - self._beaten >= min(self._notifier.interval, 1.0):
                self._notifier.watchdog()
                self._beaten = now

    def _serves(self) -> None:
        """Tell whoever wants to know that a generation serves."""
        assert self.generation is not None
        self._notifier.ready(f"{self.configuration.what}: generation {self.generation.number} serves")
        if self._autoreload is not None:
            self._autoreload.watch(self.generation.sources)

    async def _end(self) -> None:
        """Answer all that was received, and end every process."""
        self._notifier.stopping("stopping")
        for listener in self.configuration.listeners:
            listener.refuse()  # before the last look of any worker, also of a reload that is given up
        await self._stop_changing()
        self.attendants.drain()
        for listener in self.configuration.listeners:
            listener.close()  # the workers have their own; the last of them closes it for all
        if self.generation is not None:
            if self._mercy is not None:
                self.generation.mercy = self._mercy
            self.generation.followed = False
            self._leave(self._retire(self.generation, [], log.debug))
        if self._leaving:
            await asyncio.wait(set(self._leaving))
        mercy = 0.0 if self.generation is None else self.generation.mercy
        ended = asyncio.ensure_future(self.attendants.wait(mercy + _MORE_MERCY if mercy < inf else None))
        hurry = asyncio.ensure_future(self._hurry.wait())
        await first(ended, hurry)
        hurry.cancel()
        if not ended.done():
            self.attendants.kill()
            await ended
        self._end_watching(self._autoreload)
        if self._control is not None:
            await self._control.finish()
            self._control.remove()
        self._end_stats(self._stats)

    def _announce(self) -> None:
        plan = self.configuration.plan
        assert plan is not None
        log.info("appserver %s serves %s: %s", __version__, self.configuration.what, plan.reason)
        for listener in self.configuration.listeners:
            log.info("listening: %s %s", listener.name, listener.address)
        for warning in plan.warnings:
            log.warning("%s", warning)

    # Looking after workers

    def _look(self) -> None:
        """Replace workers that have served long enough, and have as many as the load asks for."""
        now = asyncio.get_running_loop().time()
        generation = self.generation
        assert generation is not None
        serving = [each for each in generation.workers if each.serving]
        for worker in serving:
            worker.check_life(now)
            if (why := worker.limits.exceeded(worker.pid)) is not None:
                log.error("worker %d (pid %d) is killed: %s", worker.number, worker.pid, why)
                worker.kill()
            elif not worker.recycle.done():
                age = now - worker.since
                if (why := worker.limits.reached(worker.board.requests, age, worker.pid)) is not None:
                    worker.recycle.set_result(why)
        if self.cheaper.scales and self._changing is None:
            idle = sum(not each.board.in_hand for each in serving)
            self.cheaper.look(now, len(serving), idle)
            self._fit()

    def _fit(self) -> None:
        """Have as many workers as are wanted; while a chain of them is reloaded the new generation will."""
        generation, wanted = self.generation, self.cheaper.wanted
        if generation is None or self._chaining:
            return
        numbers = generation.numbers
        for number in range(1, wanted + 1):
            if number not in numbers:
                log.info("worker %d is added: %s", number, wanted_workers(wanted))
                generation.keep(number)
        for number in [each for each in numbers if each > wanted]:
            log.info("worker %d leaves: %s", number, wanted_workers(wanted))
            self._leave(generation.drop(number))

    def _leave(self, ending: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return _kept(ending, self._leaving)

    # What commands do; `commands` has their names

    def _order(self, why: str, command: str) -> None:
        log.info("%s: %s", why, command)

        async def obey() -> None:
            with suppress(Failed):  # it has been logged
                await run(self, command.split(), _note)

        _kept(obey(), self._running)

    def stop(self, mercy: float | None = None) -> None:
        """Answer what was received within *mercy* seconds (default: the options'), and end; 0 = at once.

        A second time is at once, too, but for what only limits a stop without a limit, or asks for none.
        """
        if mercy == 0:
            self._hurry.set()
        elif not self._stopping.is_set():
            self._mercy = mercy
        elif mercy is None and self._mercy is None:
            self._hurry.set()
        elif mercy is None:
            self._limit()
        self._stopping.set()

    def _limit(self) -> None:
        """Let a stop that has no limit have the options' from now on."""
        self._mercy = None
        if self.generation is not None:
            mercy = self.generation.limit()
            asyncio.get_running_loop().call_later(mercy + _MORE_MERCY, self._hurry.set)
            log.info("what is in hand has %g seconds more", mercy)

    async def stopped(self) -> None:
        """Wait until there is no worker any more."""
        while workers := self.all_workers():
            await asyncio.wait({each.exited for each in workers})

    def all_workers(self) -> list[Serving]:
        """Return every worker that has not ended, of whatever generation."""
        found = [each for generation in self.generations for each in generation.workers]
        return sorted(found, key=lambda each: (each.generation, each.number))

    def set_workers(self, text: str) -> int:
        """Set the number of workers: to "3", or by "+1" or "-1"; return it."""
        self.cheaper.set(int(text) + (self.cheaper.wanted if text[0] in "+-" else 0))
        self._fit()
        return self.cheaper.wanted

    def reopen_logs(self) -> None:
        """Have every process open its log files anew."""
        self._logs.reopen()
        self.attendants.send("reopen-logs")
        for generation in self.generations:
            generation.reopen_logs()

    def rotate_logs(self) -> None:
        """Move the log files away, and have every process begin new ones."""
        self._logs.rotate()
        self.reopen_logs()

    async def reload(self, report: Report, *, chain: bool) -> None:
        """Change to a new generation; raise `Failed` where it cannot serve: this one stays then.

        Another reload that is under way, or waits, is given up for this one; all wait until the first
        generation serves. Returns when the old workers have finished.
        """
        self._reloads += 1
        this = self._reloads
        if not self._begun.is_set():
            report("the reload waits until generation 1 serves")
            await self._begun.wait()
        await self._stop_changing()
        if self.generation is None or self._stopping.is_set():
            log.warning("nothing is reloaded: the server is stopping")
            raise Failed("the server is stopping")
        if this != self._reloads:
            raise Failed("given up for another command")
        changing = self._changing = asyncio.create_task(self._change(report, chain=chain))
        await asyncio.wait({changing})
        if self._changing is changing:
            self._changing = None
        if changing.cancelled():
            raise Failed("given up for another command")
        leaving = changing.result()
        await asyncio.shield(leaving)
        report(f"generation {self._number} has taken over")

    async def _stop_changing(self) -> None:
        while (changing := self._changing) is not None:  # others may wait here, too, and begin one
            if not changing.cancelling():
                changing.cancel()
            await asyncio.wait({changing})
            if self._changing is changing:
                self._changing = None

    async def _change(self, report: Report, *, chain: bool) -> asyncio.Task[None]:
        """Change to a new generation and return the task in which the old one leaves."""
        old = self.generation
        assert old is not None
        self._notifier.reloading("reloading")
        if self._autoreload is not None:  # if this fails, what changes from now on asks for another
            old.sources = {file: look(file) for file in old.sources}
        try:
            new, gone = await self._succeed(old, report, chain=chain)
        except Failed as error:
            log.error("the reload failed, generation %d keeps serving: %s", old.number, error)  # noqa: TRY400
            self._serves()
            raise
        except Exception as error:
            log.exception("the reload failed, generation %d keeps serving", old.number)
            self._serves()
            raise Failed(f"{type(error).__name__}: {error}; the log tells where") from error
        except BaseException:
            self._serves()
            raise
        self.generation = new
        log.info("generation %d serves", new.number)
        self._fit()
        self._serves()
        return self._leave(self._retire(old, gone, report))

    async def _succeed(
        self, old: Generation, report: Report, *, chain: bool
    ) -> tuple[Generation, list[Listener]]:
        """Return a generation that serves, and the listeners that it does without."""
        configuration = reread(self.configuration, report)
        before, watched = self._stats, self._autoreload
        with ExitStack() as undoing:  # also where the reload is given up for a stop
            try:
                watching = self._watching(configuration)
            except StartError as error:
                raise Failed(configuration.told(error)) from None
            if watching is not watched:
                undoing.callback(self._end_watching, watching)
            stats = stats_server(before, configuration)
            if stats is not None:
                self.children.private.add(stats)
            if stats is not before:
                undoing.callback(self._end_stats, stats)
            found = await self._start(old, configuration, report, chain=chain)
            undoing.pop_all()
        if watching is not watched:
            self._end_watching(watched)
            self._autoreload = watching
        if stats is not before:
            self._end_stats(before)
            self._stats = None
            if stats is not None:
                self.tell(stats)
        elif stats is not None:
            stats.follow(configuration.settings)
        return found

    async def _start(
        self, old: Generation, configuration: Configuration, report: Report, *, chain: bool
    ) -> tuple[Generation, list[Listener]]:
        """Start a generation on the sockets of the one before, and on those that it has not."""
        bound, follows = take_over(self.configuration, configuration, self._passed)
        gone = [each for each in self.configuration.listeners if each not in follows.values()]
        self.children.private.update(gone)
        old.followed = not gone
        self.attendants.listeners = [*self.configuration.listeners, *bound]
        cheaper = self._scale(configuration)
        cheaper.follow(self.cheaper)
        watched = Watched(configuration.settings.of(TouchOptions))
        new = self._next_generation(configuration)
        try:
            for listener in bound:
                self.attendants.keep(listener)
            if chain:
                await self._chain(old, new, cheaper.wanted, report)
            else:
                await succession.start(new, cheaper.wanted, report, strict=True)
        except BaseException:
            old.sources |= new.sources
            old.followed = True
            self.children.private.difference_update(gone)
            self._give_up(new, bound)
            raise
        for listener, other in follows.items():
            self.attendants.hand_over(other, listener)
        self.configuration = configuration
        self.programs.settings = configuration.settings
        self.attendants.listeners = configuration.listeners
        cheaper.follow(self.cheaper)  # somebody may have set the number meanwhile
        self.cheaper = cheaper
        watched.follow(self._watched)
        self._watched = watched
        for listener in follows:
            listener.adapt()
        title.set(configuration.settings, "master")
        return new, gone

    async def _chain(self, old: Generation, new: Generation, count: int, report: Report) -> None:
        self._chaining = True
        try:
            await succession.start_one_by_one(old, new, count, report)
        except BaseException:
            self._chaining = False
            self._fit()  # somebody may have set the number meanwhile
            raise
        self._chaining = False

    def _give_up(self, new: Generation, bound: list[Listener]) -> None:
        """Have a generation end that shall not serve; workers that do already finish what they have."""
        new.give_up()
        new.followed = not (bound or self._stopping.is_set() or self.generation is None)
        self._leave(self._retire(new, bound, log.debug))

    async def _retire(self, old: Generation, gone: list[Listener], report: Report) -> None:
        """Have a generation finish and end, and with it the listeners that nobody else has."""
        draining = [asyncio.ensure_future(self.attendants.end(listener)) for listener in gone]
        for listener in gone:
            listener.refuse()
            listener.close()
        await old.retire(report)
        if draining:
            await asyncio.wait(draining)
        self.generations.remove(old)


def _note(text: str) -> None:
    """Log progress that is reported."""
    if text.startswith(WARNING):
        log.warning("%s", text.removeprefix(WARNING))
    else:
        log.info("%s", text)


def _kept(work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    """Return a task that *tasks* keep until it is done."""
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
