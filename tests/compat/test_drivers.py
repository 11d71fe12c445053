"""Which driver python-engineio takes: a package stands for it that looks for them as it does."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from appserver.compat.drivers import Drivers
from appserver.plan import Plan
from tests.listeners.conftest import serving
from tests.support.websockets import CLOSE, FIN, HANDSHAKE, HttpWebSocket, Mongrel2WebSocket

NAMES = ("gevent_uwsgi", "gevent", "threading")
CHOICE = """
import importlib

def chosen(*modes):
    for mode in modes:
        try:
            importlib.import_module("engineio.async_drivers." + mode)
        except ImportError:
            continue
        return mode
    raise ValueError("Invalid async_mode specified")
"""
APP = """
from engineio import chosen
mode = chosen({modes})

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [mode.encode()]
"""
SERVES = """
from engineio.async_drivers.threading import _async

def handle(socket):
    \"\"\"Answer by a thread that is joined in the end, as the library does, which ends it there.\"\"\"
    waiting = _async["queue"]()

    def write():
        while (message := waiting.get()) is not None:
            socket.send(message)
        socket.send("bye")
        socket.close()

    writer = _async["thread"](target=write)
    writer.start()
    while (message := socket.wait()) not in {None, "end"}:
        waiting.put(message)
    if message is None:
        assert socket.wait() is None
    else:
        waiting.put(None)
        writer.join()
    return []

def application(environ, start_response):
    return _async["websocket"](handle, None)(environ, start_response)
"""
USES = "uses async_mode='threading' here"
ALONE = "requests run one at a time"


@pytest.fixture
def library(tmp_path):
    """Write the library, and return a function that writes the application."""
    drivers = tmp_path / "engineio" / "async_drivers"
    drivers.mkdir(parents=True)
    (drivers.parent / "__init__.py").write_text(CHOICE)
    (drivers / "__init__.py").write_text("")
    for name in NAMES:
        (drivers / f"{name}.py").write_text("import uwsgi\n" if name == "gevent_uwsgi" else "")

    def write(*modes):
        (tmp_path / "app.py").write_text(APP.format(modes=", ".join(map(repr, modes))))

    return write


@pytest.mark.parametrize("more", [{}, {"master": "true"}, {"master": "true", "lazy_apps": "true"}])
@pytest.mark.parametrize(
    "options, taken",
    [
        ({"gevent": 3}, ("gevent_uwsgi", None)), ({"threads": 3}, ("threading", USES)),
        ({}, ("gevent_uwsgi", ALONE)),
    ],
)  # fmt: skip
def test_the_first_that_works_is_taken(tmp_path, library, options, taken, more):
    mode, warning = taken
    library(*NAMES)
    with serving(tmp_path, "app", ["http"], pythonpath=tmp_path, **options, **more) as site:
        with site.client("http") as client:
            client.send("GET", "/")
            assert client.receive().body.decode() == mode
        told = [each for each in site.server.warnings if "engineio" in each]
    assert [warning in each for each in told] == [True] * bool(warning)


@pytest.mark.parametrize(
    "listener, more", [("http", {}), ("mongrel2", {"zeromq_dispatch": "shared", "warm_up": "none"})]
)
def test_its_threads_have_websockets(tmp_path, library, listener, more):
    """Also where the loop that has to send is that of the call, which waits for the thread that sends."""
    library()
    (tmp_path / "app.py").write_text(SERVES)
    with serving(tmp_path, "app", [listener], pythonpath=tmp_path, threads=2, **more) as site:
        for _ in range(3):  # more than there are cores
            with client_of(site, listener) as client:
                client.connect_to("/")
                for message in ("hello", b"\0\xff"):
                    client.say(message)
                    assert client.message() == message
                client.say("end")
                assert client.message() == "bye"
                assert client.closed() == (1000, "")
                client.send_frame(FIN | CLOSE)
                client.end()
        with client_of(site, listener) as client:
            client.connect_to("/")
            client.say_close()
            assert client.closed() == (1000, "")
            client.end()
        for _ in range(4):
            site.log(r"GET / HTTP/1.1\" 101")
        assert "Traceback" not in site.server.log


def client_of(site, listener):
    if listener == "mongrel2":
        return Mongrel2WebSocket(site.mongrel2)
    return HttpWebSocket(site.server.addresses["http"])


def test_who_can_have_none_is_told_so(tmp_path, library):
    library()
    (tmp_path / "app.py").write_text(SERVES)
    with serving(tmp_path, "app", ["fastcgi"], pythonpath=tmp_path, threads=2) as site:
        with site.client("fastcgi") as client:
            client.send("GET", "/", list(HANDSHAKE.items()))
            answer = client.receive()
            assert answer.status == 501
            assert answer.body.startswith(b"WebSocket comes neither over FastCGI nor")
        assert "Traceback" not in site.server.log


@pytest.mark.parametrize(
    "plan, left, warning",
    [
        (Plan(1, 4, False, ""), NAMES, None), (Plan(1, 4, True, ""), NAMES[2:], USES),
        (Plan(4, 1, False, ""), NAMES[2:], USES), (Plan(1, 1, False, ""), NAMES, ALONE),
    ],
)  # fmt: skip
def test_what_hangs_cannot_be_imported(caplog, plan, left, warning):
    drivers = Drivers(plan)
    for name in NAMES:
        with nullcontext() if name in left else pytest.raises(ImportError, match=f"{name} hangs"):
            drivers.check(f"engineio.async_drivers.{name}")
    assert [warning in each for each in caplog.messages] == [True] * bool(warning), "it is told once"


@pytest.mark.parametrize("name", ["engineio", "engineio.async_drivers.asgi", "gevent", "uwsgi"])
@pytest.mark.parametrize("plan", [None, Plan(1, 1, False, ""), Plan(1, 4, True, "")])
def test_all_else_can(caplog, name, plan):
    Drivers(plan).check(name)
    assert caplog.messages == []


def test_one_that_is_asked_for_by_name_ends_the_start(tmp_path, library):
    """The library says that there is no such mode, and the line before says why."""
    library("gevent")
    with (
        pytest.raises(AssertionError, match=r"(?s)uses async_mode='threading' here.*Invalid async_mode"),
        serving(tmp_path, "app", ["http"], pythonpath=tmp_path, threads=3),
    ):
        pass
