"""The descriptor of a WebSocket, for those who select."""

from __future__ import annotations

import os
import select

import pytest

from appserver.errors import ConnectionClosed
from appserver.websocket.bell import Bell
from appserver.websocket.options import WebSocketOptions
from appserver.websocket.socket import WebSocket
from tests.support.websockets import CLOSE, FIN, masked
from tests.websocket.test_session import Wire


@pytest.fixture
def bell():
    made = Bell()
    yield made
    made.close()


def rings(fd):
    return select.select([fd], [], [], 0)[0] == [fd]


def test_it_says_what_it_was_told_last(bell):
    for waits in (False, True, True, False, False, True):
        bell.ring(waits)
        assert rings(bell.fd) is waits


def test_an_application_that_reads_it_does_no_harm(bell):
    bell.ring(True)
    os.read(bell.fd, 8)
    bell.ring(False)
    bell.ring(True)
    assert rings(bell.fd)


def test_what_is_closed_says_nothing_to_who_has_its_number_now():
    bell = Bell()
    bell.close()
    bell.close()
    assert bell.closed
    mine = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        assert mine == bell.fd
        bell.ring(True)
        assert not rings(mine)
    finally:
        os.close(mine)


def test_it_is_closed_when_nobody_has_it_any_more():
    fd = Bell().fd
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.fixture
def socket():
    wire = Wire(waits=True)
    wire.x.clock = None
    return WebSocket(wire, WebSocketOptions())


def test_a_websocket_can_be_selected_before_it_is_accepted(socket):
    assert not rings(socket.fileno())
    assert not hasattr(socket._session.wire, "peer"), "it is not accepted by that"
    socket.accept()
    socket._session.feed(masked(FIN | CLOSE, b"\x03\xe8"))
    assert rings(socket.fileno())
    socket._session.wire.x.over()


def test_after_the_call_there_is_none(socket):
    socket.accept()
    fd = socket.fileno()
    socket._session.wire.x.over()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    with pytest.raises(ConnectionClosed):
        socket.fileno()
    socket._session.lost()
