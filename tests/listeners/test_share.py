"""A loop's share of a receiver's requests, beside a receiver that the test plays."""

from __future__ import annotations

import errno
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import gevent
import pytest

from appserver.listeners import rendezvous as module
from appserver.listeners.consumer import Consumer
from appserver.listeners.pause import Pause
from appserver.listeners.rendezvous import Rendezvous
from appserver.listeners.share import Share
from appserver.listeners.subscription import Subscription
from appserver.protocols import handoff
from tests.support.mongrel2 import TIMEOUT

NOTHING = SimpleNamespace(mongrel2_script_name=False, mongrel2_upload_dir="", mongrel2_chroot="")


def until(condition, what):
    """Let the loop turn until *condition* holds; return what it returns."""
    deadline = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        gevent.sleep(0)
    return found


class Site:
    """A share, and the receiver that it has joined."""

    def __init__(self):
        self.orphaned = False
        self.rendezvous = Rendezvous()
        listener = SimpleNamespace(pull="tcp://a", name="mongrel2", mongrel2=NOTHING, forwarded=None)
        cores = SimpleNamespace(count=1, full=lambda: False)
        service = SimpleNamespace(cores=cores, environ={}, orphaned=lambda: self.orphaned)
        self.share = Share(listener, service, self.rendezvous)
        self.consumer = None

    def accept(self):
        """Accept it as the next receiver; return whether it has come."""
        try:
            self.consumer = Consumer(*self.rendezvous.accept())
        except BlockingIOError:
            return False
        return True

    def hears(self):
        """Have it take a word over the stream."""
        self.consumer.say(handoff.FLOW, 1)
        until(lambda: self.share._flow_control, "it hears nothing")

    def close(self):
        self.share.close()
        if self.consumer is not None:
            self.consumer.close()
        self.rendezvous.close()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr("appserver.listeners.intake._AFTER", 0.001, raising=False)
    made = Site()
    assert made.accept()
    yield made
    made.close()


@contextmanager
def failing(owner, name, error, times=2):
    """Have a method raise so many times."""
    method, left = getattr(owner, name), [error] * times

    def fail(*arguments):
        if left:
            raise left.pop()
        return method(*arguments)

    setattr(owner, name, fail)
    yield
    assert not left, "it was not called"


def test_it_joins_the_next_receiver_once_there_are_descriptors(site, caplog):
    with failing(site.rendezvous, "join", OSError(errno.EMFILE, "Too many open files")):
        site.consumer.close()
        until(site.accept, "it does not join")
    site.hears()
    assert caplog.text.count("the next receiver cannot be joined") == 1


def test_nothing_is_left_of_an_attempt_to_join(monkeypatch):
    """The second pair of sockets is one too many."""
    rendezvous = Rendezvous()
    pairs = []

    def socketpair(*kind):
        if pairs:
            raise OSError(errno.EMFILE, "Too many open files")
        pairs.append(original(*kind))
        return pairs[0]

    original = module._socketpair
    monkeypatch.setattr(module, "_socketpair", socketpair)
    with pytest.raises(OSError, match="Too many"):
        rendezvous.join(1)
    assert [each.fileno() for each in pairs[0]] == [-1, -1]
    rendezvous.close()


def test_a_stop_does_not_wait_for_a_receiver_that_has_not_accepted_it(site):
    """It may have no descriptors for more loops, or be gone together with the master."""
    site.consumer.say(handoff.WELCOME, 0)
    until(lambda: site.share._welcome, "it hears nothing")
    site.consumer.close()
    until(lambda: not site.share._welcome, "it does not join the next one")
    site.share.drain()
    assert not site.share.busy()
    assert site.accept(), "what comes late hears that it leaves"
    assert [each.kind for each in site.consumer.read()] == [handoff.LEAVE]


def test_a_stop_while_it_cannot_join_does_not_wait_either(site):
    with failing(site.rendezvous, "join", OSError(errno.EMFILE, "Too many open files"), times=1):
        site.share._part()
        site.share._join_next()
        site.share.drain()
        assert not site.share.busy()


def test_a_stop_waits_for_the_receiver_that_has_accepted_it(site):
    """Its word may not have been read yet."""
    site.consumer.say(handoff.WELCOME, 0)
    site.share.drain()
    assert site.share.busy()
    site.consumer.say(handoff.FAREWELL, 0)
    until(lambda: not site.share.busy(), "it hears nothing")


class Short:
    """A socket for which there is no memory a few times."""

    def __init__(self, real, times=2):
        self.real, self.left = real, times

    def recv(self, size):
        if self.left:
            self.left -= 1
            raise MemoryError
        return self.real.recv(size)

    def __getattr__(self, name):
        return getattr(self.real, name)


def test_it_goes_on_to_hear_once_there_is_memory(site, caplog):
    site.share._stream = Short(site.share._stream)
    site.hears()
    assert caplog.text.count("it is tried again") == 2


def test_it_goes_on_to_take_requests(site, caplog):
    site.share._packets = Short(site.share._packets)
    taken = []
    site.share.take = lambda message, number: taken.append((message, number)) or True
    site.consumer.packets.send(handoff.frame(handoff.REQUEST, 7, b"request"))
    until(lambda: taken, "nothing is taken")
    assert taken == [(b"request", 7)]
    assert caplog.text.count("it is tried again") == 2


def test_a_request_that_cannot_even_be_refused_ends(site):
    def take(message, number):
        raise MemoryError

    site.share.take = take
    site.consumer.packets.send(handoff.frame(handoff.REQUEST, 7, b"request"))

    def said():
        try:
            return site.consumer.read()
        except BlockingIOError:
            return None

    assert until(said, "nothing is said") == [handoff.Frame(handoff.CLOSE, 7, b"")]


def test_it_goes_on_to_write(site, caplog):
    share, size = site.share, 4_000_000
    share._write(bytes(size))
    held = share._outbox
    assert held

    def flush():
        raise MemoryError

    share._outbox = SimpleNamespace(flush=flush)
    share._write_more()
    assert "it is tried again" in caplog.text
    share._outbox = held
    got = []

    def whole():
        with suppress(BlockingIOError):
            got.append(len(site.consumer.stream.recv(1 << 20)))
        return sum(got) == size

    until(whole, "the rest does not come")


def test_a_subscription_goes_on_to_read(monkeypatch, caplog):
    """Its descriptor signals only once."""
    monkeypatch.setattr("appserver.listeners.intake._AFTER", 0.001, raising=False)
    hub = gevent.get_hub()
    failures = [MemoryError(), MemoryError()]
    messages = [b"message", None]
    taken = []

    def take():
        if failures:
            raise failures.pop()
        return messages.pop(0) if messages else None

    one = object.__new__(Subscription)
    one.listener = SimpleNamespace(pull="tcp://a")
    one.cores = SimpleNamespace(run_all=lambda source: source())
    one.codec = SimpleNamespace(base={})
    one._error = one._parsed = None
    one._resuming = Pause(hub.loop, 0.001)
    one._watcher = SimpleNamespace(start=lambda read: None)
    one._name = one.identity = "us"
    one.attachment = 1
    one._pull = SimpleNamespace(take=take, told=True, tell=lambda *_: None)
    one.take = lambda message, origin: taken.append(message)
    one.read()
    until(lambda: taken, "nothing is read")
    one._resuming.close()
    assert taken == [b"message"]
    assert caplog.text.count("it is tried again") == 2


class Speaking:
    """The part of a request whose connection carries frames that a share knows."""

    gone = ended = closes = False
    switched = True
    begun = False

    def __init__(self, origin):
        self.origin = origin
        self.told = 0

    def go_on(self):
        self.told += 1


def test_frames_that_find_no_room_are_sent_when_there_is_some(site):
    """Each WebSocket would look again in its own time, and find that another one has just taken it."""
    speakers = [Speaking(number) for number in range(3)]
    site.share._write(bytes(4 << 20))
    for _ in range(2):  # a look that is in vain changes nothing
        assert not any(site.share.try_send(each, [b"frame"], last=False) for each in speakers)

    def told():
        with suppress(BlockingIOError):
            site.consumer.stream.recv(1 << 20)
        return speakers[-1].told

    until(told, "nobody is told")
    assert [each.told for each in speakers] == [1, 1, 1]
    assert all(site.share.try_send(each, [b"frame"], last=False) for each in speakers)
