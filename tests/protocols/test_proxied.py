"""The PROXY protocol, versions 1 and 2, in front of HTTP: what it names, and what is refused."""

from __future__ import annotations

import pytest

from appserver.protocols.codec import ProtocolError
from appserver.protocols.proxied import ProxiedHttpCodec
from appserver.protocols.readers import reader_named
from tests.support.clients import HttpClient
from tests.support.server import Server

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def codec():
    return ProxiedHttpCodec(
        {"REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "1", "SCRIPT_NAME": ""}, reader_named("h11")
    )


def read(*pieces):
    """Return the address and port of each request in *pieces*."""
    mine = codec()
    found = []
    for piece in pieces:
        x = mine.receive(piece)
        if x is not None:
            found.append((x.environ["REMOTE_ADDR"], x.environ["REMOTE_PORT"]))
    return found


@pytest.mark.parametrize(
    "line, named",
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", ("192.0.2.1", "56324")),
        (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", ("2001:db8::1", "1")),
        (b"PROXY TCP6 2001:DB8:0::1 ::1 1 2\r\n", ("2001:db8::1", "1")),
        (b"PROXY TCP6 ::FFFF:192.0.2.1 ::1 1 2\r\n", ("192.0.2.1", "1")),
        (b"PROXY UNKNOWN\r\n", ("127.0.0.1", "1")),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ("127.0.0.1", "1")),
    ],
)
def test_the_client_is_named_for_all_requests_of_the_connection(line, named):
    assert read(line + GET, GET) == [named, named]
    assert read(line, GET) == [named]
    assert read(*(bytes([each]) for each in line + GET)) == [named]


@pytest.mark.parametrize(
    "data",
    [
        GET, b"PROXY", b"PROXY \r\n", b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n", b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n", b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n", b"proxy UNKNOWN\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n" + GET, b"PROXY TCP5 1 1 1 1\r\n", b"PROXY " + b"x" * 200,
        b"PROXY UNKNOWN" + b" " * 200 + b"\r\n",
    ],
)  # fmt: skip
def test_what_is_no_such_line_is_refused(data):
    if data == b"PROXY":
        assert codec().receive(data) is None
        return
    with pytest.raises(ProtocolError) as caught:
        codec().receive(data)
    assert caught.value.status.startswith("400")


def binary(command, family, addresses, more=b"", version=0x20):
    length = (len(addresses) + len(more)).to_bytes(2, "big")
    return SIGNATURE + bytes([version | command, family]) + length + addresses + more


V4 = bytes([192, 0, 2, 1, 198, 51, 100, 1]) + (56324).to_bytes(2, "big") + (443).to_bytes(2, "big")
V6 = bytes.fromhex("20010db8000000000000000000000001") + bytes(15) + b"\1" + b"\0\1\0\2"
VALUES = b"\x20\0\3\0\0\0" + b"\x04\0\2\0\0"  # TLVs with NUL in them


@pytest.mark.parametrize("more", [b"", VALUES, VALUES * 300])
@pytest.mark.parametrize(
    "data, named",
    [
        ((1, 0x11, V4), ("192.0.2.1", "56324")),
        ((1, 0x21, V6), ("2001:db8::1", "1")),
        ((1, 0x21, bytes(10) + b"\xff\xff" + V4[:4] + V6[16:]), ("192.0.2.1", "1")),
        ((1, 0x31, bytes(216)), ("127.0.0.1", "1")),
        ((1, 0x00, b""), ("127.0.0.1", "1")),
        ((0, 0x11, V4), ("127.0.0.1", "1")),  # LOCAL
        ((0, 0x00, b""), ("127.0.0.1", "1")),
    ],
)
def test_version_2(data, named, more):
    head = binary(*data, more)
    assert read(head + GET, GET) == [named, named]
    assert read(*(bytes([each]) for each in head + GET)) == [named]


@pytest.mark.parametrize(
    "data",
    [
        binary(2, 0x11, V4), binary(1, 0x11, V4, version=0x10), binary(1, 0x12, V4), binary(1, 0x41, V4), binary(1, 0x11, V4[:11]),
        binary(1, 0x21, V6[:35]), binary(1, 0x31, bytes(215)), binary(1, 0x11, V4, bytes(4085)), SIGNATURE[:-1] + b"x",
        SIGNATURE + b"\x21\x11\xff\xff", binary(1, 0x11, V4) * 2 + GET, binary(1, 0x11, V4) + b"PROXY UNKNOWN\r\n" + GET,
        b"\r\n\r\n" + GET,
    ],
)  # fmt: skip
def test_what_is_no_version_2_is_refused(data):
    with pytest.raises(ProtocolError) as caught:
        codec().receive(data)
    assert caught.value.status.startswith("400")


def test_the_longest_header_is_read():
    assert read(binary(1, 0x11, V4, bytes(4084)) + GET) == [("192.0.2.1", "56324")]


def test_it_stands_only_in_front_of_the_first_request():
    mine = codec()
    assert mine.receive(b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n" + GET) is not None
    with pytest.raises(ProtocolError):
        mine.receive(b"PROXY TCP4 192.0.2.66 198.51.100.1 1 2\r\n" + GET)


def test_a_server_takes_it(tmp_path):
    (tmp_path / "app.py").write_text(
        "def application(e, s):\n    s('200 OK', [])\n    return [e['REMOTE_ADDR'].encode()]\n"
    )
    with Server("--http", "127.0.0.1:0", "--enable-proxy-protocol", "-w", "app", cwd=tmp_path) as server:
        with HttpClient(server.addresses["http"]) as client:
            client.start(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n")
            client.resume("GET", GET)
            assert client.receive().body == b"192.0.2.7"
        with HttpClient(server.addresses["http"]) as client:
            assert client.request("GET", "/").status == 400
