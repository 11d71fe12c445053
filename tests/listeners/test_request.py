"""A request of Mongrel2's whose application waits, without a Mongrel2."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import pytest
from gevent import get_hub

from appserver.listeners.request import Request


def test_who_has_it_go_on_goes_on_as_well():
    """As the greenlet does that begins a stop: what it hears before that is for those that wait."""
    hub = get_hub()
    request = Request(SimpleNamespace(hub=hub, loop=hub.loop), 1, (b"uuid", b"7"), None)
    waiting = [gevent.spawn(request.wait) for _ in range(2)]
    gevent.sleep(0)
    assert len(request.waiters) == 2
    request.go_on()
    gevent.joinall(waiting, timeout=20, raise_error=True)
    assert not request.waiters


class Peers:
    """An intake that publishes nothing, and notes which requests have left it."""

    def __init__(self):
        self.hub = get_hub()
        self.loop = self.hub.loop
        self.codec = SimpleNamespace(refuse=lambda error, x: b"504")
        self.service = SimpleNamespace(access=None)
        self.sent = []
        self.left = []
        self.end = self.left.append

    def try_send(self, request, pieces, last):
        self.sent.append((*pieces, last))
        return True


def overdue():
    """Return a request that the application does not come back from, and its intake."""
    intake = Peers()
    x = SimpleNamespace(begun=False, keep_alive=True, logged=False, status="", core=None)
    return Request(intake, 1, (b"uuid", b"7"), x), intake


@pytest.mark.parametrize("direct", [True, False])
def test_what_is_given_up_leaves_once(direct):
    """At once, or where its loop is blocked as soon as the application comes back: a stop waits for that."""
    request, intake = overdue()
    request.give_up(direct=direct)
    assert len(intake.left) == (not direct)
    request.done()
    assert intake.left == [request]
    assert intake.sent == [(b"504", True)]


def test_a_websocket_hears_that_it_is_given_up_once_its_loop_turns():
    lost = []
    request, intake = overdue()
    request.wire = SimpleNamespace(lost=lambda: lost.append(True), finish=lambda failed: request.finish())
    request.give_up(direct=True)
    assert not lost
    gevent.sleep(0)
    assert lost
    request.done()
    assert intake.left == [request]
