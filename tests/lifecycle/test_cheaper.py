"""The number of workers follows the load."""

from __future__ import annotations

import signal

import pytest

from appserver.lifecycle.cheaper import Cheaper, CheaperOptions
from tests.support.fronts import poll


def cheaper(most=4, **options):
    return Cheaper(CheaperOptions(**options), most)


def test_without_cheaper_there_are_always_all():
    chosen = cheaper()
    assert (chosen.wanted, chosen.scales) == (4, False)


def test_it_begins_with_few():
    assert cheaper(cheaper=1).wanted == 1
    assert cheaper(cheaper=1, cheaper_initial=3).wanted == 3
    assert cheaper(cheaper=1, cheaper_initial=9).wanted == 4


def test_overload_adds_workers_up_to_all():
    chosen = cheaper(cheaper=1, cheaper_overload=3, cheaper_step=2)
    looks = [(0, 1), (2.9, 1), (3, 3), (4, 3), (6, 4), (9, 4)]
    for now, wanted in looks:
        assert chosen.look(now, serving=chosen.wanted, idle=0) == wanted


def test_one_idle_worker_is_enough():
    chosen = cheaper(cheaper=1)
    chosen.look(0, serving=1, idle=0)
    chosen.look(2, serving=1, idle=1)
    assert chosen.look(4, serving=1, idle=0) == 1


def test_spare_workers_are_ended_one_by_one():
    chosen = cheaper(cheaper=1, cheaper_initial=4, cheaper_idle=10)
    for now, wanted in [(0, 4), (9, 4), (10, 3), (19, 3), (20, 2), (30, 1), (40, 1)]:
        assert chosen.look(now, serving=4, idle=2) == wanted


@pytest.mark.parametrize("options", [{}, {"cheaper": 2}])
def test_by_hand(options):
    chosen = cheaper(**options)
    chosen.set(7)
    assert (chosen.wanted, chosen.most) == (7, 7)
    chosen.set(0)
    assert chosen.wanted == 1


def test_workers_come_under_load_and_go(site):
    site.configure(processes=3, cheaper=1, cheaper_overload="0.2", cheaper_idle="0.5").start()
    assert site.count(") serves") == 1
    held = site.hold("a")
    site.wait_until("worker 2 is added: 2 are wanted")
    site.wait_until(r"worker 2 \(pid \d+\) serves")
    site.release("a")
    assert held()[0] == 200
    site.wait_until("worker 2 leaves: 1 are wanted")


def test_one_more_and_one_less_by_signals(site):
    site.configure(processes=2).start()
    site.server.process.send_signal(signal.SIGTTIN)
    site.wait_until("3 workers are wanted")
    assert len(site.pids(3)) == 3
    for wanted in (2, 1, 1):
        site.server.process.send_signal(signal.SIGTTOU)
        poll(lambda: site.count(f"{wanted} workers are wanted") >= 1, "it does not shrink")  # noqa: B023
    poll(lambda: len({site.told()["pid"] for _ in range(5)}) == 1, "they do not leave")
