"""Start a server with a master: in the order in which rights, descriptors and processes need it."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

from appserver import activation
from appserver.address import AddressError
from appserver.application import LoadError
from appserver.compat.dues import DUES
from appserver.compat.locks import LOCKS
from appserver.hooks import HookError
from appserver.lifecycle import privileges, title
from appserver.lifecycle.control import Control
from appserver.lifecycle.daemon import Daemon, DaemonOptions, daemonize
from appserver.lifecycle.error import StartError
from appserver.lifecycle.lifetime import adopt_orphans
from appserver.lifecycle.master import Master
from appserver.lifecycle.notify import Notifier
from appserver.lifecycle.options import ControlOptions
from appserver.lifecycle.pidfile import PidOptions, pid_files
from appserver.lifecycle.privileges import PrivilegeOptions
from appserver.log.access import AccessOptions
from appserver.log.destinations import Log, LogError
from appserver.log.options import LogOptions
from appserver.stats.options import StatsOptions
from appserver.stats.server import StatsServer
from appserver.surroundings import run_hooks
from appserver.websocket.meeting import Meeting
from appserver.websocket.relay import Relay

if TYPE_CHECKING:
    from appserver.configuration import Configuration
    from appserver.options import Settings

log = logging.getLogger("appserver.lifecycle")


def run(configuration: Configuration) -> int:
    """Serve until told to stop; return the exit code.

    Raise `LogError`, `AddressError`, `HookError`, `LoadError` or `StartError` for what keeps the server from
    starting.
    """
    settings = configuration.settings
    notifier = Notifier()
    passed = activation.names_of_passed()  # to this process, not to the daemon that it may become
    daemon = None
    if settings.of(DaemonOptions).file:
        chmod = settings.of(LogOptions).logfile_chmod
        owner = privileges.owner(settings.of(PrivilegeOptions))
        daemon = daemonize(settings.of(DaemonOptions), chmod, owner)
    try:
        with ExitStack() as stack:
            return _run(configuration, notifier, daemon, passed, stack)
    except (AddressError, LogError, StartError, HookError, LoadError) as error:
        _tell(daemon, configuration.told(error))
        raise


def _tell(daemon: Daemon | None, text: str) -> None:
    if daemon is not None:
        daemon.failed(text)


def _run(
    configuration: Configuration,
    notifier: Notifier,
    daemon: Daemon | None,
    passed: dict[str, int],
    stack: ExitStack,
) -> int:
    settings = configuration.settings
    options = settings.of(PrivilegeOptions)
    logs = Log(settings.of(LogOptions), settings.of(AccessOptions), privileges.owner(options), daemon)
    stack.callback(logs.close)
    configuration.tell(log)
    files = pid_files(settings.of(PidOptions))
    for file in files.values():
        stack.callback(file.remove)
    unused = dict(passed)
    for listener in configuration.listeners:
        stack.callback(listener.close)
        listener.bind(unused)
    for name in unused:
        log.warning("systemd passes a socket for %s, which no option names", name)
    control: Control | None = None
    if settings.of(ControlOptions).control_socket:
        control = Control(settings.of(ControlOptions))
        stack.callback(control.remove)
        control.bind(-1 if options.master_as_root else privileges.user_id(options))
    stats: StatsServer | None = None
    if settings.of(StatsOptions).stats:
        stats = StatsServer(settings)
        stack.callback(stats.remove)
        stats.bind()
    if "pidfile" in files:
        files["pidfile"].write()
    run_hooks(settings, "as-root")
    if not options.master_as_root:
        privileges.drop(options)
        privileges.check_library(options)
    run_hooks(settings, "as-user")
    if warning := privileges.warning(options):
        log.warning("%s", warning)
    if "pidfile2" in files:
        files["pidfile2"].write()
    adopt_orphans()
    LOCKS.share()
    DUES.share()
    title.set(settings, "master")
    meeting = Meeting()

    def ready() -> None:
        if "safe-pidfile" in files:
            files["safe-pidfile"].write()
        if daemon is not None:
            daemon.ready()

    async def serve() -> tuple[int, Settings]:
        master = Master(configuration, logs, notifier, ready, passed)
        if control is not None:
            master.obey(control)
        if stats is not None:
            master.tell(stats)
        master.watch()
        for each in (*files.values(), daemon):
            if each is not None:
                master.children.private.add(each)
        private = master.children.private
        Relay(meeting, private.add, private.discard)
        run_hooks(settings, "master-start")
        programs = master.programs
        programs.start()
        try:
            code = await master.serve()
        finally:
            await programs.stop()
            # Children that end from here on find a loop that closes the descriptor that tells it of signals.
            asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
        if code:
            _tell(daemon, master.failure)
        return code, master.configuration.settings

    try:
        code, settings = asyncio.run(serve())  # a reload may have changed them
    finally:
        meeting.close()
    run_hooks(settings, "as-user-atexit")
    return code
