"""A worker's way to the others: it is found again, unless there is none any more."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import closing

import gevent
import pytest
from gevent.event import Event
from gevent.socket import wait_read

from appserver.protocols.handoff import frame
from appserver.websocket import link as links
from appserver.websocket.link import Link
from appserver.websocket.meeting import PUBLISHED, Meeting
from appserver.websocket.relay import Relay


@pytest.fixture
def meeting(monkeypatch):
    monkeypatch.setattr(links, "_AGAIN", 0.01)
    monkeypatch.setattr(Meeting, "here", None)
    made = Meeting()
    yield made
    made.close()


@pytest.fixture
def linked(meeting):
    """Return a function that joins, and takes what others publish by what it is given."""
    made = []

    def join(take=lambda *_: None):
        made.append(Link(meeting, {PUBLISHED: take}))
        return made[-1]

    yield join
    for each in made:
        each.close()


def join_without_a_descriptor(meeting):
    """Say what reaches a master that has none for the stream: the kernel has dropped it."""
    meeting._workers.send(b"join")


def test_a_stream_that_ends_is_joined_again(meeting, linked):
    told, ended = [], Event()

    def take(channel, data):
        told.append((channel, data))
        ended.set()

    linked(take)
    os.close(meeting.accept())
    wait_read(meeting.fileno(), timeout=30)
    with socket.socket(fileno=meeting.accept()) as stream:
        stream.sendall(frame(PUBLISHED, 1, b"a1"))
        assert ended.wait(30)
        assert told == [("a", b"1")]


def test_what_is_published_meanwhile_is_no_error(meeting, linked):
    link = linked()
    os.close(meeting.accept())
    wait_read(meeting.fileno(), timeout=30)
    link._part()
    link.send(PUBLISHED, "a", b"1")
    gevent.sleep(0)


def test_nobody_joins_without_a_master(meeting, linked):
    link = linked()
    os.close(meeting.accept())
    meeting.relays.close()
    while link._stream is not None or link._again.active:
        gevent.sleep(0.001)
    with pytest.raises(BrokenPipeError):
        meeting.join()


def test_one_that_cannot_join_tries_again(meeting, linked, monkeypatch, caplog):
    join, errors = meeting.join, [OSError(errno.EMFILE, "Too many open files")] * 2

    def fail():
        if errors:
            raise errors.pop()
        return join()

    monkeypatch.setattr(meeting, "join", fail)
    link = linked()
    wait_read(meeting.fileno(), timeout=30)
    assert link._stream is not None
    assert caplog.text.count("cannot join the others yet: Too many open files") == 1


def test_a_stream_that_the_master_cannot_take_is_told_once(meeting, caplog):
    kept = []
    joined, left = asyncio.Event(), asyncio.Event()

    def add(each):
        kept.append(each)
        if each is not meeting.relays:  # which is for no child
            joined.set()

    def remove(each):
        kept.remove(each)
        left.set()

    async def relay():
        Relay(meeting, add, remove)
        for _ in range(3):
            join_without_a_descriptor(meeting)
        with closing(meeting.join()):
            await joined.wait()
        await left.wait()

    asyncio.run(relay())
    assert kept == [meeting.relays]
    assert caplog.text.count("a worker is not told what others publish") == 1
    assert "Too many open files" in caplog.text
