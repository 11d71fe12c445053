"""Real nginx and Mongrel2 in front of the server, from the files in configs/ on ports of their own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.support.ports import free_port
from tests.support.server import ROOT

CONFIGS = ROOT / "configs"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
ENV = {**os.environ, "PATH": PATH, "LOGNAME": os.environ.get("LOGNAME", "nobody")}  # m2sh wants a name
PACKAGES = {
    "nginx": "nginx-light",
    "mongrel2": "mongrel2-core",
    "m2sh": "mongrel2-core",
    "curl": "curl",
    "chromium": "chromium",
}
GUARD = 30.0  # seconds after which something that should have happened will not happen any more

_PORT = re.compile(r"(127\.0\.0\.1:|\bport=)(\d+)\b")
_COMMAND = re.compile(r"^#   (\S.*)$", re.MULTILINE)


def require(*programs):
    """Skip the test where a front end is not installed."""
    for program in programs:
        if shutil.which(program, path=PATH) is None:
            import pytest  # the bench has no tests, and uses what is here

            pytest.skip(f"{program} is not installed (apt-get install {PACKAGES[program]})")


def poll(condition, what):
    """Return what *condition* returns as soon as that is true; fail where it never is."""
    deadline = time.monotonic() + GUARD
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
    return found


def accepts(port):
    with socket.socket() as sock:
        sock.settimeout(GUARD)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Configs:
    """A copy of configs/, or another *origin*, in which only the ports are others."""

    def __init__(self, directory, origin=CONFIGS):
        self.directory = Path(directory) / "configs"
        self.directory.mkdir()
        self._ports = {}
        for source in sorted(origin.iterdir()):
            if source.suffix in {".ini", ".conf"}:
                (self.directory / source.name).write_text(self.renumbered(source.read_text()))
            elif source.suffix in {".py", ".html"}:
                shutil.copy(source, self.directory)

    def renumbered(self, text):
        return _PORT.sub(lambda match: f"{match[1]}{self.port(match[2])}", text)

    def port(self, written):
        """Return the port that stands here for the one *written* in configs/."""
        key = int(written)
        if key not in self._ports:
            self._ports[key] = free_port()
        return self._ports[key]

    def url(self, written, path="/"):
        return f"http://127.0.0.1:{self.port(written)}{path}"

    def ini(self, name):
        return self.directory / name

    def edit(self, name, new_name, *replacements):
        """Write a file that differs from *name* by its name and some (pattern, replacement) pairs."""
        text = (self.directory / name).read_text().replace(name, new_name)
        for pattern, replacement in replacements:
            text, count = re.subn(pattern, replacement, text)
            assert count, f"{pattern!r} is not in {name}"
        (self.directory / new_name).write_text(text)

    def second_mongrel2(self, protocol):
        """Write another Mongrel2's file, which talks *protocol* beside the first; return its name."""
        name = f"mongrel2-{protocol}"
        self.edit(
            "mongrel2.conf", f"{name}.conf",
            *((rf"\b{self.port(port)}\b", str(self.port(port + 10000))) for port in (9999, 9998, 6767)),
            ("tnetstring", protocol), ("-9a2d-", "-9a2e-"), ("-8908-", "-8909-"),
            (r"/logs/", f"/logs/{name}-"), (r"/run/mongrel2", f"/run/{name}"),
            (r'"zeromq.threads"', f'"control_port": "ipc://run/{name}", "zeromq.threads"'),
            (r"config\.sqlite", f"{name}.sqlite"),
        )  # fmt: skip
        return f"{name}.conf"

    def specs(self, shift=0):
        return f"tcp://127.0.0.1:{self.port(9999 + shift)},tcp://127.0.0.1:{self.port(9998 + shift)}"


class Front:
    """A front end, started by the commands in the comment of its configuration file."""

    programs: tuple[str, ...]

    def __init__(self, configs, conf):
        require(*self.programs)
        self.directory = configs.directory
        self.conf = self.directory / conf
        *self.before, self.command = _COMMAND.findall(self.conf.read_text())
        self.output = self.directory / f"{self.conf.stem}.out"
        self.process = None

    def ports(self):
        raise NotImplementedError

    def start(self):
        """Start it and wait until it accepts connections on all its ports."""
        for command in self.before:
            subprocess.run(command, shell=True, check=True, cwd=self.directory, env=ENV, capture_output=True)
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                f"exec {self.command}", shell=True, cwd=self.directory, env=ENV,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        poll(self._running, f"{self.command} does not accept connections:\n")
        return self

    def _running(self):
        assert self.process.poll() is None, self.output.read_text()
        return all(map(accepts, self.ports()))

    def pid(self):
        """Return the process that serves."""
        return self.process.pid

    def stop(self):
        if self.process is None:
            return
        try:
            os.kill(self.pid(), signal.SIGTERM)
            self.process.wait(GUARD)
        except (OSError, ValueError, subprocess.TimeoutExpired):  # whatever it left of its own session
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise
        finally:
            self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class Nginx(Front):
    """nginx with configs/nginx.conf or a file made of it."""

    programs = ("nginx",)

    def __init__(self, configs, conf="nginx.conf"):
        super().__init__(configs, conf)

    def ports(self):
        return [int(port) for port in re.findall(r"listen 127\.0\.0\.1:(\d+);", self.conf.read_text())]


class Mongrel2(Front):
    """Mongrel2 with configs/mongrel2.conf or a file made of it."""

    programs = ("mongrel2", "m2sh")

    def __init__(self, configs, conf="mongrel2.conf"):
        super().__init__(configs, conf)
        self.pid_file = self.directory / re.search(r'pid_file="/(.*)"', self.conf.read_text())[1]
        self.uploads = self.directory / "uploads"

    def ports(self):
        return [int(re.search(r"\bport=(\d+)", self.conf.read_text())[1])]

    def _running(self):
        return super()._running() and self.pid_file.exists()

    def pid(self):
        return int(self.pid_file.read_text())  # m2sh runs it in a shell
