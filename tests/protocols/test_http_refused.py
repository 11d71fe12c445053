"""HTTP requests that are refused (RFC 9112), and what they would have smuggled."""

import pytest

from appserver.protocols.codec import ProtocolError
from appserver.protocols.http import HttpCodec

from .feeding import CUTS, READERS, http, summary

pytestmark = pytest.mark.parametrize("reader", READERS)

LINE = "GET / HTTP/1.1\r\nHost: h\r\n"
POST = "POST / HTTP/1.1\r\nHost: h\r\n"
TE, CL = "Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n"
BEHIND = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

HEADS = {
    "400": [
        # H1 to H6: two ways to end a body
        POST + CL + TE, POST + TE + CL, POST + TE + TE,
        *(POST + f"Transfer-Encoding:{value}\r\n" for value in (
            " xchunked", " chunked, identity", " identity", " gzip", " gzip, chunked", " chunked, chunked",
            " ,chunked", " chunked,", "\x0bchunked", "\x0cchunked", " chunked\x00", "\xa0chunked",
            ' "chunked"', " chunked;q=1", " chun ked", "", " chunked\x85",
        )),
        POST + "Transfer-Encoding : chunked\r\n", POST + "Transfer-Encoding\t: chunked\r\n",
        POST + " Transfer-Encoding: chunked\r\n", "POST / HTTP/1.0\r\n" + TE,
        # H9 to H11: lengths
        *(POST + f"Content-Length:{value}\r\n" for value in (
            "", " ", " +5", " -5", " 0x5", " 5_0", " 5,5", " 5, 5", " 5;", " 1e1", " 5 5", " 5.", " \u0663".encode().decode("latin-1"),
            " \xb2", " 9223372036854775808", " 18446744073709551621", " " + "9" * 20, " " + "0" * 30 + "5",
        )),
        POST + CL + CL, POST + CL + "content-length: 6\r\n",
        # H14 to H18: line ends and characters
        "GET / HTTP/1.1\nHost: h\r\n", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n", LINE + "X: a\rb\r\n",
        LINE + "X\r: a\r\n", "GET /\r HTTP/1.1\r\nHost: h\r\n", "GET / HTTP/1.1\r\r\nHost: h\r\n",
        LINE + "X: a\x00b\r\n", LINE + "X\x00: a\r\n", "GET /\x00 HTTP/1.1\r\nHost: h\r\n",
        LINE + "X: a\x7f\r\n", LINE + "X: a\x0b\r\n", LINE + "X: \x1b[31m\r\n",
        LINE + "X: a\r\n b\r\n", LINE + "X: a\r\n\tb\r\n", LINE + "X:\r\n \r\n",
        LINE + ": a\r\n", LINE + "X\r\n", LINE + "X a: b\r\n", LINE + "X(: b\r\n", LINE + "\xe9: b\r\n",
        LINE + "GET /admin HTTP/1.1\r\n", " " + LINE, "\r\n" + LINE, "\r\n",
        # H33: Host
        "GET / HTTP/1.1\r\n", "GET http://h/ HTTP/1.1\r\n", LINE + "Host: h\r\n", LINE + "HOST: g\r\n",
        *(f"GET / HTTP/1.1\r\nHost: {host}\r\n" for host in (
            "", "a,b", "a/b", "u@h", "a b", "h:x", "h:123456", "[::1", "h:1:2", "http://h", "a?b", "a#b",
            "a\\b", "<h>", "h\xe9", "[::1]x", "[]",
        )),
        "GET / HTTP/1.0\r\nHost: a/b\r\n",
        # H34, H38, H39: targets
        "GET http://g/ HTTP/1.1\r\nHost: h\r\n", "GET h:80 HTTP/1.1\r\nHost: h\r\n",
        "GET * HTTP/1.1\r\nHost: h\r\n", "OPTIONS *? HTTP/1.1\r\nHost: h\r\n", "GET x HTTP/1.1\r\nHost: h\r\n",
        "GET http:/// HTTP/1.1\r\nHost: h\r\n", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n",
        "GET http://u@h/ HTTP/1.0\r\n", "GET http://h#f HTTP/1.0\r\n", "GET ?a HTTP/1.1\r\nHost: h\r\n",
        "GET /#f HTTP/1.1\r\nHost: h\r\n", "GET /a?b#f HTTP/1.1\r\nHost: h\r\n",
        "GET /\xe9 HTTP/1.1\r\nHost: h\r\n", "GET /%00 HTTP/1.1\r\nHost: h\r\n",
        "GET /a%0aX:y HTTP/1.1\r\nHost: h\r\n", "GET /%0d HTTP/1.1\r\nHost: h\r\n", "GET /%7F HTTP/1.1\r\nHost: h\r\n",
        # H35: request lines
        "GET  / HTTP/1.1\r\nHost: h\r\n", "GET\t/ HTTP/1.1\r\nHost: h\r\n", "GET / HTTP/1.1 \r\nHost: h\r\n",
        "GET / HTTP/1.10\r\nHost: h\r\n", "GET / HTTP/1\r\nHost: h\r\n", "GET / http/1.1\r\nHost: h\r\n",
        "get / HTTP/1.1\r\nHost: h\r\n", "GET /\r\nHost: h\r\n", "GET / XTTP/1.1\r\nHost: h\r\n",
        "G@T / HTTP/1.1\r\nHost: h\r\n", "GET / a HTTP/1.1\r\nHost: h\r\n", "A" * 33 + " / HTTP/1.1\r\nHost: h\r\n",
        # repeated fields that cannot be lists
        *(LINE + f"{name}: a\r\n{name.lower()}: a\r\n" for name in (
            "Content-Type", "Authorization", "User-Agent", "Referer", "From", "If-Modified-Since",
        )),
    ],
    "414": [f"GET /{'a' * 8177} HTTP/1.1\r\nHost: h\r\n", f"GET /{'a' * 20000} HTTP/1.1\r\nHost: h\r\n"],
    "417": [LINE + "Expect: x\r\n", LINE + "Expect: 100-continue\r\nExpect: 100-continue\r\n", LINE + "Expect:\r\n"],
    "431": [LINE + "X: y\r\n" * 100, LINE + "X: " + "y" * 65536 + "\r\n", LINE + "X: y\r\n" * 11000],
    "501": ["CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n", "CONNECT / HTTP/1.1\r\nHost: h\r\n",
            "TRACE / HTTP/1.1\r\nHost: h\r\n", "TRACE / HTTP/1.1\r\n"],
    "505": ["GET / HTTP/2.0\r\nHost: h\r\n", "GET / HTTP/0.9\r\n", "GET / HTTP/1.2\r\nHost: h\r\n",
            "PRI * HTTP/2.0\r\n"],
}  # fmt: skip


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize(
    "verdict, head",
    [pytest.param(v, h, id=f"{v}-{h[:60]!r}-{len(h)}") for v, heads in HEADS.items() for h in heads],
)
def test_is_refused(reader, how, verdict, head):
    wire = f"{head}\r\n{BEHIND}".encode("latin-1")
    assert summary(http(wire, reader, how)) == [verdict]


BODIES = [
    "x\r\n", "0x5\r\nhello\r\n", "+5\r\nhello\r\n", "-5\r\nhello\r\n", "5_0\r\nhello\r\n", "\r\nhello\r\n",
    "5 \r\nhello\r\n", " 5\r\nhello\r\n", "G\r\n", "0" * 17 + "5\r\nhello\r\n", "ffffffffffffffff\r\n",
    "5\r\nhello0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhelloXX", "5\r\nhello!!0\r\n\r\n",
    "5;a\rb\r\nhello\r\n", "5;a\x00\r\nhello\r\n", "5\nhello\r\n", "5;\nhello\r\n", "5\r\rhello\r\n",
    "5;" + "x" * 4096 + "\r\nhello\r\n", "0\r\nGET /admin HTTP/1.1\r\n\r\n", "0\r\nX: y\n\r\n", "0\r\n X: y\r\n\r\n",
    "0\r\n: y\r\n\r\n", "0\r\nX : y\r\n\r\n", "0\r\nX: \x00\r\n\r\n", "0\r\nX: a\rb\r\n\r\n", "0\n\r\n", "0\r\n\n",
    "0\r\nX: " + "y" * 4096 + "\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("body", BODIES, ids=lambda body: f"{body[:40]!r}-{len(body)}")
def test_chunks_that_are_none(reader, how, body):
    wire = f"{POST}{TE}\r\n{body}{BEHIND}".encode("latin-1")
    assert summary(http(wire, reader, how)) == ["400"]


def test_trailers_are_limited(reader):
    wire = f"{POST}{TE}\r\n0\r\n" + "X: y\r\n" * 10000 + BEHIND
    assert summary(http(wire.encode(), reader)) == ["431"]


def test_trailers_never_reach_the_environ(reader):
    trailers = "Content-Length: 50\r\nHost: evil\r\nTransfer-Encoding: gzip\r\nX-Forwarded-For: 1.2.3.4\r\n"
    plain = http(f"{POST}{TE}\r\n0\r\n\r\n".encode(), reader)
    assert http(f"{POST}{TE}\r\n0\r\n{trailers}\r\n".encode(), reader) == plain


TOKEN = b"!#$%&'*+.^_`|~-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PLACES = [
    "%bTransfer-Encoding: chunked", "Transfer-Encoding%b: chunked", "Transfer%b-Encoding: chunked",
    "Transfer-Encoding:%bchunked", "Transfer-Encoding: %bchunked", "Transfer-Encoding: chunked%b",
    "Transfer-Encoding: chun%bked", "X: y%bTransfer-Encoding: chunked", "X: y\r%bTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\n%bX: y", "Transfer-Encoding: x\r\n%bchunked",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_nothing_hides_a_transfer_encoding(reader, place):
    """Beside a Content-Length no odd byte makes the body's end a matter of opinion (CL.TE)."""
    length = f"Content-Length: {len(BEHIND)}\r\n".encode()
    for byte in range(256):
        odd = place.encode().replace(b"%b", bytes([byte]))
        found = summary(http(POST.encode() + odd + b"\r\n" + length + b"\r\n" + BEHIND.encode(), reader))
        assert found in (["400"], [f"POST / {BEHIND}"]), bytes([byte])


@pytest.mark.parametrize("place", [place for place in PLACES if not place.startswith("X: y%b")])
def test_nothing_hides_a_content_length(reader, place):
    """With a length shorter than the chunks what hides behind it is not served (TE.CL)."""
    wire = b"Content-Length: 4\r\n\r\n5c\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
    for byte in set(range(256)) - set(TOKEN + b":"):  # those make another name, for anybody
        odd = place.encode().replace(b"%b", bytes([byte]))
        assert summary(http(POST.encode() + odd + b"\r\n" + wire, reader)) == ["400"], bytes([byte])


FOREIGN = [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), "TLS"),
    (b"\x00\x1a\x00\x00\x0e\x00REQUEST_METHOD\x03\x00GET", "uwsgi"),
]


@pytest.mark.parametrize("wire, said", FOREIGN)
def test_another_protocol_is_named(reader, wire, said):
    with pytest.raises(ProtocolError, match=f"speaks {said} to it"):
        HttpCodec({}, READERS[reader]).receive(wire)
