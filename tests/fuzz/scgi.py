"""SCGI: a netstring and its body mean the same however they are cut."""

from __future__ import annotations

from appserver.protocols.scgi import ScgiCodec
from tests.fuzz import gateway

PIECES = [
    b"20:", b"0:", b"99999:", b"999999999:", b":", b",", b"\0", b"CONTENT_LENGTH\0005\0", b"CONTENT_LENGTH\0000\0", b"SCGI\0001\0",
    b"CONTENT_LENGTH\0\0", b"REQUEST_METHOD\0GET\0", b"REQUEST_METHOD\0POST\0", b"REQUEST_URI\0/%41?b\0", b"PATH_INFO\0/a\0",
    b"SCRIPT_NAME\0/a\0", b"HTTP_HOST\0h\0", b"HTTP_COOKIE\0a=b\0", b"HTTP_TRANSFER_ENCODING\0chunked\0",
    b"HTTP_PROXY\0x\0", b"HTTPS\0on\0", b"wsgi.input\0x\0", b"A\r\nB\0c\0", b"hello", b"5\r\nhello\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\n",
]  # fmt: skip


def check(data: bytes) -> None:
    """Fail where a sequence of bytes has two meanings."""
    gateway.check(lambda limit: ScgiCodec({}, limit), data)
