"""Options of the life of processes: which there are, which need a master.

Those of the master's own parts are declared here: the parts want asyncio, which only the master needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from appserver.address import parse
from appserver.clock import Clock
from appserver.harakiri import HarakiriOptions
from appserver.lifecycle.cheaper import CheaperOptions
from appserver.lifecycle.daemon import DaemonOptions
from appserver.lifecycle.pidfile import PidOptions
from appserver.lifecycle.privileges import PrivilegeOptions
from appserver.lifecycle.recycling import RecyclingOptions
from appserver.lifecycle.title import TitleOptions
from appserver.lifecycle.touch import TouchOptions
from appserver.lifecycle.warming import WarmUpOptions
from appserver.options import BadValue, option, relative_path
from appserver.plan import ConcurrencyOptions
from appserver.stats.options import StatsOptions

if TYPE_CHECKING:
    from appserver.options import Settings


def command(text: str) -> str:
    """Convert ``attach-daemon``: a shell's command."""
    if not text.strip():
        raise BadValue("a shell's command")
    return text.strip()


def smart(text: str) -> tuple[str, str]:
    """Convert ``smart-attach-daemon``: a pid file and a shell's command."""
    path, _, rest = text.strip().partition(" ")
    if not path or not rest.strip():
        raise BadValue("a pid file and a shell's command")
    return path, rest.strip()


def scheduled(text: str) -> tuple[Clock, str]:
    """Convert ``cron``: minute, hour, day, month, weekday and a shell's command."""
    words = text.split(None, 5)
    try:
        clock = Clock(*map(int, words[:5]))
        return clock, words[5]
    except (ValueError, TypeError, IndexError):
        raise BadValue("minute hour day month weekday command; -1 is any, -5 every fifth") from None


@dataclass(frozen=True)
class ProgramOptions:
    """Other programs."""

    attach_daemon: tuple[str, ...] = option(
        (), "Run this command by the shell beside the workers, and again whenever it ends.", convert=command,
        expects="command", example="/srv/mysite/venv/bin/celery worker",
        note="It has the site's privileges, variables (`env`) and directory (`chdir`). A reload does not"
        " restart it. It goes on printing to the file that `daemonize` had when it was started, and its"
        " lines are lost once a later rotation overwrites that: let it write to a log of its own.",
        restart=True,
    )  # fmt: skip
    smart_attach_daemon: tuple[tuple[str, str], ...] = option(
        (), "Start a program that goes to the background whenever its pid file names no process.",
        convert=smart, expects="pidfile command", relative=relative_path,
        example="/run/x.pid memcached -d -P /run/x.pid",
        note="It is left alone when the server stops.", restart=True,
    )  # fmt: skip
    cron: tuple[tuple[Clock, str], ...] = option(
        (), "Run a command by the shell in the minutes that match: -1 is any, -5 every fifth.",
        convert=scheduled, expects="minute hour day month weekday command",
        example="0 3 -1 -1 -1 /srv/mysite/clean",
        note="In local time. Where a day and a weekday are given, one of both is enough, as for cron(8). "
        "Where the clock is stepped back no minute comes twice; where it is stepped "
        "forward, the command runs once for all that it missed. By three hours and more it begins anew.",
        restart=True,
    )  # fmt: skip
    unique_cron: tuple[tuple[Clock, str], ...] = option(
        (), "As cron, but not while the command of the time before still runs.", convert=scheduled,
        expects="minute hour day month weekday command", example="-5 -1 -1 -1 -1 /srv/mysite/fetch",
        restart=True,
    )  # fmt: skip


_CONTROL = "a path with a slash, such as /run/site/control.sock or ./control"


def path(text: str) -> str:
    """Convert ``control-socket``: the path of a Unix socket, for others have no permissions."""
    try:
        address = parse(text)
    except BadValue as error:
        told = str(error)
        raise BadValue(told if told.startswith("a path ") else _CONTROL) from None  # others are none here
    if not isinstance(address, str) or address.startswith("\0"):
        raise BadValue(f"{_CONTROL}: other sockets have no permissions")
    return address


@dataclass(frozen=True)
class ControlOptions:
    """Control."""

    control_socket: str = option(
        "",
        "Take the commands of appserver ctl on this socket.",
        convert=path,
        expects="path",
        example="/run/mysite/control.sock",
        note="own; in the place of `master-fifo` and `stats`. It is of the master's user, so root's with"
        " `master-as-root`.",
        restart=True,
    )


_OF_A_MASTER: tuple[type, ...] = (
    CheaperOptions, RecyclingOptions, TouchOptions, ControlOptions, PidOptions, DaemonOptions,
    PrivilegeOptions, HarakiriOptions, ProgramOptions,
)  # fmt: skip

OPTIONS: tuple[type, ...] = (WarmUpOptions, *_OF_A_MASTER, TitleOptions, StatsOptions)


def wants_master(settings: Settings) -> bool:
    """Tell whether the settings ask for a master, by name or by what only a master can do."""
    concurrency = settings.of(ConcurrencyOptions)
    if concurrency.master or concurrency.processes > 1:
        return True
    return any(settings.of(owner) != owner() for owner in _OF_A_MASTER)
