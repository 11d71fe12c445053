"""The control socket and its client: who may, what is said, and what becomes of the file."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from appserver.lifecycle import control, ctl, options
from appserver.lifecycle.commands import run
from appserver.lifecycle.control import Control
from appserver.lifecycle.error import StartError
from appserver.lifecycle.options import ControlOptions
from appserver.options import BadValue


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "control.sock")


async def obey(words, report):
    """Be a server with a few commands."""
    match words:
        case ["status"]:
            report("worker 1\nworker 2")
            report("ok")
            report("caf\xe9 \udce9")
        case ["reload"]:
            report("begun")
            return "no\n\n way\tout\n"
        case ["stop"]:
            raise RuntimeError("oops")
        case _:
            return f"there is no command {words}"
    return None


class Running:
    """A control socket whose loop runs in a thread."""

    def __init__(self, path, handler=obey):
        self.control = Control(ControlOptions(control_socket=path))
        self.control.bind()
        self._handler = handler
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._up.wait(20)

    async def _run(self):
        self.loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self.control.start(self._handler)
        self._up.set()
        await self._end.wait()
        self.control.remove()
        self.control.remove()
        await self.control.finish()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)


@pytest.fixture
def running(path):
    with Running(path) as running:
        yield running


def said(path, data, *, end=False):
    """Return what the server answers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(path)
        client.sendall(data)
        if end:
            client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


def test_progress_and_the_end(running, path):
    assert said(path, b"status\n") == "worker 1\nworker 2\nok\ncaf\xe9 \\udce9\nok\n"


def test_each_reason_is_a_line(running, path):
    assert said(path, b"reload\n") == "begun\nfailed: no\nfailed: way out\n"


def test_words(running, path):
    assert said(path, b"  a  b\tc\xff \r\nmore") == "failed: there is no command ['a', 'b', 'c\\\\xff']\n"
    assert said(path, b"\n") == "failed: there is no command []\n"


def test_a_handler_that_raises_is_logged_and_told(running, path, caplog):
    assert said(path, b"stop\n") == "failed: RuntimeError: oops; the log tells where\n"
    assert "the command stop failed" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("data", [b"x" * 1001 + b"\n", b"x" * 1001])
def test_a_command_has_a_limit(running, path, data):
    assert said(path, data) == "failed: the command is longer than 1000 bytes\n"


def test_the_longest_command(running, path):
    assert said(path, b"x" * 1000 + b"\n") == f"failed: there is no command ['{'x' * 1000}']\n"


def test_a_client_that_ends_without_a_command(running, path):
    assert said(path, b"sta", end=True) == "failed: no command came\n"


def test_a_client_that_says_nothing_is_not_waited_for(path, monkeypatch):
    monkeypatch.setattr(control, "_PATIENCE", 0.01)
    with Running(path):
        assert said(path, b"sta") == "failed: no command came within 0.01 s\n"


def test_without_descriptors_the_loop_does_not_spin(running, path, monkeypatch, caplog):
    asked = []

    def refuse(_):
        asked.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    async def turns():
        while not asked:  # noqa: ASYNC110  (each is a turn of the loop)
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)

    monkeypatch.setattr(control, "_PAUSE", 1000)
    with socket.socket(socket.AF_UNIX) as client, monkeypatch.context() as patched:
        patched.setattr(socket.socket, "accept", refuse)
        client.settimeout(20)
        client.connect(path)
        asyncio.run_coroutine_threadsafe(turns(), running.loop).result(20)
        assert len(asked) == 1
        patched.undo()
        running.loop.call_soon_threadsafe(running.control._go_on)
        client.sendall(b"x\n")
        assert client.recv(100).startswith(b"failed")
    assert caplog.messages == ["the control socket: cannot accept for now: Too many open files"]


def test_strangers_are_refused(path, monkeypatch):
    monkeypatch.setattr(control, "_UCRED", type("Other", (), {"size": 12, "unpack": lambda _: (1, 4321, 1)}))
    with Running(path):
        assert said(path, b"status\n") == "failed: user 4321 may not control this server\n"


def test_clients_do_not_wait_for_each_other_and_one_that_leaves_stops_nothing(path):
    begun, done = threading.Event(), threading.Event()

    async def handler(words, report):
        if words == ["slow"]:
            go.append(asyncio.Event())
            begun.set()
            await go[0].wait()
            for _ in range(100):
                report("to nobody " * 1000)
            done.set()

    go = []
    with Running(path, handler) as running:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"slow\n")
            assert begun.wait(20)
            assert said(path, b"quick\n") == "ok\n"
        running.loop.call_soon_threadsafe(go[0].set)
        assert done.wait(20)


def test_a_client_that_reads_late_misses_lines_but_not_the_last(path):
    done = threading.Event()

    async def handler(words, report):
        for _ in range(1000):
            report("x" * 1000)
        done.set()

    with Running(path, handler), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(path)
        client.sendall(b"status\n")
        assert done.wait(20)
        lines = b"".join(iter(lambda: client.recv(65536), b"")).split(b"\n")
        assert lines[-2:] == [b"ok", b""]
        assert set(lines[:-2]) == {b"x" * 1000}
        assert 10 < len(lines) < 1000


class TestFile:
    """The file of the socket."""

    def test_only_the_user_may_connect(self, running, path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    def test_it_goes_with_the_server(self, path):
        with Running(path):
            pass
        assert not os.path.exists(path)

    def test_what_others_have_put_there_stays(self, path):
        with Running(path):
            os.unlink(path)
            open(path, "w").close()
        assert os.path.exists(path)

    @pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
    def test_it_is_given_to_the_user_that_the_server_becomes(self, path):
        made = Control(ControlOptions(control_socket=path))
        made.bind(uid=1234)
        assert (os.stat(path).st_uid, stat.S_IMODE(os.stat(path).st_mode)) == (1234, 0o600)
        made.remove()

    def test_a_live_server_keeps_it(self, running, path):
        other = Control(ControlOptions(control_socket=path))
        with pytest.raises(StartError, match="another server answers on it") as caught:
            other.bind()
        assert (caught.value.option, caught.value.value) == ("control-socket", path)
        other.remove()
        assert said(path, b"status\n").endswith("ok\n")

    def test_the_path_survives_a_change_of_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with Running("./control.sock"):
            monkeypatch.chdir("/")
        assert not (tmp_path / "control.sock").exists()

    @pytest.mark.parametrize("text", ["@name", "127.0.0.1:80", "fd://3"])
    def test_sockets_without_permissions_are_refused(self, text):
        with pytest.raises(BadValue, match="other sockets have no permissions"):
            options.path(text)

    @pytest.mark.parametrize(
        "text, told",
        [
            *((text, "a path with a slash, such as /run/site/control.sock or ./control")
              for text in ("ctl", "", "a:b", "unix:/run/x.sock", "fd://x", "[::1:80")),
            ("/" + 107 * "x", "a path of 107 bytes at most, the kernel's limit"),
            ("/a\0b", "a path without NUL"),
        ],
    )  # fmt: skip
    def test_what_is_no_path_is_told_what_is(self, text, told):
        """Not the other forms of addresses, which are refused as well."""
        with pytest.raises(BadValue) as caught:
            options.path(text)
        assert str(caught.value) == told

    def test_a_path(self):
        assert options.path("/run/x.sock") == "/run/x.sock"


CHILD = """
import asyncio, os, sys
from appserver.lifecycle.commands import run
from appserver.lifecycle.control import Control
from appserver.lifecycle.options import ControlOptions

control = Control(ControlOptions(control_socket=sys.argv[1]))
control.bind()

async def handler(words, report):
    if words == ["fork"]:
        if not os.fork():
            control.close()
            control.close()
            os.read(0, 1)
            os._exit(0)
        report(" ".join(sorted(os.listdir("/proc/self/fd"))))
    else:
        stopping.set()

async def main():
    global stopping
    stopping = asyncio.Event()
    control.start(handler)
    print("up", flush=True)
    await stopping.wait()
    control.remove()
    await control.finish()

asyncio.run(main())
print("down", flush=True)
"""


def test_a_child_leaves_the_socket_to_its_parent(path):
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "up\n"
        for _ in range(2):
            assert said(path, b"fork\n").endswith("\nok\n")
        assert said(path, b"stop\n") == "ok\n"
        assert process.stdout.readline() == "down\n"
        assert not os.path.exists(path)
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(FileNotFoundError):
            client.connect(path)
        process.stdin.close()


class TestClient:
    """appserver ctl."""

    @pytest.fixture
    def site(self, tmp_path, path):
        file = tmp_path / "site.ini"
        file.write_text("[appserver]\ncontrol-socket = /elsewhere\ncontrol-socket = %dcontrol.sock\n")
        return str(file)

    def test_success(self, running, path, capsys):
        assert ctl.main(["--socket", path, "status"]) == 0
        assert capsys.readouterr() == ("worker 1\nworker 2\nok\ncaf\xe9 \\udce9\n", "")

    def test_the_ini_file_tells_the_socket(self, running, site, capsys):
        for arguments in (["--ini", site], [f"--ini={site}"]):
            assert ctl.main([*arguments, "reload"]) == 1
            assert capsys.readouterr() == ("begun\n", "appserver: no\nappserver: way out\n")

    @pytest.mark.parametrize("number", ["+1", "-2", "3"])
    def test_numbers(self, running, path, capsys, number):
        assert ctl.main([f"--socket={path}", "workers", number]) == 1
        assert capsys.readouterr().err == f"appserver: there is no command ['workers', '{number}']\n"

    def test_lines_are_printed_as_they_come(self, path):
        async def handler(words, report):
            report("begun")
            going.set()
            await asyncio.to_thread(seen.wait, 20)

        going, seen = threading.Event(), threading.Event()
        with Running(path, handler), subprocess.Popen(
            [sys.executable, "-c", f"from appserver.lifecycle import ctl; ctl.main(['--socket', {path!r}, 'stop'])"],
            stdout=subprocess.PIPE, text=True,
        ) as client:  # fmt: skip
            assert client.stdout.readline() == "begun\n"
            assert going.wait(20)
            seen.set()
            assert client.stdout.read() == ""

    def test_a_server_that_dies_is_told(self, path, capsys):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()

            def die():
                connection, _ = server.accept()
                connection.recv(100)
                connection.sendall(b"stopping\n")
                connection.close()

            thread = threading.Thread(target=die)
            thread.start()
            assert ctl.main(["--socket", path, "stop"]) == 1
            thread.join()
        assert capsys.readouterr() == (
            "stopping\n", "appserver: the server ended before the command was done; its log tells more\n",
        )  # fmt: skip

    def test_no_socket(self, path, capsys):
        assert ctl.main(["--socket", path, "status"]) == 1
        assert capsys.readouterr().err == (
            f"appserver: cannot reach a server at {path}: there is no such socket; is the server running?\n"
        )

    @pytest.mark.parametrize("make", ["mkdir", "touch"])
    def test_what_is_no_socket(self, tmp_path, capsys, make):
        path = tmp_path / "other"
        getattr(path, make)()
        assert ctl.main(["--socket", str(path), "status"]) == 1
        told = "it is no socket; give the path of the option control-socket"
        assert capsys.readouterr().err == f"appserver: cannot reach a server at {path}: {told}\n"

    def test_a_dead_socket(self, path, capsys):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        assert ctl.main(["--socket", path, "status"]) == 1
        assert "nobody listens there; is the server running?" in capsys.readouterr().err

    def test_no_permission(self, monkeypatch, capsys):
        def denied(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(socket.socket, "connect", denied)
        assert ctl.main(["--socket", "/x", "status"]) == 1
        assert "Permission denied; run this as the server's user or as root" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "arguments, told",
        [
            (
                ["status"],
                "which server? Give --socket PATH, or --ini FILE of one with the option control-socket",
            ),
            (["--sock", "x"], "--sock: there is no such option; see appserver ctl --help"),
            (["--socket"], "--socket: a value is missing; expected a path"),
            (["--ini="], "--ini: a value is missing; expected a file"),
            (["--socket", "x"], "a command is missing; expected reload, chain-reload, stop, drain, workers,"),
            (["--socket", "x", "restart"], "there is no command restart; expected reload, chain-reload,"),
            (["--socket", "x", "workers"], "workers: expected a number, or one with + or - in front"),
            (["--socket", "x", "workers", "many"], "workers: expected a number"),
            (["--socket", "x", "stop", "now"], "stop: now is one word too many"),
            (["--ini", "/no/such.ini", "status"], "/no/such.ini: No such file or directory"),
        ],
    )
    def test_mistakes(self, capsys, arguments, told):
        assert ctl.main(arguments) == 1
        assert capsys.readouterr().err.startswith(f"appserver: {told}")

    def test_a_file_without_the_option_is_told(self, tmp_path, capsys):
        file = tmp_path / "site.ini"
        file.write_text("[uwsgi]\nmodule = x\n")
        assert ctl.main(["--ini", str(file), "status"]) == 1
        assert capsys.readouterr().err == (
            f"appserver: {file} has no option control-socket: set control-socket = /run/site/control.sock"
            " and restart\n"
        )

    @pytest.mark.parametrize("arguments, code", [([], 1), (["--help"], 0), (["stop", "-h"], 0)])
    def test_help(self, capsys, arguments, code):
        assert ctl.main(arguments) == code
        out = capsys.readouterr().out
        assert all(f"\n  {command}" in out for command in ctl._COMMANDS)


def test_a_worker_that_is_still_to_be_forked_has_nothing_in_hand():
    """As one that follows another which the same signal has ended."""

    async def stopped():
        pass

    workers = [
        SimpleNamespace(number=1, pid=pid, board=SimpleNamespace(in_hand=in_hand))
        for pid, in_hand in ((0, 0), (7, 0), (8, 1))
    ]
    master = SimpleNamespace(all_workers=lambda: workers, stop=lambda _: None, stopped=stopped)
    told = []
    asyncio.run(run(master, ["stop-now"], told.append))
    assert told == ["worker 1 (pid 7) has 0 requests in hand", "worker 1 (pid 8) has 1 request in hand"]
