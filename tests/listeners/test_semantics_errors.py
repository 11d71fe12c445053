"""Faults of applications and clients: what the client sees, what the log says, what goes on."""

from __future__ import annotations

import json
import re
import struct
from socket import SHUT_WR

import pytest

from tests.listeners.conftest import HTTP_FRONTS, KEPT_FRONTS, over, serving

ERRORS = ["RuntimeError", "SystemExit", "KeyboardInterrupt", "BaseException", "GeneratorExit", "RecursionError",
          "StopIteration", "MemoryError", "ConnectionResetError", "TimeoutError"]  # fmt: skip


def counts(client, token):
    return json.loads(client.request("GET", f"/counts/{token}").body)


def lives(client):
    return client.request("POST", "/echo", body=b"alive").body == b"alive"


# The application


@pytest.mark.parametrize("when", ["call", "started", "first"])
@pytest.mark.parametrize("what", ERRORS)
def test_error_before_the_head(client, site, token, when, what):
    answer = client.request("GET", f"/fail/{when}/{what}?{token}")
    assert (answer.status, answer.complete) == (500, True)
    assert answer.body == b"Internal Server Error\n"
    assert answer.closed == (client.front not in KEPT_FRONTS)
    # A generator cannot let StopIteration out (PEP 479).
    raised = "RuntimeError" if (when, what) == ("first", "StopIteration") else what
    site.log(rf"ERROR {client.front.partition('-')[0]}: GET /fail/{when}/{what}\?{token}: .*{raised}\n")
    site.log(rf"Traceback(?s:.)*{what}: failed {token}")
    assert counts(client, token) == {"seen": 1, "closed": int(when == "first")}
    assert lives(client)


@pytest.mark.parametrize("when", ["middle", "middle-length"])
@pytest.mark.parametrize("what", ["RuntimeError", "SystemExit", "KeyboardInterrupt", "BaseException"])
def test_error_after_the_first_piece(client, site, token, when, what):
    answer = client.request("GET", f"/fail/{when}/{what}?{token}")
    assert answer.status == 200
    assert answer.body in {b"first,", b""}
    assert not answer.complete, "a cut answer must not pass for a whole one"
    assert answer.closed
    site.log(rf"ERROR .*{token}: the application raised {what}\n")
    assert counts(client, token) == {"seen": 1, "closed": 1}
    assert lives(client)


@pytest.mark.parametrize("target", ["/fail/middle/RuntimeError", "/lengths/generator/5000000/4000000"])
def test_a_cut_answer_of_fastcgi_ends_with_no_record_where_nothing_breaks_the_connection(tmp_path, target):
    """nginx takes the end of a Unix socket for that of the answer; what comes before it stands behind whole records."""
    address = tmp_path / "socket"
    with serving(tmp_path, "semantics:app", ["fastcgi"], addresses={"fastcgi": address}) as site:
        for front in ("fastcgi", "fastcgi-kept"):
            with site.client(front) as client:
                client.send("GET", target)
                said = b"".join(iter(lambda: client.sock.recv(65536), b""))
            at = 0
            while said[at] == 1:
                _, kind, _, size, padding = struct.unpack_from(">BBHHB", said, at)
                assert kind == 6
                at += 8 + size + padding
            assert said[at:] == bytes(8)
            with site.client(front) as client:
                assert client.request("GET", "/result/list").complete


@over(*HTTP_FRONTS)
def test_error_after_the_first_piece_shows_the_piece(client, token):
    assert client.request("GET", f"/fail/middle/RuntimeError?{token}").body == b"first,"


@pytest.mark.parametrize("what", ["RuntimeError", "SystemExit"])
def test_error_in_close(client, site, token, what):
    """All of the answer has been sent when close() raises: it is whole, and the log says so."""
    answer = client.request("GET", f"/fail/close/{what}?{token}")
    assert (answer.status, answer.body, answer.complete) == (200, b"all of it", True)
    site.log(rf"ERROR .*{token}.*{what}\n")
    assert counts(client, token)["closed"] == 1
    assert lives(client)


HOSTILE = """
value-crlf value-lf value-cr value-nul value-wide value-lookalike value-bytes value-int value-none
name-crlf name-lf name-nul name-blank name-colon name-empty name-wide name-bytes pair-list pair-three headers-tuple
headers-dict headers-none status-crlf status-lf status-nul status-wide status-no-blank status-two-digits
status-four-digits status-no-digits status-100 status-101 status-600 status-int status-bytes status-empty
length-twice length-negative length-plus length-text length-empty length-arabic length-superscript
"""


@pytest.mark.parametrize("kind", HOSTILE.split())
def test_hostile_heads(client, site, token, kind):
    answer = client.request("GET", f"/hostile/{kind}?{token}")
    assert (answer.status, answer.reason, answer.complete) == (500, "Internal Server Error", True)
    for trace in (b"X-A", b"Injected", b"never seen"):
        assert trace not in answer.raw
    line = site.log(rf"^.* ERROR .*GET /hostile/{kind}\?{token}: .*\n")[0]
    assert line.count("\n") == 1
    assert line.strip().isprintable(), "nothing of it is written raw into the log either"
    assert lives(client)


@pytest.mark.parametrize("kind", ["no-start", "no-start-generator", "none", "text", "text-generator",
                                  "text-write", "twice"])  # fmt: skip
def test_broken_rules(client, site, token, kind):
    answer = client.request("GET", f"/protocol/{kind}?{token}")
    assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
    assert answer.header("X-Which") is None
    site.log(rf"ERROR .*GET /protocol/{kind}\?{token}: ")
    assert lives(client)


# Clients


def test_client_that_leaves(client, site, token):
    client.send("GET", f"/big/2000?{token}")
    assert client.wire.more() != b""
    client.drop()
    site.log(rf'"GET /big/2000\?{token} HTTP/1\.1" 499 ')
    with site.client("http") as other:
        assert counts(other, token) == {"seen": 1, "closed": 1}
    assert site.count(rf"/big/2000\?{token}") == 1, "one access line and no other word"


@over("fastcgi", "fastcgi-kept")
def test_abort_of_fastcgi(client, site, token):
    client.send("GET", f"/big/2000?{token}")
    assert client.more().startswith(b"Status: 200")
    client.sock.sendall(client.record(2, b""))
    while client.more():
        pass
    assert client.over, "END_REQUEST answers an abort"
    site.log(rf'"GET /big/2000\?{token} HTTP/1\.1" 499 ')
    with site.client("http") as other:
        assert counts(other, token) == {"seen": 1, "closed": 1}


@over("http", "uwsgi", "fastcgi", "scgi")
def test_client_that_leaves_in_its_request(client, site, token):
    data = client.encode("POST", f"/echo?{token}", body=b"x" * 1000)
    for part in (1, len(data) - 1000, len(data) - 1):
        client.start(data[:part])
        client.drop()
    assert lives(client)
    assert site.count(f"Traceback(?s:.)*{token}|{token}(?s:.)*Traceback") == 0
    with site.client("http") as other:
        assert counts(other, token) == {"seen": 0, "closed": 0}


@over("http", "uwsgi", "fastcgi", "scgi")
def test_body_that_ends_early(client, site, token):
    """Half a body is no request: the application is not called."""
    data = client.encode("POST", f"/digest?{token}", body=b"x" * 1000)
    client.start(data[:-400])
    client.sock.shutdown(SHUT_WR)
    answer = b"".join(iter(lambda: client.sock.recv(65536), b""))
    assert b"200 OK" not in answer
    with site.client("http") as other:
        assert counts(other, token)["seen"] == 0


@over("scgi")
def test_more_body_than_announced(client):
    """nginx 1.22 with ``scgi_request_buffering off``: what it sends on must not cost it the answer."""
    client.start(client.encode("POST", "/environ", body=b"abc"))
    client.methods.append("POST")
    client.sock.sendall(b"more" * 4_000_000)
    assert client.receive().status == 200


# The log


@pytest.mark.parametrize("told", [
    ("GET", "/result/list", 200, 13), ("GET", "/result/generator", 200, 13), ("HEAD", "/result/list", 200, 0),
    ("GET", "/fail/call/RuntimeError", 500, 22), ("GET", "/fail/middle/RuntimeError", 200, 6),
    ("GET", "/file/plain/70000/10", 200, 69990), ("GET", "/writing/more", 200, 9),
    ("GET", "/lengths/list/10/4", 200, 4),
])  # fmt: skip
def test_access_line(client, site, token, told):
    method, target, status, sent = told
    client.request(method, f"{target}?{token}")
    line = site.log(rf'^\[.*"{method} {target}\?{token} .*\n')[0]
    name = client.front.partition("-")[0]
    address = "127.0.0.1" if name == "http" else "192.0.2.7"
    assert re.fullmatch(
        rf'\[[0-9 :-]+\] {name} {address} "{method} {target}\?{token} HTTP/1\.1" {status} {sent} [0-9.]+ms\n',
        line,
    )
    assert lives(client)
    assert site.count(rf'"{method} {target}\?{token} ') == 1


@over("uwsgi", "fastcgi", "scgi", "mongrel2", "mongrel2-tnetstring")
def test_access_line_is_escaped(client, site, token):
    client.request("GET", f'/environ?{token}"\\\xe9')
    site.log(rf'"GET /environ\?{token}\\x22\\x5c\\xe9 HTTP/1\.1" 200 ')


def test_errors_of_the_application_are_logged(client, site, token):
    client.request("GET", f"/errors?{token}")
    for word in ("written", "lines", "more", "printed"):
        site.log(rf"ERROR {word} {token}\n")
        assert site.count(rf"{word} {token}") == 1
