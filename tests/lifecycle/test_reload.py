"""A new generation takes over only if it can serve; nobody's request is lost either way."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.lifecycle.conftest import alive, children, refused
from tests.support.clients import UwsgiClient
from tests.support.fronts import poll
from tests.support.ports import free_port
from tests.support.server import Server
from tests.test_sockets import needs_ipv6


def reload(site, number=signal.SIGHUP):
    site.server.process.send_signal(number)


def generation(site, number):
    """Wait until a generation has taken over and the one before has gone."""
    site.wait_until(rf"generation {number} has taken over")


def change(site, old="VERSION = 1", new="VERSION = 2"):
    text = site.app.read_text()
    assert old in text
    site.app.write_text(text.replace(old, new))
    reload(site)


def test_the_new_code_serves(site):
    site.configure(processes=2).start()
    before = site.pids(2) | set(site.imported())
    change(site)
    generation(site, 2)
    assert {site.told()["version"] for _ in range(4)} == {2}
    assert not any(alive(pid) for pid in before)
    assert len(children(site.server.process.pid)) == 3  # two workers and their preloader


def test_requests_in_hand_are_finished_by_the_old_code(site):
    site.configure(processes=2).start()
    finish = site.hold()
    change(site)
    site.wait_until(r"generation 1: worker \d \(pid \d+\) has gone")  # the other one, which is idle
    assert site.told()["version"] == 2
    site.release()
    status, body = finish()
    assert (status, body["version"]) == (200, 1)
    generation(site, 2)


def test_streams_have_a_grace_of_their_own(site):
    """The old worker stays for its other request; what has no known end is cut after its own grace."""
    site.configure(gevent=10, stream_reload_mercy="0.2").start()
    finish = site.hold("request")
    stream = site.hold("stream", "/events")
    reload(site)
    status, error = stream()
    assert status == 0, error  # the chunked body has no end
    site.wait_until("GET /events.stream HTTP/1.1 is ended, as this worker stops")
    site.release("request")
    assert finish()[0] == 200
    generation(site, 2)
    assert site.count('"GET /events?stream HTTP/1.1" 200 6 ') == 1
    assert "killed" not in site.log


def test_requests_that_wait_for_a_busy_worker_are_answered(site):
    """They are accepted by the old worker, which is in the application, or by the new one."""
    site.configure().start()
    held = site.hold()
    waiting = [site.begin("/") for _ in range(5)]
    change(site)
    site.wait_until("generation 2 serves")
    site.release()
    assert held()[0] == 200
    assert [finish()[0] for finish in waiting] == [200] * 5
    generation(site, 2)


def test_what_waits_to_be_accepted_is_left_to_the_new_code(site):
    """But for the one that each of the old workers may take before it hears of its end."""
    site.configure(processes=2).start()
    old = [site.hold(f"old{number}") for number in range(2)]
    change(site)
    site.wait_until("generation 2 serves")
    new = [site.hold(f"new{number}") for number in range(2)]
    waiting = [site.begin("/") for _ in range(10)]
    for number in range(2):
        site.release(f"old{number}")
    for worker in (1, 2):
        site.wait_until(rf"generation 1: worker {worker} \(pid \d+\) has gone")
    for number in range(2):
        site.release(f"new{number}")
    assert [finish()[1]["version"] for finish in (*old, *new)] == [1, 1, 2, 2]
    assert sum(finish()[1]["version"] == 1 for finish in waiting) <= 2


def test_what_waits_at_an_address_that_goes_is_answered_by_the_old_code(site):
    path = site.directory / "old.sock"
    site.configure(f"socket = {path}").start()
    finish = site.hold()
    with UwsgiClient(str(path)) as waiting:
        waiting.send("GET", "/")
        site.configure()
        reload(site)
        site.wait_until("generation 2 serves")
        site.release()
        assert waiting.receive().status == 200
    assert finish()[0] == 200
    generation(site, 2)


@pytest.mark.parametrize("lazy", ["true", "false"])
@pytest.mark.parametrize(
    "old, new, reason",
    [
        ("VERSION = 1", "VERSION = ", "SyntaxError"),
        ("VERSION = 1", "import no_such_module", "No module named 'no_such_module'"),
        ("VERSION = 1", "os._exit(4)", "ended(.*served)?: exit code 4"),
        (
            "    told = {", "    raise ValueError\n    told = {",
            "the warm-up request GET / was answered 500 Internal Server Error",
        ),
        ("    told = {", "    os._exit(5)\n    told = {", "ended before it served: exit code 5"),
    ],
)  # fmt: skip
def test_a_generation_that_cannot_serve_never_goes_live(site, old, new, reason, lazy):
    site.configure(processes=2, lazy_apps=lazy).start()
    before = site.pids(2)
    change(site, old, new)
    site.wait_until(f"the reload failed, generation 1 keeps serving: .*{reason}")
    assert {site.told()["version"] for _ in range(4)} == {1}
    assert site.pids(2) == before
    poll(lambda: len(children(site.server.process.pid)) == 3, "something is left of it")
    site.app.write_text(site.app.read_text().replace(new, old.replace("= 1", "= 3")))
    reload(site)
    generation(site, 3)
    assert site.told()["version"] == (3 if "= 1" in old else 1)


def test_a_bad_ini_changes_nothing(site):
    site.configure().start()
    site.ini.write_text("[appserver]\nhttp-socket = nowhere\nprocesses = many\n")
    reload(site)
    site.wait_until("the reload failed, generation 1 keeps serving: .*site.ini:2: http-socket = nowhere")
    site.wait_until(r"site\.ini:3: processes = many: expected a whole number")
    assert site.told()["version"] == 1


def test_a_missing_ini_changes_nothing(site):
    site.configure().start()
    site.ini.unlink()
    reload(site)
    site.wait_until("the reload failed, generation 1 keeps serving")
    assert site.told()["version"] == 1


def test_relative_files_are_those_of_the_start_whatever_directory_hooks_choose(site, tmp_path_factory):
    """So are the files that the first includes or looks for, and new sockets."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (site.directory / "more.ini").write_text("[appserver]\nprint = once\n")
    site.configure(
        f"hook-as-user = chdir:{elsewhere}", f"pythonpath = {site.directory}", "include = more.ini"
    )
    site.server = Server(
        "--ini", "site.ini", cwd=site.directory, env={"PYTHONDONTWRITEBYTECODE": "1"}
    ).start()  # fmt: skip
    process = site.server.process
    assert os.readlink(f"/proc/{process.pid}/cwd") == str(elsewhere)
    (site.directory / "word").write_text("again\n")
    (site.directory / "more.ini").write_text(
        "[appserver]\nprint = @(word) in %v\nif-exists = word\nhttp-socket = ./new.sock\n"
        "stats = ./stats.sock\nendif =\n"
    )
    for number in (2, 3):
        reload(site)
        generation(site, number)
        site.wait_for(f"again in {site.directory}\n", number - 1)
        assert os.readlink(f"/proc/{process.pid}/cwd") == str(elsewhere)
    assert [(site.directory / name).is_socket() for name in ("new.sock", "stats.sock")] == [True, True]
    assert site.told()["version"] == 1


def test_a_start_directory_that_has_gone_is_told_and_does_without(site, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    gone = site.directory / "gone"
    gone.mkdir()
    site.configure(f"hook-as-user = chdir:{elsewhere}", f"pythonpath = {site.directory}")
    site.server = Server("--ini", site.ini, cwd=gone, env={"PYTHONDONTWRITEBYTECODE": "1"}).start()
    gone.rmdir()
    reload(site)
    generation(site, 2)
    site.wait_until(
        f"WARNING relative files are not .* {gone}, where the server was started: No such file or directory"
    )


@pytest.mark.parametrize("again", [False, True])
def test_the_current_directory_may_be_removed(site, again):
    here = site.directory / "here"
    here.mkdir()
    site.configure("touch-reload = touched", f"pythonpath = {site.directory}", print="in %v")
    site.server = Server("--ini", site.ini, cwd=here, env={"PYTHONDONTWRITEBYTECODE": "1"}).start()
    here.rmdir()
    if again:
        here.mkdir()
    for number in (2, 3):
        reload(site)
        generation(site, number)
    assert site.count(" in /\n") == (0 if again else 2)
    assert site.count("WARNING relative files are not looked for in") == (0 if again else 2)
    assert os.readlink(f"/proc/{site.server.process.pid}/cwd") == (str(here) if again else "/")
    assert site.told()["version"] == 1


def test_the_ini_is_read_again(site):
    site.configure(processes=1, env="SETTING=old").start()
    assert site.told()["setting"] == "old"
    site.configure(processes=3, env="SETTING=new", http_socket="127.0.0.1:0")
    reload(site)
    generation(site, 2)
    assert site.told()["setting"] == "new"
    assert len(site.pids(3)) == 3


def test_a_file_may_say_what_holds_for_reloads(site):
    site.configure("if-reload =", "env = SETTING=again", "else =", "env = SETTING=first", "endif =").start()
    assert site.told()["setting"] == "first"
    for generation in (2, 3):
        site.server.process.send_signal(signal.SIGHUP)
        site.wait_until(f"generation {generation} has taken over")
        assert site.told()["setting"] == "again"


def test_options_behind_an_address_are_read_again(site):
    site.configure(http_socket="127.0.0.1:0, allow=127.0.0.1").start()
    assert site.told()["version"] == 1
    site.configure(http_socket="127.0.0.1:0, allow=10.0.0.0/8")
    reload(site)
    generation(site, 2)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        site.told()
    site.wait_until(r"a peer was turned away \(1 so far\): 127.0.0.1 is not in allow")


def test_listeners_come_and_go(site):
    path = site.directory / "new.sock"
    site.configure().start()
    first = site.address
    site.configure(http_socket=str(path), vacuum="true")
    reload(site)
    generation(site, 2)
    assert path.is_socket()
    poll(lambda: refused(first), "the old address still answers")
    site.configure(vacuum="true")
    reload(site)
    generation(site, 3)
    assert not path.exists()


def test_an_address_that_cannot_be_had_changes_nothing(site):
    site.configure().start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        site.configure(f"http-socket = 127.0.0.1:{taken.getsockname()[1]}")
        reload(site)
        site.wait_until(r"keeps serving: .*site\.ini:5: cannot listen on .*Address already in use")
    assert site.told()["version"] == 1


@needs_ipv6
def test_a_socket_that_is_bound_cannot_leave_ipv4_to_another(site):
    port = free_port()
    site.configure(http_socket=f"[::]:{port}").start()
    assert site.told()["version"] == 1
    site.configure(f"socket = :{port}", http_socket=f"[::]:{port}")
    reload(site)
    site.wait_until(
        rf"keeps serving: .*site\.ini:2: cannot listen on \[::\]:{port} for IPv6 alone: .*; restart"
    )
    site.server.stop()
    site.start()
    assert site.told()["version"] == 1
    site.configure(f"http-socket = [::]:{port}", http_socket="127.0.0.1:0")
    reload(site)
    site.wait_until(
        rf"keeps serving: .*site\.ini:5: cannot listen on \[::\]:{port} for IPv4, too: .*; restart"
    )


def test_an_address_may_be_written_in_another_way(site):
    site.configure().start()
    host, port = site.address
    site.configure(http_socket=f"{host}:{port}")
    reload(site)
    generation(site, 2)
    assert site.told()["version"] == 1


def test_a_reload_while_one_is_under_way_begins_again(site):
    site.configure().start()
    stop = site.directory / "stop"
    stop.touch()
    change(site, "VERSION = 1", f"VERSION = 2\nwhile os.path.exists({str(stop)!r}): time.sleep(0.01)")
    site.wait_until("generation 2: loading")
    site.app.write_text(site.app.read_text().replace("VERSION = 2", "VERSION = 3"))
    reload(site)
    stop.unlink()
    generation(site, 3)
    assert site.told()["version"] == 3


def test_reloads_while_the_first_generation_loads_are_done_once_it_serves(site):
    gate = site.directory / "gate"
    os.mkfifo(gate)
    text = site.app.read_text()
    site.app.write_text(f"open({str(gate)!r}).read()\n{text}")
    site.configure(processes=2).launch()
    with gate.open("w"):  # it is open when the application has come to it
        site.app.write_text(text.replace("VERSION = 1", "VERSION = 2"))
        for count in (1, 2, 3):
            reload(site)
            site.wait_for("SIGHUP: reload", count)
        site.wait_for("the reload waits until generation 1 serves", 3)
        assert not site.count("generation 1: loaded")
    generation(site, 2)
    site.server.start()
    assert site.told()["version"] == 2
    assert site.server.stop() == 0
    assert not site.count("generation 3")


@pytest.mark.parametrize("fails", [False, True])
def test_a_reload_that_the_end_comes_before_is_told(site, fails):
    gate = site.directory / "gate"
    os.mkfifo(gate)
    site.app.write_text(f"open({str(gate)!r}).read()\n1 / 0\n")
    site.configure().launch()
    with gate.open("w"):
        reload(site)
        site.wait_until("the reload waits until generation 1 serves")
        if not fails:
            site.server.process.send_signal(signal.SIGTERM)
            site.wait_until("nothing is reloaded: the server is stopping")
    site.wait_until("nothing is reloaded: the server is stopping")
    assert site.server.process.wait(30) == int(fails)


SECOND_FAILS = """
serve = application

def application(environ, start_response):
    if environ["PATH_INFO"] == "/warm":
        try:
            os.mkdir(os.path.join(HERE, "first"))
        except FileExistsError:
            hold("second")
            start_response("500 Failed", [])
            return []
    return serve(environ, start_response)
"""


def test_a_worker_that_served_already_finishes_when_another_cannot(site):
    """The old workers are busy, so that the first new one takes a request; the second fails then."""
    site.configure(processes=2, warm_up="/warm").start()
    finishers = [site.hold("a"), site.hold("b")]
    with site.app.open("a") as file:
        file.write(SECOND_FAILS)
    reload(site)
    poll((site.directory / "second.held").exists, "the second worker is not warmed up")
    finishers.append(site.hold("c"))
    site.release("second")
    site.wait_until("the reload failed, generation 1 keeps serving")
    for name in "abc":
        site.release(name)
    assert [finish()[0] for finish in finishers] == [200] * 3
    poll(lambda: len(children(site.server.process.pid)) == 3, "the new worker is left")


def listens(path):
    """Tell whether a process has the listening socket of that path (proc_net_unix(5))."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return any(line.endswith(path) and line.split()[3] == "00010000" for line in lines)


def test_what_waits_at_an_address_that_only_the_failed_reload_has_is_answered(site):
    path = str(site.directory / "new.sock")
    site.configure(processes=2, gevent=1, warm_up="/warm").start()
    with site.app.open("a") as file:
        file.write(SECOND_FAILS)
    site.configure(f"socket = {path}", processes=2, gevent=1, warm_up="/warm")
    reload(site)
    poll((site.directory / "second.held").exists, "the second worker is not warmed up")
    with UwsgiClient(path) as held:
        held.send("GET", "/hold?c")
        poll((site.directory / "c.held").exists, "the request does not run")
        with UwsgiClient(path) as waiting:
            waiting.send("GET", "/")
            site.release("second")
            site.wait_until("the reload failed, generation 1 keeps serving")
            poll(lambda: not listens(path), "somebody has the listening socket still")
            site.release("c")
            assert held.receive().status == 200
            assert waiting.receive().status == 200


def test_many_signals_are_one_reload_at_a_time(site):
    site.configure(processes=2).start()
    for _ in range(20):
        reload(site)
    site.wait_until("has taken over")
    poll(lambda: len(children(site.server.process.pid)) == 3, "generations are left")
    assert site.told()["version"] == 1


def test_nothing_is_lost_under_load(site):
    """Kept and fresh connections, through ten reloads of both kinds."""
    site.configure("control-socket = ./ctl", processes=2).start()
    stop = threading.Event()
    counts, failures = [], []

    def load(kept):
        connection, count = site.connect(), 0
        while not stop.is_set():
            try:
                status, _ = site.get("/", connection)
            except OSError as error:
                status = repr(error)
            count += 1
            if status != 200:
                failures.append(status)
            if not kept:
                connection.close()
                connection = site.connect()
        connection.close()
        counts.append(count)

    threads = [threading.Thread(target=load, args=(number % 2,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2, 12):
        reload(site)
        generation(site, number)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(counts) > 100


def test_one_worker_at_a_time(site):
    site.configure("control-socket = ./ctl", "touch-chain-reload = touched", processes=3)
    (site.directory / "touched").touch()
    site.start()
    before = site.pids(3)
    site.app.write_text(site.app.read_text().replace("VERSION = 1", "VERSION = 2"))
    os.utime(site.directory / "touched", ns=(1, 1))
    generation(site, 2)
    told = [line.partition("generation ")[2] for line in site.log.splitlines() if "generation " in line]
    steps = [line.split(" (pid")[0] for line in told if "worker" in line][3:]
    assert steps == [
        f"{generation}: worker {number}{what}"
        for number in (1, 2, 3)
        for generation, what in ((2, ""), (1, " stops"), (1, " has gone"))
    ]
    assert not site.pids(3) & before
    assert site.told()["version"] == 2


@pytest.mark.parametrize("number, wanted", [(signal.SIGTTIN, 4), (signal.SIGTTOU, 2)])
def test_a_number_set_meanwhile_is_that_of_the_new_ones(site, number, wanted):
    """Where it brought back old ones that have gone, they would serve the old application."""
    site.configure("touch-chain-reload = touched", processes=3)
    (site.directory / "touched").touch()
    site.start()
    finishers = [site.hold(name) for name in "abc"]
    site.app.write_text(site.app.read_text().replace("VERSION = 1", "VERSION = 2"))
    os.utime(site.directory / "touched", ns=(1, 1))
    site.wait_until("generation 1: worker 1 stops")
    site.server.process.send_signal(number)
    site.wait_until(f"{wanted} workers are wanted")
    for name in "abc":
        site.release(name)
    assert [finish()[0] for finish in finishers] == [200] * 3
    generation(site, 2)
    poll(lambda: len(site.pids(wanted)) == wanted, "too few workers answer")
    poll(lambda: site.count(" leaves: ") + site.count(" is added: ") == 1, "the number has not changed")
    site.wait_until("worker (4 is added|3 leaves): ")
    assert site.told()["version"] == 2


def test_a_number_set_while_a_chain_fails_is_that_of_the_old_ones(site):
    site.configure("touch-chain-reload = touched", processes=2)
    (site.directory / "touched").touch()
    site.start()
    gate = site.directory / "gate"
    os.mkfifo(gate)
    site.app.write_text(f"open({str(gate)!r}).read()\nnonsense\n")
    os.utime(site.directory / "touched", ns=(1, 1))
    with gate.open("w"):  # it is open when the application has come to it
        site.server.process.send_signal(signal.SIGTTIN)
        site.wait_until("3 workers are wanted")
    site.wait_until("the reload failed, generation 1 keeps serving")
    assert len(site.pids(3)) == 3
    assert site.told()["version"] == 1


def test_one_worker_at_a_time_fails_at_the_first(site):
    site.configure("touch-chain-reload = touched", processes=3)
    (site.directory / "touched").touch()
    site.start()
    before = site.pids(3)
    site.app.write_text("nonsense(")
    os.utime(site.directory / "touched", ns=(1, 1))
    site.wait_until("the reload failed, generation 1 keeps serving")
    assert site.pids(3) == before
