"""Files whose change asks for something: ``touch-reload`` and its kin."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appserver.options import BadValue, option, path, relative_path

if TYPE_CHECKING:
    from collections.abc import Iterable


def touched_command(text: str) -> tuple[str, str]:
    """Convert ``touch-exec``: a file and a shell's command."""
    file, _, rest = text.strip().partition(" ")
    if not file or not rest.strip():
        raise BadValue("a file, a blank and a shell's command")
    return file, rest.strip()


@dataclass(frozen=True)
class TouchOptions:
    """Files that are watched."""

    touch_reload: tuple[str, ...] = option(
        (),
        "Reload when this file changes.",
        expects="file",
        convert=path,
        relative=relative_path,
        example="/srv/mysite/reload",
        note="If the new workers fail, the old ones stay.",
    )
    touch_chain_reload: tuple[str, ...] = option(
        (),
        "Reload one worker after the other when this file changes.",
        expects="file",
        convert=path,
        relative=relative_path,
        example="/srv/mysite/reload",
        note="Needs no lazy-apps.",
    )
    touch_logreopen: tuple[str, ...] = option(
        (), "Open the log files anew when this file changes.", expects="file", convert=path,
        relative=relative_path,
        example="/srv/mysite/reopen",
    )  # fmt: skip
    touch_logrotate: tuple[str, ...] = option(
        (), "Move the log files away when this file changes, as log-maxsize does, and begin new ones.",
        expects="file", convert=path, relative=relative_path, example="/srv/mysite/rotate",
    )  # fmt: skip
    touch_exec: tuple[tuple[str, str], ...] = option(
        (), "Run a command by the shell, with the site's privileges, when a file changes.",
        convert=touched_command, expects="file command", relative=relative_path,
        example="/srv/mysite/now /srv/mysite/bin/fetch",
    )  # fmt: skip
    py_autoreload: float = option(
        0.0, "Reload when a file of an imported module changes; any number of seconds above 0 will do.",
        aliases=("py-auto-reload", "python-autoreload", "python-auto-reload"),
        example="1",
        note="It needs `pip install watchfiles`. The kernel reports changes; nothing is polled.",
    )  # fmt: skip


def without_watcher() -> str:
    """Return why imported modules cannot be watched; empty where they can."""
    found = importlib.util.find_spec("watchfiles") is not None
    return "" if found else "it needs the library watchfiles: pip install watchfiles"


class Touched:
    """Files and how they were at the last look."""

    def __init__(self, paths: Iterable[str]) -> None:
        # chdir comes later
        self._seen = {absolute: _look(absolute) for absolute in map(os.path.abspath, paths)}

    def follow(self, before: Touched) -> None:
        """Go on from the last look that *before* has had at each file of both."""
        self._seen.update((file, seen) for file, seen in before._seen.items() if file in self._seen)

    def changed(self) -> list[str]:
        """Return the files that have changed or come since the last call; that one goes away is no touch."""
        found = []
        for file, before in self._seen.items():
            self._seen[file] = now = _look(file)
            if now not in {before, None}:
                found.append(file)
        return found


class Watched:
    """The files that the options name, each with the command that its change asks for."""

    def __init__(self, options: TouchOptions) -> None:
        self._touched = {
            "reload": Touched(options.touch_reload),
            "chain-reload": Touched(options.touch_chain_reload),
            "reopen-logs": Touched(options.touch_logreopen),
            "rotate-logs": Touched(options.touch_logrotate),
        }
        self._programs = [(command, Touched([path])) for path, command in options.touch_exec]

    def follow(self, before: Watched) -> None:
        """Go on from the last looks of *before*, lest a change since then be lost."""
        for command, touched in self._touched.items():
            touched.follow(before._touched[command])
        for command, each in self._programs:
            for other, touched in before._programs:
                if other == command:
                    each.follow(touched)

    def look(self) -> list[tuple[str, str]]:
        """Return the commands that are asked for now, and the first file that has changed for each."""
        return _changed(self._touched.items())

    def look_for_programs(self) -> list[tuple[str, str]]:
        """Return the shell's commands that are asked for now, and the file that has changed for each."""
        return _changed(self._programs)


def _changed(touched: Iterable[tuple[str, Touched]]) -> list[tuple[str, str]]:
    found = [(command, each.changed()) for command, each in touched]
    return [(command, changed[0]) for command, changed in found if changed]


def _look(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
