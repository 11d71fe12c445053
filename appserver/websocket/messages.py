"""Frames taken apart into messages; what may not be in them is found here, for both fronts.

wsproto has the rules of frames. Over HTTP it gets the bytes as they come. Mongrel2 has read the frames
itself, and tells of each message its first byte and what was in it: that is made a frame again, without a
mask.
"""

from __future__ import annotations

from struct import unpack_from
from sys import getsizeof
from typing import TYPE_CHECKING

from wsproto.frame_protocol import CloseReason, FrameDecoder, MessageDecoder, ParseFailed

from appserver.websocket.frames import CLOSE, NO_CODE, Event, Violation, frame, is_code, payload_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsproto.frame_protocol import Frame, Header

    from appserver.websocket.deflate import Deflate

_RSV1 = 0x40
_WORTH_PACKING = 512  # bytes of a message
_BESIDES = 120  # bytes of a message that waits, besides its payload: also those without any are to be bounded


class Messages:
    """Take one client's frames apart; messages may have *limit* bytes.

    Those that Mongrel2 has read are not *masked* any more.
    """

    __slots__ = ("_begun", "_decoder", "_deflate", "_joiner", "_limit", "_over")

    def __init__(self, limit: int, deflate: Deflate | None = None, *, masked: bool = True) -> None:
        self._limit = limit
        self._deflate = deflate
        # wsproto's `FrameProtocol`, which has both, refers to itself, and looks at no length (1.3.2).
        self._decoder = FrameDecoder(not masked, [deflate] if deflate is not None else [])
        self._joiner = MessageDecoder()
        self._over = False  # nothing more is to come
        self._begun = bytearray()  # a message, of which each byte may be a fragment

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes and yield what they complete; raise `Violation`, after which nothing more is to come.

        Who stops before the end goes on with the next call.
        """
        decoder = self._decoder
        decoder.receive_bytes(data)
        try:
            while not self._over:
                each = decoder.process_buffer()
                if each is not None:
                    event = self._control(each) if each.opcode.iscontrol() else self._piece(each)
                    if event is not None:
                        yield event
                if decoder.header is not None:
                    self._check_announced(decoder.header)
                if each is None:
                    return
        except ParseFailed as error:
            self._over = True
            raise Violation(int(error.code), str(error)) from None
        except Violation:
            self._over = True
            raise

    def _check_announced(self, header: Header) -> None:
        """Refuse a frame before it has come; of a packed one nobody knows yet what is in it."""
        packed = self._deflate is not None and self._deflate.packed
        if not packed and not header.opcode.iscontrol():
            self._check_size(header.payload_len - self._decoder.payload_consumed)

    def _check_size(self, more: int) -> None:
        if len(self._begun) + more > self._limit:
            raise Violation(CloseReason.MESSAGE_TOO_BIG, f"the message has more than {self._limit} bytes")

    def _control(self, each: Frame) -> Event:
        payload = each.payload
        assert isinstance(payload, bytes)
        kind = int(each.opcode)
        if kind != CLOSE:
            return Event(kind, payload)
        self._over = True
        if not payload:
            return Event(kind, "", 0, NO_CODE)
        code: int = unpack_from("!H", payload)[0] if len(payload) > 1 else 0
        if not is_code(code):
            raise Violation(CloseReason.PROTOCOL_ERROR, "a close frame has no good code")
        try:
            return Event(kind, payload[2:].decode(), 0, code)
        except UnicodeDecodeError as error:
            raise Violation(CloseReason.INVALID_FRAME_PAYLOAD_DATA, str(error)) from None

    def _piece(self, frame: Frame) -> Event | None:
        each = self._joiner.process_frame(frame)
        piece = each.payload
        assert isinstance(piece, (str, bytes))
        data = piece if isinstance(piece, bytes) else piece.encode()
        self._check_size(len(data))
        if self._begun or not each.message_finished:
            self._begun += data
            if not each.message_finished:
                return None
            piece = bytes(self._begun) if isinstance(piece, bytes) else self._begun.decode()
            self._begun.clear()
        return Event(int(each.opcode), piece, getsizeof(piece) + _BESIDES)  # text may be 4 bytes a character

    def message(self, data: str | bytes) -> bytes:
        """Return the frame of a message to the client, packed where that is agreed and worth it."""
        kind, payload = payload_of(data)
        if self._deflate is not None and len(payload) >= _WORTH_PACKING:
            return frame(kind | _RSV1, self._deflate.pack(payload))
        return frame(kind, payload)
