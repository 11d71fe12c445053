"""Run the server as users do, in a process of its own."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """An ``appserver`` process; ``addresses`` are its listeners' real addresses by name."""

    def __init__(self, *arguments, cwd=None, env=None, **popen):
        self.log = ""
        self.addresses = {}
        self.all_addresses = []
        self._read, write = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "appserver", *map(str, arguments)],
            stderr=write, cwd=cwd, env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}, **popen,
        )  # fmt: skip
        os.close(write)

    def wait_until(self, pattern, timeout=20.0):
        """Read the log until *pattern* (a regular expression) matches; return the match."""
        deadline = time.monotonic() + timeout
        while True:
            match = re.search(pattern, self.log, re.MULTILINE)
            if match:
                return match
            if not self._more(deadline - time.monotonic()):
                raise AssertionError(f"{pattern!r} is not in the log:\n{self.log}")

    def _more(self, timeout):
        if timeout <= 0 or not select.select([self._read], [], [], timeout)[0]:
            return False
        data = os.read(self._read, 65536)
        self.log += data.decode("utf-8", "replace")
        return bool(data)

    def start(self):
        """Wait until every listener has its address."""
        self.wait_until(r"appserver \S+ serves .*\n(.*listening: .*\n)+")
        # The listening lines leave in one go, right behind the first.
        while self._more(0.05):
            pass
        self.all_addresses = re.findall(r"listening: (\S+) (\S+)", self.log)
        self.addresses = dict(self.all_addresses)
        return self

    def stop(self, number=signal.SIGTERM, timeout=20.0):
        """Stop the process, read the rest of its log and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout)
        while self._more(1.0):
            pass
        return code

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            os.close(self._read)
