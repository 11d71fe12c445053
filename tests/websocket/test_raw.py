"""The socket of a library that speaks WebSocket by itself, and what the server says over it when it stops."""

from __future__ import annotations

import socket

import pytest
from gevent import get_hub

from appserver.websocket.frames import closing
from appserver.websocket.raw import RawSocket, Tunnel

HANDSHAKE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Request:
    """The part of a request that a tunnel knows."""

    begun = False
    ended = True
    go_away = None
    sent = 0

    def answered_by_hand(self, head):
        self.begun = True


class Wire:
    """Keep what goes to the client."""

    pending = 0
    cancels = False

    def __init__(self):
        self.hub = get_hub()
        self.x = Request()
        self.written = b""
        self.ends = self.cuts = 0
        self.waits = True  # the client can be made to
        self.paused = False

    def open(self, head, tunnel):
        self.written += head

    def write(self, data):
        self.written += data

    def pause(self):
        self.paused = self.waits
        return self.waits

    def resume(self):
        self.paused = False

    def end(self):
        self.ends += 1

    def cut(self):
        self.cuts += 1


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def library():
    """Both ends of the pair: the library's, and the descriptor of the other one."""
    ours, theirs = socket.socketpair()
    with ours:
        yield ours, theirs.detach()


@pytest.fixture
def tunnel(wire, library):
    """A tunnel over which the library has accepted the handshake."""
    ours, fd = library
    made = Tunnel(wire, fd)
    ours.sendall(HANDSHAKE)
    made.catch_up()
    yield made
    made.lost()


def test_a_stop_closes_the_connection_in_the_place_of_the_library(tunnel, wire, library):
    ours, _ = library
    wire.x.go_away()
    assert wire.written == HANDSHAKE + closing(1001, "the server stops")
    assert (tunnel.ended, wire.ends) == (True, 1)
    assert ours.recv(1) == b"", "the library finds that out"
    wire.x.go_away()
    assert (wire.written.count(b"the server stops"), wire.ends) == (1, 1)


def test_a_stop_does_not_close_again_after_the_call(tunnel, wire, library):
    """A thread of the library's own has a second for what it still has to say; its close may have been said."""
    ours, _ = library
    ours.sendall(closing(1000, "done"))
    tunnel.finish(failed=False)
    assert not tunnel.ended
    wire.x.go_away()
    assert wire.written == HANDSHAKE + closing(1000, "done")
    assert (tunnel.ended, wire.ends) == (True, 1)


def test_what_the_library_says_in_its_last_second_is_sent(tunnel, wire, library):
    ours, _ = library
    tunnel.finish(failed=False)
    ours.sendall(closing(1000, "late"))
    ours.shutdown(socket.SHUT_WR)
    tunnel.catch_up()
    assert wire.written == HANDSHAKE + closing(1000, "late")
    assert (tunnel.ended, wire.ends) == (True, 1)


def test_a_call_that_failed_has_no_last_second(tunnel, wire):
    tunnel.finish(failed=True)
    assert (tunnel.ended, wire.ends, wire.written) == (True, 1, HANDSHAKE)


def test_what_a_client_says_that_waits_no_more_is_bounded_as_well(tunnel, wire):
    """It has gone, and what it has said before is read: all that may be."""
    while not wire.paused:
        tunnel.feed(bytes(65536))
    wire.waits = False
    tunnel.resume()
    assert not wire.paused
    count = 0
    while not wire.cuts:
        tunnel.feed(bytes(65536))
        count += 1
        assert count < 100, "there is no end"


def test_one_that_does_not_block_sends_what_fits(wire):
    sock = RawSocket(wire)
    sock.setblocking(False)
    data = bytes(10_000_000)
    assert 0 < sock.send(data) < len(data)
    sock.close()


def test_before_the_handshake_there_is_nothing_to_end(wire, library):
    _, fd = library
    tunnel = Tunnel(wire, fd)
    tunnel.finish(failed=False)
    assert (tunnel.ended, wire.ends, wire.written) == (True, 0, b"")
