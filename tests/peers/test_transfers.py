"""The measurement of large transfers, with less: what it tells of memory holds for any size."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.transfers import PATHS, UPLOADS, Site, slowly, transfer
from tests.support.fronts import require

pytestmark = pytest.mark.peers
MIB = 1 << 20
# What the kernel and the front end take, and not the whole: a TCP socket may hold 6 MiB, since Linux 6.16 32.
AHEAD = 26 * MIB + max(6 * MIB, int(Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split()[2]))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    require("curl", "nginx", "mongrel2", "m2sh")
    with Site(tmp_path_factory.mktemp("transfers")) as site:
        for path in PATHS:  # whatever is made at the first time
            transfer(site, path, 16 * MIB, upload=path in UPLOADS)
        yield site


@pytest.mark.parametrize("path", PATHS)
def test_a_large_answer_needs_no_memory(site, path):
    _, grown = transfer(site, path, 200 * MIB, upload=False)
    assert grown < 8


@pytest.mark.parametrize("path", UPLOADS)
def test_a_large_body_needs_no_memory(site, path):
    _, grown = transfer(site, path, 200 * MIB, upload=True)
    assert grown < 8


def test_slow_clients_pace_their_applications(site):
    found, grown = slowly(site, 100 << 10, 3, 1024 * MIB)
    for path, (read, ahead) in found.items():
        assert read, path
        assert ahead < AHEAD, path
    assert grown < 16
