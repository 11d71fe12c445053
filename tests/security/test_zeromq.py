"""ZeroMQ: who may connect to whom, how large a message may be, and what is never read from one."""

from __future__ import annotations

import ast
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

import appserver
from appserver.configuration import Configuration
from appserver.endpoint import absolute, endpoint, exposed
from appserver.listeners.mongrel2 import Mongrel2Listener, most, reachable, specs
from appserver.log.collector import ZeromqSink
from appserver.log.curve import Curve, keys, server_key
from appserver.log.destinations import Log, LogError
from appserver.log.options import LogOptions
from appserver.options import BadValue
from tests.security.rig import APP
from tests.support.fronts import poll
from tests.support.mongrel2 import Mongrel2
from tests.support.server import Server

KEY = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"

# Endpoints


@pytest.mark.parametrize(
    "text",
    [
        "tcp://127.0.0.1:1", "tcp://collector.example:65535", "tcp://[::1]:9292", "tcp://eth0;10.0.0.1:9",
        "ipc:///run/m2.ipc", "ipc://run/m2", "ipc://@abstract", "ipc://" + "p" * 107,
    ],
)  # fmt: skip
def test_endpoints(text):
    assert endpoint(text) == text


@pytest.mark.parametrize(
    "text, found",
    [
        ("ipc://run/m2", "ipc:///start/run/m2"), ("ipc://./m2", "ipc:///start/m2"),
        ("ipc:///run/m2", "ipc:///run/m2"), ("ipc://@m2", "ipc://@m2"), ("tcp://a:1", "tcp://a:1"),
        ("ipc://" + "p" * 100, "ipc:///start/" + "p" * 100),
        ("ipc://" + "p" * 101, "ipc://" + "p" * 101),
    ],
)  # fmt: skip
def test_a_relative_path_is_that_of_the_start(text, found, monkeypatch):
    """An application may choose another directory; beyond 107 bytes only the relative one can be used."""
    monkeypatch.setattr("os.getcwd", lambda: "/start")
    assert absolute(text) == found


def test_whoever_connects_later_finds_it(tmp_path, monkeypatch):
    (tmp_path / "start").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    with zmq.Context() as context, context.socket(zmq.PULL) as collector:
        collector.bind(f"ipc://{tmp_path}/start/lines")
        sink = ZeromqSink("ipc://lines")
        listener = Mongrel2Listener("ipc://requests,ipc://answers", Configuration([]).settings)
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert listener.pull == f"ipc://{tmp_path}/start/requests"
        assert listener.publish == f"ipc://{tmp_path}/start/answers"
        before = sink._context
        sink._pid = 0  # as after a fork
        sink.forked()
        sink.write("a line")
        assert collector.recv() == b"a line"
        sink.close()
        before.destroy(linger=0)


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "a ZeroMQ endpoint"), ("tcp://", "a ZeroMQ endpoint"), ("127.0.0.1:9", "a ZeroMQ endpoint"),
        ("tcp://a:1\n", "a ZeroMQ endpoint"), ("ipc:///a b", "a ZeroMQ endpoint"), ("tcp://a:1\0", "a ZeroMQ endpoint"),
        ("tcp://*:9999", "the other end binds"), ("tcp://a", "port"), ("tcp://a:0", "port"), ("tcp://a:65536", "port"),
        ("tcp://a:http", "port"), ("tcp://a/b:1", "port"), ("tcp://::1:9", "port"), ("tcp://a:-1", "port"),
        ("ipc://" + "p" * 108, "107 bytes"), ("inproc://x", "outside of this process"),
        ("udp://a:1", "udp:// is not served"), ("pgm://a;b:1", "pgm:// is not served"), ("ws://a:1", "ws://"),
        ("file:///etc/passwd", "file:// is not served"),
    ],
)  # fmt: skip
def test_no_endpoints(text, why):
    with pytest.raises(BadValue, match=why):
        endpoint(text)


@pytest.mark.parametrize(
    "text",
    [
        "tcp://a:1",
        "tcp://a:1,tcp://a:1",
        "tcp://a:1,tcp://a:2,tcp://a:3",
        "tcp://a:1,inproc://x",
        "a,b",
        ",",
        "ipc://,ipc://x",
    ],
)
def test_no_pairs_of_mongrel2_s_endpoints(text):
    with pytest.raises(BadValue):
        specs(text)


def test_a_bad_endpoint_is_told_with_its_line(tmp_path):
    ini = tmp_path / "site.ini"
    ini.write_text(f"[appserver]\nmodule = {APP}\nzeromq = tcp://127.0.0.1:9999,tcp://*:9998\n")
    command = [sys.executable, "-m", "appserver", "--ini", ini]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "site.ini:3" in done.stderr
    assert "the other end binds" in done.stderr


@pytest.mark.parametrize(
    "text, dangerous",
    [
        ("tcp://127.0.0.1:1", False), ("tcp://localhost:1", False), ("tcp://[::1]:1", False), ("tcp://127.9.9.9:1", False),
        ("tcp://10.0.0.1:1", True), ("tcp://collector:1", True), ("tcp://[2001:db8::1]:1", True), ("ipc://@abstract", True),
        ("ipc:///nothing/there", False),
    ],
)  # fmt: skip
def test_who_else_may_be_at_an_endpoint(text, dangerous):
    assert bool(exposed(text)) is dangerous


def test_a_socket_that_is_open_to_all_is_told(tmp_path):
    """It is Mongrel2 that makes it: this server only connects, and can but tell."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        where = f"ipc://{tmp_path}/m2"
        push.bind(where)
        os.chmod(tmp_path / "m2", 0o777)
        assert "Everybody on this machine may connect" in exposed(where)
        assert "Everybody" in reachable(f"{where},tcp://127.0.0.1:1")
        os.chmod(tmp_path / "m2", 0o770)
        assert exposed(where) == ""


def test_check_calls_it_dangerous(tmp_path):
    ini = tmp_path / "site.ini"
    ini.write_text(f"[appserver]\nmodule = {APP}\nzeromq = tcp://10.0.0.1:9999,tcp://127.0.0.1:9998\n"
                   "log-zeromq = tcp://10.0.0.1:9292\n")  # fmt: skip
    command = [sys.executable, "-m", "appserver", "--check", "--json", "--ini", ini]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    told = [each for each in json.loads(done.stdout)["lines"] if each["verdict"] == "dangerous"]
    assert [each["option"] for each in told] == ["zeromq", "log-zeromq"]


# Sizes


@pytest.mark.parametrize("dispatch", ["worker", "shared"])
def test_a_message_above_the_limit_is_not_taken(dispatch):
    """Who sends it is disconnected, which the log says, and connected again; below the limit nothing changes."""
    with Mongrel2() as peer:
        options = ("--zeromq-dispatch", dispatch, "--zeromq-max-message", "100000")
        with Server("--zeromq", peer.spec, "--module", APP, *options) as server:
            assert peer.get("/x", method="POST", body=b"x" * 90_000).status == 200
            for again in range(1, 3):
                large = peer.client().send("/large", method="POST", body=b"x" * 200_000)
                poll(
                    lambda: server.log.count("larger than zeromq-max-message") == again,  # noqa: B023
                    "the log says nothing",
                )
                assert peer.get("/x").status == 200
                assert large.messages == []
            assert "/large" not in server.log
            assert server.stop() == 0


def test_the_default_is_above_what_is_usual():
    """Mongrel2's limits.content_length is 20 KiB where nobody has changed it."""
    from appserver.listeners.mongrel2 import Mongrel2Options

    assert Mongrel2Options().zeromq_max_message == 256 << 20


@pytest.mark.parametrize("text", ["-1", "", "1.5", "many", str(2**63), "9" * 5000])
def test_no_size_that_libzmq_has_a_number_for(text):
    with pytest.raises(BadValue, match="from 0"):
        most(text)


def test_the_largest_sizes():
    assert [most("0"), most(str(2**63 - 1))] == [0, 2**63 - 1]


# CURVE, for collectors of logs


@pytest.fixture
def certificates(tmp_path):
    for name in ("collector", "appserver", "other"):
        _, secret = zmq.auth.create_certificates(tmp_path, name)
        os.chmod(secret, 0o600)
    return tmp_path


@pytest.fixture
def collector(certificates):
    """Return a function that binds a collector which takes lines from who knows its key, and perhaps only from one."""
    context = zmq.Context()
    guard = ThreadAuthenticator(context)
    guard.start()
    sockets = []

    def bound(allowed):
        guard.configure_curve(domain="*", location=allowed)
        made = context.socket(zmq.PULL)
        sockets.append(made)
        made.curve_publickey, made.curve_secretkey = zmq.auth.load_certificate(
            certificates / "collector.key_secret"
        )
        made.curve_server = True
        made.rcvtimeo = 10000
        made.linger = 0
        return made, f"tcp://127.0.0.1:{made.bind_to_random_port('tcp://127.0.0.1')}"

    yield bound
    guard.stop()
    for each in sockets:
        each.close()
    context.destroy(linger=0)


def test_lines_are_encrypted_for_the_collector(collector, certificates):
    sock, where = collector(zmq.auth.CURVE_ALLOW_ANY)
    log = Log(
        LogOptions(
            log_zeromq=(f"zeromq:{where}",),
            log_zeromq_server_key=server_key(str(certificates / "collector.key")),
        )
    )
    try:
        logging.getLogger("appserver").info("a line")
        assert sock.recv().endswith(b"INFO a line")
    finally:
        log.close()


def test_the_collector_knows_who_sends(collector, certificates):
    """With a key of our own, which it has in its directory."""
    allowed = certificates / "allowed"
    allowed.mkdir()
    (certificates / "appserver.key").rename(allowed / "appserver.key")
    sock, where = collector(str(allowed))
    server = server_key(str(certificates / "collector.key"))
    stranger = ZeromqSink(where, curve=keys(server, str(certificates / "other.key_secret")))
    stranger.write("a stranger's")
    known = ZeromqSink(where, curve=keys(server, str(certificates / "appserver.key_secret")))
    known.write("known")
    assert sock.recv() == b"known"
    known.write("known again")
    assert sock.recv() == b"known again"
    known.close()
    stranger._context.destroy(linger=0)


def test_a_collector_of_another_key_gets_nothing(collector, certificates):
    sock, where = collector(zmq.auth.CURVE_ALLOW_ANY)
    wrong = ZeromqSink(where, curve=keys(server_key(str(certificates / "other.key")), ""))
    wrong.write("secret")
    right = ZeromqSink(where, curve=keys(server_key(str(certificates / "collector.key")), ""))
    right.write("right")
    assert sock.recv() == b"right"
    plain = ZeromqSink(where)
    plain.write("plain")
    right.write("right again")
    assert sock.recv() == b"right again"
    assert not sock.poll(0)
    right.close()
    for each in (wrong, plain):
        each._context.destroy(linger=0)


def test_server_keys(tmp_path):
    assert server_key(KEY) == KEY
    zmq.auth.create_certificates(tmp_path, "one")
    assert len(server_key(str(tmp_path / "one.key"))) == 40
    (tmp_path / "none").write_text("nothing\n")
    for bad in (
        "",
        "short",
        KEY[:-1],
        KEY[:-1] + "\u20ac",
        KEY[:-1] + " ",
        "/nothing/there",
        str(tmp_path / "none"),
    ):
        with pytest.raises(BadValue):
            server_key(bad)


def test_a_secret_key_that_others_can_read_is_refused(certificates):
    secret = certificates / "appserver.key_secret"
    secret.chmod(0o640)
    with pytest.raises(LogError, match="chmod 600") as caught:
        Log(LogOptions(log_zeromq_server_key=KEY, log_zeromq_client_key=str(secret)))
    assert caught.value.option == "log-zeromq-client-key"
    secret.chmod(0o600)
    found = keys(KEY, str(secret))
    assert isinstance(found, Curve)
    assert found.secret.decode() not in repr(LogOptions(log_zeromq_client_key=str(secret)))
    for bad in ("appserver.key", "missing"):
        with pytest.raises(LogError, match="the log cannot be encrypted"):
            Log(LogOptions(log_zeromq_server_key=KEY, log_zeromq_client_key=str(certificates / bad)))


def test_without_a_server_s_key_nothing_is_encrypted():
    assert keys("", "") is None


def test_a_key_of_our_own_is_nothing_without_the_server_s(certificates):
    """The log would travel as it is, though somebody has asked for encryption."""
    secret = str(certificates / "appserver.key_secret")
    with pytest.raises(
        LogError, match="the collector's public key is missing; set log-zeromq-server-key"
    ) as caught:
        Log(LogOptions(log_zeromq_client_key=secret))
    assert (caught.value.option, caught.value.value) == ("log-zeromq-client-key", secret)


@pytest.mark.parametrize(
    "key, lines, told",
    [
        ("appserver.key_secret", [f"log-zeromq-server-key = {KEY}"], ""),
        ("appserver.key_secret", [], "the collector's public key is missing; set log-zeromq-server-key, too"),
        ("missing", [f"log-zeromq-server-key = {KEY}"], "No such file or directory: {}"),
        ("missing", [f"log-zeromq-server-key = {KEY}", "exec-asap = make-keys"], ""),
    ],
)
def test_check_finds_keys_that_a_start_fails_with(tmp_path, certificates, key, lines, told):
    site, path = tmp_path / "site.ini", certificates / key
    doubled = [each.replace("%", "%%") for each in lines]
    site.write_text("\n".join(["[appserver]", "http = :0", f"log-zeromq-client-key = {path}", *doubled, ""]))
    problems = Configuration([str(site)]).missing()
    if told:
        [problem] = problems
        assert problem.startswith(f"{site}:3: log-zeromq-client-key = ")
        assert problem.endswith(f": the log cannot be encrypted: {told.format(path)}")
    else:
        assert problems == []


# Pickles

FORBIDDEN = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "multiprocessing"}
CALLS = {"recv_pyobj", "send_pyobj", "recv_serialized"}


@pytest.mark.parametrize(
    "path", sorted(Path(appserver.__file__).parent.rglob("*.py")), ids=lambda path: path.stem
)
def test_nothing_that_is_received_becomes_an_object(path):
    """No module can unpickle: what comes over a socket is bytes, JSON text or a netstring."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not FORBIDDEN & {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in FORBIDDEN
        elif isinstance(node, ast.Call):
            assert getattr(node.func, "attr", "") not in CALLS
