"""Chunked bodies (RFC 9112 section 7.1)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appserver.exchange import Exchange
from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import ChunkedBody, HttpAnswers

from .feeding import CUTS, cut


def decode(pieces):
    """Return the body in *pieces*, what is left behind its end, and whether there was one."""
    chunks, buffer, body = ChunkedBody(), b"", []
    ended = False
    for piece in pieces:
        if ended:
            buffer += piece
            continue
        data, buffer, ended = chunks.decode(buffer + piece)
        body.append(data)
        while chunks.behind:
            data, buffer, ended = chunks.decode(buffer)
            body.append(data)
    return b"".join(body), buffer, ended


CASES = [
    (b"0\r\n\r\n", b"", True),
    (b"00000000\r\n\r\n", b"", True),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello", True),
    (b"00005\r\nhello\r\n0\r\n\r\n", b"hello", True),
    (b"a\r\n0123456789\r\nA\r\n9876543210\r\n0\r\n\r\n", b"01234567899876543210", True),
    (b"5;ext\r\nhello\r\n0;last\r\n\r\n", b"hello", True),
    (b'5 ;\ta="b;c"\r\nhello\r\n0\r\n\r\n', b"hello", True),
    (b"5;" + b"x" * 4091 + b"\r\nhello\r\n0\r\n\r\n", b"hello", True),
    (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", True),
    (b"1\r\n\n\r\n1\r\n\r\r\n0\r\n\r\n", b"\n\r", True),
    (b"0\r\nA: b\r\nC:\r\n\r\n", b"", True),
    (b"5\r\nhel", b"hel", False),
    (b"5\r\nhello\r", b"hello", False),
    (b"5\r\nhello\r\n0\r\n", b"hello", False),
    (b"5\r\nhello\r\n0\r\nA: b\r\n\r", b"hello", False),
    (b"5\r", b"", False),
    (b"", b"", False),
]


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("wire, body, ended", CASES)
def test_decodes(how, wire, body, ended):
    read, left, end = decode(cut(wire, how))
    assert (read, end) == (body, ended)
    assert not end or left == b""


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("wire, body, ended", [case for case in CASES if case[2]])
def test_leaves_what_follows(how, wire, body, ended):
    assert decode(cut(wire + b"GET / HTTP/1.1\r\n", how)) == (body, b"GET / HTTP/1.1\r\n", True)


@pytest.mark.parametrize("size", [b"7fffffff", b"80000000", b"fffffffffffffff"])
def test_huge_chunks_allocate_nothing(size):
    assert decode([size + b"\r\nxy"]) == (b"xy", b"", False)


def test_many_small_chunks_are_no_work():
    """What is kept between two pieces is never more than one line: the whole stays linear."""
    chunks, buffer, total = ChunkedBody(), b"", 0
    for _ in range(20000):
        for piece in (b"1\r", b"\n", b"x\r", b"\n"):
            data, buffer, ended = chunks.decode(buffer + piece)
            total += len(data)
            assert len(buffer) < 4
            assert not ended
    assert total == 20000


def test_a_megabyte_in_one_piece():
    assert decode([b"1\r\nx\r\n" * 100000 + b"0\r\n\r\nrest"]) == (b"x" * 100000, b"rest", True)


@settings(max_examples=150)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.data())
def test_reads_what_we_write(pieces, data):
    codec = HttpAnswers()
    x = Exchange({"REQUEST_METHOD": "GET", "REQUEST_URI": "/", "SERVER_PROTOCOL": "HTTP/1.1"}, codec, True)
    x.start_response("200 OK", [])
    x.begin()
    wire = b"".join(part for piece in pieces for part in codec.body(x, piece)) + codec.end(x) + b"rest"
    at = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    parts = [wire[start:stop] for start, stop in zip([0, *at], [*at, len(wire)], strict=True)]
    assert decode(parts) == (b"".join(pieces), b"rest", True)


ALPHABET = st.sampled_from([b"0", b"1", b"5", b"a", b"\r\n", b"\r", b"\n", b";", b" ", b"x", b"A: b", b":"])


@settings(max_examples=300)
@given(st.lists(ALPHABET, max_size=25).map(b"".join))
def test_only_protocol_errors_escape_and_cuts_do_not_matter(wire):
    verdicts = []
    for how in CUTS:
        try:
            body, _, ended = decode(cut(wire, how))
            verdicts.append((body, ended))
        except ProtocolError as error:
            verdicts.append(error.status)
    assert verdicts[0] == verdicts[1]
