"""The number of workers follows the load."""

from __future__ import annotations

import os
import signal

import pytest

from appserver.lifecycle.cheaper import Cheaper, CheaperOptions
from appserver.lifecycle.commands import wanted_workers
from tests.lifecycle.conftest import children
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


@pytest.mark.parametrize("most, options, wanted, bounds", [
    (4, {"cheaper": 1}, 3, (1, 4)),  # the same
    (2, {"cheaper": 1}, 2, (1, 2)),
    (8, {"cheaper": 4, "cheaper_initial": 6}, 4, (4, 8)),
    (6, {}, 6, (6, 6)),
])  # fmt: skip
def test_a_reload_goes_on_with_as_many_within_the_bounds(most, options, wanted, bounds):
    before, after = cheaper(cheaper=1), cheaper(most, **options)
    for now in (0, 3, 6):
        before.look(now, serving=1, idle=0)
    after.follow(before)
    assert (after.wanted, (after.least, after.most)) == (wanted, bounds)


def test_a_reload_keeps_what_was_set_by_hand_while_the_options_stay():
    before, same, other = cheaper(2), cheaper(2), cheaper(3)
    before.set(5)
    same.follow(before)
    other.follow(before)
    assert (same.wanted, same.least, same.most) == (5, 5, 5)
    assert (other.wanted, other.least, other.most) == (3, 3, 3)


def test_a_reload_keeps_the_workers_that_the_load_has_asked_for(site):
    site.configure(processes=3, cheaper=1, cheaper_overload="0.2", cheaper_idle=1000).start()
    held = site.hold("a")
    site.wait_until(r"worker 2 \(pid \d+\) serves")
    site.release("a")
    assert held()[0] == 200
    site.server.process.send_signal(signal.SIGHUP)
    site.wait_until("generation 2 serves")
    assert site.count("generation 2: worker 2 ") == 1


@pytest.mark.parametrize("number, workers", [(signal.SIGTTIN, 3), (signal.SIGTTOU, 1)])
def test_what_is_set_while_the_first_generation_loads_holds_for_it(site, number, workers):
    gate = site.directory / "gate"
    os.mkfifo(gate)
    site.app.write_text(f"open({str(gate)!r}).read()\n{site.app.read_text()}")
    site.configure(processes=2).launch()
    with gate.open("w"):  # it is open when the application has come to it
        site.server.process.send_signal(number)
        site.wait_until(f"INFO {wanted_workers(workers)}")
    site.server.start()
    poll(lambda: len(children(site.server.process.pid)) == workers + 1, "there are others")
    assert len(site.pids(workers)) == workers


@pytest.mark.parametrize("number, workers", [(signal.SIGTTIN, 3), (signal.SIGTTOU, 1)])
def test_what_is_set_while_a_reload_goes_on_holds_for_it(site, number, workers):
    gate = site.directory / "gate"
    os.mkfifo(gate)
    site.configure(processes=2).start()
    site.app.write_text(f"open({str(gate)!r}).read()\n{site.app.read_text()}")
    site.server.process.send_signal(signal.SIGHUP)
    with gate.open("w"):  # it is open when the application has come to it
        site.server.process.send_signal(number)
        site.wait_until(f"INFO {wanted_workers(workers)}")
    site.wait_until("generation 2 has taken over")
    poll(lambda: len(children(site.server.process.pid)) == workers + 1, "there are others")
    assert len(site.pids(workers)) == workers


@pytest.mark.parametrize("more", [{}, {"gevent": 100}, {"threads": 4}], ids=["one", "gevent", "threads"])
def test_workers_come_under_load_and_go(site, more):
    """Also where cores are free: one request may take all of the time that a loop has."""
    site.configure(processes=3, cheaper=1, cheaper_overload="0.2", cheaper_idle="0.5", **more).start()
    assert site.count(") serves") == 1
    held = site.hold("a")
    site.wait_until("worker 2 is added: 2 workers are wanted")
    site.wait_until(r"worker 2 \(pid \d+\) serves")
    site.release("a")
    assert held()[0] == 200
    site.wait_until("worker 2 leaves: 1 worker is wanted")


def test_one_more_and_one_less_by_signals(site):
    site.configure(processes=2).start()
    site.server.process.send_signal(signal.SIGTTIN)
    site.wait_until("3 workers are wanted")
    assert len(site.pids(3)) == 3
    for workers in (2, 1, 1):
        site.server.process.send_signal(signal.SIGTTOU)
        poll(lambda: site.count(wanted_workers(workers)) >= 1, "it does not shrink")  # noqa: B023
    poll(lambda: len({site.told()["pid"] for _ in range(5)}) == 1, "they do not leave")
