"""Where the lines of a log go: no destination blocks or fails the server."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from appserver.log import collector as collectors
from appserver.log import sinks
from appserver.log.collector import ZeromqSink
from appserver.log.sinks import FileSink, Sinks, StderrSink

from .support.fronts import GUARD
from .support.logs import Lines


def at_once(lock):
    """Return a function that locks as *lock* does, but does not wait."""
    return lambda fd, how: lock(fd, how if how == fcntl.LOCK_UN else how | fcntl.LOCK_NB)


@pytest.fixture
def room():
    """Return a function that has files end at so many bytes, as on a disk without room for more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_that_may_wait_are_written_with_the_next_one(tmp_path):
    path = tmp_path / "log"
    sink = FileSink(str(path))
    sink.write("one", later=True)
    sink.write("two", later=True)
    assert not path.read_text()
    sink.write("three")
    assert path.read_text() == "one\ntwo\nthree\n"
    sink.write("four", later=True)
    sink.flush()
    assert path.read_text().endswith("three\nfour\n")
    sink.close()


def test_lines_that_wait_go_into_the_file_that_was_open(tmp_path):
    path, moved = tmp_path / "log", tmp_path / "moved"
    sink = FileSink(str(path))
    sink.write("one", later=True)
    path.rename(moved)
    sink.reopen()
    sink.write("two", later=True)
    sink.close()
    assert moved.read_text() == "one\n"
    assert path.read_text() == "two\n"


class TestStderr:
    """Stderr may go away."""

    def test_lines_are_written(self, capsys):
        StderrSink().write("a line")
        assert capsys.readouterr().err == "a line\n"

    @pytest.mark.parametrize("mode", ["absent", "closed", "broken", "full"])
    def test_nothing_is_raised(self, monkeypatch, mode):
        if mode == "absent":
            stream = None
        elif mode == "full":
            stream = open("/dev/full", "w")  # noqa: SIM115  (closed below)
        else:
            read, write = os.pipe()
            os.close(read)
            stream = os.fdopen(write, "w")
            if mode == "closed":
                stream.close()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stderr", stream)
            sink = StderrSink()
            sink.write("a line")
            sink.write("another")
            sink.close()
        if mode == "full":
            with pytest.raises(OSError, match="No space left"):
                stream.close()  # what could not be written is still there
        elif mode == "broken":
            stream.close()


class TestFile:
    """Files."""

    def test_lines_that_the_disk_has_no_room_for_are_told_of(self, tmp_path, room):
        path = tmp_path / "log"
        sink = FileSink(str(path))
        sink.write("first")
        room(10)
        for line in ("second", "third"):
            sink.write(line)
        assert path.read_text() == "first\nseco"
        room(50)
        sink.write("fourth")  # there is none for what is to be told, either
        room(1000)
        sink.write("fifth")
        told = "3 lines of the log were lost: File too large\n"
        assert path.read_text() == f"first\nseco\n2{told[1:39]}\n{told}fifth\n"
        assert sink.close() == 0

    def test_a_terminal_that_takes_nothing_now_holds_nobody_up(self):
        """It need not block, if somebody else has it so."""
        master, slave = os.openpty()
        sink = FileSink(os.ttyname(slave))
        os.set_blocking(sink._file.fileno(), False)
        for _ in range(2000):
            sink.write("x" * 100)
        assert 0 < sink.close() < 2000
        os.close(slave)
        os.close(master)

    def test_a_file_that_another_thread_closes_just_then_raises_nothing(self, tmp_path):
        sink = FileSink(str(tmp_path / "log"))

        class File:
            closed = False

            def fileno(self):
                raise ValueError("I/O operation on closed file")

            def close(self):
                pass

        sink._file.close()
        sink._file = File()
        sink.write("a line")
        assert sink.close() == 1

    def test_those_that_are_lost_at_the_end_are_counted(self, tmp_path, room):
        sink = FileSink(str(tmp_path / "log"))
        room(0)
        for line in ("a", "b"):
            sink.write(line, later=True)
        assert sink.close() == 2
        assert sink.close() == 0

    @pytest.mark.parametrize("backup", ["", "old"])
    def test_a_file_that_is_full_is_moved_away_once(self, tmp_path, monkeypatch, backup):
        """Two processes have it; the second one finds what the first has begun."""
        monkeypatch.setattr(sinks, "time", lambda: 1700000000.5)
        path, old = tmp_path / "log", tmp_path / (backup or "log.1700000000")
        ours, theirs = (FileSink(str(path), 0o600, 20, backup and str(old)) for _ in range(2))
        for _ in range(2):
            ours.write("123456789")
        theirs.write("a")
        ours.write("b")
        assert (old.read_text(), path.read_text()) == ("123456789\n" * 2, "a\nb\n")
        assert [each.stat().st_mode & 0o777 for each in (path, old)] == [0o600, 0o600]
        for each in (ours, theirs):
            each.close()

    def test_a_file_that_is_full_within_the_same_second_destroys_none(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sinks, "time", lambda: 1700000000.5)
        path = tmp_path / "log"
        ours, theirs = (FileSink(str(path), most=4) for _ in range(2))
        for line in ("one.", "two.", "three"):
            ours.write(line)
        theirs.write("four")
        theirs.rotate()
        ours.rotate()
        found = {each.name: each.read_text() for each in tmp_path.iterdir()}
        assert found == {
            "log.1700000000": "one.\n", "log.1700000000.1": "two.\n",
            "log.1700000000.2": "three\nfour\n", "log": "",
        }  # fmt: skip
        for each in (ours, theirs):
            each.close()

    def test_processes_that_share_the_descriptor_move_the_file_away_one_by_one(self, tmp_path, monkeypatch):
        """As workers do, whose log was opened before they were forked."""
        path, old = tmp_path / "log", tmp_path / "old"
        sink = FileSink(str(path), most=1, backup=str(old))
        sink.write("before")
        (told, tell), (go_on, let) = os.pipe(), os.pipe()
        pid = os.fork()
        if not pid:
            code = 1
            try:
                os.close(let)  # the parent's end is the end of the wait
                rename = os.rename
                os.rename = lambda *names: (os.write(tell, b"."), os.read(go_on, 1), rename(*names))
                sink.write("by the child")
                code = 0
            finally:
                os._exit(code)
        os.close(tell)
        assert os.read(told, 1) == b"."
        with monkeypatch.context() as patched:
            for name in ("flock", "lockf"):
                patched.setattr(fcntl, name, at_once(getattr(fcntl, name)))
            with pytest.raises(BlockingIOError):
                sinks.move_away(str(path), sink._file.fileno(), 1, str(old))
        for each in (told, go_on, let):
            os.close(each)
        assert os.waitpid(pid, 0)[1] == 0
        sink.reopen()
        sink.close()
        assert (old.read_text(), path.read_text()) == ("before\n", "by the child\n")

    def test_lines_that_come_while_the_file_is_moved_away_are_written(self, tmp_path, monkeypatch):
        path, old = tmp_path / "log", tmp_path / "old"
        sink = FileSink(str(path), most=7, backup=str(old))
        sink.write("before")
        rename = os.rename
        monkeypatch.setattr(
            os, "rename", lambda *names: (sink.write("meanwhile", later=True), rename(*names))
        )
        writer = threading.Thread(target=sink.write, args=("after",), daemon=True)
        writer.start()
        writer.join(GUARD)
        assert not writer.is_alive(), "it waits for itself"
        sink.close()
        assert (old.read_text(), path.read_text()) == ("before\n", "after\nmeanwhile\n")

    @pytest.mark.parametrize("many", [1, 2])
    def test_what_is_collected_while_the_file_is_moved_away_may_log(self, tmp_path, monkeypatch, many):
        """A ``__del__`` that logs, in the thread that has the locks; its line is one that fills the file."""
        sink = Sinks([FileSink(str(tmp_path / f"log{number}"), most=7) for number in range(many)])
        sink.write("before")
        move_away = sinks.move_away

        def collecting(*arguments):
            monkeypatch.setattr(sinks, "move_away", move_away)
            sink.write("by __del__")
            move_away(*arguments)

        monkeypatch.setattr(sinks, "move_away", collecting)
        writer = threading.Thread(target=sink.write, args=("after",), daemon=True)
        writer.start()
        writer.join(GUARD)
        assert not writer.is_alive(), "it waits for itself"
        sink.close()
        for number in range(many):
            found = "".join(each.read_text() for each in tmp_path.glob(f"log{number}*"))
            assert sorted(found.split("\n")) == ["", "after", "before", "by __del__"]

    def test_who_moves_the_file_away_may_wait_for_who_writes(self, tmp_path, monkeypatch):
        """One thread has the file, and in a ``__del__`` waits for the lock of a handler, which another has."""
        sink = FileSink(str(tmp_path / "log"), most=7)
        sink.write("before")
        move_away, moving, written = sinks.move_away, threading.Event(), threading.Event()

        def waiting(*arguments):
            moving.set()
            written.wait(GUARD)
            move_away(*arguments)

        monkeypatch.setattr(sinks, "move_away", waiting)
        mover = threading.Thread(target=sink.write, args=("after",))
        mover.start()
        assert moving.wait(GUARD)
        for ask in (lambda: sink.write("meanwhile"), sink.reopen, sink.rotate):
            other = threading.Thread(target=ask, daemon=True)
            other.start()
            other.join(GUARD)
            assert not other.is_alive(), "each waits for the other"
        written.set()
        mover.join()
        sink.write("later")
        sink.close()
        found = "".join(each.read_text() for each in tmp_path.iterdir())
        assert sorted(found.split("\n")) == ["", "after", "before", "later", "meanwhile"]

    def test_a_child_of_who_writes_writes_its_own(self, tmp_path):
        path = tmp_path / "log"
        sink = FileSink(str(path), most=1, backup=str(tmp_path / "old"))
        assert sink._writing.acquire(), "as where another thread writes,"
        assert FileSink._moving.acquire(), "or moves a file away"
        sink.write("by the parent")
        pid = os.fork()
        if not pid:
            try:
                sink.write("by the child")
                sink.rotate()
            finally:
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        FileSink._moving.release()
        sink._writing.release()
        sink.close()
        found = [(tmp_path / name).read_text() for name in ("old", "log")]
        assert sorted(found) == ["by the child\n", "by the parent\n"]

    def test_a_file_is_nobody_elses_from_the_moment_it_is_there(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "fchmod", lambda fd, mode: None)  # which comes a moment later
        path = tmp_path / "log"
        sink = FileSink(str(path), 0o600)
        assert path.stat().st_mode & 0o777 == 0o600
        path.unlink()
        sink.reopen()
        assert path.stat().st_mode & 0o777 == 0o600
        sink.close()

    def test_a_file_is_moved_away_when_asked(self, tmp_path):
        path, old = tmp_path / "log", tmp_path / "old"
        sink = FileSink(str(path), 0o640, backup=str(old))
        other = FileSink(str(path))  # as another process has it
        sink.rotate()
        assert not old.exists(), "there is nothing in it"
        sink.write("before")
        sink.rotate()
        other.reopen()
        sink.write("after")
        other.write("after")
        assert (old.read_text(), path.read_text()) == ("before\n", "after\nafter\n")
        assert path.stat().st_mode & 0o777 == 0o640
        for each in (sink, other):
            each.close()
        sink.rotate()

    @pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
    def test_a_new_file_is_given_away_and_one_that_is_there_is_not(self, tmp_path):
        path, old = tmp_path / "log", tmp_path / "old"
        path.touch()
        sink = FileSink(str(path), 0o640, backup=str(old), owner=(1234, 2345))
        assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())
        for begin in (sink.rotate, lambda: path.unlink() or sink.reopen()):
            sink.write("a line")
            begin()
            status = path.stat()
            assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1234, 2345, 0o640)
        sink.close()
        assert old.stat().st_uid == os.getuid()

    def test_who_gives_nothing_away_logs_all_the_same(self, tmp_path, monkeypatch):
        def refuse(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "fchown", refuse)
        sink = FileSink(str(tmp_path / "log"), owner=(1234, 2345))
        sink.write("a line")
        sink.close()
        assert (tmp_path / "log").read_text() == "a line\n"

    def test_a_directory_without_permission(self, tmp_path, monkeypatch):
        """The log goes on in the old file, which says so once, and again when somebody asks."""

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        path = tmp_path / "log"
        told = f"the log goes on in the old file: {path} cannot be moved away: Permission denied\n"
        sink = FileSink(str(path), most=5)
        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", refuse)
            for line in ("one", "two", "three", "four"):
                sink.write(line)
            sink.rotate()
        assert path.read_text() == f"one\ntwo\n{told}three\nfour\n{told}"
        sink.write("five")
        sink.close()
        assert path.read_text() == "five\n"

    def test_a_new_file_that_cannot_be_opened_is_told_once(self, tmp_path, monkeypatch):
        """As of a worker whose master, which is root, has begun one."""

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        path, old = tmp_path / "log", tmp_path / "old"
        sink = FileSink(str(path), most=5, backup=str(old))
        with monkeypatch.context() as patched:
            patched.setattr(sinks, "open_file", refuse)
            for line in ("before", "one", "two"):
                sink.write(line)
        told = f"the log goes on in the old file: {path} cannot be opened: Permission denied\n"
        assert old.read_text() == f"before\n{told}one\ntwo\n"
        sink.write("three")
        sink.close()
        assert path.read_text() == "three\n"

    def test_a_full_disk_raises_nothing_where_there_can_be_no_new_file(self, tmp_path, monkeypatch):
        link = tmp_path / "log"
        link.symlink_to("/dev/full")
        sink = FileSink(str(link))
        monkeypatch.setattr(sinks, "open_file", lambda *_: os.open(tmp_path, os.O_WRONLY))
        sink.reopen()
        sink.rotate()
        sink.close()

    def test_lines_are_appended_at_once(self, tmp_path):
        path = tmp_path / "log"
        path.write_text("before\n")
        sink = FileSink(str(path))
        sink.write("caf\xe9 \udce9")
        assert path.read_text() == "before\ncaf\xe9 \\udce9\n"
        sink.close()
        sink.write("too late")
        sink.reopen()
        sink.close()

    def test_a_full_disk_raises_nothing(self):
        sink = FileSink("/dev/full")
        sink.write("a line")
        sink.close()

    def test_a_file_that_was_moved_away_is_begun_anew(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        sink = FileSink("log")
        monkeypatch.chdir("/")
        sink.write("old")
        (tmp_path / "log").rename(tmp_path / "log.1")
        sink.write("old still")
        sink.reopen()
        sink.write("caf\xe9 \udce9")
        assert (tmp_path / "log.1").read_text() == "old\nold still\n"
        assert (tmp_path / "log").read_text() == "caf\xe9 \\udce9\n"
        assert not os.get_inheritable(sink._file.fileno())
        sink.close()

    def test_a_file_that_cannot_be_begun_anew_is_kept_and_says_so(self, tmp_path):
        directory = tmp_path / "logs"
        directory.mkdir()
        sink = FileSink(f"{directory}/log")
        directory.rename(tmp_path / "gone")
        sink.reopen()
        sink.write("a line")
        sink.close()
        assert (tmp_path / "gone" / "log").read_text() == (
            f"the log goes on in the old file: {directory}/log cannot be opened: No such file or directory\n"
            "a line\n"
        )


@pytest.fixture
def link(tmp_path, monkeypatch):
    """Return a function that makes a link as root is to see it, root's own or another user's."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def link(name, target, *, foreign):
        path = tmp_path / name
        path.symlink_to(target)
        if foreign and os.getuid() == 0:
            os.chown(path, 1234, 1234, follow_symlinks=False)
        return path

    return link


class TestLinks:
    """Links in the place of a log file: root follows its own."""

    TOLD = "a link of user {} is there, which root does not follow; name the file itself"
    STRANGER = 1234 if os.getuid() == 0 else os.getuid()
    root = pytest.mark.skipif(os.getuid() != 0, reason="only root has links of root's")

    @pytest.mark.parametrize("there", [False, True])
    def test_another_users_is_refused(self, tmp_path, link, there):
        precious = tmp_path / "precious"
        if there:
            precious.touch(0o600)
        path = link("log", precious, foreign=True)
        with pytest.raises(OSError, match=r"^\[Errno 40\] a link of user") as caught:
            FileSink(str(path), 0o666)
        assert (caught.value.strerror, caught.value.filename) == (self.TOLD.format(self.STRANGER), str(path))
        assert precious.exists() == there
        if there:
            assert precious.stat().st_mode & 0o777 == 0o600

    def test_the_old_file_is_kept_where_one_is_put_later(self, tmp_path, link):
        precious = tmp_path / "precious"
        precious.touch()
        sink = FileSink(f"{tmp_path}/log")
        (tmp_path / "log").rename(tmp_path / "log.1")
        path = link("log", precious, foreign=True)
        sink.reopen()
        sink.write("a line")
        sink.close()
        told = f"{path} cannot be opened: {self.TOLD.format(self.STRANGER)}"
        assert (tmp_path / "log.1").read_text() == f"the log goes on in the old file: {told}\na line\n"
        assert not precious.read_text()

    def test_whoever_is_not_root_follows_all(self, tmp_path, link, monkeypatch):
        path = link("log", tmp_path / "file", foreign=True)
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
        sink = FileSink(str(path))
        sink.write("a line")
        sink.close()
        assert (tmp_path / "file").read_text() == "a line\n"

    @root
    @pytest.mark.parametrize("relative", [False, True])
    def test_roots_own_are_followed(self, tmp_path, link, monkeypatch, relative):
        (tmp_path / "far").mkdir()
        path = link("log", "far/second", foreign=False)
        link("far/second", "../third", foreign=False)
        link("third", tmp_path / "file", foreign=False)
        monkeypatch.chdir(tmp_path)
        sink = FileSink("log" if relative else str(path))
        sink.write("a line")
        sink.close()
        assert (tmp_path / "file").read_text() == "a line\n"

    @root
    def test_another_users_behind_one_of_roots_is_refused(self, tmp_path, link):
        precious = tmp_path / "precious"
        link("second", precious, foreign=True)
        with pytest.raises(OSError, match="a link of user"):
            FileSink(str(link("log", "second", foreign=False)))
        assert not precious.exists()

    @root
    def test_a_circle_has_an_end(self, link):
        link("other", "log", foreign=False)
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            FileSink(str(link("log", "other", foreign=False)))

    @root
    def test_what_was_looked_at_is_what_is_followed(self, tmp_path, link, monkeypatch):
        """Who may write in the directory puts another link there once root's has been found."""
        path = link("log", "file", foreign=False)
        fstat = os.fstat

        def swap(fd):
            if path.is_symlink():
                path.unlink()
                link("log", "precious", foreign=True)
            return fstat(fd)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fstat", swap)
            sink = FileSink(str(path))
        sink.write("a line")
        sink.close()
        assert (tmp_path / "file").read_text() == "a line\n"
        assert not (tmp_path / "precious").exists()

    @pytest.mark.usefixtures("link")
    @pytest.mark.parametrize("path", ["/proc/self/fd/{}", "/dev/fd/{}", "/proc/thread-self/fd/{}"])
    def test_descriptors_are_files_too(self, path):
        read, write = os.pipe()
        sink = FileSink(path.format(write))
        sink.write("a line")
        sink.close()
        os.close(write)
        with open(read) as file:
            assert file.read() == "a line\n"

    @pytest.mark.usefixtures("link")
    def test_stdout_is(self, capfd):
        sink = FileSink("/dev/stdout")
        sink.write("a line")
        sink.close()
        assert capfd.readouterr().out == "a line\n"


FORKED = """
import os, sys
from appserver.log.collector import ZeromqSink
sink = ZeromqSink(sys.argv[1])
sink.write("parent")
for name in ("child", "child of child"):
    if pid := os.fork():
        _, status = os.waitpid(pid, 0)
        break
    sink.forked()
    sink.write(name)
    status = 0
else:
    if not (pid := os.fork()):
        sink.close()  # the parent's, as nothing was begun anew
        sys.exit()
    _, status = os.waitpid(pid, 0)
sink.write(f"end of {len(sink._inherited)}")
sink.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


class TestZeromq:
    """Collectors."""

    def test_one_message_a_line(self, collector):
        where, listen = collector
        sock = listen()
        sink = ZeromqSink(where)
        sink.write("one")
        sink.write("caf\xe9 \udce9")
        assert [sock.recv(), sock.recv()] == [b"one", "caf\xe9 \\udce9".encode()]
        sink.close()
        sink.close()

    def test_a_collector_that_is_away_blocks_nothing_and_is_told_what_it_missed(self, collector):
        where, listen = collector
        sink = ZeromqSink(where, held=4)
        for number in range(10):  # more than are held: a blocking send would never come back
            sink.write(f"line {number}")
        sock = listen()
        assert [sock.recv() for _ in range(4)] == [b"line 0", b"line 1", b"line 2", b"line 3"]
        missed = 6
        sink.write("it is back")
        while not sock.poll(1000):  # the sender may not know yet that there is room again
            missed += 1
            sink.write("it is back")
        assert sock.recv() == b"%d lines of the log were dropped: no collector took them" % missed
        assert sock.recv() == b"it is back"
        sink.close()

    def test_lines_that_wait_are_handed_over_at_the_end(self, collector):
        where, listen = collector
        sock = listen()
        sink = ZeromqSink(where)
        for number in range(1000):
            sink.write(str(number))
        sink.close()
        assert [int(sock.recv()) for _ in range(1000)] == list(range(1000))

    def test_what_is_collected_while_a_line_is_sent_may_log(self, collector, monkeypatch):
        """A ``__del__`` that logs, in the thread that has the socket."""
        where, listen = collector
        sock = listen()
        sink = ZeromqSink(where)
        send = sink._socket.send

        def collecting(*arguments):
            monkeypatch.setattr(sink, "_socket", real)
            sink.write("by __del__")
            send(*arguments)

        real = sink._socket
        monkeypatch.setattr(sink, "_socket", SimpleNamespace(send=collecting))
        writer = threading.Thread(target=sink.write, args=("a line",), daemon=True)
        writer.start()
        writer.join(GUARD)
        assert not writer.is_alive(), "it waits for itself"
        assert [sock.recv(), sock.recv()] == [b"a line", b"by __del__"]
        sink.close()

    def test_without_a_collector_the_end_comes_all_the_same(self, collector, monkeypatch):
        monkeypatch.setattr(collectors, "_LINGER", 1)
        sink = ZeromqSink(collector[0])
        sink.write("nobody reads this")
        sink.close()

    def test_nothing_is_begun_anew_in_the_same_process(self, collector):
        where, listen = collector
        sink = ZeromqSink(where)
        sink.write("held")
        sink.reopen()
        sink.forked()
        sink.write("and this")
        sock = listen()
        assert [sock.recv(), sock.recv()] == [b"held", b"and this"]
        sink.close()
        sink.forked()

    def test_forked_processes_have_their_own_connections_and_leave_the_parents_alone(self, collector):
        where, listen = collector
        sock = listen()
        done = subprocess.run(
            [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", FORKED, where],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (done.returncode, done.stderr) == (0, "")
        lines = sorted(sock.recv().decode() for _ in range(6))
        assert lines == ["child", "child of child", "end of 0", "end of 1", "end of 2", "parent"]
        assert not sock.poll(0)

    def test_a_bad_endpoint_is_an_os_error(self):
        with pytest.raises(OSError, match=r"^cannot connect to tcp://127\.0\.0\.1:port: "):
            ZeromqSink("tcp://127.0.0.1:port")


def test_several_destinations_get_every_line():
    both = Lines(), Lines()
    sinks = Sinks(list(both))
    sinks.write("a line")
    sinks.reopen()
    sinks.forked()
    sinks.close()
    assert [(each.lines, each.calls) for each in both] == 2 * [(["a line"], ["reopen", "forked", "close"])]
