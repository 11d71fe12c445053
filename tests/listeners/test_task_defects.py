"""Tasks that raise what they may not: their requests end, and are in nobody's way."""

from __future__ import annotations

import pytest

from tests.listeners.conftest import FRONTS, LISTENERS, MOUNTS, STREAM_FRONTS
from tests.support.answers import NoAnswer

MODES = {
    "gevent": (LISTENERS, {"gevent": 2}),
    "threads": (tuple(MOUNTS), {"threads": 2}),
    "shared": (("mongrel2",), {"gevent": 2, "zeromq_dispatch": "shared"}),
}
CASES = [
    *(("gevent", front) for front in FRONTS),
    *(("threads", front) for front in STREAM_FRONTS),
    ("shared", "mongrel2"),
]


@pytest.fixture(params=CASES, ids="-".join)
def front(serve, request):
    """Return a front's name, and a server with more of such tasks than cores to come; it has to stop well."""
    mode, front = request.param
    listeners, options = MODES[mode]
    site = serve("waiting:app", listeners, **options, **{"import": "failing_task"})
    yield site, front
    assert site.server.stop() == 0
    assert site.server.log.count("ValueError: a defect") == 5
    assert "stopped with requests in hand" not in site.server.log


def test_before_the_answer(front):
    """The peer sees the end."""
    site, name = front
    for _ in range(5):
        with site.client(name) as client, pytest.raises(NoAnswer):
            client.request("GET", "/ok?before")
    with site.client(name) as client:
        assert client.request("GET", "/ok").body == b"ok"


def test_behind_the_answer(front):
    """It is whole, and nothing has to end for it."""
    site, name = front
    with site.client(name) as client:
        for _ in range(5):
            assert client.request("GET", "/ok?behind").body == b"ok"
            assert client.request("GET", "/ok").body == b"ok"


def test_when_it_is_done(front):
    site, name = front
    for _ in range(5):
        with site.client(name) as client:
            assert client.request("GET", "/ok?done").body == b"ok"
            if name.startswith("mongrel2"):  # the connection is another's
                assert client.request("GET", "/ok").body == b"ok"
            else:
                assert client.sock.recv(1) == b""
    with site.client(name) as client:
        assert client.request("GET", "/ok").body == b"ok"
