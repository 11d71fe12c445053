"""Requests as front ends send them, and answers as they read them: the other side of the codecs.

The variables are those of nginx's stock lists, with PATH_INFO.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from appserver.protocols import tnetstring
from appserver.protocols.codec import ProtocolError
from appserver.protocols.fastcgi import pair, record
from appserver.protocols.fields import decoded
from appserver.protocols.framing import BAD_REQUEST, ChunkedBody

if TYPE_CHECKING:
    from appserver.protocols.mongrel2 import Connection

_BEGIN, _PARAMS, _STDIN, _STDOUT = 1, 4, 5, 6
_RESPONDER = b"\0\1\0\0\0\0\0\0"
_RECORD = 32768


@dataclass(frozen=True)
class Request:
    """A request of HTTP/1.1; text stands for bytes as latin-1. *headers* have a Host."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    peer: tuple[str, str] = ("127.0.0.1", "49152")  # the client's address and port
    port: str = "80"  # the front end's

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The fields with a Content-Length where there is a body."""
        length = [("Content-Length", str(len(self.body)))] if self.body else []
        return [*self.headers, *length]

    @property
    def variables(self) -> dict[str, str]:
        """The CGI variables."""
        path, _, query = self.target.partition("?")
        given = {name.lower(): value for name, value in self.fields}
        return {
            "QUERY_STRING": query, "REQUEST_METHOD": self.method, "REQUEST_URI": self.target,
            "CONTENT_TYPE": given.get("content-type", ""), "CONTENT_LENGTH": given.get("content-length", ""),
            "PATH_INFO": decoded(path), "DOCUMENT_ROOT": "/srv", "SERVER_PROTOCOL": "HTTP/1.1",
            "REQUEST_SCHEME": "http", "REMOTE_ADDR": self.peer[0], "REMOTE_PORT": self.peer[1],
            "SERVER_PORT": self.port, "SERVER_NAME": given["host"].partition(":")[0],
            **_joined([(f"HTTP_{name.upper().replace('-', '_')}", value) for name, value in self.headers]),
        }  # fmt: skip


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return repeated fields as one, as nginx has it since 1.23."""
    found: dict[str, str] = {}
    for name, value in pairs:
        comma = "; " if name == "HTTP_COOKIE" else ", "
        found[name] = f"{found[name]}{comma}{value}" if name in found else value
    return found


def http(request: Request) -> bytes:
    """Return a request of HTTP/1.1 that is the connection's last."""
    fields = [*request.fields, ("Connection", "close")]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"{request.method} {request.target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + request.body


def uwsgi(request: Request) -> bytes:
    """Return a uwsgi packet and the body."""
    packed = b"".join(
        len(text).to_bytes(2, "little") + text
        for each in request.variables.items()
        for text in (each[0].encode("latin-1"), each[1].encode("latin-1"))
    )
    return b"\0" + len(packed).to_bytes(2, "little") + b"\0" + packed + request.body


def scgi(request: Request) -> bytes:
    """Return a netstring of variables and the body."""
    length = {"CONTENT_LENGTH": str(len(request.body)), "SCGI": "1"}
    packed = "".join(f"{name}\0{value}\0" for name, value in (length | request.variables | length).items())
    return b"%d:%b," % (len(packed), packed.encode("latin-1")) + request.body


def fastcgi(request: Request) -> bytes:
    """Return the records of a request that is the connection's last."""
    packed = b"".join(
        pair(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.variables.items()
    )
    return record(_BEGIN, 1, _RESPONDER) + _stream(_PARAMS, packed) + _stream(_STDIN, request.body)


def _stream(kind: int, data: bytes) -> bytes:
    pieces = [data[at : at + _RECORD] for at in range(0, len(data), _RECORD)]
    return b"".join(record(kind, 1, piece) for piece in [*pieces, b""])


def mongrel2(request: Request, connection: Connection) -> bytes:
    """Return Mongrel2's message for a client's connection."""
    path, mark, query = request.target.partition("?")
    fields: dict[str, object] = {"PATH": path, "x-forwarded-for": request.peer[0]}
    for name, value in request.fields:
        key = name.lower()
        old = fields.get(key)
        if old is None or key == "x-forwarded-for":
            fields[key] = value
        else:
            fields[key] = [*(old if isinstance(old, list) else [old]), value]
    fields |= {
        "METHOD": request.method, "VERSION": "HTTP/1.1", "URI": request.target, "PATTERN": "/",
        "URL_SCHEME": "http", "REMOTE_ADDR": request.peer[0], **({"QUERY": query} if mark else {}),
    }  # fmt: skip
    start = b"%b %b %b " % (*connection, path.encode("latin-1"))
    return start + tnetstring.encode(fields) + tnetstring.encode(request.body)


def stdout(data: bytes) -> tuple[bytes, bool]:
    """Return what FastCGI records carry of an answer, and whether its request is ended in order."""
    found = []
    at = 0
    while len(data) - at >= 8:
        kind, size, padding = data[at + 1], int.from_bytes(data[at + 4 : at + 6], "big"), data[at + 6]
        content = data[at + 8 : at + 8 + size]
        if kind == _STDOUT:
            found.append(content)
        elif kind == 3:
            return b"".join(found), len(content) == 8 and content[4] == 0
        at += 8 + size + padding
    return b"".join(found), False


@dataclass(frozen=True)
class Answer:
    """An answer whose framing is undone; *complete* is False where it was cut."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    complete: bool


def answer(data: bytes, method: str, ended: bool = True) -> Answer | None:
    """Return the answer in *data*, None where more is needed; with *ended* nothing more comes.

    A CGI answer has a Status field in the place of HTTP's first line. Raise `ProtocolError` for what is none.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        if ended:
            raise ProtocolError(BAD_REQUEST, f"{data[:80]!r} is no answer." if data else "No answer came.")
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    start, _, status = first.partition(" ")
    if start not in {"HTTP/1.1", "HTTP/1.0", "Status:"}:
        raise ProtocolError(BAD_REQUEST, f"{first[:80]!r} begins no answer.")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    given = {name.lower(): value for name, value in headers}
    whole = True
    if method == "HEAD" or status[:3] in {"204", "304"}:
        body = b""
    elif given.get("transfer-encoding") == "chunked":
        body, whole = _unchunked(body)
    elif "content-length" in given:
        whole = len(body) >= int(given["content-length"])
        body = body[: int(given["content-length"])]
    elif not ended:
        whole = False
    return Answer(status, headers, body, whole) if whole or ended else None


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    """Return the body in *data*, and whether it is whole."""
    chunks = ChunkedBody()
    body, rest, whole = chunks.decode(data)
    pieces = [body]
    while chunks.behind:
        body, rest, whole = chunks.decode(rest)
        pieces.append(body)
    return b"".join(pieces), whole
