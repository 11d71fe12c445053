"""A request's body, read before the application is called: in memory, then in a temporary file."""

from __future__ import annotations

from io import BytesIO
from tempfile import TemporaryFile
from typing import IO


class Body:
    """Collect a body; hold *in_memory* bytes of it at most in memory."""

    __slots__ = ("_file", "in_memory", "size")

    def __init__(self, in_memory: int) -> None:
        self.in_memory = in_memory
        self.size = 0
        self._file: IO[bytes] = BytesIO()

    def add(self, data: bytes) -> None:
        """Append a piece; raise `OSError` where the temporary file cannot hold it."""
        self.size += len(data)
        if self.size > self.in_memory and isinstance(self._file, BytesIO):
            held = self._file.getvalue()
            self._file = TemporaryFile(prefix="appserver-")  # noqa: SIM115  (closed by close)
            self._file.write(held)
        self._file.write(data)

    def reader(self) -> IO[bytes]:
        """Return the body from its start, for ``wsgi.input``."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Give the memory or the file back; safe twice."""
        self._file.close()
