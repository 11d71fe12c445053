"""Programs beside the workers: kept, watched by their pid files, or run by the clock."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from itertools import count
from types import SimpleNamespace

import pytest

from appserver import clock as clocks
from appserver.clock import Clock
from appserver.configuration import Configuration
from appserver.lifecycle import programs
from appserver.lifecycle.child import Children
from appserver.lifecycle.options import command, scheduled, smart
from appserver.lifecycle.programs import Programs
from appserver.options import BadValue
from tests.lifecycle.conftest import Site
from tests.support.fronts import poll
from tests.support.wall import Ended, Wall, seconds


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pids(path):
    return [int(each) for each in path.read_text().split()] if path.exists() else []


def test_a_program_is_kept_and_ends_with_the_server(tmp_path):
    told = tmp_path / "pids"
    site = Site(tmp_path).configure(
        f"attach-daemon = echo $$ >> {told}; sleep 1000 & wait", attach_daemon="true"
    )
    site.ini.write_text(site.ini.read_text().replace("attach-daemon = true\n", ""))
    with site.start().server as server:
        [first] = poll(lambda: pids(told), "the program")
        os.killpg(first, signal.SIGKILL)
        _, second = poll(lambda: len(pids(told)) == 2 and pids(told), "the next one")
        server.wait_until(rf"\(pid {first}\) ended: killed by SIGKILL; started again in")
        assert lives(second)
        server.process.send_signal(signal.SIGHUP)
        server.wait_until("generation 2 serves|generation 1: .* has gone")
        assert lives(second)
        assert server.stop() == 0
    assert not lives(second)
    assert len(pids(told)) == 2


def test_programs_need_a_master():
    assert Configuration(["--http", ":0", "--module", "x", "--attach-daemon", "true"]).supervised


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs programs in a loop of their own until *done* returns something."""

    def run(arguments, done):
        async def main():
            children = Children()
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGCHLD, children.reap)
            mine = Programs(Configuration(arguments).settings, children)
            mine.start()
            try:
                while not (found := done()):  # noqa: ASYNC110  (files and processes tell nobody)
                    await asyncio.sleep(0.01)
                return found
            finally:
                await mine.stop()
                loop.remove_signal_handler(signal.SIGCHLD)

        return asyncio.run(asyncio.wait_for(main(), 30))

    return run


def test_a_program_with_a_pid_file_is_started_where_it_does_not_run(tmp_path, monkeypatch, run):
    monkeypatch.setattr(programs, "_LOOK", 0.01)
    told, pid = tmp_path / "told", tmp_path / "pid"
    text = f"{pid} sh -c 'echo x >> {told}; sleep 1000 & echo $! > {pid}'"
    assert run(
        [f"--smart-attach-daemon={text}"],
        lambda: pids(pid) and lives(pids(pid)[0]) and told.read_text() == "x\n",
    )
    [first] = pids(pid)
    os.kill(first, signal.SIGKILL)
    assert run(
        [f"--smart-attach-daemon={text}"],
        lambda: told.read_text() == "x\nx\n" and pids(pid) not in ([first], []),
    )
    os.kill(pids(pid)[0], signal.SIGKILL)


@pytest.mark.parametrize("option", ["attach-daemon=", "smart-attach-daemon=none ", "cron=-1 -1 -1 -1 -1 "])
def test_a_program_that_cannot_be_started_is_as_soon_as_it_can(tmp_path, monkeypatch, caplog, run, option):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(programs, "_LOOK", 0.01)
    monkeypatch.setattr(
        clocks, "time", SimpleNamespace(time=map(float, count(0, 59)).__next__, localtime=time.localtime)
    )
    fork, failures = os.fork, [OSError(11, "Try again"), OSError(12, "Too little memory")]

    def fails():
        if failures:
            raise failures.pop()
        return fork()

    monkeypatch.setattr(os, "fork", fails)
    assert run([f"--{option}echo >> told"], (tmp_path / "told").exists)
    for why in ("Try again", "Too little memory"):
        assert f"echo >> told: cannot start a process: {why}" in caplog.text


def test_a_program_ends_that_has_no_session_yet(tmp_path, monkeypatch, run):
    """Nothing hears of a signal to a group that is not there; the server would wait for the end of that."""

    def dawdle():
        (tmp_path / "begun").touch()
        signal.alarm(50)  # should nothing else end it
        signal.pause()

    monkeypatch.setattr(os, "setsid", dawdle)
    assert run(["--attach-daemon=true"], (tmp_path / "begun").exists)


def test_programs_end_when_nobody_reads_what_they_write(tmp_path, run):
    """The signals that Python ignores are no program's business."""
    told = tmp_path / "told"
    state = "grep ^SigIgn: /proc/self/status"
    run(
        [f"--attach-daemon={state} > {told}; sleep 1000"],
        lambda: told.exists() and told.read_text().endswith("\n"),
    )
    assert int(told.read_text().split()[1], 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0


def test_programs_have_the_applications_directory_and_variables(tmp_path, monkeypatch, run):
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path)
    told = tmp_path / "site" / "told"
    arguments = ["--chdir=site", "--env=SEEN=yes", "--unenv=HOME"]
    text = 'printf "%s\\n" "$(pwd) $SEEN ${HOME-none}" > new; mv new told; sleep 1000'
    expected = f"{tmp_path}/site yes none\n"
    assert (
        run([*arguments, f"--attach-daemon={text}"], lambda: told.exists() and told.read_text()) == expected
    )
    told.unlink()
    smart = f"--smart-attach-daemon=pid echo $$ > pid; {text}"
    assert run([*arguments, smart], lambda: told.exists() and told.read_text()) == expected


@pytest.mark.parametrize("unique", [False, True])
def test_commands_run_by_the_clock(tmp_path, monkeypatch, caplog, run, unique):
    # The next minute is always near.
    monkeypatch.setattr(
        clocks, "time", SimpleNamespace(time=map(float, count(0, 59)).__next__, localtime=time.localtime)
    )
    told = tmp_path / "told"
    option = "unique-cron" if unique else "cron"
    wait = "sleep 1000" if unique else "true"
    arguments = [
        f"--{option}=-1 -1 -1 -1 -1 echo $$ >> {told}; {wait}",
        f"--{option}=-1 -1 -1 13 -1 touch {tmp_path}/never",
    ]
    if unique:
        run(arguments, lambda: "it still runs" in caplog.text)
        assert len(pids(told)) <= 1
    else:
        run(arguments, lambda: len(pids(told)) > 2)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("minute, times", [(7, ["10:07"]), (-1, ["10:06", "10:07", "10:08", "10:09"])])
def test_the_clock_runs_a_command_in_its_minute(monkeypatch, minute, times):
    wall = Wall("2026-03-01 10:05:30", "2026-03-01 10:08:30")
    for module in (programs, clocks):
        monkeypatch.setattr(module, "time", wall)
    ran = []

    async def main():
        ended = asyncio.get_running_loop().create_future()
        ended.set_result(0)
        mine = Programs(Configuration(["--http", ":0", "--module", "x"]).settings, Children())
        monkeypatch.setattr(mine, "_run", lambda _: ran.append(wall.now) or SimpleNamespace(exited=ended))
        monkeypatch.setattr(asyncio, "sleep", sleep)
        await mine._schedule(Clock(minute, -1, -1, -1, -1), "x", unique=False)

    async def sleep(length):
        wall.sleep(length)

    with pytest.raises(Ended):
        asyncio.run(main())
    assert ran == [seconds(f"2026-03-01 {each}:00") for each in times]


def test_values():
    assert scheduled("0 3 -1 -5 7  do this ; and that") == (Clock(0, 3, -1, -5, 7), "do this ; and that")
    assert smart(" /run/x.pid  x -d ") == ("/run/x.pid", "x -d")
    assert command(" a b ") == "a b"


@pytest.mark.parametrize("text", ["", "1 2 3 4 5", "1 2 3 4 x y", "* * * * * x", "x"])
def test_bad_times(text):
    with pytest.raises(BadValue, match=r"^minute hour day month weekday command"):
        scheduled(text)


@pytest.mark.parametrize("convert, text", [(smart, ""), (smart, "/run/x.pid"), (command, " ")])
def test_bad_commands(convert, text):
    with pytest.raises(BadValue):
        convert(text)
