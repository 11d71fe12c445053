"""A chat: whoever has the page open reads what anybody writes, whichever front end they came through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import appserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PAGE = Path(__file__).with_name("index.html").read_bytes()
ROOM = "room"
LONGEST = 1000  # characters of a message


def chat(environ: dict[str, Any]) -> None:
    """Serve one reader until it leaves."""
    socket = environ["wsgi.websocket"]
    socket.subscribe(ROOM)
    via = environ["appserver.listener"]
    tell("", f"somebody has come, through {via}")
    for message in socket:
        if isinstance(message, str) and message.strip():
            tell(via, message[:LONGEST])
    tell("", "somebody has gone")


def tell(via: str, text: str) -> None:
    """Write to all."""
    appserver.publish(ROOM, json.dumps({"via": via, "text": text}))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Show the page, and serve its WebSocket."""
    if environ["PATH_INFO"] == "/chat":
        if "wsgi.websocket" in environ:
            chat(environ)
            return []
        start_response("426 Upgrade Required", [("Content-Type", "text/plain")])
        return [b"This is a WebSocket.\n"]
    if environ["PATH_INFO"] == "/":
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [PAGE]
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"Not Found\n"]
