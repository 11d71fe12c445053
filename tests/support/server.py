"""Run the server as users do, in a process of its own."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


started = []  # the servers that a failing test may tell of


class Server:
    """An ``appserver`` process; ``addresses`` are its listeners' real addresses by name."""

    def __init__(self, *arguments, cwd=None, env=None, program=("-m", "appserver"), **popen):
        self._log = ""
        self.addresses = {}
        self.all_addresses = []
        self._ended = False  # nobody writes to its log any more
        self._news = threading.Condition()
        self._read, write = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            stderr=write, cwd=cwd, env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}, **popen,
        )  # fmt: skip
        os.close(write)
        started.append(self)
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def _drain(self):
        """Keep the log as it comes: a full pipe would hold the server up."""
        while not self._ended:
            select.select([self._read], [], [])
            with self._news:
                data = os.read(self._read, 65536)
                self._log += data.decode("utf-8", "replace")
                self._ended = not data
                self._news.notify_all()
        os.close(self._read)

    @property
    def log(self):
        """All that has been written to the log by now, also what the thread that reads it has not taken yet."""
        with self._news:
            while not self._ended and select.select([self._read], [], [], 0)[0]:
                self._news.wait(0.1)
            return self._log

    def forget_log(self):
        """Begin a new log; return the one so far."""
        with self._news:
            log, self._log = self.log, ""
            return log

    def wait_until(self, pattern, timeout=30.0):
        """Wait until the log matches *pattern* (a regular expression); return the match.

        The end of a server that has not said it is the end of the wait.
        """
        deadline = time.monotonic() + timeout
        with self._news:
            while not (match := re.search(pattern, self._log, re.MULTILINE)):
                if self._ended or time.monotonic() > deadline:
                    raise AssertionError(f"{pattern!r} is not in the log:\n{self._log}")
                self._news.wait(max(0, deadline - time.monotonic()))
        return match

    @property
    def warnings(self):
        """The lines of warnings, but for the one about whoever runs the tests as root."""
        lines = [line for line in self.log.splitlines() if " WARNING " in line]
        return [line for line in lines if "the application runs as root" not in line]

    def start(self):
        """Wait until every listener has its address."""
        self.wait_until(r"^.*\bready$")
        self.all_addresses = re.findall(r"listening: (\S+) (\S+)", self.log)
        self.addresses = dict(self.all_addresses)
        return self

    def stop(self, number=signal.SIGTERM, timeout=30.0):
        """Stop the process, read the rest of its log and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._reader.join(20)
