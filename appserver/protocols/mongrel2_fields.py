"""The fields of Mongrel2's messages, in both of their notations, by their keys in the environ.

Source: Mongrel2 1.12 and 1.13, src/request.c, src/handler.c. A client's names are lower-cased there; those in
capitals are Mongrel2's own.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, Final

import msgspec

from appserver.protocols import tnetstring
from appserver.protocols.codec import ProtocolError
from appserver.protocols.fields import CODING, SINGLE, check_value, joined, key_of
from appserver.protocols.forms import NOWHERE
from appserver.protocols.framing import BAD_REQUEST
from appserver.protocols.tnetstring import malformed
from appserver.protocols.variables import Variables

Named = dict[str, str | list[str]]  # fields by the names that Mongrel2 gives them

START: Final = "x-mongrel2-upload-start"
DONE: Final = "x-mongrel2-upload-done"
CREDITS: Final = "DOWNLOAD_CREDITS"  # bytes that may be sent to a client (download.flow_control)
OFFSET: Final = "UPLOAD_STREAM"  # of a piece of a body (upload.stream)
LAST: Final = "UPLOAD_STREAM_DONE"  # of its last piece
FLAGS: Final = "FLAGS"  # the first byte of a WebSocket's frame, such as 0x81

# Fields that are about the message and not for the application have these keys where they are among others.
_START: Final = f"mongrel2.{START}"
_DONE: Final = f"mongrel2.{DONE}"
_CREDITS: Final = f"mongrel2.{CREDITS}"
_OFFSET: Final = f"mongrel2.{OFFSET}"
_LAST: Final = f"mongrel2.{LAST}"
_FLAGS: Final = f"mongrel2.{FLAGS}"
ASIDE: Final = {_START: START, _DONE: DONE, _CREDITS: CREDITS, _OFFSET: OFFSET, _LAST: LAST, _FLAGS: FLAGS}
_KEYS: Final[dict[str, str]] = {
    "METHOD": "REQUEST_METHOD",
    "VERSION": "SERVER_PROTOCOL",
    "URI": "REQUEST_URI",
    "QUERY": "QUERY_STRING",
    "PATH": "PATH_INFO",
    "PATTERN": "SCRIPT_NAME",
    "REMOTE_ADDR": "REMOTE_ADDR",
    "URL_SCHEME": "wsgi.url_scheme",
    "PEER_CERT_SHA1": "PEER_CERT_SHA1",
    "transfer-encoding": CODING,
    **{name: key for key, name in ASIDE.items()},
}
_OWN: Final = {**_KEYS, "content-length": "CONTENT_LENGTH"}
_UPLOADS: Final = frozenset({"HTTP_X_MONGREL2_UPLOAD_START", "HTTP_X_MONGREL2_UPLOAD_DONE"})  # in any case
_ELSEWHERE: Final = frozenset({"PATH", "PATTERN", "transfer-encoding"})  # looked at where they are needed
# What Mongrel2 has gone by, blanks included: it decodes no body whose coding has one behind it.
_VERBATIM: Final = frozenset({"transfer-encoding", "sec-websocket-key"})
_NOTHING: Final[Named] = {}
_LATIN_1 = re.compile(r"[\x00-\xff]*").fullmatch
_BLANK: Final = 0x20
_COMMA: Final = 0x2C
_DICTIONARY: Final = 0x7D  # its tag
_BACKSLASH: Final = 0x5C
_DEL: Final = 0x7F
_strings_from_json: Final = msgspec.json.Decoder(dict[str, str]).decode
_from_json: Final = msgspec.json.Decoder(dict[str, str | list[str]]).decode


class _UnusualError(Exception):
    """A field is a list, is given twice, or is not printable; or the notation is not the usual one."""


class Fields(Variables):
    """Fields in one of the notations, with nothing unusual among them."""

    __slots__ = ("learns",)

    def __init__(self, overrun: str, tail: str = "", *, mark: str = "", learns: bool = True) -> None:
        super().__init__(overrun, tail, mark=mark, bare=True)
        self.learns = learns  # forms

    def key(self, name: str) -> str | None:
        try:
            return _key(name)
        except ProtocolError:  # that is for `checked` to say
            return None

    def unusual(self, data: bytes, at: int, end: int) -> dict[str, Any]:
        raise _UnusualError


class Tnetstrings(Fields):
    """The strings of a dictionary."""

    def cut(self, data: bytes, text: str, at: int) -> tuple[str, str, int]:
        start, middle = tnetstring.span(data, at)
        if data[middle] != _COMMA:
            raise malformed("A key of the headers is no string.")
        value, stop = tnetstring.span(data, middle + 1)
        if data[stop] != _COMMA:
            raise _UnusualError
        name = text[start:middle]
        return name, _bare(name, text[value:stop]), stop + 1

    def lead(self, said: bytes, name: str) -> tuple[bytes, bytes]:
        return said[: tnetstring.span(said, 0)[1] + 1], b""

    def span(self, data: bytes, at: int, name: bytes) -> tuple[int, int]:
        start, stop = tnetstring.span(data, at)
        if data[stop] != _COMMA or (data[stop - 1] == _BLANK and stop > start):
            return NOWHERE
        return start, stop


class JsonStrings(Fields):
    """The strings of a JSON object without escapes, as Mongrel2 writes it: with no blanks between them.

    A field begins with what stands in front of its name: the object's start, or a comma.
    """

    def cut(self, data: bytes, text: str, at: int) -> tuple[str, str, int]:
        start = at + 2
        middle = text.find('"', start)
        value = middle + 3
        stop = text.find('"', value)
        if (
            middle < 0
            or stop < 0
            or text[at:start] != ('{"' if not at or text[at - 1] != '"' else ',"')
            or text[middle:value] != '":"'
        ):
            raise _UnusualError
        name = text[start:middle]
        return name, _bare(name, text[value:stop]), stop + 1

    def lead(self, said: bytes, name: str) -> tuple[bytes, bytes]:
        return said[: len(name) + 5], b""

    def read_object(self, message: bytes, at: int, end: int, base: dict[str, Any]) -> dict[str, Any]:
        """Return what `read` does of the object in ``message[at:end]``."""
        data = message[at:end]
        if not self.learns or _BACKSLASH in data:
            return self.decoded(data, base)
        if end <= at + 1 or message[end - 1] != 0x7D:
            raise _UnusualError
        return self.read(message, at, end - 1, base)

    def read_new(self, data: bytes, text: str, at: int, end: int, base: dict[str, Any]) -> dict[str, Any]:
        given = self.decoded(data[at : end + 1], base)
        with suppress(_UnusualError):
            self.learn(data, text, at, end, base)
        return given

    def decoded(self, data: bytes, base: dict[str, Any]) -> dict[str, Any]:
        """Return what `read` does of a whole object, whatever its form, with no learning.

        A decoder takes UTF-8 and no control characters but one. An escape that says more than one byte
        was never Mongrel2's, except in PATH, which is not escaped.
        """
        escapes = _BACKSLASH in data
        if not data.isascii() or _DEL in data or (escapes and b"\\u" in data):
            raise _UnusualError
        try:
            named = _strings_from_json(data)
        except msgspec.DecodeError:
            raise _UnusualError from None
        if data.find(b' "') >= 0:
            named = {name: _bare(name, value) for name, value in named.items()}
        keys = self._keys
        try:
            given: dict[str, Any] = {keys[name]: value for name, value in named.items()}
        except KeyError:  # a new one
            given = self._by_new_keys(named)
        count = len(given)
        given |= base
        if count != len(named) or len(given) != count + len(base):
            raise _UnusualError
        if escapes and not "".join(named.values()).isprintable():
            raise _UnusualError
        if "" in given:
            del given[""]
        return given

    def _by_new_keys(self, named: dict[str, str]) -> dict[str, Any]:
        passed: dict[str, Any] = {}
        for name, value in named.items():
            key = self._new_key(name)
            if key is None:
                raise _UnusualError
            passed[key] = value
        return passed


TNETSTRINGS: Final = Tnetstrings(tnetstring.OVERRUN, tail=",")
# Interpreted, the decoder of JSON is faster than what compares with a form.
JSON: Final = JsonStrings("The headers are no JSON.", mark='"', learns=not __file__.endswith(".py"))


def read(
    message: bytes, start: int, end: int, base: dict[str, Any]
) -> tuple[dict[str, Any], Named, Named | None]:
    """Return the fields in ``message[start:end]`` by their keys, with *base*, and `ASIDE` by their names.

    The tag behind them tells the notation. Where something is unusual the third are all of them by their
    names, for `checked`, and the first only those of Mongrel2's own and what frames a body. The first is the
    caller's to change, the others are not. Raise `ProtocolError` for what is malformed.
    """
    tag = message[end]
    try:
        if tag == _DICTIONARY:
            given = TNETSTRINGS.read(message, start, end, base)
        elif tag == _COMMA:
            given = JSON.read_object(message, start, end, base)
        else:
            raise malformed("The headers are neither a netstring nor a dictionary.")
        return given, _set_aside(given), None
    except _UnusualError:
        pass
    named = (
        tnetstring.dictionary(message, start, end) if tag == _DICTIONARY else _json_fields(message[start:end])
    )
    named = _stripped(named)
    # A list of them counts as one that says nothing: `checked` tells of it.
    own = {
        key: value if isinstance(value := named[name], str) else ""
        for name, key in _OWN.items()
        if name in named
    }
    return own | base, {name: named[name] for name in ASIDE.values() if name in named}, named


def _set_aside(given: dict[str, Any]) -> Named:
    """Take what is not for the application out of fields."""
    if not (  # each by itself, as a loop over them costs every request three times as much
        _OFFSET in given
        or _CREDITS in given
        or _FLAGS in given
        or _START in given
        or _DONE in given
        or _LAST in given
    ):
        return _NOTHING
    return {name: given.pop(key) for key, name in ASIDE.items() if key in given}


def _json_fields(data: bytes) -> Named:
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


def _bare(name: str, value: str) -> str:
    """Return a client's value without blanks behind it; Mongrel2 takes away those in front."""
    if not value or value[-1] not in " \t" or name.isupper() or name in _VERBATIM:
        return value
    return value.rstrip(" \t")


def _stripped(named: Named) -> Named:
    return {
        name: _bare(name, value) if isinstance(value, str) else [_bare(name, each) for each in value]
        for name, value in named.items()
    }


def checked(named: Named) -> dict[str, Any]:
    """Return fields of which some are repeated, not passed on, or have control characters, by their keys.

    Raise `ProtocolError` for what may not be there.
    """
    given: dict[str, Any] = {}
    for name, value in named.items():
        key = _key(name)
        if not key or key in ASIDE:
            continue
        if name in _ELSEWHERE:
            given[key] = value if isinstance(value, str) else ""
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


def _key(name: str) -> str:
    """Return the key of a field, "" where it is not passed on; raise `ProtocolError` for what is no name."""
    key = _KEYS.get(name)
    if key is None:
        key = "" if name.isupper() else key_of(name)
        if key in _UPLOADS:
            key = ""
    return key


def _joined(name: str, key: str, values: list[str]) -> str:
    if len(values) > 1 and key in SINGLE:
        raise ProtocolError(BAD_REQUEST, f"{name} is given {len(values)} times.")
    return ("; " if key == "HTTP_COOKIE" else ", ").join(values)
