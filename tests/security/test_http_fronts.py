"""The same hostile bytes through real nginx and Mongrel2: what these let pass does no harm behind them."""

from __future__ import annotations

import json
import re
import socket
from contextlib import suppress

import pytest

from tests.listeners.conftest import APPS
from tests.peers.conftest import PATHS, stack
from tests.security.conftest import LAST, connect
from tests.security.wires import BEHIND, CHUNKS, HEADS, POST, TE, mutations, parameters

pytestmark = pytest.mark.peers

NGINX = [name for name in PATHS if name.startswith("nginx")]
MONGREL2 = [name for name in PATHS if name.startswith("mongrel2")]
# Mongrel2's own reading of lengths and codings is the matter of docs/security/mongrel2.md: M5 and M6.
LENGTHS = {"H1", "H2", "H3", "H4", "H5", "H6", "H9", "H10", "H11", "H12"}
PATIENCE = 2.0  # seconds in which a front that waits for more is left
_REQUEST = re.compile(rb'\{"request": "((?:[^"\\]|\\.)*)"')


@pytest.fixture(scope="module")
def fronts(tmp_path_factory):
    """Return the server behind all front ends."""
    yield from stack(tmp_path_factory, "hostile", "--wsgi-file", APPS / "noting.py", "--callable", "app")


def address(fronts, name):
    found = f"127.0.0.1:{fronts.port(name)}"
    calls(found)
    return found


@pytest.fixture(params=NGINX)
def nginx(request, fronts):
    """Return the address of nginx for each protocol in turn."""
    return address(fronts, request.param)


@pytest.fixture(params=MONGREL2)
def mongrel2(request, fronts):
    """Return the address of Mongrel2 for each format in turn."""
    return address(fronts, request.param)


def say(front, wire):
    """Return all that a front end says to *wire*, until it or our patience ends."""
    heard = b""
    with connect(front) as sock, suppress(ConnectionError, socket.timeout):
        sock.settimeout(PATIENCE)
        sock.sendall(wire)
        while data := sock.recv(65536):
            heard += data
    return heard


def calls(front):
    heard = say(front, b"GET /calls HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    return json.loads(heard.split(b"\r\n\r\n", 1)[1])


def heard_of(front, wire):
    """Return which requests the client has got an answer to, and which the application has seen.

    The last one is another client's: a connection that the front end keeps to the server, and that is out of
    step now, would show there.
    """
    heard = say(front, wire)
    told = [json.loads(b'"%b"' % each) for each in _REQUEST.findall(heard)]
    assert b'{"request": "GET /last"' in say(front, LAST)
    return [*told, "GET /last"], calls(front)


def agrees(nginx, wire):
    """Check that the application has seen the requests that the client has got answers to, and no other."""
    told, seen = heard_of(nginx, wire)
    assert seen == told


@pytest.mark.parametrize("case, status, head", parameters(HEADS))
def test_a_head(nginx, case, status, head):
    agrees(nginx, f"{head}\r\n{BEHIND}".encode("latin-1") + LAST)


@pytest.mark.parametrize("case, status, chunks", parameters(CHUNKS))
def test_chunks(nginx, case, status, chunks):
    agrees(nginx, f"{POST}{TE}\r\n{chunks}{BEHIND}".encode("latin-1") + LAST)


def test_H7_mutations(nginx):
    """A sample: what reaches the server here has been read by nginx as well."""
    length = f"Content-Length: {len(BEHIND)}\r\n\r\n".encode()
    for number, (_, _, line) in enumerate(mutations()):
        if number % 31 == 0:
            agrees(nginx, POST.encode() + line + b"\r\n" + length + BEHIND.encode() + LAST)


HARMLESS = {case: given for case, given in HEADS.items() if case not in LENGTHS}


@pytest.mark.parametrize("case, status, head", parameters(HARMLESS))
def test_a_head_through_mongrel2(mongrel2, case, status, head):
    """It passes a request on before it finds that what follows is none; then nobody waits for the answer."""
    told, seen = heard_of(mongrel2, f"{head}\r\n{BEHIND}".encode("latin-1") + LAST)
    assert [each for each in seen if each in told] == told
    assert not {"GET /smuggled", "GET /admin"} & set(seen) - set(told)
