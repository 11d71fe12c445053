"""What one request costs in Python calls and system calls: counts, so that they are the same everywhere."""

from __future__ import annotations

import gc
import sys

import pytest

from appserver.exchange import Exchange
from appserver.protocols.fastcgi import FastcgiCodec, pair, record
from appserver.protocols.http import HttpCodec
from appserver.protocols.mongrel2 import Mongrel2Codec, parse
from appserver.protocols.readers import reader_named
from appserver.protocols.scgi import ScgiCodec
from appserver.protocols.uwsgi import UwsgiCodec
from appserver.wsgi import FileWrapper, respond

BASE = {"SERVER_NAME": "s", "SERVER_PORT": "80", "SCRIPT_NAME": "", "wsgi.url_scheme": "http"}
VARIABLES = {
    "QUERY_STRING": "", "REQUEST_METHOD": "GET", "CONTENT_TYPE": "", "CONTENT_LENGTH": "",
    "REQUEST_URI": "/hello", "PATH_INFO": "/hello", "DOCUMENT_ROOT": "/srv", "SERVER_PROTOCOL": "HTTP/1.1",
    "REQUEST_SCHEME": "http", "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "1", "SERVER_PORT": "80",
    "SERVER_NAME": "s", "HTTP_HOST": "s", "HTTP_USER_AGENT": "u", "HTTP_ACCEPT": "*/*",
}  # fmt: skip


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


class Recorder:
    """A channel that keeps what is sent."""

    gone = False

    def __init__(self):
        self.sent = []

    def send(self, pieces, more):
        self.sent.append(b"".join(pieces))

    def send_file(self, fd, offset, count):
        return False

    def abort(self):
        raise AssertionError("aborted")


def uwsgi_packet():
    block = b"".join(
        part
        for name, value in VARIABLES.items()
        for text in (name.encode(), value.encode())
        for part in (len(text).to_bytes(2, "little"), text)
    )
    return b"\0" + len(block).to_bytes(2, "little") + b"\0" + block


def fastcgi_records():
    block = b"".join(pair(name.encode(), value.encode()) for name, value in VARIABLES.items())
    begin = record(1, 1, b"\0\1\1\0\0\0\0\0")
    return begin + record(4, 1, block) + record(4, 1, b"") + record(5, 1, b"")


def scgi_netstring():
    block = b"".join(f"{name}\0{value}\0".encode() for name, value in {**VARIABLES, "SCGI": "1"}.items())
    return b"%d:%b," % (len(block), block)


def netstring(data):
    return b"%d:%b," % (len(data), data)


def mongrel2_message():
    fields = {
        "REMOTE_ADDR": "127.0.0.1", "METHOD": "GET", "URL_SCHEME": "http", "PATTERN": "/", "URI": "/hello",
        "VERSION": "HTTP/1.1", "PATH": "/hello", "host": "s", "user-agent": "u", "accept": "*/*",
        "x-forwarded-for": "127.0.0.1",
    }  # fmt: skip
    block = b"".join(netstring(text.encode()) for pair in fields.items() for text in pair)
    return b"uuid 1 /hello %d:%b}0:," % (len(block), block)


HEAD = b"GET /hello HTTP/1.1\r\nHost: s\r\nUser-Agent: u\r\nAccept: */*\r\n\r\n"


class Mongrel2Once:
    """Give a message to the Mongrel2 codec as the others get bytes."""

    def __init__(self):
        self.codec = Mongrel2Codec(BASE)

    def receive(self, data):
        return self.codec.exchange(parse(data))


CASES = {
    # protocol: (codec, bytes of a request, Python calls allowed for parse + application + answer)
    "http": (HttpCodec(BASE, reader_named("httptools")), HEAD, 37),
    "uwsgi": (UwsgiCodec(BASE), uwsgi_packet(), 24),
    "fastcgi": (FastcgiCodec(BASE), fastcgi_records(), 37),
    "scgi": (ScgiCodec(BASE), scgi_netstring(), 25),
    "mongrel2": (Mongrel2Once(), mongrel2_message(), 74),
}


def calls_of(function):
    """Return how many Python functions *function* calls."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"

    gc.disable()  # it may call what ends objects of other tests
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def framework(environ, start_response):
    """Answer as Flask and Django do: an iterator, and the length of what it yields."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return iter([b"hello"])


def small_file(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return FileWrapper(open(__file__, "rb"))


@pytest.mark.parametrize("app", [framework, small_file])
@pytest.mark.parametrize("name", CASES)
def test_other_answers_are_one_send_too(name, app):
    codec, data, _ = CASES[name]
    channel = Recorder()
    x = codec.receive(data)
    if x.body_left:
        x.codec.receive_body(x, b"")
    respond(app, x, channel, None)
    assert len(channel.sent) == 1


@pytest.mark.parametrize("name", CASES)
def test_a_request_stays_within_its_budget(name):
    codec, data, allowed = CASES[name]
    channel = Recorder()

    def once():
        x = codec.receive(data)
        assert isinstance(x, Exchange)
        if x.body_left:
            x.codec.receive_body(x, b"")
        respond(application, x, channel, None)

    once()  # names are interned and parsers made the first time
    assert calls_of(once) <= allowed
    assert len(channel.sent) == 2, "an answer is one send"
