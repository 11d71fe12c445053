"""PEP 3333 in full: write(), exc_info, close(), wsgi.file_wrapper; and wsgiref.validate as the judge."""

from __future__ import annotations

import json
import re

import pytest

from tests.listeners.conftest import FRONTS, HTTP_FRONTS, KEPT_FRONTS, Site, over

BLOCK = bytes(range(256)) * 256


def closed(client, token):
    return json.loads(client.request("GET", f"/counts/{token}").body)["closed"]


# write()


@pytest.mark.parametrize("kind, body", [("alone", b"onetwo"), ("more", b"onetwosix"), ("length", b"onetwosix"),
                                        ("empty", b"")])  # fmt: skip
def test_write(client, token, kind, body):
    answer = client.request("GET", f"/writing/{kind}?{token}")
    assert (answer.status, answer.body, answer.complete) == (200, body, True)
    assert answer.header("Content-Length") == {"length": "9"}.get(kind)  # an empty write() sends the head
    assert answer.closed == (client.front not in KEPT_FRONTS)
    assert closed(client, token) == int(kind in {"more", "length"})


@over(*HTTP_FRONTS)
def test_write_sends_at_once(client):
    assert client.request("GET", "/writing/more").chunks == [b"one", b"two", b"six"]


def test_error_after_write(client, site, token):
    answer = client.request("GET", f"/writing/raise?{token}")
    assert (answer.status, answer.complete, answer.closed) == (200, False, True)
    site.log(rf"ERROR .*{token}: the application raised RuntimeError\n")


# start_response


def test_exc_info_before_the_head(client):
    """What has not been sent is replaced as a whole."""
    answer = client.request("GET", "/protocol/exc-info-before")
    assert (answer.status, answer.reason, answer.body) == (503, "Later", b"replaced")
    assert answer.all("X-Which") == ["second"]


def test_exc_info_after_the_head(client, site, token):
    """What has been sent cannot be replaced: start_response raises what it is given."""
    answer = client.request("GET", f"/protocol/exc-info-after?{token}")
    assert answer.status == 200
    assert answer.header("X-Which") == "first"
    assert not answer.complete
    assert b"never seen" not in answer.raw
    site.log(rf"Traceback(?s:.)*ValueError: .*late {token}'\n")
    assert closed(client, token) == 1


def test_start_response_by_the_first_piece(client):
    assert client.request("GET", "/result/late-start").body == b"one,two,three"


# close()


@pytest.mark.parametrize("method, target", [
    ("GET", "/result/own-iterator"), ("HEAD", "/result/own-iterator"), ("GET", "/big/3"), ("HEAD", "/big/3"),
    ("GET", "/fail/first/ValueError"), ("GET", "/fail/middle/RuntimeError"), ("GET", "/fail/never/RuntimeError"),
    ("GET", "/writing/more"), ("HEAD", "/writing/more"), ("GET", "/protocol/exc-info-after"),
    ("GET", "/file/plain/1000/0"), ("GET", "/file/bytesio/1000/0"), ("HEAD", "/file/plain/1000/0"),
    ("HEAD", "/file/bytesio/1000/0"), ("GET", "/file/plain/0/0"), ("GET", "/file/plain/1000000/0"),
])  # fmt: skip
def test_close_is_called_once(client, site, token, method, target):
    target = target.replace("ValueError", "RuntimeError")
    client.request(method, f"{target}?{token}")
    site.log(rf'"{method} {target}\?{token} ')
    assert closed(client, token) == 1


# wsgi.file_wrapper


@pytest.mark.parametrize("kind", ["plain", "length", "bytesio"])
@pytest.mark.parametrize("size, offset", [(0, 0), (1, 0), (1, 1), (1000, 0), (1000, 10), (70000, 65537),
                                          (3000000, 12345)])  # fmt: skip
def test_file_wrapper(client, token, kind, size, offset):
    answer = client.request("GET", f"/file/{kind}/{size}/{offset}?{token}")
    assert answer.body == (BLOCK * (size // len(BLOCK) + 1))[offset:size]
    assert answer.complete
    if kind != "bytesio" or size == offset:
        assert answer.header("Content-Length") == str(size - offset)
    assert closed(client, token) == 1


@pytest.mark.parametrize("kind", ["plain", "bytesio"])
@pytest.mark.parametrize("length", [0, 1, 1000, 70000, 200000])
def test_a_part_of_a_file(client, site, token, kind, length):
    """As for a range: no more than the Content-Length is sent, and that is nobody's error."""
    answer = client.request("GET", f"/file/{kind}/300000/10/{length}?{token}")
    assert answer.header("Content-Length") == str(length)
    assert (answer.body, answer.complete) == ((BLOCK * 5)[10 : 10 + length], True)
    assert closed(client, token) == 1
    site.log(rf'\?{token} HTTP/1\.1" 200 \d')
    assert site.count(rf"{token}: ") == 0
    assert client.request("POST", "/echo", body=b"next").body == b"next"


@over("http")
def test_file_wrapper_for_http_1_0(client):
    answer = client.request("GET", "/file/plain/100000/0", version="HTTP/1.0")
    assert (len(answer.body), answer.complete, answer.closed) == (100000, True, True)


@over(*KEPT_FRONTS)
def test_files_on_a_kept_connection(client):
    for size in (10, 200000, 0, 65536, 1):
        answer = client.request("GET", f"/file/plain/{size}/0")
        assert (len(answer.body), answer.closed) == (size, False)


@over("http", "uwsgi", "fastcgi", "scgi")
def test_files_are_closed_where_the_client_leaves(client, site, token):
    def open_files():
        with site.client("http") as other:
            return json.loads(other.request("GET", "/open-files").body)

    before = open_files()
    for _ in range(3):
        client.send("GET", f"/file/plain/20000000/0?{token}")
        assert client.sock.recv(1)
        client.drop()
    with site.client("http") as other:
        other.request("GET", "/environ")
        while json.loads(other.request("GET", "/open-files").body) > before + 1:  # the timeout guards
            pass
        assert closed(other, token) == 3


# wsgiref.validate


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    """Return a server whose application is wrapped in wsgiref.validate.validator."""
    found = Site(tmp_path_factory.mktemp("validated"), "validated:app", post_buffering=1000)
    yield found
    found.close()


REQUESTS = [
    ("GET", "/", [], b"", 200),
    ("GET", "/caf%C3%A9/x?a=b&c=%20", [("X-A", "1"), ("X-A", "2"), ("Cookie", "a=b")], b"", 200),
    ("HEAD", "/", [], b"", 200),
    ("POST", "/", [("Content-Type", "text/plain")], b"short", 200),
    ("POST", "/", [("Content-Type", "text/plain")], b"long line\n" * 10000, 200),
    ("PUT", "/lines", [], b"one\ntwo\n\nthree", 200),
    ("GET", "/generator", [], b"", 200),
    ("HEAD", "/generator", [], b"", 200),
    ("GET", "/write", [], b"", 200),
    ("GET", "/nothing", [], b"", 204),
    ("GET", "/unchanged", [], b"", 304),
    ("GET", "/file", [], b"", 200),
    ("GET", "/again", [], b"", 503),
    ("OPTIONS", "/", [], b"", 200),
    ("DELETE", "/", [], b"", 200),
]


@pytest.mark.parametrize("sent", REQUESTS, ids=lambda sent: f"{sent[0]} {sent[1]}")
@pytest.mark.parametrize("front", FRONTS)
def test_wsgiref_validate(validated, token, front, sent):
    method, target, headers, body, status = sent
    mark = f"{target}{'&' if '?' in target else '?'}{token}"
    with validated.client(front) as client:
        answer = client.request(method, mark, headers, body)
    validated.log(rf'"{re.escape(f"{method} {mark}")} ')
    assert (answer.status, answer.complete) == (status, True)
    for word in ("AssertionError", "Traceback", "Warning", "ERROR", "garbage"):
        assert word not in validated.server.log
