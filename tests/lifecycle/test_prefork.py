"""Workers come and go; what happens in one costs only what it has in hand."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.lifecycle.conftest import alive, children, refused
from tests.support.fronts import poll


def test_workers_are_the_masters_own_children(site):
    site.configure(processes=2).start()
    master = site.server.process.pid
    told = [site.told() for _ in range(3)]
    assert {each["parent"] for each in told} == {master}
    assert all(each["multiprocess"] for each in told)
    assert not any(each["multithread"] for each in told)
    assert site.pids(2) < set(children(master))


def test_one_worker_under_a_master(site):
    site.configure().start()
    told = site.told()
    assert told["parent"] == site.server.process.pid
    assert told["multiprocess"] is False


def test_the_application_is_loaded_once_and_not_in_the_master(site):
    site.configure(processes=3).start()
    [preloader] = site.imported()
    assert preloader not in site.pids(3) | {site.server.process.pid}


def test_lazy_apps_are_loaded_in_each_worker(site):
    site.configure(processes=3, lazy_apps="true").start()
    assert set(site.imported()) == site.pids(3)


@pytest.mark.parametrize("option", ["max-requests = 5000", "cheaper = 1", "harakiri = 60"])
def test_what_needs_a_master_has_one(site, option):
    site.configure(option, master="false").start()
    assert site.told()["parent"] == site.server.process.pid


@pytest.mark.parametrize(
    "how, end", [("_exit", "exit code 3"), ("segfault", "killed by SIGSEGV"), ("kill", "killed by SIGKILL")]
)
def test_a_worker_that_dies_is_replaced(site, how, end):
    site.configure(processes=2).start()
    before = site.pids(2)
    status, _ = site.begin(f"/die?{how}")()
    assert status == 0  # the connection breaks
    site.wait_until(rf"worker \d \(pid \d+\) ended: {end}")
    assert poll(lambda: len(site.pids(2) - before) == 1, "it is not replaced")
    if how == "segfault":
        assert "Fatal Python error: Segmentation fault" in site.log


@pytest.mark.parametrize("how", ["exit", "memory", "recursion"])
def test_what_an_application_raises_ends_no_worker(site, how):
    site.configure().start()
    before = site.told()["pid"]
    status, body = site.get(f"/die?{how}")
    assert (status, body) == (500, b"Internal Server Error\n")
    assert site.told()["pid"] == before


def test_an_interrupt_inside_a_worker_is_ignored(site):
    site.configure().start()
    assert site.told("/die?interrupt")["pid"] == site.told()["pid"]


def test_a_worker_that_is_told_to_end_is_replaced_first(site):
    site.configure().start()
    before = site.told()["pid"]
    finish = site.hold()
    os.kill(before, signal.SIGTERM)
    site.release()
    assert finish()[0] == 200
    poll(lambda: not alive(before), "it goes on")
    assert site.told()["pid"] != before


def test_requests_in_other_workers_are_not_touched(site):
    site.configure(processes=2).start()
    finish = site.hold()
    [other] = {site.told()["pid"] for _ in range(5)}
    os.kill(other, signal.SIGKILL)
    site.wait_until("killed by SIGKILL")
    site.release()
    assert finish()[0] == 200


def test_a_crash_loop_backs_off(site):
    site.configure().start()
    for number in range(1, 4):
        pid = site.told()["pid"]
        os.kill(pid, signal.SIGKILL)
        site.wait_for("killed by SIGKILL", number)
        poll(lambda: site.count(") serves") > number, "it is not replaced")  # noqa: B023
    site.wait_until(r"worker 1: the next try is in 0\.2 s")
    site.wait_until(r"worker 1: the next try is in 0\.4 s")


def test_the_preloader_is_replaced_when_it_is_needed(site):
    site.configure().start()
    [preloader] = site.imported()
    os.kill(preloader, signal.SIGKILL)
    before = site.told()["pid"]
    os.kill(before, signal.SIGKILL)
    site.wait_until(r"worker 1 \(pid \d+\) serves$")
    assert site.told()["pid"] != before
    assert len(site.imported()) == 2


@pytest.mark.parametrize(
    "code, reason",
    [
        ("raise RuntimeError('no database')", "RuntimeError: no database"),
        ("def broken(", "SyntaxError"),
        ("import os; os._exit(9)", "the process that loads the application ended: exit code 9"),
        ("import sys; sys.exit(9)", "SystemExit: 9"),
        ("application = 3", "is int, which cannot be called"),
    ],
)
@pytest.mark.parametrize("lazy", ["true", "false"])
def test_an_application_that_cannot_be_loaded_ends_the_start(site, code, reason, lazy):
    site.app.write_text(code)
    site.configure(processes=2, lazy_apps=lazy).launch()
    assert site.server.process.wait(30) == 1
    site.wait_until(r"ERROR .*" + (r"exit code 9" if "_exit" in code else reason))
    assert "ready" not in site.log


def test_threads_that_a_fork_does_not_take_along_are_told(site):
    site.app.write_text(
        site.app.read_text() + "\nimport threading\n"
        "threading.Thread(target=threading.Event().wait, name='telemetry', daemon=True).start()\n"
    )
    site.configure().start()
    site.wait_until("WARNING the application has started threads .* telemetry; set lazy-apps = true")


def test_strangers_children_are_reaped(site):
    site.configure().start()
    master = site.server.process.pid
    before = set(children(master))
    for _ in range(5):
        site.told("/orphan")
    poll(lambda: set(children(master)) == before, "zombies are left")


def test_workers_end_with_their_master(site):
    site.configure(processes=2).start()
    pids = site.pids(2) | set(site.imported())
    site.server.process.kill()
    poll(lambda: not any(alive(pid) for pid in pids), "workers outlive their master")
    assert refused(site.address)


def test_a_worker_without_a_master_finishes_what_it_has_in_hand(site):
    site.configure().start()
    finish = site.hold()
    site.server.process.kill()
    site.server.process.wait()
    site.release()
    assert finish()[0] == 200


@pytest.mark.parametrize("kind", ["threads", "gevent"])
def test_calls_at_once_and_processes_together(site, kind):
    site.configure(processes=2, **{kind: 4}).start()
    finishers = [site.hold(f"h{number}") for number in range(4)]  # whichever worker takes them
    for number in range(4):
        site.release(f"h{number}")
    told = [finish() for finish in finishers]
    assert [status for status, _ in told] == [200] * 4
    assert all(body["multithread"] and body["multiprocess"] for _, body in told)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="wants root and unshare")
def test_as_process_1_of_a_container(site):
    """It reaps whatever is left to it, and SIGTERM, which nobody else would take, stops it."""
    site.configure(processes=2)
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
         sys.executable, "-m", "appserver", "--ini", str(site.ini), "--pidfile", "pid"],
        cwd=site.directory, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        log = ""
        while "ready" not in log:
            line = process.stderr.readline()
            assert line, log
            log += line
        [inside] = children(process.pid)
        os.kill(inside, signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(30) == 0
        assert rest.rstrip().endswith("stopped")
        assert "is replaced" not in rest
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
