"""Mongrel2 with ``download.flow_control`` and ``upload.stream``: credits both ways."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
import zmq

from tests.listeners.conftest import APPS as SOCKETS
from tests.peers.client import Raw, curl, family, forget_peak, get, memory
from tests.peers.conftest import APPS
from tests.support.fronts import Mongrel2, poll
from tests.support.ports import free_port
from tests.support.websockets import HttpWebSocket

pytestmark = pytest.mark.peers


@pytest.fixture(params=["worker", "shared"])
def site(request, start):
    """Return the URL of a Mongrel2 that controls the flow, and the server behind it."""
    start.configs.edit(
        "mongrel2.conf", "flow.conf",
        ('"upload.temp_store": .*', '"download.flow_control": 1, "upload.stream": 1,'),
    )  # fmt: skip
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


# Messages


@contextmanager
def relaying(recv_spec):
    """Yield an endpoint in the place of Mongrel2's SUB, and the messages that have gone there over it."""
    endpoint, passed = f"tcp://127.0.0.1:{free_port()}", []
    context = zmq.Context()
    ended = threading.Event()

    def run():
        with context.socket(zmq.XSUB) as ours, context.socket(zmq.XPUB) as theirs:
            ours.linger = theirs.linger = 0
            ours.bind(endpoint)
            theirs.connect(recv_spec)
            poller = zmq.Poller()
            poller.register(ours, zmq.POLLIN)
            poller.register(theirs, zmq.POLLIN)
            while not ended.is_set():
                for ready, _ in poller.poll(50):
                    message = ready.recv()
                    if ready is ours:
                        passed.append(message)
                        theirs.send(message)
                    else:
                        ours.send(message)  # a subscription

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield endpoint, passed
    finally:
        ended.set()
        thread.join()
        context.term()


@pytest.mark.parametrize("dispatch", ["worker", "shared"])
def test_small_messages_leave_one_by_one(start, dispatch):
    """Else those beyond some burst leave together, late; that a client has 16 of them to read does not matter."""
    start.configs.edit(
        "mongrel2.conf", "flow.conf", ("settings = {", 'settings = {"download.flow_control": 1, ')
    )
    send_spec, recv_spec = start.configs.specs().split(",")
    with relaying(recv_spec) as (endpoint, passed):
        start(
            None, "--zeromq", f"{send_spec},{endpoint}", "--zeromq-dispatch", dispatch, "--gevent", 20,
            "--wsgi-file", SOCKETS / "sockets.py", "--callable", "app",
        )  # fmt: skip
        start(Mongrel2, "flow.conf")
        port = start.configs.port(6767)
        with HttpWebSocket(f"127.0.0.1:{port}") as client, Raw(port) as other:
            client.connect_to("/echo")
            for number in range(100):
                client.say(f"message {number}")
                assert other.get("/plain").status == 200
            for number in range(100):
                assert client.message() == f"message {number}"
        assert sum(b"message" in each for each in passed) > 50


# Uploads


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_an_upload_streams_with_flat_memory(site, how):
    """128 MiB; Mongrel2 has no directory for it to wait in."""
    get(site.url("/size"), "--data-binary", "@-", input=bytes(100_000))
    processes = family(site.server.process.pid)
    before = {pid: memory(pid, "VmRSS") for pid in processes}
    for pid in processes:
        forget_peak(pid)
    arguments = ["-T", "-"] if how == "chunked" else ["--data-binary", "@-", "-H", "Expect:"]
    reply = get(site.url("/size"), "-X", "POST", *arguments, input=bytes(128 << 20))
    assert reply.body == b"%d" % (128 << 20)
    for pid in processes:
        assert memory(pid, "VmHWM") < before[pid] + 16


def test_a_connection_carries_uploads_of_all_sizes(site):
    with Raw(site.port) as client:
        for size in (0, 1, 20_480, 20_481, 150_000, 1_000_000):
            client.send(f"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n" + "x" * size)
            assert client.answer().body == b"%d" % size


def test_an_upload_that_is_cut_reaches_nobody_as_whole(site, tmp_path):
    with Raw(site.port) as client:
        client.send(
            f"POST /store?path={tmp_path}/body HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
        )
        client.send("x" * 300_000)
        poll((tmp_path / "body").exists, "the body is not read")
    site.server.wait_until("POST /store.* 499 ")
    assert (tmp_path / "body.error").read_text() == "ClientGone"
    assert get(site.url("/size"), "-d", "12345").body == b"5"


def test_an_upload_that_is_not_read_is_answered(site):
    """The application answers at once; the client sends everything, or leaves."""
    reply = get(
        site.url("/thread"), "-X", "POST", "--data-binary", "@-", "-H", "Expect:", input=bytes(3 << 20)
    )
    assert reply.status == 200
    with Raw(site.port) as client:
        client.send("POST /thread HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + "x" * 100_000)
        assert client.answer().status == 200
        assert client.closed()  # after it has had its time
    assert get(site.url("/size"), "-d", "12345").body == b"5"


# Long work


@pytest.mark.parametrize("dispatch", ["worker", "shared"])
@pytest.mark.parametrize("every, survives", [("0.3", True), ("0", False)])
def test_long_work_outlives_mongrel2_s_limits_if_it_is_kept_alive(start, dispatch, every, survives):
    limits = ", ".join(
        f'"limits.{name}": {value}'
        for name, value in {
            "tick_timer": 1,
            "min_ping": 1,
            "min_read_rate": 10**6,
            "min_write_rate": 10**6,
        }.items()
    )
    start.configs.edit(
        "mongrel2.conf", "limits.conf", ('"zeromq.threads"', f'{limits}, "zeromq.threads"')
    )  # fmt: skip
    start(
        None, "--zeromq", start.configs.specs(), "--zeromq-dispatch", dispatch, "--gevent", 20,
        "--mongrel2-keepalive", every, "--wsgi-file", APPS,
    )  # fmt: skip
    start(Mongrel2, "limits.conf")
    reply = curl(start.configs.url(6767, "/slow?seconds=5"))
    assert (reply.exit == 0) == survives
