"""A server without a master obeys the same signals, as far as there is something to obey."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from tests.support.clients import Mongrel2Client
from tests.support.fronts import poll
from tests.support.server import Server
from tests.support.simulated import Mongrel2

from .conftest import children

KINDS = pytest.mark.parametrize(
    "options", [{}, {"gevent": 10}, {"threads": 2}], ids=["one", "gevent", "threads"]
)


@pytest.fixture
def alone(site):
    """Return a function that starts the server without a master."""
    return lambda **options: site.configure(**{"master": "false", **options}).start()


def test_root_is_warned_about(alone):
    """And nobody else."""
    told = "WARNING the application runs as root; set uid = USER"
    assert alone().count(told) == (os.geteuid() == 0)


@KINDS
def test_what_is_in_hand_is_finished(alone, options):
    site = alone(**options)
    finish = site.hold()
    site.server.process.send_signal(signal.SIGTERM)
    site.wait_until("SIGTERM: stop$")
    site.release()
    assert finish()[0] == 200
    assert site.server.process.wait(30) == 0
    site.wait_until("stopped$")


@KINDS
@pytest.mark.parametrize("numbers", [[signal.SIGTERM] * 2, [signal.SIGINT], [signal.SIGQUIT], [signal.SIGTERM, signal.SIGINT]])  # fmt: skip
def test_a_fast_stop_waits_for_nothing(alone, numbers, options):
    site = alone(**options)
    finish = site.hold()
    for count, number in enumerate(numbers, 1):
        site.server.process.send_signal(number)
        poll(lambda: site.count("INFO SIG") >= count, "the signal is not heard of")  # noqa: B023
    assert site.server.process.wait(30) == 0
    assert finish()[0] == 0
    if numbers == [signal.SIGQUIT]:
        site.wait_until(r"serving GET /hold\?hold HTTP/1\.1:")
    site.wait_until(
        "a request does not end; the process does" if not options else "stopped with requests in hand"
    )


def test_mercy_ends_also_where_the_application_blocks_the_loop(alone):
    site = alone(worker_reload_mercy="0.1")
    finish = site.hold()
    site.server.process.send_signal(signal.SIGTERM)
    assert site.server.process.wait(30) == 0
    assert finish()[0] == 0


def test_a_fast_stop_of_subscribed_threads(site):
    """Each loop is blocked by its own request."""
    front = Mongrel2(f"ipc://{site.directory}/send", f"ipc://{site.directory}/recv")
    try:
        options = ["--threads", 2, "--zeromq", front.specs, "--module", "app"]
        site.server = Server(*options, cwd=site.directory).start()
        front.wait_for_peers(2, 1)
        for number in range(2):
            Mongrel2Client(front).send("GET", f"/hold?{number}")
            poll((site.directory / f"{number}.held").exists, "the request does not run")
        site.server.process.send_signal(signal.SIGINT)
        assert site.server.process.wait(30) == 0
    finally:
        front.close()


WAITING = """
import gevent

def application(environ, start_response):
    open(os.path.join(HERE, "held"), "w").close()
    gevent.sleep(3600)
"""


@pytest.mark.parametrize("more", [(), ("--master",)], ids=["alone", "master"])
def test_a_second_stop_reaches_the_loops_that_go_on_behind_one_that_has_ended(site, more):
    with site.app.open("a") as file:
        file.write(WAITING)
    front = Mongrel2(f"ipc://{site.directory}/send", f"ipc://{site.directory}/recv")
    try:
        options = ["--threads", 2, "--zeromq", front.specs, "--module", "app", "--warm-up=none", *more]
        site.server = Server(*options, cwd=site.directory).start()
        front.wait_for_peers(2, 1)
        Mongrel2Client(front).send("GET", "/")
        poll((site.directory / "held").exists, "the request does not run")
        site.server.process.send_signal(signal.SIGTERM)
        front.wait_for_peers(1, 1)
        assert site.server.stop() == 0
    finally:
        front.close()
    assert "stopped with requests in hand" in site.log
    assert "Traceback" not in site.log


FAILING = """
import threading
from appserver.listeners.mongrel2 import Mongrel2Listener

start = Mongrel2Listener.start

def fail(listener, service):
    if threading.current_thread().name == "thread-{}":
        raise OSError("there is no room")
    start(listener, service)

Mongrel2Listener.start = fail
"""


@pytest.mark.parametrize("number", [1, 2])
def test_the_server_ends_with_the_error_of_a_loop_that_fails(site, number):
    with site.app.open("a") as file:
        file.write(FAILING.format(number))
    front = Mongrel2(f"ipc://{site.directory}/send", f"ipc://{site.directory}/recv")
    try:
        options = ["--threads", 2, "--zeromq", front.specs, "--module", "app"]
        site.server = Server(*options, cwd=site.directory)
        site.wait_until("^OSError: there is no room$")
        assert site.server.process.wait(30) == 1
    finally:
        front.close()


def test_mongrel2_is_served_once_there_are_descriptors_for_it(site):
    """It comes when there is one, which is for the answers; whoever stops the server then stops it."""
    specs = f"ipc://{site.directory}/send", f"ipc://{site.directory}/recv"
    site.server = Server("--gevent", 2, "--zeromq", ",".join(specs), "--module", "app", cwd=site.directory)
    site.server.start()
    pid = site.server.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")}
    free = min(set(range(soft)) - taken)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free + 1, hard))
    front = Mongrel2(*specs)
    try:
        site.wait_until("ERROR mongrel2 ipc:.*nothing can be subscribed to: Too many open files")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        front.wait_for_peers(1, 1)
        assert Mongrel2Client(front).request("GET", "/").status == 200
        assert site.server.stop() == 0
        assert site.count("nothing can be subscribed to") == 1
    finally:
        front.close()


def test_the_file_of_a_socket_is_removed_in_any_case(site):
    path = site.directory / "site.sock"
    site.configure(master="false", http_socket=path, vacuum="true").start()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET /hold?hold HTTP/1.1\r\nHost: x\r\n\r\n")
        poll((site.directory / "hold.held").exists, "the request does not run")
        site.server.process.send_signal(signal.SIGINT)
        assert site.server.process.wait(30) == 0
        assert not path.exists()


@pytest.mark.parametrize(
    "number, told",
    [
        (signal.SIGHUP, "nothing is reloaded without a master"),
        (signal.SIGTTIN, "there are no workers without a master"),
        (signal.SIGTTOU, "there are no workers without a master"),
    ],
)
def test_what_only_a_master_can_do_is_told(alone, number, told):
    site = alone()
    site.server.process.send_signal(number)
    site.wait_until(f"WARNING {told}; set master = true")
    assert site.told()["version"] == 1


LEFT = """
import atexit, threading
threading.Thread(target=threading.Event().wait).start()
atexit.register(lambda: open(os.path.join(HERE, "left"), "w").close())
"""


@KINDS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_threads_of_the_application_are_not_waited_for(alone, site, number, options):
    """As in a worker; what is to be done at the exit is."""
    with site.app.open("a") as file:
        file.write(LEFT)
    site = alone(**options)
    site.server.process.send_signal(number)
    assert site.server.process.wait(30) == 0
    site.wait_until("stopped$")
    assert (site.directory / "left").exists()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="wants root and unshare")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_process_1_of_a_container_ends_while_its_application_is_loaded(site, number):
    gate = site.directory / "gate"
    os.mkfifo(gate)
    site.app.write_text(f"import time\nopen({str(gate)!r})\nwhile True:\n    time.sleep(0.01)\n")
    site.configure(master="false")
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
         sys.executable, "-m", "appserver", "--ini", str(site.ini)], cwd=site.directory,
    )  # fmt: skip
    try:
        gate.open("w").close()  # it is open when the application has come to it
        [inside] = children(process.pid)
        os.kill(inside, number)
        assert process.wait(30) != 0
    finally:
        process.kill()
        process.wait()


PROCESSES = pytest.mark.parametrize(
    "processes", [{}, {"master": "true", "lazy_apps": "true"}], ids=["alone", "master"]
)
POOL = """
import atexit, multiprocessing
from concurrent.futures import ProcessPoolExecutor

pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
atexit.register(lambda: open(os.path.join(HERE, "left"), "w").close())
answer = application

def application(environ, start_response):
    assert pool.submit(abs, -1).result() == 1
    return answer(environ, start_response)
"""


@KINDS
@PROCESSES
def test_a_pool_of_processes_ends_with_the_server(alone, site, options, processes):
    """It ends before what is done at the exit, which waits for its processes."""
    with site.app.open("a") as file:
        file.write(POOL)
    site = alone(worker_reload_mercy=1000, **options, **processes)
    assert site.get()[0] == 200
    site.server.process.send_signal(signal.SIGTERM)
    assert site.server.process.wait(30) == 0
    assert (site.directory / "left").exists()


WORK = """
import atexit, threading
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(1)
atexit.register(lambda: open(os.path.join(HERE, "left"), "w").close())
answer = application

def application(environ, start_response):
    pool.submit(threading.Event().wait)
    return answer(environ, start_response)
"""


@KINDS
@PROCESSES
@pytest.mark.parametrize(
    "stop", [(signal.SIGINT, 1000), (signal.SIGTERM, 1), (signal.SIGTERM, 0)], ids=["INT", "soon", "at once"]
)
def test_work_of_pools_leaves_time_for_what_is_done_at_the_exit(alone, site, options, processes, stop):
    number, mercy = stop
    with site.app.open("a") as file:
        file.write(WORK)
    site = alone(worker_reload_mercy=mercy, **options, **processes)
    assert site.get()[0] == 200
    site.server.process.send_signal(number)
    assert site.server.process.wait(30) == 0
    assert (site.directory / "left").exists()


PATIENT = """
import sys
from appserver import leaving

leaving._PATIENCE = 1000
threading._register_atexit(print, "pools end", file=sys.stderr, flush=True)
"""


@KINDS
@PROCESSES
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_wait_for_pools(alone, site, options, processes, number):
    """And what is done at the exit is."""
    with site.app.open("a") as file:
        file.write(WORK + PATIENT)
    site = alone(worker_reload_mercy=1000, **options, **processes)
    assert site.get()[0] == 200
    site.server.process.send_signal(signal.SIGTERM)
    site.wait_until("pools end$")
    site.server.process.send_signal(number)
    assert site.server.process.wait(30) == 0
    assert (site.directory / "left").exists()


@pytest.mark.parametrize(
    "command, more, code, told",
    [
        ([], "raise RuntimeError('the database is down')\n", 1, "the database is down"),
        (["--http-socket", "/absent/http.sock"], "", 1, "cannot listen on /absent/http.sock"),
        (["--exec-post-app", "false"], "", 1, "exec-post-app"),
        (["--check"], "", 0, "the server would start"),
        (["--check"], "raise RuntimeError('the database is down')\n", 2, "the database is down"),
        (["doctor"], "", 0, "without gevent a call may block its core"),
    ],
)
def test_threads_of_the_application_are_not_waited_for_where_nothing_is_served(
    site, command, more, code, told
):
    with site.app.open("a") as file:
        file.write(LEFT + more)
    site.configure(master="false")
    first, rest = (command, []) if command == ["doctor"] else ([], command)
    done = subprocess.run(
        [sys.executable, "-m", "appserver", *first, "--ini", site.ini, *rest], cwd=site.directory,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert told in done.stdout
    assert done.returncode == code
    assert (site.directory / "left").exists()


def test_what_hangs_at_the_exit_is_ended(alone, site):
    with site.app.open("a") as file:
        file.write("import atexit, threading\natexit.register(threading.Event().wait)\n")
    site = alone(worker_reload_mercy="0.1")
    site.server.process.send_signal(signal.SIGTERM)
    assert site.server.process.wait(30) == 0
    site.wait_until("what runs at the exit does not end; the process does")


def test_the_exit_code_is_that_of_the_last_hook(alone, site):
    with site.app.open("a") as file:
        file.write(LEFT)
    site = alone(exec_as_user_atexit="exit 3")
    site.server.process.send_signal(signal.SIGTERM)
    assert site.server.process.wait(30) == 1
    site.wait_until("exec-as-user-atexit = exit 3: the command exited with 3")


WITHOUT_THREADS = """

from appserver import alone, stacks

def refuse(*_):
    raise RuntimeError("can't start new thread")

alone._start = stacks._start = refuse
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signals_end_a_server_that_can_have_no_more_threads(alone, site, number):
    with site.app.open("a") as file:
        file.write(WITHOUT_THREADS)
    site = alone(gevent=10)
    finish = site.hold()
    site.server.process.send_signal(number)
    site.wait_until("INFO stopping$")
    if number == signal.SIGTERM:
        site.release()
        assert finish()[0] == 200
    assert site.server.process.wait(30) == 0
    assert ("in hold\n" in site.log) == (number == signal.SIGQUIT)
    finish()


HANGING = """

import logging
from appserver import alone, leaving
from appserver.log.sinks import FileSink

alone._WORDS = leaving.AT_ONCE = 0.05
put = FileSink._put

def hang(sink, text):
    if "/hang" in text:
        open("hangs", "w").close()
        os.read(os.pipe()[0], 1)
    put(sink, text)

def application(environ, start_response):
    logging.getLogger("appserver").info(environ["PATH_INFO"])

FileSink._put = hang
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_signals_end_a_server_whose_log_hangs(site, number):
    """Though its lock is held by the loop, which does not turn."""
    with site.app.open("a") as file:
        file.write(HANGING)
    log = site.directory / "log"
    site.configure(master="false", gevent=10, logto=log).launch()
    poll(lambda: log.exists() and "INFO ready" in log.read_text(), "it is not ready")
    host, port = re.search(r"listening: http (\S+):(\d+)", log.read_text()).groups()
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
        poll((site.directory / "hangs").exists, "the log does not hang")
        site.server.process.send_signal(number)
        assert site.server.process.wait(30) == 0


@pytest.mark.parametrize("lazy", ["true", "false"])
def test_stacks_of_workers_that_can_have_no_more_threads(site, lazy):
    with site.app.open("a") as file:
        file.write(WITHOUT_THREADS)
    site.configure(gevent=10, lazy_apps=lazy).start()
    finish = site.hold()
    site.server.process.send_signal(signal.SIGUSR2)
    site.wait_until("in hold$")
    site.release()
    assert finish()[0] == 200
    assert site.server.stop() == 0
    assert "replaced" not in site.log


def test_stacks_and_logs(alone, site):
    log = site.directory / "log"
    site.configure(master="false", gevent=10, logto=log).launch()
    poll(lambda: log.exists() and "INFO ready" in log.read_text(), "it is not ready")
    log.rename(site.directory / "log.1")
    site.server.process.send_signal(signal.SIGUSR1)
    poll(log.exists, "the log is not opened anew")
    site.server.process.send_signal(signal.SIGUSR2)
    told = f"INFO worker 1 (pid {site.server.process.pid}): thread MainThread"
    poll(lambda: told in log.read_text(), "there are no stacks")
