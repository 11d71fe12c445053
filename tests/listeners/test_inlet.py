"""A body is read in the blocks in which it is kept, where it comes as it is."""

from __future__ import annotations

import os
import socket
from math import inf
from types import SimpleNamespace

import gevent
import pytest

from appserver.exchange import Exchange
from appserver.listeners import patience
from appserver.listeners.inlet import Inlet
from appserver.listeners.patience import Limits
from appserver.protocols.codec import Codec
from appserver.protocols.fastcgi import FastcgiCodec
from appserver.protocols.framing import ChunkedBody
from appserver.protocols.uwsgi import UwsgiCodec

BLOCK = 65536
BODY = bytes(range(256)) * (2 * BLOCK // 256 + 4)  # as much as the kernel holds for sure
ENVIRON = {"REQUEST_METHOD": "POST", "REQUEST_URI": "/", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "::1"}
LIMITS = Limits(pause=60, head=60, body=60, send=60, rate=500, idle=60)


class Unknown(Codec):
    """A plug-in's, which may put anything between the pieces of a body."""

    def __init__(self, base):
        super().__init__()


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def inlet(codec, announced, buffering=1 << 20):
    options = SimpleNamespace(post_buffering=buffering, limit_post=0)
    cores = SimpleNamespace(native=False)
    connection = SimpleNamespace(
        listener=SimpleNamespace(options=options, limits=LIMITS),
        service=SimpleNamespace(cores=cores),
        codec=codec,
        wanted=lambda x: True,
        limited=lambda: None,
    )
    x = Exchange(dict(ENVIRON), codec, body_left=announced)
    connection.inlet = Inlet(connection, x)
    return connection.inlet, x


def body_of(found):
    environ = {}
    found.give_to(environ)
    return environ["wsgi.input"].read()


def test_it_reads_what_a_block_lacks_and_then_whole_ones(ends, monkeypatch):
    ours, theirs = ends
    asked, real = [], os.read

    def read(fd, size):
        asked.append(size)
        return real(fd, size)

    monkeypatch.setattr(os, "read", read)
    codec = UwsgiCodec({})
    found, x = inlet(codec, len(BODY))
    found.take(BODY[:100])
    theirs.sendall(BODY[100:] + b"+ the next request")
    found.read_on(ours.fileno())
    assert asked == [BLOCK - 100, BLOCK, 1025]
    assert x.body_left == 0
    assert body_of(found) == BODY
    assert codec.buffer == b"+"  # by which the connection knows that there is more
    assert ours.recv(100) == b" the next request"
    found.close()


def test_it_stops_where_nothing_more_has_come(ends):
    ours, theirs = ends
    found, x = inlet(UwsgiCodec({}), len(BODY))
    found.until()
    theirs.sendall(BODY[: BLOCK + 9])
    found.read_on(ours.fileno())
    assert x.body_left == len(BODY) - BLOCK - 9
    assert found.room == BLOCK - 9
    found.read_on(ours.fileno())  # there is nothing, and that is no end
    theirs.sendall(BODY[BLOCK + 9 :])
    found.read_on(ours.fileno())
    assert body_of(found) == BODY
    found.close()


def test_it_leaves_the_end_of_the_connection_to_the_loop(ends):
    ours, theirs = ends
    found, x = inlet(UwsgiCodec({}), len(BODY))
    theirs.sendall(BODY[:10])
    theirs.close()
    found.read_on(ours.fileno())
    found.read_on(ours.fileno())
    assert x.body_left == len(BODY) - 10
    assert os.read(ours.fileno(), found.room) == b""
    found.close()


@pytest.mark.parametrize("what", ["chunked", "records", "unknown", "streamed", "over"])
def test_it_reads_much_where_it_cannot_know_what_comes(what):
    codec = {"records": FastcgiCodec, "unknown": Unknown}.get(what, UwsgiCodec)({})
    if what == "chunked":
        codec.chunks = ChunkedBody()
    known = {"chunked": -1, "over": 0}.get(what, len(BODY))
    found, _ = inlet(codec, known, buffering=0 if what == "streamed" else 1 << 20)
    assert found.room == 1 << 18
    found.close()


@pytest.mark.parametrize(
    "chunked, buffering, length",
    [(True, 1 << 20, "0"), (True, 0, None), (False, 1 << 20, None), (False, 0, None)],
)
def test_the_length_of_a_body_that_is_empty(chunked, buffering, length):
    """Chunks that are read ahead have one; FastCGI's end of a body, where none was announced, says nothing."""
    codec = UwsgiCodec({}) if chunked else FastcgiCodec({})
    if chunked:
        codec.chunks = ChunkedBody()
    found, x = inlet(codec, -1, buffering)
    if chunked:
        found.take(b"0\r\n\r\n")
        assert x.body_left == 0
    environ = {}
    found.give_to(environ)
    assert environ.get("CONTENT_LENGTH") == length


@pytest.fixture
def clock(monkeypatch):
    """The time as `Patience` sees it."""
    found = SimpleNamespace(now=0.0)
    monkeypatch.setattr(patience, "monotonic", lambda: found.now)
    return found


def reading(environ, size=-1):
    """Return a greenlet that waits for the body."""
    found = gevent.spawn(environ["wsgi.input"].read, size)
    gevent.sleep()
    return found


def test_the_time_after_a_read_that_is_broken_off_is_not_the_clients(clock):
    found, _ = inlet(UwsgiCodec({}), 10, buffering=0)
    found.give_to(environ := {})
    first = reading(environ)
    assert found.limit == 60
    clock.now = 10.0
    first.kill()
    clock.now = 1000.0
    second = reading(environ)
    assert found.limit == 1050, "10 s of its 60 were the client's"
    second.kill()


@pytest.mark.parametrize("size", [-1, 10])
def test_what_a_read_that_is_broken_off_has_taken_is_read_again(size):
    found, _ = inlet(UwsgiCodec({}), 10, buffering=0)
    found.give_to(environ := {})
    found.take(b"hel")
    for more in (b"lo", b"world"):
        reader = reading(environ, size)
        assert found.waits
        reader.kill()
        found.take(more)
    assert environ["wsgi.input"].read(size) == b"helloworld"


def test_the_time_goes_on_while_no_byte_of_the_body_comes(clock):
    codec = UwsgiCodec({})
    codec.chunks = ChunkedBody()
    found, _ = inlet(codec, -1, buffering=0)
    found.give_to(environ := {})
    reader = reading(environ)
    clock.now = 10.0
    found.take(b"5\r\n")
    assert 60 < found.limit < 61
    found.take(b"hello")
    assert found.limit == inf
    found.take(b"\r\n0\r\n\r\n")
    assert reader.get() == b"hello"


def test_the_time_does_not_begin_where_a_native_thread_has_something_by_then():
    """It has waited in vain when it asked, and not any more when the loop hears of that."""
    found, _ = inlet(UwsgiCodec({}), 10, buffering=0)
    found.take(b"hello")
    found._wanted()
    found._body.waiting = True  # not gone on yet
    found._wanted()
    assert found.limit == inf
