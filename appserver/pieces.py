"""Bytes that came in pieces, read as one file without having been put together."""

from __future__ import annotations

from io import SEEK_CUR, SEEK_END, RawIOBase
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Pieces(RawIOBase):
    """Read *pieces*, which nobody changes any more, from their start; to be put under a `BufferedReader`."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._number = 0  # of the piece that is read,
        self._offset = 0  # and where in it

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill *buffer*, unless the end comes before."""
        at = 0
        with memoryview(buffer).cast("B") as target:
            size = len(target)
            while at < size and self._number < len(self._pieces):
                piece = self._pieces[self._number]
                count = min(len(piece) - self._offset, size - at)
                target[at : at + count] = memoryview(piece)[self._offset : self._offset + count]
                at += count
                self._offset += count
                if self._offset == len(piece):
                    self._number += 1
                    self._offset = 0
        return at

    def readall(self) -> bytes:
        """Return all that is left, put together."""
        rest: list[bytes | memoryview] = [*self._pieces[self._number :]]
        if rest:
            rest[0] = memoryview(rest[0])[self._offset :]
        self._number = len(self._pieces)
        self._offset = 0
        return b"".join(rest)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go on elsewhere; behind the end is the end."""
        ends = list(accumulate(map(len, self._pieces)))
        if whence == SEEK_CUR:
            offset += self.tell()
        elif whence == SEEK_END:
            offset += ends[-1] if ends else 0
        if offset < 0:
            raise ValueError(f"{offset} is before the start")
        self._number = sum(end <= offset for end in ends)
        start = ends[self._number - 1] if self._number else 0
        self._offset = offset - start if self._number < len(ends) else 0
        return start + self._offset

    def tell(self) -> int:
        """Return where it reads."""
        return sum(map(len, self._pieces[: self._number])) + self._offset

    def close(self) -> None:
        """Give the memory back; safe twice."""
        super().close()
        self._pieces = []
        self._number = self._offset = 0
