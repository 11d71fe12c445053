"""The programs that make the load, and what was spent while they measured."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import process
from bench.compiler import built
from bench.requirement import PATH
from bench.wire import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.case import Case
    from bench.place import Place

WRK = str(Path(__file__).with_name("load") / "wrk.lua")
GRACE = 45.0  # seconds that a run may take longer than it should


@dataclass(frozen=True)
class Spent:
    """Seconds of processor time, and the clock, between two moments of a run."""

    server: float
    front: float
    load: float
    cores: float  # of the server's cores, whoever had them
    beside: float  # of the cores of front and load
    clock: float

    def __sub__(self, other: Spent) -> Spent:
        return Spent(
            self.server - other.server,
            self.front - other.front,
            self.load - other.load,
            self.cores - other.cores,
            self.beside - other.beside,
            self.clock - other.clock,
        )


def spent(server: int, front: int | None, load: int, cores: Sequence[int], others: Sequence[int]) -> Spent:
    """Return what these processes have spent up to now."""
    return Spent(
        process.cpu(server),
        process.cpu(front) if front else 0.0,
        process.cpu(load),
        process.busy(cores),
        process.busy(others),
        time.monotonic(),
    )


def drive(
    command: Sequence[str], cores: Sequence[int], seconds: float, now: Callable[[int], Spent]
) -> tuple[dict[str, Any], Spent]:
    """Run a generator that should take so many seconds; return its figures, and what was spent meanwhile.

    *now* tells what has been spent; its argument is the generator's process. `OSError` where it fails.
    """
    with tempfile.TemporaryFile("w+") as complaints, process.pinned(cores):
        popen = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=complaints, text=True, env={"PATH": PATH}
        )
        begun, ended, figures = now(popen.pid), None, None
        guard = threading.Timer(seconds + GRACE, popen.kill)
        guard.start()
        assert popen.stdout is not None
        try:
            for line in popen.stdout:
                if line == "measuring\n":
                    begun = now(popen.pid)
                elif line.startswith("{"):
                    ended = now(popen.pid)
                    figures = json.loads(line)
            code = popen.wait(GRACE)
        finally:
            guard.cancel()
            popen.kill()
            popen.wait()
            popen.stdout.close()
        if figures is None or ended is None:
            complaints.seek(0)
            raise OSError(f"{Path(command[0]).name} ended with {code}: {complaints.read().strip()[-500:]}")
    return figures, ended - begun


def wrk(url: str, connections: int, seconds: float) -> list[str]:
    """Return the command of wrk."""
    return ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", WRK, url]


def streams(case: Case, place: Place, request: str, warm_up: float, seconds: float) -> list[str]:
    """Return the command of the generator for stream sockets; *request* is the file of its bytes."""
    protocol = {"http": "http", "fastcgi": "fastcgi"}.get(place.door, "cgi")
    limit = ["--requests", str(case.requests)] if case.requests else []
    return [
        built("streams"),
        "--connect",
        place.address,
        "--request",
        request,
        "--protocol",
        protocol,
        "--connections",
        str(case.connections),
        "--length",
        str(case.length),
        "--warm-up",
        str(warm_up),
        "--seconds",
        str(seconds),
        *(["--keep"] if case.keep else []),
        *limit,
    ]


def mongrel2(case: Case, place: Place, request: str, warm_up: float, seconds: float) -> list[str]:
    """Return the command of the simulated Mongrel2."""
    return [
        built("mongrel2"),
        "--push",
        place.push,
        "--sub",
        place.sub,
        "--uuid",
        UUID,
        "--request",
        request,
        "--flight",
        str(case.connections),
        "--length",
        str(case.length),
        "--warm-up",
        str(warm_up),
        "--seconds",
        str(seconds),
    ]
