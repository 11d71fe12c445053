"""What the application has recorded: every call, the process that it ran in, its beginning and its end."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from time import monotonic


@dataclass(slots=True)
class Call:
    """One call of the application; *ended* is infinite where it never has."""

    pid: int
    began: float
    ended: float = float("inf")


class Ledger:
    """The file that the workers write; `read` takes what has been added to it."""

    def __init__(self, path):
        self.path = Path(path)
        self.path.touch()
        self.calls = defaultdict(list)  # by the request's id
        self._offset = 0
        self._seen = {}  # by pid: when it began its first call, and its last

    def read(self):
        """Read on to the last whole line."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            lines, end, _ = file.read().rpartition(b"\n")
        self._offset += len(lines + end)
        for line in lines.decode().splitlines():
            what, name, number, time = line.split()
            pid, at = int(number), float(time)
            if what == "begin":
                self.calls[name].append(Call(pid, at))
                self._seen[pid] = (self._seen.get(pid, (at,))[0], at)
            else:
                next(call for call in self.calls[name] if call.pid == pid).ended = at

    def workers(self, seconds=1.0):
        """Return the pids of the processes that have been called within so many seconds, oldest first."""
        self.read()
        since = monotonic() - seconds
        return [
            pid for pid, (_, last) in sorted(self._seen.items(), key=lambda item: item[1]) if last > since
        ]
