"""A codec that raises what it may not: the request is answered, and nothing else suffers."""

from __future__ import annotations

import socket

import pytest

GOOD = b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n"
BAD = GOOD.replace(b"/ok", b"/fail")
BODY = b"POST /ok HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"8\r\nto fail.\r\n"


@pytest.fixture(params=["", "gevent", "threads"])
def address(serve, request):
    options = {request.param: 2} if request.param else {}
    site = serve("waiting:app", ["http"], **options, **{"import": "failing_codec"})
    yield site.server.addresses["http"]
    assert site.server.stop() == 0
    assert "ValueError: a defect" in site.server.log


def answers(address, *pieces):
    """Return the statuses of what is answered to pieces on one connection, up to its end."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 20) as sock:
        for piece in pieces:
            sock.sendall(piece)
        found = b""
        while data := sock.recv(65536):
            found += data
    return [
        each.split(b" ", 2)[1].decode() for each in found.split(b"HTTP/1.1 ")[1:] for each in [b"x " + each]
    ]


@pytest.mark.parametrize("pieces", [(BAD,), (BODY, PIECE), (BODY + PIECE,)])
def test_it_is_answered_500(address, pieces):
    for _ in range(3):
        assert answers(address, *pieces) == ["500"]
    assert answers(address, GOOD + BAD) == ["200", "500"]


def test_behind_others_no_core_is_lost(address):
    for _ in range(5):
        assert answers(address, GOOD + GOOD + BAD) == ["200", "200", "500"]
