"""Reload during development: the files of imported modules, watched by a process of their own.

The library ``watchfiles`` watches in native threads. A master that forks must have none, so they
live in a child that is executed anew, `watcher`; it ends when the master has gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import sysconfig
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING, Any

from appserver.lifecycle import watcher
from appserver.lifecycle.error import StartError
from appserver.lifecycle.touch import without_watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from appserver.lifecycle.watcher import Look

log = logging.getLogger("appserver.lifecycle")

# This server: the master has it loaded, so a reload would not see its changes.
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_BATCH = 100  # files in one message
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0  # seconds between starts of a watcher that dies again and again


class Sources:
    """Note the files of the modules that are loaded in a ``with`` block, and tell *send* of them at its end.

    Each is looked at just before it is read, also one that cannot be loaded then, so that a change which
    comes while others are loaded is one. Python's and this server's own are left out.
    """

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send
        self._read: dict[str, Look] = {}
        self._path_stats = SourceFileLoader.path_stats

    def __enter__(self) -> None:
        def path_stats(loader: SourceFileLoader, path: str) -> Mapping[str, Any]:
            file = os.path.abspath(path)
            self._read[file] = watcher.look(file)
            return self._path_stats(loader, path)

        # What a loader asks for before it reads a source (importlib.abc.SourceLoader).
        SourceFileLoader.path_stats = path_stats  # type: ignore[assignment, method-assign]

    def __exit__(self, *_: object) -> None:
        SourceFileLoader.path_stats = self._path_stats  # type: ignore[method-assign]
        files = sorted(file for file in {*self._read, *_imported_files()} if _counts(file))
        for at in range(0, len(files), _BATCH):
            looks = {
                file: self._read[file] if file in self._read else watcher.look(file)
                for file in files[at : at + _BATCH]
            }
            self._send(f"sources {json.dumps(looks)}")


def _imported_files() -> set[str]:
    found = set()
    for name, module in list(sys.modules.items()):
        if name == "__main__":
            continue
        try:
            file = module.__file__
        except Exception:  # noqa: BLE001, S112  (sys.modules holds what applications put there)
            continue
        if isinstance(file, str):
            found.add(os.path.abspath(file))
    return found


def _counts(path: str) -> bool:
    if path.startswith(_OURS):
        return False
    packages = {"site-packages", "dist-packages"} & {*path.split(os.sep)}
    libraries = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    return bool(packages) or not any(path.startswith(f"{library}{os.sep}") for library in libraries)


class Autoreload:
    """Call *changed* with the files that have changed; `close` ends the watching.

    To be made in the running loop. Raise `StartError` where watchfiles is not installed.
    """

    def __init__(self, changed: Callable[[list[str]], None]) -> None:
        if why := without_watcher():
            raise StartError("py-autoreload", why)
        self._changed = changed
        self._looks: Mapping[str, Look] | None = None
        self._pause = 0.0
        self._again: asyncio.TimerHandle | None = None
        self._begin()

    def _begin(self) -> None:
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
        if self._looks is not None:
            self.watch(self._looks)

    def _begin_again(self) -> None:
        """Start another watcher in the place of one that has ended, after a while."""
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        log.error("py-autoreload: the watcher of files has ended; it is started again in %.1f s", self._pause)

        def begin() -> None:
            self._end()
            try:
                self._begin()
            except OSError as error:
                log.error(  # noqa: TRY400  (where is known)
                    "py-autoreload: cannot start a process: %s", error.strerror
                )
                self._begin_again()

        self._again = asyncio.get_running_loop().call_later(self._pause, begin)

    def watch(self, looks: Mapping[str, Look]) -> None:
        """Watch these files from now on, instead of those before.

        One that does not look as it is said to has changed.
        """
        self._looks = looks
        with suppress(OSError, ValueError):  # it has ended, and the log says so
            self._stdin.write(json.dumps(looks).encode() + b"\n")

    def stop(self) -> None:
        """End the watching, in the master; safe twice."""
        if self._again is not None:
            self._again.cancel()
        self._end()

    def _end(self) -> None:
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
            if isinstance(news, str):  # another could not do it either
                log.error("py-autoreload has ended: %s", news)
                asyncio.get_running_loop().remove_reader(self._stdout)
                return
            self._pause = 0.0
            self._changed(news)
        if not data:
            asyncio.get_running_loop().remove_reader(self._stdout)
            self._begin_again()
