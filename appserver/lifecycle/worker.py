"""A worker process, from its fork to its end: load or take the application, warm it up, serve."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

import gevent
from gevent import get_hub

from appserver import forks, hooks, leaving, stacks
from appserver.application import LoadError, load, settle
from appserver.blocking import BlockingOptions
from appserver.compat import finder
from appserver.compat.signals import SIGNALS
from appserver.fairqueue import QueueOptions
from appserver.harakiri import HarakiriOptions, Watchdog
from appserver.hooks import HookError, HookOptions
from appserver.lifecycle.autoreload import Sources
from appserver.lifecycle.orphan import end_orphaned
from appserver.lifecycle.signals import IGNORED_BY_WORKERS, ignore
from appserver.lifecycle.touch import TouchOptions
from appserver.lifecycle.warming import WarmUpOptions
from appserver.server import Server, StopOptions
from appserver.warmup import warm_up

if TYPE_CHECKING:
    from appserver.configuration import Configuration
    from appserver.lifecycle.board import Board
    from appserver.lifecycle.channel import Channel
    from appserver.log.destinations import Log
    from appserver.wsgi import Application

log = logging.getLogger("appserver.lifecycle")

_READ = 1  # libev's event bit


class Worker:
    """Serve in this process and listen to the master."""

    def __init__(
        self, configuration: Configuration, logs: Log, channel: Channel, board: Board, *, strict: bool
    ) -> None:
        self._configuration = configuration
        self._logs = logs
        self._channel = channel
        self._board = board
        self._strict = strict  # an application that fails its warm-up does not go live
        self._server: Server | None = None
        self._orphaned = False
        self._warmed = ""
        self._mercy = configuration.settings.of(StopOptions).worker_reload_mercy

    def run(self, app: Application | None) -> int:
        """Serve *app*, or what the options name, until told to stop; return the exit code."""
        self._prepare()
        end_orphaned(
            "worker",
            self._channel.fd,
            lambda: self._mercy if self._board.serves else 0,
            self._end,
            self._abandon,
        )
        autoreload = self._configuration.settings.of(TouchOptions).py_autoreload
        try:
            hooks.run(self._configuration.settings.of(HookOptions), "post-fork")
        except HookError as error:
            self._channel.send(f"failed {self._configuration.told(error)}")
            return 1
        try:
            with Sources(self._channel.send) if autoreload and app is None else nullcontext():
                app = app or load(self._configuration.settings)
            self._logs.reclaim()
            SIGNALS.note = self._board.note_signal
            finder.begin()
            settle(self._configuration.settings)
        except LoadError as error:
            if error.__cause__ is not None:  # the master tells the error itself, and where
                log.error("the application raised", exc_info=error.__cause__)  # noqa: TRY400  (its, not ours)
            self._channel.send(f"failed {self._configuration.told(error)}")
            return 1
        plan = self._configuration.plan
        assert plan is not None
        settings = self._configuration.settings
        watching = settings.of(HarakiriOptions), settings.of(BlockingOptions)
        watchdog = None
        if Watchdog.wanted(*watching, plan.greenlets):
            watchdog = Watchdog(
                *watching, self._give_up, self._end, self._board.beat, overdue=self._board.note_harakiri,
                pings=plan.greenlets > 1,
            )  # fmt: skip
            watchdog.start()
        server = Server(
            self._configuration.listeners,
            plan,
            app,
            self._logs.access,
            queue=settings.of(QueueOptions),
            load=self._board.row,
            tally=self._board.tally,
            stream_mercy=settings.of(StopOptions).stream_reload_mercy,
            watchdog=watchdog,
        )
        os.set_blocking(self._channel.fd, False)
        self._watcher = get_hub().loop.io(self._channel.fd, _READ)
        self._watcher.start(self._hear)
        gevent.signal_handler(signal.SIGTERM, self._channel.send, "replace SIGTERM asked for it")
        self._server = server
        if not self._warm_up(app, server.environ):
            return 1
        self._board.note_service()  # before the look for a "stop": the master kills who does not serve then
        while self._hear():
            pass
        server.serve(lambda: self._channel.send(f"ready {self._warmed}"))
        stacks.wait()
        return 0

    def _give_up(self, why: str) -> None:
        self._channel.send(f"replace {why}")

    def _abandon(self) -> None:
        """Give up the addresses where the application keeps the loop from it; called by a native thread."""
        if self._board.serves and not self._orphaned:
            for listener in self._configuration.listeners:
                listener.abandon()

    def _end(self) -> None:
        """End at once; called by a native thread when nothing else here can go on."""
        if self._logs.access is not None:
            self._logs.access.flush()
        for listener in self._configuration.listeners:
            with suppress(Exception):  # the loop may be using it
                listener.sever()
        os._exit(1)

    def _prepare(self) -> None:
        """Make this process a worker: nothing of its parent's loop, sockets and signals is left."""
        hub = gevent._hub_local.get_hub_if_exists()  # noqa: SLF001  (get_hub would make one)
        if hub is not None:  # the application made it while it was loaded
            gevent.reinit()
        forks.handle(
            {**dict.fromkeys(IGNORED_BY_WORKERS, ignore), signal.SIGUSR2: lambda *_: stacks.log_all()}
        )
        self._logs.forked()
        if sys.stderr is not None:
            with suppress(OSError, ValueError):
                faulthandler.enable()  # a crash in C tells where
        self._channel.send(f"hello {os.getpid()}")

    def _warm_up(self, app: Application, environ: dict[str, Any]) -> bool:
        target = self._configuration.settings.of(WarmUpOptions).warm_up
        if not target:
            return True
        status = self._warmed = warm_up(app, target, environ, self._logs.access)
        if status[:1] not in {"", "5"}:
            return True
        why = f"the warm-up request GET {target} was answered {status or 'not at all'}"
        if self._strict:
            self._channel.send(f"failed {why}")
            return False
        log.warning("%s", why)
        return True

    def _hear(self) -> bool:
        """Do what the master says, and tell whether it may say more; its end is ours."""
        server = self._server
        assert server is not None
        try:
            message = self._channel.receive()
        except BlockingIOError:
            return False
        verb, _, rest = message.partition(" ")
        if verb == "reopen-logs":
            self._logs.reopen()
        elif verb == "stop":
            mercy, _, how = rest.partition(" ")
            leaving.within(float(mercy))
            SIGNALS.end()
            server.stop(float(mercy), followed=how == "followed")
        elif not verb:
            log.warning("the master has gone: this worker finishes what it has in hand")
            self._orphaned = True
            self._watcher.stop()
            leaving.within(self._mercy)
            SIGNALS.end()
            server.stop(self._mercy, orphaned=True)
        return bool(verb)
