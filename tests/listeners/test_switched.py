"""A connection that carries frames is read in small pieces: each may be many frames, for which all others wait."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
from gevent import get_hub

from appserver.listeners.connection import SWITCHED, Connection
from appserver.protocols.uwsgi import UwsgiCodec

PINGS = b"\x89\x80\0\0\0\0" * 20_000


@pytest.fixture
def pair():
    """A client's end, and ours."""
    client, ours = socket.socketpair()
    with client, ours:
        ours.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        yield client, ours


def test_frames_are_read_in_small_pieces(pair):
    client, ours = pair
    listener = SimpleNamespace(
        service=None, codec=lambda peer: UwsgiCodec({}), connections=set(), loop=get_hub().loop
    )
    connection = Connection(listener, ours.fileno(), None)
    taken = []
    connection.wire = SimpleNamespace(take=lambda data: taken.append(len(data)))
    assert connection.switch() == b""
    assert connection.state == SWITCHED
    client.sendall(PINGS)
    while sum(taken) < len(PINGS):
        connection.readable()
    assert max(taken) == 16_384
