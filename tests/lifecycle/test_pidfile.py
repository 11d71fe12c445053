"""Pid files: who may have one, what readers see, and how it goes away."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time

import pytest

from appserver.lifecycle import pidfile
from appserver.lifecycle.error import StartError
from appserver.lifecycle.pidfile import PidFile, PidOptions, pid_files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "site.pid"


@pytest.fixture
def held(path, request):
    def held(where=path):
        file = PidFile("pidfile", str(where))
        request.addfinalizer(file.close)
        return file

    return held


def refused(path):
    with pytest.raises(StartError) as caught:
        PidFile("pidfile", str(path)).write()
    assert (caught.value.option, caught.value.value) == ("pidfile", str(path))
    return str(caught.value)


def test_options_that_name_one_path_have_one_file(tmp_path, path, request):
    (tmp_path / "link").symlink_to(tmp_path)
    named = f"{tmp_path}/./site.pid", str(tmp_path / "link" / "site.pid"), str(tmp_path / "other.pid")
    files = pid_files(PidOptions(*named))
    for file in files.values():
        request.addfinalizer(file.close)
        file.write()
    assert path.read_text() == (tmp_path / "other.pid").read_text() == f"{os.getpid()}\n"
    for file in files.values():
        file.remove()
    assert sorted(os.listdir(tmp_path)) == ["link"]


def test_a_path_that_cannot_be_had_gives_up_those_before(tmp_path, path, held):
    path.touch()
    with pytest.raises(StartError, match=f"cannot use the pid file {tmp_path}: "):
        pid_files(PidOptions(str(path), str(tmp_path)))
    held().write()


def test_the_pid_is_written_and_removed(path, held):
    file = held()
    assert not path.exists()
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()
    file.remove()
    assert not path.exists()


def test_everybody_may_read_it_whatever_the_umask_is(path, held):
    before = os.umask(0o077)
    try:
        held().write()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("text", ["4194304123\n", "0", "", f"{os.getpid()}"], ids=["far", "none", "empty", "own"])  # fmt: skip
def test_what_a_dead_server_left_is_taken_over(path, held, text):
    path.write_text(text)
    file = held()
    assert path.read_text() == text
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()
    assert not path.exists()


@pytest.mark.parametrize("text", ["4194304123\n", ""])
def test_a_start_that_fails_leaves_what_it_found(path, held, text):
    path.write_text(text)
    held().remove()
    assert path.read_text() == text
    held().write()  # the lock is free


@pytest.fixture
def other():
    """Return a process that needs no lock to live."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_the_file_of_a_server_that_locks_nothing_is_left_alone(path, other):
    path.write_text(f"{other.pid}\n")
    assert refused(path) == (
        f"cannot use the pid file {path}: it is that of sleep (pid {other.pid}), which runs; stop that one or choose another path"
    )
    assert path.read_text() == f"{other.pid}\n"


def test_a_number_that_another_process_has_got_since_is_nobodys(path, held, other):
    path.write_text(f"{other.pid}\n")
    os.utime(path, (1, time.time() - 100))
    held().write()
    assert path.read_text() == f"{os.getpid()}\n"


def test_one_that_nobody_has_waited_for_is_dead(path, held, other):
    path.write_text(f"{other.pid}\n")
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    held().write()


def test_a_server_that_cannot_be_looked_at_does_not_stand_in_the_way(path, held, other, monkeypatch):
    path.write_text(f"{other.pid}\n")

    def hidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pidfile, "open", hidden, raising=False)
    held().write()


def test_a_second_server_is_refused_with_the_pid_of_the_first(path, held):
    held().write()
    before = path.read_text()
    assert refused(path) == (
        f"cannot use the pid file {path}: another server (pid {os.getpid()}) holds it; stop that one or choose another path"
    )
    assert path.read_text() == before


def test_a_server_that_has_not_written_yet_is_respected(path, held):
    path.touch()
    held()
    assert (
        refused(path)
        == f"cannot use the pid file {path}: another server holds it; stop that one or choose another path"
    )


def test_a_server_that_comes_first_while_another_starts_keeps_the_file(path, held):
    late = held()
    held().write()
    with pytest.raises(StartError, match="another server"):
        late.write()
    late.remove()
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_file_that_others_have_put_there_stays(path, held):
    file = held()
    file.write()
    path.rename(path.with_suffix(".old"))
    path.write_text("7\n")
    file.remove()
    assert path.read_text() == "7\n"


def test_a_file_that_was_removed_while_it_was_opened_is_made_anew(path, held, monkeypatch):
    first = held()
    first.write()
    flock = pidfile.flock

    def removed_meanwhile(fd, how):
        first.remove()
        flock(fd, how)

    monkeypatch.setattr(pidfile, "flock", removed_meanwhile)
    file = held()
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"


def test_the_path_survives_a_change_of_directory(tmp_path, path, held, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = held("site.pid")
    monkeypatch.chdir("/")
    file.write()
    assert path.exists()
    file.remove()
    assert not path.exists()


def test_links_are_not_followed(tmp_path, path):
    target = tmp_path / "precious"
    target.write_text("1")
    path.symlink_to(target)
    assert refused(path) == f"cannot use the pid file {path}: it is a symbolic link; name the file itself"
    assert target.read_text() == "1"


@pytest.mark.parametrize("text", ["[appserver]\n", "12 13", "9" * 33])
def test_a_file_of_something_else_is_kept(path, text):
    path.write_text(text)
    assert refused(path) == (
        f"cannot use the pid file {path}: the file there holds something else than a pid; choose another path"
    )
    assert path.read_text() == text


def test_a_fifo_is_refused_without_waiting(path):
    os.mkfifo(path)
    assert refused(path) == f"cannot use the pid file {path}: it is no regular file; choose another path"


def test_a_missing_directory_is_told(tmp_path):
    path = tmp_path / "absent" / "site.pid"
    assert refused(path) == f"cannot use the pid file {path}: the directory must exist"


def test_a_directory_is_told(tmp_path):
    assert refused(tmp_path) == f"cannot use the pid file {tmp_path}: Is a directory"


def test_a_full_disk_is_told(path, held, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    file = held()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StartError, match="No space left on device"):
        file.write()


def test_a_directory_that_became_unwritable_leaves_an_empty_file(path, held, monkeypatch):
    def denied(_):
        raise PermissionError(13, "Permission denied")

    file = held()
    file.write()
    monkeypatch.setattr(os, "unlink", denied)
    file.remove()
    assert path.read_text() == ""
    held().write()


SERVER = """
import os, sys
from appserver.lifecycle.pidfile import PidFile
file = PidFile("pidfile", sys.argv[1])
file.write()
read, write = os.pipe()
if not (worker := os.fork()):
    file.close()
    file.remove()
    print("forgotten", os.getpid(), flush=True)
    os.close(write)
    os.read(read, 1)
    os._exit(0)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


def test_workers_that_outlive_a_killed_master_do_not_hold_the_lock(path, held):
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with server:
        server.stdout.readline()
        assert f"(pid {server.pid})" in refused(path)  # the child's closing did not unlock it
        server.stdin.close()
        server.wait()
        held().write()
    assert path.read_text() == f"{os.getpid()}\n"
