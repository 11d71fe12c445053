"""WebSocket: frames mean the same however they are cut, and what a slow reader of RFC 6455 section 5 finds in them."""

from __future__ import annotations

import codecs

from appserver.websocket.deflate import Deflate
from appserver.websocket.frames import NO_CODE, Violation
from appserver.websocket.messages import Messages

LIMIT = 300  # bytes of a message
CODES = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, *range(3000, 5000)}

PIECES = [
    b"\x81\x85\0\0\0\0hello", b"\x01\x83\0\0\0\0hel", b"\x80\x82\0\0\0\0lo", b"\x00\x80\0\0\0\0", b"\x82\x81\1\2\3\4x",
    b"\x89\x80\0\0\0\0", b"\x8a\x80\0\0\0\0", b"\x88\x80\0\0\0\0", b"\x88\x82\0\0\0\0\x03\xe8", b"\x88\x81\0\0\0\0\x03",
    b"\x88\x85\0\0\0\0\x03\xe8\xc3\xa9x", b"\x88\x83\0\0\0\0\x03\xe9\xff", b"\x81\xfe\0\x7e\0\0\0\0", b"\x81\xfe\0\x05\0\0\0\0hello",
    b"\x82\xff\0\0\0\0\0\1\0\0\0\0\0\0", b"\x82\xff\x3f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0",
    b"\x81\x82\0\0\0\0\xc3\xa9", b"\x01\x81\0\0\0\0\xc3", b"\x80\x81\0\0\0\0\xa9", b"\x81\x81\0\0\0\0\xff", b"\x83\x80\0\0\0\0",
    b"\xc1\x87\0\0\0\0\xcaH\xcd\xc9\xc9\x07\0", b"\x41\x83\0\0\0\0\xf2\x48\xcd", b"\x80\x84\0\0\0\0\xc9\xc9\x07\0", b"\x09\x80\0\0\0\0",
    b"\x81\x05hello", b"\x89\xfe\0\x7e\0\0\0\0",
]  # fmt: skip


def check(data: bytes) -> None:
    """Fail where a sequence of bytes has two meanings, or one that it has not."""
    packs, step, data = data[:1] >= b"\x80", 1 + (data[0] % 7 if data else 0), data[1:]
    whole, code = _ours(packs, [data])
    for pieces in (
        [data[at : at + step] for at in range(0, len(data), step)],
        [data[: len(data) // 2], data[len(data) // 2 :]],
    ):
        found, other = _ours(packs, pieces)
        assert found == whole
        assert _alike(code, other, packs)
    if not packs:
        found, other = _slow(data)
        assert found == whole
        assert _alike(code, other)


def _alike(one, other, packs=False):
    """Tell whether both are nothing, or what may be wrong with the same frame, which may be too long besides."""
    return one == other or (None not in {one, other} and (packs or 1009 in {one, other}))


def _ours(packs, pieces):
    """Return what is in the frames up to a close, and the code of what is wrong with them."""
    messages = Messages(LIMIT, Deflate(LIMIT) if packs else None)
    found = []
    for piece in pieces:
        try:
            for event in messages.feed(piece):
                found.append((event.kind, event.data, event.code))
                if event.kind == 8:
                    return found, None
        except Violation as error:
            return found, error.code
    return found, None


def _slow(data):
    """Return the same, read by the letter."""
    found = []
    try:
        for _ in _read(data, found):
            pass
    except Violation as error:
        return found, error.code
    return found, None


def _wrong(code, *conditions):
    if any(conditions):
        raise Violation(code, "")


def _read(data, found):
    begun = None  # the kind of a message that has begun, what there is of it, and of its text
    while len(data) >= 2:
        first, second = data[0], data[1]
        kind, size, at = first & 15, second & 127, 2
        control = kind >= 8
        _wrong(1002, kind not in {0, 1, 2, 8, 9, 10}, control and not first & 128, control and size > 125)
        if size > 125:
            more = 2 if size == 126 else 8
            if len(data) < 2 + more:
                return
            size, at = int.from_bytes(data[2 : 2 + more]), 2 + more
            _wrong(1002, size < (126 if more == 2 else 65536), size >= 1 << 63)
        _wrong(1002, first & 0x70, not second & 128)
        if len(data) < at + 4:
            return
        mask, payload = data[at : at + 4], data[at + 4 : at + 4 + size]
        data, whole = data[at + 4 + size :], len(payload) == size
        payload = bytes(byte ^ mask[each % 4] for each, byte in enumerate(payload))
        if control:
            if whole:
                found.append((kind, *(_closing(payload) if kind == 8 else (payload, 0))))
                yield
                if kind == 8:
                    return
            continue
        if not payload and size:
            _wrong(1009, len(begun[1] if begun else b"") + size > LIMIT)
            return
        _wrong(1002, (kind == 0) != (begun is not None))
        if begun is None:
            begun = [kind, b"", codecs.getincrementaldecoder("utf-8")()]
        begun[1] += payload
        last = whole and first & 128
        if begun[0] == 1:
            try:
                begun[2].decode(payload, bool(last))
            except UnicodeDecodeError:
                raise Violation(1007, "") from None
        _wrong(1009, len(begun[1]) + size - len(payload) > LIMIT)
        if last:
            found.append((begun[0], begun[1].decode() if begun[0] == 1 else begun[1], 0))
            yield
            begun = None


def _closing(payload):
    """Return the reason and the code of a close frame."""
    if not payload:
        return "", NO_CODE
    code = int.from_bytes(payload[:2])
    _wrong(1002, len(payload) == 1, code not in CODES)
    try:
        return payload[2:].decode(), code
    except UnicodeDecodeError:
        raise Violation(1007, "") from None
