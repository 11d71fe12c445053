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

from appserver.protocols.handoff import Frame, Frames, frame
from appserver.websocket import link as links
from appserver.websocket.link import Link
from appserver.websocket.meeting import NOBODYS, PUBLISHED, STRAY, VERDICT, Meeting
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

    def join(take=lambda *_: None, **others):
        kinds = {"stray": STRAY, "nobodys": NOBODYS}
        made.append(Link(meeting, {PUBLISHED: take} | {kinds[name]: each for name, each in others.items()}))
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


def test_a_stray_that_cannot_be_sent_is_nobodys(meeting, linked):
    told, come = [], Event()

    def nobodys(name, data):
        told.append((name, data))
        come.set()

    link = linked(nobodys=nobodys)
    link._part()  # as where it has not joined yet
    link.send(PUBLISHED, "a", b"1")
    link.send(STRAY, "a", b"2")
    assert come.wait(30)
    assert told == [("a", b"2")]


def test_each_stray_has_a_verdict(meeting, linked):
    def know(name, data):
        if data == b"2":
            raise ValueError("a defect")
        return data == b"1"

    linked(stray=know)
    wait_read(meeting.fileno(), timeout=30)
    with socket.socket(fileno=meeting.accept()) as stream:
        stream.sendall(b"".join(frame(STRAY, 1, b"a%d" % number) for number in range(3)))
        found, frames = [], Frames()
        while len(found) < 3:
            wait_read(stream.fileno(), timeout=30)
            found += frames.feed(stream.recv(4096))
    assert found == [Frame(VERDICT, number, b"") for number in (0, 1, 0)]


class Worker:
    """One that a relay knows, as far as it says something."""

    def __init__(self, meeting):
        self._stream = meeting.join()
        self._frames = Frames()
        self._found = []

    async def send(self, *message):
        await asyncio.get_running_loop().sock_sendall(self._stream, frame(*message))

    async def told(self):
        """Wait for the next message and return its kind and data; None is the relay's end."""
        while not self._found:
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._stream, 4096), 30)
            self._found += self._frames.feed(data)
        message = self._found.pop(0)
        return message.kind, message.data

    def close(self):
        self._stream.close()


def relayed(meeting, number, act):
    """Run *act* with so many workers of a relay, and an event that tells when one has left."""

    async def run():
        joined, left = asyncio.Semaphore(0), asyncio.Event()
        Relay(meeting, lambda _: joined.release(), lambda _: left.set())
        workers = [Worker(meeting) for _ in range(number)]
        for _ in range(number + 1):  # the meeting's own end as well
            await asyncio.wait_for(joined.acquire(), 30)
        await act(*workers, left)
        for each in workers:
            each.close()

    asyncio.run(run())


@pytest.mark.parametrize("verdicts", [(0, 0), (0, 1), (1, 0)])
def test_a_stray_comes_back_once_all_have_denied_it(meeting, verdicts):
    async def act(origin, one, two, _):
        others = one, two
        await origin.send(STRAY, 1, b"a1")
        for each, verdict in zip(others, verdicts, strict=True):
            assert await each.told() == (STRAY, b"a1")
            await each.send(VERDICT, verdict)
        await others[0].send(PUBLISHED, 1, b"a2")
        await others[1].send(PUBLISHED, 1, b"a3")
        found = {await origin.told() for _ in range(2 + (not any(verdicts)))}
        assert found == {(PUBLISHED, b"a2"), (PUBLISHED, b"a3")} | (
            set() if any(verdicts) else {(NOBODYS, b"a1")}
        )

    relayed(meeting, 3, act)


def test_who_joined_before_something_was_said_hears_it(meeting):
    """All of it comes in one turn of the loop, as where the relay has not run for a while."""

    async def act(origin, _):
        others = [Worker(meeting) for _ in range(3)]
        await origin.send(STRAY, 1, b"a1")
        for each in others:
            assert await each.told() == (STRAY, b"a1")
        await others[2].send(VERDICT, 1)
        for each in others:
            each.close()

    relayed(meeting, 1, act)


def test_who_joined_while_something_was_unread_hears_what_came_then(meeting):
    """The kernel tells of it before it tells of who has joined, and it is read together."""

    async def act(origin, _):
        await origin.send(STRAY, 1, b"a1")
        other = Worker(meeting)
        await origin.send(STRAY, 2, b"a2")
        for content in (b"a1", b"a2"):
            assert await other.told() == (STRAY, content)
        other.close()

    relayed(meeting, 1, act)


def test_a_stray_comes_back_to_one_that_is_alone(meeting):
    async def act(origin, _):
        await origin.send(STRAY, 1, b"a1")
        assert await origin.told() == (NOBODYS, b"a1")

    relayed(meeting, 1, act)


def test_who_ends_has_denied_what_it_was_asked(meeting):
    async def act(origin, other, third, _):
        await origin.send(STRAY, 1, b"a1")
        await other.told()
        await third.told()
        other.close()
        await third.send(VERDICT, 0)
        assert await origin.told() == (NOBODYS, b"a1")

    relayed(meeting, 3, act)


def test_what_is_nobodys_is_for_another_where_its_origin_has_ended(meeting):
    async def act(origin, other, left):
        await origin.send(STRAY, 1, b"a1")
        assert await other.told() == (STRAY, b"a1")
        origin.close()
        await left.wait()
        await other.send(VERDICT, 0)
        assert await other.told() == (NOBODYS, b"a1")

    relayed(meeting, 2, act)
