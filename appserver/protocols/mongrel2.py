"""Mongrel2's messages: requests and notices in, HTTP in an envelope out.

Source: Mongrel2 1.12 and 1.13, docs/manual/hacking.tex, src/handler.c, src/request.c.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from appserver.exchange import Exchange
from appserver.protocols import tnetstring
from appserver.protocols.codec import ProtocolError
from appserver.protocols.fields import (
    HOSTS,
    SINGLE,
    USUAL_METHODS,
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
from appserver.protocols.repeated import LONG, MOST
from appserver.protocols.tnetstring import malformed
from appserver.protocols.upgrade import Upgrade, accepting, asks

if TYPE_CHECKING:
    from collections.abc import Sequence

Fields = dict[str, str | list[str]]
Connection = tuple[bytes, bytes]  # Mongrel2's UUID and the id of the client's connection

START: Final = "x-mongrel2-upload-start"
DONE: Final = "x-mongrel2-upload-done"
_UPLOADS = frozenset({"HTTP_X_MONGREL2_UPLOAD_START", "HTTP_X_MONGREL2_UPLOAD_DONE"})

# Mongrel2's own keys: a client's names are lower-cased.
CREDITS: Final = "DOWNLOAD_CREDITS"  # bytes that may be sent to a client (download.flow_control)
OFFSET: Final = "UPLOAD_STREAM"  # of a piece of a body (upload.stream)
LAST: Final = "UPLOAD_STREAM_DONE"  # of its last piece
MOST_TARGETS = 128  # clients that one message may be for (limits.handler_targets)
RELEASE = 1 << 20  # credit behind the end of an upload's connection: its task would sleep on (src/upload.c)
MOST_CREDITS = 102400  # bytes that a client may have to read with flow control (src/connection.c)

_CONTINUES = re.compile(rb"\d\d?:[^\n]{0,20}UPLOAD_STREAM").match  # headers of less than 100 bytes

HANDSHAKE: Final = "WEBSOCKET_HANDSHAKE"  # methods of what belongs to a WebSocket
FRAME: Final = "WEBSOCKET"
FLAGS: Final = "FLAGS"  # the first byte of its frame, such as 0x81

# Methods that Mongrel2 makes up for what is no HTTP request (src/request.c).
_NOT_HTTP: Final = frozenset({"JSON", "XML", "WEBSOCKET", "WEBSOCKET_HANDSHAKE"})
_FLAGS = re.compile(r"0x[89A-F][0-9A-F]").fullmatch
_LATIN_1 = re.compile(r"[\x00-\xff]*").fullmatch
_uuids: Final[set[bytes]] = set()  # that are well-formed
# The environ's key of each field, "" for what is not passed on: here those of Mongrel2's own.
_OWN: Final[dict[str, str]] = {
    "METHOD": "REQUEST_METHOD",
    "VERSION": "SERVER_PROTOCOL",
    "URI": "REQUEST_URI",
    "QUERY": "QUERY_STRING",
    "PATH": "PATH_INFO",
    "PATTERN": "SCRIPT_NAME",
    "REMOTE_ADDR": "REMOTE_ADDR",
    "URL_SCHEME": "wsgi.url_scheme",
    "PEER_CERT_SHA1": "PEER_CERT_SHA1",
}
_keys: Final = _OWN.copy()
_ELSEWHERE: Final = frozenset({"PATH", "PATTERN"})  # own ones that are looked at where they are needed
# What Mongrel2 has gone by, blanks included: it decodes no body whose coding has one behind it.
_VERBATIM: Final = frozenset({"transfer-encoding", "sec-websocket-key"})
_HEAD: Final = 256  # bytes of a message in which its first words are looked for together
_NO_BODY: Final = b"0:,"  # as most messages end
_BACKSLASH: Final = 0x5C
_DEL: Final = 0x7F
_strings_from_json: Final = msgspec.json.Decoder(dict[str, str]).decode
_from_json: Final = msgspec.json.Decoder(dict[str, str | list[str]]).decode


class Message:
    """One message from Mongrel2, taken apart.

    It is *plain* where each field is known to have one value, without control characters.
    """

    __slots__ = ("body", "connection", "fields", "path", "plain")

    def __init__(
        self, connection: Connection, path: bytes, fields: Fields, body: bytes, plain: bool = False
    ) -> None:
        self.connection = connection
        self.path = path
        self.fields = fields
        self.body = body
        self.plain = plain

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
    words = message[:_HEAD].split(b" ", 2)
    return _connection(words[0], words[1]) if len(words) == 3 else None


def _connection(uuid: bytes, number: bytes) -> Connection | None:
    if not number.isdigit() or len(number) > 10:
        return None
    if uuid not in _uuids:
        # Mongrel2's own grammar for answers: anything else makes it drop them and sleep 100 ms.
        if len(uuid) > 128 or not uuid.replace(b"-", b"").isalnum():
            return None
        if len(_uuids) >= MOST:
            _uuids.clear()
        _uuids.add(uuid)
    return uuid, number


def may_continue(message: bytes, connection: Connection) -> bool:
    """Tell whether `parse` may find a later piece of a body; no other message has so small headers."""
    blank = message.find(b" ", len(connection[0]) + len(connection[1]) + 2)
    return blank >= 0 and _CONTINUES(message, blank + 1) is not None


def parse(message: bytes) -> Message:
    """Take a message apart; raise `ProtocolError` where it is malformed."""
    words = message[:_HEAD].split(b" ", 3)
    connection = _connection(words[0], words[1]) if len(words) > 2 else None
    if connection is None:
        raise malformed("The message does not begin with a UUID and a connection id.")
    at = len(words[0]) + len(words[1]) + 2
    blank = at + len(words[2]) if len(words) == 4 else message.find(b" ", at)
    if blank < 0:
        raise malformed("The message has no headers.")
    start, end = tnetstring.netstring(message, blank + 1)
    fields: Fields
    if message[end] == 0x7D:
        fields, plain = tnetstring.dictionary(message, start, end)
        ends = b" ,"  # how a value does that has a blank behind it
    elif message[end] == 0x2C:
        fields, plain = _json_fields(message[start:end])
        ends = b' "'
    else:
        raise malformed("The headers are neither a netstring nor a dictionary.")
    if message.find(ends, start, end) >= 0 or not plain:
        fields = _stripped(fields)
    body = b""
    if len(message) != end + 4 or not message.endswith(_NO_BODY):
        start, stop = tnetstring.netstring(message, end + 1)
        if message[stop] != 0x2C or stop + 1 != len(message):
            raise malformed("The message does not end with its body.")
        body = message[start:stop]
    return Message(connection, message[at:blank], fields, body, plain)


def _json_fields(data: bytes) -> tuple[Fields, bool]:
    """Return JSON headers as latin-1 text, and whether they are known to be strings without controls.

    Mongrel2 escapes nothing but quotes and backslashes: bytes of any encoding and bare control
    characters stand in its JSON, which strict decoders refuse. An escape that says more than one
    byte was never Mongrel2's, except in PATH, which is not escaped and not used here.
    """
    escapes = _BACKSLASH in data
    if data.isascii() and not (escapes and b"\\u" in data):
        try:
            if not escapes:  # and what controls could stand there bare, a strict decoder refuses but DEL
                # A dict of strings is one of strings and lists to whoever only reads it.
                return _strings_from_json(data), _DEL not in data  # type: ignore[return-value]
        except msgspec.DecodeError:
            pass
        try:
            return _from_json(data), False
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
    return found, False


def _stripped(fields: Fields) -> Fields:
    """Return fields without blanks behind a client's values; Mongrel2 takes away those in front."""
    found: Fields = {}
    for name, value in fields.items():
        if name.isupper() or name in _VERBATIM:
            found[name] = value
        elif isinstance(value, str):
            found[name] = value.rstrip(" \t")
        else:
            found[name] = [each.rstrip(" \t") for each in value]
    return found


def envelope(connection: Connection, *body: bytes | memoryview) -> bytes:
    """Return a message that writes *body* to a client; one without closes its connection."""
    uuid, number = connection
    return b"".join((b"%b %d:%b, " % (uuid, len(number), number), *body))


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
        environ = _given(message)
        environ |= self.base
        method = environ.get("REQUEST_METHOD")
        if method is None:
            raise malformed("The message has no METHOD.")
        switches = method == HANDSHAKE and _genuine(message)
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
        self._target(environ, fields, message.path.decode("latin-1"))
        if "REMOTE_ADDR" not in environ:
            environ["REMOTE_ADDR"] = ""
        host = environ.get("HTTP_HOST")
        if host is not None and host not in HOSTS:
            check_host(host)
        environ["SERVER_NAME"], environ["SERVER_PORT"] = server_of(environ)
        if self.trust is not None:
            self.trust.apply(environ)
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
        if "REQUEST_URI" not in environ:
            environ["REQUEST_URI"] = raw
        if "QUERY_STRING" not in environ:
            environ["QUERY_STRING"] = ""
        path = decoded(raw)
        check_value("The path", path)
        script = ""
        if self.script_name:
            # A route is a prefix of what was sent, perhaps with a pattern behind it: /app/(.*)
            pattern = fields.get("PATTERN", "")
            if isinstance(pattern, str):
                script = pattern.partition("(")[0].rstrip("/")
            if raw != script and not raw.startswith(script + "/"):
                script = ""
            script = decoded(script)
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


def _given(message: Message) -> dict[str, Any]:
    """Return fields by their keys in the environ; raise `ProtocolError` for what may not be there."""
    fields = message.fields
    if message.plain:
        try:
            # *plain* says that no value is a list.
            given: dict[str, Any] = {_keys[name]: value for name, value in fields.items()}
        except KeyError:  # a new one
            return _checked(fields)
        if len(given) == len(fields):
            given.pop("", None)
            return given
    return _checked(fields)


def _checked(fields: Fields) -> dict[str, Any]:
    """Return fields of which some are new, repeated, or not passed on, or have control characters."""
    given: dict[str, Any] = {}
    for name, value in fields.items():
        key = _keys.get(name)
        if key is None:
            key = _key(name)
        if not key or name in _ELSEWHERE:
            continue
        if not isinstance(value, str):
            if name.isupper():
                raise malformed(f"The message has no {name}.")
            if not value:
                continue
            value = _joined(name, key, value)  # noqa: PLW2901  (what follows is about text)
        if not value.isprintable():
            check_value(key, value)
        given[key] = joined(key, given[key], value) if key in given else value
    return given


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
    return "close" not in options and (version == "HTTP/1.1" or "keep-alive" in options)


def _key(name: str) -> str:
    """Return the environ's key of a field; "" where it is Mongrel2's own, or is not passed on."""
    key = "" if name.isupper() else key_of(name)
    if key in _UPLOADS:
        key = ""
    if len(name) < LONG:
        if len(_keys) >= MOST:
            _keys.clear()
            _keys.update(_OWN)
        _keys[name] = key
    return key


def _joined(name: str, key: str, values: list[str]) -> str:
    if len(values) > 1 and key in SINGLE:
        raise ProtocolError(BAD_REQUEST, f"{name} is given {len(values)} times.")
    return ("; " if key == "HTTP_COOKIE" else ", ").join(values)
