"""FastCGI: records that carry variables, the body and the answer of one request at a time.

Specification: "FastCGI Specification" 1.0, Open Market, 1996 (sections in brackets below).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from appserver.protocols.cgi import CgiVariables, exchange
from appserver.protocols.codec import AT_ONCE, ProtocolError
from appserver.protocols.forms import NOWHERE
from appserver.protocols.framing import BAD_REQUEST, HEAD_TOO_LARGE, CgiAnswers, head_of, http_refusal
from appserver.protocols.stranger import stranger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.exchange import Exchange
    from appserver.protocols.codec import Piece

# Types of records (3.3), the role and the flag of a request (5.1), how it has ended (5.5).
BEGIN: Final = 1
ABORT: Final = 2
END: Final = 3
PARAMS: Final = 4
STDIN: Final = 5
STDOUT: Final = 6
STDERR: Final = 7
DATA: Final = 8
GET_VALUES: Final = 9
GET_VALUES_RESULT: Final = 10
UNKNOWN_TYPE: Final = 11
RESPONDER: Final = 1
KEEP_CONN: Final = 1
REQUEST_COMPLETE: Final = 0
CANT_MPX_CONN: Final = 1
OVERLOADED: Final = 2
UNKNOWN_ROLE: Final = 3

_header: Final = Struct(">BBHHBx")
_ending: Final = Struct(">BBHHBxBBHHBxLB3x")  # the last records of an answer (5.3, 5.5)
_LARGEST: Final = 65535 - 7  # of a record's content, so that content and padding stay in eights
# One request at a time on a connection (4.1): a front end that asks is told so.
_VALUES = {"FCGI_MPXS_CONNS": b"0"}
_APART: Final = 4096  # bytes of a record from which on a copy costs more than one piece more
_UNSAID: Final = 'With fastcgi_pass_request_body off nginx needs fastcgi_param CONTENT_LENGTH ""; too.'
_SAYINGS: Final = 1000  # answers to records outside a request, of which nobody needs many


def record(kind: int, request: int, content: bytes) -> bytes:
    """Return one record (3.3); *content* is 65,535 bytes at most."""
    return _header.pack(1, kind, request, len(content), 0) + content


def pair(name: bytes, value: bytes) -> bytes:
    """Return one name-value pair (3.4)."""
    return b"".join(
        size.to_bytes(1, "big") if size < 128 else (size | 1 << 31).to_bytes(4, "big")
        for size in (len(name), len(value))
    ) + name + value  # fmt: skip


class Pairs(CgiVariables):
    """Name-value pairs (3.4): the two lengths, of one byte or four each, before both."""

    def cut(self, data: bytes, text: str, at: int) -> tuple[str, str, int]:
        first, second = data[at], data[at + 1]
        if first | second < 0x80:
            at += 2
        else:
            first, at = _size(data, at)
            second, at = _size(data, at)
        middle = at + first
        stop = middle + second
        return text[at:middle], text[middle:stop], stop

    def lead(self, said: bytes, name: str) -> tuple[bytes, bytes]:
        # The length of the value stands before the name.
        return (said[:1], name.encode("latin-1")) if said[0] < 0x80 else (b"", b"")

    def span(self, data: bytes, at: int, name: bytes) -> tuple[int, int]:
        size = data[at]
        middle = at + 1
        if size >= 0x80:
            size, middle = _size(data, at)
        start = middle + len(name)
        return (start, start + size) if data[middle:start] == name else NOWHERE


VARIABLES: Final = Pairs("A name-value pair is longer than its stream.")


def _size(data: bytes, at: int) -> tuple[int, int]:
    """Return the length at *at*, of one byte or four, and where it ends."""
    if data[at] < 0x80:
        return data[at], at + 1
    return (data[at] & 0x7F) << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3], at + 4


class FastcgiCodec(CgiAnswers):
    """Decode a connection's FastCGI requests, one after the other, and wrap their answers."""

    __slots__ = (
        "announced", "base", "begun", "exact", "keep", "late", "limit", "more", "padding", "params",
        "partial", "request", "rest", "said", "scanned", "size", "stdin",
    )  # fmt: skip

    announces = False
    multiplexed = True
    spoiler = bytes(8)  # a record of version 0; nginx takes the end of a connection for that of the answer

    def __init__(self, base: dict[str, Any], limit: int = 65536) -> None:
        super().__init__()
        self.base = base
        self.limit = limit
        self.said = 0  # replies since the last request was answered
        self.rest = 0  # bytes still to come of a STDIN record's content,
        self.padding = 0  # and of what is behind it
        self.late = 0  # the id of the last request that has begun before the end of its STDIN
        self.exact = True
        self.announced = 0  # bytes of the body, by its CONTENT_LENGTH; -1 = none, 0 = it has no word of it
        self.more = False  # records are in the buffer that have not been looked at
        self._idle()

    def _idle(self) -> None:
        self.request = 0  # the id of the request on this connection; 0 = none
        self.keep = False
        self.partial = False
        self.begun = False  # its variables are complete
        self.params: list[bytes] = []
        self.size = 0  # of the variables so far
        self.stdin: list[memoryview] = []
        self.scanned = 0  # bytes of what came during the answer that `aborted` has seen

    @property
    def behind(self) -> bool:
        return self.more

    def receive(self, data: bytes) -> Exchange | None:
        if self.begun:  # the request before is answered
            self._idle()
            self.said = 0
        return self._records(data)

    def receive_body(self, x: Exchange, data: bytes) -> Sequence[Piece]:
        came = len(self.buffer) + len(data)
        self._records(data, x)
        pieces, self.stdin = self.stdin, []
        size = sum(map(len, pieces))
        if size < _APART * len(pieces) or 8 * size < 7 * came:  # they would keep what is around them, too
            return (b"".join(pieces),) if pieces else ()
        return pieces

    def _records(self, data: bytes, x: Exchange | None = None) -> Exchange | None:
        """Take records until a request's variables are complete, or its body *x* is."""
        if self.buffer:
            data = self.buffer + data
            self.more = False
        at = self._go_on(data, 0, x) if self.rest or self.padding else 0
        found = None
        for _ in range(AT_ONCE):
            if len(data) - at < 8:
                break
            version, kind, request, size, padding = _header.unpack_from(data, at)
            if version != 1:
                raise stranger("FastCGI", data[at:])
            end = at + 8 + size
            if len(data) < end + padding:
                if kind == STDIN and x is not None and request == self.request and size:
                    self.rest, self.padding = size, padding
                    at = self._go_on(data, at + 8, x)
                break
            start = at + 8
            at = end + padding
            if request == 0:
                self._manage(kind, data[start:end])
            elif kind == BEGIN:
                self._begin(request, data[start:end])
            elif request != self.request:
                if request == self.late and kind == STDIN and size:
                    raise ProtocolError(
                        BAD_REQUEST, "The body is longer than its CONTENT_LENGTH.", answer=False
                    )
                continue  # of a request that was refused, aborted, never begun or is answered
            elif kind == PARAMS:
                if self.begun:
                    raise ProtocolError(BAD_REQUEST, "Variables come after their end.")
                if size:
                    self.params.append(data[start:end])
                    self.size += size
                    if self.size > self.limit:
                        raise self._too_large()
                    continue
                found = self._exchange()
                if (
                    len(data) - at >= 8
                    and found.body_left < 0
                    and _header.unpack_from(data, at) == (1, STDIN, request, 0, 0)
                ):
                    found.body_left = 0  # as it mostly is: no body
                    at += 8
                else:
                    self.announced = found.body_left if "CONTENT_LENGTH" in found.environ else 0
                    self.late = request if self.announced < 0 and at == len(data) else 0
                    self.exact = not self.late
                    if self.late:
                        found.body_left = 0  # haproxy ends no STDIN in which there is nothing
                break
            elif kind == STDIN:
                if x is None:
                    raise ProtocolError(BAD_REQUEST, "The body comes before the end of the variables.")
                if size:
                    self._add_stdin(x, memoryview(data)[start:end])
                    continue
                self._end_stdin(x)
                break
            elif kind == ABORT:
                self._say(_end(request, REQUEST_COMPLETE, 1))
                self._idle()
                if x is not None:
                    raise ProtocolError(BAD_REQUEST, "The front end aborted the request.", answer=False)
            elif kind > GET_VALUES_RESULT:
                self._say(record(UNKNOWN_TYPE, 0, bytes([kind]) + bytes(7)))
        else:
            self.more = len(data) - at >= 8
        self.buffer = data[at:]
        return found

    def _go_on(self, data: bytes, at: int, x: Exchange | None) -> int:
        """Take what there is, from *at*, of a STDIN record that comes in parts; return where it ends."""
        piece = memoryview(data)[at : at + self.rest]
        at += len(piece)
        self.rest -= len(piece)
        if piece and x is not None:
            self._add_stdin(x, piece)
        skipped = min(self.padding, len(data) - at)
        self.padding -= skipped
        return at + skipped

    def _manage(self, kind: int, content: bytes) -> None:
        """Answer a management record (4)."""
        if kind != GET_VALUES:
            self._say(record(UNKNOWN_TYPE, 0, bytes([kind]) + bytes(7)))
            return
        try:
            asked = dict(VARIABLES.every(content, 0, len(content)))
        except ProtocolError as error:
            error.answer = False
            raise
        known = [pair(name.encode(), value) for name, value in _VALUES.items() if name in asked]
        self._say(record(GET_VALUES_RESULT, 0, b"".join(known)))

    def _say(self, reply: bytes) -> None:
        """Reply outside any answer; give up a peer that makes this its business."""
        self.said += 1
        if self.said > _SAYINGS:
            raise ProtocolError(BAD_REQUEST, "The peer sends no request but makes us talk.", answer=False)
        self.replies += reply

    def _begin(self, request: int, content: bytes) -> None:
        """Begin a request (5.1), or refuse it (5.5)."""
        if len(content) != 8:
            raise ProtocolError(BAD_REQUEST, "BEGIN_REQUEST has no body of 8 bytes.", answer=False)
        if self.request:
            if request == self.request:
                raise ProtocolError(BAD_REQUEST, "A request is begun twice.", answer=False)
            self._say(_end(request, CANT_MPX_CONN))
        elif content[0] << 8 | content[1] != RESPONDER:
            self._say(_end(request, UNKNOWN_ROLE))
            if not content[2] & KEEP_CONN:
                raise ProtocolError(BAD_REQUEST, "Only the role of a responder is served.", answer=False)
        else:
            self.request = request
            self.partial = True
            self.keep = bool(content[2] & KEEP_CONN)

    def _too_large(self) -> ProtocolError:
        return ProtocolError(
            HEAD_TOO_LARGE, f"The request's variables have more than the {self.limit} bytes of buffer-size."
        )

    def _exchange(self) -> Exchange:
        params = self.params[0] if len(self.params) == 1 else b"".join(self.params)
        environ = VARIABLES.read(params, 0, len(params), self.base)
        self.params = []
        self.begun = True
        self.partial = False
        x = exchange(environ, self)
        x.keep_alive = self.keep
        if x.body_left == 0:
            x.body_left = -1  # the end of STDIN is still to come
        return x

    def _add_stdin(self, x: Exchange, content: memoryview) -> None:
        self.stdin.append(content)
        if self.announced:
            x.body_left -= len(content)
            if x.body_left < 0:
                raise ProtocolError(BAD_REQUEST, "The body is longer than its CONTENT_LENGTH.")
            if x.body_left == 0:
                x.body_left = -1

    def _end_stdin(self, x: Exchange) -> None:
        if x.body_left > 0:
            reason = f"The body ends {x.body_left} bytes before its CONTENT_LENGTH."
            raise ProtocolError(BAD_REQUEST, reason, hint=_UNSAID if x.body_left == self.announced else "")
        x.body_left = 0

    def aborted(self, data: bytes) -> bool:
        data = self.buffer + data
        at = self.scanned
        for _ in range(AT_ONCE):  # an ABORT behind more than that is found with what comes next
            if len(data) - at < 8:
                break
            _, kind, request, size, padding = _header.unpack_from(data, at)
            at += 8 + size + padding
            if kind == ABORT and request == self.request:
                self.scanned = at
                self.replies += _end(request, REQUEST_COMPLETE, 1)
                return True
        self.scanned = at
        return False

    def head(self, x: Exchange) -> bytes:
        return b"".join(_cut(STDOUT, self.request, head_of("Status: " + x.status, x)))

    def body(self, x: Exchange, data: bytes) -> Sequence[Piece]:
        return _cut(STDOUT, self.request, data)

    def errors(self, text: bytes) -> bytes:
        """Return *text* as STDERR records."""
        return b"".join(_cut(STDERR, self.request, text))

    def whole(self, x: Exchange, head: bytes, data: bytes) -> bytes:
        request = self.request
        body = _header.pack(1, STDOUT, request, len(data), 0) + data if data else b""
        return head + body + _ending_of(request)

    def end(self, x: Exchange) -> bytes:
        return _ending_of(self.request)

    def ends_by_close(self, x: Exchange) -> bool:
        return True  # nginx does, also before the Content-Length is reached

    def refuse(self, error: ProtocolError, x: Exchange | None = None) -> bytes:
        if not self.request:
            return http_refusal(error, x)
        page = record(STDOUT, self.request, super().refuse(error, x))
        return page + _ending_of(self.request)


def _cut(kind: int, request: int, data: bytes) -> list[Piece]:
    """Return *data* as records."""
    size = len(data)
    if 0 < size <= _LARGEST:
        return [_header.pack(1, kind, request, size, 0), data]
    view = memoryview(data)
    pieces: list[Piece] = []
    for at in range(0, len(data), _LARGEST):
        content = view[at : at + _LARGEST]
        pieces.append(_header.pack(1, kind, request, len(content), 0))
        pieces.append(content)
    return pieces


def _ending_of(request: int) -> bytes:
    """Return what follows the last of an answer: the end of STDOUT, and END_REQUEST."""
    return _ending.pack(1, STDOUT, request, 0, 0, 1, END, request, 8, 0, 0, REQUEST_COMPLETE)


def _end(request: int, protocol_status: int, app_status: int = 0) -> bytes:
    """Return END_REQUEST (5.5)."""
    content = app_status.to_bytes(4, "big") + bytes([protocol_status, 0, 0, 0])
    return record(END, request, content)
