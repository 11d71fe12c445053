"""One process that serves by itself, without a master."""

from __future__ import annotations

import logging
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import gevent

from appserver import __version__, address, stacks
from appserver.harakiri import HarakiriOptions, Watchdog
from appserver.server import Server, StopOptions

if TYPE_CHECKING:
    from appserver.configuration import Configuration
    from appserver.log import Log
    from appserver.wsgi import Application

log = logging.getLogger("appserver")


def run(configuration: Configuration, logs: Log, app: Application) -> None:
    """Bind all, serve until SIGTERM or SIGINT, finish, close in reverse.

    Raise `AddressError` where an address cannot be had.
    """
    listeners, plan = configuration.listeners, configuration.plan
    assert plan is not None
    options = configuration.settings.of(StopOptions)
    with ExitStack() as stack:
        passed = address.names_of_passed()
        for listener in listeners:
            stack.callback(listener.close)
            listener.bind(passed)
        for name in passed:
            log.warning("systemd passes a socket for %s, which no option names", name)
        watching = configuration.settings.of(HarakiriOptions)
        watchdog = None
        if Watchdog.wanted(watching, plan.greenlets):  # without a master nobody replaces this process
            watchdog = Watchdog(watching, lambda _: None, lambda: None, pings=plan.greenlets > 1)
            watchdog.start()
        server = Server(
            listeners, plan, app, logs.access, stream_mercy=options.stream_reload_mercy, watchdog=watchdog
        )
        stopping = False

        def stop(mercy: float) -> None:
            nonlocal stopping
            log.info("stopping")
            for listener in listeners:
                listener.refuse()
            server.stop(0 if stopping else mercy)
            stopping = True

        for number, action, *arguments in (
            (signal.SIGTERM, stop, options.worker_reload_mercy),
            (signal.SIGINT, stop, options.worker_reload_mercy),
            (signal.SIGHUP, log.warning, "nothing is reloaded without a master; set master = true"),
            (signal.SIGUSR1, logs.reopen),
        ):
            watcher = gevent.signal_handler(number, action, *arguments)
            stack.callback(watcher.cancel)
        before = signal.signal(signal.SIGUSR2, lambda *_: stacks.log_all())
        stack.callback(signal.signal, signal.SIGUSR2, before)
        log.info("appserver %s serves %s: %s", __version__, configuration.what, plan.reason)
        for listener in listeners:
            log.info("listening: %s %s", listener.name, listener.address)
        for warning in plan.warnings:
            log.warning("%s", warning)
        server.serve(lambda: log.info("ready"))
        log.info("stopped")
