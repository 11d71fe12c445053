"""How much of an answer leaves at once, so that a client of Mongrel2 never has too many messages to read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appserver.listeners import portions
from appserver.listeners.portions import INTERVAL, Portions

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
