"""The stacks of all threads and greenlets, found while they go on."""

from __future__ import annotations

import sys

from greenlet import getcurrent, greenlet

from appserver import stacks


def test_a_greenlet_that_goes_on_between_the_looks_is_found(monkeypatch):
    """It is no thread's at the one, and does not wait at the other."""

    def body_of_it():
        getcurrent().parent.switch()

    going = greenlet(body_of_it)
    going.switch()
    real = sys._current_frames

    def frames():
        found = real()
        going.switch()
        return found

    monkeypatch.setattr(sys, "_current_frames", frames)
    assert any("in body_of_it" in each for each in stacks.all_stacks())
    assert going.dead


def test_one_that_comes_between_the_looks_is_found_once(monkeypatch):
    def body_of_it():
        getcurrent().parent.switch()

    coming = greenlet(body_of_it)
    real = sys._current_frames

    def frames():
        found = real()
        coming.switch()
        return found

    monkeypatch.setattr(sys, "_current_frames", frames)
    assert sum("in body_of_it" in each for each in stacks.all_stacks()) == 1
    coming.switch()
