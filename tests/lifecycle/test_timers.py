"""Timers of the application's: they outlive workers, and are of one process at a time."""

from __future__ import annotations

import os
import signal

import pytest

from tests.lifecycle.conftest import alive
from tests.support.fronts import poll

TIMERS = """
import uwsgi
from uwsgidecorators import timer

@timer(0.02)
def tick(number):
    with open(os.path.join(HERE, "ticks"), "a") as file:
        file.write(f"{os.getpid()}\\n")

def once(number):
    with open(os.path.join(HERE, "once"), "a") as file:
        file.write(f"{os.getpid()}\\n")

uwsgi.register_signal(7, "", once)
uwsgi.add_rb_timer(7, 0.01, 1)
"""


@pytest.fixture
def ticking(site):
    with site.app.open("a") as file:
        file.write(TIMERS)
    yield site
    site.release()


def lines(site, name):
    path = site.directory / name
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize("options", [{}, {"lazy_apps": "true"}, {"gevent": 4}])
def test_a_worker_that_finishes_a_request_leaves_timers_to_its_successor(ticking, options):
    site = ticking.configure(**options).start()
    poll(lambda: lines(site, "ticks") and lines(site, "once"), "nothing ticks")
    [old] = set(lines(site, "ticks"))
    finish = site.hold()
    site.server.process.send_signal(signal.SIGHUP)
    site.wait_until("generation 2 serves")
    poll(lambda: old not in lines(site, "ticks")[-30:], "the old worker still ticks")
    [new] = set(lines(site, "ticks")[-30:])
    assert alive(old)
    assert lines(site, "once") == [old, new]  # once in each generation
    site.release()
    assert finish()[0] == 200


@pytest.mark.parametrize("options", [{}, {"lazy_apps": "true"}])
def test_what_ticks_once_is_not_run_by_the_next_worker(ticking, options):
    site = ticking.configure(**options).start()
    poll(lambda: lines(site, "ticks") and lines(site, "once"), "nothing ticks")
    [first] = lines(site, "once")
    os.kill(first, signal.SIGKILL)
    poll(lambda: len({*lines(site, "ticks")[-10:]} - {first}) == 1, "its successor does not tick")
    poll(lambda: first not in lines(site, "ticks")[-10:], "its successor does not tick")
    assert lines(site, "once") == [first]
