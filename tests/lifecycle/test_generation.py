"""A worker as the master sees it."""

from __future__ import annotations

import asyncio
import signal
from types import SimpleNamespace

import pytest

from appserver.configuration import Configuration
from appserver.lifecycle.child import Children
from appserver.lifecycle.generation import Serving


def looks(*between, beats=()):
    """Return the signals that a worker gets from looks so many seconds apart; it shows life at those of *beats*."""
    configuration = Configuration(["--http", ":0", "--module", "x", "--master"])
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
