"""What a connection's watcher costs is paid only by answers that take long, and by requests that wait."""

from __future__ import annotations

import socket

import gevent
import pytest
from gevent.event import Event

from appserver.binding import BindOptions
from appserver.cores.greenlets import GreenletCores
from appserver.fairqueue import QueueOptions
from appserver.listeners.options import StreamOptions
from appserver.listeners.service import Service
from appserver.listeners.uwsgi import UwsgiListener
from appserver.options import Settings
from appserver.trust import TrustOptions
from tests.support.clients import UwsgiClient

OWNERS = StreamOptions, BindOptions, TrustOptions
REQUEST = UwsgiClient("").encode("GET", "/", [("Host", "s")], b"")


class Served:
    """A listener on *path* in this thread's loop, with *count* cores and calls that wait for *go*."""

    def __init__(self, path, count):
        self.go = Event()
        self.ended = []
        self.cores = GreenletCores(count, [0, 0], QueueOptions())
        self.listener = UwsgiListener(str(path), Settings({owner: owner() for owner in OWNERS}, []))
        self.path = str(path)

        def application(environ, start_response):
            try:
                self.go.wait()
            except BaseException as error:
                self.ended.append(type(error).__name__)
                raise
            start_response("204 No Content", [])
            return []

        environ = {"wsgi.multiprocess": False, "wsgi.url_scheme": "http"}
        self.listener.bind({})
        self.listener.start(Service(application, None, self.cores, environ))

    def send(self):
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        client.sendall(REQUEST)
        return client

    def until(self, met):
        with gevent.Timeout(10):
            while not met():
                gevent.sleep(0.001)

    def watched(self):
        return [connection.reader is not None for connection in self.listener.connections]


@pytest.fixture
def serving(tmp_path):
    made = []

    def serve(count):
        made.append(Served(tmp_path / "socket", count))
        return made[-1]

    yield serve
    for served in made:
        served.listener.close()
        served.cores.stop()


def test_an_answer_that_comes_soon_takes_no_watcher(serving):
    served = serving(2)
    with served.send() as client:
        served.until(lambda: served.listener.connections)
        assert served.watched() == [False]
        [connection] = served.listener.connections
        served.go.set()
        served.until(lambda: not served.listener.connections)
        assert connection.reader is None
        assert client.recv(100).startswith(b"HTTP/1.1 204 ")
        served.until(lambda: not served.listener._unwatched._timer.active)
        assert connection.reader is None


def test_while_one_takes_long_the_client_is_heard(serving):
    served = serving(2)
    with served.send():
        served.until(lambda: any(served.watched()))
        assert not served.listener._unwatched._timer.active, "nothing is left to be looked at"
    served.until(lambda: served.ended)
    assert served.ended == ["Cancelled"]
    served.until(lambda: not served.listener.connections)


def test_a_client_whose_request_has_no_core_is_heard_at_once(serving):
    served = serving(1)
    with served.send():
        served.until(lambda: served.listener.connections)
        assert served.watched() == [True], "there is one core, and it is taken"
        second = served.send()
        served.until(lambda: len(served.listener.connections) == 2)
        assert served.watched() == [True, True]
        second.close()
        served.until(lambda: len(served.listener.connections) == 1)
        assert not served.ended
        served.go.set()
        served.until(lambda: not served.listener.connections)


def test_after_the_end_of_the_listener_nothing_is_looked_at(serving):
    served = serving(2)
    with served.send():
        served.until(lambda: served.listener.connections)
        [connection] = served.listener.connections
        served.listener.close()
        served.listener.watch_later(connection)
        connection.hear()
        assert connection.reader is None
        served.go.set()
        gevent.sleep(0.001)
