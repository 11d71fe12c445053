"""Several workers of one server at one Mongrel2, as at reloads of a single one: each is told what others need."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.listeners.test_mongrel2_flow import CREDIT, MIB, full
from tests.listeners.test_mongrel2_streamed import Upload, told
from tests.support.mongrel2 import TIMEOUT, Mongrel2, serving, wait_for_file

BODY = bytes(range(256)) * 2000


@pytest.fixture
def site():
    """Return a Mongrel2 that controls the flow, and its server, which has a master."""
    with Mongrel2(credit=CREDIT) as peer, serving(peer, options=["--master", "--gevent", "20"]) as server:
        server.wait_until("subscribed as")
        yield peer, server


def reload(peer, server, generation=2):
    """Have another worker subscribe; the one before is dealt nothing any more, and has not finished."""
    server.process.send_signal(signal.SIGHUP)
    server.wait_until(f"generation {generation} serves")
    server.wait_until(rf"(subscribed as[\s\S]*){{{generation}}}")
    peer.wait_for_departure()


def test_downloads_go_on_on_both_sides(site):
    peer, server = site
    old = full(peer.client().send(f"/large?size={MIB}"))
    reload(peer, server)
    assert "has taken over" not in server.log
    new = peer.client().send(f"/large?size={MIB}")
    old.read_until(lambda data: new.read() is not None and len(data) > MIB)
    new.read_until(lambda data: len(data) > MIB)
    assert [len(client.answer().body) for client in (old, new)] == [MIB, MIB]
    server.wait_until("generation 2 has taken over")
    assert not peer.overrun


def test_uploads_go_on_on_both_sides(site):
    peer, server = site
    old = Upload(peer, BODY)
    old.piece()
    reload(peer, server)
    new = Upload(peer, BODY)
    while not (old.over and new.over):
        for each in (old, new):
            if not each.over:
                each.piece()
    assert [each.client.answer().body for each in (old, new)] == [told(BODY), told(BODY)]
    server.wait_until("generation 2 has taken over")


def test_uploads_go_on_where_there_are_more_than_two(site):
    """At a second reload, while the first worker is not done: of two others one does not know an upload."""
    peer, server = site
    uploads = [Upload(peer, BODY)]
    for generation in (2, 3):
        uploads[-1].piece()
        reload(peer, server, generation)
        uploads.append(Upload(peer, BODY))
    while not all(each.over for each in uploads):
        for each in uploads:
            if not each.over:
                each.piece()
    assert not any(each.cancelled for each in uploads)
    assert [each.client.answer().body for each in uploads] == [told(BODY)] * 3
    stranger = peer.client()
    peer.raw(peer.message(stranger.number, "/", {"PATH": "/", "UPLOAD_STREAM": "4000"}, b"piece"))
    assert b"6:cancel,4:true!" in stranger.orders()[0]


def test_a_client_that_leaves_is_gone_for_who_answers_it(site, tmp_path):
    peer, server = site
    old = full(peer.client().send(f"/counted?path={tmp_path}/count&pieces=64&size=65536"))
    reload(peer, server)
    for _ in range(2):  # either may be told
        peer.notice(old)
    server.wait_until("GET /counted.* 499 ")
    server.wait_until("generation 2 has taken over")


def test_what_is_nobody_s_is_cut_off(site):
    """It comes back to a worker that is alone."""
    peer, _ = site
    upload = Upload(peer, BODY, first=4000)
    upload.piece()
    stranger = peer.client()
    peer.raw(peer.message(stranger.number, "/", {"PATH": "/", "UPLOAD_STREAM": "4000"}, b"piece"))
    assert b"6:cancel,4:true!" in stranger.orders()[0]
    while not upload.over:
        upload.piece()
    assert upload.client.answer().body == told(BODY)


def wait_for_ends(pid, most):
    """Wait until a process has no more than so many threads."""
    deadline = time.monotonic() + TIMEOUT
    while len(os.listdir(f"/proc/{pid}/task")) > most:
        assert time.monotonic() < deadline, "they do not end"
        time.sleep(0.002)


def test_the_thread_that_ends_last_is_told_as_well(tmp_path):
    """Most threads of the old worker end at once; one that does not needs what Mongrel2 tells the new worker."""
    options = ["--master", "--threads", "4"]
    with Mongrel2(credit=CREDIT) as peer, serving(peer, options=options) as server:
        server.wait_until(r"(subscribed as[\s\S]*){4}")
        for generation in (2, 3):
            gates = tmp_path / str(generation)
            gates.mkdir()
            client = peer.client().send(f"/hold?gates={gates}&size={MIB}")
            wait_for_file(gates / "asked-0")
            pid = int((gates / "asked-0").read_text())
            threads = len(os.listdir(f"/proc/{pid}/task"))
            server.process.send_signal(signal.SIGHUP)
            server.wait_until(rf"(subscribed as[\s\S]*){{{4 * generation}}}")
            wait_for_ends(pid, threads - 3)
            (gates / "0").touch()
            client.read_until(lambda data: len(data) > MIB)
            server.wait_until(f"generation {generation} has taken over")
