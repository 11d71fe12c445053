"""A client that leaves: what runs for it is stopped where it is, and cleans up once."""

from __future__ import annotations

import pytest

from tests.support.fronts import poll
from tests.support.mongrel2 import Mongrel2, serving, wait_for_file


@pytest.fixture(scope="module")
def attached(dispatch):
    with Mongrel2() as peer, serving(peer, options=["--gevent", "20"]) as server:
        yield peer, server


def lines(server, target):
    peer_log = server.log
    return [line for line in peer_log.splitlines() if f'"GET {target}' in line]


@pytest.mark.parametrize("where", ["sleep", "socket", "event", "thread", "subprocess", "lock"])
def test_a_call_that_waits_is_stopped(attached, tmp_path, where):
    """Wherever it waits, although it catches all exceptions that are no reason to stop."""
    peer, server = attached
    client = peer.client().send(f"/waiting?where={where}&path={tmp_path}&case=a")
    wait_for_file(tmp_path / "waits")
    peer.notice(client)
    wait_for_file(tmp_path / "left")
    server.wait_until(rf"GET /waiting\?where={where}\S*case=a .* 499 ")
    assert peer.get("/echo?text=a").body == b"a"
    assert client.messages == []


def test_a_stream_that_pauses_is_stopped_and_closed_once(attached, tmp_path):
    peer, server = attached
    client = peer.client().send(f"/gated?gates={tmp_path}&pieces=3&case=b")
    (tmp_path / "0").touch()
    peer.wait(lambda: b"piece00" in b"".join(client.messages))
    wait_for_file(tmp_path / "asked-1")
    peer.notice(client)
    server.wait_until(r"GET /gated\S*case=b .* 499 ")
    peer.get()
    assert server.log.count("closed after 1") == 1, server.log
    assert len(lines(server, f"/gated?gates={tmp_path}&pieces=3&case=b")) == 1
    assert "Traceback" not in server.log


def test_a_stream_that_never_waits_is_stopped_at_a_piece(attached, tmp_path):
    peer, server = attached
    client = peer.client().send(f"/busy?path={tmp_path}/closed&case=c")
    peer.wait(lambda: client.messages)
    peer.notice(client)
    server.wait_until(r"GET /busy\S*case=c .* 499 ")
    assert (tmp_path / "closed").read_bytes() == b"."


def test_what_waits_behind_it_is_not_begun(attached, tmp_path):
    peer, server = attached
    client = peer.client().send(f"/waiting?where=sleep&path={tmp_path}")
    wait_for_file(tmp_path / "waits")
    (tmp_path / "waits").unlink()
    client.send(f"/waiting?where=sleep&path={tmp_path}&case=second")
    peer.notice(client)
    server.wait_until(r"GET /waiting\S*case=second .* 499 ")
    assert not (tmp_path / "waits").exists()


def test_cleaning_up_is_not_disturbed(attached, tmp_path):
    """The answer is sent; close() still has to wait for something."""
    peer, server = attached
    client = peer.client().send(f"/lingering?gates={tmp_path}&case=d")
    assert client.answer().body == b"text"
    wait_for_file(tmp_path / "asked-0")
    peer.notice(client)
    peer.get()
    (tmp_path / "0").touch()
    wait_for_file(tmp_path / "closed")
    server.wait_until(r"GET /lingering\S*case=d ")


def test_without_greenlets_it_is_stopped_at_its_next_piece(tmp_path):
    """That is the next one behind the notice, whenever that comes."""
    with Mongrel2() as peer, serving(peer) as server:
        client = peer.client().send(f"/gated?gates={tmp_path}&pieces=1000")
        (tmp_path / "0").touch()
        peer.wait(lambda: b"piece00" in b"".join(client.messages))
        wait_for_file(tmp_path / "asked-1")
        peer.notice(client)
        for number in range(1, 1000):
            (tmp_path / str(number)).touch()
            asked = tmp_path / f"asked-{number + 1}"
            poll(lambda asked=asked: asked.exists() or "closed after" in server.log, "it does not go on")
            if "closed after" in server.log:
                break
        assert int(server.wait_until(r"closed after (\d+)")[1]) < 1000
        server.wait_until(r"GET /gated\S* .* 499 ")


def test_a_mongrel2_that_leaves_takes_all_its_clients_along(tmp_path):
    with Mongrel2() as peer, serving(peer, options=["--gevent", "5"]) as server:
        peer.client().send(f"/waiting?where=sleep&path={tmp_path}")
        wait_for_file(tmp_path / "waits")
        peer.stop()
        wait_for_file(tmp_path / "left")
        server.wait_until(r"GET /waiting.* 499 ")
