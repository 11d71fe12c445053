"""What an application is told after the end of a WebSocket, by name and by what it may catch."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from types import SimpleNamespace

import gevent
import pytest

from appserver.errors import ClientGone, ConnectionClosed
from appserver.websocket.frames import TEXT
from appserver.websocket.options import WebSocketOptions
from appserver.websocket.socket import WebSocket
from tests.support.websockets import CLOSE, FIN, masked
from tests.websocket.test_session import Wire

HELLO = masked(FIN | TEXT, b"hello")
END = masked(FIN | CLOSE, b"\x0f\xa1why")  # 4001


class LibraryError(OSError):
    """Stand for gevent-websocket's."""


@pytest.fixture
def library(monkeypatch):
    """Have the application use gevent-websocket."""
    found = SimpleNamespace(WebSocketError=LibraryError)
    monkeypatch.setitem(sys.modules, "geventwebsocket.exceptions", found)


@pytest.fixture
def wire():
    found = Wire(waits=True)
    found.x.clock = None
    return found


@pytest.fixture
def ended(wire):
    """Return a WebSocket whose client has said something and left."""
    socket = WebSocket(wire, WebSocketOptions())
    socket.accept()
    wire.peer.feed(HELLO + END)
    return socket


def in_a_greenlet(function):
    return gevent.spawn(function).get()


def in_a_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()  # nothing has to be done in this loop for it
    return found[0]


@pytest.mark.parametrize("elsewhere", [in_a_greenlet, in_a_thread])
def test_each_reader_is_told_once_of_the_end(ended, elsewhere):
    assert elsewhere(ended.receive) == "hello"
    assert elsewhere(ended.receive) is None
    assert ended.receive() is None
    for _ in range(2):
        with pytest.raises(ConnectionClosed) as told:
            ended.receive()
        assert (told.value.code, told.value.reason) == (4001, "why")
    assert elsewhere(ended.receive) is None


def test_all_who_wait_are_told(wire):
    socket = WebSocket(wire, WebSocketOptions())
    readers = [gevent.spawn(socket.receive) for _ in range(3)]
    gevent.sleep(0)
    wire.peer.feed(END)
    assert [each.get() for each in readers] == [None] * 3


def test_iteration_ends_as_often_as_it_is_tried(ended):
    assert list(ended) == ["hello"]
    assert list(ended) == []
    with pytest.raises(ConnectionClosed):
        ended.receive()


@pytest.mark.parametrize("received", [None, "answer"])
def test_what_is_sent_after_the_end_is_told_so_even_if_it_is_the_last_none(ended, received):
    with pytest.raises(ConnectionClosed):
        ended.send(received)


def test_before_it_nothing_but_messages_can_be_sent(wire):
    socket = WebSocket(wire, WebSocketOptions())
    with pytest.raises(TypeError):
        socket.send(None)
    assert not hasattr(wire, "peer"), "it is not accepted for a mistake"


def test_a_client_that_has_left_before_is_told_of_alike(wire):
    def fail(head, peer):
        raise ClientGone

    wire.open = fail
    socket = WebSocket(wire, WebSocketOptions())
    with pytest.raises(ConnectionClosed) as told:
        socket.receive()
    assert (told.value.code, told.value.x) == (1006, wire.x)
    assert list(socket) == []


# gevent-websocket


def test_a_library_s_users_catch_its_own_error(library, ended):
    """And those of this server's the same; there is one class for all."""
    ended.receive()
    assert ended.receive() is None
    kinds = set()
    for each in (ended.receive, lambda: ended.send("late"), ended.ping, lambda: ended.subscribe("news")):
        with pytest.raises(LibraryError, match="the WebSocket has ended: 4001 why") as told:
            each()
        assert isinstance(told.value, ConnectionClosed)
        kinds.add(type(told.value))
    assert len(kinds) == 1


def test_without_the_library_there_is_nothing_of_it(ended):
    with pytest.raises(ConnectionClosed) as told:
        ended.send("late")
    assert type(told.value) is ConnectionClosed


def test_a_loop_that_waits_for_the_library_s_error_ends(library, ended):
    """As that of its WebSocketApplication does, which closes then."""
    received = []
    with suppress(LibraryError):
        while len(received) < 100:
            received.append(ended.receive())
    assert received == ["hello", None]
