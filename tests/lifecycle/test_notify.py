"""What systemd is told."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from appserver.lifecycle.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    """Return a socket as systemd has one, and its name in NOTIFY_SOCKET."""
    name = f"{tmp_path}/notify" if request.param == "path" else f"@appserver-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        sock.settimeout(20)
        yield sock, name


def said(sock):
    return sock.recv(65536).decode().split("\n")


def test_the_life_of_a_server(systemd):
    sock, name = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("2 workers")
    assert said(sock) == ["READY=1", "STATUS=2 workers"]
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    reloading, stamp = said(sock)
    assert reloading == "RELOADING=1"
    assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.ready()
    assert said(sock) == ["READY=1"]
    notifier.status("loading")
    assert said(sock) == ["STATUS=loading"]
    notifier.watchdog()
    assert said(sock) == ["WATCHDOG=1"]
    notifier.stopping("1 request in hand")
    assert said(sock) == ["STOPPING=1", "STATUS=1 request in hand"]


@pytest.mark.parametrize(
    "text, line",
    [
        ("a\nREADY=1\r\n b", "STATUS=a READY=1 b"),
        ("", "STATUS="),
        ("caf\xe9 \udce9", "STATUS=caf\xe9 \\udce9"),
        ("x" * 1000, "STATUS=" + "x" * 500),
        ("a\x85b\u2028c", "STATUS=a b c"),
    ],
)
def test_a_status_is_one_line(systemd, text, line):
    sock, name = systemd
    Notifier({"NOTIFY_SOCKET": name}).status(text)
    assert said(sock) == [line]


def test_a_daemon_tells_its_own_pid(systemd, monkeypatch):
    sock, name = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name})
    monkeypatch.setattr(os, "getpid", lambda: 4321)
    notifier.ready()
    assert said(sock) == ["READY=1", "MAINPID=4321"]


def test_workers_inherit_nothing(monkeypatch):
    for variable in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(variable, "1")
    Notifier()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)


@pytest.mark.parametrize(
    "given, interval",
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({"WATCHDOG_USEC": "0"}, 0),
        ({"WATCHDOG_USEC": "²"}, 0),
        ({"WATCHDOG_USEC": "3000000", "NOTIFY_SOCKET": ""}, 0),
    ],
)
def test_the_interval_of_the_watchdog(given, interval):
    assert Notifier({"NOTIFY_SOCKET": "/run/x", **given}).interval == interval


@pytest.mark.parametrize("name", ["", "relative", "vsock:2:1", "/no/such/socket", "@", "/" + "x" * 200])
def test_a_systemd_that_is_away_is_no_error(name):
    notifier = Notifier({"NOTIFY_SOCKET": name} if name else {})
    notifier.ready("up")
    notifier.watchdog()
    notifier.stopping()


def test_a_systemd_that_reads_nothing_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr("appserver.lifecycle.notify._PATIENCE", 0.001)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(f"{tmp_path}/notify")
        notifier = Notifier({"NOTIFY_SOCKET": f"{tmp_path}/notify"})
        limit = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
        for _ in range(limit + 5):
            notifier.watchdog()
