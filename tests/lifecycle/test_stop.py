"""Stopping: everything received is answered, unless it shall be quick."""

from __future__ import annotations

import os
import select
import signal
import socket

import pytest

from tests.lifecycle.conftest import alive, refused
from tests.support.clients import FastcgiClient, HttpClient
from tests.support.fronts import poll
from tests.test_sockets import needs_ipv6


def test_requests_in_hand_are_answered(site):
    site.configure(processes=2).start()
    finishers = [site.hold("a"), site.hold("b")]
    site.server.process.send_signal(signal.SIGTERM)
    site.wait_until("SIGTERM: stop")
    site.release("a")
    site.release("b")
    assert [finish()[0] for finish in finishers] == [200, 200]
    assert site.server.process.wait(30) == 0
    site.wait_until("stopped$")


@pytest.mark.parametrize("options", [{}, {"processes": 2, "gevent": 1}], ids=["one", "processes"])
@pytest.mark.parametrize("mounted", ["127.0.0.1:0", "{}/site.sock"])
def test_connections_that_wait_to_be_accepted_are_answered(site, mounted, options):
    """All workers are busy, so that they wait in the kernel when the stop begins; also what is to be refused."""
    site.configure(http_socket=mounted.format(site.directory), **options).start()
    path = site.directory / "site.sock"

    def connect():
        sock = socket.socket(socket.AF_UNIX if path.exists() else socket.AF_INET)
        sock.settimeout(30)
        sock.connect(str(path) if path.exists() else site.address)
        return sock

    busy = []
    for number in range(options.get("processes", 1)):
        busy.append(connect())
        busy[-1].sendall(b"GET /hold?h%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
        poll((site.directory / f"h{number}.held").exists, "the request does not run")
    bad = [connect() for _ in range(12)]
    for sock in bad:
        sock.sendall(b"GET\r\n\r\n")
    waiting = [connect() for _ in range(5)]
    for sock in waiting:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    site.server.process.send_signal(signal.SIGTERM)
    site.wait_until("SIGTERM: stop")
    for number in range(len(busy)):
        site.release(f"h{number}")
    for sock in (*busy, *waiting):
        with sock:
            assert sock.recv(12) == b"HTTP/1.1 200"
    for sock in bad:
        with sock:
            assert sock.recv(12) == b"HTTP/1.1 400"
    assert site.server.process.wait(30) == 0


def test_connections_are_refused_while_the_last_request_is_finished(site):
    """Nobody has the listening socket any more who would let them wait, and reset them in the end."""
    site.configure(gevent=2).start()
    finish = site.hold()
    site.server.process.send_signal(signal.SIGTERM)
    poll(lambda: refused(site.address), "connections are still accepted")
    site.release()
    assert finish()[0] == 200
    assert site.server.process.wait(30) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("[::1]", marks=needs_ipv6)])
def test_no_connection_comes_between_the_last_look_and_the_end(site, host):
    """The kernel would reset it; so it takes no more while the busy worker still has the socket."""
    site.configure(http_socket=f"{host}:0", listen=1000).start()
    finish = site.hold()
    site.server.process.send_signal(signal.SIGTERM)
    tries = []

    def connects():
        tries.append(1)
        with socket.socket(socket.AF_INET6 if "::" in host else socket.AF_INET) as sock:
            sock.setblocking(False)
            sock.connect_ex(site.address)
            return select.select([], [sock], [], 0)[1]

    poll(lambda: not connects(), "connections are still accepted")
    assert len(tries) < 1000  # else it is only that there is no room for more
    site.release()
    assert finish()[0] == 200
    assert site.server.process.wait(30) == 0


def test_what_waits_is_answered_where_a_reload_has_come_to_its_last_worker(site):
    """The old one finishes what it has, so that only the new ones, which are given up, can accept it."""
    site.configure("touch-chain-reload = touched", processes=2, gevent=1)
    (site.directory / "touched").touch()
    site.start()
    second = int(site.wait_until(r"worker 2 \(pid (\d+)\) serves")[1])
    while site.get("/", old := site.connect())[1]["pid"] != second:
        old.close()
    old.request("GET", "/hold?old")
    poll((site.directory / "old.held").exists, "the request does not run")
    os.utime(site.directory / "touched", ns=(1, 1))
    site.wait_until("generation 1: worker 2 stops")
    finishers = [site.hold("a"), site.hold("b")]
    waiting = [socket.create_connection(site.address, timeout=30) for _ in range(5)]
    for sock in waiting:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    site.server.process.send_signal(signal.SIGTERM)
    poll(lambda: refused(site.address), "connections are still accepted")
    for name in ("old", "a", "b"):
        site.release(name)
    assert [finish()[0] for finish in finishers] == [200, 200]
    assert old.getresponse().read()
    old.close()
    for sock in waiting:
        with sock:
            assert sock.recv(12) == b"HTTP/1.1 200"
    assert site.server.process.wait(30) == 0


def test_a_request_that_is_still_coming_is_answered(site):
    site.configure().start()
    with socket.create_connection(site.address, timeout=30) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        site.told()  # the worker has read what was sent before
        site.server.process.send_signal(signal.SIGTERM)
        site.wait_until("SIGTERM: stop")
        sock.sendall(b"Host: x\r\n\r\n")
        answer = b""
        while data := sock.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert site.server.process.wait(30) == 0


@pytest.mark.parametrize("mounted", ["127.0.0.1:0", "{}/site.sock"])
def test_the_last_answer_of_a_kept_fastcgi_connection_ends_it(site, mounted):
    """A front end that saw the one without the other would lose its next request; TCP carries both at once."""
    site.configure(gevent=2, fastcgi_socket=mounted.format(site.directory)).start()
    client = FastcgiClient(site.server.addresses["fastcgi"], kept=True)
    with client:
        assert client.request("GET", "/").status == 200
        client.send("GET", "/hold?hold")
        poll((site.directory / "hold.held").exists, "the request does not run")
        site.server.process.send_signal(signal.SIGTERM)
        poll(lambda: refused(site.address), "connections are still accepted")
        site.release()
        client.sock.recv(1, socket.MSG_PEEK)
        assert has_ended(client.sock) or client.sock.family == socket.AF_UNIX
        assert client.receive().status == 200
        assert client.sock.recv(1) == b""
    assert site.server.process.wait(30) == 0


MOUNTED = pytest.mark.parametrize("mounted", ["127.0.0.1:0", "{}/kept.sock"], ids=["tcp", "unix"])


@MOUNTED
@pytest.mark.parametrize("options", [{"gevent": 2}, {"threads": 2}], ids=["gevent", "threads"])
def test_an_answer_that_begins_behind_a_stop_announces_the_end(site, mounted, options):
    site.configure(http_socket=mounted.format(site.directory), **options).start()
    with HttpClient(site.server.addresses["http"]) as client, HttpClient(client.address) as idle:
        assert idle.request("GET", "/").status == 200
        client.send("GET", "/hold?hold")
        poll((site.directory / "hold.held").exists, "the request does not run")
        site.server.process.send_signal(signal.SIGTERM)
        assert idle.sock.recv(1) == b""  # so the worker has told its connections
        site.release()
        answer = client.receive()
        assert (answer.status, answer.header("Connection"), answer.complete) == (200, "close", True)
    assert site.server.process.wait(30) == 0


@MOUNTED
@pytest.mark.parametrize("options", [{}, {"gevent": 2}, {"threads": 2}], ids=["one", "gevent", "threads"])
def test_a_connection_whose_answer_has_announced_no_end_takes_one_more_request(site, mounted, options):
    """Its client may be sending that already when the answer ends."""
    site.configure(http_socket=mounted.format(site.directory), **options).start()
    with HttpClient(site.server.addresses["http"]) as client, HttpClient(client.address) as idle:
        assert idle.request("GET", "/").status == 200
        client.send("GET", "/events?stream")
        poll((site.directory / "stream.held").exists, "the request does not run")
        site.server.process.send_signal(signal.SIGTERM)
        site.wait_until("SIGTERM: stop")
        if options:
            assert idle.sock.recv(1) == b""
        site.release("stream")
        answer = client.receive()
        assert (answer.body, answer.header("Connection"), answer.complete) == (b"event,end", None, True)
        while not answer.closed:  # one process that blocks hears of the stop a little later
            answer = client.request("GET", "/")
            assert (answer.status, answer.complete) == (200, True)
    assert site.server.process.wait(30) == 0


def has_ended(sock):
    """Tell whether the peer has closed its half, though not all of it has been read."""
    poller = select.poll()
    poller.register(sock, select.POLLRDHUP)
    return bool(poller.poll(0))


@pytest.mark.parametrize("numbers", [[signal.SIGTERM] * 2, [signal.SIGINT], [signal.SIGQUIT]])
def test_a_fast_stop_waits_for_nothing(site, numbers):
    site.configure(processes=2).start()
    finish = site.hold()
    pids = site.imported()
    for number in numbers:
        site.server.process.send_signal(number)
        site.wait_until(f"{number.name}: ")
    assert site.server.process.wait(30) == 0
    site.release()
    assert finish()[0] == 0
    assert not any(alive(pid) for pid in pids)


def test_a_stop_behind_a_drain_is_an_ordinary_one(site):
    """Another drain changes nothing."""
    site.configure("control-socket = ./ctl", processes=2, gevent=2, worker_reload_mercy=50).start()
    finish = site.hold()
    for command in ("drain", "stop", "drain"):
        say(site, command)
    site.wait_until("what is in hand has 50 seconds more$")
    site.release()
    assert finish()[0] == 200
    assert site.server.process.wait(30) == 0


def test_a_stop_behind_a_drain_has_a_limit(site):
    site.configure("control-socket = ./ctl", worker_reload_mercy="0.1").start()
    finish = site.hold()
    say(site, "drain")
    site.server.process.send_signal(signal.SIGTERM)
    assert finish()[0] == 0
    assert site.server.process.wait(30) == 0
    site.wait_until("what is in hand has 0.1 seconds more$")
    site.wait_until("does not end and is killed$")


def test_a_second_stop_behind_a_drain_is_at_once(site):
    site.configure("control-socket = ./ctl", worker_reload_mercy=1000).start()
    finish = site.hold()
    for command in ("drain", "stop", "stop"):
        say(site, command)
    assert finish()[0] == 0
    assert site.server.process.wait(30) == 0


def say(site, command):
    """Give a command, and wait until it is taken, not for what becomes of it."""
    told = f"the control socket: {command}\n"
    before = site.count(told)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(site.directory / "ctl"))
        sock.sendall(f"{command}\n".encode())
        site.wait_for(told, before + 1)


def test_quit_tells_where_everything_is(site):
    site.configure(processes=2).start()
    finish = site.hold()
    site.server.process.send_signal(signal.SIGQUIT)
    assert site.server.process.wait(30) == 0
    site.release()
    assert finish()[0] == 0
    site.wait_until(r"thread MainThread \(\d+\), serving GET /hold\?hold HTTP/1\.1:")


def test_mercy_ends(site):
    site.configure(worker_reload_mercy="0.1").start()
    finish = site.hold()
    site.server.process.send_signal(signal.SIGTERM)
    assert site.server.process.wait(30) == 0
    assert finish()[0] == 0
    site.wait_until("does not end and is killed")


def test_a_stop_while_it_starts(site):
    started = site.directory / "started"
    site.app.write_text(f"import time\nopen({str(started)!r}, 'w').close()\nwhile True: time.sleep(0.01)\n")
    site.configure().launch()
    poll(started.exists, "it does not start")
    site.server.process.send_signal(signal.SIGTERM)
    assert site.server.process.wait(30) == 0
    assert "ready" not in site.log


def test_sockets_are_removed_by_the_master_alone(site):
    path = site.directory / "site.sock"
    site.configure(http_socket=str(path), vacuum="true", max_requests=1, min_worker_lifetime=0).start()
    assert path.is_socket()
    site.server.process.send_signal(signal.SIGHUP)
    site.wait_until("generation 2 has taken over")
    assert path.is_socket()
    site.server.stop()
    assert not path.exists()


def test_no_new_worker_comes_while_it_stops(site):
    """A service manager sends SIGTERM to all processes of the group."""
    import os

    site.configure(processes=2).launch(process_group=0)
    site.server.start()
    os.killpg(site.server.process.pid, signal.SIGTERM)
    assert site.server.process.wait(30) == 0
    site.wait_until("stopped$")
    assert site.count("loaded") == 1
    assert "ended:" not in site.log
