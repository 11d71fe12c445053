"""The locks of ``uwsgi.lock`` are those of all workers, of whatever generation."""

from __future__ import annotations

import json
import signal

import pytest

from tests.compat.test_locks import APP
from tests.lifecycle.test_stats import read
from tests.support.fronts import poll


@pytest.fixture
def locking(site):
    site.app.write_text(APP)
    (site.directory / "count").write_text("0")

    def start(**options):
        site.configure(locks=2, stats="127.0.0.1:0", warm_up="none", **options).start()
        return site

    return start


def holders(site):
    address = site.wait_until(r"statistics: (\S+)$")[1]
    return json.loads(read(address))["locks"]


@pytest.mark.parametrize("options", [{}, {"lazy_apps": "true"}, {"gevent": 5}, {"threads": 3}])
def test_workers_exclude_each_other(locking, options):
    site = locking(processes=2, chdir="%d", **options)
    begun = [site.begin("/count") for _ in range(6)]
    assert [finish()[0] for finish in begun] == [200] * 6
    assert (site.directory / "count").read_text() == "300"


def test_a_worker_that_dies_leaves_nothing_locked(locking):
    site = locking(processes=2)
    assert site.begin("/die")()[0] == 0
    poll(lambda: site.get("/")[1].endswith(b"False"), "it is still locked")
    assert holders(site) == [{"user 0": 0}, {"user 1": 0}, {"user 2": 0}]


def test_the_next_generation_has_the_same(locking):
    site = locking()
    finish = site.begin("/lock")
    poll((site.directory / "locked").exists, "it is not locked")
    [pid] = [pid for each in holders(site) for pid in each.values() if pid]
    site.server.process.send_signal(signal.SIGHUP)
    site.wait_until("generation 2 serves")
    assert site.get("/")[1] == b"1 True"
    assert holders(site)[2] == {"user 2": pid}
    (site.directory / "released").touch()
    assert finish()[0] == 200
    assert site.get("/")[1] == b"1 False"


def test_threads_without_a_master(locking):
    site = locking(master="false", threads=3)
    begun = [site.begin("/count") for _ in range(4)]
    assert [finish()[0] for finish in begun] == [200] * 4
    assert (site.directory / "count").read_text() == "200"
