"""Processes that are measured: pinned to cores, their processor time and memory read from /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TICK = 1 / os.sysconf("SC_CLK_TCK")
PATIENCE = 10.0  # seconds that a server has to end by itself


@contextlib.contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Have this thread, and the processes that it starts meanwhile, run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{each}/task"):
                found += map(int, Path(f"/proc/{each}/task/{task}/children").read_text().split())
    return found


def cpu(pid: int) -> float:
    """Return the seconds of processor time that a process and its descendants have taken."""
    total = 0.0
    for each in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) * TICK
    return total


def memory(pid: int, field: str) -> int:
    """Return the sum of a field of /proc/PID/status over a family, in bytes: ``VmHWM`` or ``VmRSS``."""
    total = 0
    for each in family(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{each}/status").read_text().splitlines():
                if line.startswith(f"{field}:"):
                    total += int(line.split()[1]) << 10
    return total


def busy(cores: Sequence[int]) -> float:
    """Return the seconds that these cores have been busy with anything since the machine started."""
    wanted = {f"cpu{core}" for core in cores}
    total = 0.0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in wanted:
            idle = int(fields[3]) + int(fields[4])
            total += (sum(map(int, fields[:8])) - idle) * TICK
    return total


def _environment() -> dict[str, str]:
    """Return the environment without what changes how Python starts: all servers have compiled modules."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


class Process:
    """A program that runs on some cores; its output goes to a file that is shown where it fails."""

    def __init__(self, command: Sequence[str], cores: Sequence[int], cwd: str, **environment: str) -> None:
        self.command = list(command)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self.began = time.monotonic()
        with pinned(cores):
            self._popen = subprocess.Popen(
                self.command,
                cwd=cwd,
                env=_environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._popen.pid

    def ended(self) -> bool:
        """Tell whether it has ended by itself."""
        return self._popen.poll() is not None

    def output(self) -> str:
        """Return the end of what it has written."""
        return os.pread(self._output.fileno(), 1 << 20, 0).decode("utf-8", "replace")[-2000:]

    def stop(self) -> None:
        """End the process and all that descend from it; safe twice."""
        if self._output.closed:
            return
        members = family(self.pid)
        try:
            if not self.ended():
                self._popen.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._popen.wait(PATIENCE)
        finally:
            self._popen.kill()
            self._popen.wait()
            for each in members[1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            self._output.close()
