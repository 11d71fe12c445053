"""Long work: Mongrel2 is told that it goes on, as it ends connections that idle."""

from __future__ import annotations

import pytest

from tests.support.mongrel2 import Mongrel2, serving, wait_for_file

OPTIONS = ["--mongrel2-keepalive", "0.3"]


def kept_alive(client, times):
    orders = client.orders(times)
    assert set(orders) == {b"31:3:ctl,21:10:keep-alive,4:true!}]"}
    return orders


@pytest.mark.parametrize("target", ["hold?", "gated?pieces=2&"])
def test_a_request_is_kept_alive_until_its_end(tmp_path, target):
    """Be it that its answer has not begun, or that it pauses."""
    with Mongrel2() as peer, serving(peer, options=[*OPTIONS, "--gevent", "5"]):
        client = peer.client().send(f"/{target}gates={tmp_path}")
        if target.startswith("gated"):
            (tmp_path / "0").touch()
        kept_alive(client, 3)
        for number in (0, 1):
            (tmp_path / str(number)).touch()
        client.answer()
        before = len(client.orders())
        other = peer.client().send(f"/gated?gates={tmp_path}&pieces=3")
        kept_alive(other, 2)
        assert len(client.orders()) <= before + 1
        (tmp_path / "2").touch()
        other.answer()


def test_what_waits_for_the_application_is_kept_alive(tmp_path):
    """One runs, without greenlets; the loop turns as it waits for its client."""
    with Mongrel2() as peer, serving(peer, options=[*OPTIONS, "--gevent", "1"]):
        first = peer.client().send(f"/hold?gates={tmp_path}&text=a")
        wait_for_file(tmp_path / "asked-0")
        second = peer.client().send("/echo?text=b")
        kept_alive(second, 2)
        (tmp_path / "0").touch()
        assert [first.answer().body, second.answer().body] == [b"a", b"b"]


def test_the_receiver_does_it_where_the_application_blocks_its_loop(tmp_path, dispatch):
    """Without it, another thread does."""
    options = ["--threads", "2"] if dispatch == "worker" else []
    with Mongrel2() as peer, serving(peer, options=[*OPTIONS, *options]):
        client = peer.client().send(f"/hold?gates={tmp_path}&text=a")
        kept_alive(client, 2)
        (tmp_path / "0").touch()
        assert client.answer().body == b"a"


def test_a_client_that_does_not_read_is_not(tmp_path):
    """Mongrel2's limits are for those."""
    with Mongrel2(credit=102400) as peer, serving(peer, options=[*OPTIONS, "--gevent", "5"]):
        slow = peer.client().send("/stream?pieces=100&size=65536")
        peer.wait(lambda: peer.outstanding[slow.number] > 80_000)
        kept_alive(peer.client().send(f"/hold?gates={tmp_path}"), 3)
        assert not [order for order in slow.orders() if b"keep-alive" in order]
        (tmp_path / "0").touch()
        peer.notice(slow)


def test_it_can_be_switched_off(tmp_path):
    with Mongrel2() as peer, serving(peer, options=["--mongrel2-keepalive", "0", "--gevent", "5"]):
        client = peer.client().send(f"/hold?gates={tmp_path}")
        wait_for_file(tmp_path / "asked-0")
        for _ in range(20):
            peer.get()
        assert not peer.orders[client.number]
        (tmp_path / "0").touch()
        client.answer()
