"""Mongrel2 comes, goes, comes back and dawdles; no answer is lost, and none goes astray."""

from __future__ import annotations

import contextlib
import http.client
import threading

import pytest

from tests.support.mongrel2 import APP, TIMEOUT, Mongrel2, serving, wait_for_file
from tests.support.server import Server

ANY = pytest.mark.parametrize(
    "options", [(), ("--gevent", "10"), ("--threads", "4")], ids=["one", "gevent", "threads"]
)


def over_http(server, target="/echo?text=http"):
    connection = http.client.HTTPConnection(server.addresses["http"].removeprefix("http://"), timeout=15)
    try:
        connection.request("GET", target)
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.parametrize("number", range(8))
def test_the_first_answer_after_a_start_arrives(number):
    """The SUB is bound only once the server runs; every other time requests wait already."""
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(Mongrel2(sub=False))
        client = peer.client()
        sender = threading.Thread(target=lambda: client.send("/echo?text=first"))
        if number % 2:
            sender.start()  # waits for a PULL
        stack.enter_context(serving(peer, options=["--gevent", "10"]))
        if not number % 2:
            sender.start()
        peer.bind_sub()
        assert client.answer().body == b"first"
        sender.join()


@ANY
def test_requests_that_wait_for_a_server_are_not_lost(options):
    """Mongrel2 queues them while there is none; each must reach the one that starts."""
    with Mongrel2() as peer:
        ended = threading.Event()

        def send():
            for client in clients:
                client.send(f"/echo?text={client.number}")
            ended.set()

        clients = [peer.client() for _ in range(50)]
        sender = threading.Thread(target=send)
        sender.start()
        with serving(peer, options=options):
            for client in clients:
                assert client.answer().body == str(client.number).encode()
        sender.join()


def test_who_cannot_have_requests_says_so_until_there_are_some():
    peer = Mongrel2()
    try:
        peer.bind_sub()
        with serving(peer, options=["--gevent", "2"]) as server:
            server.wait_until(
                f"ERROR mongrel2 .*cannot be had: {peer.send_spec}: nobody can be reached there"
            )
            assert "subscribed as" not in server.log
            peer.bind_push()
            assert peer.get("/echo?text=a").body == b"a"
            server.wait_until("subscribed as")
            assert server.stop() == 0
            assert server.log.count("cannot be had") == 1
    finally:
        peer.stop()
        peer._context.term()


def test_two_endpoints_that_are_swapped_are_told_of(dispatch):
    with Mongrel2() as peer:
        options = ["--zeromq-dispatch", dispatch, "--module", APP]
        with Server("--zeromq", f"{peer.recv_spec},{peer.send_spec}", *options) as server:
            server.wait_until(f"WARNING .*waiting for Mongrel2 at {peer.send_spec}: .*swapped")


def test_mongrel2_may_start_after_the_server():
    peer = Mongrel2()
    with serving(peer, options=["--http-socket", "127.0.0.1:0"]) as server:
        assert over_http(server) == b"http"
        with peer:
            assert peer.get("/echo?text=a").body == b"a"


def test_a_mongrel2_that_does_not_read_loses_nothing():
    number = 4000
    options = ["--gevent", "100", "--zeromq-queue", "9999", "--max-queue", "9999"]
    with Mongrel2(rcvhwm=10) as peer, serving(peer, options=options):
        peer.get()
        peer.reading.clear()
        clients = [peer.client().send("/large?size=20000") for _ in range(number)]
        peer.reading.set()
        for client in clients:
            assert len(client.answer().body) == 20000


@pytest.mark.parametrize("options, threads", [((), 1), (("--gevent", "10"), 1), (("--threads", "4"), 4)])
def test_mongrel2_restarts(options, threads):
    with Mongrel2() as peer, serving(peer, options=options) as server:
        for _ in range(10):
            peer.meet(threads)
            peer.restart()
        assert peer.get().status == 200
        assert server.stop() == 0
        assert "Traceback" not in server.log


@pytest.mark.parametrize("options", [(), ("--gevent", "10")], ids=["blocking", "cooperative"])
@pytest.mark.parametrize("target", ["/hold?text=old", "/gated?pieces=50"])
def test_an_answer_for_the_mongrel2_before_goes_to_nobody(tmp_path, options, target):
    """Mongrel2 counts its clients from 0 each time: an old answer would be another client's.

    An application that blocks keeps the server from learning of the end. It looks before it sends, but until
    libzmq's threads have told each other it sends, libzmq drops that, and its log says 200 instead of 499.
    """
    with Mongrel2() as peer, serving(peer, options=[*options, "--http-socket", "127.0.0.1:0"]) as server:
        old = peer.client().send(f"{target}&gates={tmp_path}")
        wait_for_file(tmp_path / "asked-0")
        queued = peer.client().send("/echo?text=old")
        if options:
            assert queued.answer().body == b"old"
        peer.restart()
        assert peer.attached.wait(TIMEOUT)
        if options:  # the loop turns, and learns of it
            server.wait_until(r"(?s)subscribed as .* subscribed as ")
        for number in range(50):
            (tmp_path / str(number)).touch()
        old.send("/echo?text=new")  # a new client of the same number
        assert old.answer().body == b"new"
        server.wait_until(r'"GET /(hold|gated)\S* HTTP/1.1" ' + ("499 " if options else "(499|200) "))
        assert over_http(server) == b"http"
        assert len(old.messages) == 1
        assert queued.messages == []
        assert server.log.count("closed after") == ("gated" in target)


def test_an_answer_made_while_there_is_no_mongrel2_waits_for_none(tmp_path):
    with Mongrel2() as peer, serving(peer) as server:
        old = peer.client().send(f"/hold?gates={tmp_path}")
        wait_for_file(tmp_path / "asked-0")
        peer.stop()
        (tmp_path / "0").touch()
        server.wait_until(r'"GET /hold')
        peer.restart()
        assert peer.get().status == 200
        assert old.messages == []


@pytest.mark.parametrize("options", [(), ("--gevent", "10")], ids=["blocking", "cooperative"])
def test_a_mongrel2_that_stays_away_hangs_nobody(tmp_path, options):
    with Mongrel2() as peer, serving(peer, options=[*options, "--http-socket", "127.0.0.1:0"]) as server:
        for number in range(20):
            peer.client().send(f"/hold?gates={tmp_path}&text={number}")
        wait_for_file(tmp_path / "asked-0")
        peer.stop()
        (tmp_path / "0").touch()
        assert over_http(server) == b"http"
        assert server.stop() == 0
        assert "with requests in hand" not in server.log


def test_a_mongrel2_that_stops_reading_does_not_keep_the_server_from_ending():
    with Mongrel2(rcvhwm=1) as peer, serving(peer, options=["--worker-reload-mercy", "1"]) as server:
        peer.get()
        peer.reading.clear()
        for _ in range(30):
            peer.client().send("/large?size=10000000")
        assert server.stop() == 0
        peer.reading.set()


def test_answers_that_mongrel2_does_not_listen_to_are_logged_once():
    with Mongrel2(recv_ident="another") as peer, serving(peer) as server:
        for _ in range(3):
            peer.client().send("/echo?text=a")
        server.wait_until("ERROR mongrel2 .*does not listen to answers for 34f9ceee.*recv_ident must be")
        for _ in range(2):
            server.wait_until(r"(?s)(echo.text=a.*){3}")
        assert server.stop() == 0
        assert server.log.count("recv_ident") == 1
        assert peer.messages == {}


def test_the_beginning_of_the_uuid_is_a_good_recv_ident():
    with Mongrel2(recv_ident="34f9") as peer, serving(peer):
        assert peer.get().status == 200


@ANY
def test_a_stop_answers_all_that_is_queued(options):
    with Mongrel2() as peer, serving(peer, options=options) as server:
        clients = [peer.client().send("/nap?seconds=0.02") for _ in range(50)]
        assert server.stop() == 0
        for client in clients:
            assert client.answer().status == 200


def test_a_stop_answers_what_came_while_a_stream_blocked(tmp_path):
    with Mongrel2() as peer, serving(peer) as server:
        first = peer.client().send(f"/gated?gates={tmp_path}&pieces=2")
        (tmp_path / "0").touch()
        wait_for_file(tmp_path / "asked-1")
        clients = [peer.client().send(f"/echo?text={number}") for number in range(50)]
        server.process.terminate()
        (tmp_path / "1").touch()
        assert first.answer().body == b"piece00piece01"
        for number, client in enumerate(clients):
            assert client.answer().body == str(number).encode()
        assert server.stop() == 0


def test_threads_share_one_responder():
    with Mongrel2() as peer, serving(peer, options=["--threads", "8", "--zeromq-queue", "9999"]) as server:
        peer.meet(8)
        clients = [peer.client() for _ in range(2000)]
        for client in clients:
            client.send(f"/stream?pieces=3&size={client.number}")
        for client in clients:
            size = client.number
            assert client.answer().body == b"A" * size + b"B" * size + b"C" * size
        assert not peer.strays
        assert server.stop() == 0
        assert "Traceback" not in server.log


def test_two_servers_share_the_requests():
    with Mongrel2() as peer, serving(peer), Server("--zeromq", peer.spec, "--module", APP):
        for number in range(50):
            assert peer.get(f"/echo?text={number}").body == str(number).encode()
