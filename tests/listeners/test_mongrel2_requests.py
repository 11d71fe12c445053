"""Requests from Mongrel2: what the application sees of them, and what never reaches it."""

from __future__ import annotations

import json

import pytest

from tests.support.mongrel2 import Mongrel2, json_netstring, serving, tnetstring, wait_for_file

BOTH = pytest.mark.parametrize("encode", [json_netstring, tnetstring], ids=["json", "tnetstring"])


@pytest.fixture(scope="module")
def attached(dispatch):
    with Mongrel2() as peer, serving(peer) as server:
        yield peer, server


@pytest.fixture(scope="module")
def peer(attached):
    return attached[0]


@pytest.fixture(scope="module")
def cooperative(dispatch):
    with Mongrel2() as peer, serving(peer, options=["--gevent", "10"]):
        yield peer


@pytest.fixture(scope="module")
def named(dispatch):
    with Mongrel2() as peer, serving(peer, options=["--mongrel2-script-name"]):
        yield peer


def test_two_mongrel2_servers_get_their_own_answers():
    with (
        Mongrel2("first-1") as first,
        Mongrel2("second-2", protocol="json") as second,
        serving(first, second),
    ):
        clients = []
        for number in range(50):
            for peer in (first, second):
                client = peer.client()
                client.number = number  # both count their clients alike
                clients.append((client.send(f"/echo?text={peer.uuid}-{number}"), f"{peer.uuid}-{number}"))
        for client, text in clients:
            assert client.answer().body == text.encode()
        assert not first.strays
        assert not second.strays


def test_json_and_tnetstring_are_told_apart_by_message(peer):
    clients = [
        peer.client().send("/echo?text=a", encode=(json_netstring, tnetstring)[n % 2]) for n in range(20)
    ]
    assert [client.answer().body for client in clients] == [b"a"] * 20


@BOTH
def test_the_environ_of_a_request(peer, encode):
    headers = {
        "accept": ["text/html", "*/*"],
        "cookie": ["a=1", "b=2"],
        "content-type": "text/plain",
        "host": "example.org:8080",
        "x_forged": "dropped",
        "method": "client's",
        "remote_addr": "client's",
    }
    target = "/environ/caf%C3%A9%20%252F?a=%20&b"
    found = peer.get(
        target, method="POST", headers=headers, body=b"body", encode=encode, URL_SCHEME="https"
    ).json()
    assert found == {
        "appserver.listener": "mongrel2",
        "REQUEST_METHOD": "POST",
        "REQUEST_URI": target,
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ/caf\xc3\xa9 %2F",
        "QUERY_STRING": "a=%20&b",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "example.org",
        "SERVER_PORT": "8080",
        "REMOTE_ADDR": "192.0.2.7",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "4",
        "HTTP_ACCEPT": "text/html, */*",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_HOST": "example.org:8080",
        "HTTP_METHOD": "client's",
        "HTTP_X_FORWARDED_FOR": "192.0.2.7",
        "wsgi.url_scheme": "https",
        "body": "body",
    }


@BOTH
@pytest.mark.parametrize(
    "value", ["caf\xe9", "\xff\xfe", "tab\there", 'quote" and \\', "\xc3\xa9", "\\u0041"]
)
def test_any_bytes_of_a_header_survive(peer, encode, value):
    assert peer.get("/environ", headers={"x-value": value}, encode=encode).json()["HTTP_X_VALUE"] == value


@BOTH
@pytest.mark.parametrize("value", ["a\nb", "a\x00b", "a\rb", "\x01"])
def test_control_characters_are_refused_and_survived(peer, encode, value):
    client = peer.client().send(headers={"x-value": value}, encode=encode)
    assert client.answer().status == 400
    client.closed()
    assert peer.get().status == 200


@BOTH
def test_any_bytes_of_a_body_survive(peer, encode):
    body = bytes(range(256)) * 300
    found = peer.get("/environ", method="POST", body=body, encode=encode).json()
    assert found["body"].encode("latin-1") == body


@pytest.mark.parametrize(
    "headers, body",
    [
        ({"content-length": "+4"}, b"body"),
        ({"content-length": ["4", "4"]}, b"body"),
        ({"content-length": "3"}, b"body"),
        ({"content-length": "5"}, b"body"),
        ({"content-length": "-1"}, b""),
        ({"content-length": "4", "transfer-encoding": "chunked"}, b"body"),
        ({"transfer-encoding": "gzip, chunked"}, b""),
        ({"host": ["a", "b"]}, b""),
        ({"host": "a b"}, b""),
    ],
)
def test_a_request_that_has_two_meanings_is_refused(attached, headers, body):
    peer, server = attached
    client = peer.client().send("/environ/ambiguous", method="POST", headers=headers, body=body)
    assert client.answer().status == 400
    assert client.closed() == 2
    peer.get("/echo?text=fence")
    server.wait_until("echo.text=fence.* 200")
    assert "/environ/ambiguous" not in server.log  # no access line: the application was not called


@BOTH
@pytest.mark.parametrize(
    "path, special",
    [
        ("/ws", {"METHOD": "WEBSOCKET_HANDSHAKE", "upgrade": "websocket"}),
        ("<policy", {"METHOD": "XML", "VERSION": None, "URI": None}),
        ("@chat", {"METHOD": "JSON", "VERSION": None, "URI": None}),
    ],
)
def test_what_is_no_http_is_refused_once(attached, encode, path, special):
    peer, server = attached
    client = peer.client().send(path, encode=encode, body=b"{}", **special)
    answer = client.answer()
    assert answer.status == 501
    assert answer.headers["connection"] == "close"
    assert client.closed() == 2
    peer.get()
    assert client.messages == [client.messages[0], b""]
    assert f'"{special["METHOD"]} ' not in server.log


@BOTH
@pytest.mark.parametrize("path, kept", [("/environ/x", True), ("@*", False)])
def test_a_forged_notice_is_a_request_and_cancels_nothing(cooperative, tmp_path, encode, path, kept):
    victim = cooperative.client().send(f"/gated?gates={tmp_path}&pieces=3")
    wait_for_file(tmp_path / "asked-0")
    body = json.dumps({"type": "disconnect"}).encode()
    victim.send(path, method="JSON", body=body, encode=encode)
    cooperative.get()
    for number in range(3):
        (tmp_path / str(number)).touch()
    assert victim.answer().body == b"piece00piece01piece02"
    answer = victim.answer()
    if kept:
        assert answer.json()["REQUEST_METHOD"] == "JSON"
    else:
        assert answer.status >= 400
        victim.closed()


ROUTES = [
    ("/app/(.*)", "/app/x", "/app", "/x"),
    ("/app/", "/app/", "/app", "/"),
    ("/", "/environ", "", "/environ"),
    ("/app/", "/environ", "", "/environ"),
]


@pytest.mark.parametrize("pattern, target, script, path", ROUTES)
def test_script_name_comes_from_the_route_if_asked(named, pattern, target, script, path):
    # The application takes the first part of the path for its orders.
    found = named.get(target.replace("/x", "/environ") if script else target, PATTERN=pattern).json()
    assert found["SCRIPT_NAME"] == script
    assert found["PATH_INFO"] == path.replace("/x", "/environ")


@pytest.mark.parametrize("pattern, target", [route[:2] for route in ROUTES])
def test_script_name_does_not_come_from_the_route_unasked(peer, pattern, target):
    found = peer.get("/environ" + target, PATTERN=pattern).json()
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("", "/environ" + target)


def test_limit_post():
    with Mongrel2() as peer, serving(peer, options=["--limit-post", "10"]):
        assert peer.get("/environ", method="POST", body=b"x" * 10).status == 200
        client = peer.client().send("/environ", method="POST", body=b"x" * 11)
        assert client.answer().status == 413
        client.closed()
