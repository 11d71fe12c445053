"""A read of a body that is broken off raises what breaks it off, and loses nothing."""

from __future__ import annotations

import pytest

from appserver.reader import Reader, Source


class Broken(BaseException):
    """A time limit."""


class Script(Source):
    """Give these bytes in turn, or raise."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = list(steps)

    def fill(self, buffer):
        step = self.steps.pop(0) if self.steps else b""
        if isinstance(step, BaseException):
            raise step
        buffer[: len(step)] = step
        return len(step)

    def unread(self, data):
        self.steps.insert(0, data)


def read_into(name):
    def read(reader):
        buffer = bytearray(9)
        return bytes(buffer[: getattr(reader, name)(buffer)])

    return read


READS = {
    "all": lambda reader: reader.read(),
    "read": lambda reader: reader.read(9),
    "more than the buffer": lambda reader: reader.read(100),
    "line": lambda reader: reader.readline(),
    "next": next,
    "lines": lambda reader: b"".join(reader.readlines()),
    "into": read_into("readinto"),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_it_goes_on_where_it_began(read):
    broken = [Broken() for _ in range(3)]
    reader = Reader(Script(broken[0], b"one", b"two", broken[1], broken[2], b"en\n"), 16)
    for each in broken:
        with pytest.raises(Broken) as raised:
            read(reader)
        assert raised.value is each
    assert read(reader) == b"onetwoen\n"
    assert reader.read() == b""


def test_lines_that_were_read_come_again():
    reader = Reader(Script(b"one\ntw", Broken(), b"o\nthr", b"ee\n", Broken(), b"four"), 16)
    for _ in range(2):
        with pytest.raises(Broken):
            reader.readlines()
    assert reader.readlines() == [b"one\n", b"two\n", b"three\n", b"four"]
    assert reader.readlines() == []


def test_lines_up_to_a_number_of_bytes():
    reader = Reader(Script(b"one\ntwo\nthree"), 16)
    assert [reader.readlines(5), reader.readlines(0)] == [[b"one\n", b"two\n"], [b"three"]]


@pytest.mark.parametrize("name", ["read1", "peek", "readinto1"])
def test_what_waits_once_raises(name):
    read = read_into(name) if name == "readinto1" else lambda reader: getattr(reader, name)(9)
    reader = Reader(Script(Broken(), b"one"), 16)
    with pytest.raises(Broken):
        read(reader)
    assert read(reader) == b"one"


def test_what_was_in_the_buffer_comes_first():
    reader = Reader(Script(b"one\ntwo", Broken(), b"end"), 16)
    assert reader.readline() == b"one\n"
    with pytest.raises(Broken):
        reader.read(6)
    assert reader.read(6) == b"twoend"
