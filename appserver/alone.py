"""One process that serves by itself, without a master."""

from __future__ import annotations

import _thread
import logging
import os
import signal
from contextlib import ExitStack, suppress
from time import monotonic, sleep, time
from typing import TYPE_CHECKING

import gevent
from gevent import get_hub

from appserver import __version__, activation, forks, leaving, stacks
from appserver.blocking import BlockingOptions
from appserver.compat.signals import SIGNALS
from appserver.fairqueue import QueueOptions
from appserver.harakiri import HarakiriOptions, Watchdog
from appserver.lifecycle import privileges
from appserver.lifecycle.board import Board
from appserver.lifecycle.privileges import PrivilegeOptions
from appserver.lifecycle.signals import MASTER
from appserver.server import Server, StopOptions
from appserver.stats.document import View
from appserver.stats.ledger import Ledger
from appserver.stats.options import StatsOptions
from appserver.stats.server import StatsServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from appserver.configuration import Configuration
    from appserver.lifecycle.notify import Notifier
    from appserver.log.destinations import Log
    from appserver.wsgi import Application

log = logging.getLogger("appserver")

# The real ones, also where gevent replaces them later.
_start, _sleep, _Lock = _thread.start_new_thread, sleep, _thread.allocate_lock

_WORDS = 5.0  # seconds for words about the end: what takes them may hang, as files of a network do


class _End:
    """The end of this process, as signals ask for it, and as a master would bring it about.

    The application may keep the loop from all else. So Python's signal handlers begin it, which run
    nevertheless; and a native thread, which may write to the log, ends what does not end by itself. Where
    there can be no more threads, the loop does what it can.
    """

    def __init__(self, server: Server, mercy: float, notifier: Notifier) -> None:
        self._server = server
        self._notifier = notifier
        self._mercy = mercy
        self._asked = False
        self._loop = get_hub().loop
        self._came = False  # to the exit

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Begin to stop: after what is in hand for a first SIGTERM, else at once."""
        hurry = self._asked or number != signal.SIGTERM
        self._asked = True
        mercy = 0.0 if hurry else self._mercy
        leaving.within(mercy)
        how = signal.Signals(number), mercy
        try:
            _start(self._bring_about, how)
        except RuntimeError:  # there can be no more threads
            self._loop.run_callback_threadsafe(self._begin, *how)

    def came(self) -> None:
        """Note that no request is in hand any more."""
        self._came = True

    def _bring_about(self, number: signal.Signals, mercy: float) -> None:
        _within(_WORDS, lambda: self._tell(number))
        self._loop.run_callback_threadsafe(self._stop, mercy)
        _sleep(leaving.limit(mercy))
        for listener in self._server.listeners:
            with suppress(Exception):  # the loop may be using it
                listener.close()
        _within(_WORDS, self._say_last_words)
        os._exit(0)

    def _say_last_words(self) -> None:
        what = "what runs at the exit" if self._came else "a request"
        log.error("%s does not end; the process does", what)
        if self._server.access is not None:
            self._server.access.flush()

    def _begin(self, number: signal.Signals, mercy: float) -> None:
        self._tell(number)
        self._stop(mercy)

    def _tell(self, number: signal.Signals) -> None:
        log.info("%s: %s", number.name, MASTER[number][0])
        self._notifier.stopping("stopping")
        if number == signal.SIGQUIT:
            stacks.write()

    def _stop(self, mercy: float) -> None:
        if self._came:
            return
        log.info("stopping")
        SIGNALS.end()
        for listener in self._server.listeners:
            listener.refuse()
        self._server.stop(mercy)


def _within(seconds: float, do: Callable[[], None]) -> None:
    """Do something in another thread, and wait for it no longer than so many seconds."""
    doing = _Lock()
    doing.acquire()

    def run() -> None:
        try:
            do()
        finally:
            doing.release()

    with suppress(RuntimeError):  # there can be no more threads
        _start(run, ())
        doing.acquire(timeout=seconds)


def run(configuration: Configuration, logs: Log, app: Application, notifier: Notifier) -> None:
    """Bind all, serve until a signal ends it, finish, close in reverse; *notifier* tells systemd of it.

    Raise `AddressError` where an address cannot be had.
    """
    listeners, plan = configuration.listeners, configuration.plan
    assert plan is not None
    options = configuration.settings.of(StopOptions)
    with ExitStack() as stack:
        passed = activation.names_of_passed()
        for listener in listeners:
            stack.callback(listener.close)
            listener.bind(passed)
        for name in passed:
            log.warning("systemd passes a socket for %s, which no option names", name)
        settings = configuration.settings
        process = _Process(configuration, notifier)
        board = process.board
        stats: StatsServer | None = None
        if settings.of(StatsOptions).stats:
            stats = StatsServer(settings)
            stack.callback(stats.remove)
            stats.bind()
            SIGNALS.note = board.note_signal
        watching = settings.of(HarakiriOptions), settings.of(BlockingOptions)
        watchdog = None
        if Watchdog.wanted(*watching, plan.greenlets):  # without a master nobody replaces this process
            watchdog = Watchdog(
                *watching, lambda _: None, lambda: None, overdue=board.note_harakiri, pings=plan.greenlets > 1
            )
            watchdog.start()
        server = Server(
            listeners, plan, app, logs.access, queue=settings.of(QueueOptions),
            load=board.row, tally=board.tally, stream_mercy=options.stream_reload_mercy, watchdog=watchdog,
        )  # fmt: skip
        end = _End(server, options.worker_reload_mercy, notifier)
        stack.callback(end.came)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, end.ask)  # until the process has ended: what runs at its exit may take long
        for number, action, *arguments in (
            (signal.SIGHUP, _reload, notifier),
            (signal.SIGTTIN, log.warning, "there are no workers without a master; set master = true"),
            (signal.SIGTTOU, log.warning, "there are no workers without a master; set master = true"),
            (signal.SIGUSR1, logs.reopen),
        ):
            watcher = gevent.signal_handler(number, action, *arguments)
            stack.callback(watcher.cancel)
        before = signal.signal(signal.SIGUSR2, lambda *_: stacks.log_all())
        stack.callback(signal.signal, signal.SIGUSR2, before)
        forks.own(*MASTER)
        log.info("appserver %s serves %s: %s", __version__, configuration.what, plan.reason)
        for listener in listeners:
            log.info("listening: %s %s", listener.name, listener.address)
        for warning in filter(None, [*plan.warnings, privileges.warning(settings.of(PrivilegeOptions))]):
            log.warning("%s", warning)
        if stats is not None:
            _tell(stats, process, configuration)
        server.serve(process.ready)
        log.info("stopped")


class _Process:
    """What is counted of the only process there is."""

    number = generation = 1
    stopping = False

    def __init__(self, configuration: Configuration, notifier: Notifier) -> None:
        assert configuration.plan is not None
        self.pid = os.getpid()
        self.cores = configuration.plan.loops * configuration.plan.cores
        self.board = Board.of(configuration, fd=-1)
        self.names = [(each.name, each.address) for each in configuration.listeners]
        self.spawned = time()
        self.startup = self.since = 0.0
        self._what = configuration.what
        self._notifier = notifier

    def ready(self) -> None:
        """Note that it serves, and tell."""
        self.since = monotonic()
        log.info("ready")
        self._notifier.ready(f"{self._what}: one process serves")
        if self._notifier.interval:
            _start(_beat, (self._notifier,))


def _beat(notifier: Notifier) -> None:
    """Tell systemd that this process lives, in a thread: the application may keep the loop for long."""
    while True:
        notifier.watchdog()
        _sleep(min(notifier.interval, 1.0))


def _reload(notifier: Notifier) -> None:
    """Say that there is no reload, and end the one that systemd waits for."""
    text = "nothing is reloaded without a master; set master = true"
    log.warning("%s", text)
    notifier.reloading(text)
    notifier.ready(text)


def _tell(stats: StatsServer, process: _Process, configuration: Configuration) -> None:
    """Serve statistics in a thread, as the application may keep the loop from it."""
    ledger = Ledger()
    ledger.begin(process)
    view = View(configuration, ledger, [process], wanted=1, generation=1)
    stats.document = view.document
    stats.run_in_thread()
    log.info("statistics: %s", stats.address)
