"""The opening handshake (RFC 6455 section 4.2): what a request must have, and what answers it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BAD_REQUEST

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_VERSION = "13"
_KEY = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==").fullmatch  # 16 bytes as base64
_DEFAULT = {"http": 80, "https": 443, "ws": 80, "wss": 443}

_OTHER_VERSION = ProtocolError(
    "426 Upgrade Required",
    f"Only version {_VERSION} of WebSocket is served.",
    fields=(("Sec-WebSocket-Version", _VERSION),),
)
_NO_KEY = ProtocolError(BAD_REQUEST, "The request asks for WebSocket without a good Sec-WebSocket-Key.")
_STRANGER = ProtocolError("403 Forbidden", "WebSockets may not be opened from this origin.")


def check(environ: Mapping[str, Any], origins: Collection[str]) -> ProtocolError | None:
    """Return why a request may not have a WebSocket, None where it may; *origins* are the allowed ones."""
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != _VERSION:
        return _OTHER_VERSION
    if not _KEY(environ.get("HTTP_SEC_WEBSOCKET_KEY", "")):
        return _NO_KEY
    if origins and not _allowed(environ, origins):
        return _STRANGER
    return None


def _allowed(environ: Mapping[str, Any], origins: Collection[str]) -> bool:
    """Tell whether a page may open a WebSocket; without an Origin it is no browser's (RFC 6454)."""
    given = environ.get("HTTP_ORIGIN")
    if given is None:
        return True
    given = given.lower()
    return given in origins or ("same" in origins and _host(given) == _host(f"//{environ['HTTP_HOST']}"))


def _host(url: str) -> tuple[str, int]:
    """Return host and port; a port that goes without saying is that of either scheme."""
    try:
        parts = urlsplit(url)
        port = parts.port or 0
    except ValueError:
        return "", -1
    return parts.hostname or "", 0 if port in _DEFAULT.values() else port


def offered(environ: Mapping[str, Any]) -> list[str]:
    """Return the subprotocols that a client offers, the ones it likes best first."""
    given = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "")
    return [name.strip() for name in given.split(",") if name.strip()]
