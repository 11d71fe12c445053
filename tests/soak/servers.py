"""The servers that can be soaked: appserver, and uWSGI to compare with; both behind one interface."""

from __future__ import annotations

import re
import signal
import subprocess
from time import monotonic, sleep

from appserver import __version__
from tests.support.server import Server

LONGEST = 90.0  # seconds that a reload or a stop may take


class Appserver:
    """appserver as users run it."""

    name = f"appserver {__version__}"

    def __init__(self, ini):
        self.ini = ini
        self._server = None
        self._generation = 1

    def start(self):
        self._server = Server("--ini", self.ini, cwd=self.ini.parent)
        self._generation = 1
        self._server.start()

    def reload(self):
        """Reload, and return when the workers before have gone."""
        self._generation += 1
        self._server.process.send_signal(signal.SIGHUP)
        self._server.wait_until(rf"generation {self._generation} has taken over", LONGEST)

    def stop(self):
        """Stop gracefully, and return when it has."""
        if self._server is not None:
            server, self._server = self._server, None
            try:
                server.stop(timeout=LONGEST)
            finally:
                server.__exit__()

    @property
    def log(self):
        return self._server.log


class Uwsgi:
    """uWSGI, with the options that are closest: its own SIGTERM would reload, and not gracefully."""

    OPTIONS = ("master = true", "need-app = true", "die-on-term = false",
               "hook-master-start = unix_signal:15 gracefully_kill_them_all")  # fmt: skip
    OURS = re.compile(r"^(gevent|mongrel2-upload-dir|worker-reload-mercy) = .*\n", re.MULTILINE)

    def __init__(self, program, ini):
        self.program = program
        self.name = (
            "uWSGI "
            + subprocess.run(
                [program, "--version"], capture_output=True, text=True, check=True
            ).stdout.strip()
        )
        text = self.OURS.sub("", ini.read_text()).replace("[appserver]", "[uwsgi]")
        self.ini = ini.with_name(f"uwsgi-{ini.name}")
        self.ini.write_text(text + "".join(f"{option}\n" for option in self.OPTIONS))
        self.processes = int(re.findall(r"^processes = (\d+)", text, re.MULTILINE)[-1])
        self.output = self.ini.with_suffix(".out")
        self._process = None

    def start(self):
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [self.program, "--ini", self.ini], cwd=self.ini.parent, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output,
            )  # fmt: skip
        self._wait_for_workers(self.processes)

    @property
    def log(self):
        return self.output.read_text()

    def _spawned(self):
        assert self._process.poll() is None, self.log
        return len(re.findall(r"^spawned uWSGI worker", self.log, re.MULTILINE))

    def _wait_for_workers(self, count):
        deadline = monotonic() + LONGEST
        while (spawned := self._spawned()) < count:
            assert monotonic() < deadline, (
                f"uWSGI has started {spawned} workers, not {count}:\n{self.log[-2000:]}"
            )
            sleep(0.01)

    def reload(self):
        before = self._spawned()
        self._process.send_signal(signal.SIGHUP)
        self._wait_for_workers(before + self.processes)

    def stop(self):
        if self._process is not None:
            process, self._process = self._process, None
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(LONGEST)
            finally:
                process.kill()
                process.wait()
