"""``wsgi.file_wrapper`` (PEP 3333): an iterable around a file, which the transport may send whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK: Final = 65536


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class FileWrapper:
    """Iterate over a file in blocks (``wsgi.file_wrapper``); the transport may send it whole.

    ``close`` closes the file.
    """

    def __init__(self, file: _Readable, block_size: int = BLOCK) -> None:
        self.file = file
        self.block_size = block_size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        while data := self.file.read(self.block_size):
            yield data
