"""Frames taken apart and made: byte by byte, and whatever clients may not send."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol

from appserver.websocket.deflate import Deflate, negotiated
from appserver.websocket.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Violation,
    closing,
    frame,
    payload_of,
)
from appserver.websocket.messages import Messages

LIMIT = 1000
KEY = b"\x11\x22\x33\x44"
CONTINUATION = 0


def client(first, payload, *, key=KEY, size=None):
    """Return a client's frame as RFC 6455 section 5.2 draws it, written here by hand."""
    length = len(payload) if size is None else size
    if length < 126:
        head = bytes([first, 0x80 | length])
    elif length < 65536:
        head = bytes([first, 0x80 | 126]) + struct.pack("!H", length)
    else:
        head = bytes([first, 0x80 | 127]) + struct.pack("!Q", length)
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def fed(frames, *pieces):
    """Return (kind, data) of all that comes out, and the violation's code at the end where there is one."""
    found = []
    try:
        for piece in pieces:
            found += [(each.kind, each.data) for each in frames.feed(piece)]
    except Violation as error:
        found.append(error.code)
    return found


def test_the_examples_of_the_rfc():
    """Section 5.7."""
    hello = bytes.fromhex("818537fa213d7f9f4d5158")
    assert fed(Messages(LIMIT), hello) == [(TEXT, "Hello")]
    assert fed(Messages(LIMIT, masked=False), b"\x01\x03Hel", b"\x80\x02lo") == [(TEXT, "Hello")]
    assert fed(Messages(LIMIT), bytes.fromhex("898537fa213d7f9f4d5158")) == [(PING, b"Hello")]
    assert frame(TEXT, b"Hello") == b"\x81\x05Hello"
    assert frame(PONG, b"Hello") == b"\x8a\x05Hello"
    assert frame(BINARY, bytes(256)) == b"\x82\x7e\x01\x00" + bytes(256)
    assert frame(BINARY, bytes(65536)) == b"\x82\x7f" + (65536).to_bytes(8, "big") + bytes(65536)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_bytes_may_come_in_any_pieces(step):
    data = b"".join(
        [
            client(0x01, "grüß".encode()[:3]), client(0x89, b"now"), client(0x80, "grüß".encode()[3:]),
            client(0x82, bytes(300)), client(0x8A, b""), client(0x88, struct.pack("!H", 1000) + "tschüß".encode()),
        ]
    )  # fmt: skip
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert fed(Messages(LIMIT), *pieces) == [
        (PING, b"now"), (TEXT, "grüß"), (BINARY, bytes(300)), (PONG, b""), (CLOSE, "tschüß"),
    ]  # fmt: skip


@given(st.lists(st.one_of(st.text(), st.binary()), max_size=5), st.data())
def test_messages_come_out_as_they_went_in(messages, data):
    """In any fragments, with pings among them, cut anywhere."""
    wire, wanted = b"", []
    for message in messages:
        kind, payload = payload_of(message)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            wire += client((0x80 if last else 0) | (CONTINUATION if number else kind), part)
            if not last and data.draw(st.booleans()):
                wire += client(0x80 | PING, b"p")
                wanted.append((PING, b"p"))
        wanted.append((kind, message))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert fed(Messages(1 << 20), *pieces) == wanted


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_end_it(data):
    frames = Messages(LIMIT, Deflate(LIMIT))
    for each in fed(frames, data):
        assert isinstance(each, tuple) or each in {1002, 1007, 1009}


VIOLATIONS = {
    "unmasked": (b"\x81\x02hi", 1002),
    "reserved bit 1": (client(0xC1, b"hi"), 1002),
    "reserved bit 2": (client(0xA1, b"hi"), 1002),
    "reserved bit 3": (client(0x91, b"hi"), 1002),
    **{f"opcode {code}": (client(0x80 | code, b""), 1002) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a fragmented ping": (client(0x09, b"hi"), 1002),
    "a fragmented close": (client(0x08, b""), 1002),
    "a ping of 126 bytes": (client(0x89, bytes(126)), 1002),
    "a close of 126 bytes": (client(0x88, struct.pack("!H", 1000) + b"x" * 124), 1002),
    "a close of one byte": (client(0x88, b"\x03"), 1002),
    **{
        f"close code {code}": (client(0x88, struct.pack("!H", code)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "a reason that is no UTF-8": (client(0x88, struct.pack("!H", 1000) + b"\xff"), 1007),
    "a continuation of nothing": (client(0x80, b"hi"), 1002),
    "a text within a message": (client(0x01, b"a") + client(0x81, b"b"), 1002),
    "a text that is no UTF-8": (client(0x81, b"\xc3\x28"), 1007),
    "a surrogate": (client(0x81, b"\xed\xa0\x80"), 1007),
    "an overlong character": (client(0x81, b"\xc0\xaf"), 1007),
    "beyond Unicode": (client(0x81, b"\xf4\x90\x80\x80"), 1007),
    "a text that ends within a character": (client(0x81, "ü".encode()[:1]), 1007),
    "a message that ends within a character": (client(0x01, b"\xc3") + client(0x80, b""), 1007),
    "a length of 16 bits for 125 bytes": (b"\x82\xfe\x00\x7d" + KEY + bytes(125), 1002),
    "a length of 64 bits for 65535 bytes": (b"\x82\xff" + (65535).to_bytes(8, "big") + KEY, 1002),
    "a negative length": (b"\x82\xff\xff" + bytes(7) + KEY, 1002),
    "too long a message": (client(0x82, bytes(LIMIT + 1)), 1009),
    "too long a text": (client(0x81, "ü".encode() * (LIMIT // 2 + 1)), 1009),
    "too long in fragments": (client(0x02, bytes(LIMIT)) + client(0x80, b"x"), 1009),
}  # fmt: skip


@pytest.mark.parametrize("name", VIOLATIONS)
@pytest.mark.parametrize("step", [1, 100_000])
def test_a_violation_is_told_with_its_code(name, step):
    data, code = VIOLATIONS[name]
    frames = Messages(LIMIT)
    assert fed(frames, *(data[at : at + step] for at in range(0, len(data), step)))[-1] == code


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3003, 3008, 3999, 4000, 4999]
)
def test_close_codes_that_a_client_may_say(code):
    """RFC 6455 section 7.4, and IANA's registry."""
    frames = Messages(LIMIT)
    (event,) = frames.feed(client(0x88, struct.pack("!H", code) + b"why"))
    assert (event.kind, event.code, event.data) == (CLOSE, code, "why")
    assert fed(frames, client(0x81, b"more")) == [], "nothing comes behind it"


def test_bad_utf8_is_told_before_the_message_ends():
    assert fed(Messages(LIMIT), client(0x01, b"\xff")) == [1007]


def test_a_message_of_the_limit_is_taken_and_one_that_is_announced_too_long_is_not_waited_for():
    assert fed(Messages(LIMIT), client(0x82, bytes(LIMIT))) == [(BINARY, bytes(LIMIT))]
    assert fed(Messages(LIMIT), client(0x82, bytes(LIMIT + 1), size=1 << 40)) == [1009]
    assert fed(Messages(LIMIT), client(0x82, bytes(LIMIT - 1), size=LIMIT)) == []


@pytest.mark.parametrize("deflate", [None, Deflate(LIMIT)], ids=["as it is", "could be packed"])
@pytest.mark.parametrize("step", [1, 100_000])
@pytest.mark.parametrize(
    ("begun", "size"), [(b"", LIMIT + 1), (b"", (1 << 63) - 1), ("ü".encode() * 100, LIMIT - 199)]
)
def test_too_long_a_frame_is_told_by_its_head(deflate, step, begun, size):
    """Alone, or behind other fragments of its message, with a ping between them."""
    frames = Messages(LIMIT, deflate)
    if begun:
        assert fed(frames, client(0x01, begun) + client(0x89, b"p")) == [(PING, b"p")]
    data = client(CONTINUATION if begun else TEXT, b"", size=size)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert fed(frames, *pieces[:-1]) == []
    assert fed(frames, pieces[-1]) == [1009]
    assert fed(frames, bytes(1000)) == []


def test_a_ping_between_the_fragments_of_a_long_message_counts_for_nothing():
    frames = Messages(LIMIT)
    ping = client(0x89, bytes(125))
    assert fed(frames, client(0x02, bytes(LIMIT)), ping[:7], ping[7:]) == [(PING, bytes(125))]
    assert fed(frames, client(0x80, b"")) == [(BINARY, bytes(LIMIT))]


@pytest.mark.parametrize(
    ("kind", "whole"), [(TEXT, "a" * 100_000), (TEXT, "ü" * 50_000), (BINARY, b"a" * 100_000)]
)
def test_a_message_in_the_smallest_fragments_takes_what_it_has(kind, whole):
    frames, piece = Messages(100_000), client(CONTINUATION, payload_of(whole)[1][:2]) * 1000
    fed(frames, client(kind, b""))
    tracemalloc.start()
    try:
        for _ in range(50):
            assert fed(frames, piece) == []
        assert tracemalloc.get_traced_memory()[0] < 2 * 100_000
    finally:
        tracemalloc.stop()
    assert fed(frames, client(0x80, b"")) == [(kind, whole)]


def test_what_mongrel2_has_read_is_judged_alike():
    """It tells the first byte, and what was in the frame; the mask is gone."""
    for name, (data, code) in VIOLATIONS.items():
        if name.startswith(("reserved", "opcode", "close code", "a reason", "a text that", "a surrogate")):
            first, payload = data[0], bytes(b ^ KEY[n % 4] for n, b in enumerate(data[6:]))
            assert fed(Messages(LIMIT, masked=False), frame(first & 0x7F, payload)) == [code], name
    for message in ("Hällo", bytes(500), "x" * 70000):
        assert fed(Messages(100_000, masked=False), frame(*payload_of(message))) == [
            (payload_of(message)[0], message)
        ]


@pytest.mark.parametrize(("code", "reason", "payload"), [
    (1000, "", b"\x03\xe8"), (1005, "x", b""), (1001, "ü" * 100, b"\x03\xe9" + "ü".encode() * 61),
])  # fmt: skip
def test_close_frames(code, reason, payload):
    assert closing(code, reason) == b"\x88" + bytes([len(payload)]) + payload


def test_only_messages_are_sent():
    for wrong in (None, 1, ["a"]):
        with pytest.raises(TypeError, match="a message is str or bytes, not"):
            payload_of(wrong)
    assert payload_of(bytearray(b"a")) == payload_of(memoryview(b"a")) == (BINARY, b"a")


# permessage-deflate

OFFERS = {
    "permessage-deflate": 0,
    "permessage-deflate; client_max_window_bits": 0,
    "permessage-deflate; server_max_window_bits=15": 15,
    "permessage-deflate; server_max_window_bits=15; client_max_window_bits": 15,
    "permessage-deflate; client_max_window_bits=10; server_max_window_bits=10": 10,
    'permessage-deflate; server_max_window_bits="12"': 12,
    "permessage-deflate; server_max_window_bits=8, permessage-deflate": 0,
    "x-webkit-deflate-frame, permessage-deflate; server_no_context_takeover": 0,
    "": None, "x-webkit-deflate-frame": None, "permessage-deflate; unknown": None,
    "permessage-deflate; server_max_window_bits": None, "permessage-deflate; server_max_window_bits=16": None,
    "permessage-deflate; server_no_context_takeover=1": None, "permessage-deflate; client_max_window_bits=7": None,
    "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9": None,
}  # fmt: skip


@pytest.mark.parametrize("offer", OFFERS)
def test_offers(offer):
    """The bits are accepted by saying them again, whatever they are (RFC 7692 section 7.1.2.1)."""
    found = negotiated(offer, LIMIT)
    assert (found and found.bits) == OFFERS[offer]
    if found is not None:
        more = f"; server_max_window_bits={found.bits}" if OFFERS[offer] else ""
        assert (
            found.answer()
            == f"permessage-deflate; server_no_context_takeover; client_no_context_takeover{more}"
        )


def packed(payload):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)[:-4]


@given(st.lists(st.one_of(st.text(), st.binary(max_size=900)), max_size=4), st.integers(1, 50))
def test_packed_messages_come_out_with_pings_between_their_frames(messages, cut):
    wire, wanted = b"", []
    for message in messages:
        kind, payload = payload_of(message)
        data = packed(payload)
        wire += client(0x40 | kind, data[:cut]) + client(0x89, b"p") + client(0x80, data[cut:])
        wire += client(0x80 | kind, payload)  # the next one is not
        wanted += [(PING, b"p"), (kind, message), (kind, message)]
    assert fed(Messages(10_000, Deflate(10_000)), wire) == wanted


def test_nothing_is_unpacked_further_than_its_limit():
    bomb = packed(bytes(100 << 20))
    assert len(bomb) < 120_000
    deflate = Deflate(LIMIT)
    assert fed(Messages(LIMIT, deflate), client(0xC2, bomb)) == [1009]
    assert deflate._size <= LIMIT + 1
    exact = client(0xC2, packed(bytes(LIMIT)))
    assert fed(Messages(LIMIT, Deflate(LIMIT)), exact) == [(BINARY, bytes(LIMIT))]


def final(payload, level=9):
    """Return a payload packed into blocks of which the last one has BFINAL set."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(payload) + packer.flush(zlib.Z_FINISH)


def test_the_example_of_the_rfc_for_a_final_block():
    """RFC 7692 section 7.2.3.4; some senders leave the last byte away."""
    hello = bytes.fromhex("f348cdc9c90700")
    frames = Messages(LIMIT, Deflate(LIMIT))
    wire = client(0xC1, hello + b"\0") + client(0xC1, hello) + client(0xC1, packed(b"next"))
    assert fed(frames, wire + client(0x81, b"and as it is")) == [
        (TEXT, "Hello"), (TEXT, "Hello"), (TEXT, "next"), (TEXT, "and as it is"),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans(), st.integers(0, 9)), max_size=6), st.data())
def test_what_follows_a_final_block_is_unpacked_too(parts, data):
    """Any blocks in any order, in any fragments, cut anywhere."""
    payload = b"".join(
        final(part, level) if ends else packed(part) + b"\0\0\xff\xff" for part, ends, level in parts
    )
    payload += b"\0"  # the empty block that a sender takes the end of away
    middle = data.draw(st.integers(0, len(payload)))
    wire = client(0x42, payload[:middle]) + client(0x89, b"p") + client(0x80, payload[middle:])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert fed(Messages(10_000, Deflate(10_000)), *pieces) == [
        (PING, b"p"), (BINARY, b"".join(part for part, _, _ in parts)),
    ]  # fmt: skip


def test_what_follows_a_final_block_is_limited_alike():
    half = final(bytes(LIMIT // 2))
    assert fed(Messages(LIMIT, Deflate(LIMIT)), client(0xC2, half * 2)) == [(BINARY, bytes(LIMIT))]
    assert fed(Messages(LIMIT, Deflate(LIMIT)), client(0xC2, half * 2 + final(b"x"))) == [1009]
    deflate = Deflate(LIMIT)
    assert fed(Messages(LIMIT, deflate), client(0x42, half), client(0x00, final(bytes(100 << 20)))) == [1009]
    assert deflate._size == LIMIT + 1


@given(st.binary(max_size=500))
def test_whatever_follows_a_final_block_is_judged_as_zlib_does(data):
    unpacks, rest = zlib.decompressobj(-15), data + b"\0\0\xff\xff"
    wanted = [(BINARY, b"first;")]
    try:
        while rest:
            wanted[0] = (BINARY, wanted[0][1] + unpacks.decompress(rest))
            rest = unpacks.unused_data
            if unpacks.eof:
                unpacks = zlib.decompressobj(-15)
    except zlib.error:
        wanted = [1007]
    assert fed(Messages(1 << 24, Deflate(1 << 24)), client(0xC2, final(b"first;") + data)) == wanted


@pytest.mark.parametrize("one", [False, True], ids=["in frames", "in one frame"])
@pytest.mark.parametrize("block", [final(b""), b"\0\0\0\xff\xff"], ids=["final blocks", "others"])
def test_nothing_is_kept_of_what_follows_a_final_block(block, one):
    """Blocks without a byte of the message are no reason to end it, and may come for ever."""
    deflate = Deflate(LIMIT)
    frames = Messages(LIMIT, deflate)
    begun = client(0x42, final(b"first"))
    if one:
        begun += client(0x00, b"", key=bytes(4), size=1 << 40)
    fed(frames, begun)
    piece = block * 2000 if one else client(0x00, block * 2000)
    tracemalloc.start()
    try:
        for _ in range(100):
            fed(frames, piece)
        assert tracemalloc.get_traced_memory()[0] < 3 * len(piece) + 50_000
    finally:
        tracemalloc.stop()
    assert deflate._size <= 5
    if not one:
        assert fed(frames, client(0x80, b"\0")) == [(BINARY, b"first")]


@pytest.mark.parametrize(("data", "code"), [
    (client(0xC1, final(b"first") + b"\xff\xff\xff"), 1007), (client(0xC1, final(b"first") + b"garbage"), 1007),
    (client(0x41, final(b"first")) + client(0x00, b"x" * 65000), 1007),
    (client(0xC1, b"\xff\xff\xff"), 1007), (client(0xC1, packed(b"\xff")), 1007),
    (client(0x41, b"") + client(0xC0, b""), 1002), (client(0xC9, b""), 1002), (client(0xE1, b""), 1002),
])  # fmt: skip
def test_what_is_packed_badly_is_a_violation(data, code):
    assert fed(Messages(LIMIT, Deflate(LIMIT)), data) == [code]


@pytest.mark.parametrize("bits", [0, 9, 12, 15])
def test_large_messages_leave_packed_and_small_ones_as_they_are(bits):
    frames = Messages(LIMIT, Deflate(LIMIT, bits))
    assert frames.message("small") == frame(TEXT, b"small")
    text = "".join(map(str, range(5000)))
    data = frames.message(text)
    assert data[0] == 0xC1
    assert len(data) < len(text) / 2
    size = int.from_bytes(data[2:4], "big")
    unpacks = zlib.decompressobj(-(bits or 15))
    assert unpacks.decompress(data[4 : 4 + size] + b"\0\0\xff\xff").decode() == text
    assert Messages(LIMIT).message(text)[0] == 0x81


def test_wsproto_as_a_client_understands_what_is_sent():
    """Another implementation's reading of the same frames."""
    other = FrameProtocol(client=True, extensions=[])
    other.receive_bytes(frame(TEXT, "grüß".encode()) + frame(PING, b"p") + closing(1001, "bye"))
    assert [(int(each.opcode), each.payload) for each in other.received_frames()] == [
        (1, "grüß"), (9, b"p"), (8, (1001, "bye")),
    ]  # fmt: skip
