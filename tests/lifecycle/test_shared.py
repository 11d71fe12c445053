"""One receiver of Mongrel2's requests for all workers: what goes where, and what survives whose end."""

from __future__ import annotations

import os
import re
import signal
from contextlib import contextmanager

import pytest

from tests.lifecycle.conftest import alive, children
from tests.support import mongrel2 as simulated
from tests.support.fronts import poll
from tests.support.mongrel2 import Mongrel2, serving, wait_for_file

TWO = ("--processes", "2")


@pytest.fixture(scope="module", autouse=True)
def shared():
    before, simulated.dispatch = simulated.dispatch, "shared"
    yield
    simulated.dispatch = before


class Shared:
    """A server whose workers share a receiver, and the simulated Mongrel2 before it."""

    def __init__(self, server, peer, directory):
        self.server = server
        self.peer = peer
        self.directory = directory

    def hold(self, name="held", client=None, what="hold", **arguments):
        """Begin a request that is not answered before it is released; return once it runs."""
        gates = self.directory / name
        gates.mkdir()
        query = "".join(f"&{key}={value}" for key, value in arguments.items())
        client = (client or self.peer.client()).send(f"/{what}?gates={gates}{query}")
        wait_for_file(gates / "asked-0")
        return Held(client, gates)

    def pid(self):
        """Return the pid of a worker that answers."""
        answer = self.peer.get("/pid")
        assert answer.status == 200
        return int(answer.body)

    def pids(self, number):
        """Return the pids of so many workers, all of which serve."""
        with self.all_held(number) as held:
            return [each.pid for each in held]

    @contextmanager
    def all_held(self, number, prefix="all"):
        """Have so many requests run at once: in as many workers, if each has one core."""
        held = [self.hold(f"{prefix}-{each}-{len(os.listdir(self.directory))}") for each in range(number)]
        yield held
        for each in held:
            each.release()
        for each in held:
            each.client.answer()

    @property
    def receiver(self):
        """The pid of the receiver that subscribed last."""
        found = re.findall(r"subscribed as appserver-(\d+), for all workers", self.server.log)
        return int(found[-1])

    def next_receiver(self, before):
        poll(lambda: self.receiver != before, "there is no new receiver")
        return self.receiver

    def order(self, number, until):
        """Send the master a signal and wait for what the log says then."""
        self.server.process.send_signal(number)
        self.server.wait_until(until)

    def ended(self):
        """Wait for the end that was ordered and see that nothing is left."""
        pid = self.server.process.pid
        assert self.server.process.wait(60) == 0
        self.server.stop()  # reads the rest of the log
        assert "Traceback" not in self.server.log
        assert not [each for each in self.seen if alive(each)], pid

    def look(self):
        """Note all processes that there are."""
        self.seen = children(self.server.process.pid)
        return self.seen


class Held:
    """A request in an application that waits for a file."""

    def __init__(self, client, gates):
        self.client = client
        self.gates = gates

    @property
    def pid(self):
        return int((self.gates / "asked-0").read_text())

    def release(self, number=0):
        (self.gates / str(number)).touch()


@pytest.fixture
def start(tmp_path):
    """Return a context manager that runs a server with options and gives a `Shared`."""

    @contextmanager
    def started(*options, peer=None, **more):
        with peer or Mongrel2() as attached, serving(attached, options=options, **more) as server:
            made = Shared(server, attached, tmp_path)
            made.pid()
            yield made
            assert "Traceback" not in server.log
            assert not attached.strays

    return started


# The receiver's end


def test_a_receiver_that_dies_is_followed_by_another(start):
    with start(*TWO) as shared:
        before = shared.receiver
        os.kill(before, signal.SIGKILL)
        shared.next_receiver(before)
        shared.pids(2)


def test_after_a_reload_the_receiver_is_followed_as_well(start):
    with start(*TWO) as shared:
        shared.order(signal.SIGHUP, "generation 2 serves")
        before = shared.receiver
        os.kill(before, signal.SIGKILL)
        shared.next_receiver(before)
        shared.pids(2)


def test_a_worker_that_was_stuck_for_a_moment_gets_requests_again(start):
    """Stopped as the scheduler stops it: what it does not take goes to others, until it goes on."""
    with start(*TWO) as shared:
        stopped, other = shared.pids(2)
        os.kill(stopped, signal.SIGSTOP)
        for _ in range(4):
            assert shared.pid() == other
        os.kill(stopped, signal.SIGCONT)
        held = shared.hold()
        for _ in range(4):
            assert shared.pid() == ({stopped, other} - {held.pid}).pop()
        held.release()
        held.client.answer()
        shared.pids(2)
