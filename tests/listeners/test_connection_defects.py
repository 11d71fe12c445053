"""Connections that raise what they may not: they end, and the others are accepted, heard and ended as ever."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.support.answers import NoAnswer

MODES = {"one": {}, "gevent": {"gevent": 4}, "threads": {"threads": 4}}


@pytest.fixture(params=MODES)
def site(serve, request):
    """Return a server of each kind of core that soon tires of heads; every third connection is none."""
    options = {"import": "failing_connections", "header_timeout": "0.3"}
    return serve("waiting:app", ["http"], **options, **MODES[request.param])


def served(site):
    """Make a connection; tell whether it is served."""
    with site.client("http") as client:
        try:
            return client.request("GET", "/ok").body == b"ok"
        except (NoAnswer, ConnectionError):
            return False


def ends(client):
    """Wait for the end of a connection to which nothing is said."""
    try:
        return client.sock.recv(1) == b""
    except ConnectionError:
        return True


def test_those_that_are_not_made(site):
    assert [served(site) for _ in range(9)] == [True, False, True] * 3
    assert site.server.stop() == 0
    assert site.server.log.count("ValueError: a defect") == 3
    assert site.count("cannot accept for now: Protocol error") == 1, "it is told now and then"


def test_those_that_cannot_be_read(site):
    for _ in range(3):
        with site.client("http") as client:
            client.start(b"GET /unread HT")
            assert ends(client)
        assert served(site) or served(site)
    assert site.server.stop() == 0


def test_those_that_cannot_be_ended_in_order(site):
    with ExitStack() as stack:
        clients = [stack.enter_context(site.client("http")) for _ in range(12)]
        for number, client in enumerate(clients):
            client.start((b"GET /late HT", b"GET /ok HT")[number % 2])
        for number, client in enumerate(clients):
            if number % 3 != 1:
                assert b" 408 " in client.sock.recv(1000) if number % 2 else ends(client)
    assert served(site) or served(site)
    assert site.server.stop() == 0


def test_those_that_cannot_be_told_of_a_stop(site):
    with ExitStack() as stack:
        clients = [stack.enter_context(site.client("http")) for _ in range(12)]
        for number, client in enumerate(clients):
            client.start((b"GET /stop HT", b"GET /ok HT")[number % 2])
        assert served(site) or served(site)
        assert site.server.stop() == 0
        assert site.server.log.count("ValueError: a defect") >= 4
        assert "stopped with requests in hand" not in site.server.log
