"""What several protocols write and read alike: HTTP heads, CGI heads and chunked bodies."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from appserver.exchange import DATE
from appserver.protocols.codec import AT_ONCE, Codec, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.exchange import Exchange
    from appserver.protocols.codec import Piece

BAD_REQUEST: Final = "400 Bad Request"
TOO_LARGE: Final = "413 Content Too Large"
HEAD_TOO_LARGE: Final = "431 Request Header Fields Too Large"
OVERDUE = ProtocolError("504 Gateway Timeout", "The application took too long.")
BUSY = ProtocolError("503 Service Unavailable", "Too many requests wait.", retry_after=1)
LATE = ProtocolError("503 Service Unavailable", "The request has waited too long.", retry_after=1)
SKIPPED: Final = 262144  # bytes of a body that nobody reads which are read for the sake of the next request
UNSERVED = ProtocolError("500 Internal Server Error", "The request cannot be served.")  # it is our fault
BROKEN = ProtocolError("502 Bad Gateway", "The process that was to answer has ended.")


def head_of(first: str, x: Exchange, last: str = "") -> bytes:
    """Return the head of *x*'s answer: the first line, its fields, *last* and the blank line."""
    lines = [first]
    for name, value in x.headers:
        lines.append(f"{name}: {value}")
    lines.append(last + "\r\n" if last else "\r\n")
    return "\r\n".join(lines).encode("latin-1")


def refusal(first: str, error: ProtocolError, x: Exchange | None = None, date: str = "") -> bytes:
    """Return a whole plain-text answer that says why a request is refused, *x* if it became one.

    Its size is noted in *x*. *date* is the line of a Date, where nobody behind us adds that.
    """
    fields = (f"Retry-After: {error.retry_after}\r\n" if error.retry_after else "") + date
    bodiless = error.bodiless if x is None else x.method == "HEAD"
    answer = _refusal(first, error.reason, error.hint, fields, bodiless)
    if x is not None:
        x.head_size = answer.find(b"\r\n\r\n") + 4
        x.sent = len(answer) - x.head_size
    return answer


@lru_cache(64)  # a flood of bad requests has few reasons
def _refusal(first: str, reason: str, hint: str, fields: str, bodiless: bool) -> bytes:
    text = f"{reason}\n{hint}\n" if hint else f"{reason}\n"
    body = text.encode("latin-1", "replace")
    head = (
        f"{first}\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
        f"Content-Length: {len(body)}\r\n{fields}Connection: close\r\n\r\n"
    ).encode("latin-1")
    return head if bodiless else head + body


def http_refusal(error: ProtocolError, x: Exchange | None = None) -> bytes:
    """Return the same as whoever speaks HTTP gets it, with nobody behind us who would add what is missing."""
    return refusal(f"HTTP/1.1 {error.status}", error, x, DATE.line())


@mypyc_attr(allow_interpreted_subclasses=True)
class HttpAnswers(Codec):
    """Frame answers as HTTP/1.1 does (RFC 9112 section 6): by length, by chunks or by the end."""

    __slots__ = ()
    dated = True

    def head(self, x: Exchange) -> bytes:
        http11 = x.protocol == "HTTP/1.1"
        last = "" if x.dated else DATE.line()
        # With `expect` nobody knows whether the body comes (RFC 9110 section 10.1.1).
        if x.body_left and (x.expect or x.body_left > SKIPPED):
            x.keep_alive = False
        if x.length is None and not x.bodiless:
            if http11:
                x.chunked = True
                last += "Transfer-Encoding: chunked\r\n"
            else:
                x.keep_alive = False
        if not x.keep_alive:
            last += "Connection: close\r\n"
        elif not http11:
            last += "Connection: keep-alive\r\n"
        return head_of(f"HTTP/1.1 {x.status}", x, last)

    def whole(self, x: Exchange, head: bytes, data: bytes) -> bytes:
        return head + data

    def body(self, x: Exchange, data: bytes) -> Sequence[Piece]:
        return (b"%x\r\n" % len(data), data, b"\r\n") if x.chunked else (data,)

    def end(self, x: Exchange) -> bytes:
        return b"0\r\n\r\n" if x.chunked else b""

    def refuse(self, error: ProtocolError, x: Exchange | None = None) -> bytes:
        return http_refusal(error, x)


@mypyc_attr(allow_interpreted_subclasses=True)
class CgiAnswers(Codec):
    """Begin answers with a CGI ``Status`` field (RFC 3875 section 6.3.3)."""

    __slots__ = ()
    cgi = True

    def head(self, x: Exchange) -> bytes:
        return head_of("Status: " + x.status, x)

    def refuse(self, error: ProtocolError, x: Exchange | None = None) -> bytes:
        return refusal(f"Status: {error.status}", error, x)


_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_EXTENSION = rb"[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?" % (_TOKEN, _TOKEN, _QUOTED)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:%b)*" % _EXTENSION).fullmatch
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*").fullmatch
# These would frame, route or admit a request that has been taken for another (RFC 9110 section 6.5.1).
_NO_TRAILERS = frozenset(
    {b"authorization", b"content-length", b"host", b"te", b"trailer", b"transfer-encoding"}
)
_LINE_LIMIT: Final = 4096  # chunk extensions and trailer fields are thrown away; nobody needs long ones
_LONG_LINE: Final = 32  # bytes of a line that are as much work as one more chunk
_SMALL: Final = 256  # bytes of a chunk from which on its line costs nothing to speak of


class ChunkedBody:
    """Decode a chunked body (RFC 9112 section 7.1), strictly; trailers are checked and dropped.

    It may have so many small *chunks*, of fewer than 256 bytes: long bodies, whose pieces are larger, never
    meet that limit. *trailers* is how many fields may stand behind them.
    """

    __slots__ = ("behind", "chunks", "left", "trailers")

    def __init__(self, chunks: int = 1_000_000, trailers: int = 64) -> None:
        self.left = 0  # bytes of the chunk, its CRLF included; -1 among the trailers
        self.chunks = chunks  # small ones that may still come
        self.trailers = trailers
        self.behind = False  # more of what has come can be used, but enough was for now

    def decode(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Return the body bytes in *data*, what has not been used yet, and whether it ended."""
        pieces = []
        at = 0
        room = AT_ONCE  # lines; a long one counts as several
        self.behind = False
        while True:
            if self.left > 0:
                if self.left > 2:
                    piece = data[at : at + self.left - 2]
                    pieces.append(piece)
                    at += len(piece)
                    self.left -= len(piece)
                if self.left > 2 or len(data) - at < 2:
                    break
                if data[at : at + 2] != b"\r\n":
                    raise ProtocolError(BAD_REQUEST, "A chunk is longer than its size says.")
                at += 2
                self.left = 0
            end = data.find(b"\n", at, at + _LINE_LIMIT)
            if end < 0:
                self._check_partial(data, at)
                break
            if end == at or data[end - 1] != 0x0D:
                raise ProtocolError(BAD_REQUEST, "A line of the chunked body ends without CRLF.")
            if room <= 0:
                self.behind = True
                break
            room -= 1 + (end - at) // _LONG_LINE
            line = data[at : end - 1]
            at = end + 1
            if self.left < 0:
                if not line:
                    return b"".join(pieces), data[at:], True
                self._check_trailer(line)
                continue
            size = _CHUNK(line)
            if size is None:
                raise ProtocolError(BAD_REQUEST, "A chunk begins with what is no chunk size.")
            count = int(size[1], 16)
            if not count:
                self.left = -1
                continue
            self.left = count + 2
            if count < _SMALL:
                self.chunks -= 1
                if self.chunks < 0:
                    raise ProtocolError(
                        TOO_LARGE, "The body has more small chunks than limit-request-chunks."
                    )
        return b"".join(pieces), data[at:], False

    def _check_partial(self, data: bytes, at: int) -> None:
        if len(data) - at >= _LINE_LIMIT:
            raise ProtocolError(BAD_REQUEST, "A line of the chunked body is too long.")
        cr = data.find(b"\r", at)
        if 0 <= cr < len(data) - 1:
            raise ProtocolError(BAD_REQUEST, "A line of the chunked body has a bare CR.")

    def _check_trailer(self, line: bytes) -> None:
        self.trailers -= 1
        if self.trailers < 0:
            raise ProtocolError(HEAD_TOO_LARGE, "There are more trailer fields than limit-request-trailers.")
        if not _TRAILER(line):
            raise ProtocolError(BAD_REQUEST, "Behind the last chunk there is what is no trailer field.")
        if line.partition(b":")[0].lower() in _NO_TRAILERS:
            raise ProtocolError(BAD_REQUEST, "A field stands behind the last chunk that may not stand there.")
