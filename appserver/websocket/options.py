"""Options of WebSocket."""

from __future__ import annotations

import re
from dataclasses import dataclass

from appserver.options import BadValue, option, whole

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+", re.IGNORECASE).fullmatch


def size(text: str) -> int:
    """Convert a number of kilobytes; there has to be a limit."""
    value = whole(text)
    if not value:
        raise BadValue("a number of kilobytes, 1 or more")
    return value


def origin(text: str) -> str:
    """Convert ``websocket-origin``."""
    if text != "same" and not _ORIGIN(text):
        raise BadValue("same, or an origin as browsers send it, such as https://www.example.com")
    return text.lower()


@dataclass(frozen=True)
class WebSocketOptions:
    """WebSocket."""

    websocket_max_size: int = option(
        1024,
        "Kilobytes that a message of a WebSocket client may have, unpacked; a longer one ends its connection"
        " (1009).",
        aliases=("websockets-max-size",), convert=size, expects="number",
    )  # fmt: skip
    websocket_backlog: int = option(
        1024,
        "Kilobytes that may wait for a WebSocket client when something is published; one that reads so slowly"
        " loses its connection (1013).",
        convert=size, expects="number", note="own",
    )  # fmt: skip
    websocket_ping_interval: float = option(
        30.0, "Seconds without a word of a WebSocket client after which it is sent a ping; 0 = never.",
        aliases=("websocket-ping-freq", "websockets-ping-freq"), note="`websocket-ping-freq` in uWSGI.",
    )  # fmt: skip
    websocket_ping_timeout: float = option(
        30.0,
        "Seconds that a WebSocket client may take to answer a ping before it is given up; 0 = any time.",
        aliases=("websocket-pong-tolerance", "websockets-pong-tolerance"),
        note="`websocket-pong-tolerance` in uWSGI, and 3.",
    )  # fmt: skip
    websocket_deflate: bool = option(
        True, "Compress messages for WebSocket clients that offer permessage-deflate, over HTTP.", note="own"
    )
    websocket_origin: tuple[str, ...] = option(
        (),
        "Where pages may come from that open WebSockets: same (the host that they ask), or an origin; others"
        " are answered 403. Without it all may.",
        convert=origin, expects="same or an origin", example="https://www.example.com", note="own",
    )  # fmt: skip
