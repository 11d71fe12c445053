"""What a server of ours has to refuse, asked of the very process that was measured: its limits are on."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from bench.wire import BROWSER
from tests.support.clients import FastcgiClient, ScgiClient, UwsgiClient

if TYPE_CHECKING:
    from bench.place import Place

Refusal = tuple[str, bytes, bytes]  # what is wrong, a request in which it is, the status that it gets

_LARGE = 65536  # bytes of a head that buffer-size allows, by default
_LINE, _FIELD, _FIELDS = 8192, 8190, 100  # what the HTTP listener allows of a head's parts
_CONTROL = ("X-Bad", "a\rb")
_NO_LENGTH = ("Content-Length", "+1")


def refusals(door: str) -> list[Refusal]:
    """Return what is refused at a door, "http", "uwsgi", "scgi" or "fastcgi"."""
    return {"http": _http, "uwsgi": _uwsgi, "scgi": _scgi, "fastcgi": _fastcgi}[door]()


def _http() -> list[Refusal]:
    def head(*lines: str, target: str = "/") -> bytes:
        return "\r\n".join([f"GET {target} HTTP/1.1", "Host: h", *lines, "", ""]).encode("latin-1")

    half = "x" * (_FIELD // 2)
    return [
        ("a request line that is too long", head(target="/" + "a" * _LINE), b"414"),
        ("a field that is too long", head("X: " + "a" * _FIELD), b"431"),
        ("too many fields", head(*["X: a"] * _FIELDS), b"431"),
        ("a head that is too long", head(*[f"X: {half}"] * (2 * _LARGE // _FIELD + 2)), b"431"),
        ("two lengths", head("Content-Length: 1", "Content-Length: 2"), b"400"),
        ("a length beside chunks", head("Content-Length: 1", "Transfer-Encoding: chunked"), b"400"),
        ("a field that is folded", head("X: a", " b"), b"400"),
        ("a bare line feed", head("X: a\nY: b"), b"400"),
        ("no Host", b"GET / HTTP/1.1\r\n\r\n", b"400"),
    ]


def _uwsgi() -> list[Refusal]:
    def packet(*fields: tuple[str, str], method: str = "GET") -> bytes:
        made: bytes = UwsgiClient("").encode(method, "/", [*BROWSER, *fields], b"")
        return made

    return [
        ("a control character", packet(_CONTROL), b"400"),
        ("a length that is none", packet(_NO_LENGTH), b"400"),
        ("a tunnel", packet(method="CONNECT"), b"501"),
        ("a variable longer than its packet", b"\0\x04\0\0\xff\xffab", b"400"),
    ]


def _scgi() -> list[Refusal]:
    def packet(*fields: tuple[str, str]) -> bytes:
        made: bytes = ScgiClient("").encode("GET", "/", [*BROWSER, *fields], b"")
        return made

    return [
        ("variables that are too long", b"%d:" % (_LARGE + 1), b"431"),
        ("a control character", packet(_CONTROL), b"400"),
        ("a length that is none", packet(_NO_LENGTH), b"400"),
    ]


def _fastcgi() -> list[Refusal]:
    record = FastcgiClient.record
    begin: bytes = record(1, b"\0\1\0\0\0\0\0\0")
    return [
        ("variables that are too long", begin + record(4, bytes(_LARGE // 2)) * 3, b"431"),
        ("a variable longer than its stream", begin + record(4, b"\1\1a") + record(4, b""), b"400"),
    ]


def prove(place: Place) -> None:
    """Ask the server at a place what it has to refuse; raise `OSError` where it does not."""
    for what, request, status in refusals(place.door):
        said = _said(place, request)
        first = said[: 8 + said[8:].find(b"\r\n")] if place.door == "fastcgi" else said.partition(b"\r\n")[0]
        if b" " + status + b" " not in first:
            raise OSError(f"its limits are off: it answers {what} with {first!r}, not with {status.decode()}")


def _said(place: Place, request: bytes) -> bytes:
    """Return what a server says to a peer that has no more than *request* to say."""
    said = b""
    with place.connect() as sock:
        sock.sendall(request)
        with suppress(OSError):  # it has ended the connection
            sock.shutdown(socket.SHUT_WR)
            while more := sock.recv(65536):
                said += more
    return said
