"""Static files through every listener, with all that stands around the application."""

from __future__ import annotations

import pytest

from tests.support.clients import FastcgiClient, HttpClient, ScgiClient, UwsgiClient
from tests.support.server import Server

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Powered-By", "me")])
    return [environ["SCRIPT_NAME"].encode() + b" app " + environ["PATH_INFO"].encode()]
"""
LARGE = b"0123456789" * 100_000
CLIENTS = {"http": HttpClient, "uwsgi": UwsgiClient, "fastcgi": FastcgiClient, "scgi": ScgiClient}


@pytest.fixture(scope="module", params=["false", "true"], ids=["alone", "master"])
def server(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    (directory / "files").mkdir()
    (directory / "files" / "large.bin").write_bytes(LARGE)
    (directory / "files" / "small.txt").write_text("small")
    (directory / "files" / "link").symlink_to("/etc/passwd")
    (directory / "files" / "refused").write_text("not for you")
    (directory / "app_static.py").write_text(APP)
    (directory / "site.ini").write_text(
        f"[uwsgi]\nmaster = {request.param}\nmount = /=app_static.py\nmount = /deep=app_static.py\nmanage-script-name\n"
        "static-map = /static=files\nadd-header = X-Frame-Options: DENY\nadd-header = X-Price: 5 \u20ac\ndel-header = X-Powered-By\n"
        "route = ^/health donotlog:\nroute = ^/private break:403\n"
        f"check-static = {directory}/files\nroute = /refused$ break:403\nroute = ^/moved redirect:/static/small.txt\n"
        "route = ^/(static|small) addheader:X-Rule: of $1\nroute-if-not = empty:${QUERY_STRING} donotlog:\n"
        "route = ^/echo/(.*) addheader:X-Path: $1\nroute = ^/sent/(.*) redirect:/$1\n"
        'log-format = %(method) %(uri) %(status) %(rsize) {"agent": "%(uagent)"}\n'
        "http-socket = 127.0.0.1:0\nsocket = 127.0.0.1:0\nprotocol = http\nuwsgi-socket = 127.0.0.1:0\n"
        "fastcgi-socket = 127.0.0.1:0\nscgi-socket = 127.0.0.1:0\n"
    )
    with Server("--ini", "site.ini", cwd=directory) as server:
        yield server


@pytest.fixture(params=sorted(CLIENTS))
def client(request, server):
    with CLIENTS[request.param](server.addresses[request.param]) as client:
        yield client


def test_plain_sockets_speak_what_they_are_told_to(server):
    assert sorted(name for name, _ in server.all_addresses) == ["fastcgi", "http", "http", "scgi", "uwsgi"]


def test_files_are_served_whole_and_in_part(client):
    assert client.request("GET", "/static/small.txt").body == b"small"
    answer = client.request("GET", "/static/large.bin")
    assert (answer.status, answer.body == LARGE, answer.header("Content-Length")) == (
        200,
        True,
        str(len(LARGE)),
    )
    answer = client.request("GET", "/static/large.bin", [("Range", "bytes=5-200004")])
    assert (answer.status, answer.body == LARGE[5:200005]) == (206, True)
    answer = client.request("HEAD", "/static/large.bin")
    assert (answer.status, answer.body, answer.header("Content-Length")) == (200, b"", str(len(LARGE)))
    tag = answer.header("ETag")
    assert client.request("GET", "/static/large.bin", [("If-None-Match", tag)]).status == 304


def test_what_is_no_file_is_the_applications(client):
    for target in ("/static/none", "/static/link", "/static/", "/static/%2e%2e/site.ini"):
        answer = client.request("GET", target)
        assert (answer.status, answer.body[:5]) == (200, b" app "), target


def test_applications_are_mounted(client):
    assert client.request("GET", "/deep/x").body == b"/deep app /x"
    assert client.request("GET", "/other").body == b" app /other"


def test_fields_are_added_and_taken_away(client):
    for target in ("/", "/static/small.txt", "/private"):
        answer = client.request("GET", target)
        assert answer.header("X-Frame-Options") == "DENY"
        assert answer.header("X-Price") == "5 \xe2\x82\xac"
        assert answer.header("X-Powered-By") is None


def test_rules_refuse(client):
    answer = client.request("GET", "/private/x")
    assert (answer.status, answer.body) == (403, b"Forbidden\n")


@pytest.mark.parametrize("target", ["/static/refused", "/refused"])
def test_rules_refuse_files(client, target):
    for method in ("GET", "HEAD"):
        answer = client.request(method, target)
        assert (answer.status, answer.body) == (403, b"Forbidden\n" if method == "GET" else b"")


def test_rules_come_before_files_and_change_their_answers(client):
    answer = client.request("GET", "/moved")
    assert (answer.status, answer.header("Location")) == (302, "/static/small.txt")
    for target, rule in (("/static/small.txt", "of static"), ("/small.txt", "of small")):
        answer = client.request("GET", target)
        assert (answer.body, answer.header("X-Rule")) == (b"small", rule)
    answer = client.request("GET", "/static/large.bin", [("Range", "bytes=5-200004")])
    assert (answer.body == LARGE[5:200005], answer.header("X-Rule")) == (True, "of static")
    answer = client.request("GET", "/static/large.bin")
    assert (answer.body == LARGE, answer.header("X-Rule")) == (True, "of static")
    tag = answer.header("ETag")
    answer = client.request("GET", "/static/large.bin", [("If-None-Match", tag)])
    assert (answer.status, answer.header("X-Rule")) == (304, "of static")


@pytest.mark.parametrize(
    "path, value", [("%C3%89t%C3%A9", "\xc3\x89t\xc3\xa9"), ("%C3%A0", "\xc3\xa0"), ("%80", "\x80")]
)
def test_a_client_s_bytes_go_through_to_a_field(client, path, value):
    answer = client.request("GET", f"/echo/{path}")
    assert (answer.status, answer.header("X-Path")) == (200, value)
    answer = client.request("GET", f"/sent/{path}")
    assert (answer.status, answer.header("Location")) == (302, f"/{value}")


def test_lines_have_their_form_and_some_requests_have_none(server, client):
    client.request("GET", "/health")
    client.request("GET", f"/seen-{client.__class__.__name__}", [("User-Agent", 'a "b"\\')])
    server.wait_until(rf'^GET /seen-{client.__class__.__name__} 200 \d+ {{"agent": "a \\"b\\"\\\\"}}$')
    client.request("GET", "/static/small.txt?quiet")
    client.request("GET", f"/seen-after-{client.__class__.__name__}")
    server.wait_until(rf"^GET /seen-after-{client.__class__.__name__} 200 ")
    assert "GET /health" not in server.log
    assert "?quiet" not in server.log
