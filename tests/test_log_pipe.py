"""Readers of the log that are slow, stop, and go."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading

import pytest

from appserver.log import pipe as pipes
from appserver.log.pipe import Pipe, pipe_at
from appserver.log.sinks import FileSink
from tests.support.fronts import GUARD


class Reader:
    """The two ends of a pipe or a pair of sockets, as descriptors."""

    def __init__(self, kind):
        if kind == "pipe":
            self.fd, self.end = os.pipe()
        else:
            self.fd, self.end = (each.detach() for each in socket.socketpair())

    def fill(self):
        """Write until there is no room, and return how much that was."""
        os.set_blocking(self.end, False)
        size = 0
        try:
            while True:
                size += os.write(self.end, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(self.end, True)
        return size

    def read_until(self, end):
        """Read on until *end* has come, and return it all."""
        found = b""
        while not found.endswith(end):
            assert select.select([self.fd], [], [], GUARD)[0], f"nothing more comes after {found[-100:]}"
            found += os.read(self.fd, 1 << 20)
        return found

    def read(self):
        """Return all that is there to be read."""
        found = b""
        while select.select([self.fd], [], [], 0)[0]:
            found += os.read(self.fd, 1 << 20)
        return found

    def close(self):
        os.close(self.fd)
        os.close(self.end)


@pytest.fixture(params=["pipe", "socket"])
def reader(request):
    made = Reader(request.param)
    yield made
    made.close()


@pytest.fixture(params=[True, False], ids=["nowait", "poll"])
def pipe(request, reader, monkeypatch):
    """A pipe whose reader is waited for no longer, with a kernel that knows RWF_NOWAIT or not."""
    if not request.param:

        def refuse(*_):
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(os, "pwritev", refuse)
    monkeypatch.setattr(pipes, "_PATIENCE", 0.0)
    made = Pipe(reader.end)
    yield made
    made.close()  # nothing is to be written to whatever has the descriptor next


def test_lines_are_written(pipe, reader):
    pipe.put("one\n")
    pipe.put("caf\xe9 \udce9\ntwo\n")
    assert reader.read() == b"one\ncaf\xc3\xa9 \\udce9\ntwo\n"


def test_what_a_stopped_reader_does_not_take_is_held(pipe, reader):
    size = reader.fill()
    pipe.put("one\n")
    pipe.put("two\n")
    assert list(pipe._held) == [b"one\n", b"two\n"]
    assert reader.read_until(b"two\n") == b"x" * size + b"one\ntwo\n", "without another line"
    pipe.put("three\n")
    assert reader.read_until(b"three\n") == b"three\n"


def test_where_there_can_be_no_thread_the_next_line_brings_what_is_held(pipe, reader, monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pipes, "start_new_thread", refuse)
    size = reader.fill()
    pipe.put("one\n")
    assert reader.read() == b"x" * size
    pipe.put("two\n")
    assert reader.read() == b"one\ntwo\n"


def test_a_reader_is_waited_for_at_the_end_and_what_it_does_not_take_is_counted(reader, monkeypatch):
    monkeypatch.setattr(pipes, "_HELD", 3)
    monkeypatch.setattr(pipes, "_PATIENCE", 0.0)
    pipe = Pipe(reader.end)
    size = reader.fill()
    for line in ("one\n", "two\nthree\n", "four\n", "five\n"):
        pipe.put(line)
    assert pipe.close() == 5
    assert pipe.close() == 0
    pipe.put("six\n")
    monkeypatch.setattr(pipes, "_PATIENCE", GUARD)
    found = []
    ending = threading.Thread(target=lambda: found.append(pipe.close()))
    ending.start()
    assert reader.read_until(b"six\n") == b"x" * size + b"six\n"
    ending.join()
    assert found == [0]


def test_what_is_dropped_beyond_a_limit_is_told(pipe, reader, monkeypatch):
    monkeypatch.setattr(pipes, "_HELD", 2)
    size = reader.fill()
    for line in ("one\n", "two\n", "three\n", "four\nfive\n"):
        pipe.put(line)
    told = b"one\ntwo\n3 lines of the log were dropped: nobody read them\n"
    assert reader.read_until(b"nobody read them\n") == b"x" * size + told
    pipe.put("six\n")
    assert reader.read_until(b"six\n") == b"six\n"


def test_a_slow_reader_is_waited_for(reader, monkeypatch):
    monkeypatch.setattr(pipes, "_PATIENCE", GUARD)
    pipe = Pipe(reader.end)
    size = reader.fill()
    writer = threading.Thread(target=lambda: [pipe.put(f"{number}\n") for number in range(50000)])
    writer.start()
    found = b""
    while not found.endswith(b"\n49999\n"):
        found += os.read(reader.fd, 1000)
    writer.join()
    assert found[size:] == b"".join(b"%d\n" % number for number in range(50000))


def test_no_write_is_larger_than_what_is_taken_whole(pipe, reader):
    sizes = [100, 4095, 4096, 10000, 0, 50]
    lines = b"".join(b"%c" % (65 + number) * size + b"\n" for number, size in enumerate(sizes))
    pipe.put(lines.decode())
    assert reader.read() == lines
    pieces = list(pipes._pieces(lines))
    assert max(map(len, pieces)) == select.PIPE_BUF
    assert [piece[-1:] for piece in pieces].count(b"\n") == len(pieces) - 3, "the two long lines are cut"


def test_a_reader_that_has_gone_is_no_error(pipe, reader):
    os.dup2(reader.end, reader.fd)  # there is no other end
    pipe.put("one\n")
    pipe.put("two\n")
    assert not pipe._held


def test_a_signal_in_the_middle_may_log_too(reader, monkeypatch):
    pipe = Pipe(reader.end)
    pwritev = os.pwritev

    def interrupted(*arguments):
        monkeypatch.undo()
        pipe.put("by the handler\n")
        return pwritev(*arguments)

    monkeypatch.setattr(os, "pwritev", interrupted)
    pipe.put("a line\n")
    assert reader.read() == b"a line\nby the handler\n"


def test_a_child_writes_nothing_of_its_parents(pipe, reader):
    size = reader.fill()
    pipe.put("by the parent\n")
    assert pipe._writing.acquire(), "as where another thread writes"
    pid = os.fork()
    if not pid:
        try:
            reader.read()
            pipe.put("by the child\n")
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert reader.read() == b"by the child\n"
    pipe._writing.release()
    assert reader.read_until(b"parent\n") == b"by the parent\n"
    assert size


def test_nobody_elses_writes_are_changed(pipe, reader):
    reader.fill()
    pipe.put("one\n")
    assert os.get_blocking(reader.end)


@pytest.mark.parametrize("path", ["/dev/null", "/etc/passwd"])
def test_files_are_no_pipes(path):
    with open(path) as file:
        assert pipe_at(file.fileno()) is None


def test_a_file_that_is_a_pipe_is_one(monkeypatch):
    monkeypatch.setattr(pipes, "_PATIENCE", 0.0)
    reader = Reader("pipe")
    sink = FileSink(f"/proc/self/fd/{reader.end}")
    size = reader.fill()
    sink.write("a line")
    assert reader.read_until(b"a line\n") == b"x" * size + b"a line\n"
    monkeypatch.setattr(pipes, "_PATIENCE", GUARD)
    assert sink.close() == 0
    sink.write("too late")
    assert reader.read() == b""
    reader.close()
