"""Mongrel2 with ``download.flow_control``: it tells what its clients have read."""

from __future__ import annotations

import pytest

from tests.peers.client import Raw, curl, family, forget_peak, get, memory
from tests.peers.conftest import APPS
from tests.support.fronts import Mongrel2, poll

pytestmark = pytest.mark.peers


@pytest.fixture(params=["worker", "shared"])
def site(request, start):
    """Return the URL of a Mongrel2 that controls the flow, and the server behind it."""
    start.configs.edit(
        "mongrel2.conf", "flow.conf", ('"zeromq.threads"', '"download.flow_control": 1, "zeromq.threads"')
    )
    server = start(
        None, "--zeromq", start.configs.specs(), "--zeromq-dispatch", request.param, "--gevent", 20,
        "--wsgi-file", APPS,
    )  # fmt: skip
    start(Mongrel2, "flow.conf")
    return Site(start.configs, server)


class Site:
    def __init__(self, configs, server):
        self.url = lambda path: configs.url(6767, path)
        self.port = configs.port(6767)
        self.server = server

    def whole(self, path, size):
        reply = get(self.url(path))
        assert len(reply.body) == size, reply.errors


def test_answers_of_every_size_arrive_whole(site):
    for size in (1, 1000, 102_399, 102_400, 102_401, 300_000):
        site.whole(f"/pieces?count=1&size={size}", size)
    site.whole("/pieces?count=20000&size=100", 2_000_000)
    for known in ("header", "list"):
        site.whole(f"/big?mib=20&known={known}", 20 << 20)


def test_one_connection_carries_many(site):
    with Raw(site.port) as client:
        for _ in range(10):
            assert len(client.get("/big?mib=1&known=list").body) == 1 << 20
            assert client.get("/thread").status == 200


def test_a_client_that_reads_late_gets_all(site):
    with Raw(site.port) as client:
        client.send("GET /big?mib=8&known=list HTTP/1.1\r\nHost: a\r\n\r\n")
        site.server.wait_until("GET /big.* 200 8388608 ")  # it is out of the application's hands
        for _ in range(20):
            assert get(site.url("/thread")).status == 200
        assert len(client.answer().body) == 8 << 20


def test_a_slow_download_keeps_the_memory_flat(site):
    """64 MiB without a length, to clients that read with pauses."""
    get(site.url("/big?mib=1&known=header"))
    processes = family(site.server.process.pid)
    before = {pid: memory(pid, "VmRSS") for pid in processes}
    for pid in processes:
        forget_peak(pid)
    reply = curl(site.url("/pieces?count=64&size=1048576"), "--limit-rate", "32M")
    assert len(reply.body) == 64 << 20
    for pid in processes:
        assert memory(pid, "VmHWM") < before[pid] + 16


def test_a_client_that_leaves_in_the_middle_ends_the_application(site, tmp_path):
    """Mongrel2 does not tell of one that it was just sending to; it has to be asked."""
    for number in range(3):
        with Raw(site.port) as client:
            client.send(f"GET /endless?path={tmp_path}/{number} HTTP/1.1\r\nHost: a\r\n\r\n")
            client.take(100_000 * number + 1)
        poll(lambda number=number: (tmp_path / str(number)).exists(), "the application goes on")
        site.server.wait_until(rf"GET /endless\S*/{number} .* 499 ")
