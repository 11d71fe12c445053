"""Who patches the standard library for greenlets, and who was there before; each case in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.server import ROOT, Server

APP = """
{first}
import gevent.monkey, json, threading, time

def application(environ, start_response):
    told = {{name: gevent.monkey.is_module_patched(name) for name in ("time", "socket", "threading", "ssl")}}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
"""

# What a .pth file does: something is imported before the server begins.
BEFORE = "import early\nfrom appserver.cli import main\nraise SystemExit(main())\n"

EARLY = {
    "from time import sleep": ("time.sleep", "holds up all other requests"),
    "from time import sleep as nap": ("time.sleep", "holds up all other requests"),
    "from socket import socket": ("socket.socket", "holds up all other requests"),
    "from socket import getaddrinfo": ("socket.getaddrinfo", "holds up all other requests"),
    "from select import epoll": ("select.epoll", "holds up all other requests"),
    "from subprocess import Popen": ("subprocess.Popen", "holds up all other requests"),
    "import ssl\ncontext = ssl.create_default_context()": ("context, which has a ssl.SSLContext", "holds up all"),
    "import ssl\nclass Context(ssl.SSLContext): pass": ("Context, which is made of ssl.SSLContext", "holds up all"),
    "import threading\nlock = threading.Lock()": ("lock, which has a threading.Lock", "for ever"),
    "import threading\nlock = threading.RLock()": ("lock, which has a threading._CRLock", "for ever"),
    "import queue\njobs = queue.Queue()": ("jobs, which has a threading.Lock", "for ever"),
    "import queue\njobs = queue.SimpleQueue()": ("jobs, which has a queue.SimpleQueue", "for ever"),
    "import threading\nclass A: pass\na = A()\na.condition = threading.Condition()": (
        "a, which has a threading._CRLock", "for ever"),
    "from threading import local": ("threading.local", "is seen by the others"),
    "import threading\ndata = threading.local()": ("data, which has a threading.local", "is seen by the others"),
    "import asyncio": ("asyncio", "makes the others fail"),
    "from asyncio import run as start": ("asyncio.run", "makes the others fail"),
    "from asyncio import get_running_loop": ("asyncio.get_running_loop", "makes the others fail"),
    "import asyncio\nclass Echo(asyncio.Protocol): pass\ndel asyncio": (
        "Echo, which is made of asyncio.Protocol", "makes the others fail"),
}  # fmt: skip

# What looks up the patched parts by itself when it is called, and what is no concern of ours.
HARMLESS = """
import logging, queue, select, socket, ssl, subprocess, threading, time
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from socket import create_connection
from subprocess import run
from threading import Event, RLock, Thread, get_ident
log = logging.getLogger("early")
numbers = {1: [2]}

class Odd:
    __slots__ = ()
    @property
    def __dict__(self):
        raise RuntimeError("outside of a request")

odd = Odd()
"""


def command(directory, *arguments, before="", first=""):
    """Run the command line with warnings as errors, after *before*; return the finished process."""
    (directory / "early.py").write_text(before)
    (directory / "app.py").write_text(APP.format(first=first))
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", BEFORE, "--http-socket", "127.0.0.1:0", "--module", "app", *arguments],
        cwd=directory, capture_output=True, text=True, timeout=30, env={"PYTHONPATH": f"{directory}:{ROOT}"},
    )  # fmt: skip


def warnings(done):
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith("warning: ")]


@pytest.mark.parametrize("before", EARLY)
def test_what_was_imported_too_early_is_named(tmp_path, before):
    what, consequence = EARLY[before]
    (warning,) = warnings(command(tmp_path, "--check", "--gevent", "5", before=before))
    assert warning.startswith(
        f"warning: early was imported before the standard library was patched, and has kept {what}: "
    )
    assert consequence in warning


def test_of_many_a_few_are_named(tmp_path):
    before = "import threading\na, b, c, d, e = (threading.Lock() for _ in range(5))\n"
    (warning,) = warnings(command(tmp_path, "--check", "--gevent", "5", before=before))
    assert (
        "a, which has a threading.Lock, b, which has a threading.Lock, c, which has a threading.Lock and 2 more: "
        in warning
    )


def test_what_does_no_harm_is_not_named(tmp_path):
    assert warnings(command(tmp_path, "--check", "--gevent", "5", before=HARMLESS)) == []


DROPPED = "import asyncio, sys\nsys.before = asyncio\ndel asyncio"


def test_an_asyncio_that_others_have_kept_stays_theirs(tmp_path):
    first = "import asyncio, early\nassert early.asyncio is asyncio"
    (warning,) = warnings(command(tmp_path, "--check", "--gevent", "5", before="import asyncio", first=first))
    assert "has kept asyncio: " in warning


def test_an_asyncio_that_nobody_has_kept_is_imported_anew(tmp_path):
    first = "import asyncio, sys\nassert sys.before is not asyncio"
    assert warnings(command(tmp_path, "--check", "--gevent", "5", before=DROPPED, first=first)) == []


@pytest.mark.parametrize("options", [["--gevent", "5", "--gevent-monkey-patch=false"], []])
def test_asyncio_is_left_as_it_is_where_nothing_is_patched(tmp_path, options):
    first = "import asyncio, sys\nassert sys.before is asyncio and asyncio.Task.__module__ == '_asyncio'"
    assert warnings(command(tmp_path, "--check", *options, before=DROPPED, first=first)) == []


@pytest.mark.parametrize("options", [["--gevent", "5", "--gevent-monkey-patch=false"], []])
def test_nothing_is_too_early_for_what_is_not_patched(tmp_path, options):
    assert warnings(command(tmp_path, "--check", *options, before="from time import sleep")) == []


PATCHES = "from gevent import monkey\nmonkey.patch_all({})"


@pytest.mark.parametrize("given", ["", "thread=False", "True, ssl=False"])
def test_an_application_that_patches_again_is_told_where(tmp_path, given):
    (warning,) = warnings(command(tmp_path, "--check", "--gevent", "5", first=PATCHES.format(given)))
    assert warning.startswith(
        f"warning: {tmp_path}/app.py:3 calls gevent.monkey.patch_all({given}), but the server has patched"
    )
    assert warning.endswith("remove it, or set gevent-monkey-patch = false")


def test_an_application_that_patches_without_gevent_is_told_what_to_set(tmp_path):
    (warning,) = warnings(command(tmp_path, "--check", first=PATCHES.format("")))
    assert warning == (
        f"warning: {tmp_path}/app.py:3 calls gevent.monkey.patch_all(), but requests run one at a time without gevent: "
        "set gevent = N"
    )


def test_an_application_may_patch_where_the_server_does_not(tmp_path):
    arguments = ["--check", "--gevent", "5", "--gevent-monkey-patch=false"]
    done = command(tmp_path, *arguments, first=PATCHES.format(""))
    assert warnings(done) == []
    assert "up to 5 requests at once in greenlets; the standard library is left unpatched" in done.stdout


def test_threads_and_an_application_that_patches_exclude_each_other(tmp_path):
    """The threads would be greenlets that wait in the real queue, and nothing would ever be served."""
    (tmp_path / "site.ini").write_text("[appserver]\n\nthreads = 3\n")
    done = command(tmp_path, "--check", "--ini", "site.ini", first=PATCHES.format(""))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"appserver: site.ini:3: threads = 3: {tmp_path}/app.py:3 calls gevent.monkey.patch_all(): "
        "threads would be greenlets of one thread; set gevent = N instead"
    )


WAYS = {"alone": [], "preloaded": ["--master"], "lazy": ["--master", "--lazy-apps"]}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("patched", [True, False])
def test_what_the_application_finds(tmp_path, way, patched):
    import http.client

    (tmp_path / "app.py").write_text(APP.format(first=PATCHES.format("") if patched else ""))
    options = ["--gevent", 5, *WAYS[way], *([] if patched else ["--gevent-monkey-patch=false"])]
    with Server("--http-socket", "127.0.0.1:0", "--module", "app", *options, cwd=tmp_path) as server:
        host, port = server.addresses["http"].split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request("GET", "/")
        body = connection.getresponse().read().decode()
        connection.close()
        assert body.count("true" if patched else "false") == 4
        if patched:
            server.wait_until(
                r"WARNING \S+/app.py:3 calls gevent.monkey.patch_all\(\), but the server has patched"
            )
