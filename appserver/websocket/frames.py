"""Frames taken apart into messages, and made; what may not be in them is found here, for both fronts.

wsproto has the rules. Over HTTP it gets the bytes as they come. Mongrel2 has read the frames itself, and
tells of each message its first byte and what was in it: that is made a frame again, without a mask.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, NamedTuple

from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsproto.frame_protocol import Frame

    from appserver.websocket.deflate import Deflate

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LARGEST_CONTROL = 125
FIN, _RSV1, _MASK = 0x80, 0x40, 0x80
_WORTH_PACKING = 512  # bytes of a message


class Event(NamedTuple):
    """A message, or a control frame, with the payload; of a close frame that is its reason."""

    kind: int
    data: str | bytes
    size: int = 0  # bytes of a message
    code: int = 0  # of a close frame; 1005 where it has none


class Violation(Exception):
    """Say what a client may not send, and the code that its connection ends with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Frames:
    """Take one client's frames apart; messages may have *limit* bytes.

    Those that Mongrel2 has read are not *masked* any more.
    """

    __slots__ = ("_deflate", "_limit", "_pieces", "_protocol", "_size")

    def __init__(self, limit: int, deflate: Deflate | None = None, *, masked: bool = True) -> None:
        self._limit = limit
        self._deflate = deflate
        self._protocol = FrameProtocol(not masked, [deflate] if deflate is not None else [])
        self._pieces: list[str | bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes and yield what they complete; raise `Violation`, after which nothing more is to come."""
        self._protocol.receive_bytes(data)
        try:
            for each in self._protocol.received_frames():
                event = self._control(each) if each.opcode.iscontrol() else self._piece(each)
                if event is not None:
                    yield event
        except ParseFailed as error:
            raise Violation(int(error.code), str(error)) from None

    def _control(self, each: Frame) -> Event:
        payload = each.payload
        if isinstance(payload, tuple):
            return Event(CLOSE, payload[1], 0, int(payload[0]))
        assert isinstance(payload, bytes)
        return Event(int(each.opcode), payload)

    def _piece(self, each: Frame) -> Event | None:
        piece = each.payload
        assert isinstance(piece, (str, bytes))
        if piece:
            self._size += len(piece) if isinstance(piece, bytes) or piece.isascii() else len(piece.encode())
            if self._size > self._limit:
                reason = f"the message has more than {self._limit} bytes"
                raise Violation(CloseReason.MESSAGE_TOO_BIG, reason)
            self._pieces.append(piece)
        if not each.message_finished:
            return None
        pieces, size = self._pieces, self._size
        self._pieces, self._size = [], 0
        if each.opcode is Opcode.TEXT:
            return Event(TEXT, "".join(pieces), size)  # type: ignore[arg-type]
        return Event(BINARY, b"".join(pieces), size)  # type: ignore[arg-type]

    def message(self, data: str | bytes) -> bytes:
        """Return the frame of a message to the client, packed where that is agreed and worth it."""
        kind, payload = payload_of(data)
        if self._deflate is not None and len(payload) >= _WORTH_PACKING:
            return frame(kind | _RSV1, self._deflate.pack(payload))
        return frame(kind, payload)


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


def closing(code: int, reason: str) -> bytes:
    """Return a close frame, with as much of *reason* as there is room for; one without a code for 1005."""
    if code == CloseReason.NO_STATUS_RCVD:
        return frame(CLOSE, b"")
    text = reason.encode()[: LARGEST_CONTROL - 2].decode(errors="ignore").encode()
    return frame(CLOSE, pack("!H", code) + text)
