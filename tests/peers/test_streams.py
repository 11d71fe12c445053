"""Streams through every front end when the server stops: cut after their grace, and seen to be cut."""

from __future__ import annotations

import pytest

from tests.peers.client import Raw
from tests.peers.conftest import APPS, PATHS
from tests.support.fronts import Mongrel2, Nginx

pytestmark = pytest.mark.peers


def test_every_front_end_sees_that_a_stream_is_cut(start, tmp_path):
    server = start("site.ini", "--wsgi-file", APPS, "--stream-reload-mercy", "0.2")
    start(Mongrel2)
    start(Nginx)
    ports = {name: start.configs.port(port) for name, (port, _) in PATHS.items() if name != "mongrel2-json"}
    clients = {name: Raw(port) for name, port in ports.items()}
    try:
        for name, client in clients.items():
            client.send(f"GET /endless?path={tmp_path / name} HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.wire.fill()
        assert server.stop() == 0
        for name, client in clients.items():
            answer = client.answer()
            assert (name, answer.status, answer.complete) == (name, 200, False)
            assert (tmp_path / name).exists()  # close() was called, once
        assert "Traceback" not in server.log
        assert server.log.count(" is ended, as this worker stops") == len(clients)
    finally:
        for client in clients.values():
            client.close()
