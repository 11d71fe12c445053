"""docs/migrating-from-uwsgi.md can be followed: what it shows runs as it is written."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys

from appserver.configuration import Configuration
from tests.support.server import ROOT, Server

GUIDE = (ROOT / "docs" / "migrating-from-uwsgi.md").read_text()


def shown(title):
    """Return the shell's lines below a heading of the guide."""
    [section] = re.findall(rf"^## \d\. {title}.*?\n(.*?)(?=^## )", GUIDE, re.MULTILINE | re.DOTALL)
    return "".join(re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)).splitlines()


def test_a_server_beside_the_old_one_has_nothing_of_it(tmp_path):
    (tmp_path / "app.py").write_text(
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"
    )
    pidfile = tmp_path / "site.pid"
    pidfile.write_text(f"{os.getpid()}\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "uwsgi.ini").write_text(
            f"[uwsgi]\nmodule = app\nmaster = true\nprocesses = 2\nbase = {tmp_path}\nsocket = {address}\n"
            f"http = {address}\nhttp-socket = {address}\nstats = {address}\npidfile = %(base)/site.pid\n"
            "safe-pidfile2 = x\nsafe-pidfile = site.pid\ndaemonize = log\nlogto2 = log\nreq-logger = file:log\n"
            "zmq = tcp://127.0.0.1:1,tcp://127.0.0.1:2\nhttprouter = :0\nstats-server = x\nlogger-req = file:log\n"
            "exec-as-user = touch ran\ntouch-exec = log touch ran\nhook-asap = exec:touch ran\n"
            "unique-cron = -1 -1 -1 -1 -1 touch ran\nattach-daemon = touch ran\ncontrol-socket = site.ctl\nchmod-socket\n"
        )
        write, start, *_ = shown("Start it beside the old one")
        command = shlex.join([sys.executable, "-m", "appserver"])
        write = re.sub(r"^appserver ", f"{command} ", write)
        subprocess.run(
            ["sh", "-c", write], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True
        )
        assert (
            tmp_path / "beside.ini"
        ).read_text() == "[appserver]\nmodule = app\nmaster = true\nprocesses = 2\n"
        _, *arguments = shlex.split(start)
        arguments[-1] = "127.0.0.1:0"
        with Server(*arguments, cwd=tmp_path) as server:
            assert set(server.addresses) == {"http"}
    assert pidfile.read_text() == f"{os.getpid()}\n"


# What both servers would have, beside the listeners.
OTHERS = {
    "stats", "pidfile", "pidfile2", "safe-pidfile", "daemonize", "daemonize2", "logto", "logto2", "logger",
    "req-logger", "log-zeromq", "cron", "unique-cron", "attach-daemon", "smart-attach-daemon", "touch-exec",
    "control-socket",
}  # fmt: skip


def test_what_both_would_have_is_left_out_by_each_of_its_names():
    write, *_ = shown("Start it beside the old one")
    pattern = re.compile(shlex.split(write)[shlex.split(write).index("-Ev") + 1])
    taken = {
        name
        for name, declared in Configuration([]).catalogue.by_name.items()
        if declared.mounts or declared.name in OTHERS or declared.name.startswith(("exec-", "hook-"))
    }
    assert taken > OTHERS
    assert [name for name in sorted(taken) if not pattern.search(f"{name} = value")] == []
    kept = {"module", "processes", "chdir", "env", "socket-timeout", "stats-minified", "logger-x", "http-x"}
    assert [name for name in sorted(kept) if pattern.search(f"{name} = value")] == []
