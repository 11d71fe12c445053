"""Answers on kept connections: what goes wrong in one must not be taken for the next. docs/security/answers.md."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from tests.listeners.conftest import Site
from tests.security.conftest import CUTS, LAST, PARSERS, Door, connect, opened, speak
from tests.security.wires import CL, POST, TE

GET = "GET {} HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module", params=PARSERS)
def semantics(request, tmp_path_factory):
    """Return a server whose application does what the path says: tests/listeners/apps/semantics.py."""
    site = Site(tmp_path_factory.mktemp("answers"), "semantics:app", ["http"], http_parser=request.param)
    yield Door(site)
    assert site.server.stop() == 0
    site.close()


LAST_HERE = LAST.replace(b"/last", b"/result/list")


@pytest.mark.parametrize("kind", ["value-crlf", "value-lf", "value-cr", "value-nul", "name-crlf", "name-nul", "name-colon",
                                  "name-blank", "name-empty", "status-crlf", "status-lf", "status-no-blank",
                                  "status-two-digits", "status-four-digits", "status-100", "status-101", "status-600"])  # fmt: skip
def test_R1_R2_nothing_of_a_hostile_head_is_sent(semantics, kind):
    """Injection by a value, a name or a status is an error, after which the connection is as before."""
    said = semantics.speak(GET.format(f"/hostile/{kind}").encode() + LAST_HERE)
    assert said.statuses == [500, 200]
    assert b"Injected" not in said.answers[0].raw
    assert said.answers[1].body == b"one,two,three"


@pytest.mark.parametrize("field, kept", [
    ("Connection: upgrade", True), ("Connection: close", False), ("Keep-Alive: timeout=9", True), ("Upgrade: h2c", True),
    ("Transfer-Encoding: chunked", True), ("Transfer-Encoding: gzip", True), ("TE: trailers", True),
    ("Proxy-Connection: close", True), ("Trailer: X", True),
])  # fmt: skip
def test_R4_the_connection_is_the_server_s(semantics, field, kept):
    told = json.dumps({"headers": [field.split(": ")], "body": ["text"]})
    head = f"POST /answer HTTP/1.1\r\nHost: h\r\nContent-Length: {len(told)}\r\n\r\n{told}"
    said = semantics.speak(head.encode() + LAST_HERE)
    assert said.statuses == ([200, 200] if kept else [200])
    assert said.answers[0].body == b"text"
    name = field.partition(":")[0]
    assert said.answers[0].all(name) == ([] if kept else ["close"])


@pytest.mark.parametrize("kind", ["list", "generator", "bytes", "write", "file", "bytesio"])
def test_R5_R10_a_short_body_ends_the_connection(semantics, kind):
    """The next answer would be read as its rest."""
    said = semantics.speak(GET.format(f"/lengths/{kind}/10/4").encode() + LAST_HERE)
    assert len(said.answers) == 1
    assert (said.answers[0].body, said.answers[0].complete) == (b"xxxx", False)


@pytest.mark.parametrize("kind", ["list", "generator", "bytes", "write", "file", "bytesio"])
def test_R5_a_long_body_is_cut(semantics, kind):
    said = semantics.speak(GET.format(f"/lengths/{kind}/4/10").encode() + LAST_HERE)
    assert [(answer.status, answer.body) for answer in said.answers] == [
        (200, b"xxxx"),
        (200, b"one,two,three"),
    ]


@pytest.mark.parametrize("when", ["middle", "middle-length"])
def test_R6_an_error_in_the_middle_is_no_end(semantics, when):
    said = semantics.speak(GET.format(f"/fail/{when}/RuntimeError").encode() + LAST_HERE)
    assert len(said.answers) == 1
    assert not said.answers[0].complete
    assert not said.answers[0].raw.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "200 OK"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_R7_answers_without_a_body(semantics, status, method):
    """Whatever the application yields, and whatever length it announces."""
    if (status, method) == ("200 OK", "GET"):
        return
    told = json.dumps({"status": status, "headers": [["Content-Length", "4"]], "body": ["text"]})
    head = f"{method} /answer HTTP/1.1\r\nHost: h\r\nContent-Length: {len(told)}\r\n\r\n{told}"
    with connect(semantics.address) as sock:
        sock.sendall(head.encode() + LAST_HERE)
        heard = b"".join(iter(lambda: sock.recv(65536), b""))
    first, second = heard.split(b"HTTP/1.1 ")[1:]
    fields, body = first.split(b"\r\n\r\n", 1)
    assert (fields[:3], body) == (status[:3].encode(), b"")
    assert b"Transfer-Encoding" not in fields
    assert (b"Content-Length" in fields) == (status[:3] != "204")
    assert second.startswith(b"200 OK")


HIDDEN = "GET /hostile/value-crlf HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("size", [len(HIDDEN), 1000, 200_000, 2_000_000])
def test_R11_a_body_that_nobody_reads_is_no_request(semantics, how, size):
    body = (HIDDEN * (size // len(HIDDEN) + 1))[:size]
    head = f"POST /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n{body}"
    assert semantics.speak(head.encode() + LAST_HERE, how).statuses == [200, 200]


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("size", [1000, 200_000, 2_000_000])
def test_R11_nor_is_one_that_is_not_read_ahead(tmp_path, how, size):
    body = (HIDDEN * (size // len(HIDDEN) + 1))[:size]
    site = Site(tmp_path, "semantics:app", ["http"], post_buffering=0)
    try:
        for head in (f"Content-Length: {size}\r\n\r\n{body}", f"{TE}\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"):
            wire = f"POST /ignore HTTP/1.1\r\nHost: h\r\n{head}".encode()
            said = speak(site.server.addresses["http"], wire + LAST_HERE, how)
            assert said.statuses in ([200, 200], [200])  # what is long ends the connection
            assert said.answers[0].complete
        assert site.count("hostile") == 0
    finally:
        site.close()


@pytest.mark.parametrize("parser", PARSERS)
def test_R12_an_early_answer_can_be_read(tmp_path, parser):
    """Its client sends all of a body that is refused before it looks: it is no reset that it finds."""
    with opened(tmp_path, http_parser=parser, limit_post=1000) as door:
        for head in (
            f"{POST}Content-Length: 8000000\r\n\r\n",
            f"{POST}{TE}\r\n7a1200\r\n",
            f"{POST}{CL}{TE}\r\n",
        ):
            with connect(door.address) as sock:
                sock.sendall(head.encode() + bytes(8_000_000))
                heard = b"".join(iter(lambda: sock.recv(65536), b""))
            assert heard.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))
            assert heard.count(b"HTTP/1.1 ") == 1
        assert door.calls() == []


def test_R12_lingering_ends(semantics):
    """A client that goes on and on is not listened to for ever."""
    with connect(semantics.address) as sock, suppress(ConnectionError):
        sock.sendall(b"GET\r\n\r\n")
        while True:
            sock.sendall(bytes(65536))
