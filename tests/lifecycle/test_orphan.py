"""What becomes of a server's processes when its master is killed."""

import errno
import os
import signal
import socket

import pytest

from tests.support.fronts import poll

from .conftest import alive, children, refused


def kill_master(site):
    """Kill the master, and return its children, the workers and their preloader among them."""
    found = children(site.server.process.pid)
    site.server.process.kill()
    site.server.process.wait(30)
    return found


def all_gone(site, pids):
    poll(lambda: not any(map(alive, pids)), f"some live on:\n{site.log}")
    # A process whose main thread has ended is a zombie, though another may hold its sockets for a moment.
    poll(lambda: refused(site.address), "somebody listens on")


@pytest.mark.parametrize("more", [{}, {"threads": 2}, {"gevent": 2}], ids=["one", "threads", "gevent"])
def test_what_is_in_hand_is_finished(site, more):
    site.configure(processes=2, worker_reload_mercy=1000, **more).start()
    finish = site.hold()
    pids = kill_master(site)
    site.release()
    assert finish()[0] == 200
    all_gone(site, pids)
    assert "does not come to its end" not in site.server.log


@pytest.mark.parametrize("mounted", ["127.0.0.1:0", "{}/site.sock"])
def test_a_blocked_worker_holds_no_address_and_loses_nobody(site, mounted):
    site.configure(http_socket=mounted.format(site.directory), worker_reload_mercy=1000).start()
    path = site.directory / "site.sock"

    def connect():
        sock = socket.socket(socket.AF_UNIX if path.exists() else socket.AF_INET)
        sock.settimeout(30)
        code = sock.connect_ex(str(path) if path.exists() else site.address)
        return sock, code

    (held, _), (waiting, _) = connect(), connect()
    with held, waiting:
        for sock, target in (held, b"/hold?hold"), (waiting, b"/"):
            sock.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
            poll((site.directory / "hold.held").exists, "the request does not run")
        pids = kill_master(site)

        def refused():
            sock, code = connect()
            sock.close()
            return code == errno.ECONNREFUSED

        poll(refused, "somebody listens on")
        if not path.exists():
            socket.create_server(site.address).close()
        site.release()
        for sock in held, waiting:
            assert sock.recv(12) == b"HTTP/1.1 200"
    poll(lambda: not any(map(alive, pids)), f"some live on:\n{site.log}")
    assert "cannot accept" not in site.server.log


@pytest.mark.parametrize("path, place", [("/hold", "in hold"), ("/loop", "in loop_for_ever")])
def test_an_application_that_does_not_come_back_holds_no_socket_for_ever(site, path, place):
    site.configure(worker_reload_mercy="0.1").start()
    finish = site.hold(path=path)
    pids = kill_master(site)
    all_gone(site, pids)
    assert finish()[0] == 0
    assert "the master has gone, and this worker does not come to its end" in site.server.log
    assert place in site.server.log


@pytest.mark.parametrize("lazy, what", [("false", "preloader"), ("true", "worker")])
@pytest.mark.parametrize("first", [True, False])
def test_an_application_that_is_being_loaded_holds_no_socket(site, lazy, what, first):
    gate = site.directory / "gate"
    loading = f"open({str(gate)!r}).read()\n{site.app.read_text()}"
    os.mkfifo(gate)
    site.configure(lazy_apps=lazy, worker_reload_mercy=1000)
    if first:
        site.app.write_text(loading)
        site.launch()
    else:
        site.start().app.write_text(loading)
        site.server.process.send_signal(signal.SIGHUP)
    with gate.open("w"):  # it is open when the application has come to it
        address = site.wait_until(r"listening: http ([\d.]+):(\d+)")
        pids = kill_master(site)
        poll(lambda: not any(map(alive, pids)), f"some live on:\n{site.log}")
        poll(lambda: refused((address[1], int(address[2]))), "somebody listens on")
    assert (
        f"the master has gone, and this {what} does not come to its end: its stacks follow" in site.server.log
    )
    assert "application has started threads" not in site.server.log
    assert ", in <module>\n    open(" in site.server.log
