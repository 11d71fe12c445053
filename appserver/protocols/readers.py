"""Two libraries that read HTTP heads, beside the server's own way (`lines`), with the same verdict.

Both take one whole head whose request line, line ends and characters are checked already, and return its
header fields as sent, as latin-1 text; `ProtocolError` says why a head is no good. h11 is the reference.
httptools calls back for each field, which costs more than to split lines here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httptools

from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BAD_REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable

Fields = list[tuple[str, str]]

_REQUEST_LINE = b"GET / HTTP/1.1"
_TRAILING = re.compile(rb"(?<![ \t])[ \t]+(?=\r\n)").sub


def h11_fields(head: bytes) -> Fields:
    """Read a head with h11."""
    import h11  # noqa: PLC0415  (who uses httptools does without)

    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
    try:
        reader.receive_data(head)
        event = reader.next_event()
    except h11.RemoteProtocolError as error:
        why = str(error).partition(":")[0]  # behind it there may be the line, with a secret in it
        raise ProtocolError(BAD_REQUEST, f"The head is malformed: {why}.") from None
    if not isinstance(event, h11.Request):
        raise ProtocolError(BAD_REQUEST, "The head is no request.")
    # h11 makes one of equal lengths, of "5, 5" too.
    lengths = [line for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"]
    if len(lengths) > 1 or (lengths and b"," in lengths[0]):
        raise ProtocolError(BAD_REQUEST, "Content-Length is given twice.")
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers.raw_items()]


class HttptoolsFields:
    """Read heads with httptools.

    A parser is used again only where it stands at the start of a message: it never sees bodies.
    What it would do differently from h11 is evened out before it reads: it knows a closed list of
    methods, each with rules of its own for targets, and keeps blanks behind values.
    """

    def __init__(self) -> None:
        self._fields: Fields = []
        self._parser = httptools.HttpRequestParser(self)
        self._fresh = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field; httptools calls this."""
        self._fields.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_message_complete(self) -> None:
        """Note where the parser stands; httptools calls this."""
        self._fresh = self._parser.should_keep_alive()

    def __call__(self, head: bytes) -> Fields:
        if not self._fresh:
            self._parser = httptools.HttpRequestParser(self)
        self._fresh = False
        fields: Fields = []
        self._fields = fields
        if b" \r\n" in head or b"\t" in head:
            head = _TRAILING(b"", head)
        try:
            self._parser.feed_data(_REQUEST_LINE + head[head.index(b"\r\n") :])
        except httptools.HttpParserUpgrade:
            self._fresh = False
        except httptools.HttpParserError as error:
            raise ProtocolError(BAD_REQUEST, f"The head is malformed: {error}.") from None
        return fields


def reader_named(name: str) -> Callable[[bytes], Fields] | None:
    """Return the reader that ``http-parser`` names; None where the server reads by itself."""
    if name == "httptools":
        return HttptoolsFields()
    return h11_fields if name == "h11" else None
