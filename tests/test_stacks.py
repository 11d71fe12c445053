"""The stacks of all threads and greenlets, found while they go on."""

from __future__ import annotations

import logging
import sys

import pytest
from gevent import get_hub
from gevent.event import Event
from greenlet import getcurrent, greenlet

from appserver import stacks
from tests.support.fronts import GUARD


@pytest.fixture
def going(monkeypatch):
    """A greenlet that goes on between the look at the threads and the one behind it."""

    def body_of_it():
        getcurrent().parent.switch()

    made = greenlet(body_of_it)
    real = sys._current_frames

    def frames():
        found = real()
        made.switch()
        return found

    monkeypatch.setattr(sys, "_current_frames", frames)
    return made


def test_a_greenlet_that_goes_on_between_the_looks_is_found(going):
    """It is no thread's at the one, and does not wait at the other."""
    going.switch()
    assert any("in body_of_it" in each for each in stacks.all_stacks())
    assert going.dead


def test_one_that_comes_between_the_looks_is_found_once(going):
    assert sum("in body_of_it" in each for each in stacks.all_stacks()) == 1
    going.switch()


def test_the_loop_writes_them_where_there_can_be_no_more_threads(monkeypatch, caplog):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(stacks, "_start", refuse)
    caplog.set_level(logging.INFO, "appserver")
    stacks.log_all()
    stacks.wait()
    assert not caplog.text
    written = Event()
    get_hub().loop.run_callback_threadsafe(written.set)
    assert written.wait(GUARD)
    assert "in test_the_loop_writes_them_where_there_can_be_no_more_threads" in caplog.text
