"""Connections that carry frames are read in small pieces, and a turn of the loop takes few: all others wait for them."""

from __future__ import annotations

import itertools
import os
import socket
from collections import Counter
from contextlib import ExitStack
from math import inf
from types import SimpleNamespace

import gevent
import pytest
from gevent import get_hub

from appserver.listeners import quantum
from appserver.listeners.connection import CLOSED, DRAIN, SWITCHED, Connection
from appserver.listeners.patience import Limits
from appserver.listeners.quantum import Quantum
from appserver.listeners.sender import queued
from appserver.listeners.stream_wire import StreamWire
from appserver.protocols.uwsgi import UwsgiCodec

FRAMES = b"\x82\x7e\xff\xff" + bytes(65535)
PINGS = b"\x89\x80\0\0\0\0" * 20_000
PIECE = 16_384
READ = 1


class Peer:
    """Keep what comes over a connection, and in which turn of the loop."""

    ended = False

    def __init__(self, connection, order):
        self.connection = connection
        self.order = order
        self.taken = []
        self.mutes = False

    def feed(self, data):
        self.taken.append(data)
        self.order.append((get_hub().loop.iteration, self.connection))
        if self.mutes:
            self.connection.wire.pause()

    def lost(self):
        pass


class Switched:
    """Make connections that carry frames, all of one listener; ``order`` has the pieces taken of all."""

    def __init__(self, stack):
        self.stack = stack
        self.order = []
        self.listener = SimpleNamespace(
            service=None, connections=set(), muted=set(), full=False,
            loop=get_hub().loop, hub=get_hub(), quantum=Quantum(get_hub().loop),
            options=SimpleNamespace(ignore_client_abort=False),
        )  # fmt: skip
        stack.callback(self.listener.quantum.close)
        stack.callback(self.listener.quantum.stop)

    def make(self, *, behind=b""):
        """Return a client's end, our connection, which *behind* the request has read already, and its peer."""
        client, ours = socket.socketpair()
        self.stack.enter_context(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        ours.setblocking(False)
        connection = Connection(self.listener, ours.detach(), UwsgiCodec({}))
        self.stack.callback(connection.close)
        connection.wire = StreamWire(connection, None)
        connection.codec.buffer, connection.backlog = behind[:100], behind[100:]
        peer = Peer(connection, self.order)
        connection.wire.open(b"", peer)
        assert connection.state == SWITCHED
        return client, connection, peer

    def run(self, count):
        """Let the loop turn until so many pieces have been taken."""
        for _ in range(100 * count):
            if len(self.order) >= count:
                return
            gevent.sleep(1e-9)
        raise AssertionError(self.order)


@pytest.fixture
def switched():
    with ExitStack() as stack:
        yield Switched(stack)


@pytest.fixture
def slow(monkeypatch):
    """Have each piece take longer than a turn may."""
    monkeypatch.setattr(quantum, "monotonic", itertools.count().__next__)


@pytest.fixture
def quick(monkeypatch):
    """Have no piece take any time."""
    monkeypatch.setattr(quantum, "monotonic", lambda: 0.0)


@pytest.mark.parametrize("already", [0, 50_000, len(PINGS)])
def test_frames_are_read_in_small_pieces(switched, already):
    client, connection, peer = switched.make(behind=PINGS[:already])
    client.sendall(PINGS[already:])
    client.shutdown(socket.SHUT_WR)
    switched.run(already // PIECE + (len(PINGS) - already) // PIECE + bool(already % PIECE))
    while connection.state == SWITCHED:
        gevent.sleep(1e-9)
    assert max(map(len, peer.taken)) == PIECE
    assert b"".join(peer.taken) == PINGS
    assert connection.state == CLOSED


@pytest.mark.usefixtures("slow")
def test_a_turn_of_the_loop_is_over_when_its_time_is(switched):
    """What else has something to read, and what other threads ask for, comes before the rest of them."""
    clients = [switched.make() for _ in range(5)]
    reading, writing = os.pipe()
    other = get_hub().loop.io(reading, READ)
    seen = []
    other.start(lambda: seen.append(len(switched.order)) or os.read(reading, 1))
    for client, _, _ in clients:
        client.sendall(PINGS[:PIECE])
    os.write(writing, b"x")
    get_hub().loop.run_callback_threadsafe(lambda: seen.append(len(switched.order)))
    switched.run(5)
    other.stop()
    other.close()
    os.close(reading)
    os.close(writing)
    assert len({turn for turn, _ in switched.order}) == 5
    assert {connection for _, connection in switched.order} == {connection for _, connection, _ in clients}
    assert len(seen) == 2
    assert max(seen) <= 1, "they had to wait"


@pytest.mark.usefixtures("quick")
def test_those_that_take_no_time_are_taken_together(switched):
    clients = [switched.make() for _ in range(5)]
    for client, _, _ in clients:
        client.sendall(PINGS[:PIECE])
    switched.run(5)
    assert len({turn for turn, _ in switched.order}) == 1


@pytest.mark.usefixtures("slow")
def test_they_have_their_turns(switched):
    """One that says more than the others, or has done so behind its request, is not taken before them."""
    clients = [switched.make(), switched.make(), switched.make(behind=PINGS[: 3 * PIECE])]
    for client, _, _ in clients[:2]:
        client.sendall(PINGS[: 3 * PIECE])
    switched.run(9)
    order = [connection for _, connection in switched.order]
    assert Counter(order) == dict.fromkeys((connection for _, connection, _ in clients), 3)
    assert len(set(order[:4])) == 3, "one comes again and again"


@pytest.mark.usefixtures("slow")
def test_one_that_is_muted_is_out_of_the_line(switched):
    """It goes on where it was, also with what had been read before."""
    client, connection, peer = switched.make(behind=PINGS[: 2 * PIECE])
    client.sendall(PINGS[2 * PIECE : 3 * PIECE])
    peer.mutes = True
    for count in (1, 2, 3):
        switched.run(count)
        for _ in range(5):
            gevent.sleep(1e-9)
        assert len(peer.taken) == count
        assert connection in switched.listener.muted
        connection.wire.resume()
    assert b"".join(peer.taken) == PINGS[: 3 * PIECE]


@pytest.mark.usefixtures("slow")
def test_one_that_ends_while_it_waits_is_passed_over(switched):
    clients = [switched.make(behind=PINGS[:PIECE]) for _ in range(3)]
    clients[0][1].close()
    clients[1][1].linger()
    switched.run(1)
    for _ in range(5):
        gevent.sleep(1e-9)
    assert [connection for _, connection in switched.order] == [clients[2][1]]


@pytest.fixture
def ending():
    """A client that reads slowly, and its connection, which ends: the kernel has all that is to be sent."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.settimeout(20)
        client.connect(server.getsockname())
        ours, _ = server.accept()
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        connection = Connection(
            SimpleNamespace(
                service=None, connections=set(), muted=set(), full=False,
                tcp=True, loop=get_hub().loop, hub=get_hub(), options=SimpleNamespace(ignore_client_abort=False),
                limits=Limits(pause=60, head=60, body=60, send=60, rate=500, idle=60), dry=lambda _: None,
                quantum=Quantum(get_hub().loop),
            ), ours.detach(), UwsgiCodec({}),
        )  # fmt: skip
        connection.x = SimpleNamespace(begun=True, ended=False)
        connection.wire = StreamWire(connection, connection.x)
        peer = SimpleNamespace(ended=True, feed=None, lost=lambda: None)
        connection.wire.open(b"", peer)
        connection.wire.write(FRAMES * 8)
        connection.wire.end()
        assert connection.state == DRAIN
        yield client, connection
        connection.close()
        connection.listener.quantum.stop()
        connection.listener.quantum.close()


def rest(client):
    return sum(map(len, iter(lambda: client.recv(65536), b"")))


def test_the_end_waits_for_a_client_that_takes_what_is_before(ending):
    """What the client says meanwhile would have the kernel drop the rest."""
    client, connection = ending
    size = 0
    for _ in range(4):
        before = queued(connection.fd)
        while queued(connection.fd) == before:
            size += len(client.recv(16_384))
        connection.expire()
        assert connection.state == DRAIN
        assert connection.deadline < inf
        client.sendall(PINGS[:6])
    assert size + rest(client) == 8 * len(FRAMES)
    client.shutdown(socket.SHUT_WR)
    while connection.state != CLOSED:
        connection.readable()


def test_a_client_that_takes_nothing_does_not_lose_the_end(ending):
    client, connection = ending
    connection.expire()
    assert connection.state == CLOSED
    assert rest(client) == 8 * len(FRAMES), "the kernel goes on"
