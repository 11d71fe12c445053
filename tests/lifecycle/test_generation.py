"""A worker as the master sees it, and what it does about the master's words before it serves."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import weakref
from math import inf
from types import SimpleNamespace

import pytest

from appserver import leaving
from appserver.configuration import Configuration
from appserver.lifecycle.board import Board
from appserver.lifecycle.child import Child, Children
from appserver.lifecycle.generation import Generation, Serving
from appserver.stats.ledger import Ledger
from tests.support.server import ROOT

CONFIGURATION = ["--http", "127.0.0.1:0", "--module", "x", "--master"]


def looks(*between, beats=()):
    """Return the signals that a worker gets from looks so many seconds apart; it shows life at those of *beats*."""
    configuration = Configuration(CONFIGURATION)
    generation = SimpleNamespace(configuration=configuration, number=1, note=None, startup=0.0)
    killed = []

    async def main():
        worker = Serving(Children(), generation, 1)
        worker.kill = lambda number=signal.SIGKILL: killed.append((round(now - 1000, 2), number))
        now = 1000.0
        worker.board.beat()
        worker.check_life(now)
        for number, seconds in enumerate(between):
            now += seconds
            if number in beats:
                worker.board.beat()
            worker.check_life(now)
        worker.close()
        worker.board.close()

    asyncio.run(main())
    return killed


def test_a_worker_that_shows_no_life_tells_its_stacks_and_is_killed():
    assert looks(*[0.25] * 41, 0.5, 0.75) == [(10.25, signal.SIGABRT), (11.5, signal.SIGKILL)]
    assert looks(*[0.25] * 47, beats=[39]) == []


@pytest.mark.parametrize("long", [10.5, 12, 3600])
def test_a_pause_of_all_processes_is_no_sign_of_death(long):
    """The first look comes before the first sign of life."""
    assert looks(0.25, long, 0.25, 0.25, beats=[3]) == []
    assert looks(0.25, long, *[0.25] * 40) == []
    assert looks(0.25, long, *[0.25] * 41) == [(round(long + 10.5, 2), signal.SIGABRT)]


def test_nobody_is_killed_before_it_has_told_its_stacks():
    assert looks(*[1.9] * 6, 0.25) == [(11.4, signal.SIGABRT)]
    assert looks(*[1.9] * 6, 1.9) == [(11.4, signal.SIGABRT), (13.3, signal.SIGKILL)]


class Forked:
    """A preloader, and the worker that it has forked last, in this process."""

    def __init__(self, children):
        self._child = Child(children, "preloader", lambda _: None)
        self.exited = self._child.exited
        self.configuration = Configuration(CONFIGURATION)

    def send(self, _, fds):
        channel, board = map(os.dup, fds)
        self.channel, self.board = socket.socket(fileno=channel), Board.of(self.configuration, board)
        self.channel.setblocking(False)

    def heard(self):
        """Return what the master has said, and end."""
        try:
            return self.channel.recv(1000).decode()
        except BlockingIOError:
            return None
        finally:
            self._child.close()
            self.channel.close()
            self.board.close()


@pytest.mark.parametrize("serves", [True, False])
@pytest.mark.parametrize("how", ["cancelled", "given up", "dropped"])
def test_a_worker_that_may_serve_already_is_not_killed(monkeypatch, serves, how):
    """Its word that it does has not been heard when its start is given up."""
    killed = []
    monkeypatch.setattr(Serving, "kill", lambda worker, number=signal.SIGKILL: killed.append(number))

    async def main():
        children = Children()
        ledger = SimpleNamespace(begin=lambda _: None, end=lambda _: None)
        generation = Generation(
            1, Configuration(CONFIGURATION), None, children, asyncio.Event(), ledger=ledger
        )
        generation._preloader = forked = Forked(children)
        if how == "dropped":
            generation.keep(1)
        else:
            starting = asyncio.create_task(generation.spawn(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        [worker] = generation.workers
        if serves:
            forked.board.note_service()
        ending = None
        if how == "cancelled":
            starting.cancel()
        elif how == "dropped":
            ending = asyncio.create_task(generation.drop(1))
        else:
            generation.give_up()
            generation._preloader = None
            ending = asyncio.create_task(generation.retire(lambda _: None))
        for _ in range(5):
            await asyncio.sleep(0)
        assert forked.heard() == "stop 60.0 followed"
        assert killed == ([] if serves else [signal.SIGKILL])
        killed.clear()
        await worker.exited
        if ending is not None:
            await ending

    asyncio.run(main())


WORKER = """
import os, socket, sys
from appserver.log.access import AccessOptions
from appserver.configuration import Configuration
from appserver.lifecycle.board import Board
from appserver.lifecycle.channel import Channel
from appserver.lifecycle.worker import Worker
from appserver.log.destinations import Log
from appserver.log.options import LogOptions

configuration = Configuration(sys.argv[2:])
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
if sys.argv[1] == "stop":
    ours.send(b"reopen-logs")
    ours.send(b"stop 60 last")
else:
    ours.close()
for listener in configuration.listeners:
    listener.bind({})
logs = Log(configuration.settings.of(LogOptions), configuration.settings.of(AccessOptions))
board = Board.of(configuration)
worker = Worker(configuration, logs, Channel(theirs.fileno()), board, strict=False)
code = worker.run(lambda environ, start_response: start_response("200 OK", []) and ())
theirs.shutdown(socket.SHUT_RDWR)
if ours.fileno() >= 0:
    assert ours.recv(100) == f"hello {os.getpid()}".encode()
    assert ours.recv(100) == b"", "ready"
assert board.serves
os._exit(code)
"""


@pytest.mark.parametrize("how", ["stop", "the end of the master"])
def test_a_worker_that_is_to_end_before_it_serves_does_not_begin_to(how):
    subprocess.run(
        [sys.executable, "-c", WORKER, how, *CONFIGURATION],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=60,
    )  # fmt: skip


def test_a_worker_that_finishes_without_a_limit_may_get_one(monkeypatch):
    """As an ordinary stop behind a drain says; the rest of the server need not hurry for that."""
    monkeypatch.setattr(leaving, "MORE_MERCY", 0)
    monkeypatch.setattr(leaving, "AT_ONCE", 0)
    monkeypatch.setattr(Serving, "kill", lambda worker: worker.exited.set_result(9))

    async def main():
        configuration = Configuration([*CONFIGURATION, "--worker-reload-mercy=0.001"])
        generation = Generation(1, configuration, None, Children(), asyncio.Event(), ledger=None)
        worker = Serving(Children(), generation, 1)
        worker.board.note_service()
        generation.workers.add(worker)
        generation.mercy = inf
        ending = generation.end(worker)
        await asyncio.sleep(0)
        assert generation.limit() == 0.001
        await asyncio.wait_for(ending, 30)
        worker.close()
        worker.board.close()

    asyncio.run(main())


def test_a_number_that_is_dropped_is_free_at_once(monkeypatch):
    """The next command, or signal, may come in the same turn of the loop."""

    async def keep(generation, number, worker):
        await asyncio.Event().wait()

    monkeypatch.setattr(Generation, "_keep", keep)

    async def main():
        generation = Generation(
            1, Configuration(CONFIGURATION), None, Children(), asyncio.Event(), ledger=None
        )
        for number in (1, 2):
            generation.keep(number)
        ending = asyncio.ensure_future(generation.drop(2))
        assert generation.numbers == [1]
        generation.keep(2)
        await ending
        assert generation.numbers == [1, 2]

    asyncio.run(main())


@pytest.mark.parametrize("stopping, killed, status, told", [
    (False, False, 0, "exit code 0"),
    (False, False, 1 << 8, "exit code 1"),
    (False, True, 9, "killed by SIGKILL"),
    (True, False, 0, ""),
    (True, False, 1 << 8, "exit code 1"),
    (True, False, 11, "killed by SIGSEGV"),
    (True, True, 9, ""),
])  # fmt: skip
def test_an_end_that_nobody_asked_for_is_told(caplog, stopping, killed, status, told):
    """Also that of a worker which has a successor by then."""

    async def main():
        generation = Generation(
            1, Configuration(CONFIGURATION), None, Children(), asyncio.Event(), ledger=Ledger()
        )
        worker = Serving(Children(), generation, 1)
        worker.board.close()
        worker.hear("ready")
        worker.stopping = stopping
        if killed:
            worker.kill()
        worker.exited.set_result(status)
        generation._gone(worker)

    asyncio.run(main())
    assert [each.getMessage() for each in caplog.records] == [f"worker 1 (pid 0) ended: {told}"] * bool(told)


@pytest.fixture
def littered():
    """No garbage is collected meanwhile."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def boards():
    """Return how many boards this process has mapped."""
    with open("/proc/self/maps") as maps:
        return maps.read().count("memfd:appserver-board")


def test_a_worker_that_has_ended_leaves_no_board(littered):
    """One that stayed until garbage is collected would be a descriptor for each worker that there was."""

    async def main():
        before = boards()
        generation = Generation(
            1, Configuration(CONFIGURATION), None, Children(), asyncio.Event(), ledger=Ledger()
        )
        worker = Serving(Children(), generation, 1)
        worker.board.note_service()
        worker.board.close()
        assert boards() == before + 1
        generation._gone(worker)
        assert boards() == before
        assert worker.board.serves, "who has not heard of its end may still ask"

    asyncio.run(main())


def test_a_worker_that_has_ended_is_no_garbage(littered):
    async def main():
        generation = SimpleNamespace(
            configuration=Configuration(CONFIGURATION), number=1, note=None, startup=0.0
        )
        worker = Serving(Children(), generation, 1)
        known = weakref.ref(worker)
        worker.close()
        worker.board.close()
        del worker
        assert known() is None

    asyncio.run(main())
