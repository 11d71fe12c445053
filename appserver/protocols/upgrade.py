"""Requests that ask for WebSocket: exchanges as any other, until the application accepts."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Protocol

from appserver.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from appserver.exchange import Environ, ExcInfo, Headers
    from appserver.protocols.codec import Codec

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SWITCHING = "101 Switching Protocols"


class Clock(Protocol):
    """The time limit of a call, which does not count while that waits for its client."""

    def pause(self) -> None:
        """Stop counting; safe twice."""

    def resume(self) -> None:
        """Count from 0."""


class Upgrade(Exchange):
    """A request that asks for WebSocket, and would get it from a server that is *able*.

    Once it has ``switched`` its connection carries frames. What the application still answers then, or after
    its WebSocket has ``refused``, is dropped: frameworks want to answer something at the end of each call.
    ``go_away`` has the client told that its server stops.
    """

    __slots__ = ("able", "catch_up", "clock", "go_away", "over", "refused", "switched")

    def __init__(
        self, environ: Environ, codec: Codec, keep_alive: bool = False, *, able: bool = True
    ) -> None:
        super().__init__(environ, codec, keep_alive)
        self.able = able  # the front end would pass frames on
        self.switched = False
        self.refused = False
        self.clock: Clock | None = None
        self.go_away: Callable[[], None] | None = None
        self.over: Callable[[], object] | None = None
        self.catch_up: Callable[[], None] | None = None  # takes what a library has sent by itself before now

    def switch(self, fields: Headers) -> bytes:
        """Note that the application accepts, with *fields* in the answer; return its head."""
        self.status = SWITCHING
        self.headers = fields
        self.keep_alive = False
        lines = [f"HTTP/1.1 {SWITCHING}", *(f"{name}: {value}" for name, value in fields), "\r\n"]
        head = "\r\n".join(lines).encode("latin-1")
        self._begin_frames(head)
        return head

    def answered_by_hand(self, head: bytes) -> None:
        """Note that the application has accepted by itself, with *head*."""
        self.status = SWITCHING
        self.keep_alive = False
        self._begin_frames(head)

    def _begin_frames(self, head: bytes) -> None:
        self.head_size = len(head)
        self.begun = self.switched = True

    def start_response(
        self, status: object, headers: object, exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if self.catch_up is not None:
            self.catch_up()
        if self.switched or self.refused:
            return self.write
        write = super().start_response(status, headers, exc_info)
        if self.status[:3] == "426":  # its client has to be told what to (RFC 9110 section 15.5.22)
            self.headers.append(("Upgrade", "websocket"))
        return write

    def send(self, data: bytes, more: bool, total: int | None = None) -> None:
        if not self.switched and not self.refused:
            super().send(data, more, total)


def accepting(key: str) -> str:
    """Return the Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    import hashlib  # noqa: PLC0415  (it loads libcrypto)

    return b64encode(hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()).decode()


def asks(environ: Mapping[str, Any]) -> bool:
    """Tell whether the fields of a request ask for WebSocket; the rest of its handshake is not looked at."""
    if environ.get("HTTP_UPGRADE", "").strip().lower() != "websocket":
        return False
    options = environ.get("HTTP_CONNECTION", "").lower().split(",")
    return "upgrade" in {option.strip() for option in options}
