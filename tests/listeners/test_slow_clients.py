"""Clients that take their time: each phase has a limit, which a steady trickle does not lengthen; others go on."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import socket
from contextlib import ExitStack, contextmanager, suppress

import pytest

from appserver.configuration import Configuration
from tests.listeners.conftest import STREAM_FRONTS, serving
from tests.listeners.test_cancel import gone
from tests.support.fronts import GUARD, poll

NAMES = ("http", "uwsgi", "fastcgi", "scgi")
MODES = {"one": {}, "gevent": {"gevent": 20}, "threads": {"threads": 4}}


# What is too slow is found soon; an honest client is never as slow as `min-rate` would have it.
HASTY = {"import": "hasty", "body_timeout": "0.3", "send_timeout": "0.3", "min_rate": 100_000_000}


@pytest.fixture(scope="module", params=[*MODES, "ahead"])
def impatient(request, tmp_path_factory):
    """Return a server that soon tires of bodies and readers, for each kind of core, and one that reads bodies ahead."""
    mode = {} if request.param == "ahead" else {"post_buffering": 0, **MODES[request.param]}
    with serving(tmp_path_factory.mktemp("impatient"), "waiting:app", NAMES, **HASTY, **mode) as found:
        found.streams = request.param != "ahead"
        yield found


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """Return a server that soon tires of heads."""
    options = {"import": "hasty", "header_timeout": "0.3"}
    with serving(tmp_path_factory.mktemp("early"), "waiting:app", NAMES, **options) as found:
        yield found


def trickle(client, data):
    """Send a byte now and then, until the server has enough of it; return whether that came to pass."""
    for at in range(len(data)):
        if select.select([client.sock], [], [], 0.02)[0]:
            return True
        with suppress(ConnectionError):
            client.sock.sendall(data[at : at + 1])
    return False


def ending(client):
    """Return what the server says before the connection ends."""
    said = b""
    with suppress(ConnectionError):
        while data := client.sock.recv(65536):
            said += data
    return said


@pytest.mark.parametrize("front", STREAM_FRONTS)
def test_a_head_that_trickles_in(early, front):
    """No pause is longer than socket-timeout, and yet the time is up."""
    early.forget_log()
    with early.client(front) as client:
        data = client.encode("GET", f"/{'x' * 8000}")
        client.start(data[:1])
        assert trickle(client, data[1:])
        assert b" 408 " in ending(client)
    early.log("WARNING .*The request did not come in time.")


@pytest.mark.parametrize("option", ["http_headers_timeout", "http_timeout"])
def test_limits_of_http_alone(serve, option):
    site = serve("waiting:app", ["http", "scgi"], **{"import": "hasty", option: "0.3"})
    with site.client("http") as client, site.client("scgi") as other:
        data = client.encode("GET", f"/{'x' * 8000}")
        client.start(data[:5])
        other.start(other.encode("GET", "/ok")[:-1])
        assert (
            trickle(client, data[5:])
            if option == "http_headers_timeout"
            else select.select([client.sock], [], [], 20)[0]
        )
        assert ending(client).startswith(b"HTTP/1.1 408 ")
        other.resume("GET", other.encode("GET", "/ok")[-1:])
        assert other.receive().body == b"ok"


@pytest.mark.parametrize(
    "line, seconds",
    [
        ("", 75), ("http-keepalive", 75), ("http-keepalive = 1", 75), ("http-keepalive = True", 75),
        ("keepalive-timeout = 1", 1), ("http-keepalive = 2", 2), ("http-keepalive = 0", 75),
        ("http-keepalive = false", 75),
    ],
)  # fmt: skip
def test_http_keepalive_is_as_in_uwsgi(tmp_path, line, seconds):
    """1 is no second, but on; what is off ends behind its answer, and has its time before."""
    (tmp_path / "x.ini").write_text(f"[uwsgi]\nhttp = :0\nscgi-socket = :0\n{line}\n")
    configuration = Configuration([f"{tmp_path}/x.ini"])
    assert configuration.problems == []
    http, scgi = configuration.listeners
    assert http.limits.idle == seconds
    assert scgi.limits.idle == (1 if line.startswith("keepalive") else 75)


@pytest.mark.parametrize("value, kept", [("1", True), ("false", False)])
def test_http_keepalive_is_on_or_off(serve, value, kept):
    site = serve("waiting:app", ["http"], http_keepalive=value)
    with site.client("http") as client:
        answer = client.request("GET", "/ok")
        assert answer.all("Connection") == ([] if kept else ["close"])
        if kept:
            assert client.request("GET", "/ok").body == b"ok"
        else:
            assert client.sock.recv(1) == b""


@pytest.mark.parametrize("front", NAMES)
def test_a_body_that_trickles_in(impatient, front, token):
    with impatient.client(front) as client:
        data = client.encode("POST", f"/strict?{token}", body=b"x" * 9000)
        if front == "fastcgi":  # a byte a record
            at = data.index(client.record(5, b"x" * 9000)[:8])
            data = data[:at] + client.record(5, b"x") * 9000 + client.record(5, b"")
            client.start(data[:at])
            assert trickle_records(client, client.record(5, b"x"), 9000)
        else:
            at = len(data) - 9000
            client.start(data[:at])
            assert trickle(client, data[at:])
        client.methods.append("POST")
        answer = client.receive()
    assert (answer.status, answer.body) == (408, b"The request did not come in time.\n")
    impatient.log(rf'\?{token} HTTP/1\.1" 408 ')


def trickle_records(client, record, count):
    for _ in range(count):
        if select.select([client.sock], [], [], 0.02)[0]:
            return True
        with suppress(ConnectionError):
            client.sock.sendall(record)
    return False


@pytest.mark.parametrize("front", ["http", "fastcgi"])
def test_a_body_of_which_no_byte_comes_with_its_frame(impatient, front, token):
    """A size of a chunk, or the head of a record, is no piece of the body: the application waits on."""
    with impatient.client(front) as client:
        if front == "http":
            head = client.encode("POST", f"/strict?{token}", [("Transfer-Encoding", "chunked")])
            begun = b"5\r\n"
        else:
            head = client.encode("POST", f"/strict?{token}")[: -len(client.record(5, b""))]
            begun = client.record(5, b"hello")[:8]
        client.start(head)
        if impatient.streams:
            impatient.log(rf"{token} reads")
        client.sock.sendall(begun)
        client.methods.append("POST")
        answer = client.receive()
    assert (answer.status, answer.body) == (408, b"The request did not come in time.\n")


@pytest.mark.parametrize("front", NAMES)
@pytest.mark.parametrize("impatient", MODES, indirect=True)
def test_an_application_that_reads_slowly_is_no_slow_client(impatient, front, token):
    """The time in which the application does something else is not the client's.

    It is longer than the limit and the time between two looks at the clock.
    """
    body = b"x" * (4 << 20)
    with impatient.client(front) as client:
        answer = client.request("POST", f"/slowly/0.5?{token}", body=body)
    assert (answer.status, answer.body) == (200, b"4194304")


@pytest.mark.parametrize("path", ["blocks/10000", "many-blocks"])
@pytest.mark.parametrize("front", NAMES)
@pytest.mark.parametrize("impatient", MODES, indirect=True)
def test_an_answer_that_is_taken_too_slowly(impatient, front, path, token):
    """Both while the application waits for the client, and after it is done."""
    with impatient.client(front) as client:
        client.send("GET", f"/{path}?{token}")
        assert client.sock.recv(100)
        if path.startswith("blocks"):
            gone(impatient, token)
        else:
            impatient.log(rf'\?{token} HTTP/1\.1" 200 ')
        # It is reset, so that it does not pass for a whole answer.
        end = select.poll()
        end.register(
            client.sock, 0
        )  # its end is told also where nothing is asked for; what it has to read is not
        assert end.poll(GUARD * 1000)
        with pytest.raises(ConnectionError):
            all(iter(lambda: client.sock.recv(1 << 20), b""))


def test_an_answer_that_is_taken_steadily(serve, token):
    """Many times the kernel's queue is taken, and no more than that within a second."""
    site = serve("waiting:app", ["http"], send_timeout=3, min_rate=1000, gevent=2)
    with site.client("http") as client:
        client.send("GET", f"/blocks/200?{token}")
        taken = 0
        while taken < 4 << 20:
            select.select([], [], [], 0.01)
            taken += len(client.sock.recv(16384))
    gone(site, token)


@pytest.fixture
def many_files():
    """Let this process, and the servers that it starts, have many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096) if hard > 0 else 4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def descriptors(site):
    return len(os.listdir(f"/proc/{site.server.process.pid}/fd"))


def test_a_thousand_slow_clients_change_nothing(serve, many_files):
    site = serve("waiting:app", NAMES)
    with ExitStack() as stack:
        slow = [stack.enter_context(site.client(front)) for front in NAMES * 250]
        requests = [client.encode("POST", "/strict", body=b"slow") for client in slow]
        for number, (client, data) in enumerate(zip(slow, requests, strict=True)):
            client.start(data[: (1, 20, -1)[number % 3]])
        poll(lambda: descriptors(site) > 1000, "not all are accepted")
        for _ in range(50):
            for front in STREAM_FRONTS:
                with site.client(front) as client:
                    assert client.request("POST", "/digest", body=b"quick").status == 200
        for number, (client, data) in enumerate(zip(slow, requests, strict=True)):
            client.resume("POST", data[(1, 20, -1)[number % 3] :])
            assert client.receive().body == b"4"


# Limits of connections


@pytest.mark.parametrize("mode", [{}, {"processes": 2}], ids=["alone", "workers"])
def test_max_connections(serve, mode):
    """Those beyond the limit wait in the kernel, and come when there is room; each listener has a limit of its own."""
    site = serve("waiting:app", ["http", "scgi"], max_connections=3, **mode)
    workers = mode.get("processes", 1)
    with ExitStack() as stack:
        busy = [stack.enter_context(site.client("http")) for _ in range(3 * workers)]
        for client in busy:
            client.start(b"GET /ok HT")  # which is not idle
        waiting = [stack.enter_context(site.client("http")) for _ in range(5)]
        for client in waiting:
            client.send("GET", "/ok", [("Connection", "close")])
        site.log(r"http .*: max-connections = 3 are open; more wait")
        with site.client("scgi") as other:
            assert other.request("GET", "/ok").body == b"ok"
        assert not select.select([client.sock for client in waiting], [], [], 0)[0]
        for client in busy:
            client.resume("GET", b"TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.receive().body == b"ok"
        for client in waiting:
            assert client.receive().body == b"ok"


def test_idle_connections_make_room(serve):
    site = serve("waiting:app", ["http"], max_connections=3)
    with ExitStack() as stack:
        clients = [stack.enter_context(site.client("http")) for _ in range(20)]
        for client in clients:
            assert client.request("GET", "/ok").body == b"ok"
        for client in clients[:17]:
            assert client.sock.recv(1) == b""  # the oldest are closed
        for client in clients[17:]:
            assert client.request("GET", "/ok").body == b"ok"
    assert site.server.warnings == []


@contextmanager
def exhausted(site):
    """Let a running server open no more files, and have clients hold all that it could open; give those."""
    pid = site.server.process.pid
    limit = 11 + max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd"))
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
    with ExitStack() as stack:
        clients = [stack.enter_context(site.client("http")) for _ in range(limit - descriptors(site))]
        for client in clients:
            client.start(b"GET /ok HT")
        poll(lambda: descriptors(site) == limit, "not all are accepted")
        yield clients


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_a_server_without_descriptors_goes_on(serve, mode):
    site = serve("waiting:app", NAMES, max_connections=1000, **mode)
    with ExitStack() as stack:
        slow = stack.enter_context(exhausted(site))
        waiting = [stack.enter_context(site.client(front)) for front in STREAM_FRONTS * 4]
        for client in waiting:
            client.send("POST", "/digest", body=b"x")
        for name in NAMES:
            site.log(rf"WARNING {name} .*: cannot accept for now: Too many open files")
        for client in slow:
            client.resume("GET", b"TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.receive().body == b"ok"
        for client in waiting:
            assert json.loads(client.receive().body)["size"] == 1
            client.close()
    assert len(re.findall("cannot accept for now", site.server.log)) == len(NAMES), "it does not spin"


def test_a_body_that_no_descriptor_is_left_for(serve):
    site = serve("waiting:app", ["http"], post_buffering=10, max_connections=1000)
    with site.client("http") as client:
        assert client.request("GET", "/ok").body == b"ok"
        assert client.request("POST", "/digest", body=b"x" * 1000).status == 200  # finds the directory
        assert client.request("GET", "/ok").status == 200  # the file is closed
        with exhausted(site):
            answer = client.request("POST", "/digest", body=b"x" * 1000)
    assert (answer.status, answer.body) == (507, b"The body: Too many open files.\n")


def test_max_connections_follow_the_limit_of_files(tmp_path):
    from tests.support.server import ROOT, Server

    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))

    app = ROOT / "tests" / "listeners" / "apps" / "waiting.py"
    with Server("--http", "127.0.0.1:0", "--wsgi-file", app, "--callable", "app", preexec_fn=lower) as server:
        host, _, port = server.addresses["http"].rpartition(":")
        with ExitStack() as stack:
            slow = []
            for _ in range(60):
                slow.append(stack.enter_context(socket.create_connection((host, int(port)), 20)))
                slow[-1].sendall(b"GET /ok HT")  # else it would be idle
            server.wait_until("max-connections = 45 are open; more wait")
            for sock in slow:
                sock.sendall(b"TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert b"200 OK" in sock.recv(65536)
                sock.close()
        assert "cannot accept" not in server.log
