"""WebSocket clients that send whatever they are told to, over HTTP and as Mongrel2 passes it on.

They are oracles: frames are put together here by RFC 6455, not by appserver's own code.
"""

from __future__ import annotations

import base64
import hashlib
import struct

from tests.support.answers import Wire, read_response
from tests.support.clients import HttpClient, Mongrel2Client, ScgiClient, UwsgiClient
from tests.support.messages import as_json, netstring

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of section 1.3
TEXT, BINARY, CLOSE, PING, PONG, FIN = 1, 2, 8, 9, 10, 0x80
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
MASK = b"\x37\xfa\x21\x3d"


def masked(first, payload, mask=MASK):
    """Return a client's frame."""
    size = len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 65536:
        head = bytes([first, 0xFE]) + struct.pack("!H", size)
    else:
        head = bytes([first, 0xFF]) + struct.pack("!Q", size)
    if mask == bytes(4):
        return head + mask + payload
    keys = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ keys).to_bytes(size, "big")


class Frames:
    """What both kinds of clients do with frames; ``wire`` has the bytes that come."""

    def connect_to(self, target="/", **changes):
        """Ask for a WebSocket, check the answer, and return it."""
        answer = self.ask(target, **changes)
        assert answer.status == 101, answer
        assert answer.header("Sec-WebSocket-Accept") == ACCEPT
        assert answer.header("Upgrade") == "websocket"
        assert answer.header("Connection").lower() == "upgrade"  # nginx writes its own
        return answer

    def ask(self, target="/", **changes):
        """Ask for a WebSocket with *changes* to the header fields (None takes one away); return the answer."""
        fields = HANDSHAKE | {name.replace("_", "-"): value for name, value in changes.items()}
        self.ask_with(target, [(name, value) for name, value in fields.items() if value is not None])
        return self.receive_head()

    def receive_head(self):
        return read_response(self.wire, "GET")

    def frame(self):
        """Return the first byte and the payload of the next frame, None at the end of the connection."""
        head = self.wire.take(2)
        if len(head) < 2:
            return None
        first, size = head
        assert size < 128, "a server's frame is not masked"
        if size == 126:
            (size,) = struct.unpack("!H", self.wire.take(2))
            assert size > 125
        elif size == 127:
            (size,) = struct.unpack("!Q", self.wire.take(8))
            assert size > 65535
        payload = self.wire.take(size)
        return first, payload if len(payload) == size else None

    def message(self):
        """Return the next message, as text or as bytes."""
        first, payload = self.frame()
        assert first in {FIN | TEXT, FIN | BINARY}, (first, payload)
        return payload.decode() if first == FIN | TEXT else payload

    def say(self, message):
        if isinstance(message, str):
            self.send_frame(FIN | TEXT, message.encode())
        else:
            self.send_frame(FIN | BINARY, message)

    def say_close(self, code=1000, reason=""):
        self.send_frame(FIN | CLOSE, struct.pack("!H", code) + reason.encode())

    def closed(self):
        """Return the code and reason of the close frame that comes, and answer it where it is none itself."""
        first, payload = self.frame()
        assert first == FIN | CLOSE, (first, payload[:100])
        return (struct.unpack("!H", payload[:2])[0], payload[2:].decode()) if payload else (1005, "")

    def end(self):
        """Wait for the end of the connection, behind which nothing comes."""
        assert self.frame() is None


class SocketWebSocket(Frames):
    """What those over a socket of their own have in common."""

    def ask_with(self, target, fields):
        self.send("GET", target, fields)
        self.methods.clear()

    def send_frame(self, first, payload=b"", mask=MASK):
        self.sock.sendall(masked(first, payload, mask))

    def send_bytes(self, data):
        self.sock.sendall(data)

    def leave(self):
        """Go without a word."""
        self.sock.close()
        self.sock = None


class HttpWebSocket(SocketWebSocket, HttpClient):
    """A browser's WebSocket."""


class UwsgiWebSocket(SocketWebSocket, UwsgiClient):
    """A browser's WebSocket behind nginx's uwsgi_pass, which makes a tunnel of the connection."""


class ScgiWebSocket(SocketWebSocket, ScgiClient):
    """The same behind scgi_pass."""


class Mongrel2WebSocket(Frames, Mongrel2Client):
    """A browser's WebSocket as Mongrel2 tells of it: a message for each frame, with its first byte."""

    more_fields = {}  # noqa: RUF012  (of Mongrel2's own)

    def ask_with(self, target, fields):
        given = {name.lower(): value for name, value in fields}
        key = given.get("sec-websocket-key", "")
        path, mark, query = target.partition("?")
        self.fields = {
            "PATH": path, "x-forwarded-for": "192.0.2.7", "host": "localhost", **given, "VERSION": "HTTP/1.1",
            "URI": target, **({"QUERY": query} if mark else {}), "PATTERN": "/", "URL_SCHEME": "http",
            "REMOTE_ADDR": "192.0.2.7", **self.more_fields,
        }  # fmt: skip
        self.path = path
        self.number = number = next(self.mongrel2.numbers)
        self.wire = Wire(lambda: self.mongrel2.next_answer(number))
        if not {"sec-websocket-key", "sec-websocket-version"} <= set(given):  # it is no handshake to Mongrel2
            self._push({"METHOD": "GET"}, b"")
            return
        sha = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        self._push({"METHOD": "WEBSOCKET_HANDSHAKE"}, base64.b64encode(sha))

    def _push(self, more, body):
        encoded = netstring(as_json(self.fields | more), b",")
        self.mongrel2.push(self.number, self.path, encoded, body)

    def send_frame(self, first, payload=b""):
        self._push({"METHOD": "WEBSOCKET", "FLAGS": f"0x{first:X}"}, payload)

    def leave(self):
        self.drop()
