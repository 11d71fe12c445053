"""The socket of a library that speaks WebSocket by itself, and what the server says over it when it stops."""

from __future__ import annotations

import socket

import gevent
import pytest
from gevent import get_hub
from gevent import socket as cooperative
from gevent.event import Event

from appserver.websocket import raw
from appserver.websocket.frames import CLOSE, closing, frame
from appserver.websocket.raw import RawSocket, Tunnel
from appserver.wsgi import Cancelled

HANDSHAKE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Request:
    """The part of a request that a tunnel knows."""

    begun = False
    clock = None
    core = None
    ended = spared = False
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
        self.tunnel = tunnel

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
    tunnel.go_away()
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


class Call:
    """A call of an application, and what its library's thread says over its socket; a client that has gone."""

    def __init__(self, wire, monkeypatch):
        # As gevent has it: whoever says something has no turn of the loop for that.
        monkeypatch.setattr(raw.socket, "socketpair", cooperative.socketpair)
        monkeypatch.setattr(raw, "_LAST_WORDS", 0.0)  # the timer is due before all that are started later
        self.wire = wire
        wire.cancels = True
        self.socket = RawSocket(wire)
        self.told, self.never = Event(), Event()

    def run(self, *steps):
        """Run until it has gone on behind all *steps*, or is cancelled; return whether it is."""
        self.wire.x.core = core = gevent.spawn(self._work, steps)
        return core.get()

    def _work(self, steps):
        try:
            for step in steps:
                step()
        except Cancelled:
            return True
        return False

    def accept(self):
        self.socket.send(HANDSHAKE)
        self.wire.x.catch_up()

    def close(self):
        self.socket.send(closing(1000, ""))

    def later(self, *steps):
        """Have *steps* done in a greenlet of the library's, once the call waits."""

        def begin():
            gevent.spawn(lambda: [step() for step in steps])

        return begin

    def client_closes(self):
        self.wire.tunnel.feed(frame(CLOSE, b""))

    def client_leaves(self):
        get_hub().loop.run_callback(self.wire.tunnel.lost)

    def library_ends(self):
        self.socket.close()

    def waits(self):
        self.told.wait()

    def waits_elsewhere(self):
        self.never.wait(0.05)

    def cleans_up(self):
        gevent.sleep(0.05)


@pytest.fixture
def call(wire, monkeypatch):
    made = Call(wire, monkeypatch)
    yield made
    made.socket.close()
    wire.tunnel.lost()


def test_a_call_that_waits_elsewhere_is_cancelled(call):
    tells = call.later(call.client_closes, call.told.set, call.close, call.library_ends)
    assert call.run(call.accept, tells, call.waits_elsewhere)


def test_a_call_that_the_library_tells_is_not(call):
    tells = call.later(call.client_closes, call.told.set, call.close, call.library_ends)
    assert not call.run(call.accept, tells, call.waits, call.cleans_up)


def test_nor_is_one_that_is_told_of_the_end_and_whose_client_leaves_then(call):
    tells = call.later(call.client_closes, call.told.set, call.close, call.client_leaves)
    assert not call.run(call.accept, tells, call.waits, call.cleans_up)


def test_a_call_whose_client_leaves_is_cancelled_where_it_waits(call):
    assert call.run(call.accept, call.later(call.client_leaves), call.waits_elsewhere)


def test_a_call_whose_client_leaves_goes_on_once_the_library_tells_it(call):
    tells = call.later(call.client_leaves, lambda: gevent.sleep(0), call.told.set)
    assert not call.run(call.accept, tells, call.waits, call.cleans_up)


@pytest.mark.parametrize("end", ["library_ends", "client_leaves"])
def test_a_call_that_has_closed_by_itself_goes_on(call, end):
    """The library need not wait for the client's answer, nor the client give one."""
    assert not call.run(call.accept, call.close, call.later(getattr(call, end)), call.cleans_up)
