"""What is said while Mongrel2 does not come."""

from __future__ import annotations

import logging
import os
import socket

import pytest
import zmq

from appserver.listeners.absence import Absence, unreachable
from tests.support.fronts import poll
from tests.support.ports import free_port


@pytest.fixture
def look(monkeypatch, caplog):
    """Return a function that waits for the warning about an endpoint."""
    monkeypatch.setattr("appserver.listeners.absence._PATIENCE", 0.0)
    monkeypatch.setattr("appserver.listeners.absence._TRIAL", 1.0)
    made = []
    with zmq.Context() as context:

        def told(endpoint):
            absence = Absence(context, "mongrel2", endpoint)
            made.append(absence)
            poll(lambda: (absence.look(attached=False), caplog.records)[1], "nothing is said")
            [record] = caplog.records
            assert record.levelno == logging.WARNING
            return absence, record.getMessage()

        yield told
        for each in made:
            each.close()


def test_nobody_is_there(look):
    where = f"tcp://127.0.0.1:{free_port()}"
    _, message = look(where)
    assert message == f"mongrel2: waiting for Mongrel2 at {where}: nobody can be reached there"


def test_the_endpoints_are_swapped(look):
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.linger = 0
        port = push.bind_to_random_port("tcp://127.0.0.1")
        _, message = look(f"tcp://127.0.0.1:{port}")
        assert "are send_spec and recv_spec swapped?" in message


def test_it_is_said_once_and_again_after_it_was_there(look, caplog):
    absence, _ = look(f"tcp://127.0.0.1:{free_port()}")
    for _ in range(3):
        absence.look(attached=False)
    assert len(caplog.records) == 1
    absence.look(attached=True)
    poll(lambda: (absence.look(attached=False), len(caplog.records) == 2)[1], "nothing is said")


def test_of_a_unix_socket_it_is_known_why(tmp_path):
    path = tmp_path / "m2"
    assert unreachable(f"ipc://{path}") == "No such file or directory"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        assert unreachable(f"ipc://{path}") == "Connection refused"
        sock.listen()
        assert unreachable(f"ipc://{path}") == "nobody can be reached there"
    assert unreachable(f"ipc://@appserver-tests-{os.getpid()}") == "Connection refused"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_of_one_that_is_forbidden_too(tmp_path):
    path = tmp_path / "m2"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        path.chmod(0o600)
        os.seteuid(65534)
        try:
            assert unreachable(f"ipc://{path}") == "Permission denied"
        finally:
            os.seteuid(0)
