"""A body in pieces reads as the same bytes in one piece do."""

from __future__ import annotations

from io import SEEK_CUR, SEEK_END, SEEK_SET, BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appserver.body import Body
from appserver.pieces import Pieces

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["read", "readline", "read1"]), st.integers(-1, 40)),
        st.tuples(st.sampled_from(["read", "readline"]), st.none()),
        st.tuples(st.sampled_from(["read", "readline", "read1", "__next__"])),
        st.tuples(st.just("readinto"), st.integers(0, 40).map(bytearray)),
        st.tuples(st.just("readlines")),  # of how many bytes, the two count differently
        st.tuples(st.just("tell")),
        st.tuples(st.just("seek"), st.integers(0, 80), st.just(SEEK_SET)),
    ),
    max_size=12,
)


@given(
    st.lists(st.binary(max_size=20).map(lambda piece: piece.replace(b"\0", b"\n")), max_size=6),
    OPERATIONS,
    st.booleans(),
)
def test_it_reads_as_one_file_does(pieces, operations, views):
    whole = b"".join(pieces)
    if views:
        pieces = [memoryview(b"x" + piece)[1:] for piece in pieces]
    with BytesIO(whole) as expected, Pieces(pieces) as found:
        for name, *arguments in operations:
            if name == "seek":  # a BytesIO goes further than its end
                arguments[0] = min(arguments[0], len(whole))
            if name == "read1":  # which may return less
                some = found.read1(*arguments)
                assert some == expected.read(len(some))
                assert some or arguments == [0] or expected.tell() == len(whole)
            elif name == "__next__":
                assert next(found, None) == next(expected, None)
            else:
                copies = [bytearray(each) if type(each) is bytearray else each for each in arguments]
                assert getattr(found, name)(*arguments) == getattr(expected, name)(*copies)
                assert arguments == copies
            assert found.tell() == expected.tell()


@pytest.mark.parametrize(
    "offset, whence, at",
    [
        (0, SEEK_SET, 0),
        (3, SEEK_SET, 3),
        (9, SEEK_SET, 6),
        (1, SEEK_CUR, 3),
        (-2, SEEK_CUR, 0),
        (0, SEEK_END, 6),
        (-1, SEEK_END, 5),
        (-6, SEEK_END, 0),
        (4, SEEK_END, 6),
    ],
)
def test_it_goes_on_where_it_is_told_to(offset, whence, at):
    with Pieces([b"abc", b"d", b"ef"]) as pieces:
        assert pieces.read(2) == b"ab"
        assert pieces.seek(offset, whence) == at
        assert pieces.tell() == at
        assert pieces.read() == b"abcdef"[at:]
        assert pieces.read() == b""


def test_there_is_nothing_before_the_start():
    with Pieces([b"abc"]) as pieces, pytest.raises(ValueError, match="-1 is before the start"):
        pieces.seek(-1)


def test_a_large_body_is_read_from_the_pieces_that_came():
    pieces = [b"a" * 100_000, b"\nb" * 50_000, b"end"]
    held = Body(1 << 20)
    for piece in pieces:
        held.add(piece)
    environ = {}
    held.give_to(environ)
    file = environ["wsgi.input"]
    assert isinstance(file, Pieces)
    assert file.readline() == pieces[0] + b"\n"
    assert file.read(65536) == b"".join(pieces)[100_001:165_537]
    assert file.seek(0) == 0
    assert file.read() == b"".join(pieces)
    assert file.read(1) == b""
    held.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)
    held.close()
