"""Answers to Mongrel2: how they are framed, into how many messages, and when they close."""

from __future__ import annotations

import pytest

from tests.support.mongrel2 import Mongrel2, serving

MIB = 1 << 20
MOST = 16  # messages that a client may have to read (DELIVER_OUTSTANDING_MSGS)


@pytest.fixture(scope="module")
def peer(dispatch):
    with Mongrel2() as peer, serving(peer):
        peer.settle()
        yield peer


@pytest.fixture(scope="module")
def cooperative(dispatch):
    with Mongrel2() as peer, serving(peer, options=["--gevent", "10"]):
        yield peer


def test_an_answer_carries_the_uuid_and_id_of_its_request(peer):
    clients = [peer.client() for _ in range(20)]
    for client in clients:
        client.send(f"/echo?text={client.number}")
    for client in clients:
        assert client.answer().body == str(client.number).encode()
    assert not peer.strays


@pytest.mark.parametrize(
    "version, connection, target, kept",
    [
        ("HTTP/1.1", None, "/echo?text=a", True),
        ("HTTP/1.1", "close", "/echo?text=a", False),
        ("HTTP/1.1", "Close, TE", "/echo?text=a", False),
        ("HTTP/1.0", None, "/echo?text=a", False),
        ("HTTP/1.0", "keep-alive", "/echo?text=a", True),
        ("HTTP/1.0", "keep-alive", "/stream?pieces=3&length=1", True),
        ("HTTP/1.0", "keep-alive", "/stream?pieces=3", False),
        ("HTTP/1.0", "keep-alive", "/empty", True),
        ("HTTP/1.1", None, "/stream?pieces=3", True),
        ("HTTP/1.1", None, "/nothing", True),
        ("HTTP/1.1", None, "/fail", True),
        ("HTTP/1.1", None, "/fail?after=1", False),
    ],
)
def test_a_connection_is_closed_by_one_empty_message_or_kept(peer, version, connection, target, kept):
    client = peer.client().send(target, version=version, headers={"connection": connection})
    answer = client.answer()
    if kept:
        # Only an answer of its own length can be followed by another.
        assert answer.ended != "close"
        assert answer.headers.get("connection") == (None if version == "HTTP/1.1" else "keep-alive")
        assert client.send("/echo?text=b").answer().body == b"b"
        assert b"" not in client.messages
    else:
        client.closed()
        peer.get()  # whatever else there was would have come before
        assert client.messages.count(b"") == 1
        assert client.messages[-1] == b""
        if "fail" not in target:
            assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "version, target, ended, body",
    [
        ("HTTP/1.1", "/stream?pieces=3&size=2", "chunked", b"AABBCC"),
        ("HTTP/1.0", "/stream?pieces=3&size=2", "close", b"AABBCC"),
        ("HTTP/1.1", "/stream?pieces=3&size=2&length=1", "length", b"AABBCC"),
        ("HTTP/1.0", "/stream?pieces=3&size=2&length=1", "length", b"AABBCC"),
        (
            "HTTP/1.1",
            "/stream?pieces=40&size=10&length=1",
            "length",
            b"".join(bytes([65 + n % 26]) * 10 for n in range(40)),
        ),
        ("HTTP/1.1", "/blanks", "chunked", b"ab"),
        ("HTTP/1.0", "/blanks", "close", b"ab"),
        ("HTTP/1.1", "/blanks?length=2", "length", b"ab"),
        ("HTTP/1.1", "/nothing", "length", b""),
    ],
)
def test_the_length_of_an_answer_is_told(peer, version, target, ended, body):
    answer = peer.get(target, version=version)
    assert (answer.ended, answer.body) == (ended, body)
    assert (answer.headers.get("transfer-encoding") == "chunked") == (ended == "chunked")


@pytest.mark.parametrize(
    "method, target, status",
    [
        ("HEAD", "/echo?text=abc", 200),
        ("HEAD", "/stream?pieces=3", 200),
        ("GET", "/empty", 204),
        ("GET", "/empty?status=304+Not+Modified", 304),
        ("HEAD", "/empty", 204),
    ],
)
def test_an_answer_without_a_body_has_none_and_keeps_the_connection(peer, method, target, status):
    client = peer.client().send(target, method=method)
    answer = client.answer(head_only=True)
    assert (answer.status, answer.body, answer.count) == (status, b"", 1)
    if status == 204:
        assert "content-length" not in answer.headers
    assert client.send("/echo?text=b").answer().body == b"b"
    assert b"" not in client.messages


@pytest.mark.parametrize("target", ["/echo?text=abc", "/environ", "/empty", "/nothing", f"/large?size={MIB}"])
def test_a_small_answer_is_one_message(peer, target):
    client = peer.client().send(target)
    client.answer()
    peer.get()
    assert len(client.messages) == 1


@pytest.mark.parametrize(
    "target, size",
    [
        ("/stream?pieces=102", 1020),
        ("/stream?pieces=102&size=2048", 102 * 2048),
        ("/stream?pieces=102&length=1", 1020),
        ("/stream?pieces=5000&size=100", 500000),
        ("/stream?pieces=800&size=65536&length=1", 50 * MIB),
        ("/stream?pieces=50&size=1048576&length=1", 50 * MIB),
        (f"/large?size={50 * MIB}", 50 * MIB),
    ],
)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_quick_stream_is_few_messages(peer, version, target, size):
    client = peer.client().send(target, version=version)
    assert len(client.answer().body) == size
    peer.get()
    assert len(client.messages) <= MOST


@pytest.mark.parametrize("length", ["", "&length=1"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_each_piece_of_a_slow_stream_is_delivered_promptly(cooperative, tmp_path, version, length):
    pieces_arrive(cooperative, tmp_path, 30, version, length)


@pytest.mark.parametrize("length, pieces", [("", 8), ("&length=1", 3)])
def test_a_blocking_application_delivers_pieces_promptly(peer, tmp_path, length, pieces):
    """Only so many at once, as the loop has no time for what is held back."""
    pieces_arrive(peer, tmp_path, pieces, "HTTP/1.1", length)


def pieces_arrive(peer, gates, pieces, version, length):
    client = peer.client().send(f"/gated?gates={gates}&pieces={pieces}{length}", version=version)
    for number in range(pieces):
        (gates / str(number)).touch()
        piece = b"piece%02d" % number
        peer.wait(lambda piece=piece: piece in b"".join(client.messages))
    assert client.answer().body == b"".join(b"piece%02d" % number for number in range(pieces))


def test_an_answer_that_fails_is_cut_off(peer):
    client = peer.client().send("/fail?after=2")
    client.closed()
    assert b"".join(client.messages).endswith(b"5\r\npiece\r\n5\r\npiece\r\n")
