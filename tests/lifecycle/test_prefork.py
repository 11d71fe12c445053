"""Workers come and go; what happens in one costs only what it has in hand."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from appserver.address import name_of
from appserver.lifecycle.inherited import connections
from tests.lifecycle.conftest import alive, children, refused, without_descriptors
from tests.support.clients import Mongrel2Client
from tests.support.fronts import poll
from tests.support.server import Server
from tests.support.simulated import Mongrel2


def test_workers_are_the_masters_own_children(site):
    site.configure(processes=2).start()
    master = site.server.process.pid
    told = [site.told() for _ in range(3)]
    assert {each["parent"] for each in told} == {master}
    assert all(each["multiprocess"] for each in told)
    assert not any(each["multithread"] for each in told)
    assert site.pids(2) < set(children(master))


def test_processes_have_titles(site):
    site.configure(processes=2).start()
    master = site.server.process.pid
    titles = [Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0") for pid in (master, *children(master))]
    assert sorted(titles) == [
        f"appserver: {role} {site.ini}"
        for role in (
            "master",
            "preloader (generation 1)",
            "worker 1 (generation 1)",
            "worker 2 (generation 1)",
        )
    ]


MASTER = """
import sys
from appserver.cli import main
code = main(sys.argv[1:])
from gevent import _hub_local, monkey
hub = _hub_local.get_hub_if_exists()
print("the master:", code, hub, monkey.is_module_patched("socket"), "app" in sys.modules, file=sys.stderr)
"""


def test_the_master_has_no_gevent_no_application_and_no_threads(site):
    site.configure(processes=2, gevent=10, threads=1)
    process = subprocess.Popen(
        [sys.executable, "-c", MASTER, "--ini", str(site.ini)], cwd=site.directory,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert any(line.endswith("INFO ready\n") for line in iter(process.stderr.readline, ""))
        assert len(os.listdir(f"/proc/{process.pid}/task")) == 1
        process.terminate()
        assert process.stderr.read().endswith("the master: 0 None False False\n")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_an_application_may_use_gevents_loop_while_it_is_loaded(site):
    """Workers have a hub of their own: one that was forked would share its epoll with all others."""
    text = "import gevent\ngevent.sleep(0.001)\ngevent.spawn(gevent.sleep, 0.001).join()\n"
    site.app.write_text(text + site.app.read_text())
    site.configure(processes=2, gevent=10).start()
    finishers = [site.hold(f"h{number}") for number in range(4)]
    for number in range(4):
        site.release(f"h{number}")
    assert [finish()[0] for finish in finishers] == [200] * 4
    assert len(site.pids(2)) == 2


def test_every_thread_of_every_process_subscribes(site):
    """uWSGI's -p 4 --threads 8 with ZeroMQ alone: 32 subscriptions, of which each has its own name."""
    front = Mongrel2(f"ipc://{site.directory}/send", f"ipc://{site.directory}/recv")
    try:
        site.server = Server(
            "-p",
            4,
            "--threads",
            8,
            "--zeromq",
            front.specs,
            "--zeromq-dispatch",
            "worker",
            "--module",
            "app",
            cwd=site.directory,
        )
        site.server.start()
        front.wait_for_peers(32, 4)
        site.wait_for(": subscribed as ", 32)
        assert (
            len(set(re.findall(r": subscribed as (appserver-\d+-thread-\d)$", site.log, re.MULTILINE))) == 32
        )
        assert "4 processes, each: 8 threads, each subscribed by itself" in site.log
        clients = [Mongrel2Client(front) for _ in range(32)]
        for number, client in enumerate(clients):
            client.send("GET", f"/hold?m{number}")
        for number in range(32):  # all at once, as each blocks its thread
            poll((site.directory / f"m{number}.held").exists, "the request does not run")
        for number, client in enumerate(clients):
            site.release(f"m{number}")
            assert client.receive().status == 200
        assert site.server.stop() == 0
    finally:
        front.close()


def test_one_worker_under_a_master(site):
    site.configure().start()
    told = site.told()
    assert told["parent"] == site.server.process.pid
    assert told["multiprocess"] is False


def test_the_application_is_loaded_once_and_not_in_the_master(site):
    site.configure(processes=3).start()
    [preloader] = site.imported()
    assert preloader not in site.pids(3) | {site.server.process.pid}


@pytest.mark.parametrize("lazy", ["false", "true"])
@pytest.mark.parametrize("code, traces", [("", 0), ("import absent_mod\n", 1)], ids=["no module", "raises"])
def test_why_there_is_no_application_is_told_once(site, lazy, code, traces):
    if code:
        (site.directory / "broken.py").write_text(code)
    site.configure(module="broken", lazy_apps=lazy).launch()
    assert site.server.process.wait(30) == 1
    site.wait_until("stopped")
    assert site.count("cannot be loaded") == 1
    assert site.count("Traceback") == traces
    assert "/appserver/" not in site.log
    assert re.search(r"ERROR \S+site.ini:\d+: module = broken: the application broken cannot be", site.log)


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


def test_what_waits_behind_a_request_that_kills_is_answered_by_the_next_worker(site):
    """A worker that accepted all that waits before it runs any of it would lose it all."""
    site.configure().start()
    finish = site.hold()
    waiting = [site.connect() for _ in range(4)]
    for path, connection in zip(("/", "/die?kill", "/", "/"), waiting, strict=True):
        connection.request("GET", path, headers={"Connection": "close"})
    site.release()
    assert finish()[0] == 200
    assert waiting[0].getresponse().status == 200
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        waiting[1].getresponse()
    assert [connection.getresponse().status for connection in waiting[2:]] == [200, 200]
    for connection in waiting:
        connection.close()


@pytest.mark.parametrize("how", ["exit", "memory", "recursion"])
def test_what_an_application_raises_ends_no_worker(site, how):
    site.configure().start()
    before = site.told()["pid"]
    status, body = site.get(f"/die?{how}")
    assert (status, body) == (500, b"Internal Server Error\n")
    assert site.told()["pid"] == before


@pytest.mark.parametrize("code, end", [("3", 3), ("", 0), ("'text'", 1)])
def test_what_ends_a_worker_outside_of_its_requests_is_told(site, code, end):
    """gevent raises in the main greenlet what ends a process (Hub.SYSTEM_ERROR)."""
    site.app.write_text(
        site.app.read_text()
        + f"\nimport gevent\nDEATHS['spawn'] = lambda: gevent.spawn(lambda: sys.exit({code}))\n"
    )
    site.configure(gevent=10).start()
    site.begin("/die?spawn")()
    site.wait_until(rf"called sys.exit\({code or None}\) outside of a request$")
    site.wait_until(r"app.py\", line \d+, in <lambda>$")
    site.wait_until(rf"ended: exit code {end}$")


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


def sockets(pid):
    """Return how many sockets a process has open."""
    return sum(os.readlink(each).startswith("socket:") for each in Path(f"/proc/{pid}/fd").iterdir())


def board(pid):
    """Return the descriptor of a master's that its only worker's board takes."""
    fds = Path(f"/proc/{pid}/fd").iterdir()
    return next(int(each.name) for each in fds if "appserver-board" in os.readlink(each))


@pytest.mark.parametrize("which", ["channel", "board"])
def test_a_worker_that_cannot_be_started_is_as_soon_as_it_can(site, which):
    site.configure().start()
    before = site.told()["pid"]
    sockets_before = sockets(site.server.process.pid)
    limit = board(site.server.process.pid) if which == "board" else None  # its own is free again first
    with without_descriptors(site.server.process.pid, limit=limit):
        os.kill(before, signal.SIGKILL)
        site.wait_until(r"worker 1: cannot start a process: Too many open files; the next try is in 0\.2 s$")
    poll(lambda: site.count(") serves") == 2, "it is not started")
    assert site.told()["pid"] != before
    assert sockets(site.server.process.pid) == sockets_before


def test_a_worker_that_cannot_be_forked_is_as_soon_as_it_can(site):
    full = site.directory / "full"
    with site.app.open("a") as file:
        file.write(
            f"\nfrom appserver import forks\n_fork = forks._fork\n\ndef fork():\n"
            f"    if os.path.exists({str(full)!r}):\n        raise OSError(11, 'Try again')\n"
            "    return _fork()\n\nforks._fork = fork\n"
        )
    site.configure().start()
    before = site.told()["pid"]
    full.touch()
    os.kill(before, signal.SIGKILL)
    site.wait_until(r"worker 1: cannot start a process: Try again; the next try is in 0\.2 s$")
    full.unlink()
    poll(lambda: site.count(") serves") == 2, "it is not started")
    assert len(site.imported()) == 1


def test_a_generation_that_cannot_be_started_never_goes_live(site):
    site.configure().start()
    with without_descriptors(site.server.process.pid, 1):  # for the ini file
        site.server.process.send_signal(signal.SIGHUP)
        site.wait_until(
            "the reload failed, generation 1 keeps serving: cannot start a process: Too many open files"
        )
    site.server.process.send_signal(signal.SIGHUP)
    site.wait_until("generation 3 has taken over")
    assert "Traceback" not in site.log


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


@pytest.mark.parametrize("how", ["moved", "rotated"])
@pytest.mark.parametrize("lazy", ["true", "false"])
def test_workers_that_start_after_a_rotation_write_to_the_new_file(site, how, lazy):
    log, old, touched = (site.directory / name for name in ("log", "log.old", "touched"))
    lines = [
        "logger = stdio",
        f"logger = file:{log}",
        f"log-backupname = {old}",
        f"touch-logrotate = {touched}",
    ]
    site.configure(*lines, lazy_apps=lazy).start()
    before = site.told()["pid"]
    if how == "moved":
        log.rename(old)
        site.server.process.send_signal(signal.SIGUSR1)
    else:
        touched.touch()
    poll(lambda: old.exists() and log.exists(), "the log is not opened anew")
    os.kill(before, signal.SIGKILL)
    site.wait_for(") serves", 2)
    site.told("/?after")
    poll(lambda: "/?after" in log.read_text() + old.read_text(), "the request has no line")
    assert "/?after" in log.read_text()


@pytest.mark.parametrize("lazy", ["true", "false"])
def test_all_processes_may_be_sent_what_is_for_the_master(site, lazy):
    """As `systemctl kill` does."""
    site.configure(lazy_apps=lazy, gevent=4).start()
    master = site.server.process.pid
    before = children(master)
    finish = site.hold()
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        for pid in (*before, master):
            os.kill(pid, number)
    site.wait_until("in hold$")
    site.release()
    assert finish()[0] == 200
    assert children(master) == before


@pytest.mark.parametrize("lazy", ["true", "false"])
def test_an_application_may_have_a_handler_for_a_signal_that_is_ignored(site, lazy):
    site.app.write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGUSR1, lambda *_: open('taken', 'w').close())\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'application/json')])\n"
        "    return [b'%d' % os.getpid()]\n"
    )
    os.kill(site.configure(lazy_apps=lazy).start().told(), signal.SIGUSR1)
    poll((site.directory / "taken").exists, "the handler is not called")


@pytest.mark.parametrize("lazy", ["true", "false"])
def test_an_application_has_an_event_loop_of_its_own(site, lazy):
    """The master's, which runs in the frames below, is never seen."""
    site.app.write_text(
        "import asyncio\n\n"
        "def application(environ, start_response):\n"
        "    try:\n"
        "        loop = asyncio.get_event_loop()\n"
        "    except RuntimeError:  # from Python 3.14 on nobody has one before\n"
        "        loop = asyncio.new_event_loop()\n"
        "    start_response('200 OK', [])\n"
        "    return [loop.run_until_complete(asyncio.sleep(0, b'slept'))]\n"
    )
    site.configure(lazy_apps=lazy).start()
    assert site.get() == (200, b"slept")


IGNORING = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
# As its handler of SIGCHLD does where that is quicker.
REAPING = """
import os
pid = os.getpid()
os.register_at_fork(after_in_parent=lambda: os.getpid() == pid and os.waitpid(-1, 0))
"""


@pytest.mark.parametrize("code", [IGNORING, REAPING], ids=["ignored", "reaped"])
def test_an_application_may_reap_children_by_itself(site, code):
    site.app.write_text(code + site.app.read_text())
    site.configure(processes=2).start()
    pids = site.pids(2)
    os.kill(min(pids), signal.SIGKILL)
    assert poll(lambda: len(site.pids(2) - pids) == 1, "it is not replaced")


# A child that ends when the loop has closed what signals are written to.
LATE = """
import os, signal
from asyncio.selector_events import BaseSelectorEventLoop as Loop
close = Loop._close_self_pipe
def closed(self):
    close(self)
    os.kill(os.getpid(), signal.SIGCHLD)
Loop._close_self_pipe = closed
"""


def test_a_child_that_ends_last_leaves_no_traceback(site, tmp_path, monkeypatch):
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "sitecustomize.py").write_text(LATE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "late"), prepend=os.pathsep)
    site.configure(processes=1, master="true").start()
    assert site.server.stop() == 0
    assert "Exception ignored" not in site.server.log


def test_threads_that_a_fork_does_not_take_along_are_told(site):
    site.app.write_text(
        site.app.read_text() + "\nimport threading\n"
        "threading.Thread(target=threading.Event().wait, name='telemetry', daemon=True).start()\n"
    )
    site.configure().start()
    site.wait_until("WARNING the application has started threads .* telemetry; set lazy-apps = true")


def test_threads_that_have_ended_are_not_told(site):
    """A thread that threading has not begun, as the one that tells of a long load, stays in its list for good."""
    site.app.write_text(
        site.app.read_text() + "\nimport _thread, threading\nended = threading.Event()\n"
        "number = _thread.start_new_thread(lambda: (threading.current_thread(), ended.set()), ())\n"
        "ended.wait()\n"
        "while number in sys._current_frames():\n    time.sleep(0.001)\n"
        "assert hasattr(threading, '_DeleteDummyThreadOnDel') or 'Dummy' in str(threading.enumerate())\n"
    )
    site.configure().start()
    assert site.server.warnings == []


CONNECTING = """
import socket
MEMORY.append(socket.socket(socket.{family}, socket.{kind}))
MEMORY[-1].connect({address!r})
"""


@pytest.mark.parametrize("more", [{}, {"gevent": 2}], ids=["alone", "gevent"])
def test_connections_that_a_fork_would_share_are_told(site, more):
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"{site.directory}/database")
        unix.listen()
        port = tcp.getsockname()[1]
        site.app.write_text(
            site.app.read_text()
            + CONNECTING.format(family="AF_INET", kind="SOCK_STREAM", address=("127.0.0.1", port))
            + CONNECTING.format(family="AF_UNIX", kind="SOCK_STREAM", address=unix.getsockname())
        )
        site.configure(**more).start()
    (warning,) = site.server.warnings
    assert f"the application has connected to 127.0.0.1:{port}, {site.directory}/database while" in warning
    assert warning.endswith("or set lazy-apps = true")


def test_files_that_a_fork_would_share_are_told(site):
    """Each worker of a database in a file would write where another one has read."""
    path = site.directory / "data.sqlite"
    site.app.write_text(
        f"{site.app.read_text()}\nimport sqlite3\nMEMORY.append(sqlite3.connect({str(path)!r}))\n"
        "MEMORY[-1].execute('create table things (name)')\n"
    )
    site.configure(processes=2).start()
    (warning,) = site.server.warnings
    assert f"the application has opened {path} to read and to write while it was loaded" in warning
    assert warning.endswith("or set lazy-apps = true")


# What nobody shares, or may be shared; with lazy-apps and without a master nothing is.
HARMLESS = {
    "closed": (CONNECTING + "MEMORY[-1].close()\n", {}),
    "datagrams": (CONNECTING.replace("{kind}", "SOCK_DGRAM").replace("{address!r}", "{syslog!r}"), {}),
    "pair": ("import socket; MEMORY += socket.socketpair()", {}),
    "listening": ("import socket; MEMORY.append(socket.create_server(('127.0.0.1', 0)))", {}),
    "log": ("MEMORY.append(open('log', 'a+'))", {}),
    "written": ("MEMORY.append(open('written', 'w'))", {}),
    "read": ("MEMORY.append(open(__file__, 'rb'))", {}),
    "temporary": ("import tempfile; MEMORY.append(tempfile.TemporaryFile())", {}),
    "memory": ("MEMORY.append(open({memory!r}, 'r+b'))", {}),
    "lazy": (CONNECTING, {"lazy_apps": "true"}),
    "alone": (CONNECTING, {"master": "false"}),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_nothing_else_is_taken_for_shared(site, case):
    text, more = HARMLESS[case]
    with (
        tempfile.NamedTemporaryFile(dir="/dev/shm") as memory,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog,
    ):
        unix.bind(f"{site.directory}/database")
        unix.listen()
        syslog.bind(f"{site.directory}/syslog")
        names = {"address": unix.getsockname(), "syslog": syslog.getsockname(), "memory": memory.name}
        site.app.write_text(site.app.read_text() + text.format(family="AF_UNIX", kind="SOCK_STREAM", **names))
        site.configure(**more).start()
    assert site.server.warnings == []


IN_A_THREAD = """
import asyncio, threading
loop = asyncio.new_event_loop()
begun = threading.Event()
loop.call_soon(begun.set)
threading.Thread(target=loop.run_forever, name="loop", daemon=True).start()
begun.wait()
"""


@pytest.mark.parametrize("more", [{}, {"gevent": 2}, {"threads": 2}], ids=["alone", "gevent", "threads"])
@pytest.mark.parametrize(
    "text", ["import asyncio\nloop = asyncio.new_event_loop()\n", IN_A_THREAD], ids=["made", "runs"]
)
def test_loops_of_asyncio_that_a_fork_would_share_are_told(site, text, more):
    site.app.write_text(site.app.read_text() + text)
    site.configure(**more).start()
    (warning,) = [each for each in site.server.warnings if "has started threads" not in each]
    assert (
        "the application has made a loop of asyncio while it was loaded, <_UnixSelectorEventLoop " in warning
    )
    assert f"running={text == IN_A_THREAD}" in warning
    assert warning.endswith("or set lazy-apps = true")


@pytest.mark.parametrize("more", [{}, {"gevent": 2}, {"lazy_apps": "true"}, {"master": "false"}])
def test_loops_of_asyncio_that_nobody_shares_are_not_told(site, more):
    """The master's own is none of the application's."""
    own = "loop = asyncio.new_event_loop()\n" if len(more) and "gevent" not in more else ""
    site.app.write_text(f"{site.app.read_text()}import asyncio\nasyncio.run(asyncio.sleep(0))\n{own}")
    site.configure(**more).start()
    assert site.server.warnings == []


@pytest.mark.parametrize(
    "family, address",
    [(socket.AF_INET6, ("::1", 0)), (socket.AF_UNIX, "\0there")],
    ids=["IPv6", "abstract"],
)
def test_looking_for_connections_changes_none(family, address):
    with socket.socket(family) as listening, socket.socket(family) as client:
        listening.bind(address if family == socket.AF_INET6 else f"{address} {os.getpid()}")
        listening.listen()
        client.connect(listening.getsockname())
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(5)
        try:
            found = connections()
        finally:
            after = socket.getdefaulttimeout()
            socket.setdefaulttimeout(before)
        assert found[os.fstat(client.fileno()).st_ino] == name_of(listening)
        assert os.fstat(listening.fileno()).st_ino not in found
        assert os.get_blocking(client.fileno())
        assert after == 5


AWAITING_THE_COLLECTOR = """
from appserver.lifecycle.inherited import connections
while not any(peer.endswith("collector") for peer in connections().values()):
    time.sleep(0.005)
"""


def test_the_logs_own_connections_are_not_the_applications(site, collector):
    where, listen = collector
    site.app.write_text(site.app.read_text() + AWAITING_THE_COLLECTOR)
    site.configure(req_logger=f"zeromq:{where}").launch()
    poll(site.imports.exists, "it is not loaded")
    listen()
    site.wait_until("ready$")
    assert site.server.warnings == []


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
    # A process whose first thread has ended may have its descriptors until the last one has.
    poll(lambda: refused(site.address), "somebody has the socket still")


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


@pytest.mark.parametrize("kind, held", [({"gevent": 1}, 1), ({"gevent": 2}, 3), ({"threads": 2}, 3)])
def test_a_worker_without_a_free_core_leaves_connections_to_others(site, kind, held):
    site.configure(processes=2, **kind).start()
    finishers = [site.hold(f"h{number}") for number in range(held)]  # one has a free core, the other has none
    for _ in range(20):
        site.told()
    finishers.append(site.hold("last"))
    waiting = [site.begin("/") for _ in range(5)]  # nobody has a free core
    site.release("last")
    assert [finish()[0] for finish in waiting] == [200] * 5
    for number in range(held):
        site.release(f"h{number}")
    assert [finish()[0] for finish in finishers] == [200] * (held + 1)
    assert len(site.pids(2)) == 2


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
        before = set(children(inside))
        host, port = re.search(r"listening: http (\S+):(\d+)", log).groups()
        for _ in range(5):
            client = http.client.HTTPConnection(host, int(port), timeout=30)
            client.request("GET", "/orphan")
            assert client.getresponse().status == 200
            client.close()
        poll(lambda: set(children(inside)) == before, "zombies are left")
        os.kill(inside, signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(30) == 0
        assert rest.rstrip().endswith("stopped")
        assert "is replaced" not in rest
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
