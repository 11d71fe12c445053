"""The uwsgi protocol."""

import pytest

from appserver.protocols.codec import ProtocolError
from appserver.protocols.upgrade import Upgrade
from appserver.protocols.uwsgi import UwsgiCodec

from .feeding import CUTS, feed, summary, uwsgi
from .wire import GET, uwsgi_packet

POST = GET | {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5"}
VAR = b"\x03\x00A_B\x01\x00c"

SERVED = {
    "GET": (uwsgi_packet(GET), "GET /a b"),
    "POST": (uwsgi_packet(POST, b"hello"), "POST /a b hello"),
    "only a URI": (uwsgi_packet({"REQUEST_URI": "/x%20y?q", "SERVER_PROTOCOL": "HTTP/1.1"}), "GET /x y"),
    "chunks": (uwsgi_packet(GET | {"HTTP_TRANSFER_ENCODING": "Chunked"}, b"2\r\nhi\r\n0\r\n\r\n"), "GET /a b hi"),
    "a front end that has read the chunks": (
        uwsgi_packet(POST | {"HTTP_TRANSFER_ENCODING": "chunked"}, b"hello"), "POST /a b hello"),
    "an empty value at the end": (uwsgi_packet([*GET.items(), ("X", "")]), "GET /a b"),
    "mounted": (uwsgi_packet(GET | {"SCRIPT_NAME": "/a b"}, modifiers=(30, 0)), "GET"),
    "mounted at a part of the path": (
        uwsgi_packet(GET | {"SCRIPT_NAME": "/a b", "PATH_INFO": "/a b/c"}, modifiers=(30, 0)), "GET /c"),
    "mounted elsewhere": (
        uwsgi_packet(GET | {"SCRIPT_NAME": "/app", "PATH_INFO": "/application"}, modifiers=(30, 0)),
        "GET /application"),
    "mounted at the root": (uwsgi_packet(GET | {"SCRIPT_NAME": "/"}, modifiers=(30, 0)), "GET /a b"),
    "another modifier2": (uwsgi_packet(GET, modifiers=(0, 7)), "GET /a b"),
    "the largest block": (uwsgi_packet([("REQUEST_METHOD", "GET"), ("A", "b" * 65509)]), "GET"),
}  # fmt: skip


@pytest.mark.parametrize("behind", [b"", b"garbage", uwsgi_packet(GET)], ids=["alone", "garbage", "packet"])
@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name", SERVED)
def test_is_served(name, how, behind):
    """One request to a connection: what follows it is no body and no second request."""
    wire, expected = SERVED[name]
    assert summary(uwsgi(wire + behind, how)) == [expected]


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name", SERVED)
def test_a_cut_request_is_none(name, how):
    wire, _ = SERVED[name]
    assert uwsgi(wire[:-1], how) == []


REFUSED = {
    "400": [
        uwsgi_packet([]),  # 0 variables
        uwsgi_packet([("SERVER_PROTOCOL", "HTTP/1.1")]),  # U1
        uwsgi_packet({}, VAR, size=1), uwsgi_packet({}, VAR, size=2), uwsgi_packet({}, VAR, size=4),
        uwsgi_packet({}, VAR, size=6), uwsgi_packet({}, VAR, size=7),  # U2: the block ends within a pair
        *(uwsgi_packet({}, VAR + bytes([9] * tail), size=8 + tail) for tail in (1, 2, 3)),
        uwsgi_packet({}, b"\x00\x00\x00\x00", size=4), uwsgi_packet({}, b"\xff\xffA\x00\x00", size=5),
        uwsgi_packet([("", "x"), *GET.items()]),
        *(uwsgi_packet(GET | {"CONTENT_LENGTH": length}) for length in (  # U4
            "+5", "-5", "-1", "abc", "1_0", " 5", "5 ", "0x5", "5,5", "\u0663".encode(), "9" * 19, "9" * 40)),
        *(uwsgi_packet(GET | {name: f"a{bad}b"}) for bad in "\r\n\0\x7f\x1b"  # U6
          for name in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "REQUEST_URI", "HTTP_X", "REMOTE_USER")),
        uwsgi_packet([*GET.items(), ("HTTP_A\r\nB", "x")]),
        *(uwsgi_packet(GET | {"REQUEST_METHOD": method}) for method in ("get", "A B", "G\tT", "\xe9", "A" * 33)),
        *(uwsgi_packet({"REQUEST_METHOD": "GET", "REQUEST_URI": f"/{bad}"}) for bad in ("%00", "a%0ab", "%0D")),
        uwsgi_packet([*GET.items(), ("REQUEST_METHOD", "POST")]),
        uwsgi_packet([*GET.items(), ("CONTENT_LENGTH", "5"), ("CONTENT_LENGTH", "6")]),  # U7
        uwsgi_packet([*GET.items(), ("CONTENT_LENGTH", "5")]), uwsgi_packet([*POST.items(), ("CONTENT_LENGTH", "0")]),
        uwsgi_packet([*GET.items(), ("HTTP_AUTHORIZATION", "a"), ("HTTP_AUTHORIZATION", "b")]),
        uwsgi_packet(GET | {"HTTP_HOST": "a/b"}),
        uwsgi_packet(GET | {"HTTP_TRANSFER_ENCODING": "gzip, chunked"}, b"0\r\n\r\n"),
        uwsgi_packet(GET | {"HTTP_TRANSFER_ENCODING": "chunked"}, b"x\r\n"),
        b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
    ],
    "500": [uwsgi_packet(GET, modifiers=(modifier, 0)) for modifier in (
        5, 6, 7, 9, 14, 17, 22, 31, 48, 73, 100, 101, 111, 173, 200, 224, 255)]
    + [uwsgi_packet([], modifiers=(100, 1))],
    "501": [uwsgi_packet(GET | {"REQUEST_METHOD": method}) for method in ("TRACE", "CONNECT")],
}  # fmt: skip


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize(
    "verdict, wire",
    [
        pytest.param(v, w, id=f"{v}-{n}-{w[-24:]!r}")
        for v, wires in REFUSED.items()
        for n, w in enumerate(wires)
    ],
)
def test_is_refused(verdict, wire, how):
    assert uwsgi(wire, how) == [verdict]


@pytest.mark.parametrize("how", CUTS)
def test_buffer_size(how):
    wire = uwsgi_packet(GET)
    assert uwsgi(wire, how, len(wire) - 5) == ["431"]
    assert summary(uwsgi(wire, how, len(wire) - 4)) == ["GET /a b"]
    with pytest.raises(ProtocolError) as caught:
        UwsgiCodec({}, 100).receive(wire)
    assert f"Raise buffer-size to {len(wire) - 4} or more." in UwsgiCodec({}).refuse(caught.value).decode()


@pytest.mark.parametrize("how", CUTS)
def test_pings(how):
    codec = UwsgiCodec({})
    ping = b"\x64\x00\x00\x00"
    chunks = [ping * 999] if how == "whole" else [ping[at : at + 1] for at in range(4)] * 999
    assert feed(codec, chunks) == []
    assert codec.replies == b"\x64\x00\x00\x01" * 999
    assert codec.buffer == b""
    assert summary(feed(codec, [ping + uwsgi_packet(GET)])) == ["GET /a b"]
    assert feed(codec, [ping]) == ["400"]  # the 1001st


@pytest.mark.parametrize(
    "wire, said, answered",
    [
        (b"GET / HTTP/1.1\r\n", "HTTP", True),
        (b"\x16\x03\x01\x02\x00", "TLS", False),
    ],
)
def test_another_protocol_is_named(wire, said, answered):
    with pytest.raises(ProtocolError, match=f"speaks {said} to it") as caught:
        UwsgiCodec({}).receive(wire)
    assert caught.value.answer is answered
    assert UwsgiCodec({}).refuse(caught.value).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_variables_that_load_code_are_data():
    names = ["FILE", "SCRIPT", "MODULE", "CALLABLE", "APPID", "SETENV", "PYHOME", "CHDIR", "POSTFILE"]
    loaders = {f"UWSGI_{name}": "/etc/passwd" for name in names}
    [(environ, body)] = uwsgi(uwsgi_packet(GET | loaders))
    assert loaders.items() <= environ.items()
    assert body == b""


def test_an_unreadable_protocol_is_not_echoed():
    for version, answered in (
        ("HTTP/1.0", b"HTTP/1.0"),
        ("HTTP/2.0", b"HTTP/1.1"),
        ("x 200 OK", b"HTTP/1.1"),
    ):
        x = UwsgiCodec({}).receive(uwsgi_packet(GET | {"SERVER_PROTOCOL": version}))
        x.start_response("404 Not Found", [])
        assert x.codec.head(x).startswith(answered + b" 404 Not Found\r\n")


@pytest.mark.parametrize("software, carried", [
    ("nginx/1.22.1", True), ("", True), ("Apache/2.4.71 (Debian)", False), ("Apache", False),
])  # fmt: skip
def test_a_handshake_is_one_where_the_front_end_makes_a_tunnel(software, carried):
    handshake = {"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "Upgrade", "SERVER_SOFTWARE": software}
    x = UwsgiCodec({}).receive(uwsgi_packet(GET | handshake))
    assert (type(x) is Upgrade) == carried
