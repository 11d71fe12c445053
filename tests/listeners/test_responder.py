"""Answers and the Mongrel2 that they are for: against libzmq's own SUB, as Mongrel2 has it."""

from __future__ import annotations

from contextlib import contextmanager
from math import inf

import pytest
import zmq

from appserver.errors import ClientGone
from appserver.listeners.responder import Responder
from tests.support.fronts import poll
from tests.support.ports import free_port


@contextmanager
def mongrel2(context, endpoint):
    """Listen as one does, to all; its end takes what it has not read with it."""
    with context.socket(zmq.SUB) as sub:
        sub.linger = 0
        poll(lambda: bound(sub, endpoint), "the port stays taken")
        sub.subscribe(b"")
        yield sub


def bound(sub, endpoint):
    try:
        sub.bind(endpoint)
    except zmq.ZMQError:  # the one before is being closed
        return False
    return True


@pytest.fixture
def sides():
    """Return a context for each side, an endpoint and a responder that connects to it."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with zmq.Context() as ours, zmq.Context() as theirs:
        responder = Responder(ours, endpoint, 5.0)
        try:
            yield theirs, endpoint, responder
        finally:
            responder.close()


def attached(responder, sub, before=0):
    """Wait until *sub* is attached, by a number that follows *before*; a SUB subscribes when it is looked at."""
    number = poll(lambda: (sub.poll(10), responder.attachment())[1], "nobody subscribes")
    assert number > before
    return number


def test_what_is_for_the_mongrel2_before_does_not_reach_one_that_we_do_not_know_of(sides):
    """It may subscribe while we are about to send: right behind our look at who is there."""
    theirs, endpoint, responder = sides
    with mongrel2(theirs, endpoint) as sub:
        old = attached(responder, sub)
        assert responder.try_send(b"uuid 1:0, first", old)
        assert sub.recv() == b"uuid 1:0, first"
        responder._looked = inf  # no look before what is sent
    with mongrel2(theirs, endpoint) as sub:
        monitor = sub.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        assert monitor.poll(10_000), "it does not come again"
        for _ in range(20):
            assert not sub.poll(10)
            assert responder.try_send(b"uuid 1:0, stale", old)  # as if it had been sent: it cannot know
        new = attached(responder, sub, old)
        with pytest.raises(ClientGone):
            responder.try_send(b"uuid 1:0, stale", old)
        assert responder.try_send(b"uuid 1:0, new", new)
        assert sub.recv() == b"uuid 1:0, new"
        sub.disable_monitor()
        monitor.close()


def test_who_listens_no_more_gets_nothing(sides):
    theirs, endpoint, responder = sides
    with mongrel2(theirs, endpoint) as sub:
        number = attached(responder, sub)
        sub.unsubscribe(b"")
        poll(lambda: (sub.poll(10), not responder.attachment())[1], "it goes on listening")
        with pytest.raises(ClientGone):
            responder.try_send(b"uuid 1:0, late", number)
        sub.subscribe(b"")
        assert responder.try_send(b"uuid 1:0, again", attached(responder, sub, number))
        assert sub.recv() == b"uuid 1:0, again"


def test_the_end_of_a_mongrel2_is_told_once(sides, caplog):
    """What it had not taken is lost, and its clients see nothing of what the access log has."""
    theirs, endpoint, responder = sides
    with mongrel2(theirs, endpoint) as sub:
        attached(responder, sub)
        assert not caplog.records
    poll(lambda: not responder.attachment(), "its end is not noticed")
    responder.attachment()
    assert [(each.levelname, "answers that it has not taken" in each.message) for each in caplog.records] == [
        ("WARNING", True)
    ]
