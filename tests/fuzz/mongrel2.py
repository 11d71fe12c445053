"""Mongrel2's messages: whatever comes is a notice, a piece of a body, a request or refused, and never two of them."""

from __future__ import annotations

from appserver.listeners import upload
from appserver.protocols.codec import ProtocolError
from appserver.protocols.mongrel2 import (
    Mongrel2Codec,
    addressees,
    control,
    envelope,
    parse,
    sender,
)
from appserver.protocols.mongrel2_fields import JSON, TNETSTRINGS
from tests.fuzz.gateway import sound
from tests.protocols.memories import forgotten

_UUID = b"54c6755b-9628-40a4-9a2d-cc82a816345e"
PIECES = [
    _UUID + b" 1 / ", _UUID + b" 1 @* ", _UUID + b" 4294967296 /a%20b ", b"2:{},", b"0:}", b"0:,", b"5:hello,",
    b'17:{"METHOD":"JSON"},', b'21:{"type":"disconnect"},', b"19:6:METHOD,4:JSON,}", b"6:METHOD,3:GET,",
    b"7:VERSION,8:HTTP/1.1,", b"3:URI,1:/,", b"4:PATH,1:/,", b"5:QUERY,1:q,", b"4:host,1:h,", b"14:content-length,1:5,",
    b"14:content-length,10:4294967296,", b"17:transfer-encoding,7:chunked,", b"6:cookie,8:1:a,1:b,]",
    b"23:x-mongrel2-upload-start,2:/a,", b"22:x-mongrel2-upload-done,2:/a,", b"13:UPLOAD_STREAM,1:0,", b"18:UPLOAD_STREAM_DONE,1:1,",
    b"16:DOWNLOAD_CREDITS,6:102400,", b'"METHOD":"GET",', b'"VERSION":"HTTP/1.1",', b'"URI":"/",', b'"content-length":"5",',
    b'"x":["a","b"],', b'"\\u20ac"', b"[[[[", b'{"a":', b"}", b"]", b"\\", b'"', b"\xff",
]  # fmt: skip


def check(data: bytes) -> None:
    """Fail where something else than `ProtocolError` escapes, or where an answer would go astray."""
    client = sender(data)
    message = _parsed(data)
    with forgotten(JSON, TNETSTRINGS):
        assert _told(_parsed(data)) == _told(message), "what has come before changes nothing"
    if message is None:
        return
    assert message.connection == client
    for body in (b"", b"x", data):
        assert addressees(envelope(client, [body])) == [client]
    assert addressees(control(client, credits=5)) == [client]
    assert isinstance(message.credits, int)
    notice = message.notice
    assert notice is None or (message.path == b"@*" and "SERVER_PROTOCOL" not in message.fields)
    announced = upload.announced(message)
    assert not announced or (message.body == b"" and isinstance(message.aside[upload.START], str))
    try:
        x = Mongrel2Codec({}).exchange(message)
    except ProtocolError:
        return
    assert notice is None, "a notice is no request"
    assert not message.continues, "a piece that is not noticed as one is refused"
    assert x.environ["REQUEST_METHOD"] == message.fields["REQUEST_METHOD"]
    assert not {"HTTP_X_MONGREL2_UPLOAD_START", "HTTP_X_MONGREL2_UPLOAD_DONE"} & set(x.environ)
    sound(x.environ, message.body)


def _parsed(data):
    try:
        return parse(data)
    except ProtocolError:
        return None


def _told(message):
    """Return all that a message says."""
    return None if message is None else {name: getattr(message, name) for name in message.__slots__}
