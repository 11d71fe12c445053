"""A worker that is killed in the middle of answers: the kernel resets those that would pass for whole ones."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack

import pytest

from tests.lifecycle.conftest import alive
from tests.support.clients import FastcgiClient, HttpClient, ScgiClient, UwsgiClient
from tests.support.fronts import poll

# A name: who asks, the listener, the version of HTTP.
FRONTS = {
    "http10": (HttpClient, "http", "HTTP/1.0"),
    "http11": (HttpClient, "http", "HTTP/1.1"),
    "uwsgi": (UwsgiClient, "uwsgi", "HTTP/1.1"),
    "scgi": (ScgiClient, "scgi", "HTTP/1.1"),
    "fastcgi": (FastcgiClient, "fastcgi", "HTTP/1.1"),
    "fastcgi-kept": (lambda address: FastcgiClient(address, kept=True), "fastcgi", "HTTP/1.1"),
}
LISTENERS = [f"{each}-socket = 127.0.0.1:0" for each in ("uwsgi", "scgi", "fastcgi")]
SIZE = 8_000_000  # bytes, more than kernels keep for a client that does not read


@pytest.fixture(params=["gevent", "threads"])
def clients(request, site):
    """Return a client of each front, of one worker that can serve them all."""
    site.configure(*LISTENERS, f"{request.param} = 20").start()
    with ExitStack() as stack:
        found = {}
        for name, (kind, listener, _) in FRONTS.items():
            found[name] = stack.enter_context(kind(site.server.addresses[listener]))
        yield found


def ask(site, clients, path):
    """Have all answers begin."""
    for name, client in clients.items():
        client.send("GET", f"{path}?{name}", version=FRONTS[name][2])
    for name in clients:
        poll((site.directory / f"{name}.held").exists, f"{name}: the answer does not begin")


def kill(site):
    [pid] = site.pids(1)
    os.kill(pid, signal.SIGKILL)
    poll(lambda: not alive(pid), "it does not die")


def test_an_answer_without_a_length_does_not_pass_for_a_whole_one(site, clients):
    ask(site, clients, "/events")
    kill(site)
    clients.pop("http11").close()  # whose last chunk is missing
    for name, client in clients.items():
        answer = client.receive()
        assert (answer.body, answer.complete, client.wire.broken) == (b"event,", False, True), name


@pytest.mark.parametrize("path, names", [
    ("/streamed", ["http10", "uwsgi", "scgi", "fastcgi", "fastcgi-kept"]),
    ("/large", ["fastcgi", "fastcgi-kept"]),  # nginx takes its end for that of the answer, also in a record
])  # fmt: skip
def test_nor_does_one_that_is_made_and_not_sent(site, clients, path, names):
    asked = {name: clients[name] for name in names}
    ask(site, asked, path)
    for client in asked.values():
        assert client.sock.recv(1, socket.MSG_PEEK)
    kill(site)
    for client in asked.values():
        with pytest.raises(ConnectionResetError):
            list(iter(client.more, b""))


def test_what_is_whole_is_not_reset(site, clients):
    ask(site, clients, "/events")
    for name in clients:
        site.release(name)
    for name, client in clients.items():
        answer = client.receive()
        assert (answer.body, answer.complete, client.wire.broken) == (b"event,end", True, False), name


@pytest.mark.parametrize("path", ["/large", "/streamed"])
def test_what_a_slow_client_takes_is_not_reset_either(site, clients, path):
    ask(site, clients, path)
    for name, client in clients.items():
        answer = client.receive()
        assert (len(answer.body), answer.complete, client.wire.broken) == (SIZE, True, False), name


def test_nor_is_one_behind_which_the_application_goes_on(site, clients):
    """It is late, as the client reads slowly; the kernel has all of it then."""
    client = clients["fastcgi-kept"]
    ask(site, {"fastcgi-kept": client}, "/behind")
    poll((site.directory / "fastcgi-kept.close.held").exists, "it is not closed")
    answer = client.receive()
    assert (len(answer.body), answer.complete) == (SIZE, True)
    kill(site)
    assert client.sock.recv(1) == b""


def test_a_kept_connection_on_which_a_whole_answer_was_streamed_ends_in_order(site, clients):
    """Its next answers do not need a reset, and nothing is under way when the worker dies."""
    client = clients["fastcgi-kept"]
    ask(site, {"fastcgi-kept": client}, "/events")
    site.release("fastcgi-kept")
    assert client.receive().body == b"event,end"
    site.wait_until(r"GET /events\?fastcgi-kept ")  # the client may have its end before the worker goes on
    kill(site)
    assert client.sock.recv(1) == b""
