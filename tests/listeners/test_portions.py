"""How much of an answer leaves at once, so that a client of Mongrel2 never has too many messages to read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appserver.errors import ClientGone
from appserver.listeners import portions
from appserver.listeners.mongrel2_wire import Mongrel2Wire
from appserver.listeners.portions import INTERVAL, Portions
from appserver.listeners.request import Request

MIB = 1 << 20
OUTSTANDING = 16  # messages with which Mongrel2 has a client


@pytest.fixture
def clock(monkeypatch):
    """Return the time, which can be set."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(portions, "monotonic", lambda: Clock.now)
    return Clock


@given(st.integers(1, 192 * MIB), st.lists(st.integers(1, 20 * MIB), max_size=60))
def test_a_body_of_known_length_is_no_more_messages_than_a_client_can_have(length, sizes):
    """Even where the application makes it in no time; the last one may be there besides."""
    with pytest.MonkeyPatch.context() as frozen:
        frozen.setattr(portions, "monotonic", lambda: 100.0)
        held, left, messages = Portions(length, credited=False), length, 0
        for size in sizes:
            held.add([range(min(size, left))])  # has a length, which is all that is asked
            left -= min(size, left)
            if held.full or held.room():
                held.take()
                messages += 1
    assert messages < OUTSTANDING


def test_so_many_messages_leave_at_once_and_one_more_each_interval(clock):
    held = Portions(None, credited=False)
    assert held.paced
    count = 0
    while held.room():
        held.add([b"x"])
        assert held.take() == [b"x"]
        count += 1
    assert count == 8
    for _ in range(3):
        clock.now += INTERVAL / 2
        assert not held.room()
        clock.now += INTERVAL / 2 + 1e-5
        assert held.room()
        held.add([b"x"])
        held.take()
        assert not held.room()


def test_a_large_message_takes_a_client_longer(clock):
    held = Portions(None, credited=False)
    while held.room():
        held.spend(0)
    held.grant()
    assert held.room()
    held.spend(2 * MIB)
    clock.now += INTERVAL + 1.9
    assert not held.room()
    clock.now += 0.11
    assert held.room()


@pytest.mark.parametrize("size", [0, MIB])
def test_where_mongrel2_counts_bytes_messages_are_only_not_too_many(clock, size):
    """It has no limit of 16 messages then: 5,000 a second may leave, of any size."""
    held = Portions(None, credited=True)
    for _ in range(8):
        assert held.room()
        held.spend(size)
    for _ in range(3):
        assert not held.room()
        assert held.pause <= 0.0002
        clock.now += 0.00021
        assert held.room()
        held.spend(size)
    clock.now += 0.002
    assert sum(held.room() and held.spend(size) is None for _ in range(20)) == 8


def test_the_next_try_is_when_there_is_room(clock):
    held = Portions(None, credited=False)
    assert held.room()
    assert held.pause == INTERVAL, "there is; who does not take it now may take it then"
    while held.room():
        held.spend(0)
    assert held.pause == INTERVAL
    clock.now += INTERVAL / 4
    assert not held.room()
    assert held.pause == pytest.approx(INTERVAL * 3 / 4)


class Loop:
    """Keep timers, which a test has come."""

    def __init__(self):
        self.timers = []

    def timer(self, after, repeat=0.0):
        made = SimpleNamespace(
            after=after, repeat=repeat, active=False, close=lambda: self.timers.remove(made)
        )
        made.start = lambda callback: vars(made).update(active=True, callback=callback)
        made.stop = lambda: vars(made).update(active=False)
        self.timers.append(made)
        return made


class Answer:
    """A WebSocket's request, its loop, and what has left for Mongrel2; *takes* says whether it takes that."""

    def __init__(self, *, credited):
        self.loop, self.sent, self.takes = Loop(), [], True
        self.ends = []  # of its connection, and of the request
        intake = SimpleNamespace(
            loop=self.loop, hub=None, credited=lambda _: credited, held_up=lambda _: False,
            try_send=self.try_send, switch=lambda _: None, end=lambda _: self.ends.append("request"),
        )  # fmt: skip
        self.request = Request(intake, 1, (b"uuid", b"7"), SimpleNamespace(length=None))
        self.request.wire = SimpleNamespace(sent=lambda: None)

    def try_send(self, request, pieces, last):
        if self.takes and last:
            self.ends.append("connection")
        elif self.takes:
            self.sent.append(b"".join(pieces))
        return self.takes

    def due(self, clock):
        """Let the time pass to the next timer, and return how much that is."""
        (timer,) = self.loop.timers
        assert timer.active
        clock.now += timer.after + 1e-6
        timer.callback()
        return timer.after


@pytest.mark.parametrize(("credited", "seconds"), [(True, 0.0002), (False, 0.1)])
def test_a_frame_that_is_held_leaves_as_soon_as_it_may(clock, credited, seconds):
    answer = Answer(credited=credited)
    for number in range(10):
        answer.request.post(b"%d" % number)
    assert answer.sent == [b"%d" % number for number in range(8)]
    assert answer.due(clock) == pytest.approx(seconds, rel=1e-4)
    assert answer.sent[8:] == [b"89"]
    assert not answer.loop.timers, "a connection that idles costs nothing"


def test_a_websocket_ends_behind_the_frames_that_are_held(clock):
    answer = Answer(credited=False)
    wire = Mongrel2Wire(answer.request, None)
    wire.open(b"head", SimpleNamespace(drained=lambda: None, lost=lambda: None))
    for number in range(9):
        wire.write(b"%d" % number)
    wire.end()
    assert (answer.request.held, answer.ends) == (2, [])
    answer.due(clock)
    assert (answer.sent[-1], answer.ends) == (b"78", ["connection"])
    wire.finish(failed=False)
    assert answer.ends == ["connection", "request"]


def test_a_client_that_leaves_before_its_websocket_is_open_is_one_that_has_left():
    answer = Answer(credited=False)
    answer.request.wire, answer.request.gone = None, True
    with pytest.raises(ClientGone):
        Mongrel2Wire(answer.request, None).open(b"head", SimpleNamespace())
    answer.request.done()
    assert (answer.sent, answer.ends) == ([], ["request"])


def test_what_mongrel2_does_not_take_is_not_tried_without_a_pause(clock):
    answer = Answer(credited=True)
    answer.takes = False
    answer.request.post(b"a")
    assert [answer.due(clock) for _ in range(3)] == [INTERVAL] * 3
    answer.takes = True
    answer.due(clock)
    assert (answer.sent, answer.loop.timers) == ([b"a"], [])


@pytest.mark.parametrize(
    ("length", "credited", "least"),
    [
        (None, True, 65536),
        (None, False, 16 * MIB),
        (193 * MIB, False, 16 * MIB),
        (193 * MIB, True, 65536),
        (192 * MIB, False, 16 * MIB),
        (12 * MIB, False, MIB),
        (5, False, 65536),
    ],
)
def test_what_is_worth_a_message(length, credited, least):
    held = Portions(length, credited=credited)
    assert held.paced == (not credited and length in {None, 193 * MIB})
    held.add([bytes(least - 1)])
    assert not held.full
    held.add([b"x"])
    assert held.full
    held.drop()
    assert (held.pieces, held.size, held.full) == ([], 0, False)


def test_what_is_taken_is_the_caller_s():
    held = Portions(None, credited=False)
    held.add([b"a", b"bc"])
    taken = held.take()
    held.add([b"d"])
    assert (taken, held.pieces, held.size) == ([b"a", b"bc"], [b"d"], 1)
