"""What one request costs in Python calls and system calls: counts, so that they are the same everywhere."""

from __future__ import annotations

import gc
import sys

import pytest

from appserver.exchange import Exchange
from appserver.file_wrapper import FileWrapper
from appserver.gateway import Gateway
from appserver.protocols import fronts
from appserver.protocols.fastcgi import FastcgiCodec
from appserver.protocols.fronts import Request
from appserver.protocols.http import HttpCodec
from appserver.protocols.mongrel2 import Mongrel2Codec, parse
from appserver.protocols.readers import reader_named
from appserver.protocols.scgi import ScgiCodec
from appserver.protocols.uwsgi import UwsgiCodec
from tests.protocols.memories import forget

OURS = {"wsgi.run_once": False}
BASE = {"SERVER_NAME": "s", "SERVER_PORT": "80", "SCRIPT_NAME": "", "wsgi.url_scheme": "http"} | OURS


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

    def refused(self, what):
        pass


REQUEST = Request("GET", "/hello", (("Host", "s"), ("User-Agent", "u"), ("Accept", "*/*")))
HEAD = b"GET /hello HTTP/1.1\r\nHost: s\r\nUser-Agent: u\r\nAccept: */*\r\n\r\n"


class Mongrel2Once:
    """Give a message to the Mongrel2 codec as the others get bytes."""

    def __init__(self):
        self.codec = Mongrel2Codec(OURS)

    def receive(self, data):
        return self.codec.exchange(parse(data, OURS))


CASES = {
    # One of them for each variable that varies, and two where that is a tnetstring; none where a mark ends it.
    # protocol: (codec, bytes of a request, Python calls allowed for parse + application + answer)
    "http": (HttpCodec(BASE, reader_named("auto")), HEAD, 20),
    "uwsgi": (UwsgiCodec(OURS), fronts.uwsgi(REQUEST), 23),
    "fastcgi": (FastcgiCodec(OURS), fronts.fastcgi(REQUEST), 29),
    "scgi": (ScgiCodec(OURS), fronts.scgi(REQUEST), 22),
    "mongrel2": (Mongrel2Once(), fronts.mongrel2(REQUEST, (b"uuid", b"1")), 38),
}


def calls_of(function):
    """Return how many Python functions *function* calls."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"

    gc.disable()  # hypothesis is called by the collector
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
    Gateway(app, None).respond(x, channel)
    assert len(channel.sent) == 1


@pytest.mark.parametrize("name", CASES)
def test_a_request_stays_within_its_budget(name):
    codec, data, allowed = CASES[name]
    channel = Recorder()
    forget()  # what other tests have had remembered, which can be as much as may be
    gateway = Gateway(application, None)

    def once():
        x = codec.receive(data)
        assert isinstance(x, Exchange)
        if x.body_left:
            x.codec.receive_body(x, b"")
        gateway.respond(x, channel)

    once()  # names are interned, parsers made and the form is learned the first time,
    once()  # and found the second time
    assert calls_of(once) <= allowed
    assert len(channel.sent) == 3, "an answer is one send"


@pytest.mark.parametrize("name", CASES)
def test_an_application_that_keeps_write_writes_nothing_after_its_call(name):
    codec, data, _ = CASES[name]
    channel, kept = Recorder(), []

    def keeping(environ, start_response):
        kept.append(start_response("200 OK", []))
        return iter([b"hello"])

    x = codec.receive(data)
    if x.body_left:
        x.codec.receive_body(x, b"")
    Gateway(keeping, None).respond(x, channel)
    before = list(channel.sent)
    kept[0](b"too late")
    assert channel.sent == before
