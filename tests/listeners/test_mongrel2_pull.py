"""How Mongrel2's requests are left to others: against libzmq's own PUSH, as Mongrel2 has it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import zmq

from appserver.listeners.pull import Pull
from appserver.listeners.receiver import Receiver
from tests.support.fronts import poll


def test_mongrel2_deals_to_others_before_the_end():
    """What it deals to a connection that is only closed is lost; once it has seen the end, it waits."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.linger = 0
        pull = Pull(context, f"tcp://127.0.0.1:{push.bind_to_random_port('tcp://127.0.0.1')}", "here")
        try:
            push.send(b"first")
            assert poll(pull.take, "nothing comes") == b"first"
            pull.drain()
            poll(lambda: (pull.quiet(), pull.ended())[1], "it does not leave")
            poll(lambda: not push.poll(0, zmq.POLLOUT), "Mongrel2 has not noticed")
            with pytest.raises(zmq.Again):
                push.send(b"second", zmq.DONTWAIT)
        finally:
            pull.close()


def test_a_receiver_answers_what_came_with_the_end():
    """Its last look at what Mongrel2 has sent may give a worker another request."""
    jobs = {}
    receiver = object.__new__(Receiver)
    receiver._more = False
    receiver._outlet = ()
    receiver._dispatch = SimpleNamespace(draining=True, jobs=jobs, size=0, consumers=[])
    receiver._dry = lambda: not jobs.update({1: "in hand"})
    assert not receiver._over()
    jobs.clear()
    receiver._dry = lambda: True
    assert receiver._over()
