"""Limits of all that a client may send, exact on both sides, and clients that hold them out: docs/security/limits.md."""

from __future__ import annotations

import os
import random
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.listeners.test_slow_clients import descriptors
from tests.security.conftest import CUTS, LAST, PARSERS, connect, opened, speak
from tests.security.wires import LINE, POST, TE
from tests.support.fronts import GUARD, poll

cuts = pytest.mark.parametrize("how", CUTS)


def padded(size, head=LINE, end="\r\n"):
    """Return a head with as many small fields as make it *size* bytes, its last line end included."""
    head += "X: y\r\n" * 40
    rest = size - len(head) - len(end)
    while rest > 4000:
        head += f"X: {'y' * 3995}\r\n"
        rest -= 4000
    return head + f"X: {'y' * (rest - 5)}\r\n" + end


# option: (case, value, what is accepted with *n*, status beyond)
SIZES = {
    "limit-request-line": ("D5", 8192, lambda n: f"GET /{'a' * (n - 16)} HTTP/1.1\r\nHost: h\r\n\r\n", 414),
    "limit-request-fields": ("D5", 100, lambda n: LINE + "X: y\r\n" * (n - 1) + "\r\n", 431),
    "limit-request-field-size": ("D5", 8190, lambda n: LINE + f"X: {'y' * (n - 5)}\r\n\r\n", 431),
    "buffer-size": ("D5", 65536, padded, 431),
    "limit-request-trailers": ("H28", 64, lambda n: f"{POST}{TE}\r\n0\r\n" + "X: y\r\n" * n + "\r\n", 431),
    "limit-request-chunks": ("D4", None, lambda n: f"{POST}{TE}\r\n" + "1\r\nx\r\n" * n + "0\r\n\r\n", 413),
    "limit-post": ("D8", None, lambda n: f"{POST}Content-Length: {n}\r\n\r\n{'x' * n}", 413),
    "limit-post-chunked": ("D8", None, lambda n: f"{POST}{TE}\r\n{n:x}\r\n{'x' * n}\r\n0\r\n\r\n", 413),
}  # fmt: skip


def exact(door, wire, value, status, how):
    """Check that *value* is accepted, with another request behind it, and one more refused."""
    for size in (value - 1, value):
        said = door.speak(wire(size).encode() + LAST, how)
        assert said.statuses == [200, 200], (size, said.answers[0].body)
        assert said.told(1)["request"] == "GET /last"
    door.calls()
    door.refuses(wire(value + 1).encode() + LAST, status, how)


@cuts
@pytest.mark.parametrize(
    "name", [pytest.param(name, id=f"{case[0]}-{name}") for name, case in SIZES.items() if case[1]]
)
def test_usual_limits_are_exact(door, how, name):
    _, value, wire, status = SIZES[name]
    exact(door, wire, value, status, how)


@pytest.fixture(scope="module", params=PARSERS)
def narrow(request, tmp_path_factory):
    """Return a server with limits of its operator's."""
    options = {
        "http_parser": request.param, "limit_request_line": 100, "limit_request_fields": 50,
        "limit_request_field_size": 4500, "buffer_size": 9000, "limit_request_trailers": 2, "limit_request_chunks": 7,
        "limit_post": 300, "keepalive_requests": 3,
    }  # fmt: skip
    with opened(tmp_path_factory.mktemp("narrow"), **options) as found:
        yield found


@cuts
@pytest.mark.parametrize("name", [pytest.param(name, id=f"{case[0]}-{name}") for name, case in SIZES.items()])
def test_limits_of_ones_own_are_exact(narrow, how, name):
    value = {
        "limit-request-line": 100, "limit-request-fields": 50, "limit-request-field-size": 4500, "buffer-size": 9000,
        "limit-request-trailers": 2, "limit-request-chunks": 7, "limit-post": 300, "limit-post-chunked": 300,
    }[name]  # fmt: skip
    _, _, wire, status = SIZES[name]
    narrow.calls()
    exact(narrow, wire, value, status, how)


@cuts
def test_D8_large_chunks_do_not_count(narrow, how):
    said = narrow.speak(
        f"{POST}{TE}\r\n" + f"100\r\n{'x' * 256}\r\n" + "1\r\nx\r\n" * 7 + "0\r\n\r\n" + LAST.decode(), how
    )
    assert said.statuses == [200, 200]


@cuts
def test_H32_requests_on_a_connection(narrow, how):
    """The last one says so, and what is behind it is not read."""
    narrow.calls()
    said = narrow.speak(b"GET /one HTTP/1.1\r\nHost: h\r\n\r\n" * 5, how)
    assert said.statuses == [200, 200, 200]
    assert [answer.header("Connection") for answer in said.answers] == [None, None, "close"]
    assert narrow.calls() == ["GET /one"] * 3


@pytest.mark.parametrize("parser", PARSERS)
def test_D5_limits_that_are_lifted(tmp_path, parser):
    lifted = {f"limit_request_{name}": 0 for name in ("line", "fields", "field_size", "chunks")}
    with opened(tmp_path, http_parser=parser, buffer_size=100_000, keepalive_requests=0, **lifted) as door:
        for name in ("limit-request-line", "limit-request-field-size", "limit-request-fields"):
            n = 90_000 if name != "limit-request-fields" else 10_000
            assert door.speak(SIZES[name][2](n).encode() + LAST).statuses == [200, 200]
        assert door.speak(SIZES["limit-request-line"][2](100_001).encode()).statuses == [414]


# Work that grows faster than what is sent: it would not end within the time of a test


@pytest.fixture(scope="module", params=PARSERS)
def wide(request, tmp_path_factory):
    """Return a server that takes heads of megabytes."""
    options = {
        "http_parser": request.param, "limit_request_line": 0, "limit_request_fields": 0,
        "limit_request_field_size": 0, "buffer_size": 4 << 20,
    }  # fmt: skip
    with opened(tmp_path_factory.mktemp("wide"), **options) as found:
        yield found


MIB = 1 << 20
LONG = {
    "D1-control-at-the-end": (f"X: {'a' * MIB}\x01\r\n", 400), "D1-blanks": (f"X: a{' ' * MIB}b\r\n", 200),
    "D1-tabs-in-a-list": ("X: " + ",\t" * (MIB // 2) + "\r\n", 200), "D1-name": (f"{'x' * MIB}: \r\n", 200),
    "D1-no-name": (f"{'x' * MIB} : \r\n", 400), "D1-connection": (f"Connection: {'a,' * (MIB // 2)}\r\n", 200),
    "D2-repeated": ("X: y\r\n" * 100_000, 200), "D2-repeated-cookie": ("Cookie: a=b\r\n" * 50_000, 200),
    "D2-all-different": ("".join(f"X-{n}: y\r\n" for n in range(50_000)), 200),
    "D3-cookie": (f"Cookie: {';' * MIB}\r\n", 200), "D3-cookie-pairs": (f"Cookie: {'a=b; ' * (MIB // 5)}\r\n", 200),
    "D3-quotes": (f"Cookie: {chr(34) * MIB}\r\n", 200),
}  # fmt: skip


@cuts
@pytest.mark.parametrize("lines, status", LONG.values(), ids=LONG)
def test_long_fields_cost_what_their_bytes_cost(wide, how, lines, status):
    assert wide.speak(f"{LINE}{lines}Connection: close\r\n\r\n", how).statuses[0] == status


# Clients that come and go


def connected(port):
    """Tell whether a server on *port* has connections that it has not closed."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = [line.split()[1:4] for line in lines]
    return any(local.endswith(f":{port:04X}") and state in {"01", "08"} for local, _, state in ends)


def test_D6_clients_that_leave_at_once(door):
    """Whether they close or reset, before a byte or after one: nothing of them stays."""
    sites = door.site
    host, _, port = door.address.rpartition(":")
    where = (host, int(port))
    door.calls()
    poll(lambda: not connected(where[1]), "the clients before are still there")
    before = descriptors(sites)
    for number in range(10_000):
        with socket.socket() as sock:
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            with suppress(ConnectionError):
                sock.connect(where)
                if number % 3 == 0:
                    sock.send(b"G")
    poll(lambda: descriptors(sites) == before, "descriptors are left")
    assert door.calls() == []


def test_D8_a_body_is_refused_before_it_comes(narrow):
    """Nothing of it has been sent by then."""
    narrow.calls()
    narrow.refuses(f"{POST}Content-Length: 301\r\n\r\n", 413)
    narrow.refuses(f"{POST}{TE}\r\n12d\r\n{'x' * 301}", 413)


def test_D8_an_expected_body_is_refused_before_it_is_asked_for(narrow):
    said = narrow.speak(f"{POST}Content-Length: 301\r\nExpect: 100-continue\r\n\r\n")
    assert said.statuses == [413]


def test_D15_refused_connections_make_room(tmp_path):
    """They linger so that their clients can read why; others need not wait for that."""
    with opened(tmp_path, max_connections=4) as door, ExitStack() as stack:
        for _ in range(40):
            sock = stack.enter_context(connect(door.address))
            sock.sendall(b"GET\r\n\r\n")
        assert door.speak(LAST).statuses == [200]


def test_D14_idle_connections_are_bounded(tmp_path):
    """A thousand come, ten may stay; whoever speaks is served all the while."""
    with opened(tmp_path, max_connections=10) as door, ExitStack() as stack:
        idle = [stack.enter_context(connect(door.address)) for _ in range(1000)]
        assert door.speak(LAST).statuses == [200]
        poll(lambda: descriptors(door.site) < 60, "they are kept")
        assert idle[0].recv(1) == b"", "the oldest goes first"


# A client that never ends


def test_H32_an_endless_pipeline_lets_others_in(tmp_path):
    """Requests without waiting for an answer: each is answered, and others have their turns meanwhile."""
    count, small = 30_000, b"GET /one HTTP/1.1\r\nHost: h\r\n\r\n"
    with opened(tmp_path, keepalive_requests=0) as door, connect(door.address) as sock:
        pid = door.site.server.process.pid
        before = memory(pid)
        sender = threading.Thread(target=sock.sendall, args=(small * count,), daemon=True)
        sender.start()
        seen, others, tail = 0, 0, b""
        while seen < count:
            data = tail + sock.recv(1 << 20)
            seen += data.count(b"HTTP/1.1 200 OK\r\n")
            tail = data[-16:]
            if others < 20 and seen < count // 2:
                assert speak(
                    door.address, b"GET /calls HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
                ).statuses == [200]
                others += 1
        assert others == 20, "they have waited for its end"
        assert memory(pid) - before < 32 << 20
        sender.join(GUARD)


def memory(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_D4_many_small_chunks_need_no_memory(streaming):
    """See H25; here the application reads them as they come."""
    said = streaming.speak(f"{POST}{TE}\r\n" + "1\r\nx\r\n" * 100_000 + "0\r\n\r\n" + LAST.decode())
    assert said.statuses == [200, 200]
    assert said.told()["body"] == "x" * 100_000


def test_limits_cut_anywhere(narrow):
    """What the pieces are says nothing about the verdict."""
    chance = random.Random(5)
    for name, (_, _, wire, status) in SIZES.items():
        value = {"limit-request-line": 100, "limit-request-fields": 50}.get(name)
        if value is None:
            continue
        for _ in range(20):
            data = wire(value + 1).encode()
            with connect(narrow.address) as sock, suppress(ConnectionError):
                while data:
                    at = chance.randrange(1, len(data) + 1)
                    sock.sendall(data[:at])
                    data = data[at:]
                assert sock.recv(100).startswith(b"HTTP/1.1 %d" % status)
