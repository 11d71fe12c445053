"""A request's body that Mongrel2 sends in pieces, as it comes (``upload.stream``).

The request's own message has the first piece. Each later one is a message by itself, and comes only for
credit that has been given (src/upload.c).
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from appserver.body import too_long
from appserver.errors import BodyError, ClientGone
from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BAD_REQUEST
from appserver.protocols.mongrel2_fields import LAST, OFFSET
from appserver.reader import Source, check_thread

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from appserver.listeners.request import Request
    from appserver.protocols.mongrel2 import Message

_WINDOW = 131072  # bytes that may be on their way or wait to be read
_ROUND = 1 << 32  # Mongrel2 counts no further


class Inflow(Source):
    """The body of *request*, of which *first* has the beginning, to be read by its application.

    *size* is its length, or None where only its end tells. A read waits for the client. It raises
    `ClientGone` where that leaves before the end or sends nothing for *timeout* seconds, `BodyError` where
    there is more than *limit* bytes (0 = any) or something is missing.
    """

    def __init__(self, first: Message, size: int | None, limit: int, timeout: float) -> None:
        super().__init__()
        self.finished = False  # all of it has come
        self._size = size
        self._limit = limit
        self._timeout = timeout
        self._request: Request | None = None
        self._pieces: deque[memoryview] = deque()
        self._unread = 0
        self._received = 0
        self._credit = 0  # bytes that Mongrel2 may send
        self._early: dict[int, Message] = {}  # that another thread has got before those in front of them
        self._failed: BodyError | None = None
        self._discards = False
        self._ended = False
        self._add(first.body, LAST in first.aside)

    def of(self, request: Request) -> None:
        """Belong to *request*."""
        self._request = request

    def feed(self, piece: Message) -> None:
        """Take a piece; in the request's loop."""
        offset = piece.aside[OFFSET]
        at = int(offset) % _ROUND if isinstance(offset, str) and offset.lstrip("-").isdecimal() else -1
        if at < 0 or (at - self._received) % _ROUND > _WINDOW:
            self._fail(_bad(f"A piece of the body at {offset!r} does not follow {self._received} bytes."))
        else:
            self._early[at] = piece
            while (following := self._early.pop(self._received % _ROUND, None)) is not None:
                self._credit -= len(following.body)
                self._add(following.body, LAST in following.aside)
                if self.finished:
                    break
        assert self._request is not None
        if self._discards:
            self._grant()
        self._request.go_on()

    def _add(self, data: bytes, last: bool) -> None:
        self._received += len(data)
        if 0 < self._limit < self._received:
            self._fail(too_long(self._limit))
        elif data and not self._discards:
            self._pieces.append(memoryview(data))
            self._unread += len(data)
        if last:
            self.finished = True
            if self._size is not None and self._received != self._size:
                self._fail(
                    _bad(f"The body has {self._received} bytes, its Content-Length says {self._size}.")
                )

    def _fail(self, error: ProtocolError) -> None:
        if self._failed is None:
            self._failed = BodyError(error.status, error.reason)

    def _grant(self) -> None:
        """Have Mongrel2 send more, where there is room."""
        room = _WINDOW - self._unread - self._credit
        if self.finished or (self._failed and not self._discards) or room < _WINDOW // 2:
            return
        assert self._request is not None
        if self._request.order(credits=room):
            self._credit += room

    # What the application calls, through a `Reader`

    def fill(self, buffer: WriteableBuffer) -> int:
        """Take what has come, waiting for it; return 0 at the end."""
        request = self._request
        assert request is not None
        deadline = monotonic() + self._timeout
        while not self._pieces:
            if self._failed:
                raise self._failed
            if self._discards or self._ended:
                raise ClientGone("the request has ended")
            if self.finished:
                return 0
            check_thread(request.intake.hub)
            left = deadline - monotonic()
            if left <= 0 and not request.gone:
                request.drop()
            if request.gone:
                raise ClientGone("the client has left before the end of the request's body")
            self._grant()
            request.wait(left)
        with memoryview(buffer).cast("B") as target:
            piece = self._pieces[0]
            count = min(len(piece), len(target))
            target[:count] = piece[:count]
        if count == len(piece):
            self._pieces.popleft()
        else:
            self._pieces[0] = piece[count:]
        self._unread -= count
        self._grant()
        return count

    def unread(self, data: bytes) -> None:
        """Have *data* be what comes next."""
        if not (self._discards or self._ended):
            self._pieces.appendleft(memoryview(data))
            self._unread += len(data)

    # After the application

    def discard(self) -> None:
        """Read over the rest, so that the connection can be used again or closed in order."""
        self._discards = True
        self._pieces.clear()
        self._unread = 0
        self._grant()

    def end(self) -> None:
        """Have nothing read any more; whoever still reads has to be woken."""
        self._ended = True


def _bad(reason: str) -> ProtocolError:
    return ProtocolError(BAD_REQUEST, reason)
