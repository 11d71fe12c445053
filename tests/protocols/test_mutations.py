"""Whatever comes, however it is cut: only ProtocolError escapes a codec."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appserver.protocols.codec import ProtocolError
from appserver.protocols.fastcgi import FastcgiCodec
from appserver.protocols.http import HttpCodec, RequestLimits
from appserver.protocols.mongrel2 import parse
from appserver.protocols.scgi import ScgiCodec
from appserver.protocols.uwsgi import UwsgiCodec

from .feeding import BASE, READERS, feed, mongrel2
from .wire import GET, M2, begin, fastcgi_request, m2_message, scgi_request, uwsgi_packet

POST = GET | {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5", "HTTP_COOKIE": "a=1", "CONTENT_TYPE": "a/b"}
CHUNKED = b"3\r\nhel\r\n2;x\r\nlo\r\n0\r\nT: t\r\n\r\n"

CODECS = {
    "http-auto": lambda: HttpCodec(BASE, READERS["auto"]),
    "http-h11": lambda: HttpCodec(BASE, READERS["h11"]),
    "http-httptools": lambda: HttpCodec(BASE, READERS["httptools"]),
    "uwsgi": lambda: UwsgiCodec({}),
    "scgi": lambda: ScgiCodec({}),
    "fastcgi": lambda: FastcgiCodec({}),
}
HTTP = [
    b"POST /p?q HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nCookie: a=1\r\n\r\nhello",
    b"POST http://h/p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    + CHUNKED,
]
VALID = {
    "http-auto": HTTP,
    "http-h11": HTTP,
    "http-httptools": HTTP,
    "uwsgi": [
        uwsgi_packet(POST, b"hello"),
        uwsgi_packet(GET | {"HTTP_TRANSFER_ENCODING": "chunked"}, CHUNKED),
    ],
    "scgi": [
        scgi_request(POST, b"hello"),
        scgi_request(GET | {"HTTP_TRANSFER_ENCODING": "chunked"}, CHUNKED),
    ],
    "fastcgi": [
        fastcgi_request(POST, b"hello", step=7, padding=3),
        begin(2) + fastcgi_request(GET, request=2)[16:],
    ],
}
every_codec = pytest.mark.parametrize("name", CODECS)


def cuts(data, wire):
    at = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    return [wire[start:stop] for start, stop in zip([0, *at], [*at, len(wire)], strict=True)]


@every_codec
@settings(max_examples=60)
@given(data=st.data())
def test_a_valid_request_may_be_cut_anywhere(name, data):
    wire = data.draw(st.sampled_from(VALID[name]))
    found = feed(CODECS[name](), cuts(data, wire))
    assert found == feed(CODECS[name](), [wire])
    assert len(found) == 1
    assert found[0][1] in {b"hello", b""}


@every_codec
@settings(max_examples=100)
@given(data=st.data(), tail=st.binary(max_size=60))
def test_a_random_tail(name, data, tail):
    """What was whole before the tail is served whatever the tail is."""
    wire = data.draw(st.sampled_from(VALID[name]))
    found = feed(CODECS[name](), cuts(data, wire + tail))
    assert found[:1] == feed(CODECS[name](), [wire])


@every_codec
@settings(max_examples=200)
@given(data=st.data())
def test_a_mutation(name, data):
    wire = bytearray(data.draw(st.sampled_from(VALID[name])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(wire) - 1))
        piece = data.draw(st.binary(max_size=4))
        wire[at : at + data.draw(st.integers(0, 4))] = piece
        wire = wire or bytearray(b"x")
    pieces = cuts(data, bytes(wire))
    whole, cut = feed(CODECS[name](), [bytes(wire)]), feed(CODECS[name](), pieces)
    served = [item for item in whole if not isinstance(item, str)]
    assert [item for item in cut if not isinstance(item, str)] == served
    assert (len(whole) > len(served)) == (len(cut) > len(served))  # refused, or not, however it is cut


def numbers(low, high):
    return st.integers(low, high)


# What limits each codec, so low that mutated requests meet them: one that nothing meets is not looked at.
LIMITED = {
    **{
        f"http-{name}": (
            st.builds(
                RequestLimits, size=numbers(40, 200), line=numbers(12, 40), fields=numbers(0, 5), field=numbers(10, 40),
                chunks=numbers(0, 3), trailers=numbers(0, 2), requests=numbers(1, 3),
            ),
            lambda limits, reader=reader: HttpCodec(BASE, reader, limits),
        )
        for name, reader in READERS.items()
    },
    "uwsgi": (numbers(8, 256), lambda limit: UwsgiCodec({}, limit)),
    "scgi": (numbers(8, 256), lambda limit: ScgiCodec({}, limit)),
    "fastcgi": (numbers(8, 256), lambda limit: FastcgiCodec({}, limit)),
}  # fmt: skip


@every_codec
@settings(max_examples=200)
@given(data=st.data())
def test_limits(name, data):
    """As a mutation, with as much of it as the limits allow; heads are ended, for one that goes on may be too large."""
    limits, codec = LIMITED[name]
    limit = data.draw(limits)
    least = [b"GET / HTTP/1.0\r\n\r\n"] if name.startswith("http") else []  # it has no field
    wires = st.sampled_from([*VALID[name], *least])
    wire = bytearray(b"".join(data.draw(st.lists(wires, min_size=1, max_size=2))))
    for _ in range(data.draw(st.integers(0, 2))):
        at, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(wire))] * 2)))
        wire[at:stop] = data.draw(st.sampled_from([b"", b"a" * 30, b"x: y\r\n" * 3, b"\r\n\r\n"]))
    end = b"\r\n\r\n" if name.startswith("http") else b""
    whole = feed(codec(limit), [bytes(wire) + end])
    cut = feed(codec(limit), [*cuts(data, bytes(wire)), end])
    served = [item for item in whole if not isinstance(item, str)]
    assert [item for item in cut if not isinstance(item, str)] == served
    assert (len(whole) > len(served)) == (len(cut) > len(served))


@every_codec
@settings(max_examples=60)
@given(wire=st.binary(max_size=200))
def test_noise(name, wire):
    for item in feed(CODECS[name](), [wire[:10], wire[10:]]):
        assert isinstance(item, str)


MESSAGES = [
    m2_message(M2 | {"METHOD": "POST", "content-length": "5", "cookie": ["a=1", "b=2"]}, b"hello", form=form)
    for form in ("json", "tnetstring")
] + [
    m2_message({"METHOD": "JSON"}, b'{"type":"disconnect"}', path=b"@*", form=form)
    for form in ("json", "tnetstring")
]


@settings(max_examples=400)
@given(st.data())
def test_a_mutated_message(data):
    message = bytearray(data.draw(st.sampled_from(MESSAGES)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"\\u20ac", b"[", b"{", b"%0a", b",", b":"])
        )
        message = message or bytearray(b"x")
    message = bytes(message)
    with suppress(ProtocolError):
        assert parse(message).notice in {None, ""} or b"type" in message
    found = mongrel2(message)
    assert isinstance(found, str) or all(
        isinstance(value, str) and value.encode("latin-1") is not None for value in found[0].values()
    )


@settings(max_examples=150)
@given(st.binary(max_size=120))
def test_a_noisy_message(noise):
    assert mongrel2(noise) == "400"
    assert isinstance(mongrel2(b"uuid 1 / " + noise), str)
