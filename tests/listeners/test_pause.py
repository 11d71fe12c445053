"""What has failed is tried again after a pause, however often it has failed before."""

from __future__ import annotations

import errno
from contextlib import closing

import gevent
from gevent import get_hub
from gevent.event import Event

from appserver.listeners import stream
from appserver.listeners.pause import Pause
from tests.test_watching import Served


def test_each_pause_is_as_long(request):
    loop, told, over = get_hub().loop, [], Event()

    def end():
        told.append("end")
        over.set()

    pause = Pause(loop, 0.02)
    first, other = loop.timer(0.01), loop.timer(0.01)
    for watcher in (pause, first, other):
        request.addfinalizer(watcher.close)
        request.addfinalizer(watcher.stop)
    for earlier in (first, other):
        earlier.start(told.append, "earlier")
        pause.begin(end)
        pause.begin(end)
        assert over.wait(30)
        over.clear()
    assert told == ["earlier", "end"] * 2


def test_one_that_is_stopped_calls_nothing(request):
    loop, told = get_hub().loop, []
    pause = Pause(loop, 0.001)
    request.addfinalizer(pause.close)
    pause.begin(lambda: told.append("end"))
    pause.stop()
    gevent.sleep(0.002)
    assert told == []


class Exhausted:
    """A listening socket that a descriptor is missing for; note the tries, and what a timer does in between."""

    def __init__(self, listening):
        self._listening = listening
        self.told = []

    def fileno(self):
        return self._listening.fileno()

    def close(self):
        self._listening.close()

    def _accept(self):
        self.told.append("try")
        get_hub().loop.timer(0.01).start(self.told.append, "earlier")
        raise OSError(errno.EMFILE, "Too many open files")


def test_a_listener_without_descriptors_does_not_spin(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "_PAUSE", 0.02)
    served = Served(tmp_path / "socket", 1)
    with closing(served.listener):
        served.listener._sock = exhausted = Exhausted(served.listener._sock)
        with served.send():
            served.until(lambda: len(exhausted.told) > 6)
    served.cores.stop()
    assert exhausted.told[:6] == ["try", "earlier"] * 3
