"""The loads in C, compiled when they are needed first and whenever their source has changed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).with_name("load")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "appserver-bench"
LIBRARIES = {"flood": ["-lm"], "mongrel2": ["-lzmq"], "null": ["-lzmq"]}


@cache
def built(name: str) -> str:
    """Return the path of a program of bench/load, compiled with cc(1); `OSError` tells why it cannot be."""
    source = SOURCES / f"{name}.c"
    content = b"".join(each.read_bytes() for each in (source, *sorted(SOURCES.glob("*.h"))))
    CACHE.mkdir(parents=True, exist_ok=True, mode=0o700)
    program = CACHE / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"
    if not program.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as directory:
            made = Path(directory) / name
            command = [
                "cc",
                "-O2",
                "-Wall",
                "-Wextra",
                "-o",
                str(made),
                str(source),
                *LIBRARIES.get(name, []),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise OSError(f"{source} does not compile:\n{done.stderr}")
            made.replace(program)
    return str(program)
