"""The example plug-in, installed as a user would: AJP behind a real Apache, and alone with bad peers."""

from __future__ import annotations

import errno
import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import PackageNotFoundError, version

import pytest

from tests.support.apache import apache as front
from tests.support.fronts import GUARD, poll
from tests.support.server import ROOT, Server

pytestmark = pytest.mark.peers

MIB = 1 << 20

APP = """
import os, threading
from wsgiref.validate import validator

together = threading.Barrier(4)


def application(environ, start_response):
    name = environ["PATH_INFO"].split("/")[1]
    return globals()["serve_" + name](environ, start_response)


def serve_environ(environ, start_response):
    import json
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({k: v for k, v in environ.items() if type(v) is str}).encode()]


def serve_echo(environ, start_response):
    start_response("200 Fine", [("X-Length", environ.get("CONTENT_LENGTH", "-")), ("Set-Cookie", "a=1"),
                                ("Set-Cookie", "b=2")])
    return [environ["wsgi.input"].read()]


def serve_empty(environ, start_response):
    start_response("204 No Content", [])
    return []


def serve_endless(environ, start_response):
    import gevent
    start_response("200 OK", [("Content-Type", "text/plain")])
    while True:
        yield b"more"
        gevent.sleep(0.01)


def serve_stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first"
    with open(os.environ["FIFO"]) as fifo:  # opens when the test does
        yield fifo.read().encode()


def serve_large(environ, start_response):
    start_response("200 OK", [])
    return [b"x" * (32 << 20)]


def serve_file(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


def serve_fail(environ, start_response):
    raise RuntimeError("broken")


def serve_cut(environ, start_response):
    start_response("200 OK", [])
    yield b"begun"
    raise RuntimeError("broken in the middle")


def serve_fields(environ, start_response):
    start_response("200 OK", [("X-Long", "x" * 9000)])
    return [b""]


@validator
def serve_valid(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read(5)]


def serve_together(environ, start_response):
    together.wait(20)
    start_response("200 OK", [])
    return [b"together"]
"""


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory):
    """Install the example into a directory of its own; the checkout stays as it is."""
    directory = tmp_path_factory.mktemp("plugin")
    source = directory / "source"
    shutil.copytree(ROOT / "examples" / "appserver-ajp", source)
    target = directory / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, source]
    if can_build():
        command.append("--no-build-isolation")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def can_build():
    """Tell whether this interpreter's setuptools can make wheels of it; else pip fetches another one."""
    try:
        return int(version("setuptools").partition(".")[0]) >= 77
    except PackageNotFoundError:
        return False


@contextmanager
def served(directory, site_packages, *lines):
    """Serve APP over AJP from an ini file with further *lines*."""
    (directory / "app.py").write_text(APP)
    fifo = directory / "fifo"
    if not fifo.exists():
        os.mkfifo(fifo)
    ini = directory / "ajp.ini"
    socket_line = [] if any(line.startswith("ajp-socket") for line in lines) else ["ajp-socket = 127.0.0.1:0"]
    ini.write_text("\n".join(["[appserver]", "wsgi-file = %dapp.py", *socket_line, *lines, ""]))
    with Server("--ini", ini, env={"PYTHONPATH": str(site_packages), "FIFO": str(fifo)}) as server:
        server.fifo = fifo
        yield server


@contextmanager
def apache(directory, address, parameters=""):
    """Run Apache in front of an AJP server; yield its port."""
    site = [
        "AllowEncodedSlashes NoDecode", "SetEnv ap_trust_cgilike_cl 1", "SetEnv AJP_REMOTE_USER operator",
        "SetEnv AJP_wsgi.url_scheme gopher", "SetEnv AJP_HTTP_HOST forged.example",
        f"ProxyPass / ajp://{address}/ nocanon flushpackets=on retry=0 {parameters}",
    ]  # fmt: skip
    with front(directory, ["proxy_ajp"], site) as (port,):
        yield port


@pytest.fixture(scope="module")
def site(tmp_path_factory, site_packages):
    """One server with one application call at a time, behind Apache."""
    directory = tmp_path_factory.mktemp("site")
    directory.chmod(0o755)
    with served(directory, site_packages) as server, apache(directory, server.addresses["ajp"]) as port:
        server.port = port
        yield server


@pytest.fixture
def client(site):
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=GUARD)) as connection:
        yield connection


def ask(client, method, target, body=None, headers=(), **more):
    client.putrequest(method, target, skip_accept_encoding=True)
    for name, value in headers:
        client.putheader(name, value)
    client.endheaders(body, **more)
    response = client.getresponse()
    return response, response.read()


def environ(client, target="/environ", headers=()):
    response, body = ask(client, "GET", target, headers=headers)
    assert response.status == 200
    return json.loads(body)


# Behind Apache


def test_path_is_decoded_once_and_query_is_raw(client):
    got = environ(client, "/environ/caf%C3%A9%20%2541%2Fb?a=%26&b=c%20d")
    assert got["PATH_INFO"].encode("latin-1").decode() == "/environ/café %41/b"
    assert got["SCRIPT_NAME"] == ""
    assert got["QUERY_STRING"] == "a=%26&b=c%20d"
    assert got["REQUEST_URI"] == "/environ/caf%C3%A9%20%2541%2Fb?a=%26&b=c%20d"


def test_environ(site, client):
    got = environ(client)
    assert got["REQUEST_METHOD"] == "GET"
    assert got["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert got["SERVER_PORT"] == str(site.port)
    assert got["REMOTE_ADDR"] == "127.0.0.1"
    assert got["QUERY_STRING"] == ""
    assert got["appserver.listener"] == "ajp"
    assert "CONTENT_LENGTH" not in got


def test_front_end_speaks_for_itself_only(site, client):
    got = environ(client)
    assert got["REMOTE_USER"] == "operator"
    assert got["wsgi.url_scheme"] == "http"
    assert got["HTTP_HOST"] == f"127.0.0.1:{site.port}"


def test_fields_that_no_application_may_see(client):
    got = environ(client, headers=[("Proxy", "http://evil.example"), ("X-Seen", "yes")])
    assert "HTTP_PROXY" not in got
    assert got["HTTP_X_SEEN"] == "yes"


def test_repeated_cookies(client):
    # Apache has joined them when it gets to AJP; test_repeated_fields sends them apart.
    assert environ(client, headers=[("Cookie", "a=1"), ("Cookie", "b=2")])["HTTP_COOKIE"] == "a=1, b=2"


def test_validator_is_content(client):
    assert ask(client, "POST", "/valid?a=b", b"12345", [("Content-Length", "5")])[1] == b"12345"


def test_post(client):
    data = os.urandom(MIB)
    response, body = ask(client, "POST", "/echo", data, [("Content-Length", str(MIB))])
    assert body == data
    assert (response.status, response.reason) == (200, "Fine")
    assert response.headers["X-Length"] == str(MIB)
    assert response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize("size", [0, 1, 8185, 8186, 8187, 100_000])
def test_post_sizes(client, size):
    data = os.urandom(size)
    response, body = ask(client, "POST", "/echo", data, [("Content-Length", str(size))])
    assert (response.status, body) == (200, data)
    assert environ(client)["PATH_INFO"] == "/environ"


@pytest.mark.parametrize("size", [0, 1, 9000, MIB])
def test_chunked_post(client, size):
    data = os.urandom(size)
    pieces = [data[at : at + 50_000] for at in range(0, size, 50_000)]
    headers = [("Transfer-Encoding", "chunked")]
    response, body = ask(client, "POST", "/echo", iter(pieces), headers, encode_chunked=True)
    assert (response.status, body) == (200, data)
    assert response.headers["X-Length"] in {str(size), "-"}
    assert environ(client)["PATH_INFO"] == "/environ"


def test_head(client):
    response, body = ask(client, "HEAD", "/large")
    assert (response.status, body) == (200, b"")
    assert response.headers["Content-Length"] == str(32 * MIB)
    assert environ(client)["REQUEST_METHOD"] == "GET"


def test_no_content(client):
    response, body = ask(client, "DELETE", "/empty")
    assert (response.status, body) == (204, b"")


def test_large_answer(client):
    response, body = ask(client, "GET", "/large")
    assert response.headers["Content-Length"] == str(32 * MIB)
    assert len(body) == 32 * MIB


def test_file(client):
    assert ask(client, "GET", "/file")[1].decode() == APP


def test_stream_arrives_piece_by_piece(site, client):
    client.request("GET", "/stream")
    response = client.getresponse()
    assert response.read1() == b"first"
    site.fifo.write_text("second")
    assert response.read() == b"second"


def test_failing_application(site, client):
    response, _ = ask(client, "GET", "/fail?x=1")
    assert response.status == 500
    site.wait_until(r'ajp 127\.0\.0\.1 "GET /fail\?x=1 HTTP/1\.1" 500')
    assert "RuntimeError: broken" in site.log
    assert environ(client)["PATH_INFO"] == "/environ"


def test_cut_answer_is_seen_to_be_cut(site, client):
    client.request("GET", "/cut")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        client.getresponse().read()
    site.wait_until("broken in the middle")


def test_fields_that_are_too_long_for_a_packet(site, client):
    response, _ = ask(client, "GET", "/fields")
    assert response.status >= 500
    site.wait_until("the head has .* bytes, AJP carries 8192")


def test_connections_are_kept(site, client):
    environ(client)
    before = peers(site)
    for _ in range(20):
        environ(client)
    assert peers(site) == before


def peers(site):
    """Return the ports from which the server's connections come (proc(5), net/tcp)."""
    port = int(site.addresses["ajp"].rpartition(":")[2])
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return {row[2] for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] == "01"}


def test_every_request_has_one_line_and_flup_says_nothing_twice(site, client):
    environ(client, "/environ/line")
    line = site.wait_until(r'.*"GET /environ/line HTTP/1\.1" 200.*')[0]
    assert site.log.count("/environ/line") == 1, line


def test_threads(tmp_path, site_packages):
    tmp_path.chmod(0o755)
    with ExitStack() as stack:
        server = stack.enter_context(served(tmp_path, site_packages, "threads = 4"))
        port = stack.enter_context(apache(tmp_path, server.addresses["ajp"], "ping=5"))

        def get(target):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD)) as client:
                return ask(client, "GET", target)[1]

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(get, ["/together"] * 4)) == [b"together"] * 4
            assert {len(body) for body in pool.map(get, ["/large"] * 4)} == {32 * MIB}
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD)) as client:
            client.request("GET", "/stream")
            response = client.getresponse()
            assert response.read1() == b"first"
            server.fifo.write_text("second")
            assert response.read() == b"second"
            client.request("GET", "/cut")
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                client.getresponse().read()


def test_without_a_core_requests_are_refused(tmp_path, site_packages):
    tmp_path.chmod(0o755)
    with ExitStack() as stack:
        server = stack.enter_context(served(tmp_path, site_packages, "threads = 2\nmax-queue = 0"))
        port = stack.enter_context(apache(tmp_path, server.addresses["ajp"], "ping=5"))
        clients = [
            stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD)))
            for _ in range(3)
        ]
        streams = []
        for client in clients[:2]:
            client.request("GET", "/stream")
            streams.append(client.getresponse())
            assert streams[-1].read1() == b"first"
        for _ in range(2):
            response, body = ask(clients[2], "GET", "/empty")
            assert (response.status, response.getheader("Retry-After")) == (503, "1")
            assert body == b"Too many requests wait.\n"
        server.fifo.write_text("second")
        for each in streams:
            each.read()
        poll(lambda: ask(clients[2], "GET", "/empty")[0].status == 204, "no core becomes free")


def test_secret(tmp_path, site_packages):
    tmp_path.chmod(0o755)
    with ExitStack() as stack:
        server = stack.enter_context(served(tmp_path, site_packages, "ajp-secret = word"))
        address = server.addresses["ajp"]
        port = stack.enter_context(apache(tmp_path, address, "secret=word"))
        client = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD)))
        assert "SECRET" not in environ(client)
        peer = stack.enter_context(connected(address))
        peer.sendall(forward())
        assert head(packet(peer)) == 403
        server.wait_until("does not send the secret")


# Alone with a peer (the AJP 1.3 protocol reference of Apache Tomcat Connectors)


def text(value):
    data = value.encode("latin-1")
    return struct.pack(">H", len(data)) + data + b"\0"


def framed(payload):
    return b"\x12\x34" + struct.pack(">H", len(payload)) + payload


def forward(method=2, uri="/environ", fields=(), attributes=b"", protocol="HTTP/1.1"):
    line = text(protocol) + text(uri) + text("192.0.2.7") + text("") + text("www.example")
    named = b"".join(text(name) + text(value) for name, value in fields)
    return framed(
        b"\2"
        + bytes([method])
        + line
        + struct.pack(">HBH", 80, 0, len(fields))
        + named
        + attributes
        + b"\xff"
    )


@contextmanager
def connected(address):
    if address[0] in "/@":
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(GUARD)
        peer.connect(address.replace("@", "\0", 1))
    else:
        host, _, port = address.rpartition(":")
        peer = socket.create_connection((host, int(port)), GUARD)
    with peer:
        yield peer


def packet(peer):
    """Return the next packet's payload, or b"" at the end."""
    header = exactly(peer, 4)
    if not header:
        return b""
    assert header[:2] == b"AB"
    return exactly(peer, struct.unpack(">H", header[2:])[0])


def exactly(peer, count):
    data = b""
    while len(data) < count:
        piece = peer.recv(count - len(data))
        if not piece:
            assert not data
            return b""
        data += piece
    return data


def answers(peer, data):
    """Send *data* and no more; tell whether anything but the connection's end comes."""
    try:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        return bool(peer.recv(1))
    except OSError as error:  # the server has read enough
        if error.errno not in {errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE}:
            raise
        return False


def head(payload):
    assert payload[0] == 4
    return struct.unpack(">H", payload[1:3])[0]


def answered(peer):
    """Return the status, the body and the reuse flag of an answer."""
    status, body = head(packet(peer)), b""
    while (payload := packet(peer))[0] == 3:
        body += payload[3:-1]
    assert payload[0] == 5
    return status, body, payload[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, site_packages):
    """A server without Apache, on all kinds of sockets."""
    directory = tmp_path_factory.mktemp("alone")
    lines = [
        "ajp-socket = 127.0.0.1:0",
        "ajp-socket = %dajp.sock",
        f"ajp-socket = @{directory}",
        "vacuum = true",
    ]
    with served(directory, site_packages, *lines, "limit-post = 20000") as server:
        server.tcp, server.path, server.abstract = [address for _, address in server.all_addresses]
        yield server
        code = server.stop()
        assert code == 0, server.log
        assert "Traceback" not in server.log
        assert not os.path.exists(server.path)


@pytest.mark.parametrize("kind", ["tcp", "path", "abstract"])
def test_sockets(alone, kind):
    with connected(getattr(alone, kind)) as peer:
        for _ in range(3):
            peer.sendall(forward())
            status, body, reuse = answered(peer)
            assert (status, reuse) == (200, 1)
            assert json.loads(body)["REMOTE_ADDR"] == "192.0.2.7"


def test_ping(alone):
    with connected(alone.tcp) as peer:
        peer.sendall(framed(b"\x0a"))
        assert packet(peer) == b"\x09"


def test_repeated_fields(alone):
    with connected(alone.tcp) as peer:
        peer.sendall(forward(fields=[("Cookie", "a=1"), ("X", "1"), ("Cookie", "b=2"), ("X", "2")]))
        got = json.loads(answered(peer)[1])
    assert (got["HTTP_COOKIE"], got["HTTP_X"]) == ("a=1; b=2", "1, 2")


def test_attributes_do_not_replace_what_the_client_said(alone):
    given = ["wsgi.input", "appserver.listener", "HTTP_PROXY", "HTTP_COOKIE", "REQUEST_METHOD", "REMOTE_ADDR",
             "CONTENT_LENGTH", "PLAIN"]  # fmt: skip
    attributes = b"".join(b"\x0a" + text(name) + text("7") for name in given) + b"\x0b\x01\x00"
    fields = [("Under_Score", "7"), ("Proxy", "7")]
    with connected(alone.tcp) as peer:
        peer.sendall(forward(attributes=attributes, fields=fields))
        status, body, _ = answered(peer)
    got = json.loads(body)
    assert status == 200
    assert {name for name, value in got.items() if value == "7"} == {"PLAIN"}
    assert got["SSL_KEY_SIZE"] == "256"


def test_a_mount_whose_prefix_apache_has_taken_from_the_path(alone):
    with connected(alone.tcp) as peer:
        peer.sendall(forward(attributes=b"\x0a" + text("SCRIPT_NAME") + text("/app")))
        got = json.loads(answered(peer)[1])
    assert (got["SCRIPT_NAME"], got["PATH_INFO"]) == ("/app", "/environ")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([("Host", "a"), ("Host", "b")], 400),
        ([("X", "a\nb")], 400),
        ([("Content-Length", "20001")], 413),
    ],
)
def test_refused_requests(alone, fields, status):
    with connected(alone.tcp) as peer:
        peer.sendall(forward(fields=fields))
        if status == 413:
            peer.sendall(framed(struct.pack(">H", 8186) + b"x" * 8186))
        assert answered(peer)[::2] == (status, 0)
        assert packet(peer) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        framed(b""),
        framed(b"\x63"),
        framed(b"\2"),
        framed(b"\2\x02"),
        framed(b"\2\xff" + b"\0" * 40),
        framed(b"\2\x02" + b"\xff" * 40),
        forward(fields=[("Content-Length", "-5")]),
        forward(fields=[("Content-Length", "1_0")]),
        forward(fields=[("a b", "c")]),
        forward(attributes=b"\x55"),
        forward(fields=[("Content-Length", "5")]) + framed(b"\0\x09123456789"),
        forward(fields=[("Content-Length", "5")]) + framed(b"\0\0"),
        forward()[:-5],
        forward(fields=[("Content-Length", "5")]),
        b"\x12",
    ],
)
def test_malformed_and_dead_peers(alone, data):
    with connected(alone.tcp) as peer:
        assert not answers(peer, data)
    with connected(alone.tcp) as peer:
        peer.sendall(forward())
        assert answered(peer)[0] == 200


def test_peer_that_goes_while_it_is_answered(alone):
    with connected(alone.path) as peer:
        peer.sendall(forward(uri="/large"))
        assert head(packet(peer)) == 200
    with connected(alone.path) as peer:
        peer.sendall(forward())
        assert answered(peer)[0] == 200


def test_stop_ends_an_answer_without_an_end(tmp_path, site_packages):
    with served(tmp_path, site_packages) as server, connected(server.addresses["ajp"]) as peer:
        peer.sendall(forward(uri="/endless"))
        assert head(packet(peer)) == 200
        assert server.stop() == 0, server.log
        assert "Traceback" not in server.log


@pytest.mark.parametrize("threads", [1, 2])
def test_stop_finishes_what_runs(tmp_path, site_packages, threads):
    with ExitStack() as stack:
        server = stack.enter_context(served(tmp_path, site_packages, f"threads = {threads}"))
        idle = stack.enter_context(connected(server.addresses["ajp"]))
        idle.sendall(forward())
        assert answered(idle)[0] == 200
        peer = stack.enter_context(connected(server.addresses["ajp"]))
        peer.sendall(forward(uri="/stream"))
        assert head(packet(peer)) == 200
        assert packet(peer)[3:-1] == b"first"
        server.process.terminate()
        if threads > 1:
            assert packet(idle) == b""
        server.fifo.write_text("second")
        assert packet(peer)[3:-1] == b"second"
        if threads > 1:
            assert packet(peer) == b"\5\0"
        code = server.stop()
        assert code == 0, server.log
        assert "Traceback" not in server.log
