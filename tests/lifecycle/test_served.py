"""Servers as their surroundings see them: pid files, the terminal, users, commands and touched files."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lifecycle.conftest import alive, children
from tests.support.fronts import poll
from tests.support.readable import copied

root = pytest.mark.skipif(os.getuid() != 0, reason="only root has privileges to drop")


def run(site, *arguments):
    """Run the command line to its end; return the exit code, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "appserver", *map(str, arguments)], cwd=site.directory,
        capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def status(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return {key: [int(each) for each in re.search(rf"^{key}:(.*)$", text, re.MULTILINE)[1].split()] for key in ("Uid", "Gid", "Groups")}  # fmt: skip


@pytest.fixture
def pidfile(site):
    return site.directory / "site.pid"


class TestPidFiles:
    """Who has it, and when."""

    @pytest.mark.parametrize("option", ["pidfile", "pidfile2", "safe-pidfile"])
    def test_it_is_the_masters_and_goes_with_it(self, site, pidfile, option):
        pidfile.write_text("4194304\n")  # of a server that died
        site.configure(**{option: pidfile}).start()
        assert int(pidfile.read_text()) == site.server.process.pid
        assert site.server.stop() == 0
        assert not pidfile.exists()

    def test_one_path_may_be_that_of_all_options(self, site, pidfile):
        """As in uWSGI, which writes it again."""
        site.configure(**dict.fromkeys(["pidfile", "pidfile2", "safe-pidfile"], pidfile)).start()
        assert int(pidfile.read_text()) == site.server.process.pid
        assert site.server.stop() == 0
        assert not pidfile.exists()

    def test_a_second_server_is_refused(self, site, pidfile):
        site.configure(pidfile=pidfile).start()
        code, _, said = run(site, "--ini", site.ini)
        assert code == 1
        assert f"another server (pid {site.server.process.pid}) holds it" in said
        assert site.told()
        assert int(pidfile.read_text()) == site.server.process.pid

    @pytest.mark.parametrize("option", ["pidfile", "pidfile2", "safe-pidfile"])
    def test_a_start_that_fails_leaves_that_of_another_server(self, site, pidfile, option):
        """Of uWSGI, which locks nothing."""
        pidfile.write_text(f"{os.getpid()}\n")
        code, _, said = run(site.configure(**{option: pidfile}), "--ini", site.ini)
        assert code == 1
        assert f"(pid {os.getpid()}), which runs; stop that one or choose another path" in said
        assert int(pidfile.read_text()) == os.getpid()

    def test_a_start_that_finds_no_address_leaves_that_of_a_dead_server(self, site, pidfile):
        pidfile.write_text("4194304\n")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            site.configure(http_socket=f"127.0.0.1:{taken.getsockname()[1]}", pidfile=pidfile)
            assert run(site, "--ini", site.ini)[0] == 1
        assert pidfile.read_text() == "4194304\n"

    @pytest.mark.parametrize("stage", ["as-user", "master-start"])
    def test_a_start_that_fails_leaves_no_control_socket(self, site, stage):
        control, told = site.directory / "control.sock", site.directory / "told"
        hook = f"hook-{stage}" if stage == "master-start" else f"exec-{stage}"
        command = f"test -S {control} && touch {told}; false"
        site.configure(f"{hook} = {'exec:' * (stage == 'master-start')}{command}", control_socket=control)
        assert run(site, "--ini", site.ini)[0] == 1
        assert told.exists()
        assert not control.exists()

    def test_a_killed_server_does_not_stand_in_the_way_of_the_next(self, site, pidfile):
        """Its pid file and its sockets' files are still there."""
        paths = [site.directory / "http.sock", site.directory / "control.sock"]
        options = {"pidfile": pidfile, "control-socket": paths[1]}
        site.configure(f"http-socket = {paths[0]}", **options).start()
        workers = children(site.server.process.pid)
        site.server.stop(signal.SIGKILL)
        poll(lambda: not any(alive(pid) for pid in workers), "workers outlive their master")
        assert all(path.exists() for path in (pidfile, *paths))
        site.start()
        assert int(pidfile.read_text()) == site.server.process.pid
        assert run(site, "ctl", "--ini", site.ini, "status")[0] == 0
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(paths[0]))


class TestDaemon:
    """A server in the background, and what the terminal hears of it."""

    @pytest.fixture
    def background(self, site, pidfile):
        """Return a function that starts a daemon and returns what the terminal hears; it is ended."""

        def background(option="-d"):
            return run(site, "--ini", site.ini, option, site.directory / "log", "--pidfile", pidfile)

        yield background
        with suppress(FileNotFoundError, ValueError, ProcessLookupError):  # it has ended by itself
            pid = int(pidfile.read_text())
            os.kill(pid, signal.SIGTERM)
            poll(lambda: not alive(pid), "the daemon goes on")

    @pytest.mark.parametrize("option", ["-d", "--daemonize", "--daemonize2"])
    def test_the_terminal_is_let_go_when_the_server_is_ready(self, site, pidfile, background, option):
        site.configure()
        assert background(option) == (0, "", "")
        log = site.directory / "log"
        poll(lambda: re.search(r"INFO ready$", log.read_text(), re.MULTILINE), "its log does not tell")
        pid = int(pidfile.read_text())
        assert os.getsid(pid) != os.getsid(0)
        assert len(children(pid)) == 2

    def test_an_application_that_cannot_be_loaded_is_told_in_the_terminal(self, site, pidfile, background):
        site.configure(module="no_such_module")
        code, _, said = background()
        assert code == 1
        assert said.startswith("appserver: ")
        assert "no_such_module" in said
        poll(lambda: not pidfile.exists(), "the server goes on")

    def test_an_address_that_is_taken_is_told_in_the_terminal(self, site, background):
        path = site.directory / "absent" / "x.sock"
        site.configure(**{"http-socket": path})
        code, _, said = background()
        assert code == 1
        assert f"cannot listen on {path}: No such file or directory" in said

    def test_its_log_is_opened_anew(self, site, pidfile, background):
        site.configure()
        assert background()[0] == 0
        log = site.directory / "log"
        log.rename(site.directory / "log.1")
        pid = int(pidfile.read_text())
        os.kill(pid, signal.SIGUSR1)
        poll(log.exists, "the log is not opened anew")
        os.kill(pid, signal.SIGTERM)
        poll(lambda: "stopped" in log.read_text(), "the new log has no end")

    @pytest.mark.parametrize("why", ["full", "touched"])
    def test_its_log_is_moved_away(self, site, pidfile, background, why):
        """With whatever stands in it: what the application prints, too."""
        old, touched, address = (site.directory / name for name in ("old", "touched", "http.sock"))
        touched.touch()
        site.app.write_text(
            "def application(environ, start_response):\n"
            "    print('x' * 3000, flush=True)\n"
            "    start_response('200 OK', [])\n"
            "    return [b'']\n"
        )
        site.configure(
            f"http-socket = {address}", "disable-logging", f"touch-logrotate = {touched}",
            log_maxsize=5000 if why == "full" else 0, log_backupname=old, logfile_chmod=604,
        )  # fmt: skip
        assert background()[0] == 0
        log = site.directory / "log"

        def ask():
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(address))
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                while sock.recv(65536):
                    pass

        ask()
        if why == "full":
            ask()
        else:
            os.utime(touched, ns=(1, 1))
        poll(old.exists, "the log is not moved away")
        poll(log.exists, "no new log is begun")
        poll(lambda: ask() or "xxx" in log.read_text(), "the worker writes to the old log")
        assert "ready" in old.read_text()
        assert log.stat().st_mode & 0o777 == 0o604
        os.kill(int(pidfile.read_text()), signal.SIGTERM)
        poll(lambda: "stopped" in log.read_text(), "the new log has no end")


@pytest.fixture(scope="module")
def readable():
    """Return the environment of a Python that every user can read, server and libraries included."""
    with tempfile.TemporaryDirectory() as directory:
        yield copied(directory)


@root
class TestPrivileges:
    """Who the processes are."""

    @pytest.fixture
    def tmp_path(self):
        """Return a directory that is not pytest's: each run of tests closes those to other users."""
        with tempfile.TemporaryDirectory() as directory:
            yield Path(directory)

    @pytest.fixture
    def reachable(self, site, readable, monkeypatch):
        """Let other users reach the application and Python."""
        monkeypatch.setattr(sys, "executable", sys._base_executable)
        for name, value in readable.items():
            monkeypatch.setenv(name, value)
        site.directory.chmod(0o777)
        site.app.chmod(0o644)

    @pytest.mark.parametrize("stays", ["true", "false"])
    def test_a_library_that_the_user_cannot_read_is_told(self, site, tmp_path, readable, monkeypatch, stays):
        """A Python in root's own home imports until it is another user's."""
        home = tmp_path / "private"
        shutil.copytree(readable["PYTHONHOME"], home, symlinks=True)
        monkeypatch.setattr(sys, "executable", sys._base_executable)
        monkeypatch.setenv("PYTHONPATH", readable["PYTHONPATH"])
        monkeypatch.setenv("PYTHONHOME", str(home))
        home.chmod(0o700)
        site.configure(uid="1234", gid=2345, master_as_root=stays)
        told = f"uid = 1234: user 1234 cannot read the server's library, {home}/"
        code, _, said = run(site, "--check", "--ini", site.ini)
        assert code == 2
        assert told in said
        code, _, said = run(site, "--ini", site.ini)
        assert code == 1
        assert told in said
        assert "Permission denied; install Python and appserver where that user can read them" in said
        assert "Traceback" not in said

    @pytest.mark.usefixtures("reachable")
    def test_every_process_is_the_user(self, site):
        nobody = pwd.getpwnam("nobody")
        private = site.directory / "private"  # root's alone: the socket is bound before
        private.mkdir(0o700)
        options = [f"socket = {private}/uwsgi.sock", f"pidfile = {private}/pid", "add-gid = 4321"]
        site.configure(*options, uid="nobody", gid=2345).start()
        assert (private / "uwsgi.sock").is_socket()
        pid = site.server.process.pid
        expected = {"Uid": [nobody.pw_uid] * 4, "Gid": [2345] * 4, "Groups": [2345, 4321]}
        for each in (pid, *children(pid)):
            assert status(each) == expected
        assert site.told()["uid"] == nobody.pw_uid
        assert site.imports.stat().st_uid == nobody.pw_uid
        assert "runs as root" not in site.log

    @pytest.mark.usefixtures("reachable")
    @pytest.mark.parametrize("command", ["--check", "doctor"])
    @pytest.mark.parametrize("stays", ["true", "false"])
    def test_who_only_looks_loads_the_application_as_the_user(self, site, command, stays):
        """Files that it makes would be root's, and the next start fail."""
        private = site.directory / "private"  # root's alone: what is there is looked for before
        private.mkdir(0o700)
        site.configure(f"socket = {private}/uwsgi.sock", uid="nobody", gid=2345, master_as_root=stays)
        code, _, said = run(site, command, "--ini", site.ini)
        assert (code, said) == (0, "")
        status = site.imports.stat()
        assert (status.st_uid, status.st_gid) == (pwd.getpwnam("nobody").pw_uid, 2345)

    @pytest.mark.usefixtures("reachable")
    def test_a_check_fails_with_what_the_user_may_not_do(self, site):
        private = site.directory / "private"
        private.mkdir(0o700)
        site.app.write_text(f"open({str(private / 'log')!r}, 'a')\n{site.app.read_text()}")
        site.configure(f"pidfile = {private}/absent/pid", uid="1234", gid=2345)
        code, _, said = run(site, "--check", "--ini", site.ini)
        told = f"cannot be loaded: PermissionError: [Errno 13] Permission denied: '{private}/log'"
        assert code == 2
        assert told in said
        assert f"there is no directory {private}/absent; make it" in said
        site.configure(uid="1234", gid=2345)
        code, _, said = run(site, "--ini", site.ini)
        assert code == 1
        assert told in said

    @pytest.mark.usefixtures("reachable")
    def test_the_master_may_stay_root(self, site):
        site.configure("master-as-root", uid="1234", gid=2345).start()
        assert status(site.server.process.pid)["Uid"] == [0] * 4
        worker = site.told()["pid"]
        assert status(worker) == {"Uid": [1234] * 4, "Gid": [2345] * 4, "Groups": [2345]}

    @pytest.mark.usefixtures("reachable")
    @pytest.mark.parametrize("stays, owner", [("true", 0), ("false", 1234)])
    def test_the_control_socket_is_of_the_masters_user(self, site, stays, owner):
        """Whoever may connect is heard."""
        path = site.directory / "control.sock"
        site.configure(master_as_root=stays, uid="1234", gid=2345, control_socket=path).start()
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (owner, 0o600)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            os.seteuid(owner)
            try:
                client.connect(str(path))
            finally:
                os.seteuid(0)
            client.sendall(b"status\n")
            assert b"".join(iter(lambda: client.recv(65536), b"")).endswith(b"\nok\n")

    @pytest.mark.usefixtures("reachable")
    def test_logto2_can_be_opened_anew_by_the_user(self, site):
        log, control = site.directory / "log", site.directory / "control.sock"
        site.configure(uid="1234", gid=2345, logto2=log, control_socket=control).launch()
        poll(lambda: log.exists() and "INFO ready\n" in log.read_text(), "it is not ready")
        before = log.stat()
        assert (before.st_uid, before.st_gid) == (1234, 2345)
        log.rename(site.directory / "log.1")
        log.touch(before.st_mode & 0o777)  # as logrotate's `create` has it
        os.chown(log, before.st_uid, before.st_gid)
        assert run(site, "ctl", "--ini", site.ini, "reopen-logs")[0] == 0
        assert run(site, "ctl", "--ini", site.ini, "status")[0] == 0
        assert "the control socket: status" in log.read_text()

    @pytest.mark.usefixtures("reachable")
    @pytest.mark.parametrize(
        "options, behind, owners",
        [
            (["uid = nobody", "gid = 2345"], "", (65534, 2345)),
            (["uid = nobody", "gid = 2345", "master-as-root"], "", (65534, 2345)),
            (["uid = nobody"], "", (65534, 0)),
            (["gid = 2345"], "", (0, 2345)),
            (["uid = nobody", "gid = 2345", "chown-socket = 1234"], "", (1234, 0)),
            (["uid = nobody", "gid = 2345"], ", chown-socket=:3456", (0, 3456)),
        ],
    )
    def test_unix_sockets_are_the_users_unless_chown_socket_says_whose(self, site, options, behind, owners):
        site.configure(f"socket = %duwsgi.sock{behind}", *options).start()
        made = (site.directory / "uwsgi.sock").stat()
        assert (made.st_uid, made.st_gid) == owners

    @pytest.mark.usefixtures("reachable")
    @pytest.mark.parametrize("master", [[], ["master-as-root"]])
    def test_unix_sockets_of_a_reload_are_the_users_too(self, site, master):
        options = {"uid": "nobody", "gid": 2345, "control-socket": "%dcontrol.sock"}
        site.configure(*master, **options).start()
        site.configure("socket = %duwsgi.sock", "stats = %dstats.sock", *master, **options)
        assert run(site, "ctl", "--ini", site.ini, "reload")[0] == 0
        for name in ("uwsgi.sock", "stats.sock"):
            made = (site.directory / name).stat()
            assert (made.st_uid, made.st_gid) == (65534, 2345)

    def test_root_is_warned_of(self, site):
        site.configure().start()
        assert "WARNING the application runs as root; set uid = USER" in site.log

    def test_a_user_without_group_is_told(self, site):
        site.configure(uid="4000000000")
        code, _, said = run(site, "--ini", site.ini)
        assert code == 1
        assert "user 4000000000 has no account and so no group; set gid, too" in said

    def test_files_get_the_permissions_that_umask_leaves(self, site):
        """Also those of the first hooks, and of an application that is only loaded to be checked."""
        early = {"hook_asap": "write:%dearly secret", "exec_asap": "echo secret > %dearlier"}
        site.configure(umask="077", **early)
        assert run(site, "--check", "--ini", site.ini)[0] == 0
        assert site.imports.stat().st_mode & 0o777 == 0o600
        site.imports.unlink()
        site.start()
        for file in (site.imports, site.directory / "early", site.directory / "earlier"):
            assert file.stat().st_mode & 0o777 == 0o600, file


class TestCommands:
    """appserver ctl with a real server."""

    @pytest.fixture
    def ctl(self, site):
        site.configure(processes=2, **{"control-socket": "%dcontrol.sock"})
        return lambda *words: run(site, "ctl", "--ini", site.ini, *words)

    def test_status(self, site, ctl):
        site.start()
        code, said, errors = ctl("status")
        assert (code, errors) == (0, "")
        assert said.startswith(f"master: pid {site.server.process.pid}, 2 workers are wanted\n")
        assert len(re.findall(r"^worker \d: pid \d+, generation 1, serving for", said, re.MULTILINE)) == 2

    @pytest.mark.parametrize("command", ["reload", "chain-reload"])
    def test_reload(self, site, ctl, command):
        site.start()
        code, said, errors = ctl(command)
        assert (code, errors) == (0, "")
        assert said.endswith("generation 2 has taken over\n")
        assert site.log.count("generation 2 serves") == 1

    def test_a_reload_tells_what_waits_for_a_restart(self, site, ctl):
        site.start()
        site.ini.write_text(f"{site.ini.read_text()}\numask = 027\n")
        code, said, _ = ctl("reload")
        told = "umask = 027: umask has changed, which takes effect at a restart"
        assert code == 0
        assert re.search(rf"^warning: .*site.ini:\d+: {told}$", said, re.MULTILINE)
        assert site.log.count(told) == 1
        assert re.search(rf"WARNING .*{told}", site.log)

    def test_progress_is_shown_as_it_happens(self, site, ctl):
        site.start()
        finish = site.hold()
        with subprocess.Popen(
            [sys.executable, "-m", "appserver", "ctl", "--ini", site.ini, "reload"], cwd=site.directory,
            stdout=subprocess.PIPE, text=True,
        ) as client:  # fmt: skip
            said = [client.stdout.readline() for _ in range(5)]  # the other worker, which is idle, has gone
            assert [line.split(" (pid")[0].rstrip() for line in said] == [
                "generation 2: loading app", "generation 2: loaded", "generation 2: worker 1",
                "generation 2: worker 2", said[4].split(" (pid")[0],
            ]  # fmt: skip
            assert said[4].startswith("generation 1: worker ")
            assert client.poll() is None
            site.release()
            assert finish()[0] == 200
            assert client.stdout.read().endswith("generation 2 has taken over\n")
            assert client.wait(20) == 0

    @pytest.mark.parametrize(
        "edit, told",
        [
            (lambda site: site.app.write_text("1 / 0\n"), "ZeroDivisionError"),
            (lambda site: site.app.write_text("nonsense("), "SyntaxError"),
            (lambda site: site.configure("nonsense = 1"), "nonsense"),
            (
                lambda site: site.app.write_text("def application(environ, start_response):\n    1 / 0\n"),
                "the warm-up request GET / was answered 500 Internal Server Error",
            ),
        ],
        ids=["import", "syntax", "ini", "warm-up"],
    )
    def test_a_reload_that_fails(self, site, ctl, edit, told):
        site.start()
        path = site.directory / "control.sock"
        edit(site)
        code, _, errors = run(site, "ctl", "--socket", path, "reload")
        assert code == 1
        assert told in errors
        site.wait_until(re.escape(told))  # who reads the log comes behind who asked
        assert site.told()["version"] == 1

    def test_workers(self, site, ctl):
        site.start()
        assert ctl("workers", "+1") == (0, "3 workers are wanted\n", "")
        site.pids(3)
        assert ctl("workers", "1") == (0, "1 worker is wanted\n", "")

    @pytest.mark.parametrize("command", ["stop", "drain"])
    def test_stop(self, site, ctl, command):
        site.start()
        assert ctl(command)[::2] == (0, "")
        assert site.server.process.wait(20) == 0
        assert not (site.directory / "control.sock").exists()
        code, _, errors = ctl("status")
        assert code == 1
        assert "there is no such socket; is the server running?" in errors

    def test_drain_lets_streams_end_by_themselves(self, site):
        path = site.directory / "control.sock"
        site.configure(gevent=10, stream_reload_mercy=0, worker_reload_mercy=0, control_socket=path).start()
        stream = site.hold("stream", "/events")
        command = [sys.executable, "-m", "appserver", "ctl", "--socket", path, "drain"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout.readline().endswith("has 1 request in hand\n")
            site.wait_until("the control socket: drain")
            site.release("stream")
            assert stream() == (200, b"event,end")
            assert client.wait(20) == 0

    def test_reopen_logs(self, site, ctl):
        log = site.directory / "log"
        site.configure(processes=2, logto=log, **{"control-socket": "%dcontrol.sock"}).launch()
        poll(
            lambda: log.exists() and re.search(r"INFO ready$", log.read_text(), re.MULTILINE),
            "it is not ready",
        )
        log.rename(site.directory / "log.1")
        assert ctl("reopen-logs")[0] == 0
        assert log.exists()

    def test_stacks(self, site, ctl):
        site.start()
        assert ctl("stacks") == (0, "the workers write their stacks to the log\n", "")


class TestTouched:
    """Files that ask for a reload."""

    @pytest.mark.parametrize("option", ["touch-reload", "touch-chain-reload"])
    def test_reload(self, site, option):
        file = site.directory / "reload"
        site.configure(**{option: file}).start()
        file.touch()
        site.wait_until("generation 2 has taken over")

    def test_logs(self, site):
        file, log = site.directory / "touched", site.directory / "log"
        site.configure(**{"touch-logreopen": file, "logto": log}).launch()
        poll(
            lambda: log.exists() and re.search(r"INFO ready$", log.read_text(), re.MULTILINE),
            "it is not ready",
        )
        log.rename(site.directory / "log.1")
        file.touch()
        poll(log.exists, "the log is not opened anew")


@pytest.mark.skipif(
    importlib.util.find_spec("watchfiles") is None, reason="the extra autoreload is not installed"
)
class TestAutoreload:
    """Files of imported modules, whose change asks for a reload."""

    @pytest.fixture
    def watched(self, site):
        """Return a server whose version is a module's, and a function that writes that as editors do."""

        def write(version, text="VERSION = {}\n"):
            new = site.directory / "helper.new"
            new.write_text(text.format(version))
            os.utime(new, ns=(10**18 + version, 10**18 + version))
            new.rename(site.directory / "helper.py")

        write(1)
        site.app.write_text(site.app.read_text().replace("VERSION = 1\n", "from helper import VERSION\n"))
        site.configure(**{"py-autoreload": 1, "control-socket": "%dcontrol.sock"})
        return site, write

    def served(self, site, version):
        """Wait until a version is served, and no reload is under way."""
        poll(lambda: site.told()["version"] == version, f"version {version} is not served:\n{site.log}")

    @pytest.mark.parametrize("lazy", ["true", "false"])
    def test_a_change_reloads(self, watched, lazy):
        """Version 2 is of the same second and size as version 1, so cached bytecode would pass for it."""
        site, write = watched
        site.configure(lazy_apps=lazy, **{"py-autoreload": 1}).launch(cached="yes")
        site.server.start()
        for version in (2, 3):
            write(version)
            self.served(site, version)

    @pytest.mark.parametrize("lazy", ["true", "false"])
    def test_a_change_while_a_generation_loads(self, watched, lazy):
        site, write = watched
        wait = f"""
open({str(site.directory / "loading")!r}, "w").close()
while not os.path.exists({str(site.directory / "gate")!r}):
    time.sleep(0.005)
"""
        site.app.write_text(site.app.read_text() + wait)
        site.configure(lazy_apps=lazy, **{"py-autoreload": 1}).launch()
        poll((site.directory / "loading").exists, "it does not load")
        write(2)  # the first version has been imported
        (site.directory / "gate").touch()
        site.server.start()
        self.served(site, 2)

    def test_a_change_while_a_generation_loads_that_fails(self, watched):
        site, write = watched
        site.start()
        wait = f"""
import os, time
open({str(site.directory / "loading")!r}, "w").close()
while not os.path.exists({str(site.directory / "gate")!r}):
    time.sleep(0.005)
1 / 0
"""
        write(2, wait)
        poll((site.directory / "loading").exists, "it does not load")
        write(3)
        (site.directory / "gate").touch()
        self.served(site, 3)

    def test_a_module_that_never_could_be_loaded(self, watched):
        """Nothing of it is in the generation that serves."""
        site, write = watched
        site.start()
        broken = site.directory / "broken.py"
        broken.write_text("nonsense(")
        write(2, "import broken\nVERSION = {}\n")
        site.wait_until("the reload failed, generation 1 keeps serving: .*SyntaxError")
        assert run(site, "ctl", "--ini", site.ini, "status")[0] == 0
        assert site.count("has changed: reload") == 1  # it is not tried again and again
        broken.write_text("")
        self.served(site, 2)
