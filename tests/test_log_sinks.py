"""Where the lines of a log go: no destination blocks or fails the server."""

from __future__ import annotations

import os
import sys

import pytest

from appserver import sinks
from appserver.sinks import FileSink, Sinks, StderrSink, ZeromqSink

from .support.logs import Lines


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
        if stream is not None and not stream.closed:
            with pytest.raises(OSError, match=r"Broken pipe|No space left"):
                stream.close()  # what could not be written is still there


class TestFile:
    """Files."""

    def test_lines_are_appended_at_once(self, tmp_path):
        path = tmp_path / "log"
        path.write_text("before\n")
        sink = FileSink(str(path))
        sink.write("caf\xe9 \udce9")
        assert path.read_text() == "before\ncaf\xe9 \\udce9\n"
        sink.close()
        sink.write("too late")
        sink.close()

    def test_a_full_disk_raises_nothing(self):
        sink = FileSink("/dev/full")
        sink.write("a line")
        sink.close()


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

    def test_without_a_collector_the_end_comes_all_the_same(self, collector, monkeypatch):
        monkeypatch.setattr(sinks, "_LINGER", 1)
        sink = ZeromqSink(collector[0])
        sink.write("nobody reads this")
        sink.close()

    def test_a_bad_endpoint_is_an_os_error(self):
        with pytest.raises(OSError, match=r"^cannot connect to tcp://127\.0\.0\.1:port: "):
            ZeromqSink("tcp://127.0.0.1:port")


def test_several_destinations_get_every_line():
    both = Lines(), Lines()
    sinks = Sinks(list(both))
    sinks.write("a line")
    sinks.close()
    assert [(each.lines, each.closed) for each in both] == [(["a line"], 1), (["a line"], 1)]
