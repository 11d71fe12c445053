"""Sessions and messages that raise what they may not: the others are seen to, and delivered."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
from gevent.event import Event

from appserver.protocols.handoff import frame
from appserver.websocket.link import Link
from appserver.websocket.meeting import PUBLISHED
from appserver.websocket.room import Room


class Session:
    """Count how often it is seen to; a *bad* one raises then."""

    def __init__(self, seen, *, bad=False):
        self.seen = seen
        self.bad = bad

    def tick(self, now):
        self.seen.append(self)
        if self.bad:
            raise ValueError("a defect")


def test_a_session_that_cannot_be_seen_to_is_left(caplog):
    seen = []
    room = Room()
    good, bad = [Session(seen) for _ in range(9)], Session(seen, bad=True)
    for each in (*good, bad):
        room.enter(each)
    try:
        room._tick()
        assert set(seen) == {*good, bad}
        room._tick()
        assert seen.count(bad) == 1
        assert all(seen.count(each) == 2 for each in good)
        assert "ValueError: a defect" in caplog.text
    finally:
        room._timer.close()


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def test_a_message_that_cannot_be_delivered_is_none_of_the_others(pair, caplog):
    ours, theirs = pair
    told, ended = [], Event()

    def deliver(channel, data):
        if channel == "bad":
            raise ValueError("a defect")
        told.append((channel, data))
        if data == b"last":
            ended.set()

    link = Link(SimpleNamespace(join=lambda: ours), {PUBLISHED: deliver})
    try:
        theirs.sendall(
            frame(PUBLISHED, 3, b"bad1") + frame(PUBLISHED, 1, b"a2") + frame(PUBLISHED, 3, b"bad3")
        )
        theirs.sendall(frame(PUBLISHED, 1, b"alast"))
        assert ended.wait(10)
        assert told == [("a", b"2"), ("a", b"last")]
        assert caplog.text.count("ValueError: a defect") == 2
    finally:
        link.close()
