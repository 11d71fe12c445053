"""The end of a process: what Python does before its own, in its order."""

from __future__ import annotations

import threading
from math import inf

import pytest

from appserver import leaving


@pytest.fixture
def done(monkeypatch):
    """Return what is done at the exit, in order; nothing of the tests' own process is."""
    found = []
    monkeypatch.setattr(leaving.atexit, "_run_exitfuncs", lambda: found.append("atexit"))
    monkeypatch.setattr(threading, "_threading_atexits", [])
    monkeypatch.setattr(leaving, "_deadline", inf)
    return found


def test_pools_end_before_what_waits_for_their_processes(done):
    threading._threading_atexits += [lambda: done.append("first"), lambda: done.append("last")]
    leaving.finish()
    assert sorted(done[:2]) == ["first", "last"]
    assert done[2:] == ["atexit"]


def test_a_pool_whose_work_does_not_end_holds_up_neither_others_nor_the_end(done, monkeypatch):
    """As one that a consumer runs in."""
    monkeypatch.setattr(leaving, "_PATIENCE", 0.1)
    ended, never = threading.Event(), threading.Event()
    threading._threading_atexits += [ended.set, never.wait]
    leaving.finish()
    never.set()
    assert ended.wait(30)
    assert done == ["atexit"]


@pytest.mark.parametrize("soon", [True, False], ids=["before", "meanwhile"])
def test_pools_leave_time_for_the_rest_where_the_process_is_ended_soon(done, monkeypatch, soon):
    monkeypatch.setattr(leaving, "_PATIENCE", inf)
    monkeypatch.setattr(leaving, "AT_ONCE", 0.1)
    never = threading.Event()
    threading._threading_atexits += [never.wait, lambda: soon or leaving.within(0)]
    leaving.within(0 if soon else 1000)
    leaving.finish()
    never.set()
    assert done == ["atexit"]


def test_where_no_thread_can_be_started_the_rest_is_done(done, monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    threading._threading_atexits.append(lambda: None)
    leaving.finish()
    assert done == ["atexit"]
