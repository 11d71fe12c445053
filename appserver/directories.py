"""Where a start makes logs, pid files and Unix sockets: what is in the way there, and what is missing."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from appserver.address import parse
from appserver.binding import NO_SOCKET, BindOptions, socket_name, taken_by_a_file
from appserver.hooks import HookOptions, wanted
from appserver.lifecycle.daemon import DaemonOptions
from appserver.lifecycle.options import ControlOptions
from appserver.lifecycle.pidfile import PidOptions, unfit
from appserver.log.options import LogOptions, file_of
from appserver.spec import Spec
from appserver.stats.options import StatsOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from appserver.options import Catalogue, Settings


class Missing(NamedTuple):
    """A place where nothing can be made: what is said of it, and the option and the value that want it."""

    why: str
    option: str
    value: str


def missing(settings: Settings, catalogue: Catalogue, current: str) -> list[Missing]:
    """Return those where that is known; relative ones are below the directory *current*.

    What runs before all else (``exec-asap``) may make room, so then nothing is known of them.
    """
    if wanted(settings.of(HookOptions), "asap"):
        return []
    kinds: tuple[tuple[Iterator[tuple[str, str, str]], Callable[[str, str], str]], ...] = (
        (_logs(settings), _no_log),
        (_pid_files(settings), _no_pid_file),
        (_sockets(settings, catalogue), _no_socket),
    )
    found = []
    for places, wrong in kinds:
        for option, value, relative in places:
            path = os.path.join(current, relative)
            if why := _no_directory(os.path.dirname(path)) or wrong(path, value):
                found.append(Missing(why, option, value))
    return found


def _no_directory(path: str) -> str:
    """Return why nothing can be made in a directory; empty where it is there."""
    if os.path.isdir(path):
        return ""
    above = path
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if os.path.exists(above) and not os.path.isdir(above):
        return f"{above} is no directory; choose another path"
    return f"there is no directory {path}; make it, or choose another path"


def _no_log(path: str, value: str) -> str:
    return f"the log cannot be opened: Is a directory: {value}; name a file" if os.path.isdir(path) else ""


def _no_pid_file(path: str, value: str) -> str:
    why = unfit(path)
    return f"cannot use the pid file {value}: {why}" if why else ""


def _no_socket(path: str, value: str) -> str:
    with suppress(OSError):  # who may not look may be another one than who starts
        return f"cannot listen on {value}: {NO_SOCKET}" if taken_by_a_file(path) else ""
    return ""


def _logs(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield option, value and path of each log."""
    log, daemon = settings.of(LogOptions), settings.of(DaemonOptions)
    for option, path in (
        ("logto2", log.logto2), ("logto", "" if log.logto2 else log.logto),
        ("daemonize2", daemon.daemonize2), ("daemonize", "" if daemon.daemonize2 else daemon.daemonize),
    ):  # fmt: skip
        if path:
            yield option, path, path
    for option, destinations in (("logger", log.logger), ("req-logger", log.req_logger)):
        for each in destinations:
            if path := file_of(each):
                yield option, path, path


def _pid_files(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield the same of each pid file."""
    pids = settings.of(PidOptions)
    for option, path in (
        ("pidfile", pids.pidfile), ("pidfile2", pids.pidfile2), ("safe-pidfile", pids.safe_pidfile),
    ):  # fmt: skip
        if path:
            yield option, path, path


def mounted(settings: Settings, catalogue: Catalogue) -> Iterator[tuple[str, Spec]]:
    """Yield each address that is listened on, and its option."""
    for _, each in settings.mounts:
        if catalogue.by_name[each.name].expects == "address":
            yield each.name, Spec(each.value or "")
    if stats := settings.of(StatsOptions).stats:
        yield "stats", Spec(stats)


def _sockets(settings: Settings, catalogue: Catalogue) -> Iterator[tuple[str, str, str]]:
    """Yield the same of each Unix socket with a file."""
    for option, spec in mounted(settings, catalogue):
        path = parse(socket_name(spec.address, spec.of(settings, BindOptions)))
        if isinstance(path, str) and not path.startswith("\0"):
            yield option, spec.address, path
    if path := settings.of(ControlOptions).control_socket:
        yield "control-socket", path, path
