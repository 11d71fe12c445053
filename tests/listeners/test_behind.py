"""What is cheap to send and dear to read, or to keep, is taken by and by: all others have their turns in between."""

from __future__ import annotations

import itertools
import os
import socket
from contextlib import ExitStack, suppress
from types import SimpleNamespace

import gevent
import pytest
from gevent import get_hub

from appserver.listeners import quantum
from appserver.listeners.connection import CLOSED, DRAIN, HEAD, RUN, SKIP, Connection
from appserver.listeners.patience import Limits
from appserver.listeners.quantum import Quantum
from appserver.listeners.refusals import Refusals
from appserver.protocols.codec import AT_ONCE
from appserver.protocols.fastcgi import STDIN, FastcgiCodec, record
from appserver.protocols.http import HttpCodec
from appserver.protocols.scgi import ScgiCodec
from appserver.protocols.uwsgi import UwsgiCodec
from tests.protocols.wire import GET, begin, fastcgi_request, items, scgi_request, uwsgi_packet

MANY = 4 * AT_ONCE
CHUNKED = GET | {"REQUEST_METHOD": "POST", "HTTP_TRANSFER_ENCODING": "chunked"}
CHUNKS = b"1\r\nx\r\n" * MANY + b"0\r\n\r\n"
RECORDS = record(STDIN, 1, b"x") * MANY + record(STDIN, 1, b"")
HEAD_OF = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
PROTOCOLS = {
    "http": (HttpCodec, HEAD_OF, CHUNKS),
    "uwsgi": (UwsgiCodec, uwsgi_packet(items(CHUNKED)), CHUNKS),
    "scgi": (ScgiCodec, scgi_request(items(CHUNKED | {"SCGI": "1"})), CHUNKS),
    "fastcgi": (FastcgiCodec, fastcgi_request(GET | {"REQUEST_METHOD": "POST"})[:-8], RECORDS),
}


class Cores:
    """Keep what is to be run."""

    native = False

    def __init__(self):
        self.tasks = []

    def run(self, task):
        self.tasks.append(task)

    run_soon = run

    def withdraw(self, task):
        self.tasks.remove(task)

    def full(self):
        return False

    def turn(self):
        gevent.sleep()


class Noting(Quantum):
    """Keep who has had a turn, and in which one of the loop."""

    def __init__(self, loop):
        super().__init__(loop)
        self.order = []

    def _serve(self, connection):
        self.order.append((get_hub().loop.iteration, connection))
        super()._serve(connection)


class Site:
    """Make connections of one listener; what their codecs found of bodies is in ``parts``."""

    def __init__(self, stack, *, buffering=1 << 20):
        self.stack = stack
        self.parts = []
        self.cores = Cores()
        loop = get_hub().loop
        null = os.open(os.devnull, os.O_RDWR)
        stack.callback(os.close, null)
        self.quantum = Noting(loop)
        stack.callback(self.quantum.close)
        stack.callback(self.quantum.stop)
        self.listener = SimpleNamespace(
            name="test", accepting=None, service=SimpleNamespace(cores=self.cores, access=None), connections=set(), muted=set(),
            full=False, tcp=False, null=null, loop=loop, hub=get_hub(), quantum=self.quantum, refusals=Refusals("test"),
            limits=Limits(pause=60, head=60, body=60, send=60, rate=500, idle=60),
            options=SimpleNamespace(post_buffering=buffering, limit_post=0, ignore_client_abort=False),
            dry=lambda connection: connection.watch(), watch_later=lambda connection: loop.run_callback(connection.hear),
        )  # fmt: skip

    def make(self, protocol):
        """Return a client's end and our connection."""
        kind, parts = PROTOCOLS[protocol][0], self.parts

        class Codec(kind):
            def receive_body(self, x, data):
                pieces = super().receive_body(x, data)
                parts.append(sum(map(len, pieces)))
                return pieces

        codec = Codec({"SERVER_NAME": "s", "SERVER_PORT": "80", "SCRIPT_NAME": ""})
        client, ours = socket.socketpair()
        self.stack.enter_context(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        ours.setblocking(False)
        connection = Connection(self.listener, ours.detach(), codec)
        self.stack.callback(self.end, connection)
        return client, connection

    def answer(self, connection):
        """Answer the request of a connection, which goes on with the next one."""
        assert self.cores.tasks.pop(0) is connection
        x = connection.x
        x.ended = x.begun = x.keep_alive = True
        connection.done()

    def end(self, connection):
        connection.close()
        if connection.running:
            connection.done()

    def say(self, client, connection, data):
        """Have *data* come, all at once, to a connection that nothing has come to."""
        client.sendall(data)
        connection.readable()


def until(condition):
    """Let the loop turn until *condition* holds."""
    for _ in range(1000):
        if condition():
            return
        gevent.sleep(1e-9)
    raise AssertionError("the loop turns in vain")


@pytest.fixture
def stack():
    with ExitStack() as found:
        yield found


@pytest.fixture
def slow(monkeypatch):
    """Have each part take longer than a turn may."""
    monkeypatch.setattr(quantum, "monotonic", itertools.count().__next__)


@pytest.mark.parametrize("cut", [0, 1, 1000])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_body_in_small_pieces_is_taken_in_parts(stack, protocol, cut):
    _, head, body = PROTOCOLS[protocol]
    site = Site(stack)
    client, connection = site.make(protocol)
    site.say(client, connection, head + body[:cut])
    client.sendall(body[cut:])
    if cut == 0:
        connection.readable()
    until(lambda: site.cores.tasks)
    assert connection.state == RUN
    assert connection.x.environ["wsgi.input"].read() == b"x" * MANY
    assert max(site.parts) <= AT_ONCE
    assert len(site.parts) >= MANY // AT_ONCE


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_so_is_one_that_the_application_reads_as_it_comes(stack, protocol):
    """All of it comes, though the client sends nothing more that would have us look."""
    site = Site(stack, buffering=0)
    client, connection = site.make(protocol)
    site.say(client, connection, PROTOCOLS[protocol][1] + PROTOCOLS[protocol][2])
    assert site.cores.tasks == [connection], "it is called at once"
    x = connection.x
    reading = gevent.spawn(x.environ["wsgi.input"].read)
    until(reading.ready)
    assert reading.value == b"x" * MANY
    assert max(site.parts) <= AT_ONCE
    client.close()
    until(lambda: connection.gone)


@pytest.mark.usefixtures("slow")
def test_a_turn_of_the_loop_is_over_when_its_time_is(stack):
    """Requests of others are heard before the rest of them, and none of them is passed over."""
    site = Site(stack)
    many = [site.make("http") for _ in range(5)]
    other, victim = site.make("http")
    victim.readable()
    for client, connection in many:
        site.say(client, connection, HEAD_OF + CHUNKS)
    other.sendall(NEXT)
    until(lambda: len(site.cores.tasks) == 6)
    assert site.cores.tasks[0] is victim, "it had to wait"
    turns = [turn for turn, _ in site.quantum.order]
    assert len(set(turns)) == len(turns)
    order = [connection for _, connection in site.quantum.order]
    assert {order.count(connection) for _, connection in many} == {len(order) // 5}
    assert len(set(order[:5])) == 5, "one comes again and again"


def test_variables_in_small_records_are_taken_in_parts(stack):
    site = Site(stack)
    client, connection = site.make("fastcgi")
    whole = fastcgi_request(GET | {"HTTP_X": "x" * MANY}, step=1)
    site.say(client, connection, whole)
    assert connection.state == HEAD
    assert connection.codec.size < AT_ONCE
    until(lambda: site.cores.tasks)
    assert connection.x.environ["HTTP_X"] == "x" * MANY
    assert len(site.quantum.order) >= MANY // AT_ONCE


def test_records_of_no_request_are_taken_in_parts(stack):
    site = Site(stack)
    client, connection = site.make("fastcgi")
    site.say(client, connection, record(STDIN, 9, b"") * MANY + begin())
    until(lambda: not connection.codec.behind)
    assert len(site.quantum.order) == MANY // AT_ONCE
    client.sendall(fastcgi_request(GET)[len(begin()) :])
    until(lambda: site.cores.tasks)


def test_what_is_skipped_is_taken_in_parts(stack):
    """The application has answered without it, and the next request stands behind it."""
    site = Site(stack, buffering=0)
    client, connection = site.make("http")
    site.say(client, connection, HEAD_OF + CHUNKS + NEXT)
    site.answer(connection)
    assert connection.state == SKIP
    until(lambda: site.cores.tasks)
    assert connection.x.uri == "/next"
    assert max(site.parts) <= AT_ONCE


@pytest.mark.parametrize("buffering", [0, 1 << 20])
def test_a_bad_piece_behind_others_is_found(stack, buffering):
    site = Site(stack, buffering=buffering)
    client, connection = site.make("http")
    site.say(client, connection, HEAD_OF + CHUNKS[: 6 * AT_ONCE * 2] + b"no chunk\r\n")
    if buffering:
        until(lambda: connection.state == DRAIN)
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
    else:
        reading = gevent.spawn(connection.x.environ["wsgi.input"].read)
        until(reading.ready)
        assert "no chunk size" in str(reading.exception)
    client.close()
    if buffering:
        until(lambda: connection.state == CLOSED)


@pytest.mark.usefixtures("slow")
def test_who_ends_or_leaves_while_he_waits_is_passed_over(stack):
    site = Site(stack)
    many = [site.make("http") for _ in range(4)]
    for client, connection in many:
        site.say(client, connection, HEAD_OF + CHUNKS[: 12 * AT_ONCE])
    many[0][1].close()
    many[1][1].expire()
    many[2][0].close()
    until(lambda: many[2][1].state == CLOSED)
    assert many[1][1].state == DRAIN
    assert many[1][0].recv(1000).startswith(b"HTTP/1.1 408 ")
    many[3][0].sendall(CHUNKS[12 * AT_ONCE :])
    until(lambda: site.cores.tasks == [many[3][1]])


def kept(connection):
    return len(connection.backlog) + len(connection.codec.buffer)


@pytest.mark.parametrize("slowly", [True, False])
def test_so_much_is_kept_of_next_requests(stack, slowly):
    """However many are answered: no answer makes room for more than what has been answered."""
    site = Site(stack)
    client, connection = site.make("http")
    client.setblocking(False)
    left = memoryview(NEXT * 50_000)
    left = left[client.send(left) :]
    connection.readable()
    most = 0
    for _ in range(10_000):
        if slowly:
            gevent.sleep(1e-9)
            gevent.sleep(1e-9)
        with suppress(BlockingIOError):
            left = left[client.send(left) :]
        most = max(most, kept(connection))
        site.answer(connection)
        until(lambda: site.cores.tasks)
    assert most <= 4 * 65_536
    assert len(left) < len(NEXT) * 48_000, "nothing more has been read"


def test_the_end_of_who_has_sent_more_is_found(stack):
    site = Site(stack)
    client, connection = site.make("http")
    client.sendall(NEXT * 10_000)
    connection.readable()
    until(lambda: connection in site.listener.muted)
    site.answer(connection)
    assert connection in site.listener.muted
    client.close()
    connection.look()
    assert connection.gone
