"""WebSockets that are open while the server reloads: their worker keeps them for the time that it has, then says 1001."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from appserver.listeners.subscription import Subscription
from tests.listeners.test_websocket import MODES, client_of
from tests.support.fronts import poll
from tests.support.websockets import HANDSHAKE

# With a subscription of its own each worker gets what belongs to the other (see the last test); and a worker with
# one core has none left for whom it takes before it hears of its end.
KEPT = [front for front in MODES if front not in {"mongrel2", "one"}]


@pytest.fixture
def start(serve):
    """Return a function that starts a server with a master."""

    def start(front, **options):
        listeners, more = MODES[front]
        return serve("sockets:app", listeners, master="true", **(more | options))

    return start


def reload(site):
    site.server.process.send_signal(signal.SIGHUP)
    site.log("generation 2 serves")


def subscribed(site, client, token):
    """Have a client subscribe; return its worker."""
    client.connect_to(f"/subscribe?{token}")
    assert client.message() == "subscribed"
    return site.log(rf"{token} subscribed by (\d+)")[1]


def elsewhere(site, stack, token, before):
    """Return a client that has subscribed in another worker; the old one may take some until it hears of its end."""
    found = []

    def look():
        client = client_of(site)
        stack.push(client)
        number = len(found)
        found.append(client)
        if subscribed(site, client, f"{token}-{number}") != before:
            return True
        client.say_close(1000, "")
        assert client.closed() == (1000, "")
        return False

    poll(look, "the old worker takes all who come")
    return found[-1]


@pytest.mark.parametrize("front", KEPT)
def test_the_old_worker_keeps_it_while_the_new_one_serves(start, front, token):
    """What is published reaches those of both."""
    site = start(front, stream_reload_mercy=60)
    with ExitStack() as stack:
        old = stack.enter_context(client_of(site))
        before = subscribed(site, old, f"{token}-old")
        reload(site)
        new = elsewhere(site, stack, token, before)
        for speaker in (old, new, old):
            speaker.say(f"said by {id(speaker)}")
            for each in (old, new):
                assert each.message() == f"said by {id(speaker)}"
        assert "has taken over" not in site.server.log
        old.say_close(1000, "enough")
        assert old.closed() == (1000, "")
        old.end()
        site.log(f"{token}-old ended 1000 enough")
        site.log("generation 2 has taken over")
        new.say("alone")
        assert new.message() == "alone"
    assert not re.search(r"1001(?!\.\dms)", site.server.log)  # but for how long something took


@pytest.mark.parametrize("front", MODES)
def test_when_its_time_is_over_the_client_is_told_1001(start, front, token):
    site = start(front, stream_reload_mercy="0.1")
    with client_of(site) as client, client_of(site) as again:
        before = subscribed(site, client, f"{token}-before")
        reload(site)
        assert client.closed() == (1001, "the server stops")
        client.say_close(1001)
        client.end()
        site.log(f"{token}-before ended 1001 the server stops")
        site.log("generation 2 has taken over")
        assert subscribed(site, again, f"{token}-again") != before
        again.say("hello again")
        assert again.message() == "hello again"
    assert site.count(rf'\?{token}-before HTTP/1\.1" 101 ') == 1
    for word in ("killed", "Traceback", "stopped with requests in hand"):
        assert word not in site.server.log


@pytest.mark.parametrize("front", ["http", "mongrel2", "mongrel2-shared"])
def test_a_call_that_does_not_listen_is_ended(start, front, token):
    site = start(front, stream_reload_mercy="0.1")
    with client_of(site) as client:
        client.connect_to(f"/send-and-wait?{token}")
        site.log(f"{token} waits")
        reload(site)
        assert client.closed()[0] == 1001
        client.say_close(1001)
        site.log(f"{token} raised Ended")
        site.log("generation 2 has taken over")
    assert "killed" not in site.server.log


def test_one_whose_frames_would_reach_another_process_is_told_1001_at_once(start, token):
    """Its worker leaves Mongrel2 though it still waits for the client's answer, which the other one may get."""
    site = start("mongrel2", stream_reload_mercy=60)
    with client_of(site) as silent, client_of(site) as client, client_of(site) as again:
        silent.connect_to(f"/echo?{token}-silent")
        before = subscribed(site, client, f"{token}-before")
        reload(site)
        for each in (silent, client):
            assert each.closed() == (1001, "the server stops")
        site.log("2 WebSockets are told to connect again")
        site.mongrel2.wait_for_peers(1, 2)
        assert subscribed(site, again, f"{token}-again") != before
        for message in ("hello", "again"):
            again.say(message)
            assert again.message() == message
        assert "has taken over" not in site.server.log
        client.say_close(1001)
        client.end()
        silent.end()
        site.log("generation 2 has taken over")
    assert "stopped with requests in hand" not in site.server.log


def test_one_that_is_accepted_too_late_is_told_1001_as_well(start, token, tmp_path):
    site = start("mongrel2", stream_reload_mercy=60)
    gate = tmp_path / "gate"
    with client_of(site) as told, client_of(site) as client:
        client.ask_with(f"/accept-when?{gate}", list(HANDSHAKE.items()))
        site.log(f"{gate} waits")
        told.connect_to(f"/echo?{token}")
        reload(site)
        assert told.closed()[0] == 1001
        gate.touch()
        assert client.receive_head().status == 101
        assert client.closed() == (1001, "the server stops")


def test_none_begins_where_its_frames_would_reach_another_process():
    leaving = object.__new__(Subscription)
    leaving.listener = SimpleNamespace(ordered=True)
    leaving._followed = False
    assert leaving.astray() is None
    leaving._followed = True
    error = leaving.astray()
    assert (error.status, error.retry_after) == ("503 Service Unavailable", 1)
