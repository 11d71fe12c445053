"""What a thread keeps for itself, where several threads go back to what they had before."""

from __future__ import annotations

import threading

import pytest

from appserver import thread_locals


class Connection(threading.local):
    def __init__(self, to):
        self.to = to


@pytest.fixture
def noted(monkeypatch):
    """Leave nothing noted behind."""
    monkeypatch.setattr(thread_locals, "_noted", type(thread_locals._noted)())


def in_threads(*calls):
    """Return what each call returns in a thread of its own, all at once."""
    found = {}
    together = threading.Barrier(len(calls))

    def run(number, call):
        together.wait(30)
        found[number] = call()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return [found[number] for number in range(len(calls))]


def test_threads_that_forget_at_once_leave_classes_as_they_are():
    kept = Connection("db")
    for _ in range(5):
        in_threads(*[thread_locals.forget] * 4)
    assert type(kept) is Connection
    assert in_threads(lambda: vars(kept)) == [{"to": "db"}]


def test_a_thread_that_comes_to_one_meanwhile_has_its_own_made(monkeypatch):
    kept = Connection("db")
    found = []
    join = threading.Thread.join

    def come_before(thread):
        monkeypatch.undo()
        join(thread)
        found.extend(in_threads(lambda: (type(kept) is Connection, dict(vars(kept)))))

    monkeypatch.setattr(threading.Thread, "join", come_before)
    thread_locals.forget()
    assert found == [(False, {"to": "db"})]


@pytest.mark.usefixtures("noted")
def test_what_was_noted_is_that_threads_own():
    kept = threading.local()
    kept.user = "setup"
    thread_locals.note()

    def forget():
        kept.__dict__["request"] = 1
        thread_locals.forget()
        return dict(vars(kept))

    assert in_threads(forget) == [{}]
    assert forget() == {"user": "setup"}
