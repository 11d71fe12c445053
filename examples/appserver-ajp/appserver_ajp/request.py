"""A request: flup takes the packet apart, appserver's rules decide what of it may be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flup.server import ajp_base

from appserver.protocols import cgi
from appserver.protocols.fields import content_length, decoded, joined, key_of
from appserver_ajp.answer import AjpCodec

if TYPE_CHECKING:
    from appserver.exchange import Exchange
    from appserver.protocols.codec import ProtocolError
    from appserver_ajp.connection import AjpConnection

# Attributes that are newer than flup; it would take a request that has them for malformed.
ajp_base.attributeTable[12:] = [b"SECRET", b"STORED_METHOD"]

_UNKNOWN = 1 << 62  # the length of a body until its end has come


class AjpRequest(ajp_base.Request):
    """flup's request, its headers and attributes kept apart until they are judged."""

    def __init__(self, connection: AjpConnection) -> None:
        super().__init__(connection)
        self.connection = connection
        self.input = AjpInput(connection)
        self.secret = b""
        self._fields: list[tuple[str, str]] = []
        self._attributes: dict[str, str] = {}

    def addHeader(self, name: bytes, value: bytes) -> None:  # noqa: N802  (flup's name)
        """Keep a field of the request; flup would keep the last one of a repeated field."""
        text = value.decode("latin-1")
        if name.lower() == b"transfer-encoding":
            key = "HTTP_TRANSFER_ENCODING"  # `cgi.exchange` wants to see it; the application does not
        else:
            key = key_of(name.decode("latin-1"))
        self._fields.append((key, text))
        if key == "CONTENT_LENGTH":
            self.input.setDataLength(content_length(text))

    def addAttribute(self, name: bytes, value: bytes | str) -> None:  # noqa: N802  (flup's name)
        """Keep what the front end says itself; it may not speak for the client or the server.

        Apache sends every environment variable AJP_NAME of its own as NAME.
        """
        if isinstance(value, bytes):  # flup makes text of a number
            if name == b"SECRET":
                self.secret = value
                return
            value = value.decode("latin-1")
        key = name.decode("latin-1")
        if key not in self.environ and not key.startswith(("HTTP_", "CONTENT_")):
            self._attributes[key] = value

    def exchange(self, base: dict[str, Any]) -> Exchange:
        """Return the request as appserver sees it; raise `ProtocolError` for one that is refused.

        AJP has no PATH_INFO: its REQUEST_URI is the path as the front end has normalised it.
        """
        if len([key for key, _ in self._fields if key == "HTTP_HOST"]) > 1:
            joined("HTTP_HOST", "", "")  # refuses it; for a front end's variables the last would count
        line = {name: value for name, value in self.environ.items() if value}
        uri = line.get("REQUEST_URI", "/")
        query = self._attributes.get("QUERY_STRING")
        line["DOCUMENT_URI"] = decoded(uri.partition("?")[0])
        line["REQUEST_URI"] = f"{uri}?{query}" if query and "?" not in uri else uri
        pairs = [*line.items(), *self._attributes.items(), *self._fields]
        x = cgi.exchange(cgi.merged(pairs) | base, AjpCodec(self))
        if x.body_left < 0:
            self.input.setDataLength(_UNKNOWN)
        return x

    def refuse(self, error: ProtocolError) -> None:
        """Answer why the request is refused, and end the connection after it."""
        self.connection.keep = False
        text = f"{error.reason}\n".encode("latin-1", "replace")
        fields = [
            (b"Content-Type", b"text/plain; charset=iso-8859-1"),
            (b"Content-Length", b"%d" % len(text)),
        ]
        self.startResponse(int(error.status[:3]), error.status[4:].encode(), fields)
        if self.environ["REQUEST_METHOD"] != "HEAD":
            self.write(text)


class AjpInput(ajp_base.InputStream):
    """flup's reader of a body, for bodies of unknown length too."""

    def addData(self, data: bytes) -> None:  # noqa: N802  (flup's name)
        """Take a piece; an empty one ends a body of unknown length, and no other."""
        if not data and self._length > _UNKNOWN // 2:
            self.setDataLength(self._avail)
        else:
            super().addData(data)
