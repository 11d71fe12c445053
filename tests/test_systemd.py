"""Under systemd: the units in ``configs/``, and a server that is told of and watched."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from configparser import ConfigParser

import pytest

from appserver.address import parse

from .support.server import ROOT, Server

ANALYZE = shutil.which("systemd-analyze")


def unit(name):
    # Systemd's options are the last ones given; none is given twice here, which strict proves.
    parsed = ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",), strict=True)
    parsed.optionxform = str
    parsed.read(ROOT / "configs" / name)
    return parsed


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
def test_systemd_understands_them(tmp_path):
    program = tmp_path / "appserver"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in ("appserver.service", "appserver.socket"):
        text = (ROOT / "configs" / name).read_text().replace("/opt/appserver/bin/appserver", str(program))
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [ANALYZE, "verify", "--man=no", "--recursive-errors=no", *map(str, tmp_path.glob("appserver.s*"))],
        capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_start_of_the_service_alone_starts_the_socket():
    service = unit("appserver.service")["Unit"]
    assert service["Requires"] == "appserver.socket"
    assert "appserver.socket" in service["After"].split()


def test_the_command_is_the_servers(tmp_path):
    program, *arguments = shlex.split(unit("appserver.service")["Service"]["ExecStart"])
    assert program == "/opt/appserver/bin/appserver"
    assert arguments == ["--ini", "/etc/appserver/site.ini"]
    text = (ROOT / "configs" / "appserver.service").read_text()
    example = re.findall(r"^#   ([\w-]+ = .*)$", text, re.MULTILINE)
    (tmp_path / "site.ini").write_text("\n".join(["[appserver]", *example, "module = flask:Flask", ""]))
    done = subprocess.run(
        [sys.executable, "-m", "appserver", "--check", "--ini", tmp_path / "site.ini"],
        capture_output=True, text=True, timeout=50, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "listener: http /run/appserver.sock" in done.stdout


def test_the_sockets_are_those_of_the_example():
    address = unit("appserver.socket")["Socket"]["ListenStream"]
    assert parse(address) == "/run/appserver.sock"
    assert f"#   http-socket = {address}" in (ROOT / "configs" / "appserver.service").read_text()


def test_nothing_stands_against_what_the_server_does():
    service = unit("appserver.service")["Service"]
    assert service["Type"] == "notify"  # which systemd knows before 253, too
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["KillMode"] == "mixed"  # SIGTERM to the master alone
    assert int(service["TimeoutStopSec"]) > 60  # worker-reload-mercy
    assert {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"} == set(service["RestrictAddressFamilies"].split())


def test_the_guides_unit_has_the_same_type():
    guide = (ROOT / "docs" / "migrating-from-uwsgi.md").read_text()
    service = unit("appserver.service")["Service"]
    for name in ("Type", "ExecReload"):
        assert f"\n{name}={service[name]}\n" in guide


class TestServed:
    """A server with a notify socket hears and tells what Type=notify-reload wants."""

    @pytest.fixture
    def systemd(self, tmp_path):
        """Return systemd's socket, and a function that waits for a message with a variable in it."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(f"{tmp_path}/notify")
            sock.settimeout(20)

            def hear(name):
                while True:
                    said = dict(line.split("=", 1) for line in sock.recv(65536).decode().split("\n"))
                    if name in said:
                        return said

            yield f"{tmp_path}/notify", hear

    @pytest.fixture(params=[["--master"]], ids=["master"])
    def started(self, request, tmp_path, systemd):
        """Return a server that systemd watches, and what it tells."""
        path, hear = systemd
        (tmp_path / "app.py").write_text(
            "import os\n"
            "assert not {'NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'} & set(os.environ)\n"
            "def application(environ, start_response):\n"
            "    if environ['PATH_INFO'] == '/held':\n"
            "        open(os.path.join(os.path.dirname(__file__), 'held')).read()\n"
            "    start_response('200 OK', [])\n"
            "    return [b'hello']\n"
        )
        arguments = [*request.param, "--http-socket", "127.0.0.1:0", "--wsgi-file", tmp_path / "app.py"]
        environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}
        with Server(*arguments, env=environ) as server:
            yield server, hear

    def test_the_whole_life(self, started):
        server, hear = started
        ready = hear("READY")
        assert ready["READY"] == "1"
        assert ready["STATUS"].endswith("app.py: generation 1 serves")
        assert hear("WATCHDOG")["WATCHDOG"] == "1"
        before = time.monotonic_ns() // 1000
        server.process.send_signal(signal.SIGHUP)
        reloading = hear("RELOADING")
        assert reloading["RELOADING"] == "1"
        assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert reloading["STATUS"] == "reloading"
        assert hear("READY")["STATUS"].endswith("app.py: generation 2 serves")
        assert hear("WATCHDOG")["WATCHDOG"] == "1"
        server.process.send_signal(signal.SIGTERM)
        assert hear("STOPPING") == {"STOPPING": "1", "STATUS": "stopping"}

    def test_a_reload_that_fails_is_over_as_well(self, started, tmp_path):
        server, hear = started
        hear("READY")
        (tmp_path / "app.py").write_text("1 / 0\n")
        server.process.send_signal(signal.SIGHUP)
        hear("RELOADING")
        assert hear("READY")["READY"] == "1"
        server.wait_until("the reload failed")

    @pytest.mark.parametrize(
        "started", [[], ["--gevent", 2], ["--threads", 2]], ids=["one", "gevent", "threads"], indirect=True
    )
    def test_one_process_tells_the_same(self, started):
        """But that it reloads, which systemd need not wait for."""
        server, hear = started
        ready = hear("READY")
        assert ready["READY"] == "1"
        assert ready["STATUS"].endswith("app.py: one process serves")
        assert hear("WATCHDOG")["WATCHDOG"] == "1"
        server.process.send_signal(signal.SIGHUP)
        told = "nothing is reloaded without a master; set master = true"
        assert hear("RELOADING")["STATUS"] == told
        assert hear("READY") == {"READY": "1", "STATUS": told}
        assert hear("WATCHDOG")["WATCHDOG"] == "1"
        server.process.send_signal(signal.SIGTERM)
        assert hear("STOPPING") == {"STOPPING": "1", "STATUS": "stopping"}

    @pytest.mark.parametrize("started", [[]], ids=["one"], indirect=True)
    def test_one_process_lives_while_its_application_keeps_the_loop(self, started, tmp_path):
        server, hear = started
        os.mkfifo(tmp_path / "held")
        with socket.create_connection(server.addresses["http"].rsplit(":", 1)) as client:
            client.sendall(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
            with (tmp_path / "held").open("w"):  # which returns when the application reads it
                hear("READY")
                for _ in range(3):
                    hear("WATCHDOG")
