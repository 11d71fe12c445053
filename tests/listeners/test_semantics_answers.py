"""What becomes of an answer on its way to the client, the same through every listener."""

from __future__ import annotations

import email.utils
import json
import socket
import time

import pytest

from tests.listeners.conftest import HTTP_FRONTS, KEPT_FRONTS, over

OPTIONS = {"post_buffering": 262144}


def answer_of(client, told, method="POST", version="HTTP/1.1"):
    """Let the application answer what *told* says."""
    return client.request(method, "/answer", body=json.dumps(told).encode(), version=version)


def still_kept(client):
    """Tell whether the connection is kept and at the start of an answer, where the protocol keeps it."""
    if client.front not in KEPT_FRONTS:
        return True
    assert not client.wire.buffer
    wire = client.wire
    answer = client.request("POST", "/echo", body=b"again")
    return answer.body == b"again" and (client.front == "fastcgi-kept" or client.wire is wire)


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "299 ", "404 Not Found", "500 Own Error",
                                    "503 Why? (so: \xe9)", "418 I'm a teapot", "599 x"])  # fmt: skip
def test_status(client, status):
    answer = answer_of(client, {"status": status, "body": ["text"]})
    assert f"{answer.status} {answer.reason}" == status
    assert answer.body == b"text"
    assert still_kept(client)


def test_headers(client):
    headers = [("X-One", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("x-lower", "\xe9\xff"),
               ("X-Empty", ""), ("X-Tab", "a\tb"), ("Content-Type", "text/x")]  # fmt: skip
    answer = answer_of(client, {"headers": headers})
    own = {"content-length", "date"}
    assert [field for field in answer.headers if field[0].lower() not in own] == headers


def test_date(client):
    before = int(time.time())
    date = answer_of(client, {}).header("Date")
    if client.dated:
        assert date.endswith(" GMT")
        sent = email.utils.parsedate_to_datetime(date).timestamp()
        assert before - 1 <= sent <= time.time()
    else:
        assert date is None, "the front end adds it"


def test_date_of_the_application(client):
    date = "Thu, 01 Jan 1970 00:00:00 GMT"
    assert answer_of(client, {"headers": [("date", date)]}).all("Date") == [date]


@pytest.mark.parametrize("name", ["Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Upgrade",
                                  "Transfer-Encoding", "TRANSFER-ENCODING", "connection"])  # fmt: skip
def test_hop_by_hop_headers_are_dropped(client, name):
    value = "chunked" if name.lower() == "transfer-encoding" else "x-evil"
    answer = answer_of(client, {"headers": [(name, value), ("X-Evil", "1")], "body": ["text"]})
    assert answer.all(name) == []
    assert (answer.body, answer.header("X-Evil")) == (b"text", "1")
    assert still_kept(client)


@over(*HTTP_FRONTS)
def test_connection_close_of_the_application(client):
    answer = answer_of(client, {"headers": [("Connection", "close")], "body": ["text"]})
    assert (answer.header("Connection"), answer.body, answer.closed) == ("close", b"text", True)


# Lengths


@pytest.mark.parametrize("kind", ["list", "tuple", "generator", "bytes", "own-iterator", "late-start",
                                  "empty-pieces"])  # fmt: skip
def test_results(client, kind):
    answer = client.request("GET", f"/result/{kind}")
    assert (answer.status, answer.body, answer.complete) == (200, b"one,two,three", True)
    if kind in {"list", "tuple", "bytes"}:
        assert answer.header("Content-Length") == "13"
    assert still_kept(client)


@pytest.mark.parametrize("kind", ["empty-list", "empty-tuple", "empty-bytes", "empty-iterator", "list-of-empty",
                                  "only-empty-pieces"])  # fmt: skip
def test_empty_results(client, kind):
    answer = client.request("GET", f"/result/{kind}")
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)
    assert answer.header("Content-Length") == "0"
    assert still_kept(client)


@over(*HTTP_FRONTS)
def test_pieces_are_sent_as_chunks(client):
    answer = client.request("GET", "/result/generator")
    assert answer.header("Transfer-Encoding") == "chunked"
    assert answer.chunks == [b"one,", b"two,", b"three"]
    assert not answer.closed


@pytest.mark.parametrize("kind", ["list", "generator", "bytes", "write", "file", "bytesio"])
@pytest.mark.parametrize("size", [2, 1000, 300000])
def test_content_length(client, kind, size):
    answer = client.request("GET", f"/lengths/{kind}/{size}/{size}")
    assert answer.body == b"x" * size
    assert answer.complete
    assert answer.header("Content-Length") == str(size)
    assert answer.header("Transfer-Encoding") is None
    assert still_kept(client)


@pytest.mark.parametrize("kind", ["list", "generator", "bytes", "write", "file", "bytesio"])
@pytest.mark.parametrize("sizes", [(10, 4), (1, 0), (400000, 100000)])
def test_body_shorter_than_its_length(client, site, kind, sizes, token):
    announced, real = sizes
    answer = client.request("GET", f"/lengths/{kind}/{announced}/{real}?{token}")
    assert answer.header("Content-Length") == str(announced)
    assert answer.body == b"x" * real
    assert not answer.complete
    assert answer.closed, "a kept connection would take the next answer for the rest of this one"
    site.log(rf"ERROR .*{token}.*{real} bytes.*{announced}|ERROR .*{token}.*Content-Length")
    assert client.request("POST", "/echo", body=b"next").body == b"next"


@pytest.mark.parametrize("kind", ["list", "generator", "bytes", "write"])
@pytest.mark.parametrize("sizes", [(4, 10), (0, 10), (100000, 400000)])
def test_body_longer_than_its_length(client, site, kind, sizes, token):
    announced, real = sizes
    answer = client.request("GET", f"/lengths/{kind}/{announced}/{real}?{token}")
    assert answer.header("Content-Length") == str(announced)
    assert (answer.body, answer.complete) == (b"x" * announced, True)
    pieces = real // 2 if kind == "generator" else real  # the rest is not asked for
    site.log(rf"ERROR .*{token}.* at least {pieces - announced} bytes longer than its Content-Length")
    assert still_kept(client)


def test_nothing_is_asked_for_behind_its_length(client, site, token):
    """Else an answer without an end would have its core for ever."""
    answer = client.request("GET", f"/repeat/5?{token}")
    assert (answer.body, answer.complete) == (b"xxxxx", True)
    site.log(rf"asked for 6 {token}")
    site.log(rf"closed {token}")
    assert still_kept(client)


def test_what_is_behind_the_last_piece_is_run(client, site, token):
    answer = client.request("GET", f"/then/{token}")
    assert (answer.body, answer.complete) == (b"whole", True)
    site.log(rf"and then {token}")
    site.log(rf"closed {token}")


@pytest.mark.parametrize("blocks", [1, 20, 300])
def test_long_streams(client, blocks):
    answer = client.request("GET", f"/big/{blocks}")
    assert len(answer.body) == blocks * 65536
    assert answer.body == bytes(range(256)) * 256 * blocks
    assert answer.complete


# Answers without a body


@pytest.mark.parametrize("target, length", [
    ("/result/list", "13"), ("/result/generator", None), ("/result/bytes", "13"), ("/lengths/list/5/5", "5"),
    ("/lengths/generator/300000/300000", "300000"), ("/lengths/list/5/0", "5"), ("/lengths/file/70000/70000", "70000"),
    ("/writing/alone", None), ("/writing/length", "9"), ("/file/plain/100/0", "100"), ("/file/bytesio/100/0", None),
    ("/big/100", None),
])  # fmt: skip
def test_head(client, target, length):
    answer = client.request("HEAD", target)
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)
    assert answer.header("Content-Length") == length
    assert answer.header("Transfer-Encoding") is None
    assert still_kept(client)


@pytest.mark.parametrize("kind", ["empty-list", "empty-iterator"])
def test_head_without_a_body_has_no_length(client, kind):
    """An application may leave the body of a HEAD answer out: that says nothing about GET's length."""
    assert client.request("HEAD", f"/result/{kind}").header("Content-Length") in {None, "13"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("body", [[], ["not", " allowed"]])
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_statuses_without_a_body(client, method, body, status):
    told = {"status": status, "headers": [("ETag", '"x"'), ("Content-Length", "11")], "body": body}
    answer = answer_of(client, told, method)
    assert (answer.status, answer.body, answer.complete) == (int(status[:3]), b"", True)
    assert answer.header("ETag") == '"x"'
    assert answer.header("Transfer-Encoding") is None
    assert answer.header("Content-Length") == (None if status[:3] == "204" else "11")
    assert still_kept(client)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_no_length_is_made_up(client, status):
    assert answer_of(client, {"status": status}).header("Content-Length") is None
    assert still_kept(client)


# HTTP/1.0 and kept connections


@over(*HTTP_FRONTS)
@pytest.mark.parametrize("kind", ["list", "generator"])
def test_http_1_0(client, kind):
    answer = client.request("GET", f"/result/{kind}", version="HTTP/1.0")
    assert (answer.body, answer.complete, answer.closed) == (b"one,two,three", True, True)
    assert answer.header("Transfer-Encoding") is None
    assert answer.header("Connection") in {None, "close"}


@over(*HTTP_FRONTS)
def test_http_1_0_kept(client):
    for _ in range(2):
        answer = client.request("GET", "/result/list", [("Connection", "Keep-Alive")], version="HTTP/1.0")
        assert (answer.body, answer.closed) == (b"one,two,three", False)
        assert answer.header("Connection").lower() == "keep-alive"
    answer = client.request("GET", "/result/generator", [("Connection", "keep-alive")], version="HTTP/1.0")
    assert (answer.body, answer.complete, answer.closed) == (b"one,two,three", True, True)


@over(*HTTP_FRONTS)
@pytest.mark.parametrize("value", ["close", "Close", "x, close"])
def test_client_that_closes(client, value):
    answer = client.request("GET", "/result/list", [("Connection", value)])
    assert (answer.header("Connection"), answer.body, answer.closed) == ("close", b"one,two,three", True)


@over(*KEPT_FRONTS)
def test_kept_connection(client):
    for number in range(50):
        answer = client.request("POST", "/echo", body=b"%d" % number)
        assert (answer.body, answer.closed) == (b"%d" % number, False)


@over("http", "fastcgi", "fastcgi-kept")
def test_an_answer_of_more_records_than_one_call_sends(client):
    """FastCGI cuts 34 MiB into 545 records, and each is a head and a content."""
    size = 34 << 20
    answer = client.request("GET", f"/large/{size}")
    assert (len(answer.body), answer.complete) == (size, True)
    assert answer.body.count(b"x") == size
    assert still_kept(client)


@over("http", "mongrel2", "mongrel2-tnetstring")
def test_pipelining(client):
    for number in range(20):
        client.send("POST" if number % 2 else "HEAD", "/echo", body=b"%d" % number)
    for number in range(20):
        answer = client.receive()
        assert answer.body == (b"%d" % number if number % 2 else b"")
        assert not answer.closed


@over("http")
@pytest.mark.parametrize("sizes", [(100_000, 4096), (34 << 20, 65536)])
def test_a_request_behind_a_large_last_answer_loses_nothing_of_that(client, site, token, tmp_path, sizes):
    """What came to a closed connection would have the kernel drop what the client has not got yet."""
    size, room = sizes
    with site.client("http") as busy:
        busy.send("GET", f"/late/{token}?{tmp_path}/file")
        site.log(f"begun {token}")
        client.connect()  # with the request there when it is accepted, so that it need not be watched
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        client.resume("GET", client.encode("GET", f"/large/{size}?close"))
        (tmp_path / "file").touch()
        busy.receive()
    client.wire.fill()
    client.sock.sendall(client.encode("GET", "/result/list"))
    answer = client.receive()
    assert (len(answer.body), answer.complete, answer.closed) == (size, True, True)
    assert not client.wire.broken


@over("http", "fastcgi-kept")
def test_requests_in_one_piece(client):
    """The next request may come with the end of the one before."""
    data = b"".join(client.encode("POST", "/echo", body=b"%d" % number) for number in range(10))
    client.start(data)
    for number in range(10):
        client.methods.append("POST")
        assert client.receive().body == b"%d" % number


@over("http", "fastcgi-kept", "uwsgi", "scgi")
def test_requests_byte_by_byte(client):
    data = client.encode("POST", "/echo", body=b"body")
    client.start(data[:1])
    for at in range(1, len(data) - 1):
        client.sock.sendall(data[at : at + 1])
    client.resume("POST", data[-1:])
    answer = client.receive()
    assert (answer.body, answer.complete) == (b"body", True)
    assert still_kept(client)


# 100-continue and refusals


@over("http")
def test_100_continue(client):
    data = client.encode("POST", "/echo", [("Expect", "100-continue")], b"the body")
    client.start(data[: -len(b"the body")])
    client.methods.append("POST")
    assert client.receive().status == 100
    client.resume("POST", b"the body")
    answer = client.receive()
    assert (answer.status, answer.body, answer.closed) == (200, b"the body", False)


@over("http")
def test_no_100_for_a_body_that_is_there(client):
    answer = client.request("POST", "/echo", [("Expect", "100-continue")], b"the body")
    assert (answer.status, answer.body) == (200, b"the body")
    assert client.request("GET", "/result/list").status == 200


@over("http")
def test_expect_of_http_1_0_is_ignored(client):
    answer = client.request("POST", "/echo", [("Expect", "100-continue")], b"body", "HTTP/1.0")
    assert (answer.status, answer.body) == (200, b"body")


@over("http")
def test_unknown_expectation(client):
    assert client.request("POST", "/echo", [("Expect", "miracles")], b"body").status == 417
