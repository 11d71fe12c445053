"""The stacks of all threads and greenlets, found while they go on."""

from __future__ import annotations

import _thread
import dis
import logging
import os
import sys
from types import SimpleNamespace

import pytest
from gevent import get_hub
from gevent.event import Event
from greenlet import getcurrent, greenlet

from appserver import identity, stacks
from tests.support.fronts import GUARD, poll


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


def test_each_stack_is_told_with_the_process_that_it_is_of(monkeypatch, caplog):
    monkeypatch.setattr(identity, "_worker", 3)
    caplog.set_level(logging.INFO, "appserver")
    _thread.start_new_thread(stacks.write, ())
    poll(lambda: "in test_each_stack" in caplog.text, "no stack is written")
    stacks.wait()
    assert all(each.getMessage().startswith(f"worker 3 (pid {os.getpid()}): ") for each in caplog.records)


def test_a_thread_without_a_name_is_told_by_what_it_began_with():
    lock, begun = _thread.allocate_lock(), _thread.allocate_lock()
    lock.acquire()
    begun.acquire()

    def body_of_it():
        begun.release()
        lock.acquire()

    _thread.start_new_thread(body_of_it, ())
    begun.acquire()
    told = [each for each in stacks.all_stacks() if "in body_of_it" in each]
    lock.release()
    assert len(told) == 1
    assert told[0].startswith(f"thread {__name__}.{body_of_it.__qualname__} (")


def search(rows):
    for row in rows:
        if row < 0:
            row.found()


def without_line(code, at):
    """Return what looks like a frame that is where no line is told."""
    return SimpleNamespace(
        f_code=code, f_lineno=None, f_lasti=at, f_back=None, f_globals=globals(), f_locals={}
    )


def test_the_line_of_a_jump_back_is_the_one_that_it_leads_to():
    code = search.__code__
    jumps = [each.offset for each in dis.get_instructions(code) if each.opname == "JUMP_BACKWARD"]
    assert jumps
    for at in jumps:
        frame = without_line(code, at)
        assert stacks.line_of(frame) == code.co_firstlineno + 1
        told = stacks.described("its stack", frame)
        assert told.endswith(
            f'test_stacks.py", line {code.co_firstlineno + 1}, in search\n    for row in rows:'
        )


def test_where_no_line_follows_the_first_one_is_told():
    code = search.__code__
    assert stacks.line_of(without_line(code, len(code.co_code))) == code.co_firstlineno
