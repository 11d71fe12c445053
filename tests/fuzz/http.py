"""HTTP: all readers say the same, however the bytes are cut, and whatever is served h11 and llhttp read alike."""

from __future__ import annotations

import random

import h11
import httptools

from appserver.protocols.http import USUAL, HttpCodec, RequestLimits
from tests.protocols.feeding import BASE, READERS, feed

PIECES = [
    b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"/", b"*", b"http://h/", b"/a%2f?b=c", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n",
    b"Host: h\r\n", b"Host: h:80\r\n", b"Content-Length: ", b"5\r\n", b"0\r\n", b"10\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:", b"chunked", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"X: y\r\n", b"Cookie: a=b\r\n", b"\r\n", b"\n", b"\r", b"hello", b";e=f",
    b" ", b"\t", b":", b",", b"\x00", b"\x0b", b"\x80", b"\xff", b"5", b"a", b"A\r\n0123456789\r\n", b"5\r\nhello\r\n",
    b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"POST / HTTP/1.1\r\nHost: h\r\n",
    b"GET /" + b"a" * 20 + b" HTTP/1.0\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"b" * 40, b"Z: " + b"z" * 40 + b"\r\n",
    b"1\r\nx\r\n" * 4, b"T: t\r\n" * 3,
]  # fmt: skip


def check(data: bytes) -> None:
    """Fail where a sequence of bytes has two meanings; the first byte says how the others are cut, and what is too much."""
    wire, chance = data[1:], random.Random(data[:1])
    pieces = [wire[start:stop] for start, stop in _spans(len(wire), chance)]
    # A head that goes on may be too large by now, or be found so at its end.
    _served(wire + b"\r\n\r\n", [*pieces, b"\r\n\r\n"], _tight(chance))
    served = _served(wire, pieces, USUAL)
    told = [(x["REQUEST_METHOD"], x["REQUEST_URI"], body) for x, body in served]
    for mine, theirs in zip(told, by_h11(wire, len(told)), strict=False):
        assert mine == theirs
    for mine, theirs in zip(told, by_llhttp(wire), strict=False):
        assert mine == theirs


def _served(wire, pieces, limits):
    """Return what is served, by any reader and however it is cut."""
    found = {
        (reader, how): feed(HttpCodec(BASE, READERS[reader], limits), given)
        for reader in READERS
        for how, given in (("whole", [wire]), ("cut", pieces))
    }
    for how in ("whole", "cut"):
        assert found["h11", how] == found["httptools", how] == found["auto", how], how
    whole, cut = found["h11", "whole"], found["h11", "cut"]
    served = [each for each in whole if not isinstance(each, str)]
    assert [each for each in cut if not isinstance(each, str)] == served
    assert len(whole) == len(cut), "it is refused, or not, however it is cut"
    return served


def _tight(chance):
    """Return limits that what is put together here meets often."""
    return RequestLimits(
        size=chance.randrange(16, 256), line=chance.randrange(12, 64), fields=chance.randrange(6),
        field=chance.randrange(8, 48), chunks=chance.randrange(4), trailers=chance.randrange(3),
        requests=chance.randrange(1, 4),
    )  # fmt: skip


def _spans(size, chance):
    at = sorted(chance.randrange(size + 1) for _ in range(chance.randrange(6)))
    return zip([0, *at], [*at, size], strict=True)


def by_h11(wire, count):
    """Return what h11 makes of the first *count* requests."""
    found: list[tuple[str, str, bytes]] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(wire)
    while len(found) < count:
        request, body = connection.next_event(), b""
        assert type(request) is h11.Request
        try:
            while type(event := connection.next_event()) is h11.Data:
                body += bytes(event.data)
        except h11.RemoteProtocolError:  # it looks at trailers, too, which are dropped here
            break
        assert type(event) is h11.EndOfMessage
        found.append((request.method.decode(), request.target.decode("latin-1"), body))
        connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is not h11.DONE:  # it keeps no connections of HTTP/1.0
            break
        connection.start_next_cycle()
    return found


class _Heard:
    """Gather what llhttp says."""

    def __init__(self):
        self.found = []
        self.url = self.body = b""
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self):
        self.url = self.body = b""

    def on_url(self, data):
        self.url += data

    def on_body(self, data):
        self.body += data

    def on_message_complete(self):
        self.found.append((self.parser.get_method().decode(), self.url.decode("latin-1"), self.body))


def by_llhttp(wire):
    """Return what llhttp makes of it by itself; it knows fewer methods and targets than there are."""
    heard = _Heard()
    try:
        heard.parser.feed_data(wire)
    except httptools.HttpParserError:
        pass
    except httptools.HttpParserUpgrade:  # whose body it leaves to somebody else
        heard.found.pop()
    return heard.found
