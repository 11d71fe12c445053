"""What a start costs: counts, so that they are the same everywhere."""

from __future__ import annotations

import sys

import pytest

from tests.support.clients import HttpClient
from tests.support.server import Server

# What takes long to import, and serves something that a site with one application over sockets has not asked for.
HEAVY = {
    "asyncio", "bz2", "concurrent.futures", "difflib", "email", "h11", "hashlib", "http.client",
    "importlib.abc", "importlib.metadata", "importlib.resources", "lzma", "msgspec", "multiprocessing", "pickle",
    "platform", "random", "shutil", "ssl", "subprocess", "sysconfig", "tempfile", "unittest", "wsproto", "zipfile",
    "zmq",
}  # fmt: skip
if sys.version_info >= (3, 14):
    HEAVY.remove("sysconfig")  # ctypes, which is used, wants it
# The server's own parts, by what they are for.
OTHERS = (
    "check", "collector", "doctor", "lifecycle.autoreload", "lifecycle.ctl", "lifecycle.master", "lifecycle.start",
    "listeners.intake", "listeners.receiver", "listeners.share", "listeners.subscription", "parity",
    "protocols.mongrel2", "static.service", "websocket.deflate", "websocket.messages",
)  # fmt: skip
MEMORY = 45  # MiB of a worker with an application that needs nothing

APP = """
import sys

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    status = open("/proc/self/status").read().split()
    return [f"{status[status.index('VmRSS:') + 1]} {' '.join(sys.modules)}".encode()]
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Return what a worker that has answered its first request has imported, and its resident memory in KiB."""
    directory = tmp_path_factory.mktemp("start")
    (directory / "hello.py").write_text(APP)
    with Server("--http-socket", "127.0.0.1:0", "--module", "hello", cwd=directory) as server:
        with HttpClient(server.addresses["http"]) as client:
            memory, *modules = client.request("GET", "/").body.decode().split()
        return set(modules), int(memory)


def test_what_is_not_used_is_not_imported(started):
    modules, _ = started
    assert modules & (HEAVY | {f"appserver.{name}" for name in OTHERS}) == set()


def test_a_worker_is_small(started):
    assert started[1] < MEMORY * 1024
