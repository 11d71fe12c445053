"""SCGI: a netstring of NUL-ended variables, then the body.

Specification: "SCGI: A Simple Common Gateway Interface alternative", N. Schemenauer, 2008.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from appserver.protocols.cgi import CgiVariables, exchange
from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import (
    BAD_REQUEST,
    HEAD_TOO_LARGE,
    CgiAnswers,
    ChunkedBody,
    http_refusal,
)
from appserver.protocols.stranger import stranger

if TYPE_CHECKING:
    from appserver.exchange import Exchange

_DIGITS: Final = 9  # of the netstring's length; more is no SCGI


class ScgiVariables(CgiVariables):
    """Variables with a NUL behind each name and value."""

    def cut(self, data: bytes, text: str, at: int) -> tuple[str, str, int]:
        middle = text.find("\0", at)  # which costs less compiled than that of bytes
        stop = text.find("\0", middle + 1)
        if middle <= at or stop < 0:
            raise ProtocolError(BAD_REQUEST, self.overrun)
        return text[at:middle], text[middle + 1 : stop], stop + 1

    def lead(self, said: bytes, name: str) -> tuple[bytes, bytes]:
        return said[: len(name) + 1], b""


VARIABLES: Final = ScgiVariables("The SCGI variables are not pairs of name and value.", mark="\0")


class ScgiCodec(CgiAnswers):
    """Decode one SCGI request of a connection; its answer ends with the connection."""

    __slots__ = ("base", "exact", "http", "limit")

    plain = True
    verbatim = True

    def __init__(self, base: dict[str, Any], limit: int = 65536) -> None:
        super().__init__()
        self.base = base
        self.limit = limit
        self.exact = False  # see `receive`
        self.http = False  # the peer speaks HTTP

    def receive(self, data: bytes) -> Exchange | None:
        packet = self.buffer + data if self.buffer else data
        colon = packet.find(b":", 0, _DIGITS + 1)
        if colon < 0:
            self._check_start(packet, packet)
            self.buffer = packet
            return None
        digits = packet[:colon]
        self._check_start(digits, packet)
        if not digits or (digits[0] == 0x30 and colon > 1):
            raise ProtocolError(BAD_REQUEST, f"{digits!r} is no netstring length.")
        size = int(digits)
        if size > self.limit:
            raise ProtocolError(
                HEAD_TOO_LARGE,
                f"The request's variables have {size} bytes, buffer-size allows {self.limit}.",
                hint=f"Raise buffer-size to {size} or more.",
            )
        end = colon + 1 + size
        if len(packet) <= end:
            self.buffer = packet
            return None
        if packet[end] != 0x2C:
            raise ProtocolError(BAD_REQUEST, "The SCGI variables do not end with a comma.")
        environ = VARIABLES.read(packet, colon + 1, end, self.base)
        # With scgi_request_buffering off nginx announces only what it has at that moment, and sends on; where
        # its client has announced no more than that, nothing is to come.
        length = environ.get("HTTP_CONTENT_LENGTH")
        self.exact = length is not None and length == environ.get("CONTENT_LENGTH")
        x = exchange(environ, self)
        if x.environ.get("SCGI") != "1":
            raise ProtocolError(BAD_REQUEST, "The request does not say SCGI=1.")
        self.buffer = packet[end + 1 :]
        if x.body_left < 0:
            self.chunks = ChunkedBody()
        return x

    def _check_start(self, digits: bytes, packet: bytes) -> None:
        if digits and not digits.isdigit():
            error = stranger("SCGI", packet)
            self.http = error.answer
            raise error
        if len(digits) > _DIGITS:
            raise ProtocolError(BAD_REQUEST, "The netstring's length has too many digits.")

    def head(self, x: Exchange) -> bytes:
        x.keep_alive = False
        return super().head(x)

    def whole(self, x: Exchange, head: bytes, data: bytes) -> bytes:
        return head + data

    def refuse(self, error: ProtocolError, x: Exchange | None = None) -> bytes:
        if self.http:
            return http_refusal(error, x)
        return super().refuse(error, x)
