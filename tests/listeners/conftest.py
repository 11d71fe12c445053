"""Servers with all five listeners, and the clients of all of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.support import mongrel2 as simulated_by_bytes
from tests.support.clients import FastcgiClient, HttpClient, Mongrel2Client, ScgiClient, UwsgiClient
from tests.support.server import Server
from tests.support.simulated import Mongrel2

APPS = Path(__file__).parent / "apps"
LISTENERS = ("http", "uwsgi", "fastcgi", "scgi", "mongrel2")
MOUNTS = {"http": "http-socket", "uwsgi": "socket", "fastcgi": "fastcgi-socket", "scgi": "scgi-socket"}
FRONTS = ("http", "uwsgi", "fastcgi", "fastcgi-kept", "scgi", "mongrel2", "mongrel2-tnetstring")
STREAM_FRONTS = FRONTS[:5]
CGI_FRONTS = FRONTS[1:5]
KEPT_FRONTS = ("http", "fastcgi-kept", "mongrel2", "mongrel2-tnetstring")
HTTP_FRONTS = ("http", "mongrel2", "mongrel2-tnetstring")  # the listener frames the HTTP itself

_tokens = count(1)


class Site:
    """One server process with the listeners that are asked for, and what stands in front of it."""

    def __init__(self, directory, module, listeners=LISTENERS, addresses=None, **options):
        self.directory = Path(directory)
        lines = ["[appserver]", f"module = {module}", f"pythonpath = {APPS}"]
        lines += [f"{name.replace('_', '-')} = {value}" for name, value in options.items()]
        for name in listeners:
            if name != "mongrel2":
                lines.append(f"{MOUNTS[name]} = {(addresses or {}).get(name, '127.0.0.1:0')}")
        self.ini = self.directory / "site.ini"
        with ExitStack() as stack:
            self.mongrel2 = None
            if "mongrel2" in listeners:
                self.mongrel2 = Mongrel2(f"ipc://{directory}/send", f"ipc://{directory}/recv")
                stack.callback(self.mongrel2.close)
                lines.append(f"zeromq = {self.mongrel2.specs}")
            self.ini.write_text("\n".join(lines) + "\n")
            self.server = Server("--ini", self.ini, env={"PYTHONWARNINGS": "default::ResourceWarning"})
            stack.push(self.server)  # ends it, also where it does not start
            self.server.start()
            self._stack = stack.pop_all()

    def client(self, front):
        """Return a new client: *front* is a listener's name, and how it is spoken to."""
        name, _, how = front.partition("-")
        if name == "mongrel2":
            return Mongrel2Client(self.mongrel2, tnetstring=how == "tnetstring")
        address = self.server.addresses[name]
        if name == "fastcgi":
            return FastcgiClient(address, kept=how == "kept")
        return {"http": HttpClient, "uwsgi": UwsgiClient, "scgi": ScgiClient}[name](address)

    def log(self, pattern):
        """Wait for a line of the log and return its match."""
        return self.server.wait_until(pattern)

    def forget_log(self):
        """Empty the log's pipe, look for what no test may leave there, and begin a new one."""
        log = self.server.forget_log()
        assert "ResourceWarning" not in log
        assert "failed with" not in log, "a callback of the loop has raised"

    def count(self, pattern):
        return len(re.findall(pattern, self.server.log, re.MULTILINE))

    def close(self):
        self._stack.close()


@contextmanager
def serving(directory, module, listeners=LISTENERS, **options):
    """Give a `Site` that has to stop well, and with nothing in its log that may not be there."""
    found = Site(directory, module, listeners, **options)
    try:
        yield found
        assert found.server.stop() == 0
        found.forget_log()
    finally:
        found.close()


@pytest.fixture(scope="module")
def site(request, tmp_path_factory):
    """Return the server of a module, with its APP and its OPTIONS."""
    app, options = getattr(request.module, "APP", "semantics:app"), getattr(request.module, "OPTIONS", {})
    with serving(tmp_path_factory.mktemp("site"), app, **options) as found:
        yield found


@pytest.fixture(params=FRONTS)
def client(request, site):
    """Return a client of each front in turn."""
    with site.client(request.param) as found:
        found.front = request.param
        yield found
    site.forget_log()


@pytest.fixture
def serve(tmp_path):
    """Return a function that starts a server for one test."""
    with ExitStack() as stack:

        def start(module, listeners=LISTENERS, **options):
            found = Site(tmp_path, module, listeners, **options)
            stack.callback(found.close)
            return found

        yield start


@pytest.fixture
def token():
    """Return a word that marks one test's requests in the log."""
    return f"token{next(_tokens)}x"


def over(*fronts):
    """Run a test over these fronts only."""
    return pytest.mark.parametrize("client", fronts, indirect=True)


def clients_of(site, stack, fronts):
    return [stack.enter_context(site.client(front)) for front in fronts]


def at_once(clients, target):
    """Send a request on every client before any answer is read; return the answers' JSON."""
    for client in clients:
        client.send("GET", target)
    told = []
    for client in clients:
        answer = client.receive()
        assert (answer.status, answer.complete) == (200, True), answer
        told.append(json.loads(answer.body))
    return told


def check(site):
    """Run ``--check`` on the server's ini file."""
    command = [sys.executable, "-m", "appserver", "--check", "--ini", str(site.ini)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def pytest_generate_tests(metafunc):
    """Run what tests Mongrel2 alone with both ways in which its requests reach the workers."""
    if metafunc.module.__name__.rpartition(".")[2].startswith("test_mongrel2_"):
        metafunc.parametrize("dispatch", ["worker", "shared"], indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def dispatch(request):
    """Have servers be started so; fixtures that outlive a test have to ask for this one."""
    simulated_by_bytes.dispatch = getattr(request, "param", "worker")
    yield simulated_by_bytes.dispatch
    simulated_by_bytes.dispatch = "worker"
