"""A client has its time for a body and for an answer by themselves, where the application waits for both."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from types import SimpleNamespace

import gevent
import pytest

from appserver.errors import BodyError, ClientGone
from appserver.listeners import connection as connections
from appserver.listeners import patience
from tests.listeners.test_behind import Site, until
from tests.support.fronts import GUARD

HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
MUCH = bytes(1 << 20)  # more than may wait
BODY, ANSWER = 60.0, 61.0  # when the client's time is up


@pytest.fixture
def clock(monkeypatch):
    """The time as connections see it."""
    found = SimpleNamespace(now=0.0)
    for module in (patience, connections):
        monkeypatch.setattr(module, "monotonic", lambda: found.now)
    return found


@pytest.fixture
def both(clock):
    """A client's end and our connection; one greenlet waits for its body, and a second later another one."""
    with ExitStack() as stack:
        site = Site(stack, buffering=0)
        client, connection = site.make("http")
        client.setblocking(False)
        site.say(client, connection, HEAD)
        x = connection.x
        x.begun = True
        reads = gevent.spawn(x.environ["wsgi.input"].read)
        gevent.sleep()
        clock.now = 1.0
        sends = gevent.spawn(connection.send, [MUCH], True)
        gevent.sleep()
        assert connection.sender.paces
        yield SimpleNamespace(client=client, connection=connection, reads=reads, sends=sends)
        gevent.killall([reads, sends])


def take(both):
    """Read the answer as the client, until nobody waits for that."""

    def taken():
        with suppress(BlockingIOError):
            both.client.recv(65536)
        return both.sends.ready()

    until(taken)
    both.sends.get()


def test_the_earlier_limit_counts(both):
    assert both.connection.deadline == BODY


def test_the_end_of_the_answer_leaves_that_of_the_body(both, clock):
    take(both)
    assert both.connection.deadline == BODY
    clock.now = BODY + 0.5
    both.connection.expire()
    with pytest.raises(BodyError, match="did not come in time"):
        both.reads.get(timeout=GUARD)


def test_the_end_of_the_body_leaves_that_of_the_answer(both, clock):
    both.client.sendall(b"0123456789")
    assert both.reads.get(timeout=GUARD) == b"0123456789"
    assert both.connection.deadline == ANSWER
    clock.now = ANSWER + 1
    both.connection.expire()
    with pytest.raises(ClientGone):
        both.sends.get(timeout=GUARD)


def test_a_body_that_is_late_leaves_the_answer_its_time(both, clock):
    clock.now = BODY + 0.5
    both.connection.expire()
    with pytest.raises(BodyError):
        both.reads.get(timeout=GUARD)
    assert both.connection.deadline == ANSWER
    take(both)


def test_an_end_of_the_call_leaves_a_connection_that_lingers_its_time(both):
    """It is given up first, and the greenlets that wait end after that."""
    both.connection.x.begun = False
    both.connection.give_up()
    limit = both.connection.deadline
    gevent.killall([both.reads, both.sends])
    assert both.connection.deadline == limit
