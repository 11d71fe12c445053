"""Bytes that came in pieces, read as one file without having been put together."""

from __future__ import annotations

from io import SEEK_CUR, SEEK_END, BufferedIOBase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appserver.protocols.codec import Piece


class Pieces(BufferedIOBase):
    """Read *pieces*, which nobody else changes any more, from their start."""

    __slots__ = ("_number", "_offset", "_piece", "_pieces")

    def __init__(self, pieces: list[Piece]) -> None:
        super().__init__()
        self._pieces = pieces
        self._number = 0  # of the piece that is read,
        self._piece = pieces[0] if pieces else b""
        self._offset = 0  # and where in it

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return *size* bytes, fewer only at the end; without a size all that are left."""
        start, piece = self._offset, self._piece
        if start == len(piece) and self._number + 1 < len(self._pieces):
            self._number += 1
            self._piece = piece = self._pieces[self._number]
            self._offset = start = 0
        if size is not None and size > 0 and (stop := start + size) <= len(piece):
            self._offset = stop
            if size == len(piece) and type(piece) is bytes:
                return piece  # as most are read, and it is not copied
            found = piece[start:stop]
            return found if type(found) is bytes else bytes(found)
        return b"".join(self._take(size))

    def read1(self, size: int = -1, /) -> bytes:
        """Return some bytes, *size* at most."""
        self._checkClosed()
        rest = self._rest()
        return self.read(rest if size < 0 else min(rest, size))

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return bytes up to the end of a line, and *size* at most."""
        self._checkClosed()
        found = []
        left = -1 if size is None else size
        while left and self._rest():
            if type(self._piece) is not bytes:
                self._piece = self._pieces[self._number] = bytes(self._piece)
            start = self._offset
            most = len(self._piece) if left < 0 else min(len(self._piece), start + left)
            end = self._piece.find(b"\n", start, most) + 1
            self._offset = end or most
            found.append(self._piece[start : self._offset])
            if end:
                break
            left -= self._offset - start if left > 0 else 0
        return b"".join(found)

    def _take(self, size: int | None) -> Iterator[Piece]:
        """Yield pieces of *size* bytes together, as far as there are so many."""
        self._checkClosed()
        left = -1 if size is None else size
        while left and (rest := self._rest()):
            count = rest if left < 0 else min(rest, left)
            self._offset += count
            left -= count if left > 0 else 0
            yield self._piece[self._offset - count : self._offset]

    def _rest(self) -> int:
        """Return how many bytes of a piece are left, of the next one after its end; 0 at the end of all."""
        while self._offset == len(self._piece) and self._number + 1 < len(self._pieces):
            self._number += 1
            self._piece = self._pieces[self._number]
            self._offset = 0
        return len(self._piece) - self._offset

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go on elsewhere; behind the end is the end."""
        self._checkClosed()
        if whence == SEEK_CUR:
            offset += self.tell()
        elif whence == SEEK_END:
            offset += sum(map(len, self._pieces))
        if offset < 0:
            raise ValueError(f"{offset} is before the start")
        self._number = 0
        self._piece = self._pieces[0] if self._pieces else b""
        self._offset = min(offset, len(self._piece))
        left = offset - self._offset
        while left and self._rest():
            self._offset = min(left, len(self._piece))
            left -= self._offset
        return offset - left

    def tell(self) -> int:
        """Return where it reads."""
        self._checkClosed()
        return sum(map(len, self._pieces[: self._number])) + self._offset

    def close(self) -> None:
        """Give the memory back; safe twice."""
        super().close()
        self._pieces = []
        self._piece = b""
        self._number = self._offset = 0
