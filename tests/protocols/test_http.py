"""HTTP requests that are served: each whole, byte by byte and with others behind it."""

import pytest

from appserver.exchange import Exchange
from appserver.protocols.http import HttpCodec
from appserver.protocols.upgrade import Upgrade

from .feeding import BASE, CUTS, READERS, cut, feed, http, summary

pytestmark = pytest.mark.parametrize("reader", READERS)

NEXT = b"GET /next HTTP/1.1\r\nHost: n\r\n\r\n"


def request(line, *fields, body=b""):
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1") + body


SERVED = {
    "plain": (request("GET /a?b=c HTTP/1.1", "Host: h"), b"",
              {"REQUEST_METHOD": "GET", "PATH_INFO": "/a", "QUERY_STRING": "b=c", "REQUEST_URI": "/a?b=c",
               "HTTP_HOST": "h", "SERVER_PROTOCOL": "HTTP/1.1", "SCRIPT_NAME": ""}),
    "length": (request("POST / HTTP/1.1", "Host: h", "Content-Length: 5", body=b"hello"), b"hello",
               {"CONTENT_LENGTH": "5"}),
    "a length with zeros before it": (
        request("POST / HTTP/1.1", "Host: h", "Content-Length: 005", body=b"hello"), b"hello", {}),
    "a length of nothing": (request("POST / HTTP/1.1", "Host: h", "Content-Length: 0"), b"",
                            {"CONTENT_LENGTH": "0"}),
    "chunks": (request("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked",
                       body=b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: t\r\n\r\n"), b"hello!", {}),
    "chunks, shouted": (request("POST / HTTP/1.1", "Host: h", "TRANSFER-ENCODING: CHUNKED",
                                body=b"0\r\n\r\n"), b"", {}),
    "a coding of the content": (
        request("POST / HTTP/1.1", "Host: h", "Content-Encoding: gzip", "TE: trailers",
                "Content-Length: 2", body=b"\x1f\x8b"), b"\x1f\x8b",
        {"HTTP_CONTENT_ENCODING": "gzip", "HTTP_TE": "trailers"}),
    "escapes are decoded once": (request("GET /%2541/%e2%82%ac/%zz?%41 HTTP/1.1", "Host: h"), b"",
                                 {"PATH_INFO": "/%41/\xe2\x82\xac/%zz", "QUERY_STRING": "%41"}),
    "a path stays as sent": (request("GET //a/../b/./%2e%2e/ HTTP/1.1", "Host: h"), b"",
                             {"PATH_INFO": "//a/../b/./../"}),
    "a tab in a path": (request("GET /%09 HTTP/1.1", "Host: h"), b"", {"PATH_INFO": "/\t"}),
    "question marks": (request("GET /a??b?c HTTP/1.1", "Host: h"), b"",
                       {"PATH_INFO": "/a", "QUERY_STRING": "?b?c"}),
    "absolute form": (request("GET http://H/p%20q?x=/y?z HTTP/1.1", "Host: h"), b"",
                      {"PATH_INFO": "/p q", "QUERY_STRING": "x=/y?z", "HTTP_HOST": "h",
                       "REQUEST_URI": "http://H/p%20q?x=/y?z"}),
    "absolute form without a path": (request("GET https://h?x HTTP/1.1", "Host: h"), b"",
                                     {"PATH_INFO": "/", "QUERY_STRING": "x", "wsgi.url_scheme": "http"}),
    "absolute form says the host": (
        request("GET http://h:8/ HTTP/1.0", "Connection: keep-alive"), b"",
        {"HTTP_HOST": "h:8", "SERVER_PROTOCOL": "HTTP/1.0"}),
    "OPTIONS *": (request("OPTIONS * HTTP/1.1", "Host: h"), b"", {"PATH_INFO": "", "REQUEST_URI": "*"}),
    "a method nobody knows": (request("M-SEARCH_X /a HTTP/1.1", "Host: h"), b"",
                              {"REQUEST_METHOD": "M-SEARCH_X"}),
    "blanks around a value": (
        request("GET / HTTP/1.1", "Host:h", "X-A:  \t a \t b\t ", "X-E:", "X-F: \t "), b"",
        {"HTTP_HOST": "h", "HTTP_X_A": "a \t b", "HTTP_X_E": "", "HTTP_X_F": ""}),
    "bytes beyond ASCII are kept": (request("GET / HTTP/1.1", "Host: h", "X-A: \x85\xe9\xa0"), b"",
                                    {"HTTP_X_A": "\x85\xe9\xa0"}),
    "repeated fields": (
        request("GET / HTTP/1.1", "Host: h", "Cookie: a=1", "X-A: 1", "cookie: b=2", "x-a: 2", "X-a:"), b"",
        {"HTTP_COOKIE": "a=1; b=2", "HTTP_X_A": "1, 2, "}),
    "IPv6": (request("GET / HTTP/1.1", "Host: [::1]:8080"), b"", {"HTTP_HOST": "[::1]:8080"}),
    "a port of nothing": (request("GET / HTTP/1.1", "Host: h:"), b"", {"HTTP_HOST": "h:"}),
    "an upgrade is a wish": (
        request("GET / HTTP/1.1", "Host: h", "Connection: Upgrade", "Upgrade: h2c"), b"",
        {"HTTP_UPGRADE": "h2c"}),
    "the longest line": (request(f"GET /{'a' * 8176} HTTP/1.1", "Host: h"), b"", {}),
    "the most fields": (request("GET / HTTP/1.1", "Host: h", *["X: y"] * 99), b"", {}),
}  # fmt: skip


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name", SERVED)
def test_is_served(reader, name, how):
    wire, body, expected = SERVED[name]
    [(environ, read)] = http(wire, reader, how)
    assert read == body
    assert expected.items() <= environ.items()


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name", SERVED)
def test_what_follows_is_the_next_request(reader, name, how):
    wire, body, _ = SERVED[name]
    first, *rest = http(wire + NEXT + b"garbage\r\n\r\n" + NEXT, reader, how)
    assert first[1] == body
    assert summary(rest) == ["GET /next", "400"]


def test_nothing_is_read_behind_a_refusal(reader):
    assert summary(http(b"GET\r\n\r\n" + NEXT, reader)) == ["400"]


def test_pipelines_keep_their_order(reader):
    wire = b"".join(
        request(f"POST /{n} HTTP/1.1", "Host: h", f"Content-Length: {n % 7}", body=b"b" * (n % 7))
        if n % 2
        else request(f"POST /{n} HTTP/1.1", "Host: h", "Transfer-Encoding: chunked",
                     body=b"%x\r\n%b\r\n0\r\n\r\n" % (n + 1, b"c" * (n + 1)))
        for n in range(50)
    )  # fmt: skip
    expected = [f"POST /{n} {'b' * (n % 7) if n % 2 else 'c' * (n + 1)}".rstrip() for n in range(50)]
    assert summary(http(wire, reader)) == expected
    assert summary(http(wire, reader, "bytes")) == expected


UNFINISHED = [
    b"", b"G", b"GET / HTTP/1.1\r\nHost: h\r\n\r", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhell",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
]  # fmt: skip


@pytest.mark.parametrize("wire", UNFINISHED)
def test_an_unfinished_request_is_none(reader, wire):
    assert http(wire, reader) == http(wire, reader, "bytes") == []


@pytest.mark.parametrize(
    "version, field, kept",
    [
        ("1.1", "X: y", True),
        ("1.1", "Connection: close", False),
        ("1.1", "Connection: CLOSE , x", False),
        ("1.1", "Connection: x\r\nConnection: close", False),
        ("1.1", "Connection: closed", True),
        ("1.1", "Connection: keep-alive", True),
        ("1.1", "Connection: close, keep-alive", False),
        ("1.0", "X: y", False),
        ("1.0", "Connection: keep-alive", True),
        ("1.0", "Connection: Keep-Alive, x", True),
        ("1.0", "Connection: close, keep-alive", False),
        ("1.0", "Connection: keep-alive\r\nConnection: close", False),
        ("1.0", "Proxy-Connection: keep-alive", False),
    ],
)
def test_who_keeps_the_connection(reader, version, field, kept):
    codec = HttpCodec(BASE, READERS[reader])
    x = codec.receive(request(f"GET / HTTP/{version}", "Host: h", field))
    assert isinstance(x, Exchange)
    assert x.keep_alive is kept


@pytest.mark.parametrize(
    "version, field, goes_on",
    [
        ("1.1", "X: y", True),
        ("1.1", "Connection: keep-alive", True),
        ("1.1", "Connection: closed", True),
        ("1.1", "Connection: CLOSE , x", False),
        ("1.0", "Connection: keep-alive", False),
    ],
)
@pytest.mark.parametrize("made", [{}, {"HTTP_CONNECTION": None}, {"HTTP_CONNECTION": "close"}])
def test_who_may_send_more_before_the_end(reader, version, field, goes_on, made):
    """What the application makes of its environ changes nothing."""
    codec = HttpCodec(BASE, READERS[reader])
    x = codec.receive(request(f"GET / HTTP/{version}", "Host: h", field))
    x.environ.update(made)
    assert codec.goes_on(x) is goes_on


@pytest.mark.parametrize("version, waits", [("1.1", True), ("1.0", False)])
def test_the_body_is_asked_for(reader, version, waits):
    codec = HttpCodec(BASE, READERS[reader])
    x = codec.receive(
        request(f"PUT / HTTP/{version}", "Host: h", "Expect: 100-Continue", "Content-Length: 2")
    )
    assert x.expect is waits
    x.expect = False  # whoever asks notes first that it does
    assert codec.ask(x) == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_a_reader_forgets_what_it_read(reader):
    """After errors, upgrades, bodies and closed connections the next head is read like the first."""
    good = request("GET /good HTTP/1.1", "Host: h", "X-A: 1")
    before = [
        request("GET / HTTP/1.1", "Host: h", "X B: 1"),
        request("GET / HTTP/1.1", "Host: h", "Connection: upgrade", "Upgrade: websocket"),
        request("GET / HTTP/1.1", "Host: h", "Connection: close"),
        request("GET / HTTP/1.0"),
        request("POST / HTTP/1.1", "Host: h", "Content-Length: 1000"),
        request("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked"),
        request("POST / HTTP/1.1", "Host: h", "Content-Length: 1", "Content-Length: 1"),
    ]
    expected = http(good, reader)
    for wire in before:
        http(wire, reader)
        assert http(good, reader) == expected


@pytest.mark.parametrize(("fields", "asked"), [
    ((), True), (("Content-Length: 0",), True), (("Content-Length: 00",), True), (("Content-Length: 1",), False),
    (("Transfer-Encoding: chunked",), False),
])  # fmt: skip
def test_a_handshake_has_no_body(reader, fields, asked):
    """However that is said: what announces one is a request as any other."""
    head = request("GET / HTTP/1.1", "Host: h", "Connection: upgrade", "Upgrade: websocket", *fields)
    x = HttpCodec(BASE, READERS[reader]).receive(head)
    assert isinstance(x, Upgrade) is asked
    assert bool(x.body_left) is not asked


def test_a_base_is_never_written(reader):
    base = dict(BASE)
    feed(HttpCodec(base, READERS[reader]), cut(SERVED["length"][0], "whole"))
    assert base == BASE
