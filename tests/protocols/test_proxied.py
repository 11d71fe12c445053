"""The PROXY protocol in front of HTTP: what it names, and what is refused."""

from __future__ import annotations

import pytest

from appserver.protocols.codec import ProtocolError
from appserver.protocols.proxied import ProxiedHttpCodec
from appserver.protocols.readers import reader_named
from tests.support.clients import HttpClient
from tests.support.server import Server

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
        b"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c", b"PROXY UNKNOWN" + b" " * 200 + b"\r\n",
    ],
)  # fmt: skip
def test_what_is_no_such_line_is_refused(data):
    if data == b"PROXY":
        assert codec().receive(data) is None
        return
    with pytest.raises(ProtocolError) as caught:
        codec().receive(data)
    assert caught.value.status.startswith("400")


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
