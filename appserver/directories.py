"""Directories that a start needs for what it makes: logs, pid files and Unix sockets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from appserver.address import parse
from appserver.binding import BindOptions, socket_name
from appserver.hooks import HookOptions, wanted
from appserver.lifecycle.daemon import DaemonOptions
from appserver.lifecycle.options import ControlOptions
from appserver.lifecycle.pidfile import PidOptions
from appserver.log.options import LogOptions, file_of
from appserver.spec import Spec
from appserver.stats.options import StatsOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appserver.options import Catalogue, Settings


class Missing(NamedTuple):
    """A directory that is not there: what is said of it, and the option and the value that want it."""

    why: str
    option: str
    value: str


def missing(settings: Settings, catalogue: Catalogue, current: str) -> list[Missing]:
    """Return those that are not there; relative ones are below the directory *current*.

    What runs before all else (``exec-asap``) may make them, so then nothing is known of them.
    """
    if wanted(settings.of(HookOptions), "asap"):
        return []
    return [
        Missing(f"there is no directory {directory}; make it, or choose another path", option, value)
        for option, value, path in (*_files(settings), *_sockets(settings, catalogue))
        if not os.path.isdir(directory := os.path.dirname(os.path.join(current, path)))
    ]


def _files(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield option, value and path of each file that is written."""
    log, pids, daemon = settings.of(LogOptions), settings.of(PidOptions), settings.of(DaemonOptions)
    for option, path in (
        ("logto2", log.logto2), ("logto", "" if log.logto2 else log.logto),
        ("daemonize2", daemon.daemonize2), ("daemonize", "" if daemon.daemonize2 else daemon.daemonize),
        ("pidfile", pids.pidfile), ("pidfile2", pids.pidfile2), ("safe-pidfile", pids.safe_pidfile),
        ("control-socket", settings.of(ControlOptions).control_socket),
    ):  # fmt: skip
        if path:
            yield option, path, path
    for option, destinations in (("logger", log.logger), ("req-logger", log.req_logger)):
        for each in destinations:
            if path := file_of(each):
                yield option, path, path


def _sockets(settings: Settings, catalogue: Catalogue) -> Iterator[tuple[str, str, str]]:
    """Yield the same of each Unix socket with a file."""
    mounted = [
        (each.name, Spec(each.value or ""))
        for _, each in settings.mounts
        if catalogue.by_name[each.name].expects == "address"
    ]
    if stats := settings.of(StatsOptions).stats:
        mounted.append(("stats", Spec(stats)))
    for option, spec in mounted:
        path = parse(socket_name(spec.address, spec.of(settings, BindOptions)))
        if isinstance(path, str) and not path.startswith("\0"):
            yield option, spec.address, path
