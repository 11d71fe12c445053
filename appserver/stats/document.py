"""The statistics as a document in uWSGI's form, so that uwsgitop and collectors of metrics read it.

What only this server knows stands under ``appserver``, at the top and in each worker.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from appserver import __version__
from appserver.application import ApplicationOptions
from appserver.compat.locks import LOCKS, LockOptions
from appserver.counting import number_of
from appserver.memory import memory
from appserver.stats.ledger import Ledger, Name, Process, by_application, counted, tallies
from appserver.stats.options import StatsOptions
from appserver.stats.tally import READ_ERRORS, REQUESTS, ROUTED, RUNNING, STATIC, WRITE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.configuration import Configuration

_MORE = 0  # what there is none of here


def state(process: Process) -> str:
    """Return what a process does, in words."""
    if process.stopping:
        return "finishing"
    return f"serving for {monotonic() - process.since:.0f} s" if process.since else "starting"


def told(process: Process) -> str:
    """Return one line about a process."""
    board = process.board
    return (
        f"worker {process.number}: pid {process.pid}, generation {process.generation}, {state(process)},"
        f" {number_of(board.requests, 'request')}, {board.in_hand} in hand,"
        f" {memory(process.pid).resident >> 20} MB"
    )


@dataclass
class View:
    """What a document is made of: the processes of this moment, and the sums of all that there were."""

    configuration: Configuration
    ledger: Ledger
    processes: Sequence[Process]  # that have not ended
    wanted: int  # workers
    generation: int

    def document(self) -> dict[str, Any]:
        """Return the statistics."""
        sockets = [
            {
                "name": each.address, "proto": each.name, "queue": queue, "max_queue": most,
                "shared": 0, "can_offload": 0,
            }
            for each in self.configuration.listeners
            for queue, most in [each.waiting()]
        ]  # fmt: skip
        plan = self.configuration.plan
        assert plan is not None
        locks = self.configuration.settings.of(LockOptions).locks
        numbers = range(1, max(plan.processes, self.wanted, *self.ledger.spawns, 1) + 1)
        workers = [self._worker(number) for number in numbers]
        return {
            "version": f"appserver-{__version__}",
            "listen_queue": sum(each["queue"] for each in sockets),
            "listen_queue_errors": _MORE,
            "signal_queue": _MORE,
            "load": sum(each["status"] == "busy" for each in workers),
            "pid": os.getpid(),
            "uid": os.getuid(),
            "gid": os.getgid(),
            "cwd": _directory(),
            "locks": [{f"user {number}": LOCKS.holder(number)} for number in range(locks + 1)],
            "sockets": sockets,
            "workers": workers,
            "appserver": {
                "generation": self.generation,
                "wanted": self.wanted,
                "listeners": [
                    {"name": name, "address": address, **numbers}
                    for (name, address), numbers in self._listeners().items()
                ],
                "processes": [self._process(each) for each in self.processes],
            },
        }

    def _listeners(self) -> dict[Name, dict[str, int]]:
        found: dict[Name, dict[str, int]] = {}
        for each in self.configuration.listeners:
            found[each.name, each.address] = {"requests": 0, "refused": 0, "connections": 0}
        for name, numbers in self.ledger.of_listeners(self.processes).items():
            found.setdefault(name, {"requests": 0, "refused": 0, "connections": 0}).update(numbers)
        return found

    @staticmethod
    def _process(process: Process) -> dict[str, Any]:
        return {
            "id": process.number,
            "pid": process.pid,
            "generation": process.generation,
            "state": state(process).partition(" ")[0],
            "requests": process.board.requests,
            "in_hand": process.board.in_hand,
        }

    def _worker(self, number: int) -> dict[str, Any]:
        """Return the part of a worker: what serves under its number now, and the sums of that number."""
        mine = [each for each in self.processes if each.number == number and not each.stopping]
        process = max(mine, key=lambda each: (bool(each.since), each.generation, each.spawned), default=None)
        sums = self.ledger.of(number, self.processes)
        now = counted(process.board) if process is not None else None
        serving = process is not None and bool(process.since)
        in_hand = process.board.in_hand if process is not None else 0
        resident, every = memory(process.pid) if process is not None else (0, 0)
        idle = "busy" if in_hand else "idle"
        part: dict[str, Any] = {
            "id": number,
            "pid": process.pid if process is not None else 0,
            "accepting": int(serving),
            "requests": sums["requests"],
            "delta_requests": now["requests"] if now is not None else 0,
            "exceptions": sums["exceptions"],
            "harakiri_count": sums["harakiri_count"],
            "signals": sums["signals"],
            "signal_queue": _MORE,
            "status": idle if serving else "cheap" if number > self.wanted else "starting",
            "rss": resident,
            "vsz": every,
            "running_time": sums["running_time"],
            "last_spawn": int(process.spawned) if process is not None else 0,
            "respawn_count": self.ledger.spawns[number],
            "tx": sums["tx"],
            "avg_rt": now["running_time"] // now["requests"] if now is not None and now["requests"] else 0,
            "apps": self._applications(process) if process is not None else [],
        }
        if not self.configuration.settings.of(StatsOptions).stats_no_cores:
            part["cores"] = _cores(process) if process is not None else []
        running = sum(tally.total(RUNNING) for tally in tallies(process.board)) if process is not None else 0
        part["appserver"] = {
            "generation": process.generation if process is not None else 0,
            "in_hand": in_hand,
            "waiting": max(0, in_hand - running),
        }
        return part

    def _applications(self, process: Process) -> list[dict[str, Any]]:
        """Return the applications of a process, with what has come to each of them."""
        return [
            {
                "id": number,
                "modifier1": 0,
                "mountpoint": mount,
                "startup_time": int(process.startup),
                "requests": numbers["requests"],
                "exceptions": numbers["exceptions"],
                "chdir": self.configuration.settings.of(ApplicationOptions).chdir,
            }
            for number, (mount, numbers) in enumerate(by_application(process).items())
        ]


def _directory() -> str:
    """Return the directory of this process; empty where that has been removed, as of an old release."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def _cores(process: Process) -> list[dict[str, Any]]:
    """Return the cores of a process, those of its loops one behind the other."""
    rows = [row for tally in tallies(process.board) for row in tally.rows[1:]]
    return [
        {
            "id": number,
            "requests": row[REQUESTS],
            "static_requests": row[STATIC],
            "routed_requests": row[ROUTED],
            "offloaded_requests": _MORE,
            "write_errors": row[WRITE_ERRORS],
            "read_errors": row[READ_ERRORS],
            "in_request": row[RUNNING],
            "vars": [],
            "req_info": {},
        }
        for number, row in enumerate(rows)
    ]
