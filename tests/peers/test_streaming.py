"""Bodies and answers that are passed on as they come, through a real nginx that buffers neither."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from tests.peers.client import Raw, curl, forget_peak, get, memory
from tests.support.fronts import Configs, Nginx, require
from tests.support.server import Server

pytestmark = pytest.mark.peers

APPS = Path(__file__).parents[1] / "listeners" / "apps" / "waiting.py"
PORTS = {"http": 8080, "nginx-http": 8104, "nginx-uwsgi": 8101, "nginx-fastcgi": 8102, "nginx-scgi": 8103}
# With scgi_request_buffering off nginx 1.22 announces only the bytes that it has at that moment.
UPLOADS = [name for name in PORTS if name != "nginx-scgi"]
MIB = random.Random(1).randbytes(1 << 20)
MODES = {"one": (), "gevent": ("--gevent", "20")}


class Site:
    """A server that streams bodies, behind an nginx that buffers nothing."""

    def __init__(self, directory, *arguments):
        self.configs = Configs(directory)
        off = " ".join(f"{each}_{what} off;" for each in ("proxy", "uwsgi", "fastcgi", "scgi")
                       for what in ("request_buffering", "buffering"))  # fmt: skip
        self.configs.edit("nginx.conf", "nginx-off.conf", ("    access_log off;", f"\\g<0> {off}"))
        ini = self.configs.directory / "streams.ini"
        lines = [f"http-socket = 127.0.0.1:{self.configs.port(8080)}", f"socket = 127.0.0.1:{self.configs.port(3031)}",
                 f"fastcgi-socket = 127.0.0.1:{self.configs.port(9000)}", f"scgi-socket = 127.0.0.1:{self.configs.port(4000)}"]  # fmt: skip
        ini.write_text(
            "\n".join(["[appserver]", f"wsgi-file = {APPS}", "callable = app", "post-buffering = 0", *lines])
        )
        self.nginx = Nginx(self.configs, "nginx-off.conf")
        self.server = Server("--ini", ini, *arguments)

    def url(self, path, target):
        return self.configs.url(PORTS[path], target)

    def connect(self, path):
        return Raw(self.configs.port(PORTS[path]))

    def log(self, pattern):
        return self.server.wait_until(pattern, 20)


@pytest.fixture(scope="module", params=MODES)
def site(request, tmp_path_factory):
    require("curl", "nginx")
    found = Site(tmp_path_factory.mktemp("streaming"), *MODES[request.param])
    with found.server, found.nginx:
        yield found
        assert found.server.stop() == 0, found.server.log
    assert "Traceback" not in found.server.log


@pytest.fixture
def token(request):
    return f"t{abs(hash(request.node.nodeid))}"


@pytest.mark.parametrize("how", ["length", "chunked"])
@pytest.mark.parametrize("path", UPLOADS)
def test_64_mib_are_read_without_being_held(site, path, how, tmp_path):
    file = tmp_path / "upload"
    file.write_bytes(MIB * 64)
    pid = site.server.process.pid
    get(site.url(path, "/digest"), "-T", file)  # whatever is made at the first time
    forget_peak(pid)
    before = memory(pid, "VmRSS")
    more = ("-H", "Transfer-Encoding: chunked") if how == "chunked" else ()
    told = get(site.url(path, "/digest"), "-T", file, *more).json
    assert told == {"size": 64 << 20, "sha256": hashlib.sha256(MIB * 64).hexdigest()}
    assert memory(pid, "VmHWM") < before + 8


@pytest.mark.parametrize("path", UPLOADS)
def test_each_line_is_answered_when_it_comes(site, path):
    """Both ways at once: the client says nothing before it has read the answer to the line before."""
    chunked = path != "nginx-uwsgi"  # where nginx buffers what is chunked, whatever it is told
    how = "Transfer-Encoding: chunked" if chunked else "Content-Length: 14"
    with site.connect(path) as client:
        client.send(f"POST /echo HTTP/1.1\r\nHost: x\r\n{how}\r\n\r\n")
        said = b""
        for line, word in (
            (b"begun\n", "one\n"),
            (b"ONE\n", "two\n"),
            (b"TWO\n", "three\n"),
            (b"THREE\n", ""),
        ):
            while line not in said:
                said += client.take(1)
            client.send(f"{len(word):x}\r\n{word}\r\n" if chunked else word)


@pytest.mark.parametrize("path", UPLOADS)
def test_a_client_that_leaves_in_its_body_is_seen(site, path, token):
    with site.connect(path) as client:
        client.send(f"POST /strict?{token} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbegin")
        site.log(rf"{token} reads")
    site.log(rf'\?{token} HTTP/1\.\d" 499 ')


@pytest.mark.parametrize("path", PORTS)
def test_a_client_that_leaves_is_seen(site, path, token):
    with site.connect(path) as client:
        client.send(f"GET /tick/0.01?{token} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.take(1)
    site.log(rf"{token} closed")
    site.log(rf'\?{token} HTTP/1\.\d" 499 ')


@pytest.mark.parametrize("path", PORTS)
def test_events_arrive_when_they_are_yielded(site, path, tmp_path):
    released = tmp_path / "released"
    with site.connect(path) as client:
        client.send(f"GET /events/{str(released)[1:].replace('/', ':')} HTTP/1.1\r\nHost: x\r\n\r\n")
        said = b""
        while b"data: first\n\n" not in said:
            said += client.take(1)
        assert b"last" not in said
        released.touch()
        while b"data: last\n\n" not in said:
            said += client.take(1)


@pytest.mark.parametrize("path", UPLOADS)
def test_a_body_that_nobody_reads(site, path):
    """The answer comes; what is left of the body reaches no other request."""
    for _ in range(3):
        reply = curl(site.url(path, "/ok"), "--data-binary", "@-", "-H", "Expect:", input=MIB * 4)
        assert (reply.status, reply.body) == (200, b"ok"), reply
        assert get(site.url(path, "/part/3"), "-d", "12345").body == b"123"
