"""WebSocket over HTTP and behind Mongrel2: the same for the application, and for whoever breaks its rules."""

from __future__ import annotations

import json
import struct

import pytest

from tests.listeners.conftest import serving
from tests.support.answers import Wire
from tests.support.websockets import (
    CLOSE,
    FIN,
    KEY,
    PING,
    PONG,
    TEXT,
    HttpWebSocket,
    Mongrel2WebSocket,
    ScgiWebSocket,
    UwsgiWebSocket,
)

STREAMS = ("http", "threads", "one", "uwsgi", "scgi")
FRONTS = (*STREAMS, "mongrel2", "mongrel2-shared", "mongrel2-threads")
GREENLETS = ("http", "uwsgi", "scgi", "mongrel2", "mongrel2-shared")
SOCKETS = {"uwsgi": UwsgiWebSocket, "scgi": ScgiWebSocket}
MODES = {
    "http": (["http"], {"gevent": 50}), "threads": (["http"], {"threads": 4}), "one": (["http"], {}),
    "uwsgi": (["uwsgi"], {"gevent": 50}), "scgi": (["scgi"], {"gevent": 50}),
    "mongrel2": (["mongrel2"], {"gevent": 50, "zeromq_dispatch": "worker"}),
    "mongrel2-shared": (["mongrel2"], {"gevent": 50, "zeromq_dispatch": "shared"}),
    "mongrel2-threads": (["mongrel2"], {"threads": 4, "zeromq_dispatch": "shared"}),
}  # fmt: skip
OPTIONS = {"websocket_max_size": 64, "websocket_backlog": 256}


@pytest.fixture(scope="module", params=FRONTS)
def site(request, tmp_path_factory):
    front = request.param
    listeners, options = MODES[front]
    with serving(tmp_path_factory.mktemp("site"), "sockets:app", listeners, **options, **OPTIONS) as found:
        found.front = front
        yield found


def client_of(site):
    if site.mongrel2 is not None:
        return Mongrel2WebSocket(site.mongrel2)
    ((name, address),) = site.server.addresses.items()
    return SOCKETS.get(name, HttpWebSocket)(address)


@pytest.fixture
def client(site):
    with client_of(site) as found:
        yield found
    site.forget_log()


def only(*fronts):
    return pytest.mark.parametrize("site", fronts, indirect=True)


def leaves(site, token, code, status=101):
    """Wait for the end of the application's call, and for its access line."""
    site.log(rf"{token} ended {code}")
    site.log(rf"{token} closed")
    site.log(rf'\?{token} HTTP/1\.1" {status} ')


def test_messages_of_both_kinds_come_back(client, site, token):
    client.connect_to(f"/echo?{token}")
    for message in (
        "hello",
        "",
        b"",
        b"\x00\xff",
        "grüß dich \U0001f600",
        "x" * 65536,
        bytes(65535),
        bytes(126),
    ):
        client.say(message)
        assert client.message() == message
    client.say_close(1001, "leaving")
    assert client.closed() == (1001, "")
    client.end()
    leaves(site, token, "1001 leaving")
    assert site.count(rf"{token} closed") == 1
    assert site.count(rf'"GET /echo\?{token} HTTP/1.1" 101 \d{{6}} ') == 1, "its bytes are counted"


def test_subprotocols_headers_and_the_end_by_the_application(client, site):
    answer = client.connect_to("/accepted?b", Sec_WebSocket_Protocol="a, b,c")
    assert answer.header("Sec-WebSocket-Protocol") == "b"
    assert answer.header("X-Own") == "yes"
    assert json.loads(client.message()) == ["b", "GET", ""]
    assert client.closed() == (4000, "enough")
    client.say_close(4000)
    client.end()
    site.log("b chose b of a,b,c")
    site.log("b asked /accepted 13 b None")
    site.log("b ended 4000 enough")


def test_none_is_chosen_by_itself(client):
    assert (
        client.connect_to("/accepted?x", Sec_WebSocket_Protocol="a").header("Sec-WebSocket-Protocol") is None
    )
    assert json.loads(client.message())[0] is None


def test_one_that_is_not_wanted_is_refused(client, site, token):
    answer = client.ask(f"/refuse?{token}")
    assert (answer.status, answer.body) == (403, b"Forbidden\n")
    site.log(rf'/refuse\?{token} HTTP/1.1" 403 ')


@pytest.mark.parametrize("kind", ["", "-none"])
def test_what_is_answered_after_a_refusal_is_dropped(client, site, token, kind):
    """As after the end of one that has been accepted: frameworks want to answer something."""
    answer = client.ask(f"/refuse-and-answer?{token}{kind}")
    assert (answer.status, answer.body) == (403, b"Forbidden\n")
    site.log(rf'{token}{kind} HTTP/1.1" 403 10 ')
    assert site.count(rf"ERROR .*GET /refuse-and-answer\?{token}{kind}: ") == 0
    assert site.count(f"{token} closed") == (not kind), "close() is called as ever"


def test_an_application_that_does_not_want_it_answers_as_ever(client, site):
    answer = client.ask("/plain")
    assert (answer.status, answer.body) == (200, b"could be more")
    if site.mongrel2 is not None:
        assert answer.header("Connection") == "close", "Mongrel2 takes all that comes for frames"
        client.end()
    else:
        assert client.request("GET", "/plain").body == b"plain"


def test_one_that_forgets_to_answer_gets_an_error(client):
    assert client.ask("/nothing").status == 500


def test_mistakes_are_told_to_who_makes_them(client):
    client.connect_to("/mistakes")
    assert json.loads(client.message()) == [
        "ApplicationError", "ApplicationError", "ApplicationError", "TypeError", "ValueError", "ValueError",
        "ValueError", "ValueError",
    ]  # fmt: skip
    assert client.message() == "the WebSocket is accepted, or refused, already"
    assert client.closed() == (1000, "")


# Handshakes

BAD = {
    "no key": ({"Sec_WebSocket_Key": None}, 400), "a short key": ({"Sec_WebSocket_Key": "abc="}, 400),
    "two keys": ({"Sec_WebSocket_Key": f"{KEY}, {KEY}"}, 400),
    "version 8": ({"Sec_WebSocket_Version": "8"}, 426), "no version": ({"Sec_WebSocket_Version": None}, 426),
    "versions": ({"Sec_WebSocket_Version": "13, 8"}, 426),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_handshakes(client, site, name, token):
    changes, status = BAD[name]
    answer = client.ask(f"/echo?{token}", **changes)
    assert answer.status == status
    assert answer.header("Sec-WebSocket-Version") == ("13" if status == 426 else None)
    assert answer.header("Upgrade") == ("websocket" if status == 426 else None)
    site.log(rf'/echo\?{token} HTTP/1.1" {status} ')
    assert site.count(rf"{token} ended") == 0, "the application is not called"


@only("http", "uwsgi", "scgi")
@pytest.mark.parametrize(("method", "changes"), [
    ("GET", {"Upgrade": "h2c"}), ("GET", {"Connection": "keep-alive"}), ("POST", {}),
    ("GET", {"Upgrade": "websocket, h2c"}),
])  # fmt: skip
def test_what_is_no_handshake_is_a_plain_request(site, method, changes):
    from tests.support.websockets import HANDSHAKE

    with site.client(site.front) as client:
        answer = client.request(method, "/echo", list((HANDSHAKE | changes).items()))
        assert (answer.status, answer.body) == (200, b"plain")
        answer = client.request("GET", "/echo", list(HANDSHAKE.items()), version="HTTP/1.0")
        assert answer.body == b"plain"
        answer = client.request("GET", "/echo", list(HANDSHAKE.items()), body=b"a body")
        assert answer.body == b"plain"


# Control frames, fragments, and what is forbidden


def test_pings_are_answered_and_pongs_are_not(client):
    client.connect_to("/echo")
    client.send_frame(FIN | PONG, b"unasked")
    client.send_frame(FIN | PING, b"there?")
    assert client.frame() == (FIN | PONG, b"there?")
    client.send_frame(FIN | PING)
    assert client.frame() == (FIN | PONG, b"")


def test_the_application_may_ping(client):
    client.connect_to("/pings")
    assert client.frame() == (FIN | PING, b"application")
    client.say("x")
    assert client.closed() == (1000, "")


@only(*STREAMS)
def test_fragments_come_as_one_with_pings_between_them(client):
    client.connect_to("/echo")
    client.send_frame(TEXT, "grü".encode()[:3])
    client.send_frame(FIN | PING, b"now")
    assert client.frame() == (FIN | PONG, b"now")
    client.send_frame(0, "grü".encode()[3:])
    client.send_frame(FIN, "ß".encode())
    assert client.message() == "grüß"


@only(*STREAMS)
def test_frames_may_come_behind_the_request_at_once(client):
    """No browser does; nothing of it is lost."""
    from tests.support.websockets import HANDSHAKE, masked

    head = client.encode("GET", "/echo", list(HANDSHAKE.items()))
    client.start(head + masked(FIN | TEXT, b"early")[:3])
    assert client.receive_head().status == 101
    client.send_bytes(masked(FIN | TEXT, b"early")[3:])
    assert client.message() == "early"


VIOLATIONS = {
    "a reserved bit": (0xC1, b"hi", 1002), "an unknown opcode": (0x83, b"", 1002),
    "an unknown control opcode": (0x8B, b"", 1002), "text that is no UTF-8": (0x81, b"\xff", 1007),
    "a close code that is reserved": (0x88, struct.pack("!H", 1006), 1002), "a close of one byte": (0x88, b"\3", 1002),
    "a reason that is no UTF-8": (0x88, b"\x03\xe8\xff", 1007), "too long a message": (0x82, bytes(65537), 1009),
    "a continuation of nothing": (0x80, b"hi", 1002),
}  # fmt: skip


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_ends_it(client, site, name, token):
    first, payload, code = VIOLATIONS[name]
    client.connect_to(f"/echo?{token}")
    client.say("before")
    assert client.message() == "before"
    client.send_frame(first, payload)
    assert client.closed()[0] == code
    client.end()
    leaves(site, token, code)
    site.log(f"/echo.{token} is closed with {code}: ")


@only(*STREAMS)
@pytest.mark.parametrize(("data", "code"), [
    (b"\x81\x02hi", 1002), (b"\x09\x80\0\0\0\0", 1002), (b"\x08\x80\0\0\0\0", 1002), (b"\x89\xfe\x00\x7e", 1002),
    (b"\x82\xfe\x00\x05", 1002), (b"\x82\xff\xff" + bytes(7), 1002), (b"GET / HTTP/1.1\r\n\r\n", 1002),
    (b"\x01\x82\0\0\0\0hi\x81\x80\0\0\0\0", 1002),
])  # fmt: skip
def test_a_violation_of_framing_ends_it(client, site, token, data, code):
    client.connect_to(f"/echo?{token}")
    client.send_bytes(data)
    assert client.closed()[0] == code
    client.end()
    leaves(site, token, code)


def test_a_text_in_fragments_may_not_be_too_long(client, site):
    client.connect_to("/echo")
    client.send_frame(FIN | TEXT, "ü".encode() * 32768)
    assert len(client.message()) == 32768
    client.send_frame(FIN | TEXT, "ü".encode() * 32768 + b"x")
    assert client.closed() == (1009, "the message has more than 65536 bytes")


# The end


def test_a_close_without_a_code(client, site, token):
    client.connect_to(f"/echo?{token}")
    client.send_frame(FIN | CLOSE)
    assert client.closed() == (1005, "")
    client.end()
    leaves(site, token, 1005)


def test_what_was_said_before_the_close_is_still_received(client, site, token):
    client.connect_to(f"/sum-up?{token}")
    for _ in range(10):
        client.say(b"abc")
    client.say_close()
    assert client.closed() == (1000, "")
    site.log(f"{token} got 30 bytes")
    leaves(site, token, 1000)


def test_the_application_closes_and_can_send_no_more(client, site):
    client.connect_to("/close-with?3001&why")
    client.say("now")
    assert client.closed() == (3001, "why")
    assert client.wire.buffer == b""
    client.say("too late to be heard")
    client.say_close(3001)
    client.end()
    site.log("cannot: 3001 why")
    assert site.count("cannot: 3001 why") == 2


@pytest.mark.parametrize(("path", "code"), [("/fail", 1011)])
def test_an_application_that_fails(client, site, path, code):
    client.connect_to(path)
    client.say("now")
    assert client.closed() == (code, "")
    client.say_close(code)
    client.end()
    site.log("RuntimeError: the application fails")


@only("http", "threads", "mongrel2", "mongrel2-shared")
def test_one_that_fails_because_another_client_has_left(site, client, token):
    """Its own client has not, and is told; the log says why."""
    with client_of(site) as other:
        other.connect_to(f"/relay?{token}other")
        other.say("here")
        assert other.message() == "here"
        other.say_close()
        assert other.closed()[0] == 1000
    leaves(site, f"{token}other", 1000)
    client.connect_to(f"/relay?{token}")
    client.say("there")
    assert client.closed() == (1011, "")
    site.log(f"{token}: the application raised ConnectionClosed")


def test_an_application_that_fails_before_it_accepts(client):
    assert client.ask("/fail-early").status == 500


def test_a_client_that_goes_without_a_word(client, site, token):
    client.connect_to(f"/echo?{token}")
    client.say("here")
    assert client.message() == "here"
    client.leave()
    leaves(site, token, 1006)
    assert site.count(rf"{token} closed") == 1


@pytest.mark.parametrize("path", ["/echo", "/pings", "/fail", "/selected", "/refuse"])
@pytest.mark.parametrize("leave", ["leave", "say_close"])
def test_one_that_has_ended_is_freed_without_the_collector(client, site, token, path, leave):
    answer = client.ask(f"/forgotten?{token}&{path}")
    if answer.status == 101:
        client.say("hello")
        getattr(client, leave)()
    for part in ("WebSocket", "Session", r"\w+Wire", "Marker"):
        site.log(f"{token} nobody knows its {part}")


@only(*GREENLETS)
@pytest.mark.parametrize("leave", ["leave", "say_close"])
def test_a_call_that_waits_for_something_else_is_cancelled(client, site, token, leave):
    """As it never receives, it would not hear of it."""
    client.connect_to(f"/send-and-wait?{token}")
    site.log(f"{token} waits")
    getattr(client, leave)()
    site.log(f"{token} raised Cancelled")
    site.log(rf'\?{token} HTTP/1.1" 101 ')
    assert "Traceback" not in site.server.log


@only("one", "mongrel2-threads")
def test_a_library_that_would_block_the_loop_is_told(client, site, token):
    answer = client.ask(f"/by-itself?{token}")
    assert (answer.status, answer.body.partition(b":")[0]) == (
        501, b"a library that speaks WebSocket by itself would block the loop here",
    )  # fmt: skip
    site.log(rf'\?{token} HTTP/1.1" 501 ')
    site.log(f"{token}: a library that speaks WebSocket by itself .*: use gevent = N")
    assert "Traceback" not in site.server.log


def test_who_asks_on_after_the_end_is_told(client, site, token):
    """None comes once: such a call would go on for ever, and where it runs in the loop's thread nothing else would."""
    client.connect_to(f"/until-told?{token}")
    client.say("here")
    assert client.message() == "here"
    client.say_close()
    assert client.closed() == (1000, "")
    site.log(f"{token} received 1 None, then 1000")
    leaves(site, token, 1000)


def test_receiving_with_a_time_limit(client):
    client.connect_to("/late")
    assert [client.message() for _ in range(3)] == ["late"] * 3
    client.say("now")
    assert client.message() == "now"


def test_polling_without_a_time_to_wait(client):
    """Nothing else lets the loop read where the application sleeps in its thread."""
    client.connect_to("/poll?10")
    client.say("now")
    assert client.message() == "got now"


@only("http", "mongrel2", "mongrel2-shared", "mongrel2-threads")
def test_polling_without_a_pause_leaves_the_loop_to_others(client, site, token):
    client.connect_to(f"/spin?{token}")
    site.log(f"{token} spins")
    with client_of(site) as other:
        other.connect_to("/echo")
        other.say("meanwhile")
        assert other.message() == "meanwhile"
    client.say("now")
    assert client.message() == "got now"


@pytest.mark.parametrize("options", [{"threads": 4}, {"processes": 2}], ids=["threads", "processes"])
def test_where_frames_could_reach_anybody_there_is_none(serve, options):
    site = serve("sockets:app", ["mongrel2"], zeromq_dispatch="worker", **options)
    with client_of(site) as client:
        assert client.ask("/echo").status == 501
        client.end()
    site.log("WebSocket is not served here. Set zeromq-dispatch = shared")


@only("mongrel2", "mongrel2-shared", "mongrel2-threads")
def test_frames_of_nobody_end_their_connection(site):
    """They may be of a WebSocket that another process has, so the client is told to connect again."""
    with client_of(site) as client:
        client.ask("/plain")
        client.end()
        for say in (client.say, client.say_close):
            client.number = number = next(client.mongrel2.numbers)  # one that has asked for nothing
            client.wire = Wire(lambda number=number: client.mongrel2.next_answer(number))
            if say == client.say:
                say("to nobody")
                assert client.closed() == (1001, "the WebSocket has ended here")
            else:
                say()
            client.end()
        client.number = None
    site.forget_log()
