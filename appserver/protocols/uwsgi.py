"""The binary uwsgi protocol: one packet of variables, then the body.

Specification: "The uwsgi Protocol" of uWSGI's documentation. The answer is HTTP with its end at
the end of the connection.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from appserver.protocols.cgi import CgiVariables, exchange
from appserver.protocols.codec import Codec, ProtocolError
from appserver.protocols.framing import (
    BAD_REQUEST,
    HEAD_TOO_LARGE,
    ChunkedBody,
    head_of,
    refusal,
)
from appserver.protocols.stranger import stranger

if TYPE_CHECKING:
    from appserver.exchange import Exchange

_WSGI: Final = 0
_WSGI_MOUNTED: Final = 30
_PINGS = re.compile(rb"(?:\x64\0\0\0)+").match  # 100, no variables, 0
_PONG = b"\x64\0\0\1"
_MOST_PINGS: Final = 1000  # of one connection: answers to more would pile up for a peer that reads none


class UwsgiVariables(CgiVariables):
    """Variables with the length of each name and value before it, in two bytes."""

    def cut(self, data: bytes, text: str, at: int) -> tuple[str, str, int]:
        start = at + 2
        middle = start + (data[at] | data[at + 1] << 8)
        value = middle + 2
        stop = value + (data[middle] | data[middle + 1] << 8)
        if middle == start:
            raise ProtocolError(BAD_REQUEST, "A variable of the uwsgi packet has no name.")
        return text[start:middle], text[value:stop], stop

    def lead(self, said: bytes, name: str) -> tuple[bytes, bytes]:
        return said[: 2 + len(name)], b""

    def span(self, data: bytes, at: int, name: bytes) -> tuple[int, int]:
        start = at + 2
        return start, start + (data[at] | data[at + 1] << 8)


VARIABLES: Final = UwsgiVariables("A variable is longer than its uwsgi packet.")


class UwsgiCodec(Codec):
    """Decode one uwsgi request of a connection; its answer ends with the connection."""

    __slots__ = ("base", "limit", "pings")

    plain = True
    verbatim = True

    def __init__(self, base: dict[str, Any], limit: int = 65536) -> None:
        super().__init__()
        self.base = base
        self.limit = limit
        self.pings = 0

    def receive(self, data: bytes) -> Exchange | None:
        packet = self.buffer + data if self.buffer else data
        if packet[:1] == b"\x64":
            packet = self._answer_pings(packet)
        if len(packet) < 4:
            self.buffer = packet
            return None
        modifier = packet[0]
        size = packet[1] | packet[2] << 8
        if modifier not in (_WSGI, _WSGI_MOUNTED):
            raise self._unserved(packet, modifier)
        if size > self.limit:
            raise ProtocolError(
                HEAD_TOO_LARGE,
                f"The request's variables have {size} bytes, buffer-size allows {self.limit}.",
                hint=f"Raise buffer-size to {size} or more.",
            )
        end = 4 + size
        if len(packet) < end:
            self.buffer = packet
            return None
        if not size:
            raise ProtocolError(BAD_REQUEST, "The uwsgi packet has no variables.")
        x = exchange(VARIABLES.read(packet, 4, end, self.base), self)
        self.buffer = packet[end:]
        if modifier == _WSGI_MOUNTED:
            _strip_script(x.environ)
        if x.body_left < 0:
            self.chunks = ChunkedBody()
        return x

    def _answer_pings(self, packet: bytes) -> bytes:
        """Answer the pings that *packet* begins with and return what follows them."""
        pings = _PINGS(packet)
        if pings is None:
            return packet
        count = pings.end() // 4
        self.pings += count
        if self.pings > _MOST_PINGS:
            raise ProtocolError(BAD_REQUEST, "The peer sends nothing but pings.", answer=False)
        self.replies += _PONG * count
        return packet[pings.end() :]

    def _unserved(self, packet: bytes, modifier: int) -> ProtocolError:
        """Return the error for what no Python application can serve."""
        error = stranger("uwsgi", packet)
        if error.hint:
            return error
        return ProtocolError(
            "500 Internal Server Error",
            f"uwsgi modifier {modifier} is not served here; 0, 30 and 100 are.",
            hint="Set uwsgi_modifier1 0 in nginx.",
        )

    def head(self, x: Exchange) -> bytes:
        x.keep_alive = False
        return head_of(("HTTP/1.0 " if x.protocol == "HTTP/1.0" else "HTTP/1.1 ") + x.status, x)

    def whole(self, x: Exchange, head: bytes, data: bytes) -> bytes:
        return head + data

    def refuse(self, error: ProtocolError, x: Exchange | None = None) -> bytes:
        return refusal(f"HTTP/1.1 {error.status}", error, x)


def _strip_script(environ: dict[str, Any]) -> None:
    """Take SCRIPT_NAME off PATH_INFO, as modifier 30 asks."""
    script, path = environ["SCRIPT_NAME"], environ["PATH_INFO"]
    if script and (path == script or path.startswith(script.rstrip("/") + "/")):
        environ["PATH_INFO"] = path[len(script.rstrip("/")) :]
