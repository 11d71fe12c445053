"""Frames between the receiver and the loops: whole, in pieces, and one behind the other."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appserver.protocols import handoff
from appserver.protocols.handoff import LAST, PIECE, REQUEST, Frame, Frames, frame, frames

KINDS = [value for name, value in vars(handoff).items() if name.isupper() and isinstance(value, int)]
LARGE = bytes(range(256)) * 20000  # 5 MB

some_frames = st.lists(
    st.builds(
        Frame,
        st.integers(0, 255),
        st.integers(0, 2**64 - 1),
        st.binary(max_size=60),
    ),
    max_size=8,
)


def wire(found):
    return b"".join(frame(*each) for each in found)


def fed(pieces):
    reader = Frames()
    return [each for piece in pieces for each in reader.feed(piece)]


def test_no_two_kinds_are_alike():
    assert len(set(KINDS)) == len(KINDS) >= 11


def test_the_head_is_the_same_on_every_machine():
    assert frame(PIECE, 0x0102, b"abc") == struct.pack("<BQQ", PIECE, 0x0102, 3) + b"abc"
    assert len(frame(LAST, 2**64 - 1)) == 17


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 17, LARGE], ids=["empty", "short", "zeros", "large"])
@pytest.mark.parametrize("number", [0, 1, 2**64 - 1])
def test_a_whole_frame(number, data):
    assert frames(frame(REQUEST, number, data)) == [Frame(REQUEST, number, data)]


def test_the_frames_of_a_packet_keep_their_order():
    packed = [Frame(number % 5, number, b"x" * number) for number in range(50)]
    assert frames(wire(packed)) == packed
    assert frames(b"") == []


def test_each_byte_by_itself():
    sent = [Frame(REQUEST, 1, b""), Frame(PIECE, 2, b"abc"), Frame(LAST, 3, b"")]
    data = wire(sent)
    reader = Frames()
    found = []
    complete = []
    for number in range(len(data)):
        new = reader.feed(data[number : number + 1])
        found += new
        complete += [number + 1] * len(new)
    assert found == sent
    assert complete == [17, 37, 54], "a frame comes with its last byte"


def test_what_follows_a_frame_begins_the_next():
    reader = Frames()
    second = frame(PIECE, 2, b"second")
    assert reader.feed(frame(PIECE, 1, b"first") + second[:5]) == [Frame(PIECE, 1, b"first")]
    assert reader.feed(second[5:18]) == []
    assert reader.feed(second[18:] + second) == [Frame(PIECE, 2, b"second")] * 2
    assert reader.feed(b"") == []


def test_nothing_more_of_a_frame_changes_nothing():
    reader = Frames()
    data = frame(PIECE, 7, b"data")
    for piece in (b"", data[:3], b"", data[3:20], b"", b""):
        assert reader.feed(piece) == []
    assert reader.feed(data[20:]) == [Frame(PIECE, 7, b"data")]


@pytest.mark.parametrize("step", [1000, 4096, 65536, 262144])
def test_large_frames_in_pieces(step):
    sent = [Frame(REQUEST, 1, LARGE), Frame(REQUEST, 2, b""), Frame(REQUEST, 3, LARGE[:70000])]
    data = wire(sent)
    assert fed(data[at : at + step] for at in range(0, len(data), step)) == sent


def test_data_that_looks_like_frames_is_data():
    inner = wire([Frame(LAST, 1, b""), Frame(PIECE, 2, b"abc")])
    assert frames(frame(PIECE, 3, inner) + frame(LAST, 3, b"")) == [
        Frame(PIECE, 3, inner),
        Frame(LAST, 3, b""),
    ]


@given(some_frames, st.data())
def test_any_split(sent, data):
    whole = wire(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert fed(pieces) == sent


@given(some_frames, st.integers(1, 30))
def test_a_stream_that_breaks_off_gives_only_what_is_whole(sent, missing):
    whole = wire(sent)
    reader = Frames()
    found = reader.feed(whole[: max(0, len(whole) - missing)])
    assert found == sent[: len(found)]
    assert len(wire(found)) <= max(0, len(whole) - missing)
    assert reader.feed(whole[max(0, len(whole) - missing) :]) == sent[len(found) :]
