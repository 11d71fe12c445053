"""Bodies: in memory while they are small, in a file that nobody sees when they are not."""

from __future__ import annotations

import tempfile
import tracemalloc
from io import BufferedRandom, BytesIO, FileIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appserver.body import Body
from appserver.protocols.codec import ProtocolError


def reader(held, environ=None):
    environ = {} if environ is None else environ
    held.give_to(environ)
    return environ["wsgi.input"]


@pytest.mark.parametrize(
    "pieces", [[], [b""], [b"abc"], [b"ab", b"c"], [b"abcd"], [b"abc", b"def"], [b"abcd", b"efgh"]]
)
def test_a_body_reads_as_it_was_added(pieces):
    held = Body(3)
    for piece in pieces:
        held.add(piece)
    assert held.size == len(b"".join(pieces))
    assert reader(held).read() == b"".join(pieces)
    assert reader(held).readline() == b"".join(pieces)  # from its start again
    held.close()
    held.close()


@pytest.mark.parametrize("limit, size, in_memory", [(3, 3, True), (3, 4, False), (0, 0, True), (0, 1, False)])
def test_what_is_larger_goes_to_a_file(limit, size, in_memory):
    held = Body(limit)
    held.add(size * b"x")
    assert isinstance(reader(held), BytesIO) is in_memory
    if not in_memory:
        assert isinstance(reader(held).name, int)  # a file without a name
    held.close()


@pytest.mark.parametrize(
    "pieces, given, expected",
    [
        ([], {}, None),
        ([b"abc"], {}, "3"),
        ([b"a", b"bc"], {"CONTENT_LENGTH": "3"}, "3"),
        ([], {"CONTENT_LENGTH": "0"}, "0"),
    ],
)
def test_its_size_is_the_content_length(pieces, given, expected):
    held = Body(10)
    for piece in pieces:
        held.add(piece)
    environ = dict(given)
    reader(held, environ)
    assert environ.get("CONTENT_LENGTH") == expected


def test_a_limit_is_exact():
    held = Body(10, limit=4, announced=4)
    held.add(b"abc")
    held.add(b"d")
    with pytest.raises(ProtocolError) as refused:
        held.add(b"e")
    assert refused.value.status.startswith("413")
    held.close()
    with pytest.raises(ProtocolError):
        Body(10, limit=4, announced=5)


def test_a_full_disk_is_a_refusal_and_leaves_nothing_open(monkeypatch):
    opened = []

    class Full(BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    def temporary(**_):
        opened.append(Full())
        return opened[0]

    monkeypatch.setattr("tempfile.TemporaryFile", temporary)
    held = Body(1)
    with pytest.raises(ProtocolError, match="No space left") as refused:
        held.add(b"xy")
    assert refused.value.status.startswith("507")
    assert "TMPDIR" in refused.value.hint
    held.close()
    assert opened[0].closed


def test_where_no_temporary_directory_can_be_written_it_is_told_what_to_try(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/absent"])
    held = Body(1)
    with pytest.raises(ProtocolError, match="no temporary directory can be written to") as refused:
        held.add(b"xy")
    held.close()
    assert refused.value.status.startswith("507")
    assert "TMPDIR" in refused.value.hint
    assert "/" not in str(refused.value) + refused.value.hint, "it names directories to the client"


class Full(FileIO):
    """A file on a disk that is full from some byte on."""

    left = 0

    def write(self, data):
        if self.left < len(data):
            raise OSError(28, "No space left on device")
        self.left -= len(data)
        return super().write(data)


@pytest.fixture
def disk(monkeypatch, tmp_path):
    """Have temporary files be on such a disk, buffered as they are; return those that were opened."""
    opened = []

    def temporary(**_):
        raw = Full(tmp_path / "file", "w+")
        raw.left = 20000
        opened.append(BufferedRandom(raw))
        return opened[-1]

    monkeypatch.setattr("tempfile.TemporaryFile", temporary)
    return opened


@pytest.mark.parametrize("announced", [20001, -1, 0])
def test_what_the_disk_has_no_room_for_at_the_end_is_a_refusal_too(disk, announced):
    """The last bytes are small enough for the file's buffer."""
    held = Body(100, announced=announced)
    held.add(b"x" * 15000)
    held.add(b"y" * 5000)
    with pytest.raises(ProtocolError, match="No space left") as refused:
        held.add(b"z")
    assert refused.value.status.startswith("507")
    held.close()
    assert disk[0].closed
    assert disk[0].raw.closed


@pytest.mark.parametrize("announced", [20000, -1, 0])
def test_what_fits_is_written(disk, announced):
    held = Body(100, announced=announced)
    for _ in range(20):
        held.add(b"x" * 1000)
    assert reader(held).read() == b"x" * 20000
    held.close()


def test_a_body_that_is_given_up_on_a_full_disk_is_closed(disk):
    held = Body(100, announced=30000)
    held.add(b"x" * 20000)
    held.add(b"y")
    held.close()
    assert disk[0].raw.closed


BLOCK = 65536


@pytest.mark.parametrize("announced", [-1, 4 * BLOCK])
def test_a_large_body_lies_in_blocks_as_applications_read_it(announced):
    held = Body(1 << 20, announced=announced)
    first = b"a" * (BLOCK + 7)
    held.add(first)
    assert held.room == BLOCK - 7  # what to read next
    held.add(b"b" * held.room)
    whole = [b"c" * BLOCK, b"d" * BLOCK]
    for block in whole:
        assert held.room == BLOCK
        held.add(block)
    file = reader(held)
    assert file.read(BLOCK) == first[:BLOCK]
    assert file.read(BLOCK) == first[BLOCK:] + b"b" * (BLOCK - 7)
    assert all(file.read(BLOCK) is block for block in whole)  # not copied
    assert file.read(BLOCK) == b""
    held.close()


def test_the_pieces_of_a_small_body_are_not_cut():
    held = Body(1 << 20, announced=2 * BLOCK - 1)
    assert held.room == 2 * BLOCK
    held.add(b"a" * 70_000)
    assert held.room == 2 * BLOCK - 70_000
    held.add(b"b")
    assert reader(held).getvalue() == b"a" * 70_000 + b"b"
    held.close()


def test_there_is_always_room():
    held = Body(BLOCK, announced=4 * BLOCK)
    held.add(b"a" * BLOCK)
    assert held.room == BLOCK
    held.add(b"b")  # from here on in a file
    assert held.room > BLOCK
    held.add(b"c" * held.room)
    assert held.room > BLOCK
    assert reader(held).read(BLOCK + 2) == b"a" * BLOCK + b"bc"
    held.close()


@given(
    st.lists(st.integers(0, 200_000), max_size=6),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1 << 20, 150_000]),
)
def test_a_body_is_what_came(sizes, known, views, in_memory):
    source = bytes(range(251)) * 1000
    pieces = [source[size % 251 : size % 251 + size] for size in sizes]
    held = Body(in_memory, announced=sum(sizes) if known else -1)
    for piece in pieces:
        held.add(memoryview(piece) if views else piece)
    assert held.size == sum(sizes)
    file = reader(held)
    got = list(iter(lambda: file.read(BLOCK), b""))
    assert all(len(each) == BLOCK for each in got[:-1])
    assert b"".join(got) == b"".join(pieces)
    held.close()


def test_a_body_in_the_smallest_pieces_does_not_keep_them_apart():
    held = Body(1 << 20)
    tracemalloc.start()
    try:
        for number in range(40_000):
            held.add(b"%03d" % (number % 1000))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3 * held.size  # apart they have 45 bytes each
    assert len(reader(held).getvalue()) == held.size == 120_000
    held.close()
