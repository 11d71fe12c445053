"""Frames: how they are made, and what is told of those that come."""

from __future__ import annotations

from struct import pack
from typing import NamedTuple

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LARGEST_CONTROL = 125
NO_CODE = 1005  # what stands for the code of a close frame that has none
FIN, _MASK = 0x80, 0x80
# RFC 6455 section 7.4.1 and IANA's registry (1012 to 1014), without those that no frame may have.
_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})


class Event(NamedTuple):
    """A message, or a control frame, with the payload; of a close frame that is its reason."""

    kind: int
    data: str | bytes
    size: int = 0  # bytes of memory that a message is taken to need
    code: int = 0  # of a close frame; `NO_CODE` where it has none


class Violation(Exception):
    """Say what a client may not send, and the code that its connection ends with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def payload_of(data: str | bytes) -> tuple[int, bytes]:
    """Return the opcode and the payload of a message; raise `TypeError` for what is none."""
    if isinstance(data, str):
        return TEXT, data.encode()
    if isinstance(data, (bytes, bytearray, memoryview)):
        return BINARY, bytes(data)
    raise TypeError(f"a message is str or bytes, not {type(data).__name__}")


def frame(kind: int, payload: bytes, mask: bytes = b"") -> bytes:
    """Return a whole frame; *kind* is an opcode, and may have reserved bits."""
    size = len(payload)
    masked = _MASK if mask else 0
    if size < 126:
        head = pack("!BB", FIN | kind, masked | size)
    elif size < 65536:
        head = pack("!BBH", FIN | kind, masked | 126, size)
    else:
        head = pack("!BBQ", FIN | kind, masked | 127, size)
    return head + mask + payload


def is_code(code: int) -> bool:
    """Tell whether a close frame may have *code*, from either side."""
    return code in _CODES or 3000 <= code < 5000


def closing(code: int, reason: str) -> bytes:
    """Return a close frame with as much of *reason* as there is room for; an empty one for `NO_CODE`."""
    if code == NO_CODE:
        return frame(CLOSE, b"")
    text = reason.encode()[: LARGEST_CONTROL - 2].decode(errors="ignore").encode()
    return frame(CLOSE, pack("!H", code) + text)
