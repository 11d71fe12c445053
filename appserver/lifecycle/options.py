"""Options of the life of processes: which there are, which need a master, which hold for its whole life."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appserver.access import AccessOptions
from appserver.harakiri import HarakiriOptions
from appserver.lifecycle.cheaper import CheaperOptions
from appserver.lifecycle.control import ControlOptions
from appserver.lifecycle.daemon import DaemonOptions
from appserver.lifecycle.pidfile import PidOptions
from appserver.lifecycle.privileges import PrivilegeOptions
from appserver.lifecycle.programs import ProgramOptions
from appserver.lifecycle.recycling import RecyclingOptions
from appserver.lifecycle.title import TitleOptions
from appserver.lifecycle.touch import TouchOptions
from appserver.lifecycle.warming import WarmUpOptions
from appserver.log import LogOptions
from appserver.plan import ConcurrencyOptions
from appserver.stats.options import StatsOptions

if TYPE_CHECKING:
    from appserver.options import Settings

_OF_A_MASTER: tuple[type, ...] = (
    CheaperOptions, RecyclingOptions, TouchOptions, ControlOptions, PidOptions, DaemonOptions,
    PrivilegeOptions, HarakiriOptions, ProgramOptions,
)  # fmt: skip

OPTIONS: tuple[type, ...] = (WarmUpOptions, *_OF_A_MASTER, TitleOptions, StatsOptions)

# What a reload cannot change.
OF_A_LIFE: tuple[type, ...] = (
    LogOptions,
    AccessOptions,
    ControlOptions,
    PidOptions,
    DaemonOptions,
    PrivilegeOptions,
    ProgramOptions,
    StatsOptions,
)


def wants_master(settings: Settings) -> bool:
    """Tell whether the settings ask for a master, by name or by what only a master can do."""
    concurrency = settings.of(ConcurrencyOptions)
    if concurrency.master or concurrency.processes > 1:
        return True
    return any(settings.of(owner) != owner() for owner in _OF_A_MASTER)
