"""Frames taken apart into messages; what may not be in them is found here, for both fronts.

wsproto has the rules. Over HTTP it gets the bytes as they come. Mongrel2 has read the frames itself, and
tells of each message its first byte and what was in it: that is made a frame again, without a mask.
"""

from __future__ import annotations

from sys import getsizeof
from typing import TYPE_CHECKING

from wsproto.frame_protocol import CloseReason, FrameProtocol, ParseFailed

from appserver.websocket.frames import CLOSE, Event, Violation, frame, payload_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsproto.frame_protocol import Frame

    from appserver.websocket.deflate import Deflate

_RSV1 = 0x40
_WORTH_PACKING = 512  # bytes of a message
_BESIDES = 120  # bytes of a message that waits, besides its payload: also those without any are to be bounded


class Messages:
    """Take one client's frames apart; messages may have *limit* bytes.

    Those that Mongrel2 has read are not *masked* any more.
    """

    __slots__ = ("_begun", "_deflate", "_limit", "_protocol")

    def __init__(self, limit: int, deflate: Deflate | None = None, *, masked: bool = True) -> None:
        self._limit = limit
        self._deflate = deflate
        self._protocol = FrameProtocol(not masked, [deflate] if deflate is not None else [])
        self._begun = bytearray()  # a message, of which each byte may be a fragment

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes and yield what they complete; raise `Violation`, after which nothing more is to come.

        Who stops before the end goes on with the next call.
        """
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
        data = piece if isinstance(piece, bytes) else piece.encode()
        size = len(self._begun) + len(data)
        if size > self._limit:
            reason = f"the message has more than {self._limit} bytes"
            raise Violation(CloseReason.MESSAGE_TOO_BIG, reason)
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
