"""What a connection still has to send: bytes, and parts of files that the kernel sends itself."""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from appserver.protocols.codec import Piece


MOST_PIECES: Final = 1024  # that writev(2) takes at once (IOV_MAX)


class _Span:
    """A part of a file; owns its descriptor."""

    __slots__ = ("count", "fd", "offset")

    def __init__(self, fd: int, offset: int, count: int) -> None:
        self.fd = os.dup(fd)
        self.offset = offset
        self.count = count


class ShortFile(Exception):
    """Say that a file was cut off while it was sent."""


class Outbox:
    """Keep, in order, what the kernel does not take yet for a non-blocking descriptor.

    ``size`` counts the bytes kept, files not included. `OSError` of the descriptor escapes.
    """

    __slots__ = ("_fd", "_items", "flushed", "size")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._items: deque[memoryview | _Span] = deque()
        self.size = 0
        self.flushed = 0

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, pieces: list[Piece], sent: int = 0) -> None:
        """Keep what of *pieces* is behind the first *sent* bytes."""
        for piece in pieces:
            if sent >= len(piece):
                sent -= len(piece)
                continue
            rest = memoryview(piece)[sent:]
            sent = 0
            self._items.append(rest)
            self.size += len(rest)

    def put_file(self, fd: int, offset: int, count: int) -> None:
        """Keep a part of a file; *fd* may be closed afterwards."""
        self._items.append(_Span(fd, offset, count))

    def flush(self) -> None:
        """Send what the kernel takes now, and add it to ``flushed``.

        Raise `ShortFile` for a file that has shrunk.
        """
        try:
            while self._items:
                first = self._items[0]
                if isinstance(first, _Span):
                    self._send_span(first)
                    self._items.popleft()
                else:
                    self._send_bytes()
        except BlockingIOError:
            pass

    def _send_bytes(self) -> None:
        """Send what stands in front of the next file."""
        views: list[memoryview] = []
        for item in islice(self._items, MOST_PIECES):
            if isinstance(item, _Span):
                break
            views.append(item)
        sent = os.writev(self._fd, views)
        self.size -= sent
        self.flushed += sent
        for view in views:
            if sent < len(view):
                self._items[0] = view[sent:]
                break
            sent -= len(view)
            self._items.popleft()

    def _send_span(self, span: _Span) -> None:
        while span.count:
            sent = os.sendfile(self._fd, span.fd, span.offset, span.count)
            if not sent:
                raise ShortFile
            self.flushed += sent
            span.offset += sent
            span.count -= sent
        os.close(span.fd)

    def clear(self) -> None:
        """Forget what is left; safe twice."""
        for item in self._items:
            if isinstance(item, _Span) and item.count:
                os.close(item.fd)
        self._items.clear()
        self.size = 0
