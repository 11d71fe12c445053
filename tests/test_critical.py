"""Locks that greenlets hold without being switched from, whatever garbage is collected meanwhile."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import gevent
import pytest
from gevent.exceptions import BlockingSwitchOutError

from appserver import critical


@pytest.fixture
def litter(monkeypatch):
    """Return what makes garbage that wants to wait, and what became of it: an exception, or "waited"."""
    found = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: found.append(type(raised.exc_value)))

    class Litter:
        def __init__(self):
            self.itself = self

        def __del__(self):
            gevent.sleep()
            found.append("waited")

    gc.collect()
    gc.disable()  # it is collected where a test says so
    yield Litter, found
    gc.enable()


def collect(litter):
    litter()
    gc.collect()


def test_what_is_collected_may_wait(litter):
    make, found = litter
    gevent.spawn(collect, make).get()
    collect(make)
    assert found == ["waited"] * 2


@pytest.mark.parametrize("nested", [False, True])
def test_but_not_where_one_is_held(litter, nested):
    make, found = litter
    lock = critical.lock()

    def hold():
        with lock:
            if nested:
                with critical.lock():
                    pass
            collect(make)
        collect(make)

    gevent.spawn(hold).get()
    hold()
    assert found == [BlockingSwitchOutError, "waited"] * 2


def test_who_holds_one_is_not_overtaken(litter):
    """Another greenlet would wait for the lock with the whole thread."""
    make, _ = litter
    lock = critical.lock()
    told = []

    def hold(name):
        with lock:
            told.append(name)
            collect(make)
            told.append(name)

    gevent.joinall([gevent.spawn(hold, name) for name in "abc"], raise_error=True)
    assert told == list("aabbcc")


def test_another_threads_lock_keeps_nobody_from_waiting(litter):
    make, found = litter
    lock = critical.lock()
    held, go = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    collect(make)
    go.set()
    thread.join()
    assert found == ["waited"]


def test_a_finalizer_may_come_back_to_the_lock():
    lock = critical.lock()
    told = []

    class Closing:
        def __init__(self):
            self.itself = self

        def __del__(self):
            with lock:
                told.append("closed")

    with lock:
        Closing()
        gc.collect()
    assert told == ["closed"]


def test_a_lock_ends_with_who_has_it():
    known = weakref.ref(critical.lock())
    assert known() is None
    collect(object)  # which looks at all that there are
