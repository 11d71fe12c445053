"""How Mongrel2's requests are left to others: against libzmq's own PUSH, as Mongrel2 has it."""

from __future__ import annotations

import errno
import select
import socket
from contextlib import suppress
from types import SimpleNamespace

import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from appserver.listeners.pull import Pull
from appserver.listeners.receiver import Receiver
from tests.support.fronts import poll
from tests.support.ports import free_port


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


def test_it_stays_away_once_it_has_left(monkeypatch):
    """A stop may take long; what Mongrel2 then dealt would be lost with the socket."""
    monkeypatch.setattr("appserver.listeners.pull._RECONNECT", 300)
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.linger = 0
        pull = Pull(context, f"tcp://127.0.0.1:{push.bind_to_random_port('tcp://127.0.0.1')}", "here")
        push.send(b"first")
        assert poll(pull.take, "nothing comes") == b"first"
        monitor = push.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        try:
            pull.drain()
            poll(lambda: (pull.quiet(), pull.ended())[1], "it does not leave")
            assert not pull.ended()  # once is enough, however much there still is to take
            assert pull.take() is None
            poll(lambda: says(monitor, zmq.EVENT_DISCONNECTED), "Mongrel2 has not noticed")
            for _ in range(10):  # looks of its owner
                assert not pull.broken()
                assert not monitor.poll(70), "it has come again"
        finally:
            push.disable_monitor()
            monitor.close()
            pull.close()


def test_who_sends_too_much_is_connected_again():
    """What comes before it is taken, what comes right behind it is lost; libzmq would not connect again."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.linger = 0
        pull = Pull(context, f"tcp://127.0.0.1:{push.bind_to_random_port('tcp://127.0.0.1')}", "here", 100)
        try:
            for _ in range(2):
                push.send(b"small")
                push.send(b"x" * 101)
                assert poll(pull.take, "nothing comes") == b"small"
                poll(pull.broken, "the connection does not end")
                push.send(b"again")
                assert poll(pull.take, "nothing comes") == b"again"
                assert not pull.broken()
        finally:
            pull.close()


@pytest.mark.parametrize("large", [True, False])
def test_a_message_that_is_too_large_is_blamed_for_no_other_end(large, caplog):
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.linger = 0
        pull = Pull(context, f"tcp://127.0.0.1:{push.bind_to_random_port('tcp://127.0.0.1')}", "here", 100)
        try:
            push.send(b"small")
            assert poll(pull.take, "nothing comes") == b"small"
            if large:
                push.send(b"x" * 101)
            else:
                push.close(0)
            poll(lambda: (pull.look("mongrel2", "us"), "has ended" in caplog.text)[1], "nothing is said")
            assert ("zeromq-max-message" in caplog.text) is large
        finally:
            pull.close()


def test_a_connection_that_libzmq_makes_again_is_made_once(monkeypatch):
    monkeypatch.setattr("appserver.listeners.pull._RECONNECT", 20)
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        endpoint = f"tcp://127.0.0.1:{push.bind_to_random_port('tcp://127.0.0.1')}"
        pull = Pull(context, endpoint, "here")
        try:
            push.send(b"first")
            assert poll(pull.take, "nothing comes") == b"first"
            push.close(0)
            poll(pull.broken, "the connection does not end")
            with context.socket(zmq.PUSH) as other:
                other.linger = 0
                monitor = other.get_monitor_socket(zmq.EVENT_ACCEPTED)
                poll(lambda: bound(other, endpoint), "the address is not free")
                for _ in range(20):  # each connection has its share
                    other.send(b"second")
                    assert poll(pull.take, "nothing comes") == b"second"
                assert monitor.recv_multipart(zmq.DONTWAIT)
                with pytest.raises(zmq.Again):
                    monitor.recv_multipart(zmq.DONTWAIT)
                other.disable_monitor()
                monitor.close()
        finally:
            pull.close()


def test_the_first_connection_is_tried_again():
    """Once it was made, libzmq leaves it alone for long; before that there is nothing to be lost."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with zmq.Context() as context:
        pull = Pull(context, endpoint, "here")
        try:
            poll(lambda: (pull._note_events(), pull._retries)[1], "it has not failed")
            with context.socket(zmq.PUSH) as push:
                push.linger = 0
                push.bind(endpoint)
                poll(lambda: (pull.broken(), pull.ready)[1], "it does not connect")
                push.send(b"first")
                assert poll(pull.take, "nothing comes") == b"first"
        finally:
            pull.close()


def test_who_is_no_mongrel2_is_not_subscribed_to(caplog):
    """It may accept connections; each ends at once."""
    caplog.set_level("INFO")
    with zmq.Context() as context, socket.create_server(("127.0.0.1", 0)) as other:
        pull = Pull(context, f"tcp://127.0.0.1:{other.getsockname()[1]}", "here")
        try:
            for _ in range(3):
                other.accept()[0].close()
                poll(lambda: (pull.look("m", "here"), select.select([other], [], [], 0)[0])[1], "it gives up")
            assert "subscribed" not in caplog.text
            assert "has ended" not in caplog.text
        finally:
            pull.close()


@pytest.mark.parametrize("fails", ["setsockopt", "get_monitor_socket", "connect"])
def test_one_that_fails_half_way_leaves_nothing_open(fails):
    """Its context would wait for it for ever, and with it the end of the process."""
    made = []

    class Failing(zmq.Socket):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            made.append(self)

    def fail(*_):
        raise zmq.ZMQError(errno.EMFILE)

    if fails != "connect":  # which the monitor does as well
        setattr(Failing, fails, fail)
    with zmq.Context() as context:
        context._socket_class = Failing
        try:
            with pytest.raises(zmq.ZMQError):
                Pull(context, "nowhere", "here")
            assert made
            assert all(each.closed for each in made)
        finally:
            context.destroy(linger=0)


def says(monitor, event):
    return monitor.poll(0) and parse_monitor_message(monitor.recv_multipart())["event"] == event


def bound(sock, endpoint):
    with suppress(zmq.ZMQError):
        sock.bind(endpoint)
        return True
    return False


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
