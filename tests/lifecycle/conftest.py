"""Servers with a master, and an application that tells of its process and can be made to fail."""

from __future__ import annotations

import http.client
import json
import os
import resource
import shutil
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fronts import poll
from tests.support.server import Server

APP = Path(__file__).with_name("app.py")


class Site:
    """An ini file, the application beside it, and the server that runs both."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.ini = self.directory / "site.ini"
        self.app = self.directory / "app.py"
        self.imports = self.directory / "imports"
        self.server = None
        shutil.copy(APP, self.app)

    def configure(self, *lines, **options):
        options = {"http_socket": "127.0.0.1:0", "master": "true", "module": "app", **options}
        text = "".join(f"{name.replace('_', '-')} = {value}\n" for name, value in options.items())
        self.ini.write_text("[appserver]\n" + text + "".join(f"{line}\n" for line in lines))
        return self

    def launch(self, *, cached="", **popen):
        """Start the server without waiting for it; with *cached* Python may cache its bytecode."""
        # Cached bytecode is that of a file of the same second and size.
        env = {"PYTHONDONTWRITEBYTECODE": "" if cached else "1"}
        self.server = Server("--ini", self.ini, cwd=self.directory, env=env, **popen)
        return self

    def start(self, **popen):
        self.launch(**popen)
        self.server.start()
        return self

    @property
    def log(self):
        return self.server.log

    @property
    def address(self):
        host, port = self.server.addresses["http"].rsplit(":", 1)
        return host.strip("[]"), int(port)

    def connect(self):
        return http.client.HTTPConnection(*self.address, timeout=30)

    def get(self, path="/", connection=None):
        """Return the status and the body of an answer, as JSON where it is that."""
        kept = connection is not None
        connection = connection or self.connect()
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            if not kept:
                connection.close()
        is_json = answer.getheader("Content-Type") == "application/json"
        return answer.status, json.loads(body) if is_json else body

    def told(self, path="/"):
        status, body = self.get(path)
        assert status == 200, (status, body, self.log)
        return body

    def pids(self, count):
        """Return the pids of *count* workers that answer."""
        found = set()
        poll(lambda: found.add(self.told()["pid"]) or len(found) >= count, "too few workers answer")
        return found

    def begin(self, path):
        """Request something in a thread; return a function that waits for the status and the body."""
        result = []

        def run():
            try:
                result.append(self.get(path))
            except (OSError, http.client.HTTPException) as error:
                result.append((0, error))

        thread = threading.Thread(target=run)
        thread.start()

        def finish():
            thread.join(60)
            return result[0]

        return finish

    def hold(self, name="hold", path="/hold"):
        """Begin a request that the application does not answer before `release`; wait until it runs."""
        finish = self.begin(f"{path}?{name}")
        poll((self.directory / f"{name}.held").exists, "the request does not run")
        return finish

    def release(self, name="hold"):
        (self.directory / f"{name}.released").touch()

    def imported(self):
        """Return the pids of the processes that have loaded the application."""
        return [int(line) for line in self.imports.read_text().split()]

    def wait_until(self, pattern, timeout=30.0):
        return self.server.wait_until(pattern, timeout)

    def count(self, text):
        return self.log.count(text)

    def wait_for(self, text, count):
        poll(lambda: self.count(text) >= count, f"{text!r} is not {count} times in the log:\n{self.log}")


def alive(pid):
    """Tell whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    """Return a process's children; none of one that has ended, which may be a moment ago."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def refused(address):
    with socket.socket() as sock:
        return sock.connect_ex(address) != 0


@contextmanager
def without_descriptors(pid, left=0, limit=None):
    """Have a process find no more than so many descriptors meanwhile, or none from *limit* on."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")}
    free = sorted(set(range(soft)) - taken)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[left] if limit is None else limit, hard))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    if made.server is not None:
        made.server.__exit__()
        for line in made.imports.read_text().split() if made.imports.exists() else ():
            assert not alive(int(line)) or os.getpgid(int(line)) == os.getpgid(0)
