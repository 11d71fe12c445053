"""Messages that are no Mongrel2's: answered where it can be known to whom, and never the end."""

from __future__ import annotations

import pytest

from tests.support.mongrel2 import Mongrel2, json_netstring, serving, tnetstring

UUID = b"34f9ceee-cd52-4b7f-b197-88bf2f0ec378"
HEADERS = {"METHOD": "GET", "VERSION": "HTTP/1.1", "PATH": "/", "URI": "/", "host": "a"}
GOOD = tnetstring(HEADERS)


def without(name):
    return tnetstring({key: value for key, value in HEADERS.items() if key != name})


def nested(depth):
    """Return headers with a list in a list in a list..."""
    content = b"1:x,"
    for _ in range(depth):
        content = b"%d:%b]" % (len(content), content)
    content = b"1:a," + content
    return b"%d:%b}" % (len(content), content)


NOBODY = {
    "empty": b"",
    "one word": b"word",
    "no blanks": b"x" * 100,
    "two words": UUID + b" 1",
    "id is no number": UUID + b" one / " + GOOD + b"0:,",
    "id is negative": UUID + b" -1 / " + GOOD + b"0:,",
    "id is too long": UUID + b" 12345678901 / " + GOOD + b"0:,",
    "uuid is empty": b" 1 / " + GOOD + b"0:,",
    "uuid is too long": b"u" * 129 + b" 1 / " + GOOD + b"0:,",
    "uuid has other characters": b"a_b 1 / " + GOOD + b"0:,",
    "binary": bytes(range(256)),
    "malformed notice": UUID + b" 1 @* 9:{,0:,",
}

SOMEBODY = {
    "no headers": b"/",
    "no length": b"/ {}0:,",
    "length is no number": b"/ x:{},0:,",
    "length is negative": b"/ -1:{},0:,",
    "length is past the end": b"/ 99:{},0:,",
    "length is a gigabyte": b"/ 1073741824:{},0:,",
    "length of many digits": b"/ " + b"9" * 5000 + b":{},0:,",
    "another tag": b"/ 2:{}]0:,",
    "no body": b"/ " + GOOD,
    "body is longer": b"/ " + GOOD + b"10:abc,",
    "body is shorter": b"/ " + GOOD + b"1:abc,",
    "body has no end": b"/ " + GOOD + b"3:abc",
    "bytes behind the body": b"/ " + GOOD + b"3:abc,more",
    "json: broken": b'/ 5:{"a":,0:,',
    "json: a list": b"/ 2:[],0:,",
    "json: a number for a value": b'/ 7:{"a":1},0:,',
    "json: an object for a value": b'/ 8:{"a":{}},0:,',
    "json: deep": b"/ 200000:" + b"[" * 200000 + b",0:,",
    "tnetstring: a key that is none": b"/ 8:1:a#1:b,}0:,",
    "tnetstring: a number for a value": b"/ 8:1:a,1:1#}0:,",
    "tnetstring: deep": b"/ " + nested(10000) + b"0:,",
    "tnetstring: a key twice": b"/ 16:1:a,1:b,1:a,1:b,}0:,",
    "tnetstring: a value past the end": b"/ 8:1:a,9:b,}0:,",
    "no METHOD": b"/ " + without("METHOD") + b"0:,",
    "no VERSION": b"/ " + without("VERSION") + b"0:,",
    "METHOD is a list": b"/ " + tnetstring(HEADERS | {"METHOD": ["GET", "GET"]}) + b"0:,",
    "VERSION is unknown": b"/ " + tnetstring(HEADERS | {"VERSION": "HTTP/2.0"}) + b"0:,",
    "PATH is beyond latin-1": b'/ 73:{"METHOD":"GET","VERSION":"HTTP/1.1","PATH":"/","URI":"\\u0416","host":"a"},0:,',
    "a header with a line feed": b"/ " + json_netstring(HEADERS | {"x": "a\nb"}) + b"0:,",
    "a header of many digits": b"/ " + tnetstring(HEADERS | {"content-length": "9" * 5000}) + b"0:,",
    "an upload of many digits": b"/ "
    + tnetstring(
        HEADERS
        | {"content-length": "9" * 5000, "x-mongrel2-upload-start": "/a", "x-mongrel2-upload-done": "/a"}
    )
    + b"0:,",
}


@pytest.fixture(scope="module")
def attached(dispatch):
    with Mongrel2() as peer, serving(peer) as server:
        yield peer, server


@pytest.mark.parametrize("message", SOMEBODY.values(), ids=SOMEBODY.keys())
def test_a_malformed_message_of_somebody_is_answered_400(attached, message):
    peer, server = attached
    client = peer.client()
    peer.raw(b"%b %d %b" % (UUID, client.number, message))
    assert client.answer().status == 400
    client.closed()
    assert peer.get().status == 200
    assert len(client.messages) == 2
    assert "Traceback" not in server.log


@pytest.mark.parametrize("message", NOBODY.values(), ids=NOBODY.keys())
def test_a_malformed_message_of_nobody_is_dropped(attached, message):
    peer, _ = attached
    before = {number: len(bodies) for number, bodies in peer.messages.items()}
    peer.raw(message)
    client = peer.client().send()
    assert client.answer().status == 200
    assert {
        number: len(bodies) for number, bodies in peer.messages.items() if number != client.number
    } == before
    assert not peer.strays


def test_messages_of_nobody_are_logged_once_by_kind_and_counted():
    with Mongrel2() as peer, serving(peer) as server:
        for number in range(100):
            peer.raw(b"word%d" % number)
            peer.raw(UUID + b" 1 @* 9:{,0:,")
        assert peer.get().status == 200
        assert server.stop() == 0
    assert server.log.count("a message was dropped") == 2
    assert len(server.log.split("100 messages were malformed")) == 3


def test_messages_of_somebody_are_logged(attached):
    peer, server = attached
    peer.raw(UUID + b" 4000000000 /x 3:abc,0:,")
    server.wait_until("WARNING mongrel2 .* The headers are no JSON")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_refusal_of_head_has_no_body(attached, method):
    peer, _ = attached
    client = peer.client()
    head = tnetstring(HEADERS | {"METHOD": method, "VERSION": "HTTP/2.0"})
    peer.raw(b"%b %d / %b0:," % (UUID, client.number, head))
    client.closed()
    answer, end = client.messages
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nDate: " in head
    assert (body == b"") is (method == "HEAD")
    assert end == b""
