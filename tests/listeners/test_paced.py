"""Answers that are made piece by piece: each leaves when it is yielded, and no faster than its client reads."""

from __future__ import annotations

import json

import pytest

from tests.listeners.conftest import STREAM_FRONTS, Site, over, serving

MODES = {"one": {}, "gevent": {"gevent": 20}, "threads": {"threads": 4}}
NAMES = ("http", "uwsgi", "fastcgi", "scgi")
BLOCK = bytes(range(256)) * 256
AHEAD = 320  # blocks, 20 MiB, that the kernel's queues of both sides and 256 KiB of ours can hold at most


@pytest.fixture(scope="module", params=MODES)
def site(request, tmp_path_factory):
    """Return the server of each kind of core in turn."""
    found = Site(tmp_path_factory.mktemp("paced"), "waiting:app", NAMES, **MODES[request.param])
    found.mode = request.param
    yield found
    assert found.server.stop() == 0
    found.close()


def told(site, target):
    with site.client("http") as other:
        return json.loads(other.request("GET", target).body)


@over(*STREAM_FRONTS)
def test_events_leave_when_they_are_yielded(client, tmp_path):
    """The first has come while the application waits for what this test does then."""
    released = tmp_path / "released"
    client.send("GET", f"/events/{str(released)[1:].replace('/', ':')}")
    seen = b""
    while b"data: first\n\n" not in seen:
        seen += client.more()
    assert b"last" not in seen
    released.touch()
    while b"data: last\n\n" not in seen:
        seen += client.more()


@over(*STREAM_FRONTS)
def test_a_large_answer_is_made_as_it_is_read(client, site, token):
    """64 MiB, of which the client takes a bit at a time."""
    if site.mode == "one":  # nobody else can ask how far it is
        before = told(site, "/memory")
        answer = client.request("GET", f"/blocks/1024?{token}")
        assert (len(answer.body), answer.complete) == (64 << 20, True)
        assert told(site, "/memory") - before < 8 << 10, "KiB"
        return
    before = told(site, "/memory")
    client.send("GET", f"/blocks/1024?{token}")
    taken = 0
    for step in range(1, 9):
        while taken < step * (8 << 20) - (1 << 20):
            data = client.more()
            assert data
            taken += len(data)
        for _ in range(5):  # the loop turns, and the application could go on
            assert told(site, f"/count/{token}") * len(BLOCK) <= taken + AHEAD * len(BLOCK)
    while data := client.more():
        taken += len(data)
        if data.endswith(b"0\r\n\r\n"):
            break
    assert taken > 64 << 20
    assert told(site, f"/count/{token}") == 1024
    assert told(site, "/memory") - before < 8 << 10, "KiB"


@pytest.mark.parametrize("kind", ["write", "list"])
@over(*STREAM_FRONTS)
def test_other_ways_of_large_answers(client, site, kind, token):
    """write() waits as a generator does; what is one list is held, as the application made it so."""
    answer = client.request("GET", f"/writes/256?{token}" if kind == "write" else f"/many?{token}")
    assert (len(answer.body), answer.complete) == ((16 if kind == "write" else 8) << 20, True)


@pytest.fixture(scope="module", params=["gevent", "threads"])
def several(request, tmp_path_factory):
    """Return a server whose loop goes on while the application does, for each kind of core."""
    with serving(tmp_path_factory.mktemp("several"), "waiting:app", NAMES, **{request.param: 4}) as found:
        yield found


@pytest.mark.parametrize("kind", ["close", "generator", "file"])
@pytest.mark.parametrize("front", STREAM_FRONTS)
def test_the_rest_of_an_answer_does_not_wait_for_what_follows_it(several, front, kind, tmp_path):
    """It is more than the kernel takes at once, and the application has something to do when it is made."""
    released = tmp_path / "released"
    headers = [("Connection", "close")] if front == "http" else []
    with several.client(front) as client:
        client.send("GET", f"/late/{kind}/{str(released)[1:].replace('/', ':')}", headers)
        try:
            answer = client.receive()  # and the connection's end, where it is not kept
        finally:
            released.touch()
        assert (len(answer.body), answer.complete) == (8 << 20, True)


@pytest.mark.parametrize("kind", ["close", "generator", "file"])
def test_a_connection_is_kept_behind_such_an_answer(several, kind, tmp_path):
    released = tmp_path / "released"
    with several.client("http") as client:
        client.send("GET", f"/late/{kind}/{str(released)[1:].replace('/', ':')}")
        answer = client.receive()
        released.touch()
        assert (len(answer.body), answer.complete) == (8 << 20, True)
        assert client.request("GET", "/ok").body == b"ok"


@over(*STREAM_FRONTS)
def test_two_greenlets_of_a_call_write(client, site):
    """Each piece is more than the kernel takes, so that both wait for the client."""
    if site.mode == "gevent":
        answer = client.request("GET", "/duet")
        assert (len(answer.body), answer.complete) == (64 << 20, True)
