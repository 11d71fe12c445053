"""A process that is about to end, with its loop blocked, has front ends see which answers it leaves unfinished."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace

import gevent
import pytest

from appserver.errors import ClientGone
from appserver.listeners.stream import StreamListener
from tests.listeners.test_behind import PROTOCOLS, Site

REQUESTS = {
    "http": b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "uwsgi": PROTOCOLS["uwsgi"][1] + b"0\r\n\r\n",
    "scgi": PROTOCOLS["scgi"][1] + b"0\r\n\r\n",
    "fastcgi": PROTOCOLS["fastcgi"][1] + PROTOCOLS["fastcgi"][2][-8:],
}


@pytest.fixture
def site():
    with ExitStack() as stack:
        yield Site(stack)


def running(site, protocol, *, begun=True, ended=False):
    """Return a client's end and our connection, whose request runs."""
    client, connection = site.make(protocol)
    client.settimeout(30)
    site.say(client, connection, REQUESTS[protocol])
    assert connection in site.cores.tasks
    connection.x.begun, connection.x.ended = begun, ended
    return client, connection


def told(client, connection):
    """Return what a front end reads to the end of its connection."""
    connection.close()
    connection.done()
    return client.recv(100)


def sever(site):
    StreamListener.sever(SimpleNamespace(connections=site.listener.connections))


@pytest.mark.parametrize(
    "protocol, last", [("fastcgi", bytes(8)), ("uwsgi", b""), ("scgi", b""), ("http", b"")]
)
def test_over_a_unix_socket(site, protocol, last):
    client, connection = running(site, protocol)
    sever(site)
    assert told(client, connection) == last


@pytest.mark.parametrize("more", [{"begun": False}, {"ended": True}])
def test_what_has_not_begun_or_is_whole_ends_in_order(site, more):
    client, connection = running(site, "fastcgi", **more)
    sever(site)
    assert told(client, connection) == b""


def test_one_that_is_given_up_is_no_whole_answer_either(site):
    """Without a master the process goes on, and the application may come back."""
    client, connection = running(site, "fastcgi")
    connection.give_up(direct=True)
    assert client.recv(100) == bytes(8)
    gevent.sleep(0)
    assert client.recv(100) in {b"", bytes(8)}
    connection.done()
    assert connection not in site.listener.connections


@pytest.mark.parametrize("protocol", REQUESTS)
def test_nothing_follows_the_answer_of_one_that_is_given_up(site, protocol):
    client, connection = running(site, protocol, begun=False)
    connection.give_up(direct=True)
    assert b"504" in client.recv(1000)
    with pytest.raises(ClientGone):
        connection.send([b"late"], False)
    connection.done()
    assert client.recv(100) == b""
