"""A request's body, read before the application is called: in memory, then in a temporary file."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, Final, final

from appserver.pieces import Pieces
from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import TOO_LARGE

if TYPE_CHECKING:
    from appserver.protocols.codec import Piece

_INSUFFICIENT: Final = "507 Insufficient Storage"
_ELSEWHERE: Final = "Set env = TMPDIR=DIRECTORY, or post-buffering = 0 or to more."
_FEW = 64  # pieces of a block that are kept apart, and one more for so many bytes of them:
_SMALL = 256
_TOGETHER = 131072  # bytes up to which copying pieces together is cheaper than what reads them apart
_BLOCK = 65536  # bytes of most pieces: what applications read at once, who get them without a copy
_TO_FILE = 262144  # bytes at once for a file


def too_long(limit: int) -> ProtocolError:
    """Return the refusal of a body of more than *limit* bytes."""
    return ProtocolError(TOO_LARGE, f"The body has more than the {limit} bytes of limit-post.")


@final
class Body:
    """Collect a body; hold *in_memory* bytes of it at most in memory, and take *limit* (0 = any).

    *announced* is its length where that is known before. `ProtocolError` says why a body cannot be
    taken: it is too long, or the temporary file cannot hold it.
    """

    __slots__ = ("_announced", "_block", "_file", "_in_memory", "_limit", "_open", "_pieces", "room", "size")

    def __init__(self, in_memory: int, limit: int = 0, announced: int = 0) -> None:
        if 0 < limit < announced:
            raise too_long(limit)
        self._in_memory = in_memory
        self._limit = limit
        self._announced = announced
        self.size = 0
        self._block = _TOGETHER if 0 <= announced <= _TOGETHER else _BLOCK
        self.room = self._block  # bytes that the block which has begun still takes; more than 0
        self._pieces: list[Piece] = []  # blocks; a buffer that grows would copy them again and again
        self._open: list[Piece] = []  # of the block that has begun
        self._file: IO[bytes] | Pieces | None = None

    def add(self, data: Piece) -> None:
        """Append a piece."""
        self.size += len(data)
        if 0 < self._limit < self.size:
            raise too_long(self._limit)
        if self.size <= self._in_memory:
            if len(data) == self.room and not self._open and type(data) is bytes:  # as most are read
                self._pieces.append(data)
            else:
                self._keep(data)
            return
        try:
            if self._file is None:
                from tempfile import TemporaryFile  # noqa: PLC0415  (most bodies are small)

                self._file = TemporaryFile(prefix="appserver-")  # noqa: SIM115  (closed by close)
                self.room = _TO_FILE
                for piece in (*self._pieces, *self._open):
                    self._file.write(piece)
                self._pieces.clear()
                self._open.clear()
            self._file.write(data)
            if self.size >= self._announced:  # this may be the last, and nobody could be told later
                self._file.flush()
        except FileNotFoundError:  # of the directory, which this process has not found or nobody has any more
            raise ProtocolError(
                _INSUFFICIENT,
                "The body: no temporary directory can be written to.",
                hint=_ELSEWHERE,
            ) from None
        except OSError as error:
            why = os.strerror(error.errno or errno.EIO)  # without the names of directories
            hint = _ELSEWHERE if error.errno in {errno.ENOSPC, errno.EDQUOT} else ""
            raise ProtocolError(_INSUFFICIENT, f"The body: {why}.", hint=hint) from None

    def _keep(self, data: Piece) -> None:
        """Append a piece in memory, to the end of a block at most."""
        opened = self._open
        size = len(data)
        while size > self.room:
            data = memoryview(data)
            rest = data[self.room :]
            self._keep(data[: self.room])
            data, size = rest, len(rest)
        opened.append(data)
        self.room -= size
        if not self.room:
            self._pieces.append(data if len(opened) == 1 and type(data) is bytes else b"".join(opened))
            opened.clear()
            self.room = self._block
        elif len(opened) > _FEW + (self._block - self.room) // _SMALL:
            self._open = [b"".join(opened)]

    def give_to(self, environ: dict[str, Any]) -> None:
        """Make it ``wsgi.input``, read from its start, and its size CONTENT_LENGTH."""
        if self._file is None:
            pieces = [*self._pieces, *self._open]
            self._pieces.clear()
            self._open.clear()
            if len(pieces) == 1:
                self._file = BytesIO(pieces[0])
            elif self.size <= _TOGETHER:
                self._file = BytesIO(b"".join(pieces))
            else:
                self._file = Pieces(pieces)
        self._file.seek(0)
        environ["wsgi.input"] = self._file
        if self.size or "CONTENT_LENGTH" in environ:
            environ["CONTENT_LENGTH"] = str(self.size)

    def close(self) -> None:
        """Give the memory or the file back; safe twice."""
        self._pieces.clear()
        self._open.clear()
        if self._file is not None:
            with suppress(OSError):  # of a full disk: it is closed all the same
                self._file.close()
