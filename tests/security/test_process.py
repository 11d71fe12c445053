"""What an application, a crash or a full disk can do to the server: nothing that lasts (docs/security/process.md)."""

from __future__ import annotations

import ast
import os
import resource
import stat
import sys
from pathlib import Path

import pytest

from tests.listeners.conftest import FRONTS, Site
from tests.support.clients import HttpClient
from tests.support.server import ROOT, Server

APP = """
import json, os, signal, sys

def recurse():
    recurse()

HOW = {
    "exit": lambda: sys.exit(3), "exit-4": lambda: sys.exit(4), "text": lambda: sys.exit("no"), "memory": lambda: bytearray(1 << 62),
    "recursion": recurse, "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt), "stop": lambda: next(iter(())),
    "generator": lambda: (_ for _ in ()).throw(GeneratorExit), "base": lambda: (_ for _ in ()).throw(BaseException),
}

def app(environ, start_response):
    path = environ["PATH_INFO"][1:]
    if path in HOW:
        list(HOW[path]()) if path not in ("exit", "exit-4", "text") else HOW[path]()
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [f"{os.getpid()} {len(body)}".encode()]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    (directory / "dies.py").write_text(APP)
    found = Site(directory, "dies:app", chdir=directory)
    yield found
    found.close()


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize(
    "how", ["exit", "exit-4", "text", "memory", "recursion", "interrupt", "stop", "generator", "base"]
)
def test_P1_no_exception_of_a_request_ends_more_than_it(site, front, how):
    with site.client(front) as client:
        answer = client.request("GET", f"/{how}")
        assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
        assert client.request("GET", "/").body == f"{site.server.process.pid} 0".encode()


@pytest.mark.parametrize("options", [[], ["--master"]])
def test_P11_each_unix_socket_has_its_own_permissions(tmp_path, options):
    (tmp_path / "dies.py").write_text(APP)
    mounts = {"a": "", "b": ", chmod-socket=600", "c": f", chmod-socket=660, chown-socket={os.getuid()}"}
    words = [f"--http-socket={tmp_path}/{name}.sock{own}" for name, own in mounts.items()]
    before = os.umask(0o002)
    try:
        with Server(*words, *options, "--module", "dies:app", cwd=tmp_path) as server:
            modes = {name: stat.S_IMODE(os.stat(tmp_path / f"{name}.sock").st_mode) for name in mounts}
            assert modes == {"a": 0o775, "b": 0o600, "c": 0o660}
            with HttpClient(f"{tmp_path}/b.sock") as client:
                assert client.request("GET", "/").status == 200
            assert len(server.all_addresses) == 3
    finally:
        os.umask(before)


# Who reads the clock of the wall, and for what: for nothing that is waited for, but the minutes of cron.
CLOCKS = {
    "log.access": "the time in a line", "log.encoders": "the time in a line", "exchange": "the field Date",
    "log.sinks": "the name of a file", "static.service": "the field Expires", "ini.magic": "%t",
    "clock": "cron", "placeholders": "${time[unix]} and ${httptime[60]} in rules of route",
    "compat.finder": "uwsgi.started_on",
    "alone": "the start in the statistics", "lifecycle.generation": "the start in the statistics",
}  # fmt: skip


def test_P13_only_cron_and_texts_know_the_clock_of_the_wall():
    package = ROOT / "appserver"
    reading = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time", "time.time", "datetime.now"}:
                reading.add(".".join(file.relative_to(package).with_suffix("").parts))
    assert reading == set(CLOCKS)


def no_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Return a server that can write to no file, as where a disk is full."""
    directory = tmp_path_factory.mktemp("full")
    (directory / "dies.py").write_text(APP)
    words = ["--http-socket", "127.0.0.1:0", "--module", "dies:app", "--post-buffering", "1000"]
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    with Server(*words, cwd=directory, env=env, preexec_fn=no_files) as server:
        yield server


def test_P15_a_body_that_no_file_can_hold_is_refused_and_others_are_served(full):
    with HttpClient(full.addresses["http"]) as client:
        assert client.request("POST", "/", body=b"x" * 1000).body.endswith(b" 1000")
        answer = client.request("POST", "/", body=b"x" * 100000)
        assert answer.status == 507
        assert b"/" not in answer.body, "it names directories to the client"
    with HttpClient(full.addresses["http"]) as client:
        assert client.request("POST", "/", body=b"x" * 1000).body.endswith(b" 1000")


def test_no_pickle_is_read_anywhere():
    """Nothing that comes from outside is ever made into objects that run code."""
    banned = {"pickle", "marshal", "shelve", "dill"}
    found = {
        (file.name, name)
        for file in (ROOT / "appserver").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([each.name for each in node.names] + [getattr(node, "module", "") or ""])
        if name.split(".")[0] in banned
    }
    assert found == set()


def test_lower_bounds_have_reasons():
    """Each dependency has a lower bound, and says why it is there."""
    import tomllib

    text = Path(ROOT / "pyproject.toml").read_text()
    project, lines = tomllib.loads(text)["project"], [line.strip() for line in text.splitlines()]
    for requirement in project["dependencies"] + project["optional-dependencies"]["autoreload"]:
        before = lines[lines.index(f'"{requirement}",') - 1]
        assert ">=" in requirement
        assert before.startswith("# "), requirement
    assert sys.version_info >= (3, 11)
