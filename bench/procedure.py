"""How a server is measured in one run: under load, beside idle connections, at its start, by its memory."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import generator, process, wire
from bench.compiler import CACHE
from bench.front import Front, front
from bench.limits import prove
from bench.place import Place, free_place
from bench.sample import Sample
from bench.server import ROOT, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.case import Case

PATIENCE = 20.0  # seconds that a server may take to start
IDLE = 10000  # connections


@dataclass(frozen=True)
class Setting:
    """How long to measure, and on which cores."""

    seconds: float
    warm_up: float
    cores: tuple[int, ...]  # that may be used
    idle: int = IDLE

    def backend(self, case: Case) -> tuple[int, ...]:
        """Return the cores of the server."""
        return self.cores[: case.cores]

    def others(self, case: Case) -> tuple[int, ...]:
        """Return the cores of front and load: those that are left, or all."""
        return self.cores[case.cores :] or self.cores


@contextlib.contextmanager
def serving(case: Case, server: Server, setting: Setting) -> Iterator[tuple[process.Process, Place]]:
    """Run a server at a place; yield it when it accepts connections (Mongrel2 it connects to by itself).

    Ours has to show afterwards that its limits are on.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        place = free_place(case.door, directory)
        running = process.Process(
            server.command(place, case.app),
            setting.backend(case),
            ROOT,
            PYTHONPATH=server.path,
            PYTHONUNBUFFERED="1",
            PYTHONPYCACHEPREFIX=str(CACHE / "modules"),
        )
        try:
            if case.door != "mongrel2":
                _until(lambda: _accepts(place), running)
            yield running, place
            if running.ended():
                raise OSError(f"it has ended:\n{running.output()}")
            if server.ours and case.door != "mongrel2":
                prove(place)
        finally:
            running.stop()


def _until(condition: Callable[[], bool], running: process.Process) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if running.ended() or time.monotonic() > deadline:
            raise OSError(f"it does not serve:\n{' '.join(running.command)}\n{running.output()}")
        time.sleep(0.001)


def _accepts(place: Place) -> bool:
    try:
        place.connect().close()
    except OSError:
        return False
    return True


def _page(port: int, length: int) -> bool:
    """Ask once over HTTP; tell whether the right answer came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status == 200 and len(answer.read()) == length
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def _fronted(
    case: Case, place: Place, setting: Setting, running: process.Process
) -> Iterator[tuple[int | None, int]]:
    """Yield the process of the front end, if there is one, and the port that answers right over HTTP."""
    if not case.front:
        _until(lambda: _page(place.port, case.length), running)
        yield None, place.port
        return
    made, port = front(case.front, place)
    started: Front | None = None
    try:
        with process.pinned(setting.others(case)):
            started = made.start()
        _until(lambda: _page(port, case.length), running)
        yield started.pid(), port
    finally:
        if started is not None:
            started.stop()


def _request(case: Case, place: Place) -> str:
    path = Path(place.directory) / "request"
    path.write_bytes(wire.request(case.door, keep=case.keep, body=case.body, encoding=case.encoding))
    return str(path)


def load(case: Case, server: Server, setting: Setting) -> Sample:
    """Measure a server under load."""
    with serving(case, server, setting) as (running, place):
        return _load(case, setting, running, place)


def _load(case: Case, setting: Setting, running: process.Process, place: Place) -> Sample:
    backend, others = setting.backend(case), setting.others(case)
    beside = [core for core in others if core not in backend]

    def now(pid: int) -> generator.Spent:
        return generator.spent(running.pid, front_pid, pid, backend, beside)

    front_pid: int | None = None
    if case.load == "wrk":
        with _fronted(case, place, setting, running) as (front_pid, port):
            url = f"http://127.0.0.1:{port}/"
            generator.drive(generator.wrk(url, case.connections, max(1, setting.warm_up)), others, 1, now)
            seconds = max(1, setting.seconds)
            figures, spent = generator.drive(
                generator.wrk(url, case.connections, seconds), others, seconds, now
            )
    else:
        make = generator.mongrel2 if case.load == "mongrel2" else generator.streams
        # what ends after so many requests ends by them, and the first of them counts
        warm_up, seconds = (0.0, 120.0) if case.requests else (setting.warm_up, setting.seconds)
        command = make(case, place, _request(case, place), warm_up, seconds)
        if beside and case.load == "streams":
            command.append("--spin")
        figures, spent = generator.drive(command, others, warm_up + seconds, now)
    return Sample.of(figures, spent, process.memory(running.pid, "VmHWM"), len(backend), case.length)


def idle(case: Case, server: Server, setting: Setting) -> Sample:
    """Measure what connections take that have been used once and idle now, and the load beside them."""
    with serving(case, server, setting) as (running, place):
        before = _settled(running)
        command = generator.streams(case, place, _request(case, place), 0, 0)
        command[command.index("--connections") + 1] = "0"
        with process.pinned(setting.others(case)):
            holder = subprocess.Popen(
                [*command, "--idle", str(setting.idle)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            told = holder.stdout.readline()
            if told != f"idle {setting.idle}\n":
                raise OSError(f"it does not take {setting.idle} connections: {told.strip()}")
            each = (_settled(running) - before) / setting.idle
            sample = _load(case, setting, running, place)
            holder.stdin.close()
            kept = int(holder.stdout.read().rpartition('"open":')[2].strip(" }\n"))
        finally:
            holder.kill()
            holder.wait()
            holder.stdout.close()
    sample.values["idle"] = max(0.0, each)
    if kept < setting.idle:
        sample.failures["idle connections ended"] = setting.idle - kept
    return sample


def _settled(running: process.Process) -> int:
    """Return the resident memory once it does not change any more for a moment."""
    before, after = -1, process.memory(running.pid, "VmRSS")
    while before != after:
        time.sleep(0.1)
        before, after = after, process.memory(running.pid, "VmRSS")
    return after


def start(case: Case, server: Server, setting: Setting) -> Sample:
    """Measure how long it takes from the start of the process to the end of the first answer.

    It has been started before, so that its modules are compiled and its files in memory.
    """
    with serving(case, server, setting):
        pass
    with serving(case, server, setting) as (running, place):
        _until(lambda: _page(place.port, case.length), running)
        seconds = time.monotonic() - running.began
        return Sample({"start": seconds, "cpu": process.cpu(running.pid)})


def memory(case: Case, server: Server, setting: Setting) -> Sample:
    """Measure the resident memory of all processes after some requests."""
    with serving(case, server, setting) as (running, place):
        sample = _load(case, setting, running, place)
        sample.values["memory"] = float(process.memory(running.pid, "VmRSS"))
    return sample


PROCEDURES: dict[str, Callable[[Case, Server, Setting], Sample]] = {
    "load": load,
    "idle": idle,
    "start": start,
    "memory": memory,
}


def usable_cores() -> tuple[int, ...]:
    """Return the cores that this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))
