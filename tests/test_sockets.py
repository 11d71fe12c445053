"""Sockets of running servers: every kind of address answers, and is given back as it should be."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import stat
import subprocess
import sys

import pytest

from appserver.address import AddressError
from appserver.binding import BindOptions, bind
from appserver.configuration import Configuration
from tests.support.clients import HttpClient, ScgiClient
from tests.support.fronts import poll
from tests.support.ports import free_port
from tests.support.server import ROOT, Server

APP = """
def application(environ, start_response):
    body = repr((environ["appserver.listener"], environ.get("REMOTE_ADDR"), environ["PATH_INFO"])).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def apart_by_default():
    with socket.socket(socket.AF_INET6) as sock:
        return bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def connect(address, directory="."):
    if address.startswith("@"):
        family, where = socket.AF_UNIX, "\0" + address[1:]
    elif "/" in address:
        family, where = socket.AF_UNIX, os.path.join(directory, address)
    else:
        host, _, port = address.rpartition(":")
        family, where = socket.AF_INET6 if ":" in host else socket.AF_INET, (host.strip("[]"), int(port))
    sock = socket.socket(family)
    sock.settimeout(20)
    sock.connect(where)
    return sock


def fetch(address, path="/", directory="."):
    """Return what the application answers over HTTP at an address."""
    with connect(address, directory) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.splitlines()[0].endswith(b" 200 OK"), answer
    return body.decode()


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    file = tmp_path_factory.mktemp("app") / "app.py"
    file.write_text(APP)
    return ["--wsgi-file", str(file)]


def failing(*arguments, **options):
    """Return what a server says that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "appserver", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True, timeout=30, **options,
    )  # fmt: skip
    assert done.returncode == 1
    return done.stderr


FORMS = {
    "host": "127.0.0.1:0",
    "name": "localhost:0",
    "any": ":0",
    "path": "{directory}/path.sock",
    "relative": "./relative.sock",
    "abstract": "@appserver-test-{pid}",
    "inherited": "fd://{fd}",
    **({"ipv6": "[::1]:0", "any ipv6": "[::]:0"} if has_ipv6() else {}),
}


@pytest.fixture(scope="module")
def everywhere(app, tmp_path_factory):
    """Run one server on an address of every kind, and return the real ones by kind."""
    directory = tmp_path_factory.mktemp("sockets")
    with socket.create_server(("127.0.0.1", 0)) as passed:
        fd = passed.fileno()
        specs = [spec.format(directory=directory, pid=os.getpid(), fd=fd) for spec in FORMS.values()]
        arguments = [argument for spec in specs for argument in ("--http-socket", spec)]
        with Server(*arguments, *app, cwd=directory, env={"PYTHONPATH": str(ROOT)}, pass_fds=[fd]) as server:
            addresses = [address for _, address in server.all_addresses]
            yield dict(zip(FORMS, addresses, strict=True)), directory, passed.getsockname()


@pytest.mark.parametrize("form", FORMS)
def test_http_round_trip(everywhere, form):
    addresses, directory, _ = everywhere
    assert fetch(addresses[form], f"/{form[:3]}", directory).startswith("('http', ")
    assert fetch(addresses[form], f"/{form[:3]}", directory).endswith(f", '/{form[:3]}')")


def test_the_real_addresses_are_shown(everywhere):
    addresses, directory, passed = everywhere
    assert addresses["path"] == f"{directory}/path.sock"
    assert addresses["relative"] == "./relative.sock"
    assert addresses["abstract"] == f"@appserver-test-{os.getpid()}"
    assert addresses["inherited"] == f"{passed[0]}:{passed[1]}"
    assert int(addresses["any"].removeprefix("0.0.0.0:")) > 0
    assert int(addresses["host"].removeprefix("127.0.0.1:")) > 0


@needs_ipv6
def test_ipv6_addresses_are_in_brackets(everywhere):
    addresses, _, _ = everywhere
    assert addresses["ipv6"].startswith("[::1]:")
    assert fetch(addresses["ipv6"]) == "('http', '::1', '/')"


def test_paths_may_be_names_in_the_abstract_namespace(app, tmp_path):
    path = tmp_path / "s"
    arguments = [
        "--abstract-socket",
        "--http-socket",
        path,
        "--http-socket",
        ":0",
        "--stats",
        f"{path}.stats",
    ]
    with Server(*arguments, *app, "--vacuum") as server:
        [address, other] = [address for _, address in server.all_addresses]
        assert address == f"@{path}"
        assert fetch(address).startswith("('http', ")
        assert fetch(other).startswith("('http', ")
        server.wait_until(rf"statistics: @{path}.stats$")
        assert os.listdir(tmp_path) == []
        assert server.stop() == 0


def test_listeners_of_several_kinds_share_a_process(app, tmp_path):
    arguments = ["-s", "@{0}", "-s", "127.0.0.1:0", "--scgi-socket", "{0}", "--fastcgi-socket", ":0",
                 "--http-socket", "127.0.0.1:0", "--http", "{0}.http",
                 "--zeromq", "ipc://{0}.pull,ipc://{0}.pub", "--zeromq", "ipc://{0}.pull2,ipc://{0}.pub2"]  # fmt: skip
    with Server(*(each.format(tmp_path / "s") for each in arguments), *app) as server:
        names = [name for name, _ in server.all_addresses]
        assert names == ["uwsgi", "uwsgi", "scgi", "fastcgi", "http", "http", "mongrel2", "mongrel2"]
        for name, address in server.all_addresses:
            if name == "http":
                assert fetch(address).startswith("('http', ")
        packet = b"\x0e\x00REQUEST_METHOD\x03\x00GET\x0b\x00REQUEST_URI\x02\x00/u"
        for _, address in server.all_addresses[:2]:
            with connect(address) as sock:
                sock.sendall(b"\0" + len(packet).to_bytes(2, "little") + b"\0" + packet)
                assert b"'uwsgi'" in b"".join(iter(lambda: sock.recv(65536), b""))
        assert server.stop() == 0


class TestFiles:
    """The files of Unix sockets."""

    def test_mode_and_removal(self, app, tmp_path):
        path = tmp_path / "x.sock"
        with Server("--http", path, "--chmod-socket=640", "--vacuum", *app) as server:
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
            assert server.stop() == 0
        assert not path.exists()

    def test_without_vacuum_the_file_stays_and_is_replaced_by_the_next_server(self, app, tmp_path):
        path = tmp_path / "x.sock"
        for _ in range(2):
            with Server("--http", path, *app) as server:
                assert fetch(str(path)).startswith("('http'")
                assert server.stop() == 0
            assert stat.S_ISSOCK(path.stat().st_mode)

    def test_vacuum_leaves_what_others_have_put_there(self, app, tmp_path):
        path = tmp_path / "x.sock"
        with Server("--http", path, "--vacuum", *app) as server, socket.socket(socket.AF_UNIX) as other:
            path.rename(tmp_path / "old.sock")
            other.bind(str(path))
            assert server.stop() == 0
            assert path.exists()

    def test_vacuum_removes_what_is_bound_already_when_a_start_fails(self, app, tmp_path):
        path = tmp_path / "x.sock"
        says = failing("--vacuum", "--http", path, "--http", f"{tmp_path}/absent/x.sock", *app)
        assert says == (
            f"appserver: --http: cannot listen on {tmp_path}/absent/x.sock: No such file or directory;"
            " the directory must exist\n"
        )
        assert not path.exists()

    def test_a_live_server_keeps_its_address(self, app, tmp_path):
        path = tmp_path / "x.sock"
        (tmp_path / "site.ini").write_text(f"[appserver]\nwsgi-file = {app[1]}\nhttp = {path}\nvacuum\n")
        with Server("--http", path, *app):
            assert failing("site.ini", cwd=tmp_path) == (
                f"appserver: site.ini:3: cannot listen on {path}: another server answers on it;"
                " stop the other server or choose another address\n"
            )
            assert fetch(str(path)).startswith("('http'")

    def test_one_path_cannot_be_given_twice(self, app, tmp_path):
        path = tmp_path / "x.sock"
        assert failing("--http", path, "-s", path, *app) == (
            f"appserver: -s: cannot listen on {path} twice: --http has it, too; remove one, or choose another"
            " address\n"
        )


@pytest.mark.parametrize("again", ["tcp://[::1]:1,ipc://a", "tcp://[::1]:1, ipc://a, mongrel2-chroot=/srv"])
def test_one_mongrel2_cannot_be_given_twice(app, tmp_path, again):
    """It would deal to both in turn, what it tells of clients included."""
    ini = tmp_path / "site.ini"
    ini.write_text(f"[uwsgi]\nwsgi-file = {app[1]}\nzeromq = tcp://[::1]:1,ipc://a\nzeromq = {again}\n")
    told = again.partition(", mongrel2")[0]
    assert failing("site.ini", cwd=tmp_path) == (
        f"appserver: site.ini:4: cannot connect to {told} twice: site.ini:3 has it, too; remove one, or choose"
        " another address\n"
    )


def test_a_taken_port_is_told_with_its_line(app, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "site.ini").write_text(
            f"[uwsgi]\nwsgi-file = {app[1]}\nhttp = :0\nscgi-socket = {address}\n"
        )
        assert failing("site.ini", cwd=tmp_path) == (
            f"appserver: site.ini:4: cannot listen on {address}: Address already in use;"
            " stop the other server or choose another address\n"
        )


@needs_ipv6
class TestBothFamilies:
    """Every address of IPv6 is every one of IPv4, too, unless another listener has that."""

    @pytest.mark.skipif(has_ipv6() and apart_by_default(), reason="net.ipv6.bindv6only is set")
    @pytest.mark.parametrize("options", [[], ["--master"]], ids=["alone", "master"])
    def test_one_socket_serves_both(self, app, options):
        with Server("--http", "[::]:0", *app, *options) as server:
            port = server.addresses["http"].removeprefix("[::]:")
            assert fetch(f"127.0.0.1:{port}") == "('http', '127.0.0.1', '/')"
            assert fetch(f"[::1]:{port}") == "('http', '::1', '/')"

    @pytest.mark.parametrize(
        "other", [":{port}", "0.0.0.0:{port}", "127.0.0.1:{port}", "localhost:{port}", "fd://3"]
    )
    @pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
    def test_an_address_of_ipv4_stands_beside_it(self, app, activated, other, first):
        port = free_port()
        passed = [socket.create_server(("127.0.0.1", port))] if other == "fd://3" else []
        both = ["--http", "[::]:{port}", "--scgi-socket", other]
        arguments = [each.format(port=port) for each in (both if first else [*both[2:], *both[:2]])]
        with Server(*arguments, *app, **(activated(*passed) if passed else {})) as server:
            for sock in passed:
                sock.close()
            assert fetch(f"[::1]:{port}") == "('http', '::1', '/')"
            with ScgiClient(f"127.0.0.1:{port}") as client:
                assert b"'scgi'" in client.request("GET", "/").body
            assert set(server.addresses) == {"http", "scgi"}

    def test_another_servers_port_is_not_left_out_in_silence(self, app):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"[::]:{taken.getsockname()[1]}"
            assert "Address already in use; stop the other server" in failing("--http", address, *app)


def doubled(directory, *lines):
    """Return the problems of a file whose first listener is in line 3."""
    (directory / "site.ini").write_text("\n".join(["[appserver]", "module = a", *lines, ""]))
    return Configuration([str(directory / "site.ini")]).problems


@pytest.mark.parametrize(
    "first, second", [("127.0.0.1:8080", "127.0.0.1:8080"), ("/x.sock", "/x.sock, vacuum=1")]
)
def test_an_address_that_stands_twice_is_told_with_both_lines(tmp_path, first, second):
    [problem] = doubled(tmp_path, f"http = {first}", "http = :80", f"socket = {second}")
    assert problem == (
        f"{tmp_path}/site.ini:5: cannot listen on {second.partition(',')[0]} twice: {tmp_path}/site.ini:3 has it, too;"
        " remove one, or choose another address"
    )


@pytest.mark.parametrize(
    "first, option, second",
    [
        (":8080", "socket", "0.0.0.0:8080"),
        (":8080", "socket", "127.0.0.1:8080"),
        ("127.0.0.1:8080", "socket", ":8080"),
        ("localhost:8080", "socket", "127.0.0.1:8080"),
        ("[::]:8080", "socket", "[::1]:8080"),
        (":8080, reuse-port=1", "socket", ":8080"),
        ("{0}/a.sock", "socket", "{0}/b/../a.sock"),
        ("{0}/a.sock", "socket", "{0}/link/a.sock"),
        ("{0}/a.sock, reuse-port=1", "socket", "{0}/a.sock, reuse-port=1"),
        (":8080", "stats", "127.0.0.1:8080"),
        ("{0}/a.sock", "stats", "{0}/./a.sock"),
        ("{0}/a.sock", "control-socket", "{0}/a.sock"),
    ],
)
def test_addresses_that_overlap_are_told_with_both_lines(tmp_path, first, option, second):
    (tmp_path / "link").symlink_to(tmp_path)
    first, second = (each.format(tmp_path) for each in (first, second))
    [problem] = doubled(tmp_path, f"http = {first}", f"{option} = {second}")
    first, second = first.partition(",")[0], second.partition(",")[0]
    written = "" if first == second else f", as {first}"
    assert problem == (
        f"{tmp_path}/site.ini:4: cannot listen on {second} twice: {tmp_path}/site.ini:3 has it, too{written};"
        " remove one, or choose another address"
    )


@pytest.mark.parametrize(
    "first, option, second",
    [
        ("127.0.0.1:8080", "socket", "127.0.0.2:8080"),
        ("127.0.0.1:8080", "socket", "[::1]:8080"),
        ("[::]:8080", "socket", ":8080"),
        ("127.0.0.1:8080", "socket", "127.0.0.1:8081"),
        ("absent.invalid:8080", "socket", "127.0.0.1:8080"),
        (":8080, reuse-port=1", "socket", "127.0.0.1:8080, reuse-port=1"),
        ("/x.sock", "socket", "/y.sock"),
        ("/x.sock", "socket", "@/x.sock"),
        ("/x.sock", "socket", "/x.sock, abstract-socket=1"),
        (":0", "stats", "127.0.0.1:0"),
        ("@x.sock", "control-socket", "./x.sock"),
    ],
)
def test_addresses_beside_each_other_are_no_problem(tmp_path, first, option, second):
    assert doubled(tmp_path, f"http = {first}", f"{option} = {second}") == []


def test_statistics_on_the_control_socket_are_told(tmp_path):
    [problem] = doubled(tmp_path, "http = :0", "control-socket = ./a.sock", "stats = ././a.sock")
    assert f"site.ini:4: cannot listen on ./a.sock twice: {tmp_path}/site.ini:5 has it, too" in problem


def available(address, other, mounted):
    """Tell whether the kernel lets one server have both."""
    with contextlib.ExitStack() as stack:
        try:
            for text in (address, other):
                beside = [address, other] if mounted else []
                stack.enter_context(bind(text, BindOptions(), {}, beside))
        except AddressError:
            return False
        return True


@needs_ipv6
@pytest.mark.parametrize("option", ["socket", "stats"])
def test_the_kernel_agrees(tmp_path, option):
    """Of every pair of hosts the problem is told that the kernel would have with it."""
    hosts = ["", "0.0.0.0", "127.0.0.1", "127.0.0.2", "localhost", "[::]", "[::1]", "[::ffff:127.0.0.1]"]
    port = free_port()
    for one, other in itertools.product(hosts, hosts):
        first, second = f"{one}:{port}", f"{other}:{port}"
        told = doubled(tmp_path, f"http = {first}", f"{option} = {second}")
        assert (not told) is available(first, second, option == "socket"), (first, second, told)


@pytest.mark.parametrize(
    "address, options",
    [("127.0.0.1:0", []), ("fd://3", []), (":8080, reuse-port=1", []), (":8080", ["--reuse-port"])],
)
def test_what_can_be_shared_may_stand_twice(address, options):
    assert Configuration(["--http", address, "--http", address, *options]).problems == []


@pytest.fixture
def activated(tmp_path, monkeypatch):
    """Return a function that makes servers start as systemd starts them, with some sockets."""

    def activated(*sockets, count=None):
        launcher = tmp_path / "launcher"
        launcher.write_text(
            f"#!{sys.executable} -S\n"
            "import os, sys\n"
            f"for fd, passed in enumerate({[sock.fileno() for sock in sockets]}, 3):\n"
            "    os.dup2(passed, fd)\n"
            "    os.close(passed)\n"
            f"os.environ |= dict(LISTEN_PID=str(os.getpid()), LISTEN_FDS='{len(sockets) if count is None else count}')\n"
            f"os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])\n"
        )
        launcher.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(launcher))
        return {"pass_fds": [sock.fileno() for sock in sockets]}

    return activated


class TestActivation:
    """Sockets that systemd binds and passes."""

    @pytest.mark.parametrize("options", [[], ["--processes", "2", "--vacuum"]], ids=["alone", "master"])
    def test_sockets_are_matched_by_address(self, app, tmp_path, activated, options):
        path = tmp_path / "x.sock"
        with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(path))
            unix.listen()
            address = f"127.0.0.1:{tcp.getsockname()[1]}"
            with Server("--http", path, "--http", address, *app, *options, **activated(tcp, unix)) as server:
                assert server.all_addresses == [("http", str(path)), ("http", address)]
                assert fetch(address) == "('http', '127.0.0.1', '/')"
                assert fetch(str(path)).startswith("('http'")
                assert server.stop() == 0
            assert "no option names" not in server.log
            assert path.exists()

    def test_what_a_reload_drops_the_next_may_take_again(self, app, tmp_path, activated):
        path, site = tmp_path / "x.sock", tmp_path / "site.ini"

        def configure(*addresses):
            lines = [f"http = {each}" for each in addresses]
            site.write_text("\n".join(["[appserver]", "master = 1", f"wsgi-file = {app[1]}", *lines, ""]))

        with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(path))
            unix.listen()
            all_passed = f"127.0.0.1:{tcp.getsockname()[1]}", path
            configure(*all_passed)
            with Server("--ini", site, **activated(tcp, unix)) as server:
                for number, addresses in enumerate(
                    [all_passed[:1], all_passed, all_passed[1:], all_passed], 2
                ):
                    configure(*addresses)
                    server.process.send_signal(signal.SIGHUP)
                    server.wait_until(rf"generation {number} has taken over")
                    for address in addresses:
                        assert fetch(str(address)).startswith("('http'")
                configure(*all_passed, all_passed[1])
                server.process.send_signal(signal.SIGHUP)
                server.wait_until("the reload failed, .*x.sock twice: .*site.ini:5 has it, too")
                assert server.stop() == 0

    def test_daemons_have_them_too(self, app, tmp_path, activated):
        log, pidfile = tmp_path / "log", tmp_path / "pid"
        with socket.create_server(("127.0.0.1", 0)) as tcp:
            address = f"127.0.0.1:{tcp.getsockname()[1]}"
            arguments = ["--daemonize", log, "--pidfile", pidfile, "--http", address, *app]
            passed = activated(tcp)
            subprocess.run([sys.executable, "-m", "appserver", *map(str, arguments)], timeout=50, **passed)
            assert log.read_text().splitlines()[-1].endswith(" ready"), log.read_text()
            assert fetch(address) == "('http', '127.0.0.1', '/')"
            pid = int(pidfile.read_text())
            os.kill(pid, signal.SIGTERM)
            poll(lambda: log.read_text().endswith("stopped\n"), "it does not end")

    def test_the_application_does_not_see_them(self, app, tmp_path, activated):
        (tmp_path / "env.py").write_text(
            "import os\ndef application(environ, start_response):\n    start_response('200 OK', [])\n"
            "    return [repr(sorted(key for key in os.environ if key.startswith('LISTEN_'))).encode()]\n"
        )
        with socket.create_server(("127.0.0.1", 0)) as tcp:
            address = f"127.0.0.1:{tcp.getsockname()[1]}"
            with Server("--http", address, "--wsgi-file", tmp_path / "env.py", **activated(tcp)):
                assert fetch(address) == "[]"

    @pytest.mark.parametrize("options", [[], ["--processes", "2"]], ids=["alone", "master"])
    @pytest.mark.parametrize("named", ["address", "descriptor", "not at all"])
    def test_programs_do_not_inherit_them(self, tmp_path, activated, options, named):
        """Else a program that outlives the server would keep its address; nor what a worker has of its master."""
        told = tmp_path / "told"
        (tmp_path / "starts.py").write_text(
            "import os\ndef application(environ, start_response):\n    start_response('200 OK', [])\n"
            f"    os.system('ls -l /proc/self/fd > {told}')\n    return []\n"
        )
        with socket.create_server(("127.0.0.1", 0)) as tcp:
            address = {"address": f"127.0.0.1:{tcp.getsockname()[1]}", "descriptor": "fd://3"}.get(
                named, ":0"
            )
            arguments = ["--http", address, "--wsgi-file", tmp_path / "starts.py", *options]
            with Server(*arguments, **activated(tcp)) as server:
                assert fetch(server.addresses["http"].replace("0.0.0.0", "127.0.0.1")) == ""
        assert str(told) in told.read_text()
        assert not re.search("socket:|memfd:", told.read_text())

    def test_a_socket_that_nothing_names_is_warned_about(self, app, activated):
        with socket.create_server(("127.0.0.1", 0)) as tcp:
            with Server("--http", "127.0.0.1:0", *app, **activated(tcp)) as server:
                assert server.addresses["http"] != f"127.0.0.1:{tcp.getsockname()[1]}"
            assert (
                f"systemd passes a socket for 127.0.0.1:{tcp.getsockname()[1]}, which no option names"
                in server.log
            )

    def test_a_socket_named_by_its_descriptor_is_not_warned_about(self, app, activated):
        with socket.create_server(("127.0.0.1", 0)) as tcp:
            with Server("--http", "fd://3", *app, **activated(tcp)) as server:
                assert fetch(server.addresses["http"]) == "('http', '127.0.0.1', '/')"
            assert "no option names" not in server.log

    @needs_ipv6
    @pytest.mark.parametrize(
        "rule", ["route-if=ipv4in:${REMOTE_ADDR};127.0.0.0/8", "route-remote-addr=^127[.]"]
    )
    @pytest.mark.parametrize("name", [":{port}", "fd://3"])
    def test_a_client_of_ipv4_has_its_address_at_a_socket_for_both(self, app, activated, name, rule):
        with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as tcp:
            port = tcp.getsockname()[1]
            arguments = ["--http", name.format(port=port), f"--{rule} break:403", *app]
            with Server(*arguments, **activated(tcp)) as server:
                assert server.addresses["http"] == f"[::]:{port}"
                assert fetch(f"[::1]:{port}") == "('http', '::1', '/')"
                with HttpClient(f"127.0.0.1:{port}") as client:
                    assert client.request("GET", "/").status == 403
            assert "127.0.0.1 " in server.log
            assert "::ffff:" not in server.log

    def test_a_descriptor_that_is_missing_is_told(self, app, activated):
        """A newer libffi, by which Python calls C, has a file of its own there by then."""
        told = failing("--http", "127.0.0.1:0", *app, **activated(count=1))
        reason = "(Bad file descriptor|Socket operation on non-socket)"
        assert re.fullmatch(f"appserver: LISTEN_FDS names descriptor 3: {reason}\n", told)
