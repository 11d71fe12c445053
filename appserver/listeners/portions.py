"""An answer that is made piece by piece, put together to messages that a client of Mongrel2 keeps up with.

Mongrel2 disconnects a client that has 16 messages to read and gets one more, and does not tell how many it
has read (DELIVER_OUTSTANDING_MSGS in src/connection.c). So a stream is sent at once as long as it is slow,
and in few large messages where it is fast. With download.flow_control it does tell, and streams wait for
their clients (see `Credits`). It counts bytes then, and no messages. As each costs another that tells of it,
only those are held that come too fast to be worth one.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from appserver.protocols.codec import Piece

INTERVAL: Final = 0.1  # seconds in which a client is taken to read one message more,
_RATE: Final = 1048576  # and the bytes of a message in one second more
_QUICK: Final = 0.0002  # seconds between messages where Mongrel2 counts bytes
_BURST: Final = 8.0  # messages that may leave at once
_PIECES: Final = 12  # messages into which a body of known length is cut at most
_BURST_OF_LENGTH: Final = 3.0  # smaller ones that may leave besides, while the application is slow
_SMALL, _LARGE = 65536, 16777216  # bytes of a stream that are worth a message, and held at most


class Portions:
    """Hold ``pieces`` until they may leave as one message.

    *length* is that of the whole body, where it is known; where Mongrel2 tells what a client has read it is
    *credited*. Else such a stream is ``paced``: there may be more messages than any client takes.
    """

    __slots__ = (
        "_burst", "_interval", "_least", "_refilled", "_tokens", "credited", "paced", "pieces", "size",
    )  # fmt: skip

    def __init__(self, length: int | None, *, credited: bool) -> None:
        self.pieces: list[Piece] = []
        self.size = 0  # bytes of them
        self.credited = credited
        self.paced = False
        self._least = _SMALL  # bytes that are worth a message
        self._burst = _BURST
        if not credited:
            if length is not None and length <= _PIECES * _LARGE:  # few enough for any client
                self._least = max(_SMALL, -(-length // _PIECES))
                self._burst = _BURST_OF_LENGTH
            else:
                self._least = _LARGE
                self.paced = True
        self._tokens = self._burst  # messages that may leave now
        self._interval = _QUICK if credited else INTERVAL  # seconds for one more
        self._refilled = monotonic()

    def add(self, pieces: list[Piece]) -> None:
        """Take pieces behind those that are held."""
        self.pieces += pieces
        self.size += sum(map(len, pieces))

    def room(self) -> bool:
        """Tell whether a message may leave now, however small."""
        now = monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._refilled) / self._interval)
        self._refilled = now
        return self._tokens >= 1

    @property
    def pause(self) -> float:
        """How many seconds to wait for room; where there is, whoever does not take the message needs time."""
        return INTERVAL if self._tokens >= 1 else (1 - self._tokens) * self._interval

    @property
    def full(self) -> bool:
        """Whether what is held is worth a message."""
        return self.size >= self._least

    def grant(self) -> None:
        """Let one message leave: the client may be slower, but no more than this can be held for it."""
        self._tokens = 1.0

    def spend(self, size: int) -> None:
        """Note that a message of *size* bytes leaves."""
        if not self.credited:
            self._interval = INTERVAL + size / _RATE
        self._tokens = max(0.0, self._tokens - 1)

    def take(self) -> list[Piece]:
        """Return the pieces that are held, which are one message."""
        pieces = self.pieces
        self.spend(self.size)
        self.drop()
        return pieces

    def drop(self) -> None:
        """Hold nothing any more."""
        self.pieces = []
        self.size = 0
