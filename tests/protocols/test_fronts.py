"""Requests as front ends send them: what the product writes is what the tests' own clients write."""

from __future__ import annotations

import pytest

from appserver.protocols import fronts, scgi, uwsgi
from appserver.protocols.codec import ProtocolError
from appserver.protocols.fastcgi import FastcgiCodec
from appserver.protocols.fronts import Answer, Request, answer, stdout
from appserver.protocols.http import HttpCodec
from appserver.protocols.mongrel2 import Mongrel2Codec, parse
from appserver.protocols.readers import reader_named
from tests.support.clients import FastcgiClient, HttpClient, ScgiClient, UwsgiClient
from tests.support.messages import as_tnetstring

REQUESTS = [
    Request("GET", "/", (("Host", "h"),)),
    Request(
        "POST",
        "/a%2541//b?q=%20",
        (("Host", "h:1"), ("X-A", "\xe9"), ("Content-Type", "t/u")),
        b"\0\xff" * 40000,
    ),
    Request("PUT", "/" + "x" * 300, (("Host", "h"), ("Y", "z" * 8000)), b"1"),
]
CLIENTS = {"http": HttpClient, "uwsgi": UwsgiClient, "scgi": ScgiClient, "fastcgi": FastcgiClient}
BASE = {
    "SERVER_NAME": "s",
    "SERVER_PORT": "80",
    "SCRIPT_NAME": "",
    "wsgi.url_scheme": "http",
    "REMOTE_ADDR": "",
}


def codec_of(name):
    return {
        "http": lambda: HttpCodec(BASE, reader_named("h11")), "uwsgi": lambda: uwsgi.UwsgiCodec({}),
        "scgi": lambda: scgi.ScgiCodec({}), "fastcgi": lambda: FastcgiCodec({}, 1 << 20),
    }[name]()  # fmt: skip


def read(name, data):
    """Return the environ and the body that a listener makes of *data*."""
    codec = codec_of(name)
    x = codec.receive(data)
    body = b"".join(iter(lambda: b"".join(codec.receive_body(x, b"")), b"")) if x.body_left else b""
    assert x.body_left == 0
    return x.environ, body


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: each.method)
@pytest.mark.parametrize("name", CLIENTS)
def test_a_request_arrives_as_that_of_the_tests_own_client(name, request_):
    sent = getattr(fronts, name)(request_)
    client = CLIENTS[name]("")
    oracle = client.encode(request_.method, request_.target, request_.headers, request_.body)
    environ, body = read(name, sent)
    expected, _ = read(name, oracle)
    assert body == request_.body
    # What the two fronts say of themselves.
    for each in (environ, expected):
        for key in ("REMOTE_ADDR", "SERVER_NAME", "DOCUMENT_ROOT", "DOCUMENT_URI", "HTTP_CONNECTION"):
            each.pop(key, None)
    assert environ == expected


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: each.method)
def test_a_message_of_mongrel2(request_):
    message = parse(fronts.mongrel2(request_, (b"uuid", b"7")))
    assert message.connection == (b"uuid", b"7")
    assert message.body == request_.body
    environ = Mongrel2Codec({}).exchange(message).environ
    assert environ["REQUEST_URI"] == request_.target
    assert environ.get("HTTP_X_A") == dict(request_.headers).get("X-A")


def test_repeated_fields_are_lists_for_mongrel2_and_joined_for_the_others():
    request = Request("GET", "/", (("Host", "h"), ("Cookie", "a"), ("Cookie", "b"), ("A", "1"), ("A", "2")))
    assert as_tnetstring(["a", "b"]) in fronts.mongrel2(request, (b"u", b"1"))
    assert (request.variables["HTTP_COOKIE"], request.variables["HTTP_A"]) == ("a; b", "1, 2")


HEAD = b"HTTP/1.1 200 OK\r\nA:  b \r\n"


@pytest.mark.parametrize(
    "data, method, expected",
    [
        (HEAD + b"\r\nbody", "GET", (b"body", True)),
        (HEAD + b"Content-Length: 4\r\n\r\nbodymore", "GET", (b"body", True)),
        (HEAD + b"Content-Length: 4\r\n\r\nbod", "GET", (b"bod", False)),
        (HEAD + b"Content-Length: 4\r\n\r\n", "HEAD", (b"", True)),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n", "GET", (b"body", True)),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n", "GET", (b"bo", False)),
        (HEAD.replace(b"HTTP/1.1", b"Status:") + b"\r\nbody", "GET", (b"body", True)),
        (HEAD.replace(b"200", b"204") + b"Content-Length: 4\r\n\r\n", "GET", (b"", True)),
    ],
)
def test_answers(data, method, expected):
    found = answer(data, method)
    assert isinstance(found, Answer)
    assert (found.body, found.complete) == expected
    assert found.headers[0] == ("A", "b")


def test_an_answer_whose_end_is_not_there_yet():
    whole = HEAD + b"Content-Length: 4\r\n\r\nbody"
    assert [answer(whole[:size], "GET", ended=False) for size in range(len(whole))] == [None] * len(whole)
    assert answer(whole, "GET", ended=False) == answer(whole, "GET")
    assert answer(HEAD + b"\r\nbody", "GET", ended=False) is None


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n"])
def test_what_is_no_answer(data):
    with pytest.raises(ProtocolError, match="answer"):
        answer(data, "GET")


def test_records_of_an_answer():
    end = b"\1\3\0\1\0\10\0\0" + bytes(8)
    data = b"\1\6\0\1\0\2\2\0ab\0\0" + b"\1\7\0\1\0\1\0\0e" + b"\1\6\0\1\0\1\0\0c"
    assert stdout(data) == (b"abc", False)
    assert stdout(data + end) == (b"abc", True)
    assert stdout(data + end[:12] + b"\1" + bytes(3)) == (b"abc", False)
