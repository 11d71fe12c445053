"""One call at a time, many in greenlets, and the end: what is in hand is finished."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import ExitStack, contextmanager

import pytest

from tests.listeners.conftest import (
    FRONTS,
    LISTENERS,
    MOUNTS,
    STREAM_FRONTS,
    Site,
    at_once,
    check,
    clients_of,
)
from tests.support.server import Server

# Default: one call at a time


def test_one_call_at_a_time(serve):
    site = serve("blocking:app")
    with ExitStack() as stack:
        told = at_once(clients_of(site, stack, FRONTS * 5), "/overlap")
    assert {each["peak"] for each in told} == {1}
    assert not any(each["multithread"] or each["multiprocess"] for each in told)


@pytest.mark.parametrize("part", [1, 30, -3], ids=["first byte", "head", "body"])
def test_slow_clients_disturb_nobody(serve, part):
    """A request that comes slowly holds no core, whatever of it is there."""
    site = serve("semantics:app")
    with ExitStack() as stack:
        slow = clients_of(site, stack, STREAM_FRONTS)
        parts = [client.encode("POST", "/echo", body=b"slow body") for client in slow]
        for client, data in zip(slow, parts, strict=True):
            client.start(data[:part])
        for client in clients_of(site, stack, FRONTS):
            assert client.request("POST", "/echo", body=b"quick").body == b"quick"
        for client, data in zip(slow, parts, strict=True):
            client.resume("POST", data[part:])
            assert client.receive().body == b"slow body"


def test_slow_reader_disturbs_nobody(serve):
    """An answer that nobody reads waits in the kernel and in its connection."""
    site = serve("semantics:app", gevent=10)
    with ExitStack() as stack:
        slow = clients_of(site, stack, STREAM_FRONTS)
        for client in slow:
            client.send("GET", "/big/200")
        for client in clients_of(site, stack, FRONTS):
            assert client.request("POST", "/echo", body=b"quick").body == b"quick"
        for client in slow:
            assert len(client.receive().body) == 200 * 65536


# Greenlets


@pytest.fixture(scope="module")
def green(tmp_path_factory):
    found = Site(tmp_path_factory.mktemp("green"), "blocking:app", gevent=50)
    yield found
    found.close()


@pytest.mark.parametrize("front", FRONTS)
def test_greenlets_wait_at_once(green, front):
    """Each waits in the patched threading.Barrier, until all are there."""
    with ExitStack() as stack:
        told = at_once(clients_of(green, stack, [front] * 50), "/meet?50")
        assert len({each["native"] for each in told}) == 1
        assert max(each["peak"] for each in told) == 50


def test_greenlets_of_all_listeners_sleep_at_once(serve):
    site = serve("blocking:app", gevent=50)
    with ExitStack() as stack:
        fronts = ["http", "uwsgi", "fastcgi-kept", "scgi", "mongrel2"] * 10
        told = at_once(clients_of(site, stack, fronts), "/sleep?50")
    assert max(each["peak"] for each in told) == 50


def test_no_more_calls_than_greenlets(green):
    with ExitStack() as stack:
        told = at_once(clients_of(green, stack, FRONTS * 20), "/overlap")
    assert len(told) == 140
    assert max(each["peak"] for each in told) <= 50


def test_greenlets_count_as_threads(green):
    """Calls interleave, and the patched threading shows each greenlet as a thread."""
    with green.client("http") as client:
        assert json.loads(client.request("GET", "/peak").body)["multithread"] is True


def test_gevent_and_threads_exclude_each_other():
    options = ["--gevent", "50", "--threads", "8", "--http-socket", "127.0.0.1:0"]
    server = Server(*options, "--module", "wsgiref.simple_server:demo_app")
    with ExitStack() as stack:
        stack.push(server)
        server.wait_until(r"gevent = 50 and threads = 8: .*greenlets run in one thread")
        assert server.process.wait(20) == 1
        assert "listening" not in server.log


def test_gevent_checked(green):
    done = check(green)
    assert done.returncode == 0
    assert "up to 50 requests at once in greenlets" in done.stdout


# SIGTERM


class Gate:
    """Where calls of the application wait until they are let go."""

    def __init__(self, path):
        self.path = str(path)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.path)
        self.listening.listen(64)
        self.listening.settimeout(10)
        self.held = []

    def wait_for(self, count):
        """Wait until *count* calls are in the application."""
        for _ in range(count):
            sock, _ = self.listening.accept()
            self.held.append(sock)
            sock.settimeout(10)
            assert sock.recv(20) == b"in hand"

    def open(self):
        while self.held:
            with self.held.pop() as sock:
                sock.sendall(b"!")


@contextmanager
def gate_in(directory):
    gate = Gate(directory / "gate")
    try:
        yield gate
    finally:
        gate.open()
        gate.listening.close()


MODES = {
    "one": (LISTENERS, {}, FRONTS), "gevent": (LISTENERS, {"gevent": 50}, FRONTS),
    "threads": (tuple(MOUNTS), {"threads": 8}, STREAM_FRONTS),
    "subscribed": (("mongrel2",), {"threads": 8}, FRONTS[5:]),
}  # fmt: skip
# All fronts of a server at once, where it can have all their calls at once.
CASES = [(mode, MODES[mode][2]) for mode in ("gevent", "threads")]
CASES += [(mode, [front]) for mode in ("one", "subscribed") for front in MODES[mode][2]]


@pytest.mark.parametrize("mode, fronts", CASES)
def test_what_is_in_hand_is_finished(serve, tmp_path, mode, fronts):
    listeners, options, _ = MODES[mode]
    site = serve("blocking:app", listeners, **options)
    with ExitStack() as stack:
        gate = stack.enter_context(gate_in(tmp_path))
        for idle in clients_of(site, stack, fronts):
            assert idle.request("GET", "/peak").status == 200
        clients = clients_of(site, stack, fronts)
        for client in clients:
            client.send("GET", f"/hold?{gate.path}")
        gate.wait_for(len(clients))
        site.server.process.send_signal(signal.SIGTERM)
        if mode in {"gevent", "threads"}:  # in the others the call blocks what would say so
            site.log("INFO stopping")
        gate.open()
        for client in clients:
            answer = client.receive()
            assert (answer.status, answer.complete) == (200, True)
        assert site.server.process.wait(20) == 0
        assert site.server.stop() == 0
    assert "INFO stopped" in site.server.log
    assert "requests in hand" not in site.server.log


@pytest.mark.parametrize("threads, options", [(1, {}), (8, {"threads": 8}), (1, {"gevent": 1})])
def test_what_mongrel2_has_queued_is_answered_first(serve, tmp_path, threads, options):
    site = serve("blocking:app", ["mongrel2"], **options)
    site.mongrel2.wait_for_peers(threads, 1)
    with ExitStack() as stack:
        gate = stack.enter_context(gate_in(tmp_path))
        clients = clients_of(site, stack, ["mongrel2", "mongrel2-tnetstring"] * 20)
        for client in clients[:threads]:
            client.send("GET", f"/hold?{gate.path}")
        gate.wait_for(threads)
        for client in clients[threads:]:
            client.send("GET", "/overlap")
        site.server.process.send_signal(signal.SIGTERM)
        gate.open()
        for client in clients:
            answer = client.receive()
            assert (answer.status, answer.complete) == (200, True)
        assert site.server.process.wait(20) == 0


@pytest.mark.parametrize("mode", MODES)
def test_stop_at_once(serve, mode):
    """A signal that comes with the last line of the start is not lost."""
    listeners, options, _ = MODES[mode]
    site = serve("blocking:app", listeners, **options)
    assert site.server.stop() == 0


@pytest.mark.parametrize("front", STREAM_FRONTS)
def test_requests_after_the_signal_are_refused(serve, tmp_path, front):
    """The listening socket closes while a call is still in hand."""
    site = serve("blocking:app", list(MOUNTS), threads=8)
    with ExitStack() as stack:
        gate = stack.enter_context(gate_in(tmp_path))
        client = stack.enter_context(site.client(front))
        client.send("GET", f"/hold?{gate.path}")
        gate.wait_for(1)
        other = stack.enter_context(site.client(front))
        other.connect()  # accepted or waiting: it is served or closed, not left alone
        site.server.process.send_signal(signal.SIGTERM)
        site.log("INFO stopping")
        assert other.sock.recv(1) == b""
        with pytest.raises(ConnectionError):
            site.client(front).connect()
        gate.open()
        assert client.receive().complete
        assert site.server.process.wait(20) == 0
