"""FastCGI: records mean the same however they are cut, and what is said to them is records, too."""

from __future__ import annotations

import struct

from appserver.protocols.codec import ProtocolError
from appserver.protocols.fastcgi import VARIABLES, FastcgiCodec, pair, record
from tests.fuzz import gateway
from tests.protocols.feeding import feed

_BEGIN = b"\0\1\1\0\0\0\0\0"
PIECES = [
    *(record(kind, request, content) for request in (0, 1, 2) for kind, content in (
        (1, _BEGIN), (1, b"\0\2\1\0\0\0\0\0"), (2, b""), (4, b""), (5, b""), (5, b"hello"), (8, b"x"), (9, b""), (77, b"x"))),
    *(record(4, 1, pair(name, value)) for name, value in (
        (b"REQUEST_METHOD", b"GET"), (b"REQUEST_METHOD", b"POST"), (b"REQUEST_URI", b"/%41?b"), (b"PATH_INFO", b"/a"),
        (b"CONTENT_LENGTH", b"5"), (b"CONTENT_LENGTH", b""), (b"HTTP_HOST", b"h"), (b"HTTP_PROXY", b"x"), (b"A", b"b" * 200),
        (b"HTTP_TRANSFER_ENCODING", b"chunked"), (b"A\r\nB", b"c"), (b"wsgi.input", b"x"))),
    record(9, 0, pair(b"FCGI_MPXS_CONNS", b"")), record(4, 1, b"\x80\0\0\1"), record(4, 1, b"\xff\xff\xff\xff" * 2),
    b"\1\4\0\1", b"\1\5\0\1\xff\xff\xff\0", b"\2", b"GET / HTTP/1.1\r\n",
]  # fmt: skip


def check(data: bytes) -> None:
    """Fail where a sequence of bytes has two meanings."""
    gateway.check(lambda limit: FastcgiCodec({}, limit), data, early=_served_before_its_end)
    _check_pairs(data)
    codec = FastcgiCodec({})
    try:
        codec.receive(data[1:])
    except ProtocolError:
        pass
    else:
        codec.aborted(data)
    _check_records(codec.replies)


def _served_before_its_end(wire: bytes) -> bool:
    """Tell whether a request without a body ends here, as it does for haproxy, which does not end its STDIN."""
    codec = FastcgiCodec({})
    feed(codec, [wire])
    return codec.late != 0 and not codec.buffer


def _check_pairs(data: bytes) -> None:
    """Fail where pairs that have been read are not those that are written."""
    try:
        every = VARIABLES.every(data, 0, len(data))
    except ProtocolError:
        return
    plain = all(name and VARIABLES.key(name) == name and value.isprintable() for name, value in every)
    if plain and len(dict(every)) == len(every):
        assert VARIABLES.read(data, 0, len(data), {}) == dict(every)
    again = b"".join(pair(name.encode("latin-1"), value.encode("latin-1")) for name, value in every)
    assert VARIABLES.every(again, 0, len(again)) == every
    assert len(again) <= len(data), "lengths may be written longer than they need"


def _check_records(data: bytes) -> None:
    while data:
        version, _, _, size, padding = struct.unpack(">BBHHBx", data[:8])
        assert version == 1
        assert len(data) >= 8 + size + padding
        data = data[8 + size + padding :]
