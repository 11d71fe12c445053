"""Rules about header fields and addresses that hold on every path to the environ."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BAD_REQUEST

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_METHOD = re.compile(r"[!$%&'*+.^_`|~0-9A-Z-]{3,20}").fullmatch  # no known one is shorter or longer
ONE_LINE = "A certificate fits into a field as one line only: nginx has it as $ssl_client_escaped_cert."
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----[A-Za-z0-9+/= \t\r\n-]*").fullmatch
_NOT_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(?::[0-9]{0,5})?").fullmatch
USUAL_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
KEYS: Final[dict[str, str]] = {}  # what `key_of` has found for some names
HOSTS: Final[dict[str, tuple[str, str]]] = {}  # some that `check_host` has found good, see `_server`
_LONG: Final = 100  # characters from which on nothing is remembered

CODING: Final = "Transfer-Encoding"  # the key of what frames a body, while the environ is made

# Repeating one of these is an attack or a fault, never a list (RFC 9110 section 5.3).
SINGLE: Final = frozenset(
    {
        "HTTP_HOST", "HTTP_AUTHORIZATION", "HTTP_REFERER", "HTTP_USER_AGENT", "HTTP_FROM",
        "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_MAX_FORWARDS",
        "HTTP_PROXY_AUTHORIZATION", "CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_CONTENT_TYPE",
        "HTTP_CONTENT_LENGTH", CODING,
    }
)  # fmt: skip

# Framing is over when the application runs: its body is decoded and its length known. `Proxy` is
# a client's way to set HTTP_PROXY for what the application runs (httpoxy, CVE-2016-5385).
DROPPED: Final = frozenset(
    {"HTTP_PROXY", "HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"}
)


def key_of(name: str) -> str:
    """Return the environ key of a field name, "" where the field is not passed on.

    A name with an underscore would become the key of the name with a dash; such fields are
    dropped, as nginx does by default. Raise `ProtocolError` for what is no field name.
    """
    key = KEYS.get(name)
    if key is None:
        if not _TOKEN(name):
            raise ProtocolError(BAD_REQUEST, f"{name[:80]!r} is no field name.")
        lower = name.lower()
        if lower == "content-type":
            key = "CONTENT_TYPE"
        elif lower == "content-length":
            key = "CONTENT_LENGTH"
        elif "_" in lower:
            key = ""
        else:
            key = "HTTP_" + lower.upper().replace("-", "_")
            key = "" if key in DROPPED else key
        if len(KEYS) < 2000 and len(name) < _LONG:
            KEYS[name] = key
    return key


def separator(key: str) -> str:
    """Return what stands between a repeated field's values; raise `ProtocolError` if it may be no list."""
    if key in SINGLE:
        raise ProtocolError(BAD_REQUEST, f"{key.removeprefix('HTTP_')} is given twice.")
    return "; " if key == "HTTP_COOKIE" else ", "


def joined(key: str, old: str, new: str) -> str:
    """Return the value of a field that is given twice; raise `ProtocolError` where it may not be."""
    return f"{old}{separator(key)}{new}"


def check_method(method: str) -> None:
    """Raise `ProtocolError` for what is no method or is none that an application may see.

    CONNECT asks for a tunnel, and TRACE is answered by sending a client's own secrets back.
    """
    if method in USUAL_METHODS:
        return
    if not _METHOD(method):
        raise ProtocolError(BAD_REQUEST, f"{method[:40]!r} is no method.")
    if method == "CONNECT" or method == "TRACE":
        raise ProtocolError("501 Not Implemented", f"{method} is not served.")


def check_value(key: str, value: str) -> None:
    """Raise `ProtocolError` for a control character in a value."""
    if not value.isprintable() and _NOT_VALUE(value):
        hint = ONE_LINE if is_pem(value) else ""
        raise ProtocolError(BAD_REQUEST, f"{key} has a control character in its value.", hint=hint)


def is_pem(value: str) -> bool:
    """Tell whether a value is text in PEM (RFC 7468), as front ends tell certificates, in several lines.

    nginx puts a tab before each but the first in ``$ssl_client_cert``, and none in ``$ssl_client_raw_cert``.
    """
    return _PEM(value) is not None


def check_host(value: str) -> None:
    """Raise `ProtocolError` for a Host that is no host and port (RFC 9110 section 7.2)."""
    if not _HOST(value):
        told = value.rpartition("@")[2]  # without a user and password
        raise ProtocolError(BAD_REQUEST, f"{told[:80]!r} is no Host.")
    if len(HOSTS) < 1000 and len(value) < _LONG:
        HOSTS[value] = _server(value)


def content_length(value: str) -> int:
    """Return the number of bytes that a Content-Length announces (RFC 9110 section 8.6)."""
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise ProtocolError(BAD_REQUEST, f"{value[:40]!r} is no Content-Length.")
    return int(value)


def decoded(path: str) -> str:
    """Return a path with its percent escapes decoded once, as latin-1 text (PEP 3333)."""
    return unquote_to_bytes(path.encode("latin-1")).decode("latin-1") if "%" in path else path


def server_of(environ: dict[str, str]) -> tuple[str, str]:
    """Return the server's name and port as the client sees them: from Host, else from the scheme."""
    host = environ.get("HTTP_HOST", "")
    known = HOSTS.get(host)
    name, port = _server(host) if known is None else known
    return name, port or ("443" if environ["wsgi.url_scheme"] == "https" else "80")


def _server(host: str) -> tuple[str, str]:
    """Return the name and port in a Host, "" where that has no port."""
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, ""
    return name or "localhost", port
