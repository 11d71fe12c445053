"""Two servers at one Mongrel2: it tells each half of what the other needs, and they say so."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from appserver.listeners import rivals as module
from appserver.listeners.rivals import Rivals
from tests.listeners.test_mongrel2_flow import CREDIT, MIB
from tests.listeners.test_mongrel2_streamed import BODY, Upload
from tests.support.mongrel2 import TIMEOUT, Mongrel2, serving

SAID = "another server has the same Mongrel2"


@pytest.fixture
def clock(monkeypatch):
    """Return a clock to be set, in seconds since the attachment."""
    made = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "monotonic", lambda: made.now)
    return made


def test_clients_of_who_was_here_before_are_nobody_elses(caplog, clock):
    """In the order in which they came, as those that read at the same speed, or beside ours at a reload."""
    rivals = Rivals("mongrel2")
    for number in range(100):
        rivals.suspect((b"uuid", b"%d" % number))
    rivals.begin((b"uuid", b"100"))
    for number in range(101, 200):
        rivals.suspect((b"uuid", b"%d" % number))
    clock.now = module._GRACE
    for number in range(200):
        rivals.suspect((b"uuid", b"%d" % number))
    rivals.begin((b"uuid", b"300"))
    for number in range(300):
        rivals.suspect((b"uuid", b"%d" % number))
    assert not caplog.records
    for number in range(301, 311):
        rivals.suspect((b"uuid", b"%d" % number))
    assert caplog.text.count(SAID) == 1


def test_many_clients_of_somebody_else_are_told_once(caplog, clock):
    rivals = Rivals("mongrel2")
    clock.now = module._GRACE
    rivals.begin((b"uuid", b"200"))
    for number in [*range(200), *range(201, 210)]:
        rivals.suspect((b"uuid", b"%d" % number))
    assert not caplog.records, "they may be older than we are here"
    for number in range(210, 300):
        rivals.suspect((b"uuid", b"%d" % number))
    assert caplog.text.count(SAID) == 1


def test_one_that_has_no_clients_of_its_own_finds_out_as_well(caplog, clock):
    rivals = Rivals("mongrel2")
    clock.now = module._GRACE
    for number in [*range(200, 100, -1), 150, 150]:
        rivals.suspect((b"uuid", b"%d" % number))
    assert not caplog.records
    for number in range(200, 211):
        rivals.suspect((b"uuid", b"%d" % number))
    assert caplog.text.count(SAID) == 1


def test_two_servers_say_so():
    with Mongrel2(credit=CREDIT) as peer, serving(peer) as one, serving(peer) as other:
        for server in (one, other):
            server.wait_until("subscribed as")
        deadline = time.monotonic() + TIMEOUT
        while not all(SAID in server.log for server in (one, other)):
            assert time.monotonic() < deadline, "they do not"
            for number in range(100):
                client = peer.client().send("/echo?text=a")
                client.answer()
                if number % 3:  # else one gets all requests, and the other all notices
                    client.read()


@pytest.mark.parametrize("options", [["--gevent", "10"], ["--master", "--gevent", "10"]])
def test_one_server_does_not(options):
    with Mongrel2(credit=CREDIT) as peer, serving(peer, options=options) as server:
        for version in ["HTTP/1.0", "HTTP/1.1"] * 20:
            client = peer.client().send("/large?size=60000", version=version)
            client.answer()
            client.read()
        for version in ["HTTP/1.0", "HTTP/1.1"] * 5:
            client = peer.client().send(f"/large?size={MIB}", version=version)
            client.read_until(lambda data: len(data) > MIB)
            client.read()
        for target in ("/read", "/echo?text=a"):  # the second does not read it
            Upload(peer, BODY, target).all().read()
        peer.get()
        assert SAID not in server.log
