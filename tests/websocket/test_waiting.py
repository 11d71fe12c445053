"""Waiting for something that happens in a loop: the loop must be able to bring it."""

from __future__ import annotations

import os

import gevent
import pytest
from gevent import get_hub

from appserver.websocket.waiting import Waiters

READ = 1


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


@pytest.fixture
def come(pipe):
    """What has been read of the pipe, in the loop."""
    found = []
    reader = get_hub().loop.io(pipe[0], READ)
    reader.start(lambda: found.append(os.read(pipe[0], 1)))
    yield found
    reader.stop()
    reader.close()


@pytest.mark.parametrize("timeout", [-1, 0, 0.0, 1e-9])
def test_a_look_without_waiting_finds_what_has_come(pipe, come, timeout):
    os.write(pipe[1], b"x")
    assert Waiters(get_hub()).wait(lambda: come, timeout)
    assert come == [b"x"]


def test_a_look_without_waiting_leaves_the_loop_one_turn(pipe, come):
    loop = get_hub().loop
    turns = []
    before = loop.iteration
    for _ in range(3):
        assert not Waiters(get_hub()).wait(lambda: come, 0)
        turns.append(loop.iteration - before)
    assert 0 < turns[0] < turns[1] < turns[2] <= 12
    assert come == []


def test_a_native_thread_does_not_wait_for_the_loop(come):
    """It has a turn by itself, which may take long."""
    waiters = Waiters(get_hub())
    found = get_hub().threadpool.apply(lambda: (waiters.here, waiters.wait(lambda: come, 0)))
    assert found == (False, False)


def test_who_is_woken_many_times_looks_once():
    """Thousands of messages may come in one piece, and the callbacks of all others stand behind."""
    waiters = Waiters(get_hub())
    looks = []
    waiting = gevent.spawn(waiters.wait, lambda: looks.append(len(looks)) or len(looks) > 4)
    gevent.sleep(1e-9)
    assert len(looks) == 2, "it waits"
    for count in (3, 4, 5):
        for _ in range(100):
            waiters.wake()
        gevent.sleep(1e-9)
        assert len(looks) == count
    assert waiting.value is True
