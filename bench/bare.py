"""What a WSGI server has to do at least: ``python -m bench.bare APPLICATION DOOR ADDRESS``.

It believes that each read has one head, whole and well-formed, takes it apart with a plain loop, calls the
application and writes what that returns; with uwsgi, SCGI and FastCGI it reads the body before, as ours
does. It checks and limits nothing, and where it has to wait everybody does, as no server may.
"""

from __future__ import annotations

import os
import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

from msgspec.json import decode

from appserver.pieces import Pieces
from appserver.protocols.fastcgi import END, STDOUT, record
from bench import application
from bench.floor import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appserver.protocols.codec import Piece
    from bench.application import Environ, StartResponse
    from bench.floor import Answering

_BASE: Environ = {
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.url_scheme": "http",
}
app: Callable[[Environ, StartResponse], Iterable[bytes]] = application.hello  # that is called
_PIECE = 65536  # bytes of a body at once
_HEADER = 8  # bytes of a FastCGI record's header; nothing is padded
_VARIABLES = 24  # where those of a FastCGI request begin: behind BEGIN_REQUEST and a header
_LAST = record(STDOUT, 1, b"") + record(END, 1, bytes(8))
_keys = {  # of fields; Mongrel2's own have upper case
    "METHOD": "REQUEST_METHOD",
    "VERSION": "SERVER_PROTOCOL",
    "URI": "REQUEST_URI",
    "PATH": "PATH_INFO",
    "QUERY": "QUERY_STRING",
    "PATTERN": "SCRIPT_NAME",
    "REMOTE_ADDR": "REMOTE_ADDR",
    "URL_SCHEME": "wsgi.url_scheme",
}


def _key(name: str) -> str:
    key = _keys.get(name)
    if key is None:
        key = _keys[name] = "HTTP_" + name.upper().replace("-", "_")
    return key


def http(data: bytes, fd: int) -> bytes:
    """Answer a GET of HTTP."""
    first, *lines = data[:-4].decode("latin-1").split("\r\n")
    environ = _BASE.copy()
    environ["REQUEST_METHOD"], uri, environ["SERVER_PROTOCOL"] = first.split(" ")
    environ["REQUEST_URI"] = uri
    environ["PATH_INFO"], _, environ["QUERY_STRING"] = uri.partition("?")
    for line in lines:
        name, _, value = line.partition(": ")
        environ[_key(name)] = value
    return _call(environ, BytesIO(), "HTTP/1.1 ", "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n")


def uwsgi(data: bytes, fd: int) -> bytes:
    """Answer a request of uwsgi."""
    environ = _BASE.copy()
    text = data.decode("latin-1")
    at, end = 4, 4 + (data[1] | data[2] << 8)
    while at < end:
        start = at + 2
        middle = start + (data[at] | data[at + 1] << 8)
        value = middle + 2
        at = value + (data[middle] | data[middle + 1] << 8)
        environ[text[start:middle]] = text[value:at]
    return _call(environ, _body(environ, data[end:], fd), "HTTP/1.1 ")


def scgi(data: bytes, fd: int) -> bytes:
    """Answer a request of SCGI."""
    environ = _BASE.copy()
    colon = data.find(b":")
    end = colon + 1 + int(data[:colon])
    parts = data[colon + 1 : end - 1].decode("latin-1").split("\0")
    environ.update(zip(parts[::2], parts[1::2], strict=True))
    return _call(environ, _body(environ, data[end + 1 :], fd), "Status: ")


def fastcgi(data: bytes, fd: int) -> bytes:
    """Answer a request of FastCGI."""
    environ = _BASE.copy()
    text = data.decode("latin-1")
    at, end = _VARIABLES, _VARIABLES + (data[20] << 8 | data[21])
    while at < end:
        first, at = _size(data, at)
        second, at = _size(data, at)
        middle = at + first
        stop = middle + second
        environ[text[at:middle]] = text[middle:stop]
        at = stop
    body = _records(data, end + _HEADER, fd)  # behind the end of the variables
    return record(STDOUT, 1, _call(environ, body, "Status: ")) + _LAST


def _size(data: bytes, at: int) -> tuple[int, int]:
    if data[at] < 0x80:
        return data[at], at + 1
    return int.from_bytes(data[at : at + 4], "big") & 0x7FFFFFFF, at + 4


def _records(data: bytes, at: int, fd: int) -> BytesIO | Pieces:
    """Return the body whose records begin at *at*, and end with an empty one."""
    pieces: list[Piece] = []
    while True:
        while len(data) < at + _HEADER:
            if not (more := os.read(fd, _PIECE)):
                return Pieces(pieces)
            data, at = data[at:] + more, 0
        left = data[at + 4] << 8 | data[at + 5]
        at += _HEADER
        if not left:
            return Pieces(pieces) if pieces else BytesIO()
        while left:
            if at == len(data):
                data, at = os.read(fd, _PIECE), 0
                if not data:
                    return Pieces(pieces)
            piece = data[at : at + left]
            pieces.append(piece)
            at += len(piece)
            left -= len(piece)


def mongrel2(data: bytes, fd: int) -> bytes:
    """Answer a request of Mongrel2, in tnetstrings or JSON, without a body."""
    blank, colon = data.find(b" "), data.find(b":")
    end = colon + 1 + int(data[blank + 1 : colon])
    environ = _BASE.copy()
    if data[end] == 0x7D:
        text = data.decode("latin-1")
        at = colon + 1
        while at < end:
            name, at = _string(data, text, at)
            value, at = _string(data, text, at)
            environ[_key(name)] = value
    else:
        for name, value in decode(data[colon + 1 : end]).items():
            environ[_key(name)] = value
    return _call(environ, BytesIO(), "HTTP/1.1 ", "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n")


def _string(data: bytes, text: str, at: int) -> tuple[str, int]:
    colon = data.find(b":", at)
    stop = colon + 1 + int(data[at:colon])
    return text[colon + 1 : stop], stop + 1


def _body(environ: Environ, begun: bytes, fd: int) -> BytesIO | Pieces:
    """Return the body, whole, as every application has it here where bodies are not streamed."""
    length = environ.get("CONTENT_LENGTH")
    left = int(length) - len(begun) if length else 0
    if not left:
        return BytesIO(begun)
    pieces: list[Piece] = []
    block, room = [begun], _PIECE - len(begun) % _PIECE
    while left and (piece := os.read(fd, min(left, room))):  # the load may end in the middle
        block.append(piece)
        left -= len(piece)
        room -= len(piece)
        if not room:  # as the application reads it, who gets it as it is
            pieces.append(b"".join(block))
            block, room = [], _PIECE
    return Pieces([*pieces, *block])


def _call(environ: Environ, body: BytesIO | Pieces, first: str, last: str = "") -> bytes:
    """Return what the application answers."""
    environ["wsgi.input"] = body
    given: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        given.append(status)
        given.append(headers)

    page = b"".join(app(environ, start_response))
    fields = "".join([f"{name}: {value}\r\n" for name, value in given[1]])
    return f"{first}{given[0]}\r\n{fields}{last}\r\n".encode("latin-1") + page


ANSWERING: dict[str, Answering] = {each.__name__: each for each in (http, uwsgi, scgi, fastcgi, mongrel2)}


if __name__ == "__main__":
    app = getattr(application, sys.argv[1])
    bytes(1 << 24)  # has glibc keep large pieces, and not have the kernel make pages for each anew
    serve(sys.argv[2], sys.argv[3:], ANSWERING[sys.argv[2]])
