"""What clients are sent while it is not known whether Mongrel2 controls the flow to them."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace

import pytest

from appserver.errors import ClientGone
from appserver.listeners.credits import Credits
from appserver.listeners.subscription import Subscription
from appserver.protocols.mongrel2 import MOST_CREDITS, envelope

LINE = (1, (b"uuid", b"7"))
OTHER = (1, (b"uuid", b"8"))
DATA = b"x" * 500_000


class Site:
    """The accounts, a Mongrel2 that takes messages, and the time."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        self.takes = self.here = True
        self.sent = []
        self.queued = []  # past the accounts
        monkeypatch.setattr("appserver.listeners.credits.monotonic", lambda: self.now)
        self.credits = Credits(self._deliver, 60.0)

    def _deliver(self, message, attachment):
        if not self.here:
            raise ClientGone
        if self.takes:
            assert attachment == 1
            self.sent.append(message.split(b", ", 1)[1])
        return self.takes

    def silence(self):
        self.now = self.credits.due
        return self.credits.settle(1)


@pytest.fixture
def site(monkeypatch):
    return Site(monkeypatch)


def test_no_more_is_sent_than_mongrel2_may_take(site):
    """A message is short where nothing was sent before: it is in the kernel at once, and Mongrel2 tells that."""
    assert site.credits.put(LINE, DATA)
    assert site.credits.held_up(LINE)
    assert len(site.sent[0]) == 8192
    assert MOST_CREDITS - 16384 < sum(map(len, site.sent)) <= MOST_CREDITS


def test_what_mongrel2_tells_is_waited_for(site):
    site.credits.put(LINE, DATA)
    sent = sum(map(len, site.sent))
    site.credits.learn(1)
    site.credits.give(LINE, sent)
    assert sent < sum(map(len, site.sent)) <= sent + MOST_CREDITS
    assert site.credits.due == inf
    assert site.credits.settle(1) == []
    assert sum(map(len, site.sent)) < len(DATA)


def test_credit_of_a_client_that_has_left_is_of_one_of_ours(site):
    """A thread reads it after another has been told of the end."""
    site.credits.put(LINE, b"x" * 100)
    for each in (LINE, OTHER):
        site.credits.forget(each)
    assert site.credits.give(LINE, 100) is False
    assert site.credits.give(OTHER, 100) is None, "it was sent nothing"


def test_where_it_says_nothing_the_rest_is_sent_at_once(site):
    """As one message, and the end behind it: Mongrel2 takes 16 at a time."""
    site.credits.put(LINE, DATA, close=True)
    assert site.credits.settle(1) == [], "it is too early"
    before = len(site.sent)
    assert site.silence() == [LINE]
    assert [len(each) for each in site.sent[before:]] == [len(DATA) - sum(map(len, site.sent[:before])), 0]
    assert b"".join(site.sent) == DATA
    assert (site.credits.uncontrolled, site.credits.due, site.credits.waits) == (1, inf, False)
    assert not site.credits.held_up(LINE)


def test_who_was_late_to_ask_has_it_sent_as_well(site):
    """Another thread may have found out between a look and `put`: nothing may wait behind what follows."""
    site.credits.put(OTHER, b"small")
    put = site.credits.put

    def late(*arguments, **more):
        site.silence()
        site.takes = False
        return put(*arguments, **more)

    site.credits.put = late
    subscription = object.__new__(Subscription)
    subscription.accounts = site.credits
    subscription.responder = SimpleNamespace(send=lambda *message: site.queued.append(message))
    request = SimpleNamespace(origin=1, line=LINE, client=LINE[1], closes=True)
    subscription.send(request, [b"head", b"first"], last=False)
    subscription.send(request, [b"last"], last=True)
    assert site.sent == [b"small"]
    assert [message for message, _ in site.queued] == [
        envelope(LINE[1], [b"headfirst"]), envelope(LINE[1], [b"last"]), envelope(LINE[1]),
    ]  # fmt: skip
    assert not site.credits.waits


def test_nothing_is_kept_of_what_comes_late(site):
    """Who has made it sends it."""
    site.credits.put(OTHER, b"small")
    site.silence()
    assert not site.credits.put(LINE, DATA)
    assert site.credits.put_together([LINE, OTHER], b"data") == [LINE, OTHER]
    assert site.sent == [b"small"]
    assert not site.credits.waits


def test_nothing_gets_before_what_mongrel2_does_not_take_now(site):
    site.credits.put(LINE, DATA)
    site.takes = False
    assert site.silence() == []
    assert site.credits.uncontrolled == 0
    site.credits.put(LINE, b"more")
    site.takes = True
    site.credits.settle(1)
    assert b"".join(site.sent) == DATA + b"more"
    assert site.credits.uncontrolled == 1


def test_a_mongrel2_that_is_slow_to_tell_is_believed(site):
    site.credits.put(LINE, b"small")
    site.silence()
    site.credits.learn(1)
    site.credits.put(LINE, DATA)
    assert sum(map(len, site.sent)) <= MOST_CREDITS + len(b"small")


def test_threads_that_learn_late_of_an_attachment_change_nothing(site):
    """Each tells of the one before when it finds the next."""
    site.credits.lost(0)
    site.credits.put(LINE, DATA)
    site.credits.lost(0)
    assert site.silence() == [LINE]
    assert site.credits.uncontrolled == 1


def test_the_next_mongrel2_may_be_another(site):
    site.credits.put(LINE, DATA)
    site.here = False
    assert site.silence() == [LINE]
    site.credits.lost(1)
    assert site.credits.due == inf
    assert 2 not in {site.credits.controlled, site.credits.uncontrolled}


# The end of an answer that Mongrel2 does not take


@pytest.mark.parametrize("pieces", [[], [b"data"]])
def test_an_end_that_is_not_taken_is_sent_later(pieces):
    """By who asks again, unless that would send the pieces once more."""
    sent, later = [], []
    subscription = object.__new__(Subscription)
    subscription.accounts = SimpleNamespace(uncontrolled=1)
    subscription.loop = SimpleNamespace(run_callback_threadsafe=lambda *call: later.append(call))
    request = SimpleNamespace(origin=1, line=LINE, client=LINE[1], closes=True)

    def take(message, attachment):
        if message == envelope(LINE[1]):
            return False
        sent.append((message, attachment))
        return True

    subscription.responder = SimpleNamespace(try_send=take, send=lambda *message: sent.append(message))
    assert subscription.try_send(request, pieces, last=True) is bool(pieces)
    assert sent == [(envelope(LINE[1], [each]), 1) for each in pieces]
    assert len(later) == len(pieces)
    for _, call, argument in later:
        call(argument)
        assert sent[1:] == [(envelope(LINE[1]), 1)]


# Threads that Mongrel2 may have told


def reader(read_at, attachment=1):
    return SimpleNamespace(read_at=read_at, attachment=attachment)


def test_a_thread_that_has_not_read_is_waited_for(site):
    """Mongrel2 may have told it, and the application blocks it; but that may take any time."""
    blocked, free, other = reader(0.0), reader(0.0), reader(0.0, attachment=0)
    site.credits.readers += [free, blocked, other]
    site.credits.put(LINE, DATA)
    site.now = free.read_at = site.credits.due
    assert site.credits.settle(1) == []
    site.now += 1
    assert site.credits.settle(1) == []
    assert site.credits.uncontrolled == 0
    blocked.read_at = site.now
    assert site.credits.settle(1) == [LINE]


def test_one_that_is_blocked_for_long_is_not_waited_for_any_more(site):
    site.credits.readers.append(reader(0.0))
    site.credits.put(LINE, DATA)
    site.now = site.credits.due + 9
    assert site.credits.settle(1) == []
    site.now += 2
    assert site.credits.settle(1) == [LINE]


# Clients that Mongrel2 does not tell of


def test_who_has_left_while_it_was_sent_something_is_asked_for(site):
    """Mongrel2 answers what is for nobody by a notice."""
    site.credits.learn(1)
    site.credits.put(LINE, b"small")
    assert site.sent == [b"small"]
    assert site.credits.look() == []
    site.now += 1
    assert site.credits.look() == []
    assert len(site.sent) == 2
    for _ in range(4):
        site.now += 1
        assert site.credits.look() == []
    assert len(site.sent) == 2, "it is asked again, but not often"
    site.now += 2
    assert site.credits.look() == []
    assert len(site.sent) == 3
    site.credits.forget(LINE)
    site.now += 10
    site.credits.look()
    assert len(site.sent) == 3


def test_nobody_is_asked_for_where_mongrel2_has_gone(site):
    site.credits.learn(1)
    site.credits.put(LINE, b"small")
    site.here = False
    site.now += 1
    assert site.credits.look() == []
    site.here = True
    site.now += 10
    site.credits.look()
    assert site.sent == [b"small"]
