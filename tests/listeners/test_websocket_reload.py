"""WebSockets that are open while the server reloads: their worker keeps them for the time that it has, then says 1001."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack

import pytest

from tests.listeners.test_websocket import MODES, client_of
from tests.support.fronts import poll

# With a receiver of its own each worker may get what belongs to another (docs/websocket.md); and a worker
# with one core has none left for whom it takes before it hears of its end.
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
        assert "has taken over" not in site.server.read_log()
        old.say_close(1000, "enough")
        assert old.closed() == (1000, "")
        old.end()
        site.log(f"{token}-old ended 1000 enough")
        site.log("generation 2 has taken over")
        new.say("alone")
        assert new.message() == "alone"
    assert not re.search(r"1001(?!\.\dms)", site.server.read_log())  # but for how long something took


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
