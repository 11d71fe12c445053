"""uwsgi: a packet and its body mean the same however they are cut, and no other modifier means anything."""

from __future__ import annotations

from appserver.protocols.uwsgi import UwsgiCodec
from tests.fuzz import gateway


def _pair(name, value):
    return b"".join(len(each).to_bytes(2, "little") + each for each in (name, value))


PIECES = [
    b"\0\x10\0\0", b"\0\xff\xff\0", b"\x1e\x40\0\0", b"\x64\0\0\0", b"\x05\0\0\0", b"\x16\x03", b"\0\0", b"\xff\xff",
    _pair(b"REQUEST_METHOD", b"GET"), _pair(b"REQUEST_METHOD", b"POST"), _pair(b"REQUEST_URI", b"/%41?b"),
    _pair(b"PATH_INFO", b"/a"), _pair(b"SCRIPT_NAME", b"/a"), _pair(b"CONTENT_LENGTH", b"5"), _pair(b"CONTENT_LENGTH", b""),
    _pair(b"HTTP_HOST", b"h"), _pair(b"HTTP_COOKIE", b"a=b"), _pair(b"HTTP_TRANSFER_ENCODING", b"chunked"),
    _pair(b"HTTP_PROXY", b"x"), _pair(b"UWSGI_FILE", b"/x"), _pair(b"UWSGI_SCHEME", b"https"), _pair(b"wsgi.input", b"x"),
    _pair(b"A\r\nB", b"c"), _pair(b"A", b"b\0"), b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"GET / HTTP/1.1\r\n",
]  # fmt: skip


def check(data: bytes) -> None:
    """Fail where a sequence of bytes has two meanings."""
    gateway.check(lambda limit: UwsgiCodec({}, limit), data)
