"""Mongrel2's messages: requests and notices in, HTTP in an envelope out.

Source: Mongrel2 1.12 and 1.13, docs/manual/hacking.tex, src/handler.c, src/request.c.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from appserver.exchange import Exchange
from appserver.protocols import tnetstring
from appserver.protocols.codec import ProtocolError
from appserver.protocols.fields import (
    CODING,
    HOSTS,
    USUAL_METHODS,
    check_host,
    check_method,
    check_value,
    content_length,
    decoded,
    server_of,
)
from appserver.protocols.framing import BAD_REQUEST, HttpAnswers
from appserver.protocols.mongrel2_fields import CREDITS, FLAGS, LAST, OFFSET, Named, checked, read
from appserver.protocols.repeated import MOST
from appserver.protocols.tnetstring import malformed
from appserver.protocols.upgrade import Upgrade, accepting, asks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.protocols.codec import Piece

Connection = tuple[bytes, bytes]  # Mongrel2's UUID and the id of the client's connection

MOST_TARGETS = 128  # clients that one message may be for (limits.handler_targets)
RELEASE = 1 << 20  # credit behind the end of an upload's connection: its task would sleep on (src/upload.c)
MOST_CREDITS = 102400  # bytes that a client may have to read with flow control (src/connection.c)

_CONTINUES = re.compile(rb"\d\d?:[^\n]{0,20}UPLOAD_STREAM").match  # headers of less than 100 bytes

HANDSHAKE: Final = "WEBSOCKET_HANDSHAKE"  # methods of what belongs to a WebSocket
FRAME: Final = "WEBSOCKET"

# Methods that Mongrel2 makes up for what is no HTTP request (src/request.c).
_NOT_HTTP: Final = frozenset({"JSON", "XML", "WEBSOCKET", "WEBSOCKET_HANDSHAKE"})
_FLAGS = re.compile(r"0x[89A-F][0-9A-F]").fullmatch
_HEAD: Final = 256  # bytes of a message in which its first words are looked for together
_NO_BODY: Final = b"0:,"  # as most messages end
_BLANK: Final = 0x20
_DIGITS: Final = 10  # of a connection's id, at most
_SIZES: Final = [b" %d:" % size for size in range(_DIGITS + 1)]
_NO_BASE: Final[dict[str, Any]] = {}


class Message:
    """One message from Mongrel2, taken apart.

    *fields* have their keys in the environ, with what is in *base*; *aside* are those that are about the
    message, by their names. With something unusual *named* are all of them, see `mongrel2_fields.read`.
    """

    __slots__ = ("aside", "base", "body", "connection", "fields", "named", "path")

    def __init__(
        self,
        connection: Connection,
        path: bytes,
        body: bytes,
        *,
        fields: dict[str, Any],
        aside: Named,
        named: Named | None,
        base: dict[str, Any],
    ) -> None:
        self.connection = connection
        self.path = path
        self.fields = fields
        self.aside = aside
        self.named = named
        self.body = body
        self.base = base

    @property
    def notice(self) -> str | None:
        """The type of a notice, such as "disconnect"; None for a request.

        A client's own ``JSON /x`` arrives with METHOD JSON too, but with its path and VERSION.
        """
        if (
            self.path != b"@*"
            or self.fields.get("REQUEST_METHOD") != "JSON"
            or "SERVER_PROTOCOL" in self.fields
        ):
            return None
        try:
            notice = json.loads(self.body)
        except (ValueError, RecursionError):
            return ""
        return str(notice.get("type", "")) if isinstance(notice, dict) else ""

    @property
    def credits(self) -> int:
        """The bytes that this message allows to be sent to its client; 0 without flow control."""
        given = self.aside.get(CREDITS)
        return int(given) if isinstance(given, str) and given.isdecimal() and len(given) < 10 else 0

    @property
    def first_byte(self) -> int:
        """What a WebSocket's frame began with, the first one of a message; -1 where it is no frame."""
        given = self.aside.get(FLAGS)
        if self.fields.get("REQUEST_METHOD") != FRAME or not isinstance(given, str) or not _FLAGS(given):
            return -1
        return int(given, 16)

    @property
    def continues(self) -> bool:
        """Whether it is a later piece of a body, which has no other fields than its place."""
        return OFFSET in self.aside and "REQUEST_METHOD" not in self.fields


class _Sender:
    """A Mongrel2 whose UUID is well-formed, and how its messages begin."""

    __slots__ = ("lead", "size", "uuid")

    def __init__(self, uuid: bytes) -> None:
        self.uuid = uuid
        self.lead = uuid + b" "
        self.size = len(self.lead)


class _Senders:
    """Those that are known, and who has sent the latest message: most come from the same."""

    __slots__ = ("known", "latest")

    def __init__(self) -> None:
        self.known: dict[bytes, _Sender] = {}
        self.latest: _Sender | None = None


_senders: Final = _Senders()


def sender(message: bytes) -> Connection | None:
    """Return who sent a message that need not be well-formed otherwise, None where that is lost."""
    words = message[:_HEAD].split(b" ", 2)
    return _connection(words[0], words[1]) if len(words) == 3 else None


def _connection(uuid: bytes, number: bytes) -> Connection | None:
    if not number.isdigit() or len(number) > _DIGITS:
        return None
    known = _senders.known
    found = known.get(uuid)
    if found is None:
        # Mongrel2's own grammar for answers: anything else makes it drop them and sleep 100 ms.
        if len(uuid) > 128 or not uuid.replace(b"-", b"").isalnum():
            return None
        if len(known) >= MOST:
            known.clear()
        found = known[uuid] = _Sender(uuid)
    _senders.latest = found
    return found.uuid, number


def _of_latest(message: bytes) -> Connection | None:
    """Return who sent a message, where that is who sent the latest one, and it is no short one."""
    latest = _senders.latest
    if latest is None or not message.startswith(latest.lead):
        return None
    at = latest.size
    end = at + _DIGITS
    if len(message) <= end:
        return None
    while at < end and 0x30 <= message[at] <= 0x39:
        at += 1
    if at == latest.size or message[at] != _BLANK:
        return None
    return latest.uuid, message[latest.size : at]


def may_continue(message: bytes, connection: Connection) -> bool:
    """Tell whether `parse` may find a later piece of a body; no other message has so small headers."""
    blank = message.find(b" ", len(connection[0]) + len(connection[1]) + 2)
    return blank >= 0 and _CONTINUES(message, blank + 1) is not None


def parse(message: bytes, base: dict[str, Any] = _NO_BASE) -> Message:
    """Take a message apart, with *base* among its fields; raise `ProtocolError` where it is malformed."""
    connection = _of_latest(message) or sender(message)
    if connection is None:
        raise malformed("The message does not begin with a UUID and a connection id.")
    at = len(connection[0]) + len(connection[1]) + 2
    blank = message.find(b" ", at)
    if blank < 0:
        raise malformed("The message has no headers.")
    try:
        start, end = tnetstring.span(message, blank + 1)
    except IndexError:
        end = len(message)
    if end >= len(message):
        start, end = tnetstring.netstring(message, blank + 1)  # which tells what is wrong
    fields, aside, named = read(message, start, end, base)
    body = b""
    if len(message) != end + 4 or not message.endswith(_NO_BODY):
        start, stop = tnetstring.netstring(message, end + 1)
        if message[stop] != 0x2C or stop + 1 != len(message):
            raise malformed("The message does not end with its body.")
        body = message[start:stop]
    return Message(connection, message[at:blank], body, fields=fields, aside=aside, named=named, base=base)


def envelope(connection: Connection, pieces: Sequence[Piece] = ()) -> bytes:
    """Return a message that writes *pieces* to a client; one without closes its connection."""
    uuid, number = connection
    parts: list[Piece] = [uuid, _SIZES[len(number)], number, b", "]
    parts += pieces
    return b"".join(parts)


def envelope_to(uuid: bytes, numbers: Sequence[bytes], body: bytes) -> bytes:
    """Return a message that writes *body* to several clients of one Mongrel2, `MOST_TARGETS` at most."""
    ids = b" ".join(numbers)
    return b"%b %d:%b, %b" % (uuid, len(ids), ids, body)


def addressees(message: bytes) -> list[Connection]:
    """Return the clients that a message of `envelope`, `envelope_to` or `control` is for."""
    uuid, _, rest = message[:4096].partition(b" ")
    size, _, ids = rest.partition(b":")
    return [(uuid, number) for number in ids[: int(size)].split(b" ") if number != b"X"]


def control(connection: Connection, **orders: int | bool) -> bytes:
    """Return a message that Mongrel2 obeys itself: ``keep_alive``, ``credits`` or ``cancel``.

    Without orders it only shows, by a notice, where a client has gone.
    """
    uuid, number = connection
    named: dict[str, object] = {name.replace("_", "-"): value for name, value in orders.items()}
    return b"%b %d:X %b, %b" % (uuid, len(number) + 2, number, tnetstring.encode(["ctl", named]))


class Mongrel2Codec(HttpAnswers):
    """Make requests of messages, and frame answers as the HTTP that Mongrel2 passes on."""

    __slots__ = ("base", "script_name")

    def __init__(self, base: dict[str, Any], script_name: bool = False) -> None:
        super().__init__()
        self.base = base
        self.script_name = script_name

    def exchange(self, message: Message, size: int | None = None) -> Exchange:
        """Return the request of a message, whose body has *size* bytes.

        By default it is what the message carries; with -1 the message has only its beginning.

        Raise `ProtocolError` for what no request may carry.
        """
        aside = message.aside
        if OFFSET in aside and (aside[OFFSET] != "0" or (LAST not in aside and size != -1)):
            raise ProtocolError(
                "501 Not Implemented",
                "Mongrel2 sends the body in pieces, which is not served here.",
                hint="Set zeromq-dispatch = shared, or upload.temp_store instead of upload.stream in "
                "mongrel2.conf.",
            )
        if message.named is not None:
            environ = checked(message.named) | self.base
        elif message.base is self.base:
            environ = message.fields
        else:
            environ = message.fields | self.base
        method = environ.get("REQUEST_METHOD")
        if method is None:
            raise malformed("The message has no METHOD.")
        switches = method == HANDSHAKE and _genuine(environ, message.body)
        if switches:
            environ["REQUEST_METHOD"], method, size = "GET", "GET", 0
        version = environ.get("SERVER_PROTOCOL")
        if method not in USUAL_METHODS:
            if method in _NOT_HTTP and not (method == "JSON" and version is not None):
                raise ProtocolError("501 Not Implemented", f"{method} messages are not served here.")
            check_method(method)
        if version != "HTTP/1.1" and version != "HTTP/1.0":
            raise ProtocolError(BAD_REQUEST, f"{version!r} is no version of HTTP served here.")
        if environ.get("wsgi.url_scheme") != "https":
            environ["wsgi.url_scheme"] = "http"
        self._target(environ, message.path.decode("latin-1"))
        if "REMOTE_ADDR" not in environ:
            environ["REMOTE_ADDR"] = ""
        host = environ.get("HTTP_HOST")
        if host is not None and host not in HOSTS:
            check_host(host)
        environ["SERVER_NAME"], environ["SERVER_PORT"] = server_of(environ)
        if self.trust is not None:
            self.trust.apply(environ)
        if size is None:
            size = len(message.body)
        if size or "CONTENT_LENGTH" in environ or CODING in environ:
            self._length(environ, size)
        if switches:  # whatever is answered, Mongrel2 reads nothing but frames any more
            return Upgrade(environ, self)
        keeps = _keeps(version, environ.get("HTTP_CONNECTION", ""))
        if "HTTP_UPGRADE" in environ and method == "GET" and version == "HTTP/1.1" and asks(environ):
            return Upgrade(environ, self, keeps, able=False)  # something is wrong with it: see `check`
        return Exchange(environ, self, keeps)

    def _target(self, environ: dict[str, Any], raw: str) -> None:
        """Take the path from the message itself: in JSON headers it is not escaped."""
        if not raw.startswith("/"):
            raise malformed(f"{raw[:80]!r} is no path.")
        if "REQUEST_URI" not in environ:
            environ["REQUEST_URI"] = raw
        if "QUERY_STRING" not in environ:
            environ["QUERY_STRING"] = ""
        path = decoded(raw)
        check_value("The path", path)
        script = ""
        if self.script_name:
            # A route is a prefix of what was sent, perhaps with a pattern behind it: /app/(.*)
            script = environ.get("SCRIPT_NAME", "").partition("(")[0].rstrip("/")
            if raw != script and not raw.startswith(script + "/"):
                script = ""
            script = decoded(script)
        environ["SCRIPT_NAME"] = script
        environ["PATH_INFO"] = path[len(script) :]

    def _length(self, environ: dict[str, Any], size: int) -> None:
        """Set CONTENT_LENGTH to the size of the body, which Mongrel2 has read and decoded.

        It passes on a request with a Content-Length and a Transfer-Encoding, or with two lengths,
        having cut the body at its own idea of the end: nobody else can tell where that was.
        """
        given = environ.pop("CONTENT_LENGTH", None)
        coding = environ.pop(CODING, None)
        if coding is not None and (given is not None or coding != "chunked"):
            raise ProtocolError(BAD_REQUEST, "The request's Transfer-Encoding leaves its length open.")
        if given is not None and size < 0:
            size = content_length(given)
        if given is not None and content_length(given) != size:
            raise ProtocolError(BAD_REQUEST, f"The body has {size} bytes, its Content-Length says {given}.")
        if given is not None or size > 0:
            environ["CONTENT_LENGTH"] = str(size)


def _genuine(environ: dict[str, Any], body: bytes) -> bool:
    """Tell whether Mongrel2 has found a handshake; a client's own method of that name is passed on, too.

    The body is what accepts the client's key (src/connection.c).
    """
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY")
    return key is not None and body == accepting(key).encode()


def _keeps(version: str, connection: str) -> bool:
    if not connection:
        return version == "HTTP/1.1"
    options = {option.strip() for option in connection.lower().split(",")}
    return "close" not in options and (version == "HTTP/1.1" or "keep-alive" in options)
