"""permessage-deflate (RFC 7692): each message packed by itself, and unpacked no further than its limit.

Neither side keeps a window between messages. It would be 300 KiB for each connection, idle ones too, and
what one message has in common with another would show in their lengths.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Opcode, RsvBits

if TYPE_CHECKING:
    from wsproto.frame_protocol import FrameDecoder, FrameProtocol

_TAIL = b"\0\0\xff\xff"  # what a sender leaves away, section 7.2.1
_BITS = re.compile(r"(?:9|1[0-5])").fullmatch  # zlib cannot do 8
_FLAGS = frozenset({"server_no_context_takeover", "client_no_context_takeover"})


class Deflate(Extension):
    """Unpack for wsproto what a client has packed, up to *limit* bytes a message, and pack for it.

    wsproto's own extension unpacks whatever comes, and forgets that a message is packed where a ping comes
    between its frames (1.3.2); it keeps windows, besides, where the client does not ask it not to.
    """

    name = "permessage-deflate"

    def __init__(self, limit: int, bits: int = 0) -> None:
        self.limit = limit
        self.bits = bits  # of the window that the client asks for; 0 = it asks for none
        self._unpacks: zlib._Decompress | None = None  # of the message that comes
        self._control = False  # the frame that comes is none of a message
        self._size = 0

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        return False  # clients do

    @property
    def packed(self) -> bool:
        """Whether the message that comes is packed."""
        return self._unpacks is not None

    def answer(self) -> str:
        """Return what the answer says of it."""
        bits = f"; server_max_window_bits={self.bits}" if self.bits else ""  # said again, it is accepted
        return f"{self.name}; server_no_context_takeover; client_no_context_takeover{bits}"

    def pack(self, data: bytes) -> bytes:
        """Return a message as it goes into one frame with RSV1."""
        packer = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -(self.bits or zlib.MAX_WBITS))
        return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)[: -len(_TAIL)]

    # What wsproto calls for each frame

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        self._control = opcode.iscontrol()
        begins = not self._control and opcode is not Opcode.CONTINUATION
        if rsv.rsv1 and begins:
            self._unpacks = zlib.decompressobj(-zlib.MAX_WBITS)
            self._size = 0
        return RsvBits(begins, False, False)

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        if self._control or self._unpacks is None:
            return data
        return self._unpack(self._unpacks, data)

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        if self._control or self._unpacks is None or not fin:
            return None
        found = self._unpack(self._unpacks, _TAIL)
        self._unpacks = None
        return found

    def _unpack(self, unpacks: zlib._Decompress, data: bytes) -> bytes | CloseReason:
        """Unpack a part of a message, in which blocks may follow one with BFINAL (section 7.2.1).

        zlib is at its end there, and would keep whatever follows without a look at it.
        """
        found = []
        while data:
            if unpacks.eof:
                unpacks = self._unpacks = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                piece = unpacks.decompress(data, self.limit - self._size + 1)
            except zlib.error:
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
            self._size += len(piece)
            if self._size > self.limit:
                return CloseReason.MESSAGE_TOO_BIG
            found.append(piece)
            data = unpacks.unused_data
        return b"".join(found)


def negotiated(offers: str, limit: int) -> Deflate | None:
    """Return what fits the first of a client's offers that can be met, None where none can."""
    for offer in offers.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == Deflate.name and (bits := _bits(parameters)) is not None:
            return Deflate(limit, bits)
    return None


def _bits(parameters: list[str]) -> int | None:
    """Return the window bits that an offer asks us to pack with, 0 for none; None where it cannot be met."""
    bits = 0
    seen = set()
    for parameter in parameters:
        name, given, value = (part.strip() for part in parameter.partition("="))
        value = value.strip('"')
        if name in seen:
            return None
        seen.add(name)
        if name in _FLAGS and not given:
            continue
        if name == "server_max_window_bits" and _BITS(value):
            bits = int(value)
        elif name != "client_max_window_bits" or (given and not (_BITS(value) or value == "8")):
            return None
    return bits
