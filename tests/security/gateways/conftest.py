"""Servers for what no honest front end sends over uwsgi, FastCGI and SCGI, alone and behind a real nginx."""

from __future__ import annotations

import pytest

from tests.security.rig import HOW, Hostile, rig


@pytest.fixture(scope="module")
def server():
    yield from rig()


@pytest.fixture(scope="module")
def streaming():
    """Return a server whose applications read bodies as they come."""
    yield from rig("--post-buffering", "0")


@pytest.fixture(scope="module")
def nginx(server, tmp_path_factory):
    found = Hostile(tmp_path_factory.mktemp("nginx"), server.server)
    yield found
    found.close()


@pytest.fixture(params=HOW)
def how(request):
    """Return how bytes are sent: at once, and one by one."""
    return request.param
