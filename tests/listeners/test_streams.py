"""Answers without a known end when their server stops: they have a grace, and are cut, never ended."""

from __future__ import annotations

import signal
from contextlib import ExitStack

import pytest

from tests.listeners.conftest import FRONTS, LISTENERS, MOUNTS, STREAM_FRONTS, clients_of

GREEN = LISTENERS, {"gevent": 50}
NATIVE = tuple(MOUNTS), {"threads": 8}
SUBSCRIBED = ("mongrel2",), {"threads": 8}

# All streams of a server at once, where it can have them: Mongrel2 may deal a second one to a thread that is busy.
CUT = [((LISTENERS, {}), "ticks", [front]) for front in FRONTS]
CUT += [(SUBSCRIBED, "ticks", [front]) for front in FRONTS[5:]]
CUT += [(GREEN, "ticks", FRONTS), (NATIVE, "ticks", STREAM_FRONTS), (GREEN, "waits", FRONTS)]


def begin(site, client, kind, token, query=""):
    client.send("GET", f"/endless/{kind}/{token}{query}")
    site.log(f"begun {token}")


def begin_all(site, stack, fronts, kind, token, *, query=""):
    """Begin an answer over each front; return their clients, by the words that mark their requests."""
    clients = {
        f"{token}-{front}x": client
        for front, client in zip(fronts, clients_of(site, stack, fronts), strict=True)
    }
    for word, client in clients.items():
        begin(site, client, kind, word, query)
    return clients


def stop(site):
    site.server.process.send_signal(signal.SIGTERM)


def ended(site):
    """Wait for the end of the server, by itself and with nothing in hand."""
    assert site.server.process.wait(20) == 0
    assert site.server.stop() == 0
    assert "requests in hand" not in site.server.log
    assert "Traceback" not in site.server.log
    assert "failed with" not in site.server.log


@pytest.mark.parametrize("mode, kind, fronts", CUT)
def test_a_stream_is_cut_after_its_grace(serve, token, mode, kind, fronts):
    """One that ticks hears of it at its next piece, one that waits in a greenlet at once."""
    listeners, options = mode
    site = serve("semantics:app", listeners, **options, stream_reload_mercy="0.2")
    with ExitStack() as stack:
        clients = begin_all(site, stack, fronts, kind, token)
        stop(site)
        for client in clients.values():
            answer = client.receive()
            assert answer.status == 200
            assert answer.body.startswith(b"first,")
            assert not answer.complete, "a cut answer must not pass for a whole one"
            assert answer.closed
        ended(site)
    for word in clients:
        assert site.count(rf"/endless/{kind}/{word} HTTP/1.1 is ended, as this worker stops") == 1
        assert site.count(rf'"GET /endless/{kind}/{word} HTTP/1.1" 200 \d') == 1
        assert site.count(f"closed {word}") == 1


@pytest.mark.parametrize("mode, fronts", [(GREEN, FRONTS), (NATIVE, ["http"])])
def test_what_ends_by_itself_within_the_grace_is_whole(serve, token, tmp_path, mode, fronts):
    listeners, options = mode
    site = serve("semantics:app", listeners, **options)
    with ExitStack() as stack:
        clients = begin_all(site, stack, fronts, "file", token, query=f"?{tmp_path}/file")
        stop(site)
        site.log("INFO stopping")
        (tmp_path / "file").touch()
        for client in clients.values():
            answer = client.receive()
            assert (answer.body, answer.complete) == (b"first,last", True)
        ended(site)
    for word in clients:
        assert site.count(f"closed {word}") == 1


def test_what_has_a_length_or_has_not_begun_is_finished(serve, token, tmp_path):
    site = serve("semantics:app", gevent=50, stream_reload_mercy=0)
    with ExitStack() as stack:
        streams = begin_all(site, stack, FRONTS, "waits", f"{token}-a")
        known = begin_all(site, stack, FRONTS, "length", f"{token}-b", query=f"?{tmp_path}/file")
        late = clients_of(site, stack, FRONTS)
        for number, client in enumerate(late):
            client.send("GET", f"/late/{token}-{number}?{tmp_path}/file")
            site.log(f"begun {token}-{number}$")
        stop(site)
        for client in streams.values():
            assert not client.receive().complete
        (tmp_path / "file").touch()
        for clients, body in ((known.values(), b"first,last"), (late, b"late")):
            for client in clients:
                answer = client.receive()
                assert (answer.status, answer.body, answer.complete) == (200, body, True)
        ended(site)


def test_one_that_resists_loses_its_client(serve, token):
    site = serve("semantics:app", gevent=50, stream_reload_mercy=0)
    with ExitStack() as stack:
        clients = begin_all(site, stack, FRONTS, "stubborn", token)
        stop(site)
        for word, client in clients.items():
            assert not client.receive().complete
            site.log(f"/endless/stubborn/{word} HTTP/1.1 does not end and loses its client")
        ended(site)
    for word in clients:
        assert site.count(rf'"GET /endless/stubborn/{word} HTTP/1.1" 200 ') == 1


def test_one_that_waits_in_a_native_thread_loses_its_client(serve, token):
    site = serve("semantics:app", list(MOUNTS), threads=8, stream_reload_mercy=0)
    with ExitStack() as stack:
        clients = begin_all(site, stack, STREAM_FRONTS, "waits", token)
        stop(site)
        for client in clients.values():
            assert not client.receive().complete
        ended(site)
    for word in clients:
        assert site.count(rf'"GET /endless/waits/{word} HTTP/1.1" 200 ') == 1


@pytest.mark.parametrize("mode", [GREEN, NATIVE], ids=["gevent", "threads"])
def test_a_call_that_goes_on_behind_its_answer_has_no_longer_than_the_mercy(serve, token, mode):
    """It may work on for as long as the server does."""
    listeners, options = mode
    fronts = [each for each in STREAM_FRONTS if each in listeners]
    site = serve("semantics:app", listeners, **options, worker_reload_mercy="0.5")
    with ExitStack() as stack:
        for number, client in enumerate(clients_of(site, stack, fronts)):
            answer = client.request("GET", f"/endless/whole/{token}-{number}")
            assert (answer.body, answer.complete) == (b"first,last", True)
            site.log(f"begun {token}-{number}")
        stop(site)
        assert site.server.process.wait(20) == 0
    assert site.server.stop() == 0
    assert "stopped with requests in hand" in site.server.log


@pytest.mark.parametrize("kind", ["waits", "length"])
def test_a_fast_stop_cuts_as_well(serve, token, kind):
    site = serve("semantics:app", list(MOUNTS), gevent=50)
    with ExitStack() as stack:
        clients = begin_all(
            site, stack, ["http", "uwsgi", "scgi", "fastcgi"], kind, token, query="?/no/such/file"
        )
        stop(site)
        site.log("INFO stopping")
        stop(site)
        for client in clients.values():
            assert not client.receive().complete
        assert site.server.process.wait(20) == 0


def test_a_client_that_does_not_read_holds_nothing_up(serve, token):
    """The application waits for it, and what it has not read is let go."""
    site = serve("semantics:app", list(MOUNTS), gevent=50, stream_reload_mercy="0.2")
    with ExitStack() as stack:
        clients = clients_of(site, stack, STREAM_FRONTS)
        for number, client in enumerate(clients):
            client.send("GET", f"/big/100000?{token}-{number}x")
            assert client.wire.fill()
        stop(site)
        ended(site)
        for client in clients:
            client.wire.rest()
            assert client.wire.broken
    for number in range(len(clients)):
        assert site.count(f"closed {token}-{number}x") == 1
