"""What an application forks is no second server, and takes signals as any process does."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.lifecycle.conftest import alive, children
from tests.support.fronts import poll

SERVERS = pytest.mark.parametrize(
    "options",
    [
        {"master": master, **kind}
        for master in ("true", "false")
        for kind in ({}, {"gevent": 10}, {"gevent": 10, "gevent_monkey_patch": "false"}, {"threads": 2})
    ],
    ids=lambda options: "-".join(f"{key}={value}" for key, value in options.items()),
)

APP = """
import json, multiprocessing, os, signal, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
context = multiprocessing.get_context("fork")


def note(name):
    with open(os.path.join(HERE, name), "a") as file:
        file.write(f"{os.getpid()}\\n")


def hold(name):
    note(f"{name}.held")
    while not os.path.exists(os.path.join(HERE, f"{name}.released")):
        time.sleep(0.005)


def leave(how):
    if how == "exit":
        sys.exit(7)
    if how == "exit-text":
        sys.exit("the child has had enough")
    if how == "raise":
        raise RuntimeError("in the child")
    if how == "daemon" and os.fork():
        sys.exit(7)


def waited(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def forked(how):
    pid = os.fork()
    if not pid:
        leave(how)
        return 0
    return waited(pid)


def pieces(how):
    yield b"a"
    yield str(forked(how)).encode()
    yield b"c"


class Closing(list):
    code = None

    def close(self):
        Closing.code = forked("return")


def terminated():
    found = []
    for _ in range(3):
        child = context.Process(target=time.sleep, args=(1000,))
        child.start()
        child.terminate()
        child.join()
        found.append(child.exitcode)
    return found


def signalled():
    found = []
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR2):
        program = subprocess.Popen(["sleep", "1000"])
        program.send_signal(number)
        found.append(-program.wait())
    return found


def background(name):
    pid = os.fork()
    if not pid:
        hold(name)
        sys.exit()
    return pid


def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    headers = [("Content-Type", "application/json")]
    if path == "/pieces":
        start_response("200 OK", headers)
        return pieces(query)
    if path == "/close":
        start_response("200 OK", headers)
        return Closing([b"0"])
    told = os.getpid()
    if path == "/fork":
        told = forked(query)
    elif path == "/closed":
        told = Closing.code
    elif path == "/terminate":
        told = terminated()
    elif path == "/pool":
        with context.Pool(2) as pool:
            told = pool.map(abs, [-1, -2])
    elif path == "/signal":
        told = signalled()
    elif path == "/background":
        told = background(query)
    elif path == "/hold":
        hold(query)
        note(f"{query}.done")
    start_response("200 OK", headers)
    return [json.dumps(told).encode()]
"""


@pytest.fixture
def start(site):
    """Return a function that starts the server with an application."""

    def start(options, app=APP):
        site.app.write_text(app)
        return site.configure(**options).start()

    return start


def answers(site, path):
    """Return all that comes over a connection until its end."""
    with socket.create_connection(site.address, timeout=30) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


def processes(site):
    """Return all processes of a server, and those that were left to it."""
    found, more = set(), [site.server.process.pid]
    while more:
        pid = more.pop()
        found.add(pid)
        more += children(pid)
    return found


@SERVERS
@pytest.mark.parametrize(
    "how, code", [("exit", 7), ("exit-text", 1), ("raise", 1), ("return", 0), ("daemon", 7)]
)
def test_a_forked_child_ends_with_its_call_and_answers_nothing(start, options, how, code):
    site = start(options)
    before = processes(site)
    for path, body in (
        ("/fork", f"\r\n\r\n{code}"),
        ("/pieces", f"1\r\na\r\n1\r\n{code}\r\n1\r\nc\r\n0\r\n\r\n"),
    ):
        told = answers(site, f"{path}?{how}")
        assert told.count("HTTP/1.1 200 OK") == 1, told
        assert told.endswith(body)
    poll(lambda: processes(site) == before, "a child lives on")
    if how == "raise":
        site.wait_until("RuntimeError: in the child")
    if how == "exit-text":
        site.wait_until("^the child has had enough$")
    assert "raised" not in site.log


@SERVERS
def test_a_child_that_is_forked_once_the_answer_is_sent_ends_too(start, options):
    site = start(options)
    before = processes(site)
    assert answers(site, "/close").count("HTTP/1.1") == 1
    poll(lambda: site.told("/closed") == 0, "the child has not ended")
    assert processes(site) == before


@pytest.mark.parametrize(
    "options",
    [{"master": "false"}, {"gevent": 10}, {"lazy_apps": "true"}],
    ids=["alone", "preloader", "worker"],
)
@pytest.mark.parametrize("end", ["", "if not pid: import sys; sys.exit()\n", "if not pid: 1 / 0\n"])
def test_a_child_that_is_forked_while_the_application_is_loaded_does_not_serve(start, options, end):
    site = start(options, f"import os\npid = os.fork()\n{end}{APP}")
    site.told()
    assert site.server.stop() == 0
    assert "cannot be loaded" not in site.log
    assert site.count("INFO ready") == site.count("INFO stopped") == 1


@SERVERS
def test_children_can_be_terminated(start, options):
    site = start(options)
    pid = site.told()
    assert site.told("/terminate") == [-signal.SIGTERM] * 3
    patched = "gevent" in options and "gevent_monkey_patch" not in options
    if not patched:  # else a pool's threads, which read in C, hold up the loop
        assert site.told("/pool") == [1, 2]
    assert site.told() == pid
    assert not {"replaced:", "stopping", "SIGTERM"} & set(site.log.split())


@SERVERS
def test_programs_take_signals(start, options):
    site = start(options)
    taken = [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR2]
    assert site.told("/signal") == taken


HANDLING = """
import os, signal
signal.signal(signal.SIGWINCH, lambda *_: os._exit(9))

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    pid = os.fork()
    if not pid:
        os.kill(os.getpid(), signal.SIGWINCH)
    return [str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode()]
"""


@SERVERS
def test_an_applications_own_handlers_are_inherited(start, options):
    assert start(options, HANDLING).told() == 9


@pytest.mark.parametrize("master", ["true", "false"])
def test_nothing_of_the_loop_goes_on_in_a_child_with_gevent(start, master):
    """It waits in a loop, which is its own: what the server and other requests wait for does not come to it."""
    site = start({"master": master, "gevent": 10})
    here = site.told()
    finish = site.hold("other")
    with socket.create_connection(site.address, timeout=30) as idle:
        child = site.told("/background?child")
        poll((site.directory / "child.held").exists, "the child does not run")
        site.release("other")
        assert finish()[0] == 200
        assert {site.told() for _ in range(20)} == {here}
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        told = b"".join(iter(lambda: idle.recv(65536), b""))
        assert told.count(b"HTTP/1.1 200") == 1
        assert told.endswith(b"%d" % here)
    site.release("child")
    poll(lambda: not alive(child), "the child does not end")
    assert (site.directory / "other.done").read_text().split() == [str(here)]


@pytest.mark.parametrize("master", ["true", "false"])
def test_a_child_may_live_on(start, master):
    site = start({"master": master, "gevent": 10})
    child = site.told("/background?child")
    assert site.server.stop() == 0
    assert alive(child)
    site.release("child")
    poll(lambda: not alive(child), "the child does not end")


SPAWNING = """
import gevent, os, sys, time

def waited(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def spawned():
    pid = os.fork()
    return waited(pid) if pid else "the child"

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    pid = os.fork()
    if not pid:
        gevent.spawn(sys.exit, 5)
        time.sleep(1000)
    return [f"{waited(pid)} {gevent.spawn(spawned).get()}".encode()]
"""


def test_greenlets_of_a_child_end_it_and_answer_nothing(start):
    site = start({"gevent": 10}, SPAWNING)
    told = answers(site, "/")
    assert told.endswith("\r\n\r\n5 0")
    assert told.count("HTTP/1.1") == 1


TIMED = """
import os
import sys
from uwsgidecorators import timer

@timer(1)
def each(number):
    if not os.path.exists("forked"):
        pid = os.fork()
        if pid:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with open("forked", "w") as file:
                file.write(str(code))
        else:
            ENDS
"""


@pytest.mark.parametrize("mode", [{}, {"gevent": 10}], ids=["alone", "gevent"])
@pytest.mark.parametrize(
    ("ends", "code"), [("pass", "0"), ("sys.exit(7)", "7"), ("raise BaseException", "1")]
)
def test_a_function_of_a_timer_that_forks_makes_no_second_timer(start, mode, ends, code):
    forked = start(mode, TIMED.replace("ENDS", ends) + APP).directory / "forked"
    assert poll(lambda: forked.exists() and forked.read_text(), "the child does not end") == code


QUICK = """
import os

armed = False

def wait_for_its_end():
    if armed:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)

os.register_at_fork(after_in_parent=wait_for_its_end)

def application(environ, start_response):
    global armed
    start_response("200 OK", [("Content-Type", "application/json")])
    armed = environ["PATH_INFO"] == "/fork"
    pid = os.fork()
    if not pid:
        os._exit(5)
    return [str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode()]
"""


@SERVERS
def test_a_child_may_end_before_its_fork_has_returned(start, options):
    assert start({**options, "warm-up": "false"}, QUICK).told("/fork") == 5


WRAPPED = """
import os, signal, time

ended = 0
real = os.fork
os.fork = lambda: real()

def note(number, frame):
    global ended
    ended += 1

signal.signal(signal.SIGCHLD, note)

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    before = ended
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    while ended == before:
        time.sleep(0.005)
    return [str(ended).encode()]
"""


@pytest.mark.parametrize("master", ["true", "false"])
@pytest.mark.parametrize("more", [{}, {"threads": 2}, {"gevent": 10, "gevent_monkey_patch": "false"}])
def test_whose_fork_is_wrapped_hears_of_its_children(start, master, more):
    """As tracers wrap it, which is not gevent's patch: that takes SIGCHLD from the application."""
    site = start({"master": master, "warm-up": "false", **more}, WRAPPED)
    assert [site.told(), site.told()] == [1, 2]
