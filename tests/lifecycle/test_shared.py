"""One receiver of Mongrel2's requests for all workers: what goes where, and what survives whose end."""

from __future__ import annotations

import os
import re
import signal
import threading
import zlib
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lifecycle.conftest import alive, children, without_descriptors
from tests.support import mongrel2 as simulated
from tests.support.fronts import poll
from tests.support.mongrel2 import Mongrel2, serving, wait_for_file
from tests.support.server import Server

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

    def kill_receiver(self):
        """Kill the receiver and wait until there is another process in its place."""
        known = set(children(self.server.process.pid))
        os.kill(self.receiver, signal.SIGKILL)
        poll(lambda: set(children(self.server.process.pid)) - known, "there is no new receiver")

    def replace_receiver(self):
        """Kill the receiver and wait until another one has attached."""
        before = self.receiver
        os.kill(before, signal.SIGKILL)
        poll(lambda: self.receiver != before, "there is no new receiver")

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


# Who gets what


def test_a_request_goes_to_the_idle_worker(start):
    with start(*TWO) as shared:
        held = shared.hold(text="held")
        others = {shared.pid() for _ in range(20)}
        assert len(others) == 1
        assert held.pid not in others
        held.release()
        assert held.client.answer().body == b"held"


@pytest.mark.parametrize("options", [TWO, (*TWO, "--gevent", "5")], ids=["blocking", "gevent"])
def test_the_requests_of_a_connection_are_answered_in_order_by_one_worker(start, options):
    with start(*options) as shared:
        held = shared.hold(text="first")
        for _ in range(3):
            held.client.send("/pid")
        others = [shared.pid() for _ in range(10)]
        assert held.client.messages == []
        held.release()
        assert held.client.answer().body == b"first"
        assert [int(held.client.answer().body) for _ in range(3)] == [held.pid] * 3
        if "--gevent" not in options:
            assert held.pid not in others


@pytest.mark.parametrize(
    "options, number", [(TWO, 2), ((*TWO, "--threads", "3"), 6), ((*TWO, "--gevent", "4"), 8)],
    ids=["blocking", "threads", "gevent"],
)  # fmt: skip
def test_as_many_run_at_once_as_there_are_cores(start, options, number):
    with start(*options) as shared, shared.all_held(number) as held:
        assert len({each.pid for each in held}) == 2


@pytest.mark.parametrize("options", [("--gevent", "5"), ("--threads", "2")], ids=["gevent", "threads"])
def test_the_notice_of_a_client_that_left_reaches_whoever_answers_it(start, options):
    with start(*TWO, *options) as shared:
        held = [shared.hold(f"held-{each}", what="gated", pieces=1000) for each in range(4)]
        assert len({each.pid for each in held}) == 2
        for each in held:
            each.release()
            wait_for_file(each.gates / "asked-1")
            shared.peer.notice(each.client)
        for each in held:
            for number in range(1, 1000):
                each.release(number)
        shared.server.wait_until(r"(?s)(closed after.*){4}")
        shared.server.wait_until(r'(?s)("GET /gated\S* HTTP/1.1" 499 .*){4}')
        shared.pid()
        assert shared.server.log.count("closed after") == 4
        assert shared.server.log.count('HTTP/1.1" 499') == 4
        assert all(b"" not in each.client.messages for each in held)


def test_a_worker_that_blocks_its_loop_gets_nothing_more(start):
    """What it was given and has not begun goes to the other one."""
    with start(*TWO, "--gevent", "10") as shared:
        workers = set(shared.pids(2))
        spinning = shared.hold(what="spin")
        assert {shared.pid() for _ in range(30)} == workers - {spinning.pid}
        spinning.release()
        assert int(spinning.client.answer().body) == spinning.pid
        poll(lambda: shared.pid() == spinning.pid, "it gets nothing though it goes on")


# Too many


def test_more_than_the_queue_holds_are_refused(start):
    with start(*TWO, "--zeromq-queue", "3") as shared:
        with shared.all_held(2) as held:
            waiting = [shared.peer.client().send(f"/echo?text={each}") for each in range(3)]
            held[0].client.send("/echo?text=behind")  # in its turn
            for _ in range(5):
                refused = shared.peer.client().send("/echo?text=refused")
                answer = refused.answer()
                assert (answer.status, answer.headers["connection"]) == (503, "close")
                assert int(answer.headers["retry-after"]) >= 1
                assert refused.closed() == 2
            assert held[0].client.messages == []
            assert all(each.messages == [] for each in waiting)
        for number, each in enumerate(waiting):
            assert each.answer().body == str(number).encode()
        assert held[0].client.answer().status == 503
        assert held[0].client.closed() == 3
        assert shared.peer.get("/echo?text=room").body == b"room"
        shared.server.wait_until("there is room again; 5 requests were answered 503")
        assert shared.server.log.count("zeromq-queue is full: 4 requests wait") == 1


# A worker's end


def test_a_worker_that_is_killed_costs_what_it_has_in_its_hands(start):
    with start(*TWO) as shared:
        first, second = shared.hold("first"), shared.hold("second", text="second")
        clients = [shared.peer.client().send(f"/echo?text={each}") for each in range(10)]
        first.client.send("/echo?text=next")
        os.kill(first.pid, signal.SIGKILL)
        answer = first.client.answer()
        assert (answer.status, answer.headers["connection"]) == (502, "close")
        for number, client in enumerate(clients):  # by its successor
            assert client.answer().body == str(number).encode()
        second.release()
        assert second.client.answer().body == b"second"
        assert b"" in first.client.messages
        assert first.client.messages.count(first.client.messages[0]) == 1
        shared.server.wait_until(f"the worker with pid {first.pid} has gone with 1 request in its hands")
        shared.pids(2)


def test_what_a_killed_worker_has_not_begun_is_answered_by_others(start):
    """One that is stopped has its requests unread; the other one is busy, so nobody takes them back."""
    with start(*TWO) as shared:
        workers = set(shared.pids(2))
        held = shared.hold("a")
        (dying,) = workers - {held.pid}
        os.kill(dying, signal.SIGSTOP)
        clients = [shared.peer.client().send(f"/echo?text={each}") for each in range(5)]
        os.kill(dying, signal.SIGKILL)
        for number, client in enumerate(clients):
            assert client.answer().body == str(number).encode()
        assert "in its hands" not in shared.server.log
        held.release()
        held.client.answer()


@pytest.mark.parametrize("length", ["", "1"], ids=["chunked", "length"])
def test_an_answer_that_a_killed_worker_has_begun_never_looks_whole(start, length):
    with start(*TWO) as shared:
        held = shared.hold(what="gated", pieces=3, length=length)
        held.release(0)
        held.release(1)
        wait_for_file(held.gates / "asked-2")
        shared.peer.wait(lambda: held.client.messages)
        os.kill(held.pid, signal.SIGKILL)
        held.client.closed()
        data = b"".join(held.client.messages)
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert data.count(b"HTTP/1.1") == 1
        assert not data.endswith(b"0\r\n\r\n")
        assert b"piece02" not in data


def test_a_child_of_the_application_does_not_hide_the_death_of_its_worker(start):
    """It has the sockets of the worker open, so that no stream ends."""
    with start(*TWO) as shared:
        child = shared.hold("child", what="forked")
        os.kill(child.pid, signal.SIGKILL)
        assert child.client.answer().status == 502
        child.release(1)
        shared.pids(2)


# Reloads


@pytest.mark.parametrize(
    "options", [(), ("--gevent", "4"), ("--threads", "2")], ids=["one", "gevent", "threads"]
)
def test_a_reload_loses_nothing(start, options):
    with start(*TWO, *options) as shared:
        receiver = shared.receiver
        held = [shared.hold(f"held-{each}", text=str(each)) for each in range(2)]
        old = {each.pid for each in held}
        clients = [shared.peer.client().send(f"/echo?text={each}") for each in range(20)]
        behind = held[0].client.send("/pid")
        shared.order(signal.SIGHUP, "generation 2 serves")
        assert len(shared.pids(2) + list(old)) == 2 + len(old)
        # They are told to leave behind that line, and have cores left unless they block.
        cores = 6 if "--gevent" in options else 2
        poll(lambda: not set(shared.pids(cores)) & old, "the old workers go on")
        for each, client in enumerate(clients):
            assert client.answer().body == str(each).encode()
        for each, request in enumerate(held):
            request.release()
            assert request.client.answer().body == str(each).encode()
        at = int(behind.answer().body)
        assert at not in old or "--gevent" not in options, "one that blocks cannot say that it leaves"
        poll(lambda: not any(map(alive, old)), "the old workers do not end")
        assert shared.receiver == receiver
        assert "with requests in hand" not in shared.server.log


def test_a_chain_reload_loses_nothing(start, tmp_path):
    touched = tmp_path / "touched"
    touched.touch()
    with start(*TWO, "--touch-chain-reload", touched) as shared:
        held = shared.hold(text="held")
        clients = [shared.peer.client().send(f"/echo?text={each}") for each in range(20)]
        os.utime(touched, (1, 1))
        shared.server.wait_until("generation 2: worker 1 .* serves")
        for each, client in enumerate(clients):
            assert client.answer().body == str(each).encode()
        held.release()
        assert held.client.answer().body == b"held"
        shared.server.wait_until("generation 2 serves")
        assert held.pid not in shared.pids(2)


def test_many_reloads_under_steady_requests(start):
    """No request is lost, answered twice or refused, and the receiver keeps no descriptors."""
    with start(*TWO, "--gevent", "3") as shared:
        shared.pids(2)
        pid = shared.receiver

        def opened():
            return len(os.listdir(f"/proc/{pid}/fd"))

        before = opened()
        ended = threading.Event()
        clients = []

        def steadily():
            while not ended.is_set():
                clients.append(shared.peer.client().send("/echo?text=a"))
                clients[-1].answer()

        threads = [threading.Thread(target=steadily) for _ in range(3)]
        for each in threads:
            each.start()
        try:
            for number in range(2, 10):
                shared.order(signal.SIGHUP, f"generation {number} serves")
        finally:
            ended.set()
            for each in threads:
                each.join()
        assert len(clients) > 8
        assert all(len(each.messages) == 1 for each in clients)
        poll(lambda: opened() == before, "descriptors are left")
        assert shared.receiver == pid


def test_recycling_under_steady_requests(start):
    recycling = ("--max-requests", "10", "--max-requests-delta", "0", "--min-worker-lifetime", "0")
    with start(*TWO, *recycling) as shared:
        pids = set()
        poll(lambda: (pids.add(shared.pid()), len(pids) >= 6)[1], "no worker is replaced")
        assert "ended:" not in shared.server.log


def test_less_workers_lose_nothing(start):
    with start(*TWO, "--gevent", "2") as shared:
        with shared.all_held(4) as held:
            clients = [shared.peer.client().send(f"/echo?text={each}") for each in range(5)]
            shared.order(signal.SIGTTOU, "worker 2 leaves")
            for each in held[:2]:
                each.release()
        for each, client in enumerate(clients):
            assert client.answer().body == str(each).encode()
        # It is told to leave behind that line.
        poll(lambda: len({shared.pid() for _ in range(5)}) == 1, "both go on")


# The end of the server


@pytest.mark.parametrize(
    "options", [(), ("--gevent", "2"), ("--threads", "2")], ids=["one", "gevent", "threads"]
)
def test_a_stop_answers_all_that_is_held_and_queued(start, options):
    with start(*TWO, *options) as shared:
        shared.look()
        held = [shared.hold(f"held-{each}", text=str(each)) for each in range(2)]
        clients = [shared.peer.client().send(f"/nap?seconds=0.01&text={each}") for each in range(30)]
        behind = held[0].client.send("/echo?text=behind")
        shared.order(signal.SIGTERM, "SIGTERM: stop")
        for each, request in enumerate(held):
            request.release()
            assert request.client.answer().body == str(each).encode()
        assert behind.answer().body == b"behind"
        for each, client in enumerate(clients):
            assert client.answer().body == str(each).encode()
        shared.ended()


def test_a_stop_answers_what_comes_until_mongrel2_is_quiet(start):
    with start(*TWO) as shared:
        shared.look()
        held = shared.hold()
        shared.order(signal.SIGTERM, "SIGTERM: stop")
        for _ in range(20):
            if not shared.peer.deals():  # a moment without a request, and the receiver has left
                break
            shared.pid()
        held.release()
        held.client.answer()
        shared.ended()


def test_a_reload_and_a_stop_at_once(start):
    with start(*TWO, "--gevent", "2") as shared:
        with shared.all_held(2) as held:
            shared.order(signal.SIGHUP, "generation 2 serves")
            clients = [shared.peer.client().send(f"/nap?seconds=0.01&text={each}") for each in range(20)]
            shared.look()
            shared.order(signal.SIGTERM, "SIGTERM: stop")
        assert len({each.pid for each in held}) == 2
        for each, client in enumerate(clients):
            assert client.answer().body == str(each).encode()
        shared.ended()


def test_an_exit_at_once_leaves_nothing(start):
    with start(*TWO) as shared:
        shared.look()
        shared.hold()
        shared.server.process.send_signal(signal.SIGINT)
        shared.ended()


def test_a_killed_master_is_the_end_of_all(start):
    """What it has left is still answered."""
    with start(*TWO) as shared:
        seen = shared.look()
        held = shared.hold(text="held")
        clients = [shared.peer.client().send(f"/echo?text={each}") for each in range(5)]
        shared.server.process.kill()
        shared.server.process.wait()
        for each, client in enumerate(clients):
            assert client.answer().body == str(each).encode()
        held.release()
        assert held.client.answer().body == b"held"
        poll(lambda: not any(map(alive, seen)), "something is left")


# The receiver's end


def test_a_receiver_that_dies_is_followed_by_another(start):
    with start(*TWO) as shared:
        shared.replace_receiver()
        shared.pids(2)
        shared.server.wait_until("ended: killed by SIGKILL; it is started again")


@pytest.mark.parametrize("options", [("--gevent", "5"), ()], ids=["gevent", "blocking"])
def test_what_was_in_hand_is_broken_off_once_by_the_next_receiver(start, options):
    """A loop that blocks tells the next one when its application comes back."""
    with start(*TWO, *options) as shared:
        held, begun = shared.hold("a"), shared.hold("b", what="gated", pieces=3)
        begun.release()
        wait_for_file(begun.gates / "asked-1")
        shared.peer.wait(lambda: begun.client.messages)
        shared.kill_receiver()
        if options:
            shared.pid()
        held.release()
        begun.release(1)
        begun.release(2)
        assert held.client.answer().status == 502
        assert held.client.closed() == 2
        begun.client.closed()
        assert b"piece02" not in b"".join(begun.client.messages)
        assert begun.client.messages.count(b"") == 1
        for _ in range(10):
            shared.pid()
        assert len(held.client.messages) == 2
        shared.pids(2)


def test_what_was_given_and_not_taken_is_broken_off_as_well(start):
    with start(*TWO, "--zeromq-queue", "1") as shared:
        workers = set(shared.pids(2))
        held = shared.hold()
        (stopped,) = workers - {held.pid}
        os.kill(stopped, signal.SIGSTOP)
        client = shared.peer.client().send("/echo?text=a")
        for _ in range(2):  # with the second refusal it has been dealt, for the first one was answered
            clients = [shared.peer.client().send("/echo?text=refused") for _ in range(2)]
            assert clients[1].answer().status == 503
        shared.kill_receiver()
        os.kill(stopped, signal.SIGCONT)
        assert client.answer().status == 502
        held.release()
        assert held.client.answer().status == 502
        shared.pids(2)


def test_requests_of_two_receivers_are_not_confused(start):
    """Each numbers them from 1: one that ends late is not another one of the same number."""
    with start("--gevent", "10") as shared:
        old = shared.hold("old")
        shared.replace_receiver()
        shared.pid()
        new = shared.hold("new", what="gated", pieces=1000)
        new.release()
        wait_for_file(new.gates / "asked-1")
        old.release()
        assert old.client.answer().status == 502
        shared.server.wait_until('"GET /hold\\S* HTTP/1.1" 499')
        shared.peer.notice(new.client)
        shared.pid()
        for number in range(1, 1000):
            new.release(number)
        assert int(shared.server.wait_until(r"closed after (\d+)")[1]) <= 3
        shared.server.wait_until('"GET /gated\\S* HTTP/1.1" 499')


def test_a_client_that_left_before_one_receiver_is_not_taken_for_one_of_the_next(start):
    with start(*TWO) as shared:
        workers = set(shared.pids(2))
        held = shared.hold("a")
        (stopped,) = workers - {held.pid}
        os.kill(stopped, signal.SIGSTOP)
        gone = shared.peer.client().send("/echo?text=gone")
        shared.peer.notice(gone)
        fence = shared.peer.client().send("/echo?text=fence")
        held.release()
        assert fence.answer().body == b"fence"
        shared.server.wait_until("text=gone HTTP/1.1. 499")
        os.kill(stopped, signal.SIGCONT)
        shared.pids(2)
        shared.replace_receiver()
        held = shared.hold("b")
        for _ in range(20):
            shared.pid()
        held.release()
        held.client.answer()
        for _ in range(20):
            shared.pid()


def test_an_old_worker_s_requests_are_broken_off_too(start):
    """It is leaving when the receiver dies."""
    with start(*TWO, "--gevent", "2") as shared:
        held = shared.hold()
        shared.order(signal.SIGHUP, "generation 2 serves")
        shared.pids(2)
        shared.replace_receiver()
        assert held.client.answer().status == 502
        assert held.client.closed() == 2
        held.release()
        poll(lambda: not alive(held.pid), "the old worker does not end")
        shared.pids(2)


def test_a_worker_may_come_while_there_is_no_receiver(start):
    """The receiver dies so often that the master waits before it starts the next one."""
    with start(*TWO) as shared:
        dying = shared.pids(2)[0]
        for _ in range(4):
            shared.replace_receiver()
        before = shared.receiver
        os.kill(before, signal.SIGKILL)
        os.kill(dying, signal.SIGKILL)
        shared.server.wait_until(rf"worker \d \(pid {dying}\) ended")
        poll(lambda: shared.receiver != before, "there is no new receiver")
        assert dying not in shared.pids(2)


def test_a_stop_while_there_is_no_receiver_does_not_wait_for_one(start):
    with start(*TWO, "--worker-reload-mercy", "1000") as shared:
        for _ in range(4):
            shared.replace_receiver()
        os.kill(shared.receiver, signal.SIGKILL)
        shared.server.wait_until(r"(?s)(it is started again.*){5}")
        shared.look()
        shared.order(signal.SIGTERM, "SIGTERM: stop")
        shared.ended()


@pytest.mark.parametrize("how", ["goes on", "stops"])
def test_a_receiver_that_cannot_be_started_is_as_soon_as_it_can(start, how):
    with start(*TWO, "--worker-reload-mercy", "1") as shared:
        shared.look()
        shared.server.wait_until("subscribed as appserver")
        before = shared.receiver
        with without_descriptors(shared.server.process.pid):
            os.kill(before, signal.SIGKILL)
            shared.server.wait_until("(?s)(mongrel2 .*: cannot start a process: Too many open files.*){2}")
            if how == "stops":
                shared.order(signal.SIGTERM, "stopped$")
        if how == "goes on":
            poll(lambda: shared.receiver != before, "there is no new receiver")
            shared.pid()
            shared.order(signal.SIGTERM, "SIGTERM: stop")
        shared.ended()


def test_after_a_reload_the_receiver_is_followed_as_well(start):
    with start(*TWO) as shared:
        shared.order(signal.SIGHUP, "generation 2 serves")
        shared.replace_receiver()
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


# Mongrel2 and large things


@pytest.mark.parametrize("options", [(), ("--gevent", "4")], ids=["blocking", "gevent"])
def test_answers_for_a_mongrel2_that_has_gone_reach_nobody(start, options):
    with start(*TWO, *options) as shared:
        held = [shared.hold(f"held-{each}") for each in range(2)]
        shared.peer.restart()
        assert shared.peer.attached.wait(simulated.TIMEOUT)
        again = [simulated.Client(shared.peer, each.client.number) for each in held]
        for each in again:
            each.send("/echo?text=new")
        for each in held:
            each.release()
        for each in again:
            assert each.answer().body == b"new"
        shared.server.wait_until(r'(?s)("GET /hold\S* HTTP/1.1" 499 .*){2}')
        shared.pid()
        assert all(len(each.messages) == 1 for each in again)


@pytest.mark.parametrize(
    "options", [(), ("--gevent", "4"), ("--threads", "2")], ids=["one", "gevent", "threads"]
)
def test_large_bodies_arrive(start, options):
    with start(*TWO, *options) as shared:
        for size in (65000, 65536, 70000, 5_000_000):
            body = os.urandom(size)
            clients = [shared.peer.client().send("/read", method="POST", body=body) for _ in range(6)]
            for client in clients:
                assert client.answer().body == b"%d %d" % (size, zlib.crc32(body))


@pytest.mark.parametrize("options", [(), ("--gevent", "4")], ids=["blocking", "gevent"])
def test_large_answers_arrive(start, options):
    with start(*TWO, *options) as shared:
        clients = [shared.peer.client().send("/large?size=20000000") for _ in range(4)]
        small = [shared.peer.client().send("/echo?text=a") for _ in range(20)]
        streams = [shared.peer.client().send("/stream?pieces=40&size=500000") for _ in range(2)]
        for client in clients:
            assert client.answer().body == b"x" * 20_000_000
        for client in small:
            assert client.answer().body == b"a"
        for client in streams:
            assert len(client.answer().body) == 20_000_000


# Limits, rights and logs


@pytest.mark.parametrize("options", [(), ("--gevent", "4")], ids=["blocking", "gevent"])
def test_a_request_that_takes_too_long_is_ended(start, options):
    with start(*TWO, *options, "--harakiri", "0.5") as shared:
        held = shared.hold()
        behind = held.client.send("/echo?text=behind")
        assert held.client.answer().status == 504
        assert behind.answer().body == b"behind"
        shared.pids(2)


def test_one_that_cannot_be_ended_is_answered_and_costs_its_worker(start):
    with start(*TWO, "--gevent", "4", "--harakiri", "0.5") as shared:
        held = shared.hold(what="stubborn")
        assert held.client.answer().status == 504
        assert held.client.closed() == 2
        shared.server.wait_until(rf"worker \d \(pid {held.pid}\) is replaced")
        held.release()
        poll(lambda: not alive(held.pid), "it does not end")
        assert len(held.client.messages) == 2
        shared.pids(2)


@pytest.mark.skipif(os.getuid() != 0, reason="only root has privileges to drop")
def test_the_receiver_drops_its_privileges(start):
    with start(*TWO, "--gid", "2345") as shared:
        for pid in (shared.receiver, shared.pid()):
            status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            assert status["Gid"].split() == ["2345"] * 4
            assert status["Groups"].split() == ["2345"]


def test_the_receiver_lives_on_when_it_is_sent_what_is_for_the_master(start):
    with start(*TWO) as shared:
        before = shared.receiver
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            os.kill(before, number)
        shared.pid()
        assert shared.receiver == before


def test_the_receiver_opens_its_log_anew(tmp_path):
    log, moved = tmp_path / "log", tmp_path / "moved"
    with Mongrel2() as peer:
        server = Server(*("--zeromq", peer.spec, "--module", simulated.APP), *TWO, "--logto", log)
        try:
            poll(lambda: log.exists() and "ready" in log.read_text(), "it does not start")
            made = Shared(server, peer, tmp_path)
            held = made.hold()
            log.rename(moved)
            server.process.send_signal(signal.SIGUSR1)
            poll(log.exists, "there is no new log")
            made.pid()
            os.kill(held.pid, signal.SIGKILL)
            poll(lambda: "in its hands, to be answered 502" in log.read_text(), "it is not in the new log")
            assert "in its hands" not in moved.read_text()
        finally:
            server.__exit__()
