"""What the operator sees: logs that nobody can write into, and no secrets (docs/security/operations.md)."""

from __future__ import annotations

import json
import re
import socket
from contextlib import ExitStack
from time import monotonic

import pytest

from tests.listeners.conftest import Site
from tests.support.fronts import poll
from tests.support.server import Server
from tests.support.simulated import GUARD

APP = """
import sys

def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/raise"):
        raise RuntimeError("it fails")
    if environ["PATH_INFO"].startswith("/read"):
        environ["wsgi.input"].read()
    if environ["PATH_INFO"].startswith("/short"):
        start_response("200 OK", [("Content-Length", "5")])
        return [b"x"]
    start_response("200 OK", [])
    return [b"fine"]
"""
SECRET = "hunter2"
EVERY = ("http", "uwsgi", "fastcgi", "scgi", "mongrel2")
JSON = (
    '{"uri": "%(uri)", "user": "%(user)", "agent": "%(uagent)", "host": "%(host)", "referer": "%(referer)", '
    '"addr": "%(addr)", "method": "%(method)", "status": %(status), "x": "%(var.HTTP_X)"}'
)


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Return servers by the names of their options."""
    with ExitStack() as stack:

        def start(**options):
            directory = tmp_path_factory.mktemp("site")
            (directory / "fails.py").write_text(APP)
            site = Site(directory, "fails:app", chdir=directory, **options)
            stack.callback(site.close)
            return site

        yield {
            "plain": start(),
            "format": start(
                log_format='%(addr) %(user) "%(method) %(uri)" %(uagent) %(referer) %(var.HTTP_X)'
            ),
            "json": start(log_format=JSON),
            "streams": start(post_buffering=0),
            "h11": start(http_parser="h11", trusted_proxies="127.0.0.1"),
        }


@pytest.fixture(params=["plain", "format", "json"])
def site(request, sites):
    sites[request.param].forget_log()
    return sites[request.param]


@pytest.mark.parametrize("front", EVERY)
@pytest.mark.parametrize("path", ["/x", "/raise", "/short"])
def test_O1_nothing_of_a_client_moves_the_cursor(site, front, path):
    """The bytes that a head may have, C1 controls among them, and what a false front end sends beside."""
    evil = "\x9b31m\x9d0;title\x9c\x85\xe9\"\\'"
    headers = [
        ("User-Agent", evil),
        ("Referer", evil),
        ("X", f"{evil}\tb"),
        ("Authorization", "Basic " + SECRET),
    ]
    more = {}
    target = f"{path}/%9b2J%c2%9b%e2%80%ae"
    if front not in ("http", "mongrel2"):
        more["params"] = [
            ("REMOTE_USER", evil),
            ("REMOTE_ADDR", evil),
            ("REQUEST_URI", target + evil),
            ("PATH_INFO", path),
        ]
    with site.client(front) as client:
        client.send("GET", path if more else target, headers, **more)
        client.receive()
    site.log(f"{path}.*\n")
    log = site.server.log
    assert re.fullmatch(r"[\x20-\x7e\n]*", log), ascii(log)
    assert SECRET not in log


@pytest.mark.parametrize("front", ["http", "mongrel2"])
def test_O2_refusals_are_told_up_to_a_number_a_second(sites, front):
    site = sites["plain"]
    site.forget_log()
    count, began = 200, monotonic()
    for _ in range(count):
        with site.client(front) as client:
            assert client.request("GET", "/", [("Host", "a b")]).status == 400
    with site.client(front) as client:
        assert client.request("GET", "/good").body == b"fine"

    check_told(site, front, "'a b' is no Host", count, began)


def test_O2_so_are_bodies_that_the_application_reads_as_they_come(sites):
    site = sites["streams"]
    site.forget_log()
    count, began = 200, monotonic()
    for _ in range(count):
        with site.client("http") as client:
            expecting = [("Transfer-Encoding", "chunked"), ("Expect", "100-continue")]
            client.start(client.encode("POST", "/read", expecting))
            assert client.more() == b"HTTP/1.1 100 Continue\r\n\r\n", "the application reads"
            client.resume("POST", b"no size\r\n")
            assert client.receive().status == 400
    check_told(site, "http", "POST /read: A chunk begins with what is no chunk size", count, began)
    assert "Traceback" not in site.server.log


def check_told(site, front, reason, count, began):
    """Check that so many refusals are told of, by as many lines as there may be since *began*."""

    def told():
        log = site.server.log
        lines = len(re.findall(reason, log))
        return lines, lines + sum(
            map(int, re.findall(rf"{front} \S+: (\d+) more requests were refused", log))
        )

    poll(lambda: told()[1] == count, f"some of {count} are not accounted for")
    assert told()[0] < count
    assert told()[0] <= 101 + 10 * (monotonic() - began)


def test_O3_lines_of_json_are_json(sites):
    site = sites["json"]
    site.forget_log()
    printable = bytes([*range(0x20, 0x7F), *range(0x80, 0x100)]).decode("latin-1")
    values = [f"x{printable[at : at + 40]}x" for at in range(0, len(printable), 40)]
    for front in EVERY:
        for value in values:
            with site.client(front) as client:
                client.request("GET", "/json", [("User-Agent", value), ("Referer", value), ("X", value)])
    poll(lambda: site.count('"/json".*"x"') == len(values) * len(EVERY), "not all is logged")
    lines = [json.loads(line) for line in site.server.log.splitlines()]
    assert [each["agent"] for each in lines] == values * len(EVERY)


BAD = [
    f"GET / HTTP/1.1\r\nHost: h\r\nAuthorization\x0b: Basic {SECRET}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: h\r\nAuthorization Basic: {SECRET}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: {SECRET}\r\nAuthorization: {SECRET}\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: h\r\nCookie: {SECRET}\x00\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: h\r\nCookie: {SECRET}\r\n b\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: h\r\nCookie:\xff{SECRET}\r\nContent-Length: x\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: u:{SECRET}@h\r\n\r\n",
    f"GET http://u:{SECRET}@h/ HTTP/1.1\r\nHost: h\r\n\r\n",
    f"GET http://u:{SECRET}@h/ HTTP/1.0\r\n\r\n",
    f"GET ftp://u:{SECRET}@h/ HTTP/1.1\r\nHost: h\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: h\r\n{SECRET}\r\n\r\n",
    f"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{SECRET}",
    f"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;{SECRET}\x00\r\n",
]  # fmt: skip


@pytest.mark.parametrize("name", ["plain", "h11"])
def test_O5_no_secret_of_a_request_is_logged(sites, name):
    site = sites[name]
    site.forget_log()
    host, _, port = site.server.addresses["http"].rpartition(":")
    for data in BAD:
        with socket.create_connection((host, int(port)), GUARD) as sock:
            sock.sendall(data.encode("latin-1"))
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
    secrets = [("Authorization", f"Bearer {SECRET}"), ("Cookie", f"session={SECRET}"), ("X-Api-Key", SECRET)]
    for front in EVERY:
        for path in ("/raise", "/short", "/good"):
            with site.client(front) as client:
                client.send("POST", path, secrets, SECRET.encode())
                client.receive()
    poll(
        lambda: len(re.findall("POST /(raise|short|good)", site.server.log)) >= 3 * len(EVERY),
        "not all is logged",
    )
    assert SECRET not in site.server.log


def test_O5_no_secret_of_the_configuration_is_logged(tmp_path):
    (tmp_path / "fails.py").write_text(APP)
    (tmp_path / "site.ini").write_text(
        f"[uwsgi]\nmodule = fails:app\nhttp-socket = 127.0.0.1:0\nenv = KEY={SECRET}\nenv = URL=x://u:{SECRET}@h ; no comment\n"
        f"db-password = {SECRET}\nemperor = zmq://u:{SECRET}@h\n"
    )
    with Server(
        "--ini", tmp_path / "site.ini", cwd=tmp_path, env={"APPSERVER_ENV": f"OTHER={SECRET}"}
    ) as server:
        assert server.stop() == 0
    assert "db-password" in server.log, "what is unknown is warned about"
    assert SECRET not in server.log


@pytest.mark.parametrize("front", EVERY)
def test_O6_an_error_says_nothing_of_the_application(sites, front):
    with sites["plain"].client(front) as client:
        answer = client.request("GET", "/raise")
    assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
    assert {name.lower() for name, _ in answer.headers} <= {
        "content-type",
        "content-length",
        "date",
        "connection",
    }
