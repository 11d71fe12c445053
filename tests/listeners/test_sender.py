"""Greenlets wait for a slow client, and its time counts while one does or the rest of the answer leaves."""

from __future__ import annotations

import socket
from math import inf
from types import SimpleNamespace

import gevent
import pytest
from gevent.socket import wait_read

from appserver.listeners.patience import Limits
from appserver.listeners.sender import Sender
from tests.support.fronts import GUARD

LIMITS = Limits(pause=60, head=60, body=60, send=60, rate=500, idle=60)
MUCH = bytes(1 << 20)  # more than may wait


@pytest.fixture
def connection():
    """What a `Sender` needs of a connection whose client, *theirs*, has read nothing yet."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    hub = gevent.get_hub()
    with ours, theirs:
        found = SimpleNamespace(
            fd=ours.fileno(),
            theirs=theirs,
            listener=SimpleNamespace(limits=LIMITS, hub=hub, loop=hub.loop),
            service=SimpleNamespace(cores=SimpleNamespace(native=False)),
            gone=False,
            running=True,
            limited=lambda: None,
            flushed=lambda: None,
        )
        found.sender = Sender(found)
        found.sender.put([MUCH], 0)
        yield found
        found.sender.close()


def waiting(connection, count):
    """Return greenlets that wait for the client."""
    found = [gevent.spawn(connection.sender.pace) for _ in range(count)]
    gevent.sleep()
    assert connection.sender.paces
    return found


def take(connection, count):
    """Read as the client."""
    with gevent.Timeout(GUARD):
        while count > 0:
            wait_read(connection.theirs.fileno())
            count -= len(connection.theirs.recv(min(count, 65536)))


def test_all_who_wait_go_on(connection):
    greenlets = waiting(connection, 2)
    take(connection, len(MUCH))
    assert len(gevent.joinall(greenlets, GUARD, raise_error=True)) == 2
    assert connection.sender.limit == inf


def test_the_time_counts_while_another_waits(connection):
    first, second = waiting(connection, 2)
    first.kill()
    assert connection.sender.paces
    assert connection.sender.limit < inf
    second.kill()
    assert connection.sender.limit == inf


def test_the_time_of_an_answer_that_is_made_goes_on(connection):
    """A greenlet that the call has left behind waits until little is left of it."""
    (greenlet,) = waiting(connection, 1)
    connection.running = False
    connection.sender.drain()
    greenlet.kill()
    assert not connection.sender.paces
    assert connection.sender.limit < inf
