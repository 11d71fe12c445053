"""The load generators: they count exactly, and find what is wrong with answers."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from contextlib import contextmanager

import pytest

from bench import wire
from bench.compiler import built
from bench.place import DOORS, free_place
from bench.requirement import missing
from tests.support.server import Server

LACKING = missing(["cc", "/usr/include/zmq.h"])
pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(bool(LACKING), reason="; ".join(f"{each.name}: {each.source}" for each in LACKING)),
]

APP = """\
import os
calls = os.open("calls", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def app(environ, start_response):
    size = len(environ["wsgi.input"].read())
    os.write(calls, b"%d\\n" % size)
    start_response(os.environ.get("STATUS", "200 OK"), [("Content-Length", "12")])
    return [b"Hello world\\n"]
"""
OPTION = {
    "http": "http-socket",
    "uwsgi": "socket",
    "fastcgi": "fastcgi-socket",
    "scgi": "scgi-socket",
    "mongrel2": "zeromq",
}
WANTED = 200
STREAMS = [
    ("http", True), ("http", False), ("uwsgi", False), ("fastcgi", True), ("fastcgi", False), ("scgi", False),
]  # fmt: skip


@contextmanager
def served(directory, door, **environment):
    (directory / "counted.py").write_text(APP)
    (directory / "calls").touch()
    place = free_place(door, str(directory))
    where = f"{place.push},{place.sub}" if door == "mongrel2" else place.address
    words = (
        f"--{OPTION[door]}",
        where,
        "--module",
        "counted:app",
        "--disable-logging",
        "--zeromq-dispatch",
        "worker",
    )
    with Server(*words, cwd=directory, env=environment):
        yield place


def calls(directory):
    return list(map(int, (directory / "calls").read_text().split()))


def run(command, *more):
    done = subprocess.run([*command, *map(str, more)], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    *before, last = done.stdout.splitlines()
    assert before == ["measuring"]
    return json.loads(last)


def streams(directory, place, *, keep=True, body=0, length=12):
    (directory / "request").write_bytes(wire.request(place.door, keep=keep, body=body))
    protocol = place.door if place.door in {"http", "fastcgi"} else "cgi"
    return [
        built("streams"), "--connect", place.address, "--request", str(directory / "request"), "--protocol", protocol,
        "--length", str(length), "--seconds", "40", *(["--keep"] if keep else []),
    ]  # fmt: skip


def simulated(directory, place, encoding="tnetstring", length=12):
    (directory / "request").write_bytes(wire.request("mongrel2", keep=True, encoding=encoding))
    return [
        built("mongrel2"), "--push", place.push, "--sub", place.sub, "--uuid", wire.UUID, "--request",
        str(directory / "request"), "--length", str(length), "--seconds", "40",
    ]  # fmt: skip


@pytest.mark.parametrize(("door", "keep"), STREAMS)
def test_every_request_is_answered_and_counted_once(tmp_path, door, keep):
    with served(tmp_path, door) as place:
        found = run(streams(tmp_path, place, keep=keep), "--requests", WANTED, "--connections", 8)
    assert (found["requests"], found["failures"], found["reopened"]) == (WANTED, {}, 0)
    assert calls(tmp_path) == [0] * WANTED
    assert found["sent"] == WANTED
    assert 0 < found["p50"] <= found["p99"] <= found["longest"] <= found["seconds"]


def test_a_load_that_spins_tells_how_long_it_had_nothing_to_do(tmp_path):
    with served(tmp_path, "uwsgi") as place:
        command = [*streams(tmp_path, place, keep=False), "--requests", str(WANTED), "--connections", "1"]
        slept, spun = run(command), run(command, "--spin")
    assert slept["spun"] == 0
    assert 0 < spun["spun"] <= spun["seconds"]
    for found in (slept, spun):
        assert (found["requests"], found["sent"], found["failures"]) == (WANTED, WANTED, {})


@pytest.mark.parametrize("door", sorted(set(DOORS) - {"mongrel2"}))
def test_bodies_arrive_whole(tmp_path, door):
    with served(tmp_path, door) as place:
        command = streams(tmp_path, place, keep=door in {"http", "fastcgi"}, body=300_000)
        assert run(command, "--requests", 10, "--connections", 2)["requests"] == 10
    assert calls(tmp_path) == [300_000] * 10


def test_a_flood_tells_what_became_of_it(tmp_path):
    """Of four kinds each is what happens to a quarter."""
    good = wire.request("http", keep=True, body=0)
    leaving = good.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    kinds = [b"GET\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"\x16\x03\1\2\0\1\0\1\xfc\3\3", leaving]
    (tmp_path / "bad").write_bytes(b"".join(len(kind).to_bytes(4, "big") + kind for kind in kinds))
    (tmp_path / "good").write_bytes(good)
    with served(tmp_path, "http") as place:
        found = run([
            built("flood"), "--good", place.address, "--request", tmp_path / "good", "--length", "12", "--rate", "100",
            "--bad", f"{place.address}={tmp_path / 'bad'}", "--bad-rate", "400", "--connections", "4", "--seconds", "2",
        ])  # fmt: skip
    assert found["failures"] == {}
    assert found["requests"] > 0
    assert 0 < found["p50"] <= found["p99"] <= found["longest"]
    bad = found["bad"]
    assert bad["reset"] == 0
    assert bad["refused"] > bad["closed"] > 0
    assert bad["refused"] > bad["served"] > 0


@pytest.mark.parametrize("encoding", ["tnetstring", "json"])
def test_the_simulated_mongrel2_counts_exactly(tmp_path, encoding):
    with served(tmp_path, "mongrel2") as place:
        found = run(simulated(tmp_path, place, encoding), "--requests", WANTED, "--flight", 16)
    assert (found["requests"], found["failures"]) == (WANTED, {})
    assert (
        found["sent"] == len(calls(tmp_path)) == WANTED + 1
    )  # the first one finds out whether it is answered


@pytest.mark.parametrize(("door", "keep"), [*STREAMS, ("mongrel2", True)])
def test_wrong_answers_are_counted_as_such(tmp_path, door, keep):
    def command(place, length):
        if door == "mongrel2":
            return simulated(tmp_path, place, length=length)
        return streams(tmp_path, place, keep=keep, length=length)

    with served(tmp_path, door, STATUS="503 Busy") as place:
        found = run(command(place, 12), "--requests", 20)
    assert (found["requests"], found["failures"].pop("status")) == (0, 20)
    assert "503" in found["example"]
    assert not found["failures"]


@pytest.mark.parametrize(("door", "keep"), STREAMS)
def test_another_length_is_a_failure(tmp_path, door, keep):
    with served(tmp_path, door) as place:
        found = run(streams(tmp_path, place, keep=keep, length=13), "--requests", 20)
    assert (found["requests"], found["failures"]) == (0, {"length": 20})


def answering(listening, answer, count):
    """Answer each connection's first request and end the connection."""
    for _ in range(count):
        sock, _ = listening.accept()
        with sock:
            sock.recv(65536)
            sock.sendall(answer)


@pytest.mark.parametrize(
    ("answer", "wanted", "accepted", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHello world\n", 5, 5, (5, {}, 4)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHello", 5, 5, (0, {"cut": 5}, 0)),
        (b"HTTP/1.1 200 OK\r\n\r\nHello world\n", 5, 5, (0, {"form": 5}, 0)),
    ],
)
def test_ends_of_connections_are_told_apart(tmp_path, answer, wanted, accepted, expected):
    place = free_place("http", str(tmp_path))
    with socket.create_server(("127.0.0.1", place.port)) as listening:
        thread = threading.Thread(target=answering, args=(listening, answer, accepted))
        thread.start()
        found = run(streams(tmp_path, place), "--requests", wanted, "--connections", 1)
        thread.join()
    assert (found["requests"], found["failures"], found["reopened"]) == expected


def test_idle_connections_are_held_and_counted(tmp_path):
    with served(tmp_path, "http") as place:
        holder = subprocess.Popen(
            [*streams(tmp_path, place), "--connections", "0", "--idle", "20"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert holder.stdout.readline() == "idle 20\n"
        assert calls(tmp_path) == [0] * 20
        out, _ = holder.communicate(timeout=20)
    assert json.loads(out) == {"idle": 20, "open": 20}
