"""What ``appserver doctor`` finds; each case in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.server import ROOT

APP = """
{imports}

def application(environ, start_response):
    raise AssertionError("nobody calls it")
"""

# Libraries in the state in which they block, as far as they are looked at, and the same when they do not.
LIBRARIES = {
    "psycopg2.extensions": ("def get_wait_callback(): return {}", "None", "print"),
    "psycopg.waiting": ("def wait_c(): pass\ndef wait_poll(): pass\nwait = {}", "wait_c", "wait_poll"),
    "oracledb": ("def is_thin_mode(): return {}", "False", "True"),
    "MySQLdb._mysql": ("", "", None),
    "_mysql_connector": ("", "", None),
    "pyodbc": ("", "", None),
    "pycurl": ("", "", None),
    "pylibmc": ("", "", None),
    "eventlet.hubs": ("", "", None),
}


def library(directory, name, text=""):
    """Write a module in the place of a library that need not be installed."""
    *packages, last = name.split(".")
    for package in packages:
        directory /= package
        directory.mkdir(exist_ok=True)
        (directory / "__init__.py").touch()
    (directory / f"{last}.py").write_text(text)


def examine(directory, *arguments, imports="", limit="", **environ):
    (directory / "app.py").write_text(APP.format(imports=imports))
    command = [sys.executable, "-W", "error", "-m", "appserver", "doctor", "--http-socket", ":0", *arguments]
    if limit:
        command = ["sh", "-c", f'ulimit -Sn {limit} && exec "$@"', "-", *command]
    environ = {"PYTHONPATH": f"{directory}:{ROOT}", "PATH": "/bin:/usr/bin", **environ}
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=30, env=environ)


def warnings(done):
    """Return the warnings of an examination that has come to its end."""
    found = [line for line in done.stdout.splitlines()[1:] if line.startswith("warning: ")]
    assert done.returncode == bool(found), done.stderr
    return found


def test_nothing_is_found_in_an_application_in_order(tmp_path):
    done = examine(tmp_path, "--gevent", "100", "app:application", imports="import socket, ssl, threading")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "app:application: up to 100 requests at once in greenlets\nnothing was found\n"


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_that_blocks_is_named_with_what_to_do(tmp_path, name):
    text, blocking, _ = LIBRARIES[name]
    library(tmp_path, name, text.format(blocking))
    (warning,) = warnings(examine(tmp_path, "--gevent", "10", "app:application", imports=f"import {name}"))
    assert warning.startswith(f"warning: {name} is imported: ")
    assert " hold up all other requests while they wait; " in warning


@pytest.mark.parametrize("name", [name for name, (_, _, fine) in LIBRARIES.items() if fine])
def test_a_library_that_waits_in_greenlets_is_not(tmp_path, name):
    text, _, fine = LIBRARIES[name]
    library(tmp_path, name, text.format(fine))
    assert warnings(examine(tmp_path, "--gevent", "10", "app:application", imports=f"import {name}")) == []


@pytest.mark.parametrize(
    "imports, found",
    [
        ("import sqlite3", True),
        ("from sqlite3 import connect", True),
        ("import django.db.backends.sqlite3.base", True),
        ("import sqlalchemy.dialects.sqlite.pysqlite", True),
        ("import cached", False),
    ],
)
def test_sqlite_is_named_where_the_application_uses_it(tmp_path, imports, found):
    """Not where a library does so for its own ends, as coverage and many caches do."""
    packages = tmp_path / "site-packages"
    packages.mkdir()
    for name in "django.db.backends.sqlite3.base", "sqlalchemy.dialects.sqlite.pysqlite", "cached":
        library(packages, name, "import sqlite3")
    arguments = "--gevent", "10", f"--pythonpath={packages}", "app:application"
    done = warnings(examine(tmp_path, *arguments, imports=imports))
    assert [each.partition(",")[0] for each in done] == [
        "warning: sqlite3 is imported: writes to SQLite"
    ] * found


def test_grpc_needs_its_own_patch(tmp_path):
    library(tmp_path, "grpc.experimental.gevent")
    arguments = tmp_path, "--gevent", "10", "app:application"
    assert "init_gevent()" in warnings(examine(*arguments, imports="import grpc"))[0]
    assert warnings(examine(*arguments, imports="import grpc.experimental.gevent")) == []


def test_a_standard_library_that_is_not_patched(tmp_path):
    arguments = tmp_path, "--gevent", "10", "--gevent-monkey-patch=false", "app:application"
    (warning,) = warnings(examine(*arguments))
    assert (
        "time.sleep, sockets, TLS, select, locks, child processes, queues; leave out gevent-monkey-patch"
        in warning
    )
    patches = "from gevent import monkey; monkey.patch_all({})"
    assert warnings(examine(*arguments, imports=patches.format(""))) == []
    (warning,) = warnings(examine(*arguments, imports=patches.format("thread=False")))
    assert "holds up all other requests: locks; " in warning


def test_an_application_that_patches_again(tmp_path):
    patches = "from gevent import monkey; monkey.patch_all()"
    (warning,) = warnings(examine(tmp_path, "--gevent", "10", "app:application", imports=patches))
    assert "app.py:2 calls gevent.monkey.patch_all()" in warning


def test_a_resolver_that_blocks(tmp_path):
    (warning,) = warnings(examine(tmp_path, "--gevent", "10", "app:application", GEVENT_RESOLVER="block"))
    assert "names are looked up by the C library in the loop's own thread" in warning


@pytest.mark.parametrize("calls, wanted", [(200, 0), (1000, 4128)])
def test_too_few_descriptors(tmp_path, calls, wanted):
    found = warnings(examine(tmp_path, "--gevent", str(calls), "app:application", limit=1000))
    assert len(found) == bool(wanted)
    for warning in found:
        assert "a process may open 1000 files, and 1000 calls at once need about 2064" in warning
        assert f"LimitNOFILE={wanted}" in warning


def test_simple_websocket_needs_more_descriptors(tmp_path):
    """Its socket is one end of a pair."""
    library(tmp_path, "simple_websocket")
    arguments = (tmp_path, "--gevent", "300", "app:application")
    assert warnings(examine(*arguments, limit=1000)) == []
    (warning,) = warnings(examine(*arguments, limit=1000, imports="import simple_websocket"))
    assert (
        "300 calls at once need about 1264, each for its client and a connection of its own, and two for"
        in warning
    )


def test_without_gevent_a_library_may_block(tmp_path):
    library(tmp_path, "pyodbc")
    done = examine(tmp_path, "app:application", imports="import pyodbc")
    assert warnings(done) == []
    assert done.stdout.endswith("nothing was found; without gevent a call may block its core\n")


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["--gevnt", "3"], "appserver: --gevnt: there is no such option; did you mean gevent?"),
        (["missing.ini"], "appserver: missing.ini: No such file or directory"),
        (["no:app"], ("appserver: --module no:app: the application no cannot be loaded: No module named 'no'; correct the name,"
         " or set pythonpath to the directory that has it (the directory is {tmp_path})")),
        (["--gevent", "2", "--threads", "2", "app:application"],
         "appserver: --gevent 2: gevent = 2 and threads = 2: greenlets run in one thread; remove one"),
    ],
)  # fmt: skip
def test_what_would_not_start_is_not_examined(tmp_path, arguments, problem):
    done = examine(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == problem.replace("{tmp_path}", str(tmp_path))


def test_an_ini_file_is_examined(tmp_path):
    (tmp_path / "site.ini").write_text(
        "[appserver]\nmodule = app\ngevent = 10\ngevent-monkey-patch = false\n"
    )
    assert len(warnings(examine(tmp_path, "--ini", "site.ini"))) == 1


def test_its_help():
    done = subprocess.run(
        [sys.executable, "-m", "appserver", "doctor", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("usage: appserver doctor [OPTION ...]")
