"""Looking at connections later, by a timer that ticks when it is told to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from appserver.listeners.later import Later


class Loop:
    """A loop, and its only timer."""

    active = closed = False

    def timer(self, after, repeat):
        assert after == repeat == 5.0
        return self

    def start(self, call):
        assert not self.active
        self.active = True
        self.call = call

    def stop(self):
        self.active = False

    def close(self):
        self.closed = True

    def tick(self):
        assert self.active
        self.call()


@pytest.fixture
def loop():
    return Loop()


def test_nobody_is_looked_at_before_the_time_is_over(loop):
    """A tick may come just after one was added, so it is the next one that counts."""
    seen = []
    later = Later(loop, 5.0, seen.append)
    assert not loop.active
    later.add("a")
    assert loop.active
    loop.tick()
    assert seen == []
    later.add("b")
    loop.tick()
    assert seen == ["a"]
    loop.tick()
    assert seen == ["a", "b"]
    assert not loop.active
    later.add("c")
    loop.tick()
    loop.tick()
    assert seen == ["a", "b", "c"]


def test_looking_may_add_again(loop):
    seen = []

    def again(each):
        seen.append(each)
        if len(seen) == 1:
            later.add(each)

    later = Later(loop, 5.0, again)
    later.add("a")
    for _ in range(4):
        loop.tick()
    assert seen == ["a", "a"]
    assert not loop.active


def test_its_end_is_that_of_its_timer(loop):
    later = Later(loop, 5.0, print)
    later.add("a")
    later.stop()
    later.close()
    assert (loop.active, loop.closed) == (False, True)


def test_one_that_raises_is_cut_and_the_others_are_looked_at(loop, caplog):
    seen = []

    def look(connection):
        if connection is bad:
            raise ValueError("a defect")
        seen.append(connection)

    bad = SimpleNamespace(listener=SimpleNamespace(name="http"), cut=lambda: seen.append("cut"))
    later = Later(loop, 5.0, look)
    for each in ("a", bad, "b"):
        later.add(each)
    loop.tick()
    loop.tick()
    assert seen == ["a", "cut", "b"]
    assert not loop.active
    assert "ValueError: a defect" in caplog.text
