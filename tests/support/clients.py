"""Raw clients, one for each listener, that send what its front end would send.

They are oracles for the listeners, so nothing here uses appserver's own encoders. All have
``request(method, target, headers, body, version)``, which is ``send`` followed by ``receive``.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from urllib.parse import unquote_to_bytes

from tests.support.answers import Wire, read_response
from tests.support.fronts import GUARD
from tests.support.messages import as_json, as_tnetstring, netstring, octets

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close(2) sends RST


def cgi_variables(method, target, headers, body, version, *names):
    """Return the variables that nginx's stock files send; *names* are those that carry the path."""
    path, _, query = target.partition("?")
    decoded = unquote_to_bytes(path.encode("latin-1"))
    given = {name.lower(): value for name, value in headers}
    length = given.get("content-length", str(len(body)) if body else "")
    found = [
        ("QUERY_STRING", query), ("REQUEST_METHOD", method),
        ("CONTENT_TYPE", given.get("content-type", "")), ("CONTENT_LENGTH", length),
        ("REQUEST_URI", target), *((name, decoded) for name in names), ("DOCUMENT_ROOT", "/usr/share/nginx/html"),
        ("SERVER_PROTOCOL", version), ("REQUEST_SCHEME", "http"), ("REMOTE_ADDR", "192.0.2.7"),
        ("REMOTE_PORT", "49152"), ("SERVER_PORT", "80"), ("SERVER_NAME", "www.example"),
    ]  # fmt: skip
    if "host" not in given:
        found.append(("HTTP_HOST", "localhost"))
    found += [("HTTP_" + name.upper().replace("-", "_"), value) for name, value in headers]
    return [(octets(name), octets(value)) for name, value in found]


class Client:
    """One client of a front end; *kept* tells whether its next request uses the same connection."""

    kept = False
    dated = False  # the listener sends Date itself

    def __init__(self):
        self.methods = deque()  # of requests not answered yet
        self.wire = None

    def request(self, method, target, headers=(), body=b"", version="HTTP/1.1", **more):
        self.send(method, target, headers, body, version, **more)
        return self.receive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class SocketClient(Client):
    """A client over a stream socket; *address* as the ini file writes it."""

    def __init__(self, address):
        super().__init__()
        self.address = address
        self.sock = None

    def connect(self):
        """Make a new connection and forget the one before."""
        self.close()
        if self.address[0] in "/@":
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(GUARD)
            self.sock.connect(self.address.replace("@", "\0", 1))
        else:
            host, _, port = self.address.rpartition(":")
            self.sock = socket.create_connection((host, int(port)), GUARD)
        self.wire = Wire(self.more)

    def more(self):
        return self.sock.recv(65536)

    def send(self, method, target, headers=(), body=b"", version="HTTP/1.1", **more):
        data = self.encode(method, target, headers, body, version, **more)
        if self.sock is None or not self.kept or self.wire.ended:
            self.connect()
        self.methods.append(method)
        self.sock.sendall(data)

    def start(self, data):
        """Send a part of a request on a new connection; `resume` sends the rest."""
        self.connect()
        self.sock.sendall(data)

    def resume(self, method, data):
        self.methods.append(method)
        self.sock.sendall(data)

    def receive(self):
        answer = read_response(self.wire, self.methods.popleft())
        if not self.kept or answer.header("Connection") == "close":
            extra = self.wire.rest()
            assert extra == b"", f"bytes behind the answer: {extra[:200]!r}"
            answer.closed = True
            answer.complete &= not self.wire.broken
        return answer

    def drop(self):
        """Go away in a way that the server's next send notices."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.close()

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None
        self.methods.clear()


class HttpClient(SocketClient):
    """HTTP, as curl or nginx's proxy_pass with kept connections."""

    kept = True
    dated = True

    def encode(self, method, target, headers=(), body=b"", version="HTTP/1.1"):
        given = {name.lower() for name, _ in headers}
        lines = [] if "host" in given else [("Host", "localhost")]
        if (body or method == "POST") and not given & {"content-length", "transfer-encoding"}:
            lines.append(("Content-Length", str(len(body))))
        head = "".join(f"{name}: {value}\r\n" for name, value in [*lines, *headers])
        return octets(f"{method} {target} {version}\r\n{head}\r\n") + body


class UwsgiClient(SocketClient):
    """nginx's uwsgi_pass."""

    def encode(self, method, target, headers=(), body=b"", version="HTTP/1.1", *, params=()):
        pairs = cgi_variables(method, target, headers, body, version, "PATH_INFO", "DOCUMENT_URI")
        pairs += [(octets(name), octets(value)) for name, value in params]
        packed = b"".join(struct.pack("<H", len(item)) + item for pair in pairs for item in pair)
        return struct.pack("<BHB", 0, len(packed), 0) + packed + body


class ScgiClient(SocketClient):
    """nginx's scgi_pass."""

    def encode(self, method, target, headers=(), body=b"", version="HTTP/1.1", *, params=()):
        every = cgi_variables(method, target, headers, body, version, "PATH_INFO", "DOCUMENT_URI")
        length = dict(every)[b"CONTENT_LENGTH"] or b"0"
        pairs = [(b"CONTENT_LENGTH", length), (b"SCGI", b"1")]
        pairs += [pair for pair in every if pair[0] != b"CONTENT_LENGTH"]
        pairs += [(octets(name), octets(value)) for name, value in params]
        packed = b"".join(item + b"\0" for pair in pairs for item in pair)
        return b"%d:%b," % (len(packed), packed) + body


class FastcgiClient(SocketClient):
    """nginx's fastcgi_pass; with *kept* as with ``fastcgi_keep_conn on``."""

    def __init__(self, address, kept=False):
        super().__init__(address)
        self.kept = kept
        self.errors = bytearray()
        self.over = False  # END_REQUEST has come

    def encode(self, method, target, headers=(), body=b"", version="HTTP/1.1", *, params=()):
        pairs = cgi_variables(method, target, headers, body, version, "SCRIPT_NAME", "DOCUMENT_URI")
        pairs += [(octets(name), octets(value)) for name, value in params]
        packed = b"".join(self._size(n) + self._size(v) + n + v for n, v in pairs)
        begin = self.record(1, struct.pack(">HB5x", 1, int(self.kept)))
        # Records end anywhere, in the middle of a name too.
        return begin + self._stream(4, packed, 333) + self._stream(5, body, 32000)

    @staticmethod
    def _size(item):
        return bytes([len(item)]) if len(item) < 128 else struct.pack(">I", len(item) | 1 << 31)

    @staticmethod
    def record(kind, content, padding=0):
        return struct.pack(">BBHHBx", 1, kind, 1, len(content), padding) + content + bytes(padding)

    def _stream(self, kind, data, size):
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        return b"".join(self.record(kind, part, -len(part) % 8) for part in [*parts, b""])

    def more(self):
        """Return the next piece of STDOUT, b"" once the request is over."""
        while True:
            head = self._exactly(8)
            version, kind, request, size, padding = struct.unpack(">BBHHBx", head)
            assert (version, request) == (1, 1), head
            content = self._exactly(size + padding)[:size]
            if kind == 6 and content:
                return content
            if kind == 7:
                self.errors += content
            elif kind == 3:
                self.over = True
                assert content[4] == 0, f"protocol status {content[4]}"
                return b""
            else:
                assert kind in {6, 7}, f"record of type {kind}"

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise ConnectionResetError
            data += piece
        return data

    def receive(self):
        self.wire = Wire(self.more)
        self.over = False
        answer = read_response(self.wire, self.methods.popleft())
        assert self.wire.rest() == b"", "bytes behind the answer"
        answer.complete &= self.over
        answer.errors, self.errors = bytes(self.errors), bytearray()
        keeps = self.kept and answer.header("Connection") != "close"
        answer.closed = not (self.over and keeps)
        self.wire.ended = answer.closed
        if self.over and answer.closed:
            assert self.sock.recv(1) == b"", "bytes behind END_REQUEST"
        return answer


class Mongrel2Client(Client):
    """One connection of a client to Mongrel2; a new one once the handler has closed it."""

    kept = True
    dated = True

    def __init__(self, mongrel2, tnetstring=False):
        super().__init__()
        self.mongrel2 = mongrel2
        self.tnetstring = tnetstring
        self.number = None

    def send(self, method, target, headers=(), body=b"", version="HTTP/1.1", *, fields=()):
        if self.number is None or self.wire.ended:
            self.number = number = next(self.mongrel2.numbers)
            self.wire = Wire(lambda: self.mongrel2.next_answer(number))
        path, mark, query = target.partition("?")
        found = {"PATH": path, "x-forwarded-for": "192.0.2.7"}
        given = {name.lower() for name, _ in headers}
        if "host" not in given:
            found["host"] = "localhost"
        if (body or method == "POST") and "content-length" not in given:
            found["content-length"] = str(len(body))
        for name, value in headers:
            key = name.lower()
            old = found.get(key)
            found[key] = value if old is None else [*(old if isinstance(old, list) else [old]), value]
        found |= {"METHOD": method, "VERSION": version, "URI": target}
        if mark:
            found["QUERY"] = query
        found |= {"PATTERN": "/", "URL_SCHEME": "http", "REMOTE_ADDR": "192.0.2.7", **dict(fields)}
        encoded = as_tnetstring(found) if self.tnetstring else netstring(as_json(found), b",")
        self.methods.append(method)
        self.mongrel2.push(self.number, path, encoded, body)

    def receive(self):
        answer = read_response(self.wire, self.methods.popleft())
        if answer.header("Connection") == "close" and not self.wire.ended:
            assert self.wire.rest() == b"", "bytes behind the answer"
            answer.closed = True
        return answer

    def drop(self):
        """Leave; Mongrel2 tells its handlers."""
        self.mongrel2.disconnect(self.number)
        self.number = None

    def close(self):
        if self.number is not None and not self.wire.ended:
            self.drop()
