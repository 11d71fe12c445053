"""What ends a request early: the client leaves, its body does not come, the application breaks PEP 3333.

Kept apart from what is compiled: mypyc compiles no children of `OSError`.
"""

from __future__ import annotations


class ClientGone(ConnectionError):
    """Say that nobody waits for the answer any more."""


class ConnectionClosed(ClientGone):
    """Say that the WebSocket of the exchange *x* has ended, with which code and why (RFC 6455, 7.1.5)."""

    def __init__(self, code: int, reason: str, x: object) -> None:
        super().__init__(f"the WebSocket has ended: {code} {reason}".rstrip())
        self.x = x
        self.code = code
        self.reason = reason


class BodyError(OSError):
    """Say why there is no end to a request's body that the application reads, and with which status.

    The body is malformed, too long or too slow. Where the application lets it through, it is the answer.
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ApplicationError(Exception):
    """Say how the application broke PEP 3333."""
