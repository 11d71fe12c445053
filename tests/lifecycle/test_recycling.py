"""Workers are replaced when they have served long enough, and only when their successor serves."""

from __future__ import annotations

import os
import signal

import pytest

from appserver.lifecycle.limits import Limits
from appserver.lifecycle.recycling import RecyclingOptions, megabytes
from appserver.memory import Memory, memory
from appserver.options import BadValue
from tests.support.fronts import poll


def limits(**options):
    return Limits(RecyclingOptions(**{"min_worker_lifetime": 0, **options}))


def test_no_limits():
    assert limits().reached(10**9, 10**9, os.getpid()) is None
    assert limits().exceeded(os.getpid()) is None


def test_requests():
    chosen = limits(max_requests=100, max_requests_delta=0)
    assert chosen.reached(99, 1, 0) is None
    assert chosen.reached(100, 1, 0) == "it has served 100 requests (max-requests = 100)"


def test_age():
    chosen = limits(max_worker_lifetime=60, max_worker_lifetime_delta=0)
    assert chosen.reached(0, 59.9, 0) is None
    assert chosen.reached(0, 60, 0) == "it has served for 60 s (max-worker-lifetime = 60)"


def test_memory():
    size = memory(os.getpid()).resident
    assert 1 << 20 < size < 1 << 40
    assert limits(reload_on_rss=size * 2).reached(0, 1, os.getpid()) is None
    assert "MB of memory (reload-on-rss = 1)" in limits(reload_on_rss=1 << 20).reached(0, 1, os.getpid())
    assert "(evil-reload-on-rss = 1)" in limits(evil_reload_on_rss=1 << 20).exceeded(os.getpid())
    assert memory(1 << 22) == Memory(0, 0)


def test_address_space():
    every = memory().every
    assert every > memory().resident
    assert limits(reload_on_as=every * 2).reached(0, 1, os.getpid()) is None
    told = limits(reload_on_as=1 << 20).reached(0, 1, os.getpid())
    assert "MB of address space (reload-on-as = 1)" in told
    assert "(evil-reload-on-as = 1)" in limits(evil_reload_on_as=1 << 20).exceeded(os.getpid())
    assert limits(evil_reload_on_as=every * 2, evil_reload_on_rss=every * 2).exceeded(os.getpid()) is None


def test_nobody_is_replaced_too_soon():
    chosen = limits(max_requests=1, max_requests_delta=0, min_worker_lifetime=10)
    assert chosen.reached(5, 9.9, 0) is None
    assert chosen.reached(5, 10, 0)


@pytest.mark.parametrize("delta, last", [(None, 1100), (50, 1050)])
def test_not_all_at_once(delta, last):
    """By default the limit is up to a tenth higher, by chance."""

    def limit():
        chosen = limits(max_requests=1000, max_requests_delta=delta)
        return next(count for count in range(900, 2000) if chosen.reached(count, 1, 0))

    found = {limit() for _ in range(50)}
    assert 1000 <= min(found) < max(found) <= last


def test_what_chance_adds_is_told(monkeypatch):
    monkeypatch.setattr("appserver.lifecycle.limits.randint", lambda _, most: most)
    chosen = limits(max_requests=10, max_requests_delta=3)
    assert chosen.reached(12, 10, 0) is None
    told = "it has served 13 requests (max-requests = 10 and 3 more by max-requests-delta)"
    assert chosen.reached(13, 10, 0) == told
    assert limits(max_requests=1, max_requests_delta=0).reached(1, 10, 0) == (
        "it has served 1 request (max-requests = 1)"
    )


@pytest.mark.parametrize("text, size", [("1", 1 << 20), ("0.5", 1 << 19), ("0", 0)])
def test_megabytes(text, size):
    assert megabytes(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1e12", "nan"])
def test_no_megabytes(text):
    with pytest.raises(BadValue):
        megabytes(text)


def test_a_worker_is_replaced_after_its_requests(site):
    site.configure(max_requests=5, max_requests_delta=0, min_worker_lifetime=0).start()
    before = site.told()["pid"]
    poll(lambda: site.told()["pid"] != before, "it is not replaced")
    site.wait_until(
        rf"worker 1 \(pid {before}\) is replaced: it has served \d+ requests \(max-requests = 5\)"
    )
    assert "ended:" not in site.log


def test_a_worker_is_replaced_when_it_is_too_large(site):
    site.configure(reload_on_rss=200, min_worker_lifetime=0).start()
    before = site.told()["pid"]
    site.told("/grow?200")
    poll(lambda: site.told()["pid"] != before, "it is not replaced")
    site.wait_until("is replaced: it has .* MB of memory")


def test_a_worker_is_killed_when_it_is_far_too_large(site):
    site.configure(evil_reload_on_rss=200).start()
    before = site.told()["pid"]
    site.begin("/grow?200")()
    site.wait_until("is killed: it has .* MB of memory")
    poll(lambda: site.begin("/")()[0] == 200 and site.told()["pid"] != before, "it is not replaced")


def test_the_old_worker_serves_until_the_new_one_does(site):
    gate = site.directory / "gate"
    gate.touch()
    site.app.write_text(
        site.app.read_text() + f"\nif not os.path.exists({str(gate)!r}):\n"
        f"    open({str(site.directory / 'waiting')!r}, 'w').close()\n"
        f"    while not os.path.exists({str(gate)!r}): time.sleep(0.005)\n"
    )
    site.configure(max_requests=3, min_worker_lifetime=0, lazy_apps="true").start()
    before = site.told()["pid"]
    gate.unlink()
    poll(lambda: (site.told(), (site.directory / "waiting").exists())[1], "no successor comes")
    assert {site.told()["pid"] for _ in range(10)} == {before}
    gate.touch()
    poll(lambda: site.told()["pid"] != before, "it is not replaced")


def test_a_worker_without_a_successor_waits_longer_and_longer_for_one(site):
    site.configure(max_requests=1, max_requests_delta=0, min_worker_lifetime=0, lazy_apps="true").start()
    text = site.app.read_text()
    before = site.told()["pid"]
    for tries in (1, 2):  # each success begins anew
        site.app.write_text("import no_such_module")
        poll(lambda: site.count("; the next try is in 0.4 s") == tries, "it is not tried again")  # noqa: B023
        assert site.count("has no successor: ") == 3 * tries
        assert site.count("; the next try is in 0.2 s") == tries
        assert site.told()["pid"] == before
        site.app.write_text(text)
        # Who leaves may answer once more behind its successor.
        before = poll(lambda: (pid := site.told()["pid"]) != before and pid, "it is not replaced")  # noqa: B023


def test_a_worker_that_has_asked_once_for_a_successor_gets_it_in_the_end(site):
    site.configure(lazy_apps="true").start()
    text = site.app.read_text()
    before = site.told()["pid"]
    site.app.write_text("import no_such_module")
    os.kill(before, signal.SIGTERM)
    site.wait_until(r"has no successor: .*; the next try is in 0\.2 s")
    assert site.told()["pid"] == before
    site.app.write_text(text)
    poll(lambda: site.told()["pid"] != before, "it is not replaced")


def test_a_worker_that_dies_without_a_successor_is_replaced_at_once(site):
    site.configure(max_requests=1, max_requests_delta=0, min_worker_lifetime=0, lazy_apps="true").start()
    text = site.app.read_text()
    site.app.write_text("import no_such_module")
    before = site.told()["pid"]
    site.wait_until(r"has no successor: .*; the next try is in 1\.6 s")
    site.app.write_text(text)
    os.kill(before, signal.SIGKILL)
    site.wait_until("ended: killed by SIGKILL")
    poll(lambda: site.count(") serves") == 2, "it is not replaced")
    assert "the next try" not in site.log.partition("ended: killed")[2]
