"""SCGI."""

import pytest

from appserver.protocols.codec import ProtocolError
from appserver.protocols.scgi import ScgiCodec

from .feeding import CUTS, scgi, summary
from .wire import GET, netstring, scgi_request

POST = GET | {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5"}

SERVED = {
    "GET": (scgi_request(GET), "GET /a b"),
    "POST": (scgi_request(POST, b"hello"), "POST /a b hello"),
    "no CONTENT_LENGTH": (scgi_request({"REQUEST_METHOD": "GET", "PATH_INFO": "/p"}), "GET /p"),
    "an empty value": (scgi_request(GET | {"X": ""}), "GET /a b"),
    "chunks": (scgi_request(GET | {"HTTP_TRANSFER_ENCODING": "chunked"}, b"2\r\nhi\r\n0\r\n\r\n"), "GET /a b hi"),
    "a length twice": (scgi_request([*POST.items(), ("CONTENT_LENGTH", "5")], b"hello"), "POST /a b hello"),
}  # fmt: skip


@pytest.mark.parametrize("behind", [b"", b"garbage", scgi_request(GET)], ids=["alone", "garbage", "request"])
@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name", SERVED)
def test_is_served(name, how, behind):
    wire, expected = SERVED[name]
    assert summary(scgi(wire + behind, how)) == [expected]


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name", SERVED)
def test_a_cut_request_is_none(name, how):
    wire, _ = SERVED[name]
    assert scgi(wire[:-1], how) == []


@pytest.mark.parametrize(
    "client, exact",
    [({}, False), ({"HTTP_CONTENT_LENGTH": "9"}, False), ({"HTTP_CONTENT_LENGTH": "5"}, True)],
    ids=["unknown", "more", "as much"],
)
def test_more_may_come_than_is_announced_unless_the_client_has_announced_no_more(client, exact):
    codec = ScgiCodec({})
    assert codec.receive(scgi_request(POST | client, b"hello")) is not None
    assert codec.exact is exact


BLOCK = scgi_request(GET).partition(b":")[2][:-1]
SIZE = len(BLOCK)

REFUSED = {
    "400": [
        *(b"%b:%b," % (length, BLOCK) for length in (  # S1
            b"0%d" % SIZE, b"+%d" % SIZE, b"-%d" % SIZE, b" %d" % SIZE, b"%d " % SIZE, b"", b"0x10", b"1_0", b"\xb2")),
        b"1234567890", b"12345678901:", b"a", b":",
        netstring(b""), netstring(b"\0"), b"00:,",
        netstring(BLOCK[:-7]),  # S3
        netstring(BLOCK[:-2] + b"2\0"), netstring(BLOCK + b"SCGI\x002\0"),
        netstring(BLOCK[:-1]), netstring(BLOCK + b"x\0"), netstring(BLOCK + b"\0"),  # S4
        netstring(BLOCK, b";"), netstring(BLOCK, b"}"), b"%d:%b," % (SIZE - 1, BLOCK),
        scgi_request([*POST.items(), ("CONTENT_LENGTH", "6")], b"hello"),  # S5
        *(scgi_request(GET | {"CONTENT_LENGTH": length}) for length in ("+5", "-5", "-1", "abc", "1_0", "9" * 30)),
        scgi_request(GET | {"HTTP_X": "a\nb"}), scgi_request(GET | {"A\nB": "x"}),
        scgi_request(GET | {"HTTP_HOST": "a b"}), scgi_request(GET | {"REQUEST_METHOD": "get"}),
        b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"\x00\x1a\x00\x00",
    ],
    "431": [b"999999999:", b"65537:x", b"70000:" + BLOCK],
}  # fmt: skip


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize(
    "verdict, wire",
    [
        pytest.param(v, w, id=f"{v}-{n}-{w[:16]!r}")
        for v, wires in REFUSED.items()
        for n, w in enumerate(wires)
    ],
)
def test_is_refused(verdict, wire, how):
    assert scgi(wire, how) == [verdict]


@pytest.mark.parametrize("how", CUTS)
def test_buffer_size(how):
    assert scgi(scgi_request(GET), how, SIZE - 1) == ["431"]
    assert summary(scgi(scgi_request(GET), how, SIZE)) == ["GET /a b"]


@pytest.mark.parametrize(
    "wire, first",
    [
        (b"GET / HTTP/1.1\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"70000:", b"Status: 431 Request Header Fields Too Large"),
        (b"3:abc;", b"Status: 400 Bad Request"),
    ],
)
def test_a_refusal_is_written_for_whom_it_is(wire, first):
    codec = ScgiCodec({})
    with pytest.raises(ProtocolError) as caught:
        codec.receive(wire)
    assert codec.refuse(caught.value).split(b"\r\n")[0] == first
