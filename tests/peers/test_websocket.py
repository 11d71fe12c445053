"""WebSocket through a real nginx and a real Mongrel2, with frames of every kind and size."""

from __future__ import annotations

import struct

import pytest

from tests.listeners.conftest import APPS, serving
from tests.peers.conftest import starting
from tests.support.apache import apache
from tests.support.fronts import Mongrel2, Nginx
from tests.support.websockets import BINARY, CLOSE, FIN, HANDSHAKE, PING, PONG, TEXT, HttpWebSocket

pytestmark = pytest.mark.peers

PATHS = ("nginx", "nginx-uwsgi", "nginx-scgi", "mongrel2", "mongrel2-shared", "mongrel2-flow")

APACHE = {"http": ("http", "upgrade=websocket"), "uwsgi": ("uwsgi", ""), "scgi": ("scgi", "")}
NGINX = {"": 8104, "uwsgi": 8101, "scgi": 8103}


@pytest.fixture(scope="module", params=PATHS)
def site(request, tmp_path_factory):
    """Return what connects a client, and the server."""
    with starting(tmp_path_factory.mktemp("websocket")) as start:
        yield site_of(start, request.param)


def site_of(start, path):
    configs = start.configs
    name, _, how = path.partition("-")
    mounts = [
        "--http-socket",
        f"127.0.0.1:{configs.port(8080)}",
        "--socket",
        f"127.0.0.1:{configs.port(3031)}",
        "--fastcgi-socket",
        f"127.0.0.1:{configs.port(9000)}",
        "--scgi-socket",
        f"127.0.0.1:{configs.port(4000)}",
    ]
    if name == "mongrel2":
        mounts = ["--zeromq", configs.specs(), "--zeromq-dispatch", "shared" if how else "worker"]
    server = start(None, *mounts, "--wsgi-file", APPS / "sockets.py", "--callable", "app", "--gevent", 20)
    if name == "nginx":
        upgrade = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
        configs.edit("nginx.conf", "upgrade.conf", ('proxy_set_header Connection "";', upgrade))
        start(Nginx, "upgrade.conf")
        port = configs.port(NGINX[how])
    else:
        if how == "flow":
            configs.edit(
                "mongrel2.conf", "flow.conf", ("settings = {", 'settings = {"download.flow_control": 1, ')
            )
        start(Mongrel2, "flow.conf" if how == "flow" else "mongrel2.conf")
        port = configs.port(6767)
    found = Site()
    found.front, found.server, found.configs = name, server, configs
    found.client = lambda: HttpWebSocket(f"127.0.0.1:{port}")
    return found


class Site:
    pass


def test_frames_of_all_kinds_and_sizes(site):
    with site.client() as client:
        client.connect_to("/echo?whole")
        for message in ("hello", b"", "grüß", bytes(125), bytes(126), bytes(65536), b"\x00\xff" * 300_000):
            client.say(message)
            assert client.message() == message
        client.send_frame(FIN | PING, b"there?")
        assert client.frame() == (FIN | PONG, b"there?")
        client.send_frame(TEXT, b"in ")
        client.send_frame(0, b"several ")
        client.send_frame(FIN | PING, b"")
        assert client.frame() == (FIN | PONG, b"")
        client.send_frame(FIN, b"parts")
        assert client.message() == "in several parts"
        client.say_close(1001, "leaving")
        assert client.closed() == (1001, "")
        client.end()
    site.server.wait_until(r"whole ended 1001 leaving")
    site.server.wait_until(r'"GET /echo\?whole HTTP/1.1" 101 ')


@pytest.mark.parametrize(("first", "payload", "code"), [
    (0xC1, b"hi", 1002), (0x83, b"", 1002), (0x81, b"\xff", 1007), (0x88, struct.pack("!H", 1006), 1002),
    (FIN | BINARY, bytes((1 << 20) + 1), 1009),
])  # fmt: skip
def test_violations(site, first, payload, code):
    with site.client() as client:
        client.connect_to(f"/echo?bad-{first}-{code}")
        client.send_frame(first, payload)
        assert client.closed()[0] == code
        client.end()
    site.server.wait_until(f"bad-{first}-{code} ended {code}")


def test_what_breaks_the_framing_ends_it(site):
    """Mongrel2 does that by itself, without a word."""
    with site.client() as client:
        client.connect_to("/echo?unmasked")
        client.send_bytes(b"\x81\x02hi")
        if site.front == "nginx":
            assert client.closed()[0] == 1002
        client.end()
    site.server.wait_until("unmasked ended 100[26]")


def test_either_side_may_leave(site):
    with site.client() as client:
        client.connect_to("/close-with?3001&why")
        client.say("now")
        assert client.closed() == (3001, "why")
        client.say_close(3001)
        client.end()
    client = site.client()
    client.connect_to("/echo?gone")
    client.leave()
    site.server.wait_until("gone ended 1006")


def test_bad_handshakes_and_what_is_none(site):
    with site.client() as client:
        answer = client.ask("/echo", Sec_WebSocket_Version="8")
        assert (answer.status, answer.header("Sec-WebSocket-Version")) == (426, "13")
    with site.client() as client:
        assert client.ask("/echo", Sec_WebSocket_Key=None).status == 400
    with site.client() as client:
        answer = client.ask("/plain")
        assert (answer.status, answer.body) == (200, b"could be more")


@pytest.mark.parametrize("site", ["nginx"], indirect=True)
def test_fastcgi_carries_none(site):
    with HttpWebSocket(f"127.0.0.1:{site.configs.port(8102)}") as client:
        client.ask_with("/echo", list(HANDSHAKE.items()))
        answer = client.receive_head()
        assert (answer.status, answer.body) == (200, b"plain")


def test_apache_carries_it_over_http_alone(tmp_path):
    """Of uwsgi and SCGI it makes no tunnel; the application answers at once, as it would over FastCGI."""
    with serving(tmp_path, "sockets:app", list(APACHE), gevent=20) as site:
        sites = [
            [f"ProxyPass / {scheme}://{site.server.addresses[name]}/ {how}"]
            for name, (scheme, how) in APACHE.items()
        ]
        tmp_path.chmod(0o755)
        with apache(tmp_path, ["proxy_http", "proxy_uwsgi", "proxy_scgi"], *sites) as ports:
            for name, port in zip(APACHE, ports, strict=True):
                with HttpWebSocket(f"127.0.0.1:{port}") as client:
                    if name == "http":
                        client.connect_to("/echo?whole")
                        client.say("hello")
                        assert client.message() == "hello"
                    else:
                        answer = client.ask("/echo")
                        assert (answer.status, answer.body) == (200, b"plain")


def test_many_messages_to_one_that_reads_late(site):
    """Without flow control Mongrel2 drops who has 16 messages to read: they leave together."""
    with site.client() as client:
        client.connect_to("/echo?late")
        for number in range(300):
            client.say(f"message {number} " + "x" * 1000)
        for number in range(300):
            assert client.message().startswith(f"message {number} ")
        client.send_frame(FIN | CLOSE)
        assert client.closed()[0] == 1005
