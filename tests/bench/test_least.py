"""What the bench has beside servers, to show what none can go below, answers as they do."""

import socket

import pytest

from bench import bare, cases, floor
from bench.application import post
from bench.wire import request


@pytest.mark.parametrize("encoding", ["tnetstring", "json"])
@pytest.mark.parametrize("door", floor.ANSWERS)
def test_it_calls_the_application_and_answers(monkeypatch, door, encoding):
    seen = []

    def application(environ, start_response):
        seen.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "12")])
        return [b"Hello world\n"]

    monkeypatch.setattr(bare, "app", application)
    data = request(door, keep=True, encoding=encoding)
    assert bare.ANSWERING[door](data, -1) == floor.ANSWERS[door]
    [environ] = seen
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["REQUEST_URI"] == "/"
    assert environ["HTTP_ACCEPT_LANGUAGE"] == "en-GB,en;q=0.5"
    assert environ["wsgi.input"].read() == b""


@pytest.mark.parametrize("door", sorted(cases.BARE))
def test_it_has_the_body(monkeypatch, door):
    bodies = []

    def application(environ, start_response):
        bodies.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return []

    monkeypatch.setattr(bare, "app", application)
    bare.ANSWERING[door](request(door, keep=False, body=5), -1)
    assert bodies == [bytes(5)]


@pytest.mark.parametrize("door", sorted(cases.BARE))
@pytest.mark.parametrize("came", [-100_000, -65_536, -1, None])
def test_it_reads_on_in_a_body(monkeypatch, door, came):
    monkeypatch.setattr(bare, "app", post)
    data = request(door, keep=False, body=100_000)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data[came:] if came else b"")
        theirs.shutdown(socket.SHUT_WR)
        answer = bare.ANSWERING[door](data[:came], ours.fileno())
        assert b"\r\n\r\n00000100000\n" in answer
        assert ours.recv(1) == b"", "nothing is left"


@pytest.mark.parametrize("door", sorted(cases.BARE))
def test_a_load_that_ends_in_a_body_does_not_keep_it(monkeypatch, door):
    monkeypatch.setattr(bare, "app", post)
    data = request(door, keep=False, body=100_000)
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        assert b"\r\n\r\n0000" in bare.ANSWERING[door](data[:-1000], ours.fileno())
