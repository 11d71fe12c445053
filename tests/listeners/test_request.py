"""A request of Mongrel2's whose application waits, without a Mongrel2."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
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
