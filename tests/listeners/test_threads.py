"""The thread rule, proven with an application that blocks its thread."""

from __future__ import annotations

import re
from contextlib import ExitStack

import pytest

from tests.listeners.conftest import (
    FRONTS,
    KEPT_FRONTS,
    LISTENERS,
    MOUNTS,
    STREAM_FRONTS,
    Site,
    at_once,
    check,
    clients_of,
)

FORCED = r"WARNING threads = 8 is forced to 1"


# ZeroMQ alone


def test_zeromq_alone_has_native_threads(serve):
    """Eight calls block at once, so each of the eight PULL peers had a request dealt to it."""
    site = serve("blocking:app", ["mongrel2"], threads=8)
    site.mongrel2.wait_for_peers(8, 1)  # eight PULLs, and one XPUB that all share
    with ExitStack() as stack:
        clients = clients_of(site, stack, ["mongrel2", "mongrel2-tnetstring"] * 4)
        for _ in range(3):
            told = at_once(clients, "/meet?8")
            assert len({each["thread"] for each in told}) == 8
            assert len({each["native"] for each in told}) == 8
            assert all(each["multithread"] for each in told)
        assert at_once(clients[:1], "/peak")[0]["peak"] == 8
    site.mongrel2.wait_for_peers(8, 1)
    assert site.server.warnings == []
    assert site.server.stop() == 0


def test_zeromq_alone_checked(serve):
    site = serve("blocking:app", ["mongrel2"], threads=8)
    done = check(site)
    assert done.returncode == 0
    assert "8 threads, each subscribed by itself" in done.stdout
    assert "warning" not in done.stdout


def test_zeromq_alone_with_one_thread(serve):
    site = serve("blocking:app", ["mongrel2"])
    site.mongrel2.wait_for_peers(1, 1)
    with ExitStack() as stack:
        told = at_once(clients_of(site, stack, ["mongrel2"] * 10), "/overlap")
    assert {each["peak"] for each in told} == {1}
    assert not any(each["multithread"] for each in told)


# ZeroMQ and another socket


@pytest.mark.parametrize("beside", [[name] for name in MOUNTS] + [list(MOUNTS)], ids="-".join)
def test_another_socket_forces_one_thread(serve, beside):
    site = serve("blocking:app", ["mongrel2", *beside], threads=8)
    lines = re.findall(rf"^.*{FORCED}.*$", site.server.log, re.MULTILINE)
    assert len(lines) == 1
    for name in beside:
        assert f"{name} 127.0.0.1:" in lines[0]
    for name in set(MOUNTS) - set(beside):
        assert f"{name} 127.0.0.1:" not in lines[0]
    with ExitStack() as stack:
        fronts = [front for front in FRONTS if front.partition("-")[0] in {"mongrel2", *beside}]
        told = at_once(clients_of(site, stack, fronts * 4), "/overlap")
    assert {each["peak"] for each in told} == {1}, "the application never runs twice at once"
    assert len({each["native"] for each in told}) == 1
    assert not any(each["multithread"] for each in told)
    assert site.count(FORCED) == 1


@pytest.mark.parametrize("beside", [["http"], ["uwsgi", "scgi"]], ids="-".join)
def test_check_tells_of_the_forced_thread(serve, beside):
    site = serve("blocking:app", ["mongrel2", *beside], threads=8)
    done = check(site)
    assert done.returncode == 0
    lines = [line for line in done.stdout.splitlines() if "forced to 1" in line]
    assert len(lines) == 1
    assert lines[0].startswith("warning: threads = 8")
    assert all(f"{name} 127.0.0.1:0" in lines[0] for name in beside)


def test_one_thread_needs_no_warning(serve):
    site = serve("blocking:app", LISTENERS, threads=1)
    assert site.server.warnings == []
    assert "warning" not in check(site).stdout


# Sockets without ZeroMQ


@pytest.fixture(scope="module")
def threaded(tmp_path_factory):
    found = Site(tmp_path_factory.mktemp("threaded"), "blocking:app", list(MOUNTS), threads=8)
    yield found
    found.close()


@pytest.mark.parametrize("front", STREAM_FRONTS)
def test_threads_of_sockets(threaded, front):
    with ExitStack() as stack:
        clients = clients_of(threaded, stack, [front] * 8)
        for _ in range(3):
            told = at_once(clients, "/meet?8")
            assert len({each["thread"] for each in told}) == 8
            assert len({each["native"] for each in told}) == 8
            assert all(each["multithread"] for each in told)


@pytest.mark.parametrize("front", [front for front in STREAM_FRONTS if front in KEPT_FRONTS])
def test_threads_of_kept_connections(threaded, front):
    """A connection does not stay with the thread that served it first."""
    with ExitStack() as stack:
        clients = clients_of(threaded, stack, [front] * 8)
        for client in clients:
            assert client.request("GET", "/overlap").status == 200
        sockets = [client.sock for client in clients]
        assert len(at_once(clients, "/meet?8")) == 8
        assert [client.sock for client in clients] == sockets


def test_threads_of_several_sockets(threaded):
    with ExitStack() as stack:
        clients = clients_of(threaded, stack, ["http", "uwsgi", "fastcgi", "scgi"] * 2)
        assert len({each["native"] for each in at_once(clients, "/meet?8")}) == 8


def test_more_calls_than_threads(threaded):
    with ExitStack() as stack:
        told = at_once(clients_of(threaded, stack, STREAM_FRONTS * 8), "/overlap")
    assert len(told) == 40
    assert max(each["peak"] for each in told) <= 8


def test_threads_of_sockets_checked(threaded):
    assert threaded.server.warnings == []
    done = check(threaded)
    assert "up to 8 requests at once in threads" in done.stdout
    assert "warning" not in done.stdout
