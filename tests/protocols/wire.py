"""Make the bytes that front ends send."""

from __future__ import annotations

import json

from appserver.protocols import tnetstring
from appserver.protocols.fastcgi import BEGIN, PARAMS, STDIN, pair, record

GET = {
    "REQUEST_METHOD": "GET", "REQUEST_URI": "/a%20b?x=1", "PATH_INFO": "/a b", "QUERY_STRING": "x=1",
    "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "localhost", "SERVER_PORT": "80",
    "HTTP_HOST": "localhost", "CONTENT_LENGTH": "",
}  # fmt: skip
KEEP = 1


def items(variables):
    """Return variables, a dict or a list of pairs, as pairs of bytes."""
    pairs = variables.items() if isinstance(variables, dict) else variables
    return [
        tuple(part.encode("latin-1") if isinstance(part, str) else part for part in pair) for pair in pairs
    ]


def uwsgi_packet(variables, body=b"", modifiers=(0, 0), size=None):
    block = b"".join(len(part).to_bytes(2, "little") + part for pair in items(variables) for part in pair)
    size = len(block) if size is None else size
    return bytes([modifiers[0]]) + size.to_bytes(2, "little") + bytes([modifiers[1]]) + block + body


def scgi_request(variables, body=b""):
    block = b"".join(part + b"\0" for pair in [*items(variables), (b"SCGI", b"1")] for part in pair)
    return b"%d:%b," % (len(block), block) + body


def begin(request=1, role=1, flags=KEEP):
    return record(BEGIN, request, bytes([role >> 8, role & 255, flags, 0, 0, 0, 0, 0]))


def params(variables, request=1):
    """Return variables in one record."""
    return record(PARAMS, request, b"".join(pair(k.encode(), v.encode()) for k, v in variables.items()))


def padded(kind, request, content, padding):
    plain = record(kind, request, content)
    return plain[:6] + bytes([padding]) + plain[7:] + b"\xaa" * padding


def fastcgi_request(variables, body=b"", *, request=1, flags=KEEP, step=65535, padding=0):
    """Return a request whose streams are cut into records of *step* bytes, each with *padding*."""
    params = b"".join(pair(*item) for item in items(variables))
    wire = begin(request, flags=flags)
    for kind, stream in ((PARAMS, params), (STDIN, body)):
        for at in range(0, len(stream), step):
            wire += padded(kind, request, stream[at : at + step], padding)
        wire += padded(kind, request, b"", padding)
    return wire


M2 = {
    "PATH": "/a%20b", "METHOD": "GET", "VERSION": "HTTP/1.1", "URI": "/a%20b?x=1", "QUERY": "x=1",
    "PATTERN": "/", "URL_SCHEME": "http", "REMOTE_ADDR": "192.0.2.1", "host": "localhost",
}  # fmt: skip
UUID = b"54c6755b-9628-40a4-9a2d-cc82a816345e"


def netstring(content, tag=b","):
    return b"%d:%b%b" % (len(content), content, tag)


def m2_message(fields, body=b"", path=None, form="json", head=None):
    """Return a message of Mongrel2; *head* replaces the headers' netstring."""
    path = fields.get("PATH", "/").encode("latin-1") if path is None else path
    if head is None:
        head = (
            netstring(json.dumps(fields, ensure_ascii=False).encode("latin-1"))
            if form == "json"
            else tnetstring.encode(fields)
        )
    return b"%b 7 %b %b%b" % (UUID, path, head, netstring(body))
