"""Answers without a known end when their server stops: they have a grace, and are cut, never ended."""

from __future__ import annotations

import signal
from contextlib import ExitStack

import pytest

from tests.listeners.conftest import FRONTS, LISTENERS, MOUNTS, STREAM_FRONTS, clients_of

MODES = {
    "one": (LISTENERS, {}, FRONTS), "gevent": (LISTENERS, {"gevent": 50}, FRONTS),
    "threads": (tuple(MOUNTS), {"threads": 8}, STREAM_FRONTS),
    "subscribed": (("mongrel2",), {"threads": 8}, FRONTS[5:]),
}  # fmt: skip
TICKS = [(mode, "ticks", front) for mode, (_, _, fronts) in MODES.items() for front in fronts]
WAITS = [("gevent", "waits", front) for front in FRONTS]


def begin(site, client, kind, token, query=""):
    client.send("GET", f"/endless/{kind}/{token}{query}")
    site.log(f"begun {token}")


def stop(site):
    site.server.process.send_signal(signal.SIGTERM)


def ended(site):
    """Wait for the end of the server, by itself and with nothing in hand."""
    assert site.server.process.wait(20) == 0
    assert site.server.stop() == 0
    assert "requests in hand" not in site.server.log
    assert "Traceback" not in site.server.log
    assert "failed with" not in site.server.log


@pytest.mark.parametrize("mode, kind, front", TICKS + WAITS)
def test_a_stream_is_cut_after_its_grace(serve, token, mode, kind, front):
    """One that ticks hears of it at its next piece, one that waits in a greenlet at once."""
    listeners, options, _ = MODES[mode]
    site = serve("semantics:app", listeners, **options, stream_reload_mercy="0.2")
    with site.client(front) as client:
        begin(site, client, kind, token)
        stop(site)
        answer = client.receive()
        assert answer.status == 200
        assert answer.body.startswith(b"first,")
        assert not answer.complete, "a cut answer must not pass for a whole one"
        assert answer.closed
        ended(site)
    assert site.count(rf"/endless/{kind}/{token} HTTP/1.1 is ended, as this worker stops") == 1
    assert site.count(rf'"GET /endless/{kind}/{token} HTTP/1.1" 200 \d') == 1
    assert site.count(f"closed {token}") == 1


@pytest.mark.parametrize("mode, front", [("gevent", front) for front in FRONTS] + [("threads", "http")])
def test_what_ends_by_itself_within_the_grace_is_whole(serve, token, tmp_path, mode, front):
    listeners, options, _ = MODES[mode]
    site = serve("semantics:app", listeners, **options)
    with site.client(front) as client:
        begin(site, client, "file", token, f"?{tmp_path}/file")
        stop(site)
        site.log("INFO stopping")
        (tmp_path / "file").touch()
        answer = client.receive()
        assert (answer.body, answer.complete) == (b"first,last", True)
        ended(site)
    assert site.count(f"closed {token}") == 1


@pytest.mark.parametrize("front", FRONTS)
def test_what_has_a_length_or_has_not_begun_is_finished(serve, token, tmp_path, front):
    site = serve("semantics:app", gevent=50, stream_reload_mercy=0)
    with ExitStack() as stack:
        stream, known, late = clients_of(site, stack, [front] * 3)
        begin(site, stream, "waits", f"{token}-a")
        begin(site, known, "length", f"{token}-b", f"?{tmp_path}/file")
        late.send("GET", f"/late/{token}?{tmp_path}/file")
        site.log(f"begun {token}$")
        stop(site)
        assert not stream.receive().complete
        (tmp_path / "file").touch()
        for client, body in ((known, b"first,last"), (late, b"late")):
            answer = client.receive()
            assert (answer.status, answer.body, answer.complete) == (200, body, True)
        ended(site)


@pytest.mark.parametrize("front", FRONTS)
def test_one_that_resists_loses_its_client(serve, token, front):
    site = serve("semantics:app", gevent=50, stream_reload_mercy=0)
    with site.client(front) as client:
        begin(site, client, "stubborn", token)
        stop(site)
        assert not client.receive().complete
        site.log(f"/endless/stubborn/{token} HTTP/1.1 does not end and loses its client")
        ended(site)
    assert site.count(rf'"GET /endless/stubborn/{token} HTTP/1.1" 200 ') == 1


@pytest.mark.parametrize("front", STREAM_FRONTS)
def test_one_that_waits_in_a_native_thread_loses_its_client(serve, token, front):
    site = serve("semantics:app", list(MOUNTS), threads=2, stream_reload_mercy=0)
    with site.client(front) as client:
        begin(site, client, "waits", token)
        stop(site)
        assert not client.receive().complete
        ended(site)
    assert site.count(rf'"GET /endless/waits/{token} HTTP/1.1" 200 ') == 1


@pytest.mark.parametrize("front", ["http", "uwsgi", "scgi", "fastcgi"])
@pytest.mark.parametrize("kind", ["waits", "length"])
def test_a_fast_stop_cuts_as_well(serve, token, front, kind):
    site = serve("semantics:app", list(MOUNTS), gevent=50)
    with site.client(front) as client:
        begin(site, client, kind, token, "?/no/such/file")
        stop(site)
        site.log("INFO stopping")
        stop(site)
        assert not client.receive().complete
        assert site.server.process.wait(20) == 0


@pytest.mark.parametrize("front", STREAM_FRONTS)
def test_a_client_that_does_not_read_holds_nothing_up(serve, token, front):
    """The application waits for it, and what it has not read is let go."""
    site = serve("semantics:app", list(MOUNTS), gevent=50, stream_reload_mercy="0.2")
    with site.client(front) as client:
        client.send("GET", f"/big/100000?{token}")
        assert client.wire.fill()
        stop(site)
        ended(site)
        client.wire.rest()
        assert client.wire.broken
    assert site.count(f"closed {token}") == 1
