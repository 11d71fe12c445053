"""The order of answers on one connection, notices, and what a client's leaving stops."""

from __future__ import annotations

import re

import pytest

from tests.support.mongrel2 import Mongrel2, json_netstring, serving, tnetstring, wait_for_file

ANY = pytest.mark.parametrize(
    "options", [(), ("--gevent", "10"), ("--threads", "4")], ids=["one", "gevent", "threads"]
)


@pytest.fixture(scope="module")
def cooperative(dispatch):
    with Mongrel2() as peer, serving(peer, options=["--gevent", "10"]) as server:
        yield peer, server


def test_answers_come_in_the_order_of_the_requests_and_hold_nobody_else_up(cooperative, tmp_path):
    peer, _ = cooperative
    client = peer.client().send(f"/hold?gates={tmp_path}&text=first")
    wait_for_file(tmp_path / "asked-0")
    for text in ("second", "third", "fourth"):
        client.send(f"/echo?text={text}")
    for number in range(20):
        assert peer.get(f"/echo?text={number}").body == str(number).encode()
    assert client.messages == []
    (tmp_path / "0").touch()
    assert [client.answer().body for _ in range(4)] == [b"first", b"second", b"third", b"fourth"]


def test_threads_do_not_overtake_each_other_on_one_connection(tmp_path):
    """The second request is another thread's, but its turn comes after the first."""
    with Mongrel2() as peer, serving(peer, options=("--threads", "4")):
        peer.meet(4)
        client = peer.client().send(f"/hold?gates={tmp_path}&text=first")
        wait_for_file(tmp_path / "asked-0")
        client.send("/echo?text=second")
        # Messages are dealt out in turn, so one in four waits for the thread that is held.
        others = [peer.client().send(f"/echo?text={number}") for number in range(20)]
        peer.wait(lambda: sum(bool(other.messages) for other in others) >= 15)
        assert client.messages == []
        (tmp_path / "0").touch()
        assert [client.answer().body for _ in range(2)] == [b"first", b"second"]
        for number, other in enumerate(others):
            assert other.answer().body == str(number).encode()


@pytest.mark.parametrize("options", [(), ("--gevent", "10")], ids=["one", "gevent"])
def test_many_connections_with_many_requests_in_flight(options):
    with Mongrel2() as peer, serving(peer, options=options):
        clients = [peer.client() for _ in range(20)]
        for number in range(10):
            for client in clients:
                client.send(f"/nap?seconds={0.01 if number % 3 == 0 else 0}&text={number}")
        for client in clients:
            assert [client.answer().body for _ in range(10)] == [b"%d" % number for number in range(10)]
            assert len(client.messages) == 10


def test_garbage_that_wants_to_wait_stops_nothing():
    """It is collected anywhere: where requests are read, take their turns and are answered, too."""
    options = "--module", "tests.listeners.apps.littering:app", "--gevent", "10"
    with Mongrel2() as peer, serving(peer, options=options):
        clients = [peer.client() for _ in range(40)]
        for client in clients:
            for number in range(10):
                client.send(f"/?{number}")
        for client in clients:
            assert [client.answer().body for _ in range(10)] == [b"%d" % number for number in range(10)]


@pytest.mark.parametrize("options", [(), ("--gevent", "10")], ids=["blocking", "cooperative"])
@pytest.mark.parametrize("encode", [json_netstring, tnetstring], ids=["json", "tnetstring"])
def test_a_disconnect_stops_the_running_answer(tmp_path, options, encode):
    with Mongrel2() as peer, serving(peer, options=options) as server:
        peer.encode = encode
        client = peer.client().send(f"/gated?gates={tmp_path}&pieces=1000")
        (tmp_path / "0").touch()
        wait_for_file(tmp_path / "asked-1")
        peer.notice(client)
        after = peer.client().send("/echo?text=after")
        if options:
            peer.wait(lambda: after.messages)  # the notice has been taken
        for number in range(1, 1000):
            (tmp_path / str(number)).touch()
        pieces = int(server.wait_until(r"closed after (\d+)")[1])
        # A core that blocks takes the notice between two pieces, whenever it has come.
        assert pieces <= (3 if options else 999)
        server.wait_until(r'"GET /gated\S* HTTP/1.1" 499 ')
        after.answer()
        assert b"" not in client.messages
        assert server.stop() == 0
        assert server.log.count("closed after") == 1
        assert "Traceback" not in server.log


def test_a_disconnect_stops_what_waits_behind_the_running_answer(cooperative, tmp_path):
    peer, server = cooperative
    client = peer.client().send(f"/hold?gates={tmp_path}")
    wait_for_file(tmp_path / "asked-0")
    client.send(f"/echo?text=never-{client.number}")
    peer.notice(client)
    peer.get()
    (tmp_path / "0").touch()
    server.wait_until(rf'"GET /hold\?gates={tmp_path} HTTP/1.1" 499 ')
    peer.get(f"/echo?text=fence-{client.number}")
    server.wait_until(f"text=fence-{client.number}")
    server.wait_until(rf'"GET /echo\?text=never-{client.number} ')
    assert re.findall(rf'"GET /echo\?text=never-{client.number} HTTP/1.1" (\d+)', server.log) == ["499"]
    assert client.messages == []


@ANY
def test_no_notice_is_ever_answered(options):
    with Mongrel2() as peer, serving(peer, options=options) as server:
        for answered, kind in enumerate(["disconnect", "credits", "unknown", 1, None]):
            living = peer.client().send()
            living.answer()
            fields = {"DOWNLOAD_CREDITS": "100"} if kind == "credits" else None
            for _ in range(20):
                peer.notice(peer.client(), kind, fields)
                peer.notice(living, kind, fields)
            for body in (b"", b"no JSON", b"[]", b"[" * 100000, b'"disconnect"'):
                peer.raw(peer.message(living.number, "@*", {"METHOD": "JSON"}, body))
            # Each thread gets one of these, behind its share of the notices.
            for client in [peer.client().send() for _ in range(8)]:
                client.answer()
            assert len(living.messages) == 1, kind
            assert sum(map(len, peer.messages.values())) == 9 * (answered + 1), kind
            assert not peer.strays
        assert server.stop() == 0
        assert "Traceback" not in server.log


@pytest.mark.parametrize("kind", ["credits", "unknown"])
def test_other_notices_stop_nothing(cooperative, tmp_path, kind):
    peer, _ = cooperative
    client = peer.client().send(f"/gated?gates={tmp_path}&pieces=2")
    wait_for_file(tmp_path / "asked-0")
    peer.notice(client, kind)
    peer.get()
    for number in range(2):
        (tmp_path / str(number)).touch()
    assert client.answer().body == b"piece00piece01"
