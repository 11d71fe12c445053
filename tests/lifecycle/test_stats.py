"""The statistics server: what it tells is true, and nobody who asks can hold anything up."""

from __future__ import annotations

import errno
import http.client
import json
import os
import select
import signal
import socket
import stat
from contextlib import closing
from time import monotonic

import pytest

from appserver.binding import BindOptions
from appserver.lifecycle.error import StartError
from appserver.options import Catalogue, Setting
from appserver.stats import server as stats_server
from appserver.stats.options import StatsOptions, exposed
from appserver.stats.server import StatsServer
from tests.support.clients import FastcgiClient, HttpClient, Mongrel2Client, ScgiClient, UwsgiClient
from tests.support.fronts import poll
from tests.support.server import Server
from tests.support.simulated import Mongrel2

# What a uWSGI 2.0.21 tells, and so what programs may look for.
TOP = {
    "version", "listen_queue", "listen_queue_errors", "signal_queue", "load", "pid", "uid", "gid", "cwd",
    "locks", "sockets", "workers",
}  # fmt: skip
SOCKET = {"name", "proto", "queue", "max_queue", "shared", "can_offload"}
WORKER = {
    "id", "pid", "accepting", "requests", "delta_requests", "exceptions", "harakiri_count", "signals",
    "signal_queue", "status", "rss", "vsz", "running_time", "last_spawn", "respawn_count", "tx", "avg_rt",
    "apps", "cores",
}  # fmt: skip
APP = {"id", "modifier1", "mountpoint", "startup_time", "requests", "exceptions", "chdir"}
CORE = {
    "id", "requests", "static_requests", "routed_requests", "offloaded_requests", "write_errors",
    "read_errors", "in_request", "vars", "req_info",
}  # fmt: skip

KINDS = pytest.mark.parametrize(
    "options",
    [{"master": "false"}, {"master": "false", "threads": 3}, {"processes": 2}, {"processes": 2, "threads": 3},
     {"processes": 2, "gevent": 20}],
    ids=["alone", "alone-threads", "master", "master-threads", "master-gevent"],
)  # fmt: skip


def read(address):
    """Return all that is said to one who says nothing."""
    host, _, port = address.rpartition(":")
    if "/" in address or address[0] == "@":
        sock = socket.socket(socket.AF_UNIX)
        where = "\0" + address[1:] if address[0] == "@" else address
    else:
        sock, where = socket.socket(), (host, int(port))
    with closing(sock):
        sock.settimeout(20)
        sock.connect(where)
        return b"".join(iter(lambda: sock.recv(65536), b""))


class Told:
    """The statistics of a site."""

    def __init__(self, site):
        self._site = site

    @property
    def address(self):
        return self._site.wait_until(r"statistics: (\S+)$")[1]

    def __call__(self):
        return json.loads(read(self.address))

    def until(self, condition, what="the statistics are not right"):
        """Return statistics for which a condition holds: a client has its answer before it is counted."""
        found = []

        def look():
            found[:] = [self()]
            return condition(found[0])

        try:
            poll(look, what)
        except AssertionError:
            raise AssertionError(f"{what}: {found[0]}\n{self._site.log}") from None
        return found[0]


@pytest.fixture
def told(site):
    return Told(site)


def requests(document):
    return sum(each["requests"] for each in document["workers"])


@KINDS
def test_the_document_has_uwsgis_form(site, told, options):
    site.configure(stats="127.0.0.1:0", **options).start()
    document = told()
    assert set(document) == TOP | {"appserver"}
    assert {name for each in document["sockets"] for name in each} == SOCKET
    assert len(document["workers"]) == int(options.get("processes", 1))
    for worker in document["workers"]:
        assert set(worker) == WORKER | {"appserver"}
        assert [set(each) for each in worker["apps"]] == [APP]
        assert [set(each) for each in worker["cores"]] == [CORE] * max(
            int(options.get("threads", 1)), int(options.get("gevent", 1))
        )
        assert [each["id"] for each in worker["cores"]] == list(range(len(worker["cores"])))
        assert worker["rss"] > 1 << 20
        assert worker["accepting"] == 1
        assert worker["respawn_count"] == 1
    assert document["pid"] == site.server.process.pid
    assert document["uid"] == os.getuid()
    assert document["cwd"] == str(site.directory)


@pytest.mark.parametrize("master", ["true", "false"])
def test_the_directory_of_the_server_may_be_removed(site, told, master):
    """As that of a release that a newer one has followed."""
    release = site.directory / "release"
    release.mkdir()
    site.configure(master=master, stats="127.0.0.1:0", pythonpath=site.directory)
    site.server = Server("--ini", site.ini, cwd=release).start()
    assert told()["cwd"] == str(release)
    release.rmdir()
    assert told()["cwd"] == ""


@KINDS
def test_the_numbers_are_exactly_those_of_the_requests(site, told, options):
    site.configure(
        "http-socket = 127.0.0.1:0", "uwsgi-socket = 127.0.0.1:0", "fastcgi-socket = 127.0.0.1:0",
        "scgi-socket = 127.0.0.1:0", stats="127.0.0.1:0", **options,
    ).start()  # fmt: skip
    clients = {"http": HttpClient, "uwsgi": UwsgiClient, "fastcgi": FastcgiClient, "scgi": ScgiClient}
    wanted = {}
    size = 0
    for count, (name, address) in enumerate(site.server.all_addresses, 3):
        for _ in range(count):
            with clients[name](address) as client:
                answer = client.request("GET", "/")
                assert answer.status == 200
                size += len(answer.body)
        wanted[address] = count
    for _ in range(2):
        with HttpClient(site.server.all_addresses[0][1]) as client:
            assert client.request("GET", "/die?recursion").status == 500
    wanted[site.server.all_addresses[0][1]] += 2
    document = told.until(lambda found: requests(found) == sum(wanted.values()))
    listeners = document["appserver"]["listeners"]
    assert {each["address"]: each["requests"] for each in listeners} == wanted
    assert [each["refused"] for each in listeners] == [0] * len(wanted)
    for worker in document["workers"]:
        assert worker["requests"] == worker["delta_requests"] == sum(c["requests"] for c in worker["cores"])
        assert worker["requests"] == worker["apps"][0]["requests"]
        assert (worker["avg_rt"] > 0) == (worker["running_time"] > 0) == (worker["requests"] > 0)
        assert {core["in_request"] for core in worker["cores"]} == {0}
    assert sum(each["exceptions"] for each in document["workers"]) == 2
    assert sum(each["tx"] for each in document["workers"]) > size


@KINDS
def test_each_mounted_application_has_its_own_numbers(site, told, options):
    (site.directory / "blog.py").write_text(
        "def application(environ, start_response):\n"
        "    environ.update(SCRIPT_NAME='/other', PATH_INFO='')\n"
        "    start_response('200 OK', [])\n"
        "    return []\n"
    )
    (site.directory / "broken.py").write_text("def application(environ, start_response):\n    1 / 0\n")
    (site.directory / "page.txt").write_text("page")
    site.configure(
        "mount = /blog=blog:application", "mount = /broken=broken:application",
        f"static-map = /static={site.directory}", "route = ^/static/.*py$ break:403",
        stats="127.0.0.1:0", manage_script_name="true", **options,
    ).start()  # fmt: skip
    asked = {"/": 4, "/blog/x": 3, "/broken": 2, "/static/page.txt": 1, "/static/blog.py": 2}
    for path, count in asked.items():
        for _ in range(count):
            site.get(path)
    document = told.until(lambda found: requests(found) == 12)
    cores = [core for worker in document["workers"] for core in worker["cores"]]
    assert [sum(core[f"{kind}_requests"] for core in cores) for kind in ("static", "routed")] == [1, 2]
    apps = [worker["apps"] for worker in document["workers"]]
    assert [[each["id"] for each in found] for found in apps] == [[0, 1, 2]] * len(apps)
    for found, wanted in zip(
        zip(*apps, strict=True), [("", 4, 0), ("/blog", 3, 0), ("/broken", 2, 2)], strict=True
    ):
        assert {each["mountpoint"] for each in found} == {wanted[0]}
        sums = [sum(each[name] for each in found) for name in ("requests", "exceptions")]
        assert sums == [*wanted[1:]]


@pytest.mark.parametrize(
    "options",
    [{"master": "false", "threads": 2}, {"processes": 2}, {"gevent": 5, "zeromq_dispatch": "shared"}],
    ids=["threads", "shared", "gevent"],
)
def test_requests_of_mongrel2_are_counted(site, told, options):
    front = Mongrel2(f"ipc://{site.directory}/send", f"ipc://{site.directory}/recv")
    try:
        site.configure(zeromq=front.specs, stats="127.0.0.1:0", **options)
        site.ini.write_text(site.ini.read_text().replace("http-socket = 127.0.0.1:0\n", ""))
        site.start()
        for _ in range(6):
            assert Mongrel2Client(front).request("GET", "/").status == 200
        document = told.until(lambda found: requests(found) == 6)
        [listener] = document["appserver"]["listeners"]
        assert (listener["name"], listener["requests"], listener["refused"]) == ("mongrel2", 6, 0)
        assert sum(core["requests"] for each in document["workers"] for core in each["cores"]) == 6
        assert [each["proto"] for each in document["sockets"]] == ["mongrel2"]
        assert document["listen_queue"] == 0
    finally:
        front.close()


@KINDS
def test_what_runs_is_told_though_it_may_block_its_loop(site, told, options):
    site.configure(stats="127.0.0.1:0", **options).start()
    finish = site.hold()
    document = told()
    assert document["load"] == 1
    [worker] = [each for each in document["workers"] if each["status"] == "busy"]
    assert [core["in_request"] for core in worker["cores"] if core["in_request"]] == [1]
    assert worker["appserver"]["in_hand"] == 1
    assert worker["appserver"]["waiting"] == 0
    site.release()
    assert finish()[0] == 200
    told.until(lambda found: found["load"] == 0)


def test_who_waits_for_a_core_is_told(site, told):
    site.configure(stats="127.0.0.1:0", gevent=1).start()
    finish = site.hold()
    more = [site.begin("/") for _ in range(3)]
    document = told.until(lambda found: found["workers"][0]["appserver"]["waiting"] == 3)
    assert document["workers"][0]["appserver"]["in_hand"] == 4
    assert document["appserver"]["processes"][0]["in_hand"] == 4
    site.release()
    assert [each()[0] for each in (finish, *more)] == [200] * 4


def test_connections_that_are_kept_are_told(site, told):
    site.configure(stats="127.0.0.1:0").start()
    kept = [site.connect() for _ in range(3)]
    for each in kept:
        assert site.get(connection=each)[0] == 200
    told.until(lambda found: found["appserver"]["listeners"][0]["connections"] == 3)
    for each in kept:
        each.close()
    told.until(lambda found: found["appserver"]["listeners"][0]["connections"] == 0)


@pytest.mark.parametrize("unix", [False, True])
def test_connections_that_wait_in_the_kernel_are_told(site, told, unix):
    """The worker is stopped, so that nobody accepts."""
    path = site.directory / "site.sock"
    site.configure(http_socket=path if unix else "127.0.0.1:0", stats="127.0.0.1:0", listen=50).start()
    pid = told()["workers"][0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    socks = [socket.socket(socket.AF_UNIX if unix else socket.AF_INET) for _ in range(4)]
    try:
        for each in socks:
            each.connect(str(path) if unix else site.address)
        document = told.until(lambda found: found["listen_queue"] == 4)
        assert (document["sockets"][0]["queue"], document["sockets"][0]["max_queue"]) == (4, 50)
    finally:
        os.kill(pid, signal.SIGCONT)
        for each in socks:
            each.close()


def test_refused_requests_are_told_apart(site, told):
    site.configure(stats="127.0.0.1:0", limit_post=10).start()
    with HttpClient(site.server.addresses["http"]) as client:
        assert client.request("POST", "/", body=b"x" * 11).status == 413
    assert site.told()["pid"]
    document = told.until(lambda found: requests(found) == 1)
    assert document["appserver"]["listeners"][0]["requests"] == 1
    assert document["appserver"]["listeners"][0]["refused"] in {
        0,
        1,
    }  # a length that is told is refused early


def test_sums_survive_deaths_and_reloads(site, told):
    site.configure(stats="127.0.0.1:0").start()
    for _ in range(3):
        site.told()
    told.until(lambda found: requests(found) == 3)
    assert site.begin("/die?kill")()[0] == 0
    document = told.until(
        lambda found: found["workers"][0]["respawn_count"] == 2 and found["workers"][0]["accepting"]
    )
    [worker] = document["workers"]
    assert (worker["requests"], worker["delta_requests"]) == (3, 0)
    site.told()
    site.server.process.send_signal(signal.SIGHUP)
    site.wait_until("generation 2 has taken over")
    site.told()
    document = told.until(lambda found: requests(found) == 5)
    [worker] = document["workers"]
    assert (worker["delta_requests"], worker["respawn_count"]) == (1, 3)
    assert document["appserver"]["generation"] == worker["appserver"]["generation"] == 2
    assert document["appserver"]["listeners"][0]["requests"] == 5


def test_workers_that_finish_are_no_workers_of_uwsgis(site, told):
    """Their numbers are those of their successors, and collectors want each once."""
    site.configure(stats="127.0.0.1:0", gevent=5).start()
    finish = site.hold()
    site.server.process.send_signal(signal.SIGHUP)
    site.wait_until("generation 2 serves")
    document = told.until(lambda found: found["appserver"]["processes"][0]["state"] == "finishing")
    assert [each["id"] for each in document["workers"]] == [1]
    assert document["workers"][0]["appserver"]["generation"] == 2
    processes = document["appserver"]["processes"]
    assert [(each["generation"], each["in_hand"]) for each in processes] == [(1, 1), (2, 0)]
    site.release()
    assert finish()[0] == 200


def test_workers_that_are_not_wanted_are_cheap(site, told):
    site.configure(stats="127.0.0.1:0", processes=3, cheaper=1).start()
    found = [(each["id"], each["status"], bool(each["pid"])) for each in told()["workers"]]
    assert found == [(1, "idle", True), (2, "cheap", False), (3, "cheap", False)]


@pytest.mark.parametrize("master", ["true", "false"])
def test_harakiri_is_counted(site, told, master):
    site.configure(stats="127.0.0.1:0", gevent=5, harakiri="0.2", master=master).start()
    assert site.begin("/hold?hold")()[0] == 504
    document = told.until(lambda found: found["workers"][0]["harakiri_count"] == 1)
    assert document["workers"][0]["exceptions"] == 0


@pytest.mark.parametrize("master", ["true", "false"])
def test_signals_of_the_application_are_counted(site, told, master):
    site.app.write_text(
        "import uwsgi\n"
        "uwsgi.register_signal(17, '', lambda number: None)\n" + site.app.read_text().replace(
            "    told = {", "    uwsgi.signal(17)\n    told = {"
        )
    )  # fmt: skip
    site.configure(stats="127.0.0.1:0", master=master, warm_up="none").start()
    for _ in range(2):
        site.told()
    told.until(lambda found: found["workers"][0]["signals"] == 2)


def test_ctl_status_says_the_same(site, told):
    site.configure(stats="127.0.0.1:0", control_socket=site.directory / "control").start()
    for _ in range(4):
        site.told()
    document = told.until(lambda found: requests(found) == 4)
    [process] = document["appserver"]["processes"]
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.settimeout(20)
        sock.connect(str(site.directory / "control"))
        sock.sendall(b"status\n")
        said = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    assert f"worker 1: pid {process['pid']}, generation 1, serving for" in said
    assert f"{process['requests']} requests, {process['in_hand']} in hand" in said


# What a reload makes of it


def reload(site, said):
    site.server.process.send_signal(signal.SIGHUP)
    site.wait_until(said)


def test_a_reload_that_adds_the_option_begins_to_tell_and_to_count(site):
    path = site.directory / "stats.sock"
    site.configure(processes=2).start()
    site.told()
    site.configure(processes=2, stats=path, chmod_socket=640)
    reload(site, "generation 2 has taken over")
    site.wait_until(f"statistics: {path}$")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    told = Told(site)
    for _ in range(3):
        site.told()
    document = told.until(
        lambda found: sum(app["requests"] for each in found["workers"] for app in each["apps"]) == 3
    )
    assert requests(document) == 4, "those of before were counted by their number"
    assert site.server.stop() == 0
    assert not path.exists()


def test_a_reload_that_removes_the_option_ends_it(site, told):
    path = site.directory / "stats.sock"
    site.configure(stats=path).start()
    assert told()["workers"]
    site.configure()
    reload(site, "generation 2 has taken over")
    assert not path.exists()
    reload(site, "generation 3 has taken over")
    assert site.count("statistics: ") == 1


def test_one_that_a_reload_has_begun_is_the_masters_alone(site):
    """A worker that had it, too, would keep its socket open."""
    site.configure().start()
    site.configure(stats="127.0.0.1:0")
    reload(site, "generation 2 has taken over")
    address = Told(site).address
    site.configure()
    reload(site, "generation 3 serves")
    with pytest.raises(ConnectionRefusedError):
        read(address)


@pytest.mark.parametrize("unix", [False, True])
def test_a_reload_moves_it_to_another_address(site, told, unix):
    before, after = (site.directory / name for name in ("before.sock", "after.sock"))
    site.configure(stats=before if unix else "127.0.0.1:0").start()
    site.told()
    old = told.address
    told.until(lambda found: requests(found) == 1)
    site.configure(stats=after)
    reload(site, "generation 2 has taken over")
    assert requests(json.loads(read(str(after)))) == 1
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        read(old)
    assert not before.exists()


def test_a_reload_that_leaves_the_address_keeps_the_socket(site, told):
    """It is written in another way, too, and has other options besides."""
    site.configure(stats="127.0.0.1:0").start()
    assert b"\t" in read(told.address)
    site.configure(stats="127.0.0.1:0", stats_minified="true")
    reload(site, "generation 2 has taken over")
    assert b"\t" not in read(told.address)
    site.configure(stats=told.address, stats_minified="false", stats_no_cores="true")
    reload(site, "generation 3 has taken over")
    assert b"\t" in read(told.address)
    assert "cores" not in told()["workers"][0]
    assert site.count("statistics: ") == 1
    assert "takes effect at a restart" not in site.log


def test_a_reload_that_fails_leaves_it_where_it_was(site, told):
    path = site.directory / "stats.sock"
    site.configure(stats="127.0.0.1:0").start()
    site.configure(stats=path)
    code = site.app.read_text()
    site.app.write_text("1 / 0\n")
    reload(site, "the reload failed, generation 1 keeps serving")
    assert not path.exists()
    assert told()["workers"]
    site.app.write_text(code)
    reload(site, "generation 3 has taken over")
    assert json.loads(read(str(path)))["appserver"]["generation"] == 3


def test_a_reload_to_an_address_that_is_taken_fails(site, told):
    site.configure(stats="127.0.0.1:0").start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        site.configure(stats=address)
        reload(
            site,
            rf"generation 1 keeps serving: .*site.ini:\d+: stats = {address}: cannot listen on .*Address already",
        )
    assert told()["workers"]
    reload(site, "generation 2 has taken over")
    assert json.loads(read(address))["appserver"]["generation"] == 2


# Where it listens, and how it speaks


@pytest.mark.parametrize("master", ["true", "false"])
def test_a_unix_socket_has_its_mode_and_is_removed(site, told, master):
    path = site.directory / "stats.sock"
    site.configure(stats=path, chmod_socket=640, master=master).start()
    assert told()["workers"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert site.server.stop() == 0
    assert not path.exists()


def test_an_abstract_socket(site, told):
    site.configure(stats=f"@appserver-{os.getpid()}").start()
    assert told()["workers"]


def test_an_address_that_is_taken(site):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site.configure(stats=f"127.0.0.1:{port}").launch()
        assert site.server.process.wait(30) == 1
        site.server.wait_until(rf"site.ini:\d+: stats = 127.0.0.1:{port}: cannot listen on .*Address already")


@pytest.mark.parametrize("master", ["true", "false"])
def test_http(site, told, master):
    site.configure(stats="127.0.0.1:0", stats_http="true", master=master).start()
    host, _, port = told.address.rpartition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=20)) as connection:
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read()
    assert (answer.status, answer.getheader("Content-Type")) == (200, "application/json")
    assert int(answer.getheader("Content-Length")) == len(body)
    assert answer.getheader("Access-Control-Allow-Origin") is None
    assert set(json.loads(body)) >= TOP


def test_minified_and_without_cores(site, told):
    site.configure(stats="127.0.0.1:0", stats_minified="true", stats_no_cores="true").start()
    text = read(told.address).decode()
    assert not set(text) & {"\n", "\t"}
    assert set(json.loads(text)["workers"][0]) == WORKER - {"cores"} | {"appserver"}


def test_nothing_listens_and_nothing_is_counted_without_the_option(site):
    site.configure().start()
    assert "statistics" not in site.log


@pytest.mark.parametrize(
    "address, dangerous",
    [("127.0.0.1:9191", False), ("localhost:1", False), ("[::1]:1", False), ("/run/x.sock", False),
     ("@x", False), ("fd://3", False), (":9191", True), ("0.0.0.0:9191", True), ("10.0.0.1:1", True)],
)  # fmt: skip
def test_addresses_that_everybody_reaches_are_dangerous(address, dangerous):
    assert bool(exposed(address)) is dangerous


# Clients that misbehave


@pytest.fixture
def quick(tmp_path):
    """Return a function that makes a server, without a process around it, whose document is large."""
    made = []

    def make(document=lambda: {"x": "y" * 5_000_000}, **options):
        names = {"stats": str(tmp_path / "stats.sock"), **options}
        settings, problems = Catalogue([StatsOptions, BindOptions]).build(
            [Setting(name.replace("_", "-"), value, "test") for name, value in names.items()]
        )
        assert problems == []
        server = StatsServer(settings)
        server.bind()
        server.document = document
        made.append(server)
        return server, names["stats"]

    yield make
    for each in made:
        each.remove()


def connected(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(path)
    return sock


def test_one_who_reads_nothing_holds_nothing_up(quick):
    server, path = quick()
    with connected(path) as slow, connected(path) as other:
        server.turn()
        found = b""
        while len(found) < 5_000_000:
            server.turn()
            found += other.recv(1 << 20)
        assert json.loads(found) == {"x": "y" * 5_000_000}
        assert slow.recv(10) == b'{\n\t"x":"yy'


def test_one_who_reads_slowly_gets_all(quick):
    server, path = quick()
    with connected(path) as slow:
        found = b""
        server.turn()
        while data := slow.recv(100_000):
            found += data
            server.turn()
        assert json.loads(found) == {"x": "y" * 5_000_000}


def test_silence_has_an_end(quick, monkeypatch):
    server, path = quick(stats_http="true")
    now = monotonic()
    with connected(path) as silent:
        server.turn()
        monkeypatch.setattr(stats_server, "monotonic", lambda: now + 9)
        server.turn()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.recv(1)
        monkeypatch.setattr(stats_server, "monotonic", lambda: now + 11)
        server.turn()
        assert silent.recv(1) == b""


def test_the_oldest_gives_way(quick):
    server, path = quick(stats_http="true")
    socks = [connected(path) for _ in range(65)]
    try:
        for _ in socks:
            server.turn()
        assert socks[0].recv(1) == b""
        socks[64].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        server.turn()
        assert socks[64].recv(15) == b"HTTP/1.0 200 OK"
    finally:
        for each in socks:
            each.close()


def test_without_descriptors_it_does_not_spin(quick, monkeypatch, caplog):
    """The socket stays readable meanwhile; the master's loop must not be told."""
    asked = []

    def refuse(_):
        asked.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    server, path = quick(dict)
    now = monotonic()
    with connected(path) as client:
        with monkeypatch.context() as patched:
            patched.setattr(socket.socket, "accept", refuse)
            for later in (0, 0.5, 1.1, 1.1, 1.5):
                monkeypatch.setattr(stats_server, "monotonic", lambda later=later: now + later)
                for _ in range(3):
                    server.turn()
                assert not select.select([server], [], [], 0)[0]
        assert len(asked) == 2
        monkeypatch.setattr(stats_server, "monotonic", lambda: now + 3)
        for _ in range(2):
            server.turn()
        assert client.recv(10) == b"{}"
    assert caplog.messages == ["the statistics server: cannot accept for now: Too many open files"]


@pytest.mark.parametrize("said", [b"x" * 9000, b"GET / HT"])
def test_what_is_no_request_is_not_answered(quick, said):
    server, path = quick(stats_http="true")
    with connected(path) as client:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        for _ in range(4):
            server.turn()
        assert client.recv(1) == b""


def test_what_a_client_says_unasked_takes_nothing_back(quick):
    server, path = quick(document=lambda: {"x": 1})
    with connected(path) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        server.turn()
        assert json.loads(client.recv(1000)) == {"x": 1}
        assert client.recv(1) == b""


def test_a_document_that_fails_costs_its_client_only(quick, caplog):
    server, path = quick(document=lambda: {}["x"])
    with connected(path) as client:
        server.turn()
        assert client.recv(1) == b""
    assert "there are no statistics" in caplog.text
    server.document = lambda: {"x": 1}
    with connected(path) as client:
        server.turn()
        assert json.loads(client.recv(1000)) == {"x": 1}


def test_a_file_that_is_another_servers_by_now_stays(quick, tmp_path):
    server, path = quick()
    os.unlink(path)
    (tmp_path / "stats.sock").write_text("x")
    server.remove()
    server.remove()
    assert (tmp_path / "stats.sock").read_text() == "x"


def test_a_file_that_is_no_socket(tmp_path, quick):
    (tmp_path / "stats.sock").write_text("x")
    with pytest.raises(StartError, match="a file that is no socket is there"):
        quick()
