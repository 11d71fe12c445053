"""The logs of running servers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import zmq

from tests.support.fronts import GUARD
from tests.support.server import ROOT, Server

APP = """
import logging, logging.config, os, sys

if os.environ.get("CONFIGURE"):
    logging.config.dictConfig({
        "version": 1, "disable_existing_loggers": True, "root": {"level": "CRITICAL", "handlers": []},
        "loggers": {"appserver": {"level": "CRITICAL", "handlers": []}},
    })

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise LookupError("it fails")
    if path == "/log":
        logging.getLogger("mine").info("by logging")
        logging.getLogger("mine").info("%d", "no number")
        print("by wsgi.errors", file=environ["wsgi.errors"])
        print("by stderr", file=sys.stderr, flush=True)
    body = os.readlink("/proc/self/fd/2").encode() if path == "/stderr" else b"hello"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    file = tmp_path_factory.mktemp("app") / "app.py"
    file.write_text(APP)
    return ["--wsgi-file", str(file)]


@pytest.fixture
def listening():
    """Give a listening socket to pass on: who connects to it need not wait for the server."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def fetch(sock, path="/"):
    """Return the status and body of the answer on a socket's address."""
    with socket.create_connection(sock.getsockname(), timeout=20) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    return int(answer.split(b" ")[1]), answer.partition(b"\r\n\r\n")[2]


def started(app, listening, *arguments, **options):
    fd = listening.fileno()
    return Server("--http", f"fd://{fd}", *app, *arguments, pass_fds=[fd], **options)


def command(app, listening, *arguments):
    return [
        sys.executable,
        "-m",
        "appserver",
        "--http",
        f"fd://{listening.fileno()}",
        *app,
        *map(str, arguments),
    ]


@contextmanager
def launched(arguments, listening, **options):
    """Run a command that nobody waits for: its listening socket is there already."""
    process = subprocess.Popen(
        arguments, env={**os.environ, "PYTHONPATH": str(ROOT)}, pass_fds=[listening.fileno()], **options
    )
    try:
        with process:
            try:
                yield process
            finally:
                process.terminate()
    finally:
        process.kill()


REQUEST = r'^\[.{19}\] http 127\.0\.0\.1 "GET %s HTTP/1\.0" %d %d \d+\.\dms$'


def test_stderr_by_default(app, listening):
    with started(app, listening) as server:
        assert fetch(listening, "/a?b=c") == (200, b"hello")
        server.wait_until(REQUEST % (r"/a\?b=c", 200, 5))
        assert fetch(listening, "/fail") == (500, b"Internal Server Error\n")
        server.wait_until(REQUEST % ("/fail", 500, 22))
        assert "\nLookupError: it fails\n" in server.log
        fetch(listening, "/log")
        server.wait_until(r"INFO by logging$")
        server.wait_until(r"ERROR by wsgi.errors$")
        server.wait_until(REQUEST % ("/log", 200, 5))
        assert server.stop() == 0


def test_a_file(app, listening, tmp_path):
    path = tmp_path / "log"
    with launched(command(app, listening, "--logto", path), listening, stderr=subprocess.PIPE) as process:
        assert fetch(listening, "/in-file") == (200, b"hello")
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20) == (None, b"")
        assert process.returncode == 0
    text = path.read_text()
    assert f"listening: http 127.0.0.1:{listening.getsockname()[1]}\n" in text
    assert re.search(REQUEST % ("/in-file", 200, 5), text, re.MULTILINE)
    assert text.endswith("INFO stopped\n")


def test_collectors(app, listening, tmp_path):
    with zmq.Context() as context, context.socket(zmq.PULL) as log, context.socket(zmq.PULL) as requests:
        for name, sock in (("log", log), ("requests", requests)):
            sock.rcvtimeo = 20000
            sock.bind(f"ipc://{tmp_path}/{name}")
        (tmp_path / "site.ini").write_text(
            "[uwsgi]\nlogger = stdio\nlogger = zeromq:ipc://%dlog\nreq-logger = zeromq:ipc://%drequests\n"
        )
        with started(app, listening, tmp_path / "site.ini") as server:
            for number in range(3):
                fetch(listening, f"/{number}")
            fetch(listening, "/fail")
            for number in range(3):
                assert re.search(REQUEST % (f"/{number}", 200, 5), requests.recv().decode())
            assert re.search(REQUEST % ("/fail", 500, 22), requests.recv().decode())
            assert server.stop() == 0
        lines = iter(lambda: log.recv().decode(), None)
        said = [next(lines)]
        while not said[-1].endswith("INFO stopped"):
            said.append(next(lines))
    assert "serves" in said[0]
    assert not any('"GET' in line for line in said)
    assert any(
        "ERROR http: GET /fail: the application raised LookupError\nTraceback" in line for line in said
    )
    assert server.log.splitlines() == "\n".join(said).splitlines()


@pytest.mark.parametrize("option", ["--logger=zeromq:{0}", "--log-zeromq={0}", "--req-logger=zeromq:{0}"])
def test_a_collector_that_never_comes_stops_nothing(app, listening, tmp_path, option):
    where = f"ipc://{tmp_path}/nobody"
    with started(app, listening, "--logger=stdio", option.format(where)) as server:
        for _ in range(20):
            assert fetch(listening) == (200, b"hello")
        assert server.stop() == 0


ELSEWHERE = """
import logging, os, time

os.environ["TZ"] = "America/Chicago"
time.tzset()

def application(environ, start_response):
    logging.getLogger("mine").warning("from far away")
    start_response("200 OK", [])
    return []
"""


@pytest.mark.parametrize(
    "arguments, begun, offset",
    [
        ([], "Asia/Tokyo", "+0900"),
        (["--env", "TZ=Asia/Kathmandu"], "Asia/Tokyo", "+0545"),
        ([], "", "+0000"),
        (["--master"], "Asia/Tokyo", "+0900"),
        (["--master", "--lazy-apps", "--env=TZ=Asia/Kathmandu"], "Asia/Tokyo", "+0545"),
    ],
)
def test_a_log_is_in_one_time_zone(listening, tmp_path, arguments, begun, offset):
    """Django sets another one while it is loaded, that of TIME_ZONE."""
    (tmp_path / "app.py").write_text(ELSEWHERE)
    app = ["--wsgi-file", tmp_path / "app.py", "--log-date=%z"]
    with started(app, listening, *arguments, env={"TZ": begun}) as server:
        assert fetch(listening)[0] == 200
        server.wait_until("from far away")
        assert server.stop() == 0
    assert set(re.findall(r"^\[(.*?)\]", server.log, re.MULTILINE)) == {offset}


def test_no_lines_about_requests(app, listening):
    with started(app, listening, "-L") as server:
        assert fetch(listening, "/quiet") == (200, b"hello")
        assert server.stop() == 0
    assert "/quiet" not in server.log
    assert "listening: http" in server.log


def test_an_application_that_configures_logging_does_not_silence_the_server(app, listening):
    with started(app, listening, env={"CONFIGURE": "1"}) as server:
        fetch(listening, "/fail")
        server.wait_until(r"^LookupError: it fails$")
        server.wait_until(REQUEST % ("/fail", 500, 22))
        assert server.stop() == 0
    assert "INFO stopped" in server.log
    assert "by logging" not in server.log


CONFIGURED = """
import logging, sys

log = logging.getLogger("mine")
log.info("while it is loaded")
logging.basicConfig(filename="app.log", format="APP %(message)s")
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("OWN %(message)s"))
logging.getLogger("own").addHandler(handler)
logging.getLogger("own").propagate = False
log.info("no more")

def application(environ, start_response):
    log.info("no more")
    log.warning("a warning")
    logging.getLogger("own").warning("another")
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""


@pytest.mark.parametrize("way", [[], ["--master"], ["--master", "--lazy-apps"]], ids=" ".join)
def test_an_application_configures_logging_as_it_does_without_a_server(listening, tmp_path, way):
    (tmp_path / "app.py").write_text(CONFIGURED)
    app = ["--module", "app", "--warm-up=none", *way]
    with started(app, listening, cwd=tmp_path) as server:
        assert fetch(listening) == (200, b"hello")
        server.wait_until(REQUEST % ("/", 200, 5))
        assert server.stop() == 0
    assert (tmp_path / "app.log").read_text() == "APP a warning\n"
    assert "INFO while it is loaded\n" in server.log
    assert server.log.count("another\n") == server.log.count("\nOWN another\n") == 1
    assert "no more" not in server.log
    assert "a warning" not in server.log


@pytest.mark.parametrize("mode", ["closed", "broken", "full"])
def test_without_a_stderr_requests_go_on(app, listening, tmp_path, mode):
    arguments = command(app, listening)
    if mode == "closed":
        launcher = tmp_path / "launcher"
        launcher.write_text('#!/bin/sh\nexec "$@" <&- >&- 2>&-\n')
        launcher.chmod(0o755)
        arguments.insert(0, str(launcher))
    read, write = os.pipe()
    os.close(read)
    with open("/dev/full", "w") as full, os.fdopen(write, "w") as broken:
        stderr = full if mode == "full" else broken
        with launched(arguments, listening, stderr=stderr):
            assert fetch(listening) == (200, b"hello")
            assert fetch(listening, "/log")[0] == (200 if mode == "closed" else 500)  # its own print() fails
            assert fetch(listening, "/fail")[0] == 500
            shown = {"closed": b"/dev/null", "full": b"/dev/full", "broken": b"pipe:"}[mode]
            assert fetch(listening, "/stderr")[1].startswith(shown)


def fill(write):
    """Write to a pipe until there is no room."""
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)


@pytest.mark.parametrize("option", ["--gevent=4", "--threads=2", "--master"])
def test_a_reader_of_stderr_that_has_stopped_holds_nobody_up(app, listening, option):
    read, write = os.pipe()
    with launched(command(app, listening, option, "--warm-up=none"), listening, stderr=write) as server:
        assert fetch(listening) == (200, b"hello")
        fill(write)
        for _ in range(3):
            assert fetch(listening) == (200, b"hello")
        server.terminate()
        assert server.wait(60) == 0
    os.close(write)
    os.close(read)


LATE = {
    "thread": """
import threading

def tell():
    while True:
        logging.getLogger("mine").warning("a thread goes on")

threading.Thread(target=tell, daemon=True).start()
""",
    "exit": """
import atexit

atexit.register(logging.getLogger("mine").warning, "at the exit")
""",
}


@pytest.mark.parametrize("late", LATE)
def test_a_reader_of_stderr_that_has_stopped_holds_up_no_application_that_logs_last(
    listening, tmp_path, late
):
    (tmp_path / "app.py").write_text(APP + LATE[late])
    read, write = os.pipe()
    arguments = command(["--module", "app", "--worker-reload-mercy=3600"], listening)
    with launched(arguments, listening, stderr=write, cwd=tmp_path) as server:
        fill(write)
        assert fetch(listening) == (200, b"hello")
        server.terminate()
        assert server.wait(60) == 0
    os.close(write)
    os.close(read)


def children(pid):
    return {*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())}


def test_what_a_reader_of_stderr_does_not_take_of_a_worker_that_ends_is_told(app, listening):
    read, write = os.pipe()
    arguments = command(
        app, listening, "--master", "--warm-up=none", "--log-format=%(uri)", "--gevent=2",
        "--gevent-block-warning=0",
    )  # fmt: skip
    with launched(arguments, listening, stderr=write) as server:
        assert fetch(listening) == (200, b"hello")
        log = b""
        while not (b"\n/\n" in log and b"INFO ready\n" in log):  # the one or the other comes first
            log += os.read(read, 65536)
        before = children(server.pid)
        os.set_blocking(write, False)
        with suppress(BlockingIOError):
            while True:
                os.write(write, b"x" * 4096)
        for number in range(3):
            assert fetch(listening, f"/{number}") == (200, b"hello")
        server.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + GUARD
        while before & children(server.pid):
            assert time.monotonic() < deadline, "the old processes do not end"
            time.sleep(0.01)
        os.close(write)
        server.terminate()
        with open(read, "rb") as reader:
            log = reader.read().rpartition(b"xxxx")[2]
        assert server.wait(60) == 0
    assert re.search(
        rb"ERROR worker 1 \(pid \d+\) has ended, and 3 lines of its log were dropped: nobody", log
    )
    assert b"/2\n" not in log


@pytest.mark.parametrize(
    "option, told",
    [
        ("logto = {0}/absent/log", "No such file or directory: {0}/absent/log"),
        ("req-logger = file:{0}", "Is a directory: {0}"),
        ("logger-req = file:{0}", "Is a directory: {0}"),
    ],
)
def test_what_cannot_be_opened_stops_the_start(app, tmp_path, option, told):
    option, told = option.format(tmp_path), told.format(tmp_path)
    (tmp_path / "site.ini").write_text(f"[uwsgi]\nhttp = 127.0.0.1:0\n{option}\nlogger = stdio\n")
    done = subprocess.run(
        [sys.executable, "-m", "appserver", "site.ini", *app], cwd=tmp_path, capture_output=True, text=True, timeout=30,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"appserver: site.ini:3: {option}: the log cannot be opened: {told}\n"
