"""Endpoints of ZeroMQ over IPv6: whatever of ours connects there."""

from __future__ import annotations

from contextlib import closing

import pytest
import zmq

from appserver.configuration import Configuration
from appserver.endpoint import over_ipv6
from appserver.listeners.absence import Absence
from appserver.listeners.mongrel2 import Mongrel2Listener
from appserver.listeners.pull import Pull
from appserver.listeners.responder import Responder
from appserver.log.collector import ZeromqSink
from tests.support.fronts import poll
from tests.test_sockets import needs_ipv6


@pytest.mark.parametrize(
    "text, does",
    [
        ("tcp://[::1]:1", True), ("tcp://lo;[fe80::1]:9", True), ("tcp://127.0.0.1:1", False),
        ("tcp://localhost:1", False), ("ipc://[::1]:1", False),
    ],
)  # fmt: skip
def test_what_is_an_address_of_ipv6(text, does):
    assert over_ipv6(text) is does


@pytest.fixture
def bound():
    """Return a function that binds a socket to the address, and its context."""
    with zmq.Context() as context:
        made = []

        def bind(kind):
            socket = context.socket(kind)
            made.append(socket)
            socket.ipv6 = True
            socket.linger = 0
            port = socket.bind_to_random_port("tcp://[::1]")
            return context, socket, f"tcp://[::1]:{port}"

        yield bind
        for each in made:
            each.close()


@needs_ipv6
def test_requests_are_pulled(bound):
    context, push, endpoint = bound(zmq.PUSH)
    with closing(Pull(context, endpoint, "us")) as pull:
        poll(lambda: push.poll(0, zmq.POLLOUT), "nobody connects")
        push.send(b"request")
        assert poll(pull.take, "nothing comes") == b"request"


@needs_ipv6
def test_answers_are_published(bound):
    context, sub, endpoint = bound(zmq.SUB)
    sub.subscribe(b"")
    with closing(Responder(context, endpoint, 1.0)) as responder:
        attachment = poll(lambda: (sub.poll(0), responder.attachment())[1], "nobody subscribes")
        responder.send(b"answer", attachment)
        assert sub.recv() == b"answer"


@needs_ipv6
def test_who_is_looked_for_is_found(bound):
    context, _, endpoint = bound(zmq.PUSH)
    absence = Absence(context, "mongrel2", endpoint)
    absence._begin()
    try:
        poll(absence._connects, "nobody is found")
    finally:
        absence.close()


@needs_ipv6
def test_lines_are_collected(bound):
    _, collector, endpoint = bound(zmq.PULL)
    with closing(ZeromqSink(endpoint)) as sink:
        sink.write("a line")
        assert collector.recv() == b"a line"


@needs_ipv6
def test_it_is_good_at_the_start():
    spec = "tcp://[::1]:1,tcp://[::1]:2"
    Mongrel2Listener(spec, Configuration(["--zeromq-dispatch", "worker"]).settings).bind({})
