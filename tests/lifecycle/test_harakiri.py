"""Requests that take too long are ended, wherever they are; others go on."""

from __future__ import annotations

import os
import signal
import socket
import threading
import weakref
from contextlib import suppress
from types import SimpleNamespace

import pytest

from appserver import harakiri
from appserver.blocking import BlockingOptions
from appserver.harakiri import HarakiriOptions, Watchdog
from tests.support.fronts import poll
from tests.support.mongrel2 import Mongrel2
from tests.support.server import Server

APP = """
import itertools, json, os, pathlib, sqlite3, sys, threading, time

def spin():
    while True:
        pass

def spin_at_last():
    open("hold.released", "w").close()
    spin()

def search():
    for number in itertools.count():
        if number < 0:
            number += 1

def stubborn():
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            pass

def stuck():
    import ctypes
    ctypes.PyDLL(None).sleep(1000)  # with the interpreter's lock

def stuck_in_c():
    import ctypes
    mutex = ctypes.create_string_buffer(64)  # of the default kind: its owner waits for itself
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)

def forgiving():
    try:
        time.sleep(1000)
    except Exception:
        return

def cleaning():
    try:
        time.sleep(1000)
    finally:
        open("cleaned", "w").close()

real_sleep = time.sleep if "gevent.monkey" not in sys.modules else sys.modules["gevent.monkey"].get_original("time", "sleep")

def block():
    end = time.monotonic() + (0.6 if os.path.exists("told") else 1000)
    while not os.path.exists("released") and time.monotonic() < end:
        real_sleep(0.05)

def in_asyncio():
    import asyncio
    async def compute():
        spin()
    asyncio.run(compute())

def spawn(function):
    import gevent
    gevent.spawn(function)

def nest(function):
    import greenlet
    greenlet.greenlet(function).switch()

def call_back(function):
    import gevent
    gevent.get_hub().loop.run_callback(function)

SPAWN = {"spawn": spawn, "thread": lambda function: threading.Thread(target=function).start(), "nest": nest, "callback": call_back}

def read():
    pathlib.Path("fifo").read_bytes()

kept = threading.local()

class Own(threading.local):
    def __init__(self):
        self.conn = sqlite3.connect(":memory:")  # for this thread alone

own = Own()
loaded = threading.local()
loaded.names, loaded.conn = ["first"], object()

WAYS = {
    "block": block, "read": read,
    "sleep": lambda: time.sleep(1000), "pipe": lambda: os.read(os.pipe()[0], 1), "spin": spin, "stubborn": stubborn, "c": stuck_in_c, "gil": stuck,
    "forgiving": forgiving, "cleaning": cleaning, "asyncio": in_asyncio, "last": spin_at_last, "search": search,
}

def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/stuck":
        kept.half = True
        WAYS[query]()
    if path == "/loaded":
        found = [own.conn.execute("select 1").fetchone()[0], loaded.names, hasattr(loaded, "conn")]
        loaded.names = loaded.names + ["requested"]
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(found).encode()]
    if path == "/kept":
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b"true" if hasattr(kept, "half") else b"false"]
    if path in ("/spawn", "/thread", "/nest", "/callback"):
        SPAWN[path[1:]](WAYS[query])
    if path == "/begun":
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"begun")
        WAYS[query]()
    if path == "/big":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b"x" * 65536] * 1000)
    if path == "/hold":
        open("hold.held", "w").close()
        while not os.path.exists("hold.released"):
            time.sleep(0.005)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [('{"pid": %d}' % os.getpid()).encode()]
"""


@pytest.fixture
def limited(site):
    """Return a function that starts the server with a limit and options."""
    site.app.write_text(APP)

    def start(**options):
        return site.configure(**{"harakiri": "0.3", **options}).start()

    return start


WAYS = ["sleep", "pipe", "spin", "forgiving", "cleaning"]
KINDS = [({"gevent": 10}, way) for way in WAYS] + [({"threads": 2}, "spin")]


@pytest.mark.parametrize("options, way", KINDS)
def test_an_overdue_request_is_answered_504_and_its_worker_goes_on(limited, way, options):
    site = limited(**options)
    before = site.told()["pid"]
    status, body = site.get(f"/stuck?{way}")
    assert (status, body) == (504, b"Gateway Timeout\n")
    site.wait_until(rf"harakiri: GET /stuck\?{way} HTTP/1.1 takes more than 0.3 s")
    site.wait_until(r"app.py\", line \d+, in ")
    site.wait_until(rf'"GET /stuck\?{way} HTTP/1.1" 504 ')
    assert site.told()["pid"] == before
    if way == "cleaning":
        assert (site.directory / "cleaned").exists()
    assert "is replaced" not in site.log
    assert site.get("/kept") == (200, False), "its locals can be in the middle of something"


@pytest.mark.parametrize("way", WAYS)
def test_where_all_requests_share_a_thread_its_worker_is_replaced(limited, way):
    site = limited()
    before = site.told()["pid"]
    assert site.get(f"/stuck?{way}") == (504, b"Gateway Timeout\n")
    site.wait_until(rf'"GET /stuck\?{way} HTTP/1.1" 504 ')
    site.wait_until("is replaced: a request was interrupted in a thread that others share")
    poll(lambda: site.told()["pid"] != before, "the worker is not replaced")
    assert site.get("/kept") == (200, False)
    assert (site.directory / "cleaned").exists() == (way == "cleaning")


def test_without_a_master_it_goes_on_with_what_was_loaded(limited):
    """Data, and what a class makes anew in the thread that it is for; any other object may be a connection by now."""
    site = limited(master="false")
    assert site.get("/loaded") == (200, [1, ["first"], True])
    before = site.told()["pid"]
    assert site.get("/stuck?sleep") == (504, b"Gateway Timeout\n")
    assert site.get("/loaded") == (200, [1, ["first"], False])
    assert site.told()["pid"] == before


@pytest.mark.parametrize("way", WAYS)
def test_without_a_master_it_goes_on_like_a_new_thread(limited, way):
    site = limited(master="false")
    before = site.told()["pid"]
    assert site.get(f"/stuck?{way}") == (504, b"Gateway Timeout\n")
    assert site.get("/kept") == (200, False)
    assert site.told()["pid"] == before


@pytest.mark.parametrize("options", [{}, {"gevent": 10}, {"threads": 2}], ids=["one", "gevent", "threads"])
@pytest.mark.parametrize("way", ["stubborn", "c"])
def test_a_worker_that_cannot_be_freed_is_replaced(limited, way, options):
    site = limited(**options)
    before = site.told()["pid"]
    status, body = site.get(f"/stuck?{way}")
    assert (status, body) == (504, b"The application took too long.\n")
    site.wait_until(r"cannot be interrupted")
    poll(lambda: site.told()["pid"] != before, "the worker is not replaced")


@pytest.mark.parametrize("dispatch", ["worker", "shared"])
def test_a_stop_waits_for_no_call_that_was_given_up_and_comes_back(tmp_path, dispatch):
    """Where several loops share a process it goes on, and one of them is free again."""
    (tmp_path / "app.py").write_text(APP)
    os.mkfifo(tmp_path / "fifo")
    words = [
        "--module",
        "app",
        "--master",
        "--threads",
        "2",
        "--harakiri",
        "0.3",
        "--worker-reload-mercy",
        "20",
    ]
    with Mongrel2() as peer:
        mounts = ["--zeromq", peer.spec, "--zeromq-dispatch", dispatch]
        with Server(*mounts, *words, cwd=tmp_path) as server:
            assert peer.get("/stuck?read").body == b"The application took too long.\n"
            (tmp_path / "fifo").write_bytes(b"")
            assert server.stop() == 0
    assert "stopped with requests in hand" not in server.log


def test_others_in_the_worker_finish(limited):
    site = limited(gevent=10, harakiri=4)
    before = site.told()["pid"]
    stuck = site.begin("/stuck?stubborn")
    site.wait_until("takes more than 4 s")
    other = site.hold()  # of the same worker, begun later and within its own limit
    assert stuck()[0] == 504
    site.wait_until("is replaced: a request cannot be interrupted")
    site.release()
    status, body = other()
    assert (status, body) == (200, {"pid": before})
    poll(lambda: site.told()["pid"] != before, "the worker is not replaced")


def test_a_waiting_greenlet_does_not_touch_others(limited):
    site = limited(gevent=10, harakiri="0.5")
    stuck = [site.begin("/stuck?sleep") for _ in range(3)]
    assert {site.get("/")[0] for _ in range(20)} == {200}
    assert [finish()[0] for finish in stuck] == [504] * 3


def test_an_answer_that_has_begun_is_cut(limited):
    site = limited()
    finish = site.begin("/begun?sleep")
    status, error = finish()
    assert status == 0, error  # the chunked body has no end
    site.wait_until('"GET /begun.sleep HTTP/1.1" 200 5 ')
    assert site.told()["pid"]


def test_who_only_waited_for_the_one_that_blocked_the_loop_is_answered(limited):
    """Its time is up as well, and what it waits for has come by then."""
    site = limited(gevent=10, harakiri=1)
    other = site.hold()
    assert site.get("/stuck?last")[0] == 504
    assert other()[0] == 200


@pytest.mark.parametrize("blocks, reached, given_up", [
    (False, 0.0, True),
    (True, 0.0, False),
    (True, 100.0, True),
    (True, 109.0, False),
])  # fmt: skip
def test_a_request_that_waits_for_another_one_is_not_what_cannot_be_interrupted(
    monkeypatch, blocks, reached, given_up
):
    """Nobody has tried to, as long as the loop does not turn."""
    found = []
    watchdog = Watchdog(HarakiriOptions(harakiri=1.0), BlockingOptions(), list, list, pings=False)
    watchdog.attach()
    (thread,) = watchdog._loops
    monkeypatch.setattr(watchdog, "_abandon", found.append)
    monkeypatch.setattr(watchdog, "_interrupt", lambda run: None)
    waiting = watchdog.begin(None, None, thread)
    waiting.told, waiting.reached = 100.0, reached
    waiting.greenlet = SimpleNamespace(gr_frame=object())
    if blocks:
        watchdog.begin(None, None, thread)
    watchdog._overdue(waiting, 110.0)
    assert found == [waiting] * given_up


def begun(site, way):
    """Request an answer that begins and does not go on; return the connection once it has begun."""
    sock = socket.create_connection(site.address, timeout=30)
    sock.sendall(b"GET /begun?%b HTTP/1.1\r\nHost: x\r\n\r\n" % way)
    data = b""
    while b"begun" not in data:
        more = sock.recv(65536)
        assert more, data
        data += more
    return sock


@pytest.mark.parametrize("options", [{"harakiri": 1}, {"harakiri": 0, "gevent_block_limit": 1}])
def test_answers_that_have_begun_do_not_pass_for_whole_ones_when_their_worker_ends(limited, options):
    """The kernel would end their connections in order, as the answers' own ends do over uwsgi and SCGI."""
    site = limited(gevent=10, **options)
    with begun(site, b"sleep") as other, begun(site, b"c") as stuck:
        for sock in (stuck, other):
            with pytest.raises(ConnectionResetError):
                sock.recv(65536)


def test_an_answer_that_waits_for_its_client_is_cut(limited):
    """The greenlet that waited for the client serves others when that reads on."""
    site = limited(gevent=10)
    before = site.told()["pid"]
    with socket.create_connection(site.address, timeout=30) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        site.wait_until("harakiri: GET /big HTTP/1.1 takes more than 0.3 s")
        site.wait_until('"GET /big HTTP/1.1" 200 ')
        last = b""
        with suppress(ConnectionResetError):
            while data := sock.recv(1 << 20):
                last = data
        assert not last.endswith(b"0\r\n\r\n")
    assert site.told()["pid"] == before
    assert "AttributeError" not in site.log


def test_many_requests_about_as_long_as_the_limit(limited):
    """The exception comes when the request has just ended, or not at all; never in the next one."""
    site = limited(harakiri="0.02", threads=4)
    site.app.write_text(APP)
    for _ in range(100):
        assert site.get("/")[0] == 200
    assert "Traceback" not in site.log


def test_a_greenlet_that_blocks_the_loop_is_told_and_interrupted(limited):
    site = limited(harakiri=0, gevent=10, gevent_block_limit="1.5")
    before = site.told()["pid"]
    status, _ = site.get("/stuck?spin")
    assert status == 504
    site.wait_until(
        r"WARNING a call keeps the loop from all other requests, for \S+ s now \(told once a place\): app "
    )
    site.wait_until(
        r"the loop has been blocked for \S+ s by app \(.*its stack, serving GET /stuck\?spin HTTP/1.1"
    )
    assert site.told()["pid"] == before


def test_a_blocking_call_is_told_once_for_each_place(limited):
    site = limited(harakiri=0, gevent=10, gevent_block_limit=0, gevent_block_warning="0.1")
    first = site.begin("/stuck?block")
    told = r"WARNING a call keeps the loop from all other requests, .*: app \(\S+/app.py:\d+, in {}\): {}; its stack, serving GET "
    site.wait_until(told.format("block", r"real_sleep\(0.05\)") + r"/stuck\?block HTTP/1.1:$")
    (site.directory / "told").touch()
    (site.directory / "released").touch()
    assert first()[0] == 200
    (site.directory / "released").unlink()
    assert site.get("/stuck?block")[0] == 200  # for six times as long as it takes to be told
    fifo = site.directory / "fifo"
    os.mkfifo(fifo)
    second = site.begin("/stuck?read")
    reads = r'pathlib.Path\("fifo"\).read_bytes\(\), within pathlib\S* \(\S+, in \w+\)'
    site.wait_until(told.format("read", reads) + r"/stuck\?read HTTP/1.1:$")
    fifo.write_bytes(b"")
    assert second()[0] == 200
    assert [site.count(f"in {name}): ") for name in ("block", "read")] == [1, 1]


def test_a_loop_whose_jump_back_has_no_line_is_told_as_any_other(limited):
    site = limited(harakiri=0, gevent=10, gevent_block_limit="0.5", gevent_block_warning="0.1")
    assert site.get("/stuck?search")[0] == 504
    place = r" by app \(\S+/app.py:\d+, in search\): (for number in itertools.count\(\)|if number < 0):; its stack"
    site.wait_until(place.replace(" by", r"WARNING a call keeps .* \(told once a place\):"))
    site.wait_until(r"ERROR the loop has been blocked for \S+ s" + place)
    assert "line None" not in site.log
    assert "the watchdog failed" not in site.log


def test_what_blocks_is_interrupted_without_a_warning_before(limited):
    site = limited(harakiri=0, gevent=10, gevent_block_limit="0.5", gevent_block_warning=0)
    assert site.get("/stuck?spin")[0] == 504
    site.wait_until(r"ERROR the loop has been blocked for \S+ s by app \(")
    assert "a call keeps the loop" not in site.log


@pytest.mark.parametrize("way", ["spin", "block", "asyncio"])
@pytest.mark.parametrize("kind", ["spawn", "thread"])
def test_what_the_application_has_spawned_is_interrupted_and_no_request_is(limited, kind, way):
    site = limited(harakiri=0, gevent=10, gevent_block_limit="1", gevent_block_warning="0.2")
    other = site.hold()
    status, told = site.get(f"/{kind}?{way}")
    assert status == 200
    site.wait_until(r"WARNING a greenlet keeps the loop from all other requests, for \S+ s now .*: app \(")
    site.wait_until(r"ERROR the loop has been blocked for \S+ s by app \(")
    site.wait_until(r"Harakiri$")
    assert site.told() == told
    site.release()
    assert other() == (200, told)
    assert "cannot be freed" not in site.log


def test_what_a_call_runs_in_a_greenlet_beside_its_own_is_interrupted_as_it_is(limited):
    site = limited(harakiri=0, gevent=10, gevent_block_limit="1")
    before = site.told()
    assert site.get("/nest?spin")[0] == 504
    assert site.told() == before


def test_what_has_been_spawned_and_cannot_be_interrupted_costs_the_worker(limited):
    site = limited(harakiri=0, gevent=10, gevent_block_limit="0.5")
    before = site.get("/spawn?c")[1]
    site.wait_until("cannot be freed")
    poll(lambda: site.told() != before, "the worker is not replaced")


def test_a_callback_of_the_loop_is_not_interrupted(limited):
    """To raise in the hub would end what it is about to do for others."""
    site = limited(harakiri=0, gevent=10, gevent_block_limit="1", gevent_block_warning="0.2")
    before = site.get("/callback?spin")[1]
    site.wait_until(r"WARNING a callback keeps the loop from all other requests, for \S+ s now .*: app \(")
    site.wait_until("cannot be freed")
    poll(lambda: site.told() != before, "the worker is not replaced")
    assert "Harakiri" not in site.log


def test_a_loop_that_cannot_be_freed_costs_the_worker(limited):
    site = limited(harakiri=0, gevent=10, gevent_block_limit="1")
    before = site.told()["pid"]
    status, _ = site.get("/stuck?c")
    assert status == 504
    site.wait_until("cannot be freed")
    poll(lambda: site.told()["pid"] != before, "the worker is not replaced")
    site.wait_until(rf"worker 1 \(pid {before}\) ended: exit code 1$")
    site.server.stop()
    assert site.count(") ended: ") == 1


def test_what_was_looked_at_is_not_kept(monkeypatch):
    class Done(BaseException):
        pass

    class Channel:
        pass

    options = HarakiriOptions(harakiri=1000.0)
    watchdog = Watchdog(options, BlockingOptions(), list, list, pings=False)
    watchdog.attach()
    (thread,) = watchdog._loops
    channel = Channel()
    known = weakref.ref(channel)
    running = [watchdog.begin(None, channel, thread)]
    del channel

    def between_looks(_):
        watchdog.finish(running.pop())
        assert known() is None
        raise Done

    monkeypatch.setattr(harakiri, "_sleep", between_looks)
    with pytest.raises(Done):
        watchdog._watch()


def test_a_loop_that_cannot_be_freed_is_told_once(caplog):
    """Without a master nobody replaces the process, and the next look has nothing new to say."""
    ends = []
    watchdog = Watchdog(
        HarakiriOptions(gevent_block_limit=1.0), BlockingOptions(), ends.append, lambda: None, pings=True
    )
    watchdog.attach()
    (loop,) = watchdog._loops.values()
    for blocked in (1, 2):
        loop.pinged = 100.0
        for now in (110.0, 110.5, 111.0):
            watchdog._ping(loop, now)
        assert [each.getMessage() for each in caplog.records].count(
            "the loop has been blocked for 10.0 s and cannot be freed"
        ) == blocked
        assert not [each for each in caplog.records if "10.5 s" in each.getMessage()]
        loop.answer()
    assert len(ends) == 1


def test_nobody_asks_whether_a_loop_turns_that_has_ended(monkeypatch):
    """What an application does at the exit may take longer than a call may keep the loop."""
    asked = []
    watchdog = Watchdog(
        HarakiriOptions(gevent_block_limit=1.0), BlockingOptions(), asked.append, lambda: None, pings=True
    )
    monkeypatch.setattr(watchdog, "_ping", lambda loop, now: asked.append(loop))

    class Over(Exception):
        pass

    def sleep(seconds):
        raise Over

    monkeypatch.setattr("appserver.harakiri._sleep", sleep)

    def look():
        with pytest.raises(Over):
            watchdog._watch()

    watchdog.attach()
    look()
    assert len(asked) == 1
    watchdog.detach()
    look()
    assert len(asked) == 1


def test_nothing_is_said_of_a_loop_once_it_has_ended(monkeypatch):
    """The log may end behind it, and what logs then writes to a stderr that nobody may read."""
    watchdog = Watchdog(
        HarakiriOptions(gevent_block_limit=1.0), BlockingOptions(), list, lambda: None, pings=True
    )
    begun, go_on = threading.Event(), threading.Event()
    said = []

    def ping(loop, now):
        begun.set()
        assert go_on.wait(30)
        said.append("blocked")

    def detach():
        watchdog.detach()
        said.append("detached")

    monkeypatch.setattr(watchdog, "_ping", ping)
    watchdog.attach()
    looking, detaching = threading.Thread(target=watchdog._look), threading.Thread(target=detach)
    looking.start()
    assert begun.wait(30)
    detaching.start()
    detaching.join(0.1)  # as long as it is kept waiting
    go_on.set()
    looking.join()
    detaching.join()
    assert said == ["blocked", "detached"]


LEAVING = """
import atexit, pathlib, time

def leave():
    until = time.monotonic() + 1.5  # several times what a call may keep the loop
    while time.monotonic() < until:
        pass
    pathlib.Path("left").touch()

atexit.register(leave)

def application(environ, start_response):
    start_response("200 OK", [])
    return []
"""


@pytest.mark.parametrize("options", [(), ("--master",)])
def test_what_is_done_at_the_exit_may_take_longer(tmp_path, options):
    (tmp_path / "app.py").write_text(LEAVING)
    words = [
        "--http",
        "127.0.0.1:0",
        "--module",
        "app",
        "--gevent",
        "2",
        "--gevent-block-limit",
        "0.3",
        *options,
    ]
    with Server(*words, cwd=tmp_path) as server:
        assert server.stop() == 0
    assert (tmp_path / "left").exists()
    assert "loop has been blocked" not in server.log


def test_a_process_that_holds_the_interpreter_is_killed(limited):
    site = limited()
    before = site.told()["pid"]
    site.begin("/stuck?gil")
    site.wait_until("shows no life", 60)
    poll(lambda: site.told()["pid"] != before, "the worker is not replaced")


def test_all_stacks_are_dumped_while_a_request_blocks(limited):
    site = limited(harakiri=0)
    finish = site.begin("/hold")
    poll((site.directory / "hold.held").exists, "the request does not run")
    site.server.process.send_signal(signal.SIGUSR2)
    site.wait_until(r"thread MainThread \(\d+\), serving GET /hold HTTP/1\.1:")

    def shown():  # the first may find it between two sleeps
        if found := "time.sleep(0.005)" in site.log:
            return found
        dumps = site.count("serving GET /hold HTTP/1.1:")
        site.server.process.send_signal(signal.SIGUSR2)
        poll(lambda: site.count("serving GET /hold HTTP/1.1:") > dumps, "its stack is not told again")
        return False

    poll(shown, "its stack has not the line where it waits")
    (site.directory / "hold.released").touch()
    assert finish()[0] == 200


def test_all_greenlets_are_dumped(limited):
    site = limited(harakiri=0, gevent=10)
    finish = site.begin("/hold")
    poll((site.directory / "hold.held").exists, "the request does not run")
    site.server.process.send_signal(signal.SIGUSR2)
    site.wait_until(r"greenlet 0x[0-9a-f]+ \(greenlet\), serving GET /hold HTTP/1\.1:")
    (site.directory / "hold.released").touch()
    assert finish()[0] == 200
