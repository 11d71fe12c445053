"""One request and its answer: the environ, and what has been decided and sent so far.

The environ is the request; no other object stands between the wire and it. What holds for every
protocol (a HEAD answer has no body, a length is kept exactly) is decided here; how an answer is
framed on the wire is the codec's.
"""

from __future__ import annotations

import re
from time import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from appserver.dates import http_date
from appserver.errors import ApplicationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from greenlet import greenlet

    from appserver.protocols.codec import Codec, Piece

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

Environ = dict[str, Any]
Headers = list[tuple[str, str]]

# Keys in the environ that tell those who count how an answer came about.
ANSWERED_BY = "appserver.answered_by"  # "static" or "route", where it was not the application
FAILED = "appserver.failed"  # the class of the exception that has ended the application's call

FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
NO_FIELD_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]+")  # what none may have
_STATUS = re.compile(r"[2-5][0-9][0-9] [\t\x20-\x7e\x80-\xff]*").fullmatch

# The connection belongs to the server, not to the application (RFC 9110 section 7.6.1).
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
# Kinds of header fields: of one link, and what CGI has for the status (RFC 3875 section 6.3.3).
_ORDINARY: Final = 0
_LENGTH: Final = 1
_DATE: Final = 2
_CONNECTION: Final = 3
_LINKS: Final = 4
_CGIS: Final = 5
_SPECIAL = {"content-length": _LENGTH, "date": _DATE, "status": _CGIS, **dict.fromkeys(_HOP_BY_HOP, _LINKS)}
_SPECIAL["connection"] = _CONNECTION
# What applications write is the same again and again, so it is looked at once; bounded.
_known_names: Final[dict[str, int]] = {}  # good header name as the application writes it -> its kind
_known_statuses: Final[set[str]] = set()  # good ones
_KNOWN: Final = 1000  # of each at most
_WHOLE: Final = 32768  # bytes of a body up to which an answer is put together here


class Channel(Protocol):
    """Where the pieces of one answer go; the listener's side of an exchange."""

    gone: bool

    def send(self, pieces: list[Piece], more: bool) -> None:
        """Take the pieces for the wire, none behind a file; raise `ClientGone` where nobody reads them.

        With *more* it returns once the peer keeps pace with the application, and lets the loop
        have a turn before that (`Cores.turn`).
        """

    def send_file(self, fd: int, offset: int, count: int) -> bool:
        """Send *count* bytes of an open file by the kernel; return False where it cannot."""

    def abort(self) -> None:
        """Give the answer up in a way that the front end sees as a failure."""

    def refused(self, what: str) -> None:
        """Log that a request is refused for its body, unless too many are for anybody to read."""

    def give_up(self, direct: bool = False) -> None:
        """Answer 504 in the place of an application that does not come back, and end the connection.

        Called by the loop; with *direct* by a native thread while the loop is blocked and before
        the process ends.
        """


class _Date:
    """The Date header's line (RFC 9110 section 5.6.7), made once a second."""

    second = 0
    text = ""

    def line(self) -> str:
        second = int(time())
        if second != self.second:
            self.text = f"Date: {http_date(second)}\r\n"
            self.second = second
        return self.text


DATE: Final = _Date()


class Exchange:
    """Hold one request's environ and the state of its answer.

    The codec fills ``environ``, ``keep_alive``, ``expect`` and ``body_left`` (bytes still to come;
    -1 where only the framing tells); the rest is filled while answering.
    """

    switched = False  # the connection carries something else than HTTP by now (see `Upgrade`)
    refused = False  # or shall not, and that has been answered
    over: Callable[[], object] | None = None  # called when the call of the application is

    __slots__ = (
        "begun",
        "bodiless",
        "body_left",
        "channel",
        "chunked",
        "codec",
        "core",
        "dated",
        "ended",
        "environ",
        "excess",
        "expect",
        "head_size",
        "headers",
        "keep_alive",
        "length",
        "logged",
        "method",
        "protocol",
        "sent",
        "spared",
        "status",
        "uri",
    )  # fmt: skip

    def __init__(self, environ: Environ, codec: Codec, keep_alive: bool = False, body_left: int = 0) -> None:
        self.environ: Environ = environ
        # Kept apart: what the application does to its environ does not change the request.
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["REQUEST_URI"]
        self.protocol: str = environ["SERVER_PROTOCOL"]
        self.codec = codec
        self.keep_alive = keep_alive
        self.body_left = body_left
        self.expect = False
        self.channel: Channel | None = None
        self.status = ""
        self.headers: Headers = []
        self.length: int | None = None
        self.dated = False  # the application has given a Date
        self.head_size: int = 0
        self.sent: int = 0
        self.excess = 0
        self.chunked = False
        self.bodiless = False
        self.begun = False
        self.ended = False  # all of it is sent
        self.spared = False  # not to be cancelled (any more): it is only tidied up
        self.logged = False  # its access line is written
        self.core: greenlet | None = None  # runs the application's call; None before and after

    # What the application calls (PEP 3333)

    def start_response(
        self, status: object, headers: object, exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """Take the status and headers of the answer and return ``write``.

        Raise `ApplicationError` for anything that may not go on the wire; re-raise *exc_info*
        where the head has gone already.
        """
        if exc_info is not None:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # breaks the cycle through the frame
        elif self.status:
            raise ApplicationError("start_response was called twice without exc_info")
        if type(status) is not str:
            if not isinstance(status, str):
                raise _no_status(status)
            status = str.__str__(status)  # str() would format an enum's
        if not (status in _known_statuses or _good_status(status)):
            raise _no_status(status)
        if type(headers) is not list:
            raise ApplicationError(f"the headers are a {type(headers).__name__}, not a list")
        length: int | None = None
        dated = False
        checked: Headers = []
        for field in headers:
            if type(field) is not tuple or len(field) != 2:
                raise _no_header(field)
            name, value = field
            if type(name) is not str or type(value) is not str:
                if not isinstance(name, str) or not isinstance(value, str):
                    raise _no_header(field)
                field = name, value = str.__str__(name), str.__str__(value)  # noqa: PLW2901  (it is kept)
            kind = _known_names.get(name)
            if kind is None:
                kind = _kind(name)
            if kind == _LENGTH:
                if not (value.isascii() and value.isdigit() and len(value) < 19):
                    raise ApplicationError(f"Content-Length is {value!r}, not a number of bytes")
                if length is not None:
                    raise ApplicationError("Content-Length is given twice")
                length = int(value)
            elif not (value.isascii() and value.isprintable()) and not FIELD_VALUE(value):
                raise ApplicationError(f"header {name}: {value!r} has characters that it may not have")
            elif kind == _DATE:
                dated = True
            elif kind and (kind != _CGIS or self.codec.cgi):
                if kind == _CONNECTION and "close" in value.lower():
                    self.keep_alive = False
                continue
            checked.append(field)
        self.length = length
        self.dated = dated
        self.status = status
        self.headers = checked
        return self.write

    def write(self, data: object) -> None:
        """Send one piece of the body at once; the head goes with the first, even if that is empty."""
        if type(data) is not bytes:
            data = _as_bytes(data)
        if data or not self.begun:
            self.send(data, True)

    # What the gateway calls

    def begin(self, total: int | None = None) -> bytes:
        """Decide what kind of answer this is and return its head.

        *total* is the length of the whole body where it is known without a Content-Length.
        """
        if not self.status:
            raise ApplicationError("no start_response before the first piece of the body")
        headers = self.headers
        code = self.status[:3]
        if code in {"204", "304"}:
            self.bodiless = True
            if code != "304":
                self.headers = headers = [h for h in headers if h[0].lower() != "content-length"]
                self.length = None
        else:
            self.bodiless = self.method == "HEAD"
            # An application may leave out the body of HEAD, and GET would have had one.
            if self.length is None and total is not None and not (self.bodiless and not total):
                self.length = total
                headers.append(("Content-Length", str(total)))
        self.begun = True  # before: from here on the loop's thread leaves alone what the head says
        head = self.codec.head(self)
        self.head_size = len(head)
        return head

    def send(self, data: bytes, more: bool, total: int | None = None) -> None:
        """Send a piece of the body, with the head before the first and the end after the last.

        The last is the one without *more*, which may be empty, or the one that completes the
        Content-Length. Raise `ApplicationError` at the end of a body that is shorter than that.
        """
        pieces: list[Piece] = []
        if not self.begun:
            head = self.begin(total)
            if self.length == len(data) <= _WHOLE and not self.bodiless and self.channel is not None:
                self.sent = len(data)
                self.ended = True
                self.channel.send([self.codec.whole(self, head, data)], False)
                return
            pieces.append(head)
        missing = False
        if self.bodiless:
            more = False
        else:
            length = self.length
            if length is not None and len(data) > length - self.sent:
                keep = length - self.sent
                self.excess += len(data) - keep
                data = data[:keep]  # what fits is all that may be sent
            if data:
                self.sent += len(data)
                pieces += self.codec.body(self, data)
            if length is not None:
                if self.sent == length:
                    more = False
                else:
                    missing = not more
        if missing:
            more = True
        elif not more and not self.ended:
            self.ended = True
            end = self.codec.end(self)
            if end:
                pieces.append(end)
        if pieces and self.channel is not None:
            self.channel.send(pieces, more)
        if missing:
            raise ApplicationError(f"the body has {self.sent} bytes, its Content-Length says {self.length}")

    def reset(self) -> None:
        """Forget an answer of which nothing has been sent."""
        self.status = ""
        self.headers = []
        self.length = None
        self.chunked = False


def _no_status(status: object) -> ApplicationError:
    why = "three digits from 200 to 599, a blank and a reason"
    if str(status)[:3] == "101":
        why = 'a WebSocket is accepted by environ["wsgi.websocket"]'
    return ApplicationError(f"{status!r} is no status: {why}")


def _no_header(field: object) -> ApplicationError:
    return ApplicationError(f"{field!r} is no header: a tuple of two str is")


def _good_status(status: str) -> bool:
    """Tell whether a status may go on the wire, and remember it then."""
    good = _STATUS(status) is not None
    if good and len(_known_statuses) < _KNOWN:
        _known_statuses.add(status)
    return good


def _kind(name: str) -> int:
    """Return the kind of a header field, and remember it; raise `ApplicationError` for no name."""
    if not FIELD_NAME(name):
        raise ApplicationError(f"{name!r} is no header name")
    kind = _SPECIAL.get(name.lower(), _ORDINARY)
    if len(_known_names) < _KNOWN:
        _known_names[name] = kind
    return kind


def _as_bytes(data: object) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise ApplicationError(f"a piece of the body is {type(data).__name__}, not bytes")
