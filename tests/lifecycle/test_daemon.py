"""Daemons: what the terminal is told, and what the background process has left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from appserver.lifecycle.daemon import DaemonOptions, daemonize, log_file
from appserver.lifecycle.error import StartError
from appserver.options import BadValue
from tests.support.fronts import poll

BACKGROUND = """
import json, os, sys
from appserver.lifecycle.daemon import DaemonOptions, daemonize
print("before", end="")
options = DaemonOptions(daemonize="log")
daemon = daemonize(options)
os.chdir("/")
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that runs code in a daemon, and its exit code, stdout and stderr."""

    def run(code):
        done = subprocess.run(
            [sys.executable, "-c", BACKGROUND + code], cwd=tmp_path, capture_output=True, text=True, timeout=30
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_daemon_that_is_ready_lets_the_terminal_go(run, tmp_path):
    (tmp_path / "log").write_text("earlier\n")
    assert run("print('inside', flush=True); print('why', file=sys.stderr); daemon.ready()") == (
        0,
        "before",
        "",
    )
    assert (tmp_path / "log").read_text() == "earlier\ninside\nwhy\n"


def test_a_daemon_that_fails_says_so_in_the_terminal(run):
    assert run("daemon.failed('no application\\nat all')") == (
        1, "before", "appserver: no application\nappserver: at all\n",
    )  # fmt: skip


def test_a_long_reason_is_told_whole(run):
    code, _, says = run("daemon.failed('x' * 1000000)")
    assert (code, len(says)) == (1, len("appserver: \n") + 1000000)


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)", "daemon.failed('')", "1/0"])
def test_a_daemon_that_dies_is_noticed(run, tmp_path, end):
    code, _, says = run(end)
    assert code == 1
    assert says in {
        "appserver: the server ended while it started; its log log may tell why\n",
        "appserver: no reason given\n",
    }
    assert ("ZeroDivisionError" in (tmp_path / "log").read_text()) == (end == "1/0")


def test_children_that_close_it_do_not_keep_the_terminal_waiting(run):
    code = """
read, write = os.pipe()
if not os.fork():
    daemon.close()
    os.close(write)
    os.read(read, 1)
    os._exit(0)
os._exit(1)
"""
    assert run(code)[0] == 1


def test_what_is_told_twice_counts_once(run):
    assert run("daemon.ready(); daemon.failed('late'); daemon.close(); daemon.ready()") == (0, "before", "")


def test_the_daemon_has_a_session_but_no_terminal(run, tmp_path):
    code, _, says = run(
        f"ours = {os.getsid(0)}\n"
        "daemon.failed(json.dumps([os.getsid(0) == os.getpid(), os.getsid(0) == ours,"
        " [os.readlink(f'/proc/self/fd/{fd}') for fd in (0, 1, 2)],"
        " sorted(int(fd) for fd in os.listdir('/proc/self/fd'))]))"
    )
    assert code == 1
    log = f"{tmp_path}/log"
    leads, ours, names, fds = json.loads(says.removeprefix("appserver: "))
    assert (leads, ours, names) == (False, False, ["/dev/null", log, log])
    assert len(fds) == 5  # the way to the terminal, and the listing itself


def test_the_log_is_opened_anew_under_its_path(run, tmp_path):
    code = f"""
os.rename({str(tmp_path / "log")!r}, {str(tmp_path / "log.1")!r})
print("old", flush=True)
daemon.reopen()
print("new", flush=True)
daemon.ready()
"""
    assert run(code)[0] == 0
    assert [(tmp_path / name).read_text() for name in ("log.1", "log")] == ["old\n", "new\n"]


def test_a_log_that_cannot_be_opened_anew_is_kept(run, tmp_path):
    code = f"""
os.rename({str(tmp_path)!r}, {str(tmp_path) + ".old"!r})
try:
    daemon.reopen()
except FileNotFoundError:
    print("kept", flush=True)
daemon.ready()
"""
    try:
        assert run(code)[0] == 0
    finally:
        os.rename(f"{tmp_path}.old", tmp_path)
    assert (tmp_path / "log").read_text() == "kept\n"


def test_the_log_is_moved_away_when_it_is_full(run, tmp_path):
    code = f"""
print("12345678", flush=True)
assert not daemon.rotate(10, "")
print("0", flush=True)
assert daemon.rotate(10, {str(tmp_path / "old")!r})
print("new", flush=True)
daemon.ready()
"""
    assert run(code)[0] == 0
    assert [(tmp_path / name).read_text() for name in ("old", "log")] == ["12345678\n0\n", "new\n"]


@pytest.mark.parametrize("chmod, mode", [(None, 0o640), (0o606, 0o606)])
def test_the_log_has_the_permissions_of_log_files(tmp_path, chmod, mode):
    """Also where there is one: uWSGI gives it these, too."""
    code = BACKGROUND.replace("(options)", f"(options, {chmod})")
    code += "os.rename(daemon.path, daemon.path + '.1')\ndaemon.reopen()\ndaemon.ready()\n"
    log = tmp_path / "log"
    if chmod:
        log.touch(0o600)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=30, check=True)
    assert [path.stat().st_mode & 0o777 for path in (log, tmp_path / "log.1")] == [mode, mode]


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("there", [False, True])
def test_a_new_log_is_given_to_whom_the_workers_are(tmp_path, there):
    """A master that stays root begins one, and they have to open it."""
    log, old = tmp_path / "log", tmp_path / "old"
    if there:
        log.touch(0o640)
    code = BACKGROUND.replace("(options)", "(options, None, (1234, 2345))")
    code += f"print('a line', flush=True)\ndaemon.rotate(1, {str(old)!r})\ndaemon.ready()\n"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=30, check=True)
    owners = [(status.st_uid, status.st_gid, status.st_mode & 0o777) for status in (log.stat(), old.stat())]
    assert owners == [(1234, 2345, 0o640), (0, 0, 0o640) if there else (1234, 2345, 0o640)]


def test_who_interrupts_the_waiting_is_told_that_the_server_goes_on(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    code = f"{BACKGROUND}with open({str(tmp_path / 'fifo')!r}) as file:\n    file.read()\ndaemon.ready()\nprint('up')"
    with (
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as waiting,
        open(tmp_path / "fifo", "w"),
    ):  # when it opens, the daemon is there
        waiting.send_signal(signal.SIGINT)
        said = waiting.stderr.read()
        assert waiting.wait() == 130
    assert said == "appserver: no longer waiting; the server goes on starting, and its log is log\n"


@pytest.mark.parametrize("option", ["daemonize", "daemonize2"])
def test_a_log_that_cannot_be_opened_is_told_in_the_foreground(tmp_path, option):
    path = f"{tmp_path}/absent/log"
    with pytest.raises(StartError) as caught:
        daemonize(DaemonOptions(**{option: path}))
    assert str(caught.value) == f"the log cannot be opened: No such file or directory: {path}"
    assert (caught.value.option, caught.value.value) == (option, path)


FAILING = """
fork, calls = os.fork, []

def fail():
    calls.append(1)
    if len(calls) == NUMBER:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()

os.fork = fail
try:
    daemonize(options)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize("number", [1, 2])
def test_where_no_process_can_be_started_it_is_told_in_the_foreground(tmp_path, number):
    code = BACKGROUND.partition("daemon = ")[0] + FAILING.replace("NUMBER", str(number))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    told = "StartError: cannot start a process: Resource temporarily unavailable; raise their limit"
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == 1
    assert done.returncode == 1


def test_root_follows_no_link_of_another_user(tmp_path, monkeypatch):
    log, precious = tmp_path / "log", tmp_path / "precious"
    log.symlink_to(precious)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if os.getuid() == 0:
        os.chown(log, 1234, 1234, follow_symlinks=False)
    with pytest.raises(StartError, match="the log cannot be opened: a link of user"):
        daemonize(DaemonOptions(daemonize=str(log)))
    assert not precious.exists()


@pytest.mark.parametrize("text", ["127.0.0.1:1717", ":1717", "logs.example.org:1717"])
def test_udp_is_refused(text):
    with pytest.raises(BadValue, match="instead of UDP use logger = zeromq:ENDPOINT"):
        log_file(text)


@pytest.mark.parametrize("closed", [">&- 2>&-", "2>&-", "<&- >&- 2>&-"])
def test_the_log_is_written_also_where_the_terminals_streams_are_closed(tmp_path, closed):
    (tmp_path / "hello.py").write_text("print('printed', flush=True)\napplication = print\n")
    server = f"{sys.executable} -m appserver --http 127.0.0.1:0 --module hello --warm-up none"
    daemon = f"{server} --daemonize log --safe-pidfile pid {closed}"
    subprocess.run(daemon, shell=True, cwd=tmp_path, stdout=subprocess.DEVNULL, timeout=30, check=True)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    poll(lambda: not (tmp_path / "pid").exists(), "it does not end")
    log = (tmp_path / "log").read_text()
    for each in ("INFO ready\n", "INFO SIGTERM: stop\n", "INFO stopped\n", "printed\n"):
        assert each in log


@pytest.mark.parametrize("text", ["/var/log/site.log", "site.log", "a:1/b", "a:b"])
def test_files(text):
    assert log_file(text) == text


def test_no_file_is_refused():
    with pytest.raises(BadValue):
        log_file("")
