"""Bytes of another protocol than the port's: named, so that the operator sees the mistake."""

from __future__ import annotations

import re

from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BAD_REQUEST

# protocol: (how its first bytes look, nginx's directive for it, the ini option for it)
_KNOWN = {
    "HTTP": (re.compile(rb"[A-Z]{3}").match, "proxy_pass", "http-socket"),
    "uwsgi": (re.compile(rb"[\0\x1e].{2}\0.", re.DOTALL).match, "uwsgi_pass", "socket"),
    "FastCGI": (re.compile(rb"\x01\x01.{3}\x08", re.DOTALL).match, "fastcgi_pass", "fastcgi-socket"),
    "SCGI": (re.compile(rb"[0-9]{1,9}:[A-Z_]+\0").match, "scgi_pass", "scgi-socket"),
}
_TLS = re.compile(rb"\x16\x03").match
_PROXY = re.compile(rb"PROXY |\r\n\r\n\0\r\nQUIT\n").match  # versions 1 and 2
_BINARY = frozenset({b"\0", b"\1", b"\x16", b"\x1e"})  # what those begin with that have no text there
_ENOUGH = 6  # bytes that tell any of them


def unclear(data: bytes) -> bool:
    """Tell whether too little of another protocol has come to name it; a text protocol cannot begin so."""
    return len(data) < _ENOUGH and data[:1] in _BINARY


def stranger(spoken: str, data: bytes) -> ProtocolError:
    """Return the refusal of a peer that does not speak the port's protocol; *data* is how it began.

    It is answered only if it speaks HTTP, as HTTP, and so can read that, or has a client that does.
    """
    heard = next((name for name, (match, _, _) in _KNOWN.items() if name != spoken and match(data)), "")
    hint = ""
    readable = heard == "HTTP"
    if _PROXY(data):
        heard = "the PROXY protocol"
        hint = "It is taken in front of a connection's first request, with enable-proxy-protocol = true."
        readable = spoken == "HTTP"
        if not readable:
            hint = "Have the front end leave it out; http-socket takes it, with enable-proxy-protocol."
    elif heard:
        hint = f"Use {_KNOWN[spoken][1]} in nginx, or {_KNOWN[heard][2]} in the ini file."
    elif _TLS(data):
        heard = "TLS"
        hint = "The front end has to end TLS."
    return ProtocolError(
        BAD_REQUEST,
        f"This port speaks {spoken}, and somebody speaks {heard or 'something else'} to it.",
        answer=readable,
        hint=hint,
    )
