"""The same requests over every path: HTTP, nginx with its four protocols, Mongrel2 with its two formats."""

from __future__ import annotations

import random
from urllib.parse import unquote

import pytest

from tests.peers.client import Raw, curl, forget_peak, get, memory, together
from tests.peers.conftest import PATHS
from tests.support.fronts import poll

pytestmark = pytest.mark.peers

MIB = random.Random(1).randbytes(1 << 20)
NGINX = [name for name in PATHS if name.startswith("nginx")]

# What may differ between the paths for one and the same request, and why.
PER_PATH = {
    "appserver.listener",
    "REMOTE_PORT",  # Mongrel2 does not tell it; with proxy_pass it is nginx's own
    "SERVER_NAME", "SERVER_PORT",  # where there is no Host they matter; each path has a port of its own
    "CONTENT_LENGTH",  # "0" over SCGI, whose specification wants it always
    "HTTP_X_FORWARDED_FOR",  # set by Mongrel2
    # more that nginx's stock files send
    "DOCUMENT_ROOT", "DOCUMENT_URI", "REQUEST_SCHEME", "GATEWAY_INTERFACE", "REDIRECT_STATUS",
    "REMOTE_USER", "SERVER_ADDR", "SERVER_SOFTWARE", "SCGI",
}  # fmt: skip


def test_get(demo, path):
    reply = get(demo.url(path))
    assert reply.status == 200
    assert reply.header("Content-Type") == "text/html; charset=utf-8"
    assert f"Answered by the <em>{PATHS[path][1]}</em> listener".encode() in reply.body
    for name in ("http", "uwsgi", "fastcgi", "scgi", "mongrel2"):
        assert f"<b>{name}</b>".encode() in reply.body


def test_a_body_of_1_mib_comes_back(demo, path):
    reply = get(demo.url(path, "/echo"), "--data-binary", "@-", input=MIB)
    assert reply.status == 200
    assert len(reply.body) == len(MIB)
    assert reply.body == MIB


@pytest.mark.parametrize("size", [0, 1, 20480, 20481, 300_000])
def test_a_chunked_body_comes_back(demo, path, size):
    body = MIB[:size]
    reply = get(
        demo.url(path, "/echo"), "-H", "Transfer-Encoding: chunked", "--data-binary", "@-", input=body
    )
    assert reply.status == 200
    assert reply.body == body


@pytest.mark.parametrize(
    "path, how",
    [
        *((path, "Transfer-Encoding: chunked") for path in NGINX),
        # With scgi_request_buffering off nginx 1.22 announces only the bytes it has at that moment.
        *((path, f"Content-Length: {len(MIB)}") for path in NGINX if path != "nginx-scgi"),
    ],
)
def test_a_body_that_nginx_does_not_buffer_comes_back(demo, path, how):
    reply = get(demo.unbuffered_url(path, "/echo"), "-H", how, "--data-binary", "@-", input=MIB)
    assert reply.status == 200
    assert reply.body == MIB


def test_the_answer_arrives_where_nginx_announces_less_than_it_sends(demo):
    reply = get(demo.unbuffered_url("nginx-scgi", "/echo"), "--data-binary", "@-", input=MIB)
    assert reply.status == 200
    assert MIB.startswith(reply.body)


def test_a_streamed_answer_arrives_whole(demo, path):
    reply = get(demo.url(path, "/stream"))
    listener = PATHS[path][1]
    assert reply.body.decode() == "".join(f"{number} by {listener}\n" for number in range(1, 6))
    assert reply.header("Transfer-Encoding") == "chunked"
    assert reply.header("Content-Length") is None


def test_an_answer_to_http_1_0_is_not_chunked(demo, path):
    reply = get(demo.url(path, "/stream"), "--http1.0")
    assert reply.body.count(b"\n") == 5
    assert reply.header("Transfer-Encoding") is None
    assert reply.header("Connection") == "close"


def test_head_has_a_head_and_no_body(demo, path):
    whole, head = get(demo.url(path)), get(demo.url(path), "--head")
    assert (head.status, head.body) == (200, b"")
    assert head.header("Content-Type") == whole.header("Content-Type")


def test_404(demo, path):
    reply = get(demo.url(path, "/nothing/here"))
    assert (reply.status, reply.body) == (404, b"Not Found\n")


def test_repeated_cookies_are_one_variable(site, path):
    reply = get(site.url(path, "/environ"), "-H", "Cookie: a=1", "-H", "Cookie: b=2; c=3")
    assert reply.json["HTTP_COOKIE"] == "a=1; b=2; c=3"


@pytest.mark.parametrize(
    "target, decoded",
    [
        ("/x/%2541", "/x/%41"),
        ("/x/a%20b+c", "/x/a b+c"),
        ("/x/%C3%A9", "/x/\xc3\xa9"),
        ("/x/%e2%82%ac%3Fd", "/x/\xe2\x82\xac?d"),
    ],
)
def test_a_path_is_decoded_once(site, path, target, decoded):
    found = get(site.url(path, f"{target}?q=%2541&r=a+b")).json
    assert found["PATH_INFO"] == decoded
    assert found["SCRIPT_NAME"] == ""
    assert found["REQUEST_URI"] == f"{target}?q=%2541&r=a+b"
    assert found["QUERY_STRING"] == "q=%2541&r=a+b"


@pytest.mark.parametrize(
    "target, plain",
    [
        ("/x//b", "/x/b"),
        ("/x/y/../b", "/x/b"),
        ("/x/b/..", "/x/"),
        ("/x/.", "/x/"),
        ("//x//", "/x/"),
        ("/x%2Fb", "/x/b"),
    ],
)
def test_a_path_is_as_the_front_end_understands_it(site, path, target, plain):
    """nginx's rules are about the path that it has normalised; with proxy_pass it passes on what the client sent."""
    found = get(site.url(path, target), "--path-as-is").json
    normalised = path in {"nginx-uwsgi", "nginx-fastcgi", "nginx-scgi"}
    assert found["PATH_INFO"] == (plain if normalised else unquote(target))
    assert (found["SCRIPT_NAME"], found["REQUEST_URI"]) == ("", target)


def request_over(site, path, *arguments):
    found = get(
        site.url(path, "/x/%2541/b?name=%20value"), "-H", "Host: site.example", "-H", "X-Word: café",
        "-H", "Accept: text/html", "-H", "Accept: text/plain", "-H", "Cookie: a=1", "-H", "Cookie: b=2",
        "-H", "X-Empty;", "-A", "tester/1.0", *arguments,
    ).json  # fmt: skip
    return {name: value for name, value in found.items() if name not in PER_PATH}


@pytest.mark.parametrize("arguments", [(), ("-d", "a=1&b=2"), ("-X", "PURGE")], ids=["GET", "POST", "PURGE"])
def test_the_environ_is_the_same_over_every_path(site, path, arguments):
    """REQUEST_METHOD, the path and query, headers, REMOTE_ADDR, the scheme: everything but PER_PATH."""
    assert request_over(site, path, *arguments) == request_over(site, "http", *arguments)


def test_content_length_is_the_body_s(site, path):
    found = get(site.url(path, "/environ"), "-d", "12345").json
    assert (found["CONTENT_LENGTH"], found["body"]) == ("5", "12345")
    found = get(site.url(path, "/environ"), "-H", "Transfer-Encoding: chunked", "-d", "12345").json
    assert (found["CONTENT_LENGTH"], found["body"]) == ("5", "12345")
    assert "HTTP_TRANSFER_ENCODING" not in found


def test_all_paths_are_served_at_once(site):
    """Requests wait for each other in the application: one of every path in one process."""
    urls = [site.url(path, "/meet") for path in PATHS]
    replies = together(len(urls), lambda number: get(urls[number]))
    assert {reply.status for reply in replies} == {200}


@pytest.mark.parametrize("after", [1, 1000, 300_000])
def test_an_answer_that_breaks_off_is_seen_to(site, path, after):
    """18: transfer closed with data outstanding; 56: the connection was reset."""
    reply = curl(site.url(path, f"/fail?after={after}&over={path}"))
    assert reply.exit in {18, 56}, reply
    site.server.wait_until(rf"ERROR .*/fail\?after={after}&over={path}: the application raised RuntimeError")


def test_an_answer_of_known_length_that_breaks_off_is_seen_to(site, path):
    reply = curl(site.url(path, "/fail?after=1000&length=5000"))
    assert reply.exit in {18, 56}, reply


def test_an_error_before_the_answer_is_a_500(site, path):
    reply = get(site.url(path, "/unknown"))
    assert (reply.status, reply.body) == (500, b"Internal Server Error\n")


def test_close_runs_when_the_client_leaves(site, path, tmp_path):
    closed = tmp_path / "closed"
    with Raw(site.port(path)) as client:
        client.send(f"GET /endless?path={closed} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert len(client.take(20_000)) == 20_000
    poll(closed.exists, "the iterable's close() did not run")


@pytest.mark.parametrize("known", ["header", "list"])
def test_50_mib_of_known_length_arrive_whole(site, path, known):
    reply = get(site.url(path, f"/big?mib=50&known={known}"))
    assert reply.header("Content-Length") == str(50 << 20)
    assert len(reply.body) == 50 << 20
    assert all(reply.body[at] == at >> 20 for at in range(0, 50 << 20, 65536))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["length", "chunked"])
@pytest.mark.parametrize("path", ["http", "mongrel2-tnetstring", "mongrel2-json"])
def test_1_gib_is_received_without_holding_it(demo, path, how, tmp_path):
    pid = demo.server.process.pid
    forget_peak(pid)
    before = memory(pid, "VmRSS")
    zeros = tmp_path / "zeros"
    with zeros.open("wb") as file:
        file.truncate(1 << 30)  # sparse
    more = ("-H", "Transfer-Encoding: chunked") if how == "chunked" else ()
    reply = get(demo.url(path, "/size"), "-T", zeros, *more)
    assert reply.body == b"1073741824\n"
    assert memory(pid, "VmHWM") < max(120, before + 16)
    assert not list(demo.mongrel2.uploads.iterdir())
