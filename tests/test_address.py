"""Addresses: how they are written, and how sockets get and lose them."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
from ipaddress import IPv4Address, IPv6Address

import pytest

from appserver import activation, binding
from appserver.address import AddressError, name_of, over_ip, parse, resolved
from appserver.binding import BindOptions, adapt, bind, mode, owner
from appserver.lifecycle.privileges import PrivilegeOptions, owner_of_sockets
from appserver.listeners.socket_file import SocketFile
from appserver.options import BadValue
from appserver.stats.backlog import backlog

FORMS = "host:port, :port, /path.sock, ./path.sock, @abstract or fd://N"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("  127.0.0.1:80 ", ("127.0.0.1", 80)),
        ("localhost:0", ("localhost", 0)),
        (":8080", ("", 8080)),
        (":65535", ("", 65535)),
        ("[::1]:80", ("::1", 80)),
        ("[::]:80", ("::", 80)),
        ("/run/x.sock", "/run/x.sock"),
        ("./x.sock", "./x.sock"),
        ("x.sock", "x.sock"),
        ("run/x:1", "run/x:1"),
        ("@name", "\0name"),
        ("@a/b:1", "\0a/b:1"),
        ("fd://3", 3),
        ("/" + 106 * "x", "/" + 106 * "x"),
    ],
)
def test_forms(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        *((text, FORMS) for text in ("", "8080", "x.pipe", "localhost", "@")),
        *((f"a:{port}", "host:port with a port from 0 to 65535") for port in ("", "http", "65536", "-1", "²", "٣", "8 0")),
        *((text, "[address]:port for IPv6") for text in ("::1:80", "[::1:80", "::1]:80", "fe80::1:80")),
        *((f"fd://{fd}", "fd:// and the number of an inherited socket") for fd in ("", "x", "-1", "²", "9999999999")),
        ("http://127.0.0.1:80", f"an address without http: in front: {FORMS}"),
        ("tcp://127.0.0.1:80", f"an address without tcp: in front: {FORMS}"),
        ("unix:/run/x.sock", f"an address without unix: in front: {FORMS}"),
        ("/" + 107 * "x", "a path of 107 bytes at most, the kernel's limit"),
        ("/" + 54 * "é", "a path of 107 bytes at most, the kernel's limit"),
        ("@" + 107 * "x", "a path of 107 bytes at most, the kernel's limit"),
        ("/a\0b", "a path without NUL"),
        ("@a\0b", "a path without NUL"),
    ],
)  # fmt: skip
def test_bad_addresses(text, expected):
    with pytest.raises(BadValue) as caught:
        parse(text)
    assert str(caught.value) == expected


@pytest.mark.parametrize("text, expected", [("660", 0o660), ("0600", 0o600), ("", 0o666), ("1", 0o666)])
def test_modes(text, expected):
    assert mode(text) == expected


@pytest.mark.parametrize("text", ["66", "668", "rw-", "00660", "true", "-66"])
def test_bad_modes(text):
    with pytest.raises(BadValue, match="three octal digits, such as 660"):
        mode(text)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("root", (0, -1)),
        ("root:root", (0, 0)),
        (":root", (-1, 0)),
        ("12:34", (12, 34)),
        ("12", (12, -1)),
        (":34", (-1, 34)),
    ],
)
def test_owners(text, expected):
    assert owner(text) == expected


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", ""),
        (":", ""),
        ("no-such-user", "; there is no user no-such-user"),
        ("root:no-such-group", "; there is no group no-such-group"),
        ("4294967295", "; there is no user 4294967295"),
        ("0:99999999999", "; there is no group 99999999999"),
        ("²", "; there is no user ²"),
    ],
)
def test_bad_owners(text, reason):
    with pytest.raises(BadValue) as caught:
        owner(text)
    assert str(caught.value) == f"user, user:group or :group{reason}"


@pytest.fixture
def bound(request):
    """Return a function that binds an address and closes it after the test."""

    def bound(text, passed=None, **options):
        sock = bind(text, BindOptions(**options), {} if passed is None else passed)
        request.addfinalizer(sock.close)
        return sock

    return bound


NAMES = {"both": ["::1", "127.0.0.1"], "six": ["::1"]}


@pytest.fixture
def names(monkeypatch):
    """Have names mean what a hosts file gives them, in its order: IPv6 first, as Debian's has it."""

    def found(host, port, *more, **options):
        families = [socket.AF_INET6 if ":" in each else socket.AF_INET for each in NAMES[host]]
        kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(family, *kind, (each, port)) for family, each in zip(families, NAMES[host], strict=True)]

    monkeypatch.setattr(socket, "getaddrinfo", found)


def test_a_name_of_both_kinds_means_ipv4(names, bound):
    """As in uWSGI; its front ends have 127.0.0.1 in their files."""
    assert name_of(bound("both:0")).startswith("127.0.0.1:")
    assert over_ip("both:80") == (IPv4Address("127.0.0.1"), 80)


def test_a_name_of_ipv6_alone_means_that(names):
    assert resolved("six", 80) == (socket.AF_INET6, ("::1", 80))
    assert over_ip("six:80") == (IPv6Address("::1"), 80)


def refused(text, **options):
    with pytest.raises(AddressError) as caught:
        bind(text, BindOptions(**options), {})
    assert caught.value.address == text
    return str(caught.value)


def test_the_mode_is_set_before_anybody_can_connect(tmp_path, monkeypatch, bound):
    path = tmp_path / "x.sock"
    seen = []
    listen = binding._listening
    monkeypatch.setattr(
        binding, "_listening", lambda *args: seen.append(stat.S_IMODE(path.stat().st_mode)) or listen(*args)
    )
    bound(str(path), chmod_socket=0o660)
    assert seen == [0o660]


@pytest.fixture
def once_bound(monkeypatch):
    """Return a function that has something done when bind(2) has returned, before all else."""

    def once_bound(do):
        class Sock(socket.socket):
            def bind(self, where):
                super().bind(where)
                do()

        monkeypatch.setattr(binding, "_Socket", Sock)

    return once_bound


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize(
    "options",
    [
        {"chmod_socket": 0o666},
        {"chmod_socket": 0o660},
        {"chmod_socket": 0o600},
        {"chmod_socket": 0o660, "chown_socket": (os.getuid(), os.getgid())},
        {"chown_socket": (os.getuid(), -1)},
    ],
)
def test_a_socket_has_the_mode_that_it_ends_with_from_the_first_moment(
    tmp_path, monkeypatch, bound, once_bound, *, options, umask
):
    path = tmp_path / "x.sock"
    seen = []

    def note():
        seen.append(stat.S_IMODE(path.stat().st_mode))
        with socket.socket(socket.AF_UNIX) as early, pytest.raises(ConnectionRefusedError):
            early.connect(str(path))

    chown = os.chown
    monkeypatch.setattr(os, "chown", lambda *args, **kwargs: note() or chown(*args, **kwargs))
    once_bound(note)
    before = os.umask(umask)
    try:
        bound(str(path), **options)
        assert os.umask(umask) == umask, "the process has its umask again"
    finally:
        os.umask(before)
    seen.append(stat.S_IMODE(path.stat().st_mode))
    assert set(seen) == {options.get("chmod_socket", 0o777 & ~umask)}
    assert len(seen) == 2 + ("chown_socket" in options)


def test_a_bind_that_fails_leaves_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        refused(f"{tmp_path}/absent/x.sock", chmod_socket=0o660)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_nothing_is_given_away_that_a_link_in_the_place_of_the_socket_leads_to(tmp_path, bound, once_bound):
    path, precious = tmp_path / "x.sock", tmp_path / "precious"
    precious.touch(0o640)

    def swap():
        path.unlink()
        path.symlink_to(precious)

    before = precious.stat()
    once_bound(swap)
    bound(str(path), chown_socket=(pwd.getpwnam("nobody").pw_uid, -1), chmod_socket=0o666)
    after = precious.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_the_owner_is_set(tmp_path, bound):
    path = tmp_path / "x.sock"
    nobody = pwd.getpwnam("nobody").pw_uid
    bound(str(path), chown_socket=(nobody, -1), chmod_socket=0o600)
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (nobody, os.getgid(), 0o600)


def test_a_socket_that_cannot_be_given_away_is_not_left_behind(tmp_path, monkeypatch):
    def chown(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    path = str(tmp_path / "x.sock")
    assert refused(path, chown_socket=(1, 1)) == (
        f"cannot listen on {path}: Operation not permitted; only root gives files to other users"
    )
    assert not os.path.exists(path)


def test_a_stale_socket_is_replaced(tmp_path, bound):
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    before = os.stat(path).st_ino, os.stat(path).st_ctime_ns
    bound(path)
    assert (os.stat(path).st_ino, os.stat(path).st_ctime_ns) != before
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


@pytest.mark.parametrize("full", [False, True])
def test_a_live_socket_is_refused(tmp_path, monkeypatch, full):
    path = str(tmp_path / "x.sock")
    clients = []
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(path)
        alive.listen(0)
        if full:
            monkeypatch.setattr(socket.socket, "settimeout", lambda sock, _: sock.setblocking(False))
            clients.append(socket.socket(socket.AF_UNIX))
            clients[0].connect(path)
        assert refused(path) == (
            f"cannot listen on {path}: another server answers on it; stop the other server or choose another address"
        )
        for client in clients:
            client.close()
    assert stat.S_ISSOCK(os.stat(path).st_mode)


def test_what_is_no_socket_is_refused_and_kept(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    assert refused(str(path)) == (
        f"cannot listen on {path}: a file that is no socket is there; move it away or choose another path"
    )
    assert path.read_text() == "data"


def test_a_missing_directory_is_told(tmp_path):
    path = f"{tmp_path}/absent/x.sock"
    assert refused(path) == f"cannot listen on {path}: No such file or directory; the directory must exist"


def test_a_taken_port_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = f"127.0.0.1:{taken.getsockname()[1]}"
        assert refused(text) == (
            f"cannot listen on {text}: Address already in use; stop the other server or choose another address"
        )


def test_an_address_of_another_machine_is_told():
    assert refused("192.0.2.1:0") == (
        "cannot listen on 192.0.2.1:0: Cannot assign requested address; no interface of this machine has the address"
    )


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", 70 * "x"])
def test_a_host_that_is_none_is_told(host):
    assert refused(f"{host}:0").startswith(f"cannot listen on {host}:0: ")


@pytest.mark.parametrize(
    "text, shown",
    [("127.0.0.1:0", r"127\.0\.0\.1:[1-9]\d*"), (":0", r"0\.0\.0\.0:[1-9]\d*"), ("@{name}", r"@{name}")],
)
def test_the_real_address_is_shown(tmp_path, bound, text, shown):
    import re

    name = f"appserver-test-{os.getpid()}"
    assert re.fullmatch(shown.replace("{name}", name), name_of(bound(text.replace("{name}", name))))


def test_sockets_do_not_block_and_listen_as_long_as_the_system_allows(bound, monkeypatch):
    asked = []
    monkeypatch.setattr(
        binding, "_Socket", type("Spy", (socket.socket,), {"listen": lambda _, n: asked.append(n)})
    )
    monkeypatch.setattr(binding, "_longest_backlog", lambda: 50)
    assert not bound("127.0.0.1:0", listen=100).getblocking()
    bound("127.0.0.1:0", listen=7)
    assert asked == [50, 7]


class TestInherited:
    """Sockets that whoever started the server has bound."""

    def test_a_descriptor_is_used_and_stays_open_but_in_programs(self, bound):
        with socket.create_server(("127.0.0.1", 0)) as passed:
            passed.set_inheritable(True)
            sock = bound(f"fd://{passed.fileno()}")
            assert sock.getsockname() == passed.getsockname()
            assert sock.fileno() != passed.fileno()
            assert not passed.get_inheritable()
            assert not sock.getblocking()

    def test_a_closed_descriptor_is_told(self):
        assert refused("fd://9999") == (
            "cannot listen on fd://9999: Bad file descriptor; who starts this server must pass it"
        )

    def test_what_is_no_listening_socket_is_told(self):
        with socket.socket() as idle, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            for fd in (idle.fileno(), datagrams.fileno()):
                assert refused(f"fd://{fd}") == (
                    f"cannot listen on fd://{fd}: descriptor {fd} is no listening stream socket"
                )

    def test_a_file_is_told(self, tmp_path):
        with open(tmp_path / "file", "w") as file:
            assert refused(f"fd://{file.fileno()}").startswith(
                f"cannot listen on fd://{file.fileno()}: Socket operation"
            )

    @pytest.mark.parametrize("by", ["address", "descriptor"])
    def test_a_passed_socket_is_taken_once(self, bound, by):
        with socket.create_server(("127.0.0.1", 0)) as passed:
            name = name_of(passed)
            found = {name: passed.fileno(), "@other": 77}
            sock = bound(name if by == "address" else f"fd://{passed.fileno()}", found)
            assert sock.getsockname() == passed.getsockname()
            assert found == {"@other": 77}

    @pytest.mark.parametrize(
        "name, text, same",
        [
            ("127.0.0.1:80", "127.0.0.1:80", True),
            ("0.0.0.0:80", ":80", True),
            ("[::]:80", ":80", True),
            ("0.0.0.0:80", ":8080", False),
            ("127.0.0.1:80", ":80", False),
            ("/run/x.sock", "/run/x.sock", True),
            ("/run/x.sock", "./x.sock", False),
            ("@x", "@x", True),
            ("@x", "x", False),
        ],
    )
    def test_addresses_that_are_the_same(self, name, text, same):
        assert activation.same(name, text) is same

    def test_a_relative_path_is_the_same_as_its_absolute_one(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert activation.same(f"{tmp_path}/x.sock", "./x.sock")

    @pytest.mark.parametrize(
        "pid, count, expected",
        [
            ("ours", "2", [3, 4]),
            ("1", "2", []),
            ("", "2", []),
            ("ours", "", []),
            ("ours", "²", []),
        ],
    )
    def test_what_systemd_passes_is_taken_by_the_process_it_is_meant_for(self, pid, count, expected):
        pid = str(os.getpid()) if pid == "ours" else pid
        environ = {"LISTEN_PID": pid, "LISTEN_FDS": count, "LISTEN_FDNAMES": "a:b", "OTHER": "x"}
        assert activation.passed_fds(environ) == expected
        if expected:
            assert environ == {"OTHER": "x"}
            assert activation.passed_fds(environ) == []
        assert activation.passed_fds({}) == []

    def test_a_descriptor_that_systemd_does_not_pass_is_told(self, monkeypatch):
        monkeypatch.setattr(activation, "passed_fds", lambda: [9999])
        with pytest.raises(AddressError, match=r"^LISTEN_FDS names descriptor 9999: Bad file descriptor$"):
            activation.names_of_passed()


@pytest.fixture
def made(tmp_path, bound):
    """Return a function that makes a Unix socket: itself, its file, and the options that it has."""

    def made(**options):
        path = tmp_path / "x.sock"
        return bound(str(path), **options), SocketFile(str(path)), BindOptions(**options)

    return made


def test_a_socket_is_adapted_to_other_options(tmp_path, made):
    sock, file, before = made(chmod_socket=0o600, listen=50)
    wanted = BindOptions(chmod_socket=0o666, listen=70, vacuum=True, reuse_port=True)
    assert adapt(sock, file, before, wanted) == (wanted, [])
    assert stat.S_IMODE((tmp_path / "x.sock").stat().st_mode) == 0o666
    assert backlog(sock) == (0, 70)


def test_what_a_socket_cannot_be_is_told_and_tried_again(tmp_path, made, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    sock, file, before = made(chmod_socket=0o600)
    wanted = BindOptions(chmod_socket=0o666, chown_socket=(1, 1), listen=70)
    with monkeypatch.context() as patch:
        patch.setattr(os, "chmod", refuse)
        patch.setattr(os, "chown", refuse)
        now, left = adapt(sock, file, before, wanted)
    assert (now, left) == (
        BindOptions(chmod_socket=0o600, listen=70), ["chmod-socket", "chown-socket"]
    )  # fmt: skip
    again = BindOptions(chmod_socket=0o666, listen=70)
    assert adapt(sock, file, now, again) == (again, [])
    assert stat.S_IMODE((tmp_path / "x.sock").stat().st_mode) == 0o666


def test_a_bound_socket_cannot_become_shared(bound):
    before, wanted = BindOptions(), BindOptions(reuse_port=True, listen=70)
    sock = bound("127.0.0.1:0")
    assert adapt(sock, None, before, wanted) == (BindOptions(listen=70), ["reuse-port"])
    assert backlog(sock) == (0, 70)


@pytest.mark.parametrize("other", ["link", "file", "nothing"])
def test_nothing_else_in_the_place_of_a_socket_is_changed(tmp_path, made, other):
    sock, file, before = made(chmod_socket=0o600)
    path, precious = tmp_path / "x.sock", tmp_path / "precious"
    precious.touch(0o640)
    path.rename(tmp_path / "moved")
    if other == "link":
        path.symlink_to(precious)
    elif other == "file":
        precious.rename(path)
    assert adapt(sock, file, before, BindOptions(chmod_socket=0o666)) == (before, ["chmod-socket"])
    assert stat.S_IMODE((path if other == "file" else precious).stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "user, group, options, owners",
    [
        (0, 0, {"uid": "nobody"}, (65534, -1)),
        (65534, 7, {"uid": "nobody"}, (65534, -1)),
        (65534, 7, {"uid": "nobody", "gid": 7}, (65534, 7)),
        (65534, 7, {"uid": "nobody", "gid": 8}, None),
        (1234, 7, {"uid": "nobody"}, None),
        (0, 0, {}, None),
    ],
)
def test_sockets_are_of_the_same_owner_once_privileges_are_dropped(monkeypatch, user, group, options, owners):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "getegid", lambda: group)
    assert owner_of_sockets(PrivilegeOptions(**options)) == owners
