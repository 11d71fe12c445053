"""Reload during development: the files of imported modules, watched by a process of their own.

The library ``watchfiles`` watches in native threads. A master that forks must have none, so they
live in a child that is executed anew, `watcher`; it ends when the master has gone.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import subprocess
import sys
import sysconfig
from contextlib import suppress
from typing import TYPE_CHECKING

from appserver.lifecycle import watcher
from appserver.lifecycle.error import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = logging.getLogger("appserver.lifecycle")

_OURS = "appserver"  # the master has it loaded: a reload would not see its changes


def imported_files() -> list[str]:
    """Return the files of all modules that this process has imported, but for Python's and this server's."""
    found = set()
    for name, module in list(sys.modules.items()):
        if name == "__main__" or name.partition(".")[0] == _OURS:
            continue
        try:
            file = module.__file__
        except Exception:  # noqa: BLE001, S112  (sys.modules holds what applications put there)
            continue
        if isinstance(file, str) and not _is_python(path := os.path.abspath(file)):
            found.add(path)
    return sorted(found)


def _is_python(path: str) -> bool:
    packages = {"site-packages", "dist-packages"} & {*path.split(os.sep)}
    libraries = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    return not packages and any(path.startswith(f"{library}{os.sep}") for library in libraries)


class Autoreload:
    """Call *changed* with the files that have changed; `close` ends the watching.

    To be made in the running loop. Raise `StartError` where watchfiles is not installed.
    """

    def __init__(self, changed: Callable[[list[str]], None]) -> None:
        if importlib.util.find_spec("watchfiles") is None:
            raise StartError(
                "py-autoreload", "it needs the library watchfiles: pip install 'appserver[autoreload]'"
            )
        self._changed = changed
        self._news = b""
        # By path and without the directory of the process: an application's modules stay out of it.
        self._process = subprocess.Popen(  # noqa: S603  (this Python and a file of this package)
            [sys.executable, "-P", watcher.__file__],
            bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        asyncio.get_running_loop().add_reader(self._stdout, self._readable)

    def watch(self, files: Iterable[str]) -> None:
        """Watch these files from now on, instead of those before; what changes meanwhile is not missed."""
        with suppress(OSError, ValueError):  # it has ended, and the log says why
            seen = {file: watcher.look(file) for file in files}
            self._stdin.write(json.dumps(seen).encode() + b"\n")

    def stop(self) -> None:
        """End the watching, in the master; safe twice."""
        if not self._stdout.closed:
            asyncio.get_running_loop().remove_reader(self._stdout)
        self.close()
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Close this process's copies, as a child must whose parent goes on; safe twice."""
        self._stdin.close()
        self._stdout.close()

    def _readable(self) -> None:
        data = self._stdout.read(65536)
        if data is None:
            return
        *lines, self._news = (self._news + data).split(b"\n")
        for line in lines:
            news = json.loads(line)
            if isinstance(news, str):
                log.error("py-autoreload has ended: %s", news)
            else:
                self._changed(news)
        if not data:
            asyncio.get_running_loop().remove_reader(self._stdout)
