"""A loop that was held up, by a call that blocks or a stopped process, reads what has come before it says 408."""

from __future__ import annotations

from contextlib import ExitStack
from math import inf

import gevent
import pytest

from appserver.listeners import connection as module
from appserver.listeners import patience
from appserver.listeners.connection import DRAIN, RUN
from tests.listeners.test_behind import PROTOCOLS, Site, until

LONG = 1000.0  # seconds, more than any limit
HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n"
PARTS = {name: (parts[1], parts[2][:700], parts[2][700:]) for name, parts in PROTOCOLS.items()}
PARTS["length"] = (HEAD, b"ab", b"cd")


@pytest.fixture(params=[1 << 20, 0])
def site(request):
    """Return one that reads bodies ahead, and one that streams them."""
    with ExitStack() as stack:
        found = Site(stack, buffering=request.param)
        found.streams = not request.param
        yield found


@pytest.fixture
def clock(monkeypatch):
    """Return what adds to the time that has passed."""
    added, real = [], module.monotonic
    for each in (module, patience):
        monkeypatch.setattr(each, "monotonic", lambda: real() + sum(added))
    return added


def begun(site, protocol, data):
    """Return a client's end and our connection, to which *data* has come, and what reads a streamed body."""
    client, connection = site.make(protocol.replace("length", "http"))
    client.settimeout(30)
    site.say(client, connection, data)
    reading = None
    if connection.state == RUN:
        reading = gevent.spawn(connection.x.environ["wsgi.input"].read)
        inlet = connection.inlet
        until(lambda: inlet.waits)
    return client, connection, reading


@pytest.mark.parametrize("protocol", PARTS)
def test_a_request_that_has_come_is_answered(site, clock, protocol):
    head, first, rest = PARTS[protocol]
    client, connection, reading = begun(site, protocol, head + first)
    client.sendall(rest)
    clock.append(LONG)
    connection.expire()
    until(lambda: site.cores.tasks == [connection])
    if site.streams:
        until(reading.ready)
        assert reading.get()
    assert connection.x.body_left == 0


def test_a_head_that_has_come_is_answered(site, clock):
    client, connection, _ = begun(site, "http", b"GET / HTTP/1.1\r\nHo")
    client.sendall(b"st: h\r\n\r\n")
    clock.append(LONG)
    connection.expire()
    assert site.cores.tasks == [connection]


@pytest.mark.parametrize("more", [b"", b"b"])
@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: a", HEAD + b"a"])
def test_who_has_not_sent_all_is_late(site, clock, data, more):
    client, connection, reading = begun(site, "http", data)
    client.sendall(more)
    clock.append(LONG)
    connection.expire()
    if reading is None:
        assert connection.state == DRAIN
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
        return
    if more:  # which the application takes, and waits for the next
        until(lambda: connection.inlet.limit < inf)
        connection.expire()
    until(reading.ready)
    assert reading.exception.status == "408 Request Timeout"
