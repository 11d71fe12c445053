"""The end of a process: what Python does before its own, in its order."""

from __future__ import annotations

import threading

import pytest

from appserver import leaving


@pytest.fixture
def done(monkeypatch):
    """Return what is done at the exit, in order; nothing of the tests' own process is."""
    found = []
    monkeypatch.setattr(leaving.atexit, "_run_exitfuncs", lambda: found.append("atexit"))
    monkeypatch.setattr(threading, "_threading_atexits", [])
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


def test_where_no_thread_can_be_started_the_rest_is_done(done, monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    threading._threading_atexits.append(lambda: None)
    leaving.finish()
    assert done == ["atexit"]
