"""Request bodies that the application reads while they come: ``post-buffering = 0``."""

from __future__ import annotations

import hashlib
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from socket import SHUT_WR

import gevent
import pytest

from appserver.errors import ClientGone
from appserver.protocols.fastcgi import pair, record
from appserver.streamed import StreamedBody
from tests.listeners.conftest import STREAM_FRONTS, over, serving
from tests.listeners.test_cancel import alone, gone, turn
from tests.support.fronts import poll

LIMIT = 16 << 20
MODES = {"one": {}, "gevent": {"gevent": 20}, "threads": {"threads": 4}}
NAMES = ("http", "uwsgi", "fastcgi", "scgi")
CHUNKED = ("http", "uwsgi", "fastcgi", "fastcgi-kept")


@pytest.fixture(scope="module", params=MODES)
def site(request, tmp_path_factory):
    """Return the server of each kind of core in turn."""
    options = {"post_buffering": 0, "limit_post": LIMIT, **MODES[request.param]}
    with serving(tmp_path_factory.mktemp("streamed"), "waiting:app", NAMES, **options) as found:
        found.mode = request.param
        yield found


def body_of(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def begun(client, target, body, sent):
    """Send a request with only a part of its body; return the rest."""
    data = client.encode("POST", target, body=body)
    at = len(data) - len(body) + sent
    if client.front.startswith("fastcgi"):  # its records come between; the last bytes are the end of STDIN
        at = data.index(body[:sent][:8]) + sent if sent else data.index(client.record(4, b"")) + 8
    client.start(data[:at])
    client.methods.append("POST")
    return data[at:]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 262144, 262145, 1 << 20, LIMIT])
@over(*STREAM_FRONTS)
def test_sizes(client, size):
    body = body_of(size)
    for _ in range(2):
        told = json.loads(client.request("POST", "/digest", body=body).body)
        assert told == {"size": size, "sha256": hashlib.sha256(body).hexdigest()}


@pytest.mark.parametrize("read", [1, 7, 65536, 1 << 24])
@over(*STREAM_FRONTS)
def test_sizes_of_reads(client, read):
    body = body_of(300_000)
    told = json.loads(client.request("POST", f"/digest/{read}", body=body).body)
    assert told == {"size": 300_000, "sha256": hashlib.sha256(body).hexdigest()}


@pytest.mark.parametrize("left, kept", [(262144, True), (262145, False)])
@over("http")
def test_an_answer_tells_that_the_rest_of_a_body_is_too_long_to_be_skipped(client, left, kept):
    rest = begun(client, "/ok", body_of(1000 + left), 1000)
    answer = client.receive()
    assert (answer.body, answer.complete, answer.closed) == (b"ok", True, not kept)
    if kept:
        client.sock.sendall(rest)
        assert client.request("GET", "/ok").body == b"ok"


def records(client):
    """Yield the records that come, as type, request and content."""
    while True:
        _, kind, request, size, padding = struct.unpack(">BBHHBx", client._exactly(8))
        yield kind, request, client._exactly(size + padding)[:size]


@over("fastcgi-kept")
def test_fastcgi_is_answered_outside_the_request_while_its_body_comes(client, site):
    """Between two records of the answer; behind it where a thread writes that."""
    asked, values = pair(b"FCGI_MPXS_CONNS", b""), pair(b"FCGI_MPXS_CONNS", b"0")
    other = record(1, 2, b"\0\1\1" + bytes(5))
    head = client.encode("POST", "/echo", [("Content-Length", "20")])
    client.start(head[:-8] + client.record(5, b"first line\n"))
    came = records(client)
    said = b""
    while not said.endswith(b"FIRST LINE\n"):
        said += next(came)[2]
    outside = [(10, 0, values), (3, 2, b"\0\0\0\0\1\0\0\0")]
    client.sock.sendall(record(9, 0, asked) + other)
    if site.mode != "threads":
        assert [next(came), next(came)] == outside
        outside = []
    client.sock.sendall(client.record(5, b"the last\n") + client.record(5, b""))
    assert next(came) == (6, 1, b"THE LAST\n")
    assert [next(came) for _ in range(2)] == [(6, 1, b""), (3, 1, bytes(8))]
    assert [next(came) for _ in outside] == outside
    assert client.request("GET", "/ok").body == b"ok"


def chunked(client, chunks):
    """Return a request whose body has no length, and the bytes that each chunk becomes."""
    if client.front == "http":
        head = client.encode("POST", "/echo", [("Transfer-Encoding", "chunked")])
    elif client.front.startswith("fastcgi"):
        head = client.encode("POST", "/echo")[: -len(client.record(5, b""))]
        return head, [*(client.record(5, chunk, 3) for chunk in chunks), client.record(5, b"")]
    else:
        params = [("HTTP_TRANSFER_ENCODING", "chunked"), ("CONTENT_LENGTH", "")]
        head = client.encode("POST", "/echo", params=params)
    return head, [*(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks), b"0\r\n\r\n"]


@over("http", "uwsgi", "scgi")
def test_a_body_of_known_length_is_read_when_it_comes(client):
    lines = [b"one\n", b"two\n", b"three\n"]
    rest = begun(client, "/echo", b"".join(lines), 0)
    seen = b""
    for expected in (b"begun\n", b"ONE\n", b"TWO\n", b"THREE\n"):
        while expected not in seen:
            more = client.more()
            assert more, seen
            seen += more
        at = rest.find(b"\n") + 1
        client.sock.sendall(rest[:at])
        rest = rest[at:]


@over(*CHUNKED)
def test_each_line_is_read_and_answered_when_it_comes(client, site):
    """The client says no line before it has read the answer to the one before."""
    lines = [b"one\n", b"two " * 16000 + b"\n", b"three\n"]
    head, pieces = chunked(client, lines)
    client.start(head)
    seen = b""
    for expected, piece in zip([b"begun\n", *(line.upper() for line in lines)], pieces, strict=True):
        while not b"".join(seen.split(b"\r\n")).endswith(expected):
            more = client.more()
            assert more, seen
            seen += more
        client.sock.sendall(piece)
    rest = b"".join(iter(client.more, b"")) if client.front != "http" else client.more()
    assert rest == (b"0\r\n\r\n" if client.front == "http" else b"")


@over(*STREAM_FRONTS)
def test_others_are_served_meanwhile(client, site):
    body = body_of(100_000)
    rest = begun(client, "/digest", body, 50_000)
    turn(site)  # also where there is but one core
    if site.mode != "one":
        for front in STREAM_FRONTS:
            with site.client(front) as other:
                assert other.request("GET", "/ok").body == b"ok"
    client.sock.sendall(rest)
    assert json.loads(client.receive().body)["sha256"] == hashlib.sha256(body).hexdigest()


# Bodies without an end


@pytest.mark.parametrize("leave", ["close", "shutdown", "reset"])
@over(*STREAM_FRONTS)
def test_a_cut_body_raises_where_it_is_read(client, site, token, leave):
    begun(client, f"/strict?{token}", body_of(100_000), 50_000)
    site.log(rf"{token} reads")
    {"close": client.close, "shutdown": lambda: client.sock.shutdown(SHUT_WR), "reset": client.drop}[leave]()
    gone(site, token)
    assert site.count(rf"\?{token} ") == 1, "one access line and no other word"


@over(*STREAM_FRONTS)
def test_an_application_may_empty_its_environ(client):
    for method in ("GET", "POST"):
        answer = client.request(method, "/empties")
        assert (answer.status, answer.body, answer.complete) == (200, b"emptied", True)


@over(*STREAM_FRONTS)
def test_a_cut_body_passes_for_no_whole_one(client, site, token):
    """An application may take the error for the end, but its answer goes nowhere."""
    begun(client, f"/careless?{token}", body_of(100_000), 50_000)
    site.log(rf"{token} reads")
    client.sock.shutdown(SHUT_WR)
    site.log(rf"{token} raised ClientGone: The client has gone before the end of its body.")
    gone(site, token)
    with suppress(ConnectionError):
        assert client.sock.recv(100) == b""


@over(*STREAM_FRONTS)
def test_a_client_whose_body_nobody_reads_is_found_to_have_gone(client, site, token):
    """More of it has come than is read ahead, and the client's end stands behind that.

    It is seen where the kernel has room for what is not read; else the client's own kernel keeps it.
    """
    if site.mode != "gevent":  # nothing else can be interrupted
        return
    begun(client, f"/wait/call?{token}", body_of(1_000_000), 300_000)
    site.log(rf"{token} waits")
    client.close()
    site.log(rf"{token} raised Cancelled")
    gone(site, token)


@pytest.mark.parametrize("leave", ["close", "shutdown", "reset"])
@over(*STREAM_FRONTS)
def test_a_call_ends_whose_body_another_greenlet_reads(client, site, token, leave):
    if site.mode != "gevent":
        return
    begun(client, f"/beside/reads?{token}", body_of(100_000), 50_000)
    site.log(rf"{token} waits")
    {"close": client.close, "shutdown": lambda: client.sock.shutdown(SHUT_WR), "reset": client.drop}[leave]()
    site.log(rf"{token} has raised ClientGone beside it")
    site.log(rf"{token} raised Cancelled")
    gone(site, token)


@over("fastcgi", "fastcgi-kept")
def test_abort_within_a_body(client, site, token):
    begun(client, f"/careless?{token}", body_of(100_000), 32_000)
    site.log(rf"{token} reads")
    client.sock.sendall(client.record(2, b""))
    while client.more():
        pass
    assert client.over, "END_REQUEST answers an abort"
    site.log(rf"{token} raised ClientGone")
    gone(site, token)


@over("http")
def test_a_malformed_chunk_is_answered_400(client, site, token):
    head = client.encode("POST", f"/strict?{token}", [("Transfer-Encoding", "chunked")])
    client.start(head + b"5\r\nhello\r\n")
    site.log(rf"{token} reads")
    client.resume("POST", b"no size\r\n")
    answer = client.receive()
    assert (answer.status, answer.body, answer.closed) == (
        400,
        b"A chunk begins with what is no chunk size.\n",
        True,
    )
    site.log(rf'\?{token} HTTP/1\.1" 400 ')
    assert "Traceback" not in site.server.log


@over("http")
def test_a_malformed_chunk_raises_an_os_error(client, site, token):
    head = client.encode("POST", f"/careless?{token}", [("Transfer-Encoding", "chunked")])
    client.start(head + b"5\r\nhello\r\n")
    site.log(rf"{token} reads")
    client.resume("POST", b"no size\r\n")
    answer = client.receive()
    assert (answer.status, answer.body, answer.closed) == (200, b"0", True)  # it read 1000 bytes or none
    site.log(rf"{token} raised BodyError: A chunk begins with what is no chunk size.")


@over(*STREAM_FRONTS)
def test_limit_post_of_an_announced_body(client, site, token):
    answer = client.request("POST", f"/strict?{token}", [("Content-Length", str(LIMIT + 1))], b"x" * 1000)
    assert (answer.status, answer.complete) == (413, True)
    alone(site, token, "reads", 0)


@over("http", "fastcgi")
def test_limit_post_of_a_body_without_a_length(client, site, token):
    head, _ = chunked(client, [])
    chunk = (
        client.record(5, bytes(65528)) if client.front == "fastcgi" else b"10000\r\n" + bytes(65536) + b"\r\n"
    )
    client.start(head)
    client.methods.append("POST")
    with suppress(ConnectionError):
        for _ in range(LIMIT // 65528 + 1):
            client.sock.sendall(chunk)
    site.log("The body has more than the 16777216 bytes of limit-post.")


# What the application leaves


@pytest.mark.parametrize("size", [100, 100_000, 262_144])
@over("http", "fastcgi-kept")
def test_the_rest_of_a_body_is_not_the_next_request(client, size):
    body = b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n" * (size // 32)
    for _ in range(3):
        for target, expected in (("/ok", b"ok"), ("/part/10", body[:10])):
            answer = client.request("POST", target, body=body)
            assert (answer.body, answer.complete, answer.closed) == (expected, True, False)


@over("http")
def test_the_rest_of_a_chunked_body_is_not_the_next_request(client):
    body = b"1f\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n\r\n" * 100 + b"0\r\n\r\n"
    for _ in range(3):
        answer = client.request("POST", "/part/10", [("Transfer-Encoding", "chunked")], body)
        assert (answer.body, answer.closed) == (b"GET /evil ", False)


@over(*STREAM_FRONTS)
def test_a_long_rest_ends_the_connection_behind_the_answer(client):
    answer = client.request("POST", "/part/10", body=body_of(LIMIT))
    assert (answer.body, answer.complete) == (body_of(10), True)


@over("http")
def test_a_rest_that_does_not_end_ends_the_connection(client):
    client.start(client.encode("POST", "/ok", [("Transfer-Encoding", "chunked")]))
    client.methods.append("POST")
    assert client.receive().body == b"ok"
    with suppress(ConnectionError):
        for _ in range(100):
            client.sock.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
    with suppress(ConnectionError):
        assert client.sock.recv(1) == b""


@over("http")
def test_a_malformed_rest_ends_the_connection(client):
    client.start(client.encode("POST", "/ok", [("Transfer-Encoding", "chunked")]) + b"5\r\nhel")
    client.methods.append("POST")
    assert client.receive().body == b"ok"
    client.sock.sendall(b"lo!!\r\nGET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
    with suppress(ConnectionError):
        assert client.sock.recv(1) == b""


@over(*STREAM_FRONTS)
def test_a_client_that_sends_all_before_it_reads(client):
    """The answer is larger than what the kernel keeps, and so is the rest of the body."""
    answer = client.request("POST", "/many", body=body_of(LIMIT))
    assert (len(answer.body), answer.complete) == (8 << 20, True)


@over(*STREAM_FRONTS)
def test_the_body_of_a_request_that_is_over(client, site):
    rest = begun(client, "/keep", body_of(100_000), 50_000)
    assert client.receive().body == b"kept"
    if client.kept:
        client.sock.sendall(rest)

    def told():
        return json.loads(client.request("GET", "/read-kept").body)

    if site.mode == "threads":  # one may be there before the loop has closed the body
        poll(lambda: told() == "ValueError", "the body is still open")
    assert told() == "ValueError"


@over(*STREAM_FRONTS)
def test_who_still_reads_a_body_hears_that_its_request_is_over(client, site, token):
    """The client stays, and sends no more."""
    if site.mode == "one":  # nothing else could read
        return
    begun(client, f"/reads-on?{token}", body_of(100_000), 50_000)
    assert client.receive().body == b"impatient"
    site.log(rf"{token} has raised ClientGone beside it: The request has ended\.")


def test_the_rest_that_a_closed_body_forgets_is_missed_by_its_reader():
    """The reader has not gone on yet when both the body and its request end."""
    body = StreamedBody(0, 4, lambda: None, lambda: None, native=False)
    body.give_to(environ := {})
    reader = gevent.spawn(environ["wsgi.input"].read)
    gevent.sleep()
    assert body.waiting
    body.add(b"word")
    body.end()
    body.close()
    with pytest.raises(ClientGone):
        reader.get()


# Expect: 100-continue


@over("http")
def test_the_client_is_asked_when_the_application_reads(client, site, token):
    client.start(
        client.encode("POST", f"/echo?{token}", [("Expect", "100-continue"), ("Content-Length", "4")])
    )
    # The answer begins before the application reads, so that it is too late to ask.
    while not client.wire.buffer.endswith(b"begun\n\r\n"):
        assert client.wire.fill()
    assert client.wire.buffer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close" in client.wire.buffer
    client.sock.sendall(b"word")
    client.wire.rest()

    client.start(client.encode("POST", "/digest", [("Expect", "100-continue"), ("Content-Length", "4")]))
    assert client.more() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.resume("POST", b"word")
    answer = client.receive()
    assert (json.loads(answer.body)["size"], answer.closed) == (4, False)


@over("http")
def test_a_client_that_is_not_asked_is_told_that_the_connection_ends(client):
    client.start(client.encode("POST", "/ok", [("Expect", "100-continue"), ("Content-Length", "4")]))
    client.methods.append("POST")
    answer = client.receive()
    assert (answer.status, answer.body, answer.header("Connection")) == (200, b"ok", "close")


@over("http")
def test_a_client_that_does_not_wait_is_not_asked(client):
    client.request("POST", "/digest", [("Expect", "100-continue")], b"word")
    answer = client.request("POST", "/digest", [("Expect", "100-continue")], b"word")
    assert (answer.status, answer.closed) == (200, False)


# Memory


@pytest.mark.parametrize("front", STREAM_FRONTS)
def test_a_large_body_is_not_held(serve, front):
    site = serve("waiting:app", [front.partition("-")[0]], post_buffering=0, gevent=2)
    with site.client(front) as client:
        before = json.loads(client.request("GET", "/memory").body)
        body = body_of(96 << 20)
        told = json.loads(client.request("POST", "/digest", body=body).body)
        assert told["sha256"] == hashlib.sha256(body).hexdigest()
        after = json.loads(client.request("GET", "/memory").body)
    assert after - before < 8 << 10, "KiB"


def test_another_thread_cannot_wait_for_more():
    """It would switch to a loop that is not its own."""
    body, environ = StreamedBody(0, 4, lambda: None, lambda: None, native=False), {}
    body.give_to(environ)
    body.add(b"ab")
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="in the thread of its call alone"):
        pool.submit(environ["wsgi.input"].read).result()
    assert not body.waiting
    assert environ["wsgi.input"].read(2) == b"ab"
