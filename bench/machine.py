"""What it was measured on: the machine, and the versions of all programs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

from bench.requirement import PATH, missing
from bench.server import SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterable

PROGRAMS = {
    "wrk": ["wrk", "-v"],
    "nginx": ["nginx", "-v"],
    "Mongrel2": ["m2sh", "version"],
    "cc": ["cc", "--version"],
}


def machine() -> dict[str, str]:
    """Return the processor, the cores that may be used, the memory, the system and the time."""
    model = re.search(r"^model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    release = platform.freedesktop_os_release()
    kib = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": model[1] if model else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(kib[1]) / (1 << 20):.0f} GiB" if kib else "?",
        "system": f"{release.get('PRETTY_NAME', 'Linux')}, Linux {platform.release()}",
    }


def versions(servers: Iterable[str]) -> list[str]:
    """Return the versions of these servers, of what they and the loads stand on."""
    found = [f"CPython {platform.python_version()}"]
    found += [
        f"{each.name} {each.version}"
        for name in ("gevent", "pyzmq", "httptools", "msgspec")
        for each in distributions(name=name)
    ]
    if not missing(["zmq"]):
        import zmq  # noqa: PLC0415 - it may be missing, which is said elsewhere

        found.append(f"libzmq {zmq.zmq_version()}")
    found += [each for name in servers if (each := SERVERS[name].version())]
    for name, command in PROGRAMS.items():
        if shutil.which(command[0], path=PATH):
            done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": PATH})
            number = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
            found.append(f"{name} {number[0] if number else '?'}")
    return list(dict.fromkeys(found))
