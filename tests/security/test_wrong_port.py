"""Whoever talks to the wrong port ends at once, and the log says in one line what to change: H41 of docs/security/http.md."""

from __future__ import annotations

import itertools

import pytest

from tests.listeners.conftest import Site
from tests.protocols.wire import GET, fastcgi_request, scgi_request, uwsgi_packet
from tests.security.conftest import CUTS, PARSERS, connect, pieces

SPOKEN = {"http": "HTTP", "uwsgi": "uwsgi", "fastcgi": "FastCGI", "scgi": "SCGI"}
FIRST = {
    "HTTP": b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "HTTP POST": b"POST /hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    "uwsgi": uwsgi_packet(GET),
    "FastCGI": fastcgi_request(GET),
    "SCGI": scgi_request(GET),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
}
FIX = {
    "HTTP": "http-socket in the ini file", "uwsgi": "socket in the ini file", "FastCGI": "fastcgi-socket in the ini file",
    "SCGI": "scgi-socket in the ini file", "TLS": "The front end has to end TLS",
}  # fmt: skip
PAIRS = [
    pytest.param(name, heard, id=f"H41-{name}-{heard.replace(' ', '-')}")
    for name, heard in itertools.product(SPOKEN, FIRST) if not heard.startswith(SPOKEN[name])
]  # fmt: skip


@pytest.fixture(scope="module", params=PARSERS)
def ports(request, tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("ports"), "noting:app", list(SPOKEN), http_parser=request.param)
    yield site
    assert site.server.stop() == 0
    site.forget_log()
    assert "Traceback" not in site.server.log
    site.close()


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name, heard", PAIRS)
def test_it_is_refused(ports, how, name, heard):
    """The name may be missing only where the first bytes come alone, and the port's protocol is a binary one."""
    protocol = heard.partition(" ")[0]
    ports.forget_log()
    with connect(ports.server.addresses[name]) as sock:
        said = b""
        try:
            for piece in pieces(FIRST[heard], how):
                sock.sendall(piece)
            while data := sock.recv(65536):
                said += data
        except ConnectionError:  # whoever cannot read an answer is cut off
            assert protocol != "HTTP" or how == "bytes"
    if protocol == "HTTP" and (how == "whole" or name == "http"):
        assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert FIX["HTTP"].encode() in said
    elif protocol != "HTTP" and (how == "whole" or name == "http"):
        assert said == b""
    line = f"WARNING {name} {ports.server.addresses[name]}: This port speaks {SPOKEN[name]}, and somebody speaks {protocol} to it."
    if how == "bytes" and name != "http":
        line, fix = f"WARNING {name} {ports.server.addresses[name]}: ", ""
    else:
        fix = FIX[protocol]
    ports.log(rf"{line}.*{fix}")
    assert ports.count("WARNING|ERROR") == 1
    assert ports.count("/hello") == 0, "nobody has been called"


@pytest.mark.parametrize("name", SPOKEN)
def test_H41_noise_is_refused_without_a_name(ports, name):
    ports.forget_log()
    with connect(ports.server.addresses[name]) as sock:
        sock.sendall(b"\xff\xfe\n\xfd\r\n" * 20)
        while sock.recv(65536):
            pass
    ports.log(f"WARNING {name} ")
    assert ports.count("somebody speaks (HTTP|uwsgi|FastCGI|SCGI|TLS)") == 0
