"""Mongrel2's messages: requests and notices in, HTTP in an envelope out.

Source: Mongrel2 1.12 and 1.13, docs/manual/hacking.tex, src/handler.c, src/request.c.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from appserver.exchange import Exchange
from appserver.protocols import tnetstring
from appserver.protocols.codec import ProtocolError
from appserver.protocols.fields import (
    SINGLE,
    check_host,
    check_method,
    check_value,
    content_length,
    decoded,
    joined,
    key_of,
    server_of,
)
from appserver.protocols.framing import BAD_REQUEST, HttpAnswers
from appserver.protocols.tnetstring import malformed
from appserver.protocols.upgrade import Upgrade, accepting, asks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Fields = dict[str, str | list[str]]
Connection = tuple[bytes, bytes]  # Mongrel2's UUID and the id of the client's connection

START, DONE = "x-mongrel2-upload-start", "x-mongrel2-upload-done"
_UPLOADS = frozenset({"HTTP_X_MONGREL2_UPLOAD_START", "HTTP_X_MONGREL2_UPLOAD_DONE"})

# Mongrel2's own keys: a client's names are lower-cased.
CREDITS = "DOWNLOAD_CREDITS"  # bytes that may be sent to a client (download.flow_control)
OFFSET, LAST = "UPLOAD_STREAM", "UPLOAD_STREAM_DONE"  # of a piece of a body (upload.stream)
MOST_TARGETS = 128  # clients that one message may be for (limits.handler_targets)
MOST_CREDITS = 102400  # bytes that a client may have to read with flow control (src/connection.c)

_CONTINUES = re.compile(rb"\d\d?:[^\n]{0,20}UPLOAD_STREAM").match  # headers of less than 100 bytes

HANDSHAKE, FRAME = "WEBSOCKET_HANDSHAKE", "WEBSOCKET"  # methods of what belongs to a WebSocket
FLAGS = "FLAGS"  # the first byte of its frame, such as 0x81

# Methods that Mongrel2 makes up for what is no HTTP request (src/request.c).
_NOT_HTTP = frozenset({"JSON", "XML", "WEBSOCKET", "WEBSOCKET_HANDSHAKE"})
_FLAGS = re.compile(r"0x[89A-F][0-9A-F]").fullmatch
_LATIN_1 = re.compile(r"[\x00-\xff]*").fullmatch
_VERSIONS = ("HTTP/1.1", "HTTP/1.0")
_MOST_KNOWN = 2000  # entries of either of what follows; clients choose names
_uuids: set[bytes] = set()  # that are well-formed
_keys: dict[str, str] = {}  # the environ's key of each field, "" for what is no client's or is not passed on
_from_json = msgspec.json.Decoder(dict[str, str | list[str]]).decode


class Message(NamedTuple):
    """One message from Mongrel2, taken apart."""

    connection: Connection
    path: bytes
    fields: Fields
    body: bytes

    @property
    def notice(self) -> str | None:
        """The type of a notice, such as "disconnect"; None for a request.

        A client's own ``JSON /x`` arrives with METHOD JSON too, but with its path and VERSION.
        """
        if self.path != b"@*" or self.fields.get("METHOD") != "JSON" or "VERSION" in self.fields:
            return None
        try:
            notice = json.loads(self.body)
        except (ValueError, RecursionError):
            return ""
        return str(notice.get("type", "")) if isinstance(notice, dict) else ""

    @property
    def credits(self) -> int:
        """The bytes that this message allows to be sent to its client; 0 without flow control."""
        given = self.fields.get(CREDITS)
        return int(given) if isinstance(given, str) and given.isdecimal() and len(given) < 10 else 0

    @property
    def first_byte(self) -> int:
        """What a WebSocket's frame began with, the first one of a message; -1 where it is no frame."""
        given = self.fields.get(FLAGS)
        if self.fields.get("METHOD") != FRAME or not isinstance(given, str) or not _FLAGS(given):
            return -1
        return int(given, 16)

    @property
    def continues(self) -> bool:
        """Whether it is a later piece of a body, which has no other fields than its place."""
        return OFFSET in self.fields and "METHOD" not in self.fields


def sender(message: bytes) -> Connection | None:
    """Return who sent a message that need not be well-formed otherwise, None where that is lost."""
    first = message.find(b" ", 0, 129)
    second = message.find(b" ", first + 1, first + 12)
    if first < 1 or second < 0:
        return None
    uuid, number = message[:first], message[first + 1 : second]
    if not number.isdigit():
        return None
    if uuid not in _uuids:
        # Mongrel2's own grammar for answers: anything else makes it drop them and sleep 100 ms.
        if not uuid.replace(b"-", b"").isalnum():
            return None
        if len(_uuids) < _MOST_KNOWN:
            _uuids.add(uuid)
    return uuid, number


def may_continue(message: bytes, connection: Connection) -> bool:
    """Tell whether `parse` may find a later piece of a body; no other message has so small headers."""
    blank = message.find(b" ", len(connection[0]) + len(connection[1]) + 2)
    return blank >= 0 and _CONTINUES(message, blank + 1) is not None


def parse(message: bytes) -> Message:
    """Take a message apart; raise `ProtocolError` where it is malformed."""
    connection = sender(message)
    if connection is None:
        raise malformed("The message does not begin with a UUID and a connection id.")
    at = len(connection[0]) + len(connection[1]) + 2
    blank = message.find(b" ", at)
    if blank < 0:
        raise malformed("The message has no headers.")
    start, end = tnetstring.netstring(message, blank + 1)
    if message[end] == 0x7D:
        fields = tnetstring.dictionary(message, start, end)
    elif message[end] == 0x2C:
        fields = _json_fields(message[start:end])
    else:
        raise malformed("The headers are neither a netstring nor a dictionary.")
    start, stop = tnetstring.netstring(message, end + 1)
    if message[stop] != 0x2C or stop + 1 != len(message):
        raise malformed("The message does not end with its body.")
    return Message(connection, message[at:blank], fields, message[start:stop])


def _json_fields(data: bytes) -> Fields:
    """Return JSON headers as latin-1 text.

    Mongrel2 escapes nothing but quotes and backslashes: bytes of any encoding and bare control
    characters stand in its JSON, which strict decoders refuse. An escape that says more than one
    byte was never Mongrel2's, except in PATH, which is not escaped and not used here.
    """
    if data.isascii() and b"\\u" not in data:
        try:
            return _from_json(data)
        except msgspec.DecodeError:
            pass
    try:
        found = json.loads(data.decode("latin-1"), strict=False)
    except (ValueError, RecursionError):
        raise malformed("The headers are no JSON.") from None
    if not isinstance(found, dict):
        raise malformed("The headers are no JSON object.")
    for name, value in found.items():
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in values):
            raise malformed(f"The value of {name!r} is neither a string nor a list of them.")
        if name != "PATH" and not _LATIN_1(name + "".join(values)):
            raise malformed(f"The value of {name!r} has a character that no byte stands for.")
    return found


def envelope(connection: Connection, body: bytes | memoryview) -> bytes:
    """Return a message that writes *body* to a client; an empty one closes its connection."""
    uuid, number = connection
    return b"%b %d:%b, " % (uuid, len(number), number) + body


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
        fields = message.fields
        if OFFSET in fields and (fields[OFFSET] != "0" or (LAST not in fields and size != -1)):
            raise ProtocolError(
                "501 Not Implemented",
                "Mongrel2 sends the body in pieces, which is not served here.",
                hint="Set zeromq-dispatch = shared, or upload.temp_store instead of upload.stream in "
                "mongrel2.conf.",
            )
        environ = self.base.copy()
        method = _text(fields, "METHOD")
        switches = method == HANDSHAKE and _genuine(message)
        if switches:
            method, size = "GET", 0
        if method in _NOT_HTTP and not (method == "JSON" and "VERSION" in fields):
            raise ProtocolError("501 Not Implemented", f"{method} messages are not served here.")
        check_method(method)
        version = fields.get("VERSION")
        if version not in _VERSIONS:
            raise ProtocolError(BAD_REQUEST, f"{version!r} is no version of HTTP served here.")
        assert isinstance(version, str)
        environ["REQUEST_METHOD"] = method
        environ["SERVER_PROTOCOL"] = version
        environ["wsgi.url_scheme"] = "https" if fields.get("URL_SCHEME") == "https" else "http"
        for name, value in fields.items():
            key = _keys.get(name)
            if key is None:
                key = _key(name)
            if not key:
                continue
            if not isinstance(value, str):
                if not value:
                    continue
                value = _joined(name, key, value)  # noqa: PLW2901  (what follows is about text)
            if not value.isprintable():
                check_value(key, value)
            environ[key] = joined(key, environ[key], value) if key in environ else value
        self._target(environ, fields, message.path.decode("latin-1"))
        environ["REMOTE_ADDR"] = _text(fields, "REMOTE_ADDR", "")
        if "HTTP_HOST" in environ:
            check_host(environ["HTTP_HOST"])
        environ["SERVER_NAME"], environ["SERVER_PORT"] = server_of(environ)
        if self.trust is not None:
            self.trust.apply(environ)
        if "PEER_CERT_SHA1" in fields:
            environ["PEER_CERT_SHA1"] = _text(fields, "PEER_CERT_SHA1")
        self._length(environ, fields, len(message.body) if size is None else size)
        if switches:  # whatever is answered, Mongrel2 reads nothing but frames any more
            return Upgrade(environ, self)
        keeps = _keeps(version, environ.get("HTTP_CONNECTION", ""))
        if "HTTP_UPGRADE" in environ and method == "GET" and version == "HTTP/1.1" and asks(environ):
            return Upgrade(environ, self, keeps, able=False)  # something is wrong with it: see `check`
        return Exchange(environ, self, keeps)

    def _target(self, environ: dict[str, Any], fields: Fields, raw: str) -> None:
        """Take the path from the message itself: in JSON headers it is not escaped."""
        if not raw.startswith("/"):
            raise malformed(f"{raw[:80]!r} is no path.")
        environ["REQUEST_URI"] = _text(fields, "URI", raw)
        environ["QUERY_STRING"] = _text(fields, "QUERY", "")
        path = decoded(raw)
        check_value("The path", path)
        script = ""
        if self.script_name:
            # A route is a prefix, perhaps with a pattern behind it: /app/(.*)
            script = _text(fields, "PATTERN", "").partition("(")[0].rstrip("/")
            if path != script and not path.startswith(script + "/"):
                script = ""
        environ["SCRIPT_NAME"] = script
        environ["PATH_INFO"] = path[len(script) :]

    def _length(self, environ: dict[str, Any], fields: Fields, size: int) -> None:
        """Set CONTENT_LENGTH to the size of the body, which Mongrel2 has read and decoded.

        It passes on a request with a Content-Length and a Transfer-Encoding, or with two lengths,
        having cut the body at its own idea of the end: nobody else can tell where that was.
        """
        given = environ.pop("CONTENT_LENGTH", None)
        coding = fields.get("transfer-encoding")
        if coding is not None and (given is not None or coding != "chunked"):
            raise ProtocolError(BAD_REQUEST, "The request's Transfer-Encoding leaves its length open.")
        if given is not None and size < 0:
            size = content_length(given)
        if given is not None and content_length(given) != size:
            raise ProtocolError(BAD_REQUEST, f"The body has {size} bytes, its Content-Length says {given}.")
        if given is not None or size > 0:
            environ["CONTENT_LENGTH"] = str(size)


def _text(fields: Mapping[str, str | list[str]], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise malformed(f"The message has no {name}.")
    if not value.isprintable():
        check_value(name, value)
    return value


def _genuine(message: Message) -> bool:
    """Tell whether Mongrel2 has found a handshake; a client's own method of that name is passed on, too.

    The body is what accepts the client's key (src/connection.c).
    """
    key = message.fields.get("sec-websocket-key")
    return isinstance(key, str) and message.body == accepting(key).encode()


def _keeps(version: str, connection: str) -> bool:
    if not connection:
        return version == "HTTP/1.1"
    options = {option.strip() for option in connection.lower().split(",")}
    return "close" not in options if version == "HTTP/1.1" else "keep-alive" in options


def _key(name: str) -> str:
    """Return the environ's key of a field; "" where it is Mongrel2's own, or is not passed on."""
    key = "" if name.isupper() else key_of(name)
    if key in _UPLOADS:
        key = ""
    if len(_keys) < _MOST_KNOWN:
        _keys[name] = key
    return key


def _joined(name: str, key: str, values: list[str]) -> str:
    if len(values) > 1 and key in SINGLE:
        raise ProtocolError(BAD_REQUEST, f"{name} is given {len(values)} times.")
    return ("; " if key == "HTTP_COOKIE" else ", ").join(values)
