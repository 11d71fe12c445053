"""The bytes of one request in each protocol, as its front end would send them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.support.clients import FastcgiClient, HttpClient, ScgiClient, UwsgiClient, cgi_variables
from tests.support.messages import as_json, as_tnetstring, netstring

if TYPE_CHECKING:
    from collections.abc import Sequence

UUID = "54c6755b-9628-40a4-9a2d-cc82a816345e"
BROWSER = (
    ("Host", "127.0.0.1:8080"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate"),
)
RECORD = 32 << 10  # bytes of a body in a FastCGI record, as nginx cuts it


def request(door: str, *, keep: bool, body: int = 0, encoding: str = "tnetstring") -> bytes:
    """Return one request for ``/``: GET, or POST with so many zeros; *keep* asks to keep the connection.

    For Mongrel2 it is what follows the identity and the number, in the *encoding* tnetstring or json.
    """
    method, content = ("POST", bytes(body)) if body else ("GET", b"")
    length = [("Content-Length", str(body)), ("Content-Type", "application/octet-stream")] if body else []
    fields = [*BROWSER, *length]
    made: bytes
    if door == "http":
        fields.append(("Connection", "keep-alive" if keep else "close"))
        made = HttpClient("").encode(method, "/", fields, content)
    elif door == "uwsgi":
        made = UwsgiClient("").encode(method, "/", fields, content)
    elif door == "scgi":
        # flup wants SCRIPT_NAME, which nginx's scgi_params do not have
        made = ScgiClient("").encode(method, "/", fields, content, params=[("SCRIPT_NAME", "")])
    elif door == "fastcgi":
        made = _fastcgi(method, fields, content, keep=keep)
    else:
        made = _mongrel2(method, fields, content, encoding)
    return made


def _fastcgi(method: str, fields: Sequence[tuple[str, str]], content: bytes, *, keep: bool) -> bytes:
    record = FastcgiClient.record
    pairs = cgi_variables(method, "/", fields, content, "HTTP/1.1", "SCRIPT_NAME", "DOCUMENT_URI")

    def size(item: bytes) -> bytes:
        return bytes([len(item)]) if len(item) < 128 else struct.pack(">I", len(item) | 1 << 31)

    packed = b"".join(size(name) + size(value) + name + value for name, value in pairs)
    parts = [content[at : at + RECORD] for at in range(0, len(content), RECORD)]
    return b"".join(
        [
            record(1, struct.pack(">HB5x", 1, int(keep))),
            record(4, packed),
            record(4, b""),
            *(record(5, part) for part in [*parts, b""]),
        ]
    )


def _mongrel2(method: str, fields: Sequence[tuple[str, str]], content: bytes, encoding: str) -> bytes:
    found: dict[str, str] = {
        "PATH": "/",
        "x-forwarded-for": "127.0.0.1",
        **{name.lower(): value for name, value in fields},
        "METHOD": method,
        "VERSION": "HTTP/1.1",
        "URI": "/",
        "PATTERN": "/",
        "URL_SCHEME": "http",
        "REMOTE_ADDR": "127.0.0.1",
    }
    encoded = as_tnetstring(found) if encoding == "tnetstring" else netstring(as_json(found), b",")
    message: bytes = b"/ " + encoded + netstring(content, b",")
    return message
