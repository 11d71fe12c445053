"""Clients that go away: the call for them is ended where it waits, once, and nothing else is."""

from __future__ import annotations

import os
import re
import signal
from contextlib import ExitStack
from socket import SHUT_WR, SO_ERROR, SOL_SOCKET

import pytest

from tests.listeners.conftest import STREAM_FRONTS, clients_of, over
from tests.support.fronts import poll

APP = "waiting:app"
OPTIONS = {"gevent": 50}


def close(client):
    """Leave as most do."""
    client.close()


def reset(client):
    """Leave without having read what is there."""
    client.drop()


def abort(client):
    """Leave as FastCGI has a word for."""
    client.sock.sendall(client.record(2, b""))
    while client.more():
        pass
    assert client.over, "END_REQUEST answers an abort"


def gone(site, token):
    """Wait for the access line of a client that has gone."""
    site.log(rf'\?{token} HTTP/1\.1" 499 ')


def alone(site, token, what, count=1):
    assert site.count(rf"{token} {what}") == count, site.server.log


WAYS = [*((front, way) for front in STREAM_FRONTS for way in (close, reset)), ("fastcgi", abort), ("fastcgi-kept", abort)]  # fmt: skip


@pytest.mark.parametrize("client, leave", WAYS, indirect=["client"])
def test_a_call_that_waits_is_cancelled(client, site, token, leave):
    client.send("GET", f"/wait/call?{token}")
    site.log(rf"{token} waits")
    leave(client)
    site.log(rf"{token} raised Cancelled")
    gone(site, token)
    assert site.count(rf"\?{token} HTTP") == 1, "one access line and no other word"


@pytest.mark.parametrize("client, leave", WAYS, indirect=["client"])
def test_an_answer_that_waits_is_cancelled_and_closed_once(client, site, token, leave):
    client.send("GET", f"/wait/pieces?{token}")
    site.log(rf"{token} waits")
    leave(client)
    site.log(rf"{token} closed")
    gone(site, token)
    alone(site, token, "raised Cancelled")
    alone(site, token, "closed")
    assert site.count(rf"\?{token} HTTP") == 1


def test_an_answer_that_is_aborted_ends_in_order(serve, token):
    """No reset follows its END_REQUEST, also where the front end keeps its side of the connection."""
    site = serve(APP, ["fastcgi"], gevent=2)
    kept = len(os.listdir(f"/proc/{site.server.process.pid}/fd"))
    with site.client("fastcgi") as client:
        client.send("GET", f"/wait/pieces?{token}")
        site.log(rf"{token} waits")
        abort(client)
        poll(lambda: len(os.listdir(f"/proc/{site.server.process.pid}/fd")) == kept, "it is not closed")
        assert client.sock.getsockopt(SOL_SOCKET, SO_ERROR) == 0


@over(*STREAM_FRONTS)
def test_a_call_that_waits_is_cancelled_while_another_greenlet_writes(client, site, token):
    """What it writes is not read, so that only the end of what the client says tells that it leaves."""
    client.send("GET", f"/beside/writes?{token}")
    site.log(rf"{token} waits")
    client.sock.shutdown(SHUT_WR)
    site.log(rf"{token} has raised ClientGone beside it")
    site.log(rf"{token} raised Cancelled")
    gone(site, token)


@pytest.mark.parametrize("where", ["call", "pieces"])
def test_what_a_cancelled_call_has_kept_is_not_for_the_next_one(serve, token, where):
    """As a connection to a database in the middle of a reply would be; what others have kept is."""
    site = serve(APP, ["http"], gevent=2)
    assert [said(site, f"/local/{each}") for each in "ab"] == [b"nothing", b"a"]
    client = site.client("http")
    client.send("GET", f"/wait/{where}?{token}")
    site.log(rf"{token} waits")
    close(client)
    site.log(rf"{token} raised Cancelled")
    gone(site, token)
    assert [said(site, f"/local/{each}") for each in "cd"] == [b"nothing", b"c"]


def send_with_the_connection(site, client, target):
    """Send a request that is there when its connection is accepted, which is watched later then."""
    process = site.server.process
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    client.send("GET", target)
    process.send_signal(signal.SIGCONT)


@over("http", "fastcgi-kept")
def test_what_a_cancelled_call_does_behind_that_is_not_disturbed(client, site, token, tmp_path):
    """Its connection is looked at once more, for the sake of the first request."""
    once, released = ((tmp_path / name, str(tmp_path / name)[1:].replace("/", ":")) for name in "ab")
    send_with_the_connection(site, client, f"/late-close/{once[1]}?{token}first")
    site.log(f"{token}first waits")
    once[0].touch()
    assert client.receive().body == b"whole"
    client.send("GET", f"/rolls-back/{released[1]}?{token}")
    site.log(f"{token} waits")
    close(client)
    site.log(f"{token} rolls back")
    with site.client(client.front) as other:  # which is looked at behind it
        send_with_the_connection(site, other, f"/wait/call?{token}other")
        site.log(f"{token}other waits")
    site.log(f"{token}other raised Cancelled")
    turn(site)
    released[0].touch()
    site.log(f"{token} has rolled back")
    gone(site, token)


@over("fastcgi", "fastcgi-kept")
def test_a_client_that_aborts_and_leaves_cancels_once(client, site, token, tmp_path):
    released = tmp_path / "released"
    client.send("GET", f"/rolls-back/{str(released)[1:].replace('/', ':')}?{token}")
    site.log(f"{token} waits")
    client.sock.sendall(client.record(2, b""))
    site.log(f"{token} rolls back")
    close(client)
    turn(site)
    released.touch()
    site.log(f"{token} has rolled back")
    gone(site, token)


def said(site, path):
    with site.client("http") as client:
        client.send("GET", path)
        return client.receive().body


@over("http", "uwsgi", "scgi")
def test_a_client_that_says_too_much_and_leaves_is_found(client, site, token):
    """What it says is not read any more, and its end stands behind that."""
    client.send("GET", f"/wait/call?{token}")
    site.log(rf"{token} waits")
    client.sock.sendall(b"GET /" + b"x" * 100_000)
    close(client)
    site.log(rf"{token} raised Cancelled")
    gone(site, token)


@over(*STREAM_FRONTS)
def test_close_of_the_iterable_is_not_disturbed(client, site, token, tmp_path):
    """The answer is whole, so its client may go; what the application does then is its own affair."""
    released = tmp_path / "released"
    client.send("GET", f"/late-close/{str(released)[1:].replace('/', ':')}?{token}")
    site.log(rf"{token} waits")
    close(client)
    turn(site)
    released.touch()
    site.log(rf"{token} closed")
    site.log(rf'\?{token} HTTP/1\.1" 200 5 ')
    alone(site, token, "raised", 0)


@pytest.mark.parametrize("mode", [{}, {"gevent": 2}, {"threads": 2}], ids=["one", "gevent", "threads"])
@pytest.mark.parametrize("front", STREAM_FRONTS)
def test_a_call_that_runs_ends_at_its_next_piece(serve, token, mode, front):
    """Where the application blocks its thread it is not interrupted, but it can send nothing more."""
    site = serve("waiting:app", [front.partition("-")[0]], **mode)
    with site.client(front) as client:
        client.send("GET", f"/tick/0.01?{token}")
        assert client.wire.more() or client.more()
    site.log(rf"{token} closed")
    gone(site, token)
    alone(site, token, "closed")
    assert "Traceback" not in site.server.log


@pytest.mark.parametrize("front", ["http", "uwsgi"])
def test_a_call_in_the_loops_thread_is_asked_for_one_more_piece_only(serve, token, front, tmp_path):
    """Over TCP the kernel takes that one, as if the client were there."""
    site = serve("waiting:app", [front])
    with site.client(front) as client:
        client.send("GET", f"/steps/{str(tmp_path)[1:].replace('/', ':')}?{token}")
        assert client.wire.more() or client.more()
    (tmp_path / "0").touch()
    site.log(rf"{token} closed")
    gone(site, token)


@over("http", "uwsgi", "scgi", "fastcgi")
def test_a_connection_ends_with_its_answer_and_not_with_the_call(client, site, token, tmp_path):
    released = tmp_path / "released"
    close = [("Connection", "close")] if client.kept else []
    client.send("GET", f"/late-close/{str(released)[1:].replace('/', ':')}?{token}", close)
    assert client.receive().body == b"whole"
    assert client.sock.recv(1) == b""
    site.log(f"{token} waits")
    alone(site, token, "closed", 0)
    released.touch()
    site.log(rf'\?{token} HTTP/1\.1" 200 ')


def turn(site):
    """Have the server's loop turn round: what was there before has been read then.

    The first may be served in the turn that has just begun, and the second before what came with it.
    """
    for _ in range(3):
        with site.client("http") as other:
            other.start(b"no HTTP\r\n\r\n")
            assert b" 400 " in other.more()  # which takes no core


@pytest.mark.parametrize("mode", [{"gevent": 2}, {"threads": 2}], ids=["gevent", "threads"])
@pytest.mark.parametrize("front", STREAM_FRONTS)
def test_a_request_that_waits_for_a_core_is_not_begun(serve, token, tmp_path, mode, front):
    site = serve("waiting:app", {front.partition("-")[0], "http"}, **mode)
    released = tmp_path / "released"
    with ExitStack() as stack:
        clients = clients_of(site, stack, [front] * 4)
        for number, client in enumerate(clients[:2]):
            client.send("GET", f"/late-close/{str(released)[1:].replace('/', ':')}?holds{number}n")
            site.log(f"holds{number}n waits")
        clients[2].send("GET", f"/wait/call?{token}")
        clients[3].send("GET", "/ok")
        close(clients[2])
        turn(site)
        released.touch()
        assert clients[3].receive().body == b"ok"
    gone(site, token)
    alone(site, token, "waits", 0)


@over("http", "uwsgi", "scgi", "fastcgi")
def test_the_end_of_what_a_client_says_is_taken_for_its_own(client, site, token):
    client.send("GET", f"/wait/call?{token}")
    site.log(rf"{token} waits")
    client.sock.shutdown(SHUT_WR)
    site.log(rf"{token} raised Cancelled")
    gone(site, token)


@pytest.mark.parametrize("front", STREAM_FRONTS)
def test_ignore_client_abort(serve, tmp_path, front):
    """A client that has said all can still read, where it may."""
    site = serve("waiting:app", {front.partition("-")[0], "http"}, gevent=2, ignore_client_abort="true")
    released = tmp_path / "released"
    with site.client(front) as client:
        client.send("GET", f"/events/{str(released)[1:].replace('/', ':')}")
        client.sock.shutdown(SHUT_WR)
        turn(site)
        released.touch()
        answer = client.receive()
    assert (answer.status, answer.body, answer.complete) == (200, b"data: first\n\ndata: last\n\n", True)
    site.log('"GET /events.* 200 ')


@pytest.mark.parametrize("front", ["http", "fastcgi-kept"])
@pytest.mark.parametrize("apart", [False, True])
def test_ignore_client_abort_finishes_all_requests_that_came_whole(serve, tmp_path, front, apart):
    site = serve("waiting:app", {front.partition("-")[0], "http"}, gevent=2, ignore_client_abort="true")
    released = tmp_path / "released"
    with site.client(front) as client:
        first = client.encode("GET", f"/events/{str(released)[1:].replace('/', ':')}")
        rest = [client.encode("GET", f"/ok?{number}") for number in range(3)]
        client.connect()
        turn(site)  # it is watched from now on
        for each in [first, *rest] if apart else [first + b"".join(rest)]:
            client.sock.sendall(each)
            turn(site)
        client.sock.shutdown(SHUT_WR)
        turn(site)
        released.touch()
        client.methods.extend(["GET"] * 4)
        bodies = [client.receive().body for _ in range(4)]
        assert client.sock.recv(1) == b""
    assert bodies == [b"data: first\n\ndata: last\n\n", b"ok", b"ok", b"ok"]


def test_others_go_on(site, token):
    """Fifty calls wait; half of their clients go."""
    clients = [site.client(front) for front in STREAM_FRONTS * 10]
    for number, client in enumerate(clients):
        client.send("GET", f"/wait/pieces?{token}n{number}n")
        site.log(rf"{token}n{number}n waits")
    for client in clients[::2]:
        close(client)
    for number in range(0, 50, 2):
        site.log(rf"{token}n{number}n closed")
    assert len(re.findall(rf"{token}n\d+n raised Cancelled", site.server.log)) == 25
    for client in clients[1::2]:
        close(client)
    for number in range(1, 50, 2):
        site.log(rf"{token}n{number}n closed")
