"""The program that watches files: what they look like comes on stdin, the changed ones go to stdout, as JSON.

A text instead of a list says why it ends. Nothing here imports this server. Signals that are sent to all
processes of a server are not for this one, which ends with its stdin.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from threading import Event, Thread
from typing import TextIO

Look = list[int] | None  # what changes when a file does; None for one that is not there

_IGNORED = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTTIN, signal.SIGTTOU,
    signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
_DEBOUNCE = 200  # milliseconds: editors write in several steps


def look(file: str) -> Look:
    """Return what a file looks like."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size, status.st_ino]


class Watcher:
    """Watch files until told to stop; *seen* is what they looked like."""

    def __init__(self, seen: dict[str, Look], out: TextIO) -> None:
        self._seen = seen
        self._out = out
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watching."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        from watchfiles import watch  # noqa: PLC0415  (in the process that runs this, not in the master)

        # Directories, because editors put a new file in the place of the old one.
        directories = {directory for file in self._seen if os.path.isdir(directory := os.path.dirname(file))}
        if not directories:
            return
        try:
            for number, changes in enumerate(
                watch(
                    *directories, watch_filter=None, debounce=_DEBOUNCE, stop_event=self._stop,
                    rust_timeout=500, yield_on_timeout=True, recursive=False,
                )
            ):  # fmt: skip
                if changes or not number:  # something may have changed before the watching began
                    self._report()
        except OSError as error:  # too many watches
            self._tell(str(error))
            os._exit(1)

    def _report(self) -> None:
        changed = []
        for file in sorted(self._seen):
            now = look(file)
            if now != self._seen[file]:
                self._seen[file] = now
                changed.append(file)
        if changed:
            self._tell(changed)

    def _tell(self, news: list[str] | str) -> None:
        self._out.write(json.dumps(news) + "\n")
        self._out.flush()


def main(lines: TextIO, out: TextIO) -> None:
    """Watch what the lines name until they end."""
    watcher: Watcher | None = None
    for line in lines:
        if watcher is not None:
            watcher.stop()
        watcher = Watcher(json.loads(line), out)
    if watcher is not None:
        watcher.stop()


if __name__ == "__main__":
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    main(sys.stdin, sys.stdout)
