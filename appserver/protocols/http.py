"""HTTP/1.1 and 1.0 requests (RFC 9112), read strictly.

The head is cut out and checked here, its lines are read (`lines`) or a reader takes them apart, and a request
is made here again, so that all give the same verdict: what a reader would let pass and a backend must
refuse never reaches it or is caught after it. Bodies are decoded here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from appserver.exchange import Exchange
from appserver.masking import without_userinfo
from appserver.protocols import lines
from appserver.protocols.codec import ProtocolError
from appserver.protocols.fields import (
    CODING,
    HOSTS,
    ONE_LINE,
    USUAL_METHODS,
    check_host,
    check_method,
    check_value,
    content_length,
    decoded,
    separator,
)
from appserver.protocols.framing import BAD_REQUEST, HEAD_TOO_LARGE, ChunkedBody, HttpAnswers
from appserver.protocols.lines import LINES
from appserver.protocols.stranger import stranger, unclear
from appserver.protocols.upgrade import Upgrade, asks

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.protocols.repeated import Entry

    # head -> header fields, names as sent
    Reader = Callable[[bytes], list[tuple[str, str]]]

_REQUEST_LINE = re.compile(r"([!$%&'*+.^_`|~0-9A-Z-]{3,20}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])").fullmatch
_ABSOLUTE = re.compile(r"https?://([^/?]+)(/?[^?]*)(?:\?.*)?", re.IGNORECASE).fullmatch
_WITHIN_LINES: Final = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
_BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class RequestLimits(NamedTuple):
    """How much a request may have of what it is made of; lines count with their ends."""

    size: int = 65536  # bytes of a head
    line: int = 8192  # bytes of its first line
    fields: int = 100
    field: int = 8190  # bytes of one of them
    chunks: int = 1_000_000  # small chunks of a body
    trailers: int = 64
    requests: int = 10_000  # on one connection


USUAL: Final = RequestLimits()


class HttpCodec(HttpAnswers):
    """Decode a connection's requests one after the other and frame their answers."""

    __slots__ = ("base", "client", "last", "left", "limits", "reader", "searched", "short")

    plain = True
    verbatim = True

    def __init__(
        self,
        base: dict[str, Any],
        reader: Reader | None = None,
        limits: RequestLimits = USUAL,
        client: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.base = base  # what every request of the listener has in its environ,
        self.client = client  # and those of this connection
        self.reader = reader
        self.limits = limits
        self.short = (
            0 if reader is not None else min(limits.line, limits.field)
        )  # bytes: no line has too many
        self.left = limits.requests  # that may still come
        self.last = False  # the peer has said that its request is the last
        self.searched = 0  # no head ends before this place in the buffer

    def receive(self, data: bytes) -> Exchange | None:
        data = self.buffer + data if self.buffer else data
        end = data.find(b"\r\n\r\n", self.searched)
        if end < 0:
            self.buffer = data
            if not unclear(data):
                self._check_partial(data)
                self.searched = max(0, len(data) - 3)
            return None
        end += 4
        self.searched = 0
        self.buffer = data[end:]
        if end > self.limits.size:
            raise self._too_large(data)
        head = data[:end] if self.buffer else data
        try:
            return self._exchange(head)
        except ProtocolError as error:
            parts = _REQUEST_LINE(head.partition(b"\r\n")[0].decode("latin-1"))
            error.bodiless = parts is not None and parts[1] == "HEAD"
            raise

    def _check_partial(self, data: bytes) -> None:
        """Refuse at once a head that cannot become a good one."""
        if _BARE(data, max(0, self.searched - 1)):
            raise self._bad_start(data)
        size, line, _, field, *_ = self.limits
        if len(data) > size:
            raise self._too_large(data)
        if len(data) >= line and b"\r\n" not in data[:line]:
            raise self._too_long()
        if len(data) > field and (begun := data.rfind(b"\r\n") + 2) > 1 and len(data) - begun >= field:
            raise self._field_too_long()

    def _too_large(self, data: bytes) -> ProtocolError:
        size, line, *_ = self.limits
        if b"\r\n" not in data[:line]:
            return self._too_long()
        return ProtocolError(
            HEAD_TOO_LARGE, f"The request's head has more than the {size} bytes of buffer-size."
        )

    def _too_long(self) -> ProtocolError:
        line = self.limits.line
        return ProtocolError(
            "414 URI Too Long", f"The request line has more than the {line} bytes of limit-request-line."
        )

    def _field_too_long(self) -> ProtocolError:
        field = self.limits.field
        return ProtocolError(
            HEAD_TOO_LARGE, f"A header field has more than the {field} bytes of limit-request-field-size."
        )

    def _bad_start(self, data: bytes) -> ProtocolError:
        error = stranger("HTTP", data)
        if error.hint:
            return error
        hint = ONE_LINE if b": -----BEGIN " in data else ""
        why = "A line of the head ends without CRLF or has a control character."
        return ProtocolError(BAD_REQUEST, why, hint=hint)

    def _exchange(self, head: bytes) -> Exchange:
        text = head.decode("latin-1")
        begin = text.find("\r\n")
        limits = self.limits
        environ = None
        if len(head) <= self.short:
            environ = LINES.filled(head, text, begin + 2, len(head) - 2, self.base)
        if environ is None:
            self._check(head)
            if len(head) > limits.line and b"\r\n" not in head[: limits.line]:
                raise self._too_long()
        parts = _REQUEST_LINE(text[:begin])
        if parts is None:
            self._check(head)
            error = stranger("HTTP", head + self.buffer)
            raise (
                error if error.hint else ProtocolError(BAD_REQUEST, "The first line is no HTTP request line.")
            )
        fields = text[begin + 2 : -4].split("\r\n") if environ is None and len(head) > begin + 4 else []
        if len(fields) > limits.fields or (
            environ is not None and len(environ) - len(self.base) > limits.fields
        ):
            raise ProtocolError(
                HEAD_TOO_LARGE,
                f"There are more header fields than the {limits.fields} of limit-request-fields.",
            )
        if len(head) > limits.field and max(map(len, fields), default=0) > limits.field - 2:
            raise self._field_too_long()
        method, target, major, minor = parts.groups()
        if major != "1" or minor > "1":
            raise ProtocolError("505 HTTP Version Not Supported", "Only HTTP/1.1 and 1.0 are served.")
        http11 = minor == "1"
        if method not in USUAL_METHODS:
            check_method(method)
        if environ is None:
            environ = self._read(head, text, begin + 2, fields)
        if self.client is not None:
            environ |= self.client
        coding = environ.pop(CODING, None)
        environ["REQUEST_METHOD"] = method
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if http11 else "HTTP/1.0"
        host = environ.get("HTTP_HOST")
        if host is not None:
            if host not in HOSTS:
                check_host(host)
        elif http11:
            raise ProtocolError(BAD_REQUEST, "HTTP/1.1 wants a Host.")
        self._target(environ, method, target)
        if self.trust is not None:
            self.trust.apply(environ)
        length = environ.get("CONTENT_LENGTH")
        bare = length is None and coding is None
        if (
            "HTTP_UPGRADE" in environ
            and (bare or (coding is None and length is not None and not content_length(length)))
            and http11
            and method == "GET"
            and asks(environ)
        ):
            # The first half of a handshake (RFC 6455 section 4.1).
            x: Exchange = Upgrade(environ, self, http11)
        else:
            x = Exchange(environ, self, http11)
        self.chunks = None
        if not bare:
            self._body(x, length, coding, http11)
        self._connection(x, http11)
        return x

    def _check(self, head: bytes) -> None:
        """Refuse a head with a character that it may not have, or a field that is folded over lines."""
        if head.translate(None, _WITHIN_LINES) != b"\r\n" * head.count(b"\r\n"):
            raise self._bad_start(head)
        # (`in` with bytes makes an exception first, so that find is faster.)
        if head.find(b"\r\n ") >= 0 or (0x09 in head and head.find(b"\r\n\t") >= 0):
            raise ProtocolError(BAD_REQUEST, "A header field is folded over lines.")

    def _read(self, head: bytes, text: str, at: int, fields: list[str]) -> dict[str, Any]:
        """Return the environ of a head whose fields begin at *at*, and learn its form."""
        entries = lines.read(fields) if self.reader is None else lines.entries(self.reader(head))
        environ = self.base.copy()
        self._add(environ, entries)
        if (
            len(head) <= self.short
            and len(environ) == len(self.base) + len(entries)  # none is repeated
            and "".join([value for _, value in entries]).isprintable()
        ):
            LINES.learn(head, text, at, len(head) - 2, self.base)
        return environ

    def _add(self, environ: dict[str, Any], entries: list[Entry]) -> None:
        """Add entries to an environ, those of one key as one."""
        repeated: dict[str, list[str]] = {}
        for key, value in entries:
            if key not in environ:
                environ[key] = value
            elif key in repeated:
                repeated[key].append(value)
            else:
                separator(key)
                repeated[key] = [environ[key], value]
        for key, values in repeated.items():
            environ[key] = separator(key).join(values)

    def _target(self, environ: dict[str, Any], method: str, target: str) -> None:
        """Split the request target (RFC 9112 section 3.2)."""
        path, _, query = target.partition("?")
        if target[0] != "/":
            absolute = _ABSOLUTE(target)
            if absolute:
                if "HTTP_HOST" not in environ:  # HTTP/1.0
                    check_host(absolute[1])
                    environ["HTTP_HOST"] = absolute[1]
                elif environ["HTTP_HOST"].lower() != absolute[1].lower():
                    raise ProtocolError(BAD_REQUEST, "The target and Host name different hosts.")
                path = absolute[2] or "/"
            elif target == "*" and method == "OPTIONS":
                path = ""  # PEP 3333 knows no PATH_INFO without a slash; REQUEST_URI says what it is
            else:
                raise ProtocolError(BAD_REQUEST, f"{without_userinfo(target)[:80]!r} is no request target.")
        if "#" in target:
            raise ProtocolError(BAD_REQUEST, "The request target has a fragment.")
        environ["REQUEST_URI"] = target
        environ["QUERY_STRING"] = query
        environ["PATH_INFO"] = path
        if "%" in path:
            environ["PATH_INFO"] = path = decoded(path)
            check_value("The path", path)

    def _connection(self, x: Exchange, http11: bool) -> None:
        options = x.environ.get("HTTP_CONNECTION")
        if options is not None:
            wanted = options.lower()
            if wanted == "keep-alive":
                x.keep_alive = True
            else:
                named = {option.strip() for option in wanted.split(",")}
                self.last = "close" in named
                x.keep_alive = not self.last and (http11 or "keep-alive" in named)
        self.left -= 1
        if not self.left:
            x.keep_alive = False
        expect = x.environ.get("HTTP_EXPECT")
        if expect is not None and http11:
            if expect.lower() != "100-continue":
                raise ProtocolError("417 Expectation Failed", f"{expect[:40]!r} cannot be met.")
            x.expect = True

    def _body(self, x: Exchange, length: str | None, coding: str | None, http11: bool) -> None:
        """Find the body's length (RFC 9112 section 6.3)."""
        if coding is not None:
            if length is not None:
                raise ProtocolError(BAD_REQUEST, "The request has a Content-Length and a Transfer-Encoding.")
            if coding.lower() != "chunked" or not http11:
                raise ProtocolError(BAD_REQUEST, f"Transfer-Encoding {coding[:40]!r} is not served.")
            self.chunks = ChunkedBody(self.limits.chunks, self.limits.trailers)
            x.body_left = -1
        elif length is not None:
            x.body_left = content_length(length)

    def goes_on(self, x: Exchange) -> bool:
        return x.protocol != "HTTP/1.0" and not self.last

    def ask(self, x: Exchange) -> bytes:
        return _CONTINUE
