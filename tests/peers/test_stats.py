"""The statistics have the form that a real uWSGI gives them."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.lifecycle.test_stats import CORE, SOCKET, TOP, WORKER, read
from tests.support.fronts import poll, require

pytestmark = pytest.mark.peers


def test_the_names_are_those_of_a_real_uwsgi(tmp_path):
    require("uwsgi")
    path = tmp_path / "stats.sock"
    server = subprocess.Popen(
        ["uwsgi", "--master", "--socket", tmp_path / "uwsgi.sock", "--stats", path, "--die-on-term"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        poll(path.exists, "uwsgi does not start")
        document = json.loads(read(str(path)))
    finally:
        server.terminate()
        server.wait(20)
    assert set(document) == TOP
    assert set(document["sockets"][0]) == SOCKET
    assert set(document["workers"][0]) == WORKER
    assert set(document["workers"][0]["cores"][0]) == CORE
