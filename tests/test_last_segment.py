"""The end of a TCP connection leaves with its last answer, unless the peer has broken it by then."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
from gevent import get_hub

from appserver.errors import ClientGone
from appserver.listeners.connection import Connection
from appserver.listeners.ending import reset_at_close
from appserver.protocols.uwsgi import UwsgiCodec


@pytest.fixture
def pair():
    """A client's socket, and the descriptor that was accepted."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    with client, accepted:
        accepted.setblocking(False)
        yield client, accepted.fileno()


def connected(fd, keep_alive=False):
    """Return a connection whose answer is about to be whole."""
    listener = SimpleNamespace(
        service=None, codec=lambda peer: UwsgiCodec({}), connections=set(), tcp=True, loop=get_hub().loop
    )
    made = Connection(listener, fd, None)
    made.x = SimpleNamespace(ended=True, keep_alive=keep_alive)
    return made


def test_both_leave_together(pair):
    client, fd = pair
    connected(fd).send([b"all ", b"of it"], False)
    assert client.recv(100) == b"all of it"
    assert client.recv(1) == b""


def test_a_connection_that_is_kept_goes_on(pair):
    client, fd = pair
    connected(fd, keep_alive=True).send([b"all of it"], False)
    assert client.recv(100) == b"all of it"
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(1)


def test_a_peer_that_breaks_it_in_between_has_gone(pair, monkeypatch):
    client, fd = pair
    made = connected(fd)
    put = Connection.put

    def put_and_lose(self, pieces):
        put(self, pieces)
        reset_at_close(client.fileno())
        client.close()

    monkeypatch.setattr(Connection, "put", put_and_lose)
    with pytest.raises(ClientGone):
        made.send([b"all of it"], False)
    assert made.gone
