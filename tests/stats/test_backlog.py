"""How many connections wait at a socket: what the kernel tells, and where it does not."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from appserver.stats import backlog as asked
from appserver.stats.backlog import backlog


@pytest.fixture(params=["tcp", "unix"])
def listening(request, tmp_path):
    if request.param == "tcp":
        made = socket.create_server(("127.0.0.1", 0), backlog=5)
    else:
        made = socket.socket(socket.AF_UNIX)
        made.bind(f"{tmp_path}/sock")
        made.listen(5)
    with made:
        yield made


def test_those_who_wait_are_counted(listening):
    assert backlog(listening) == (0, 5)
    with socket.socket(listening.family) as one, socket.socket(listening.family) as other:
        for each in (one, other):
            each.connect(listening.getsockname())
        assert backlog(listening) == (2, 5)


@pytest.mark.parametrize(
    "number, warns", [(errno.EAFNOSUPPORT, True), (errno.EPERM, True), (errno.EMFILE, False)]
)
def test_what_is_forbidden_is_told_once(listening, monkeypatch, caplog, number, warns):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    asked._warn.cache_clear()
    monkeypatch.setattr(asked, "_Socket", refuse)
    unix = listening.family == socket.AF_UNIX
    for _ in range(2):
        assert backlog(listening) == ((0, 0) if unix else (0, 5))
    told = (
        "statistics tell 0 for the listen queues of Unix sockets, as the kernel gives this process no netlink"
        f" socket: {os.strerror(number)}; under systemd add AF_NETLINK to RestrictAddressFamilies"
    )
    assert [each.getMessage() for each in caplog.records] == [told] * (unix and warns)
