"""``appserver parity``: the same request over every listener, and what is told of the answers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from appserver.parity.comparing import differences
from appserver.protocols.fronts import Answer
from tests.support.server import Server

# Its answers tell over which listener they came, in the way that ?QUERY asks for.
APP = """
def application(environ, start_response):
    name, query = environ["appserver.listener"], environ["QUERY_STRING"]
    if query == "raise" and name == "scgi":
        raise ValueError
    status = "404 Not Found" if query == "status" and name == "fastcgi" else "200 OK"
    headers = [("X-Name", name)] if query == "header" else []
    start_response(status, [("Content-Type", "text/plain"), *headers])
    return [name.encode() if query == "body" else b"same"]
"""
MOUNTS = ("http", "uwsgi", "fastcgi", "scgi")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return a directory with the ini file of a running server."""
    directory = tmp_path_factory.mktemp("parity")
    (directory / "app.py").write_text(APP)
    (directory / "site.ini").write_text(
        f"[appserver]\nmodule = app\nchdir = {directory}\n"
        f"http-socket = {directory}/http.sock\nsocket = {directory}/uwsgi.sock\n"
        f"fastcgi-socket = {directory}/fastcgi.sock\nscgi-socket = {directory}/scgi.sock\n"
    )
    with Server("--ini", directory / "site.ini", cwd=directory):
        yield directory


def parity(directory, *arguments):
    command = [sys.executable, "-m", "appserver", "parity", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=50)


def told(directory, *arguments):
    done = parity(directory, "--json", "site.ini", *arguments)
    found = json.loads(done.stdout)
    assert found["exit"] == done.returncode
    return done.returncode, {
        each["name"]: [d["where"] for d in each["differences"]] for each in found["listeners"]
    }


def test_answers_that_are_alike(site):
    assert told(site) == (0, {name: [] for name in MOUNTS})
    done = parity(site, "site.ini")
    assert done.stdout.splitlines()[0] == f"http {site}/http.sock: 200 OK, 4 bytes"
    assert done.stdout.splitlines()[3] == f"scgi {site}/scgi.sock: 200 OK, 4 bytes, alike"


@pytest.mark.parametrize(
    "query, differing",
    [
        ("header", {name: ["header x-name"] for name in MOUNTS[1:]}),
        ("body", {name: ["body from byte 0"] for name in MOUNTS[1:]}),
        ("status", {"uwsgi": [], "fastcgi": ["status"], "scgi": []}),
    ],
)
def test_what_differs_is_told(site, query, differing):
    assert told(site, "--target", f"/?{query}") == (1, {"http": [], **differing})


def test_a_failure_on_one_listener(site):
    code, found = told(site, "--target", "/?raise")
    assert (code, found["scgi"][0]) == (1, "status")


def test_a_listener_that_is_not_there(site, tmp_path):
    text = (site / "site.ini").read_text().replace("scgi.sock", "absent.sock")
    (tmp_path / "site.ini").write_text(text + "zeromq = ipc:///tmp/a,ipc:///tmp/b\n")
    done = parity(tmp_path, "site.ini")
    assert done.returncode == 2
    assert f"scgi {site}/absent.sock: No such file or directory" in done.stdout
    assert "mongrel2 ipc:///tmp/a,ipc:///tmp/b: left out: only mongrel2 itself can ask" in done.stdout


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--method"], "--method: a value is missing"),
        (["--method", "G T"], "--method: 'G T' is no method"),
        (["--target", "x"], "--target: expected a path"),
        (["--target", "/a b"], "--target: expected a path"),
        (["--header", "X_Y: 1"], "'X_Y: 1' cannot be sent"),
        (["--header", "X"], "'X' cannot be sent"),
        (["--header", "Content-Length: 1"], "cannot be sent"),
        (["--header", "Host: a/b"], "'a/b' is no Host"),
        (["--header", "X: a\rb"], "control character"),
        (["--threads", "x"], "--threads x: expected a whole number"),
        ([], "nothing to listen on"),
    ],
)
def test_bad_arguments(tmp_path, arguments, reason):
    done = parity(tmp_path, *arguments)
    assert done.returncode == 2
    assert reason in done.stderr


def test_one_listener_is_nothing_to_compare(site):
    done = parity(site, "--http-socket", "http.sock")
    assert done.returncode == 2
    assert "there are not two listeners to compare" in done.stdout


def test_a_server_that_does_not_run_is_asked_for(tmp_path):
    done = parity(tmp_path, "--http-socket", "http.sock", "--socket", "uwsgi.sock")
    assert done.returncode == 2
    assert done.stdout.count("No such file or directory") == 2
    assert done.stdout.endswith("\nno listener answers: is the server running?\n")


def test_a_port_that_only_the_server_knows(tmp_path):
    done = parity(tmp_path, "--http-socket", "127.0.0.1:0", "--socket", "fd://3")
    assert done.stdout.count("only the running server knows its address") == 2


def test_the_environs_of_all_five_are_alike(tmp_path):
    """The probe has a path that is escaped twice, repeated fields, bytes above ASCII, and a body."""
    (tmp_path / "site.ini").write_text(
        "[appserver]\nmodule = none_such\nhttp-socket = :1, trusted-proxies=none, allow=none\nsocket = /x/y.sock\n"
        "fastcgi-socket = :2\nscgi-socket = 10.1.2.3:4\nzeromq = ipc:///tmp/a,ipc:///tmp/b\npidfile = /none/such\n"
    )
    code, found = told(tmp_path, "--environ")
    assert (code, found) == (0, {name: [] for name in (*MOUNTS, "mongrel2")})


def test_an_environ_that_differs(tmp_path):
    """Here one listener believes what the client says of itself."""
    (tmp_path / "site.ini").write_text(
        "[appserver]\nmodule = none_such\nhttp-socket = :1\nsocket = :2, trusted-proxies=127.0.0.1\n"
    )
    code, found = told(tmp_path, "--environ", "--header", "X-Forwarded-For: 192.0.2.1")
    assert (code, found) == (1, {"http": [], "uwsgi": ["body environ REMOTE_ADDR"]})


def test_a_server_of_our_own_that_does_not_start(tmp_path):
    (tmp_path / "site.ini").write_text("[appserver]\nmodule = x\nhttp-socket = :1\nsocket = :2\n")
    code = (
        "import sys; sys.executable = '/bin/false'; from appserver.cli import main\n"
        "sys.exit(main(['parity', '--environ', 'site.ini']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 2
    assert "a server of our own does not start" in done.stderr


def answer(body=b"", status="200 OK", headers=(), complete=True):
    return Answer(status, tuple(headers), body, complete)


@pytest.mark.parametrize(
    "first, other, where",
    [
        (answer(), answer(headers=[("Date", "x"), ("Connection", "close")]), []),
        (answer(headers=[("A", "1"), ("A", "2")]), answer(headers=[("a", "2"), ("a", "1")]), ["header a"]),
        (answer(), answer(complete=False), ["end"]),
        (answer(b"abc"), answer(b"abcd"), ["body from byte 3"]),
        (answer(b'{"a": {"b": 1}, "c": 2}'), answer(b'{"a": {"b": 2}, "d": 2}'), ["body a b", "body c", "body d"]),
        (answer(b'{"REMOTE_PORT": 1}'), answer(b'{"REMOTE_PORT": 2}'), []),
        (answer(b'{"CONTENT_LENGTH": "0"}'), answer(b"{}"), []),
        (answer(b'{"CONTENT_LENGTH": "1"}'), answer(b"{}"), ["body CONTENT_LENGTH"]),
        (answer(b"{}"), answer(b"[]"), ["body from byte 0"]),
    ],
)  # fmt: skip
def test_comparing(first, other, where):
    assert [each.where for each in differences(first, other)] == where


def test_long_values_are_cut_short():
    (found,) = differences(answer(status="200 " + "x" * 1000), answer())
    assert str(found) == f"status: '200 {'x' * 196}...' and '200 OK'"
