"""Servers that are spoken to byte by byte, and what they make of it."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from tests.listeners.conftest import dispatch, serve, serving, token  # noqa: F401  (fixtures)
from tests.support.answers import NoAnswer, Wire, read_response
from tests.support.fronts import GUARD

PARSERS = ("auto", "h11", "httptools")
LAST = b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
CUTS = ("whole", "bytes")


@dataclass
class Said:
    """What a server has said on one connection: answers, each read strictly, and whether it has ended it."""

    answers: list = field(default_factory=list)
    reset: bool = False

    @property
    def statuses(self):
        return [answer.status for answer in self.answers]

    def told(self, number=0):
        """Return what the application has told in an answer."""
        return json.loads(self.answers[number].body)


def connect(address):
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host, int(port)), GUARD)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def pieces(wire, how):
    """Return *wire* whole, or in single bytes as far as that says anything: the middle of long ones in blocks."""
    if how == "whole":
        return [wire]
    first, middle, last = (wire, b"", b"") if len(wire) < 1200 else (wire[:600], wire[600:-100], wire[-100:])
    blocks = [middle[at : at + 4093] for at in range(0, len(middle), 4093)]
    return (
        [first[at : at + 1] for at in range(len(first))]
        + blocks
        + [last[at : at + 1] for at in range(len(last))]
    )


def speak(address, wire, how="whole", method="GET", half=False):
    """Say *wire* on a new connection, read all answers until the server ends it, and check that they are sound."""
    said = Said()
    with connect(address) as sock:
        with suppress(ConnectionError):  # whoever refuses need not listen on
            for piece in pieces(wire, how):
                sock.sendall(piece)
            if half:
                sock.shutdown(socket.SHUT_WR)
        answers = Wire(lambda: sock.recv(65536))
        with suppress(NoAnswer):
            while not answers.ended or answers.buffer:
                said.answers.append(read_response(answers, method))
        assert not answers.buffer, f"no answer: {bytes(answers.buffer)[:100]!r}"
        said.reset = answers.broken
    return said


class Door:
    """A server with one reader of heads."""

    def __init__(self, site):
        self.site = site
        self.address = site.server.addresses["http"]

    def speak(self, wire, how="whole", **more):
        return speak(self.address, wire.encode("latin-1") if isinstance(wire, str) else wire, how, **more)

    def calls(self):
        """Return the requests that the application has seen since this was last asked."""
        return self.speak(b"GET /calls HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").told()

    def refuses(self, wire, status, how="whole", **more):
        """Check that *wire* gets one clear answer, that the connection ends, and that nobody has been called."""
        said = self.speak(wire, how, **more)
        assert said.statuses == [int(status)]
        [answer] = said.answers
        assert (answer.header("Connection"), answer.complete, said.reset) == ("close", True, False)
        assert answer.body.strip(), "it says why"
        assert self.calls() == []


@contextmanager
def opened(directory, **options):
    """Serve with these options; a server that has stumbled over anything has failed."""
    with serving(directory, "noting:app", ["http"], **options) as site:
        yield Door(site)
        assert site.server.stop() == 0
        assert "Traceback" not in site.server.log


@pytest.fixture(scope="session", params=PARSERS)
def _door(request, tmp_path_factory):
    with opened(tmp_path_factory.mktemp("door"), http_parser=request.param) as found:
        yield found


@pytest.fixture(scope="session", params=PARSERS)
def _streaming(request, tmp_path_factory):
    with opened(tmp_path_factory.mktemp("door"), http_parser=request.param, post_buffering=0) as found:
        yield found


@pytest.fixture
def door(_door):
    """Return a server with each reader in turn."""
    _door.calls()
    return _door


@pytest.fixture
def streaming(_streaming):
    """Return a server whose application reads bodies as they come, with each reader in turn."""
    _streaming.calls()
    return _streaming
