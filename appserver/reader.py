"""What an application reads a body through that may have to be waited for."""

from __future__ import annotations

from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any

from gevent.monkey import get_original
from greenlet import getcurrent

if TYPE_CHECKING:
    from gevent.hub import Hub
    from greenlet import greenlet

_get_ident = get_original("_thread", "get_ident")


def check_thread(hub: Hub) -> None:
    """Raise `RuntimeError` in another thread than that of *hub*, where nobody could be waited for."""
    if _get_ident() != hub.thread_ident:
        raise RuntimeError(
            "a body that comes by and by can be read in the thread of its call alone; read it there, or have"
            " all of it read before (post-buffering, upload.temp_store)"
        )


class Source(RawIOBase):
    """The bytes of a body, to be read through a `Reader`.

    A `BufferedReader` drops what it has collected when an exception passes it, and the next read would go on
    behind a gap. So none does: it is told that nothing has come yet, and the `Reader` raises.
    """

    def __init__(self) -> None:
        super().__init__()
        self.broken: dict[greenlet, BaseException] = {}  # what has broken a read off, and whose

    def fill(self, buffer: Any) -> int:
        """Fill *buffer* with what there is, at least a byte, and return how much; 0 at the end."""
        raise NotImplementedError

    def unread(self, data: bytes) -> None:
        """Have *data* be what comes next."""
        raise NotImplementedError

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Fill *buffer* as `fill` does; return None where that raises."""
        try:
            return self.fill(buffer)
        except BaseException as error:  # noqa: BLE001  (the reader raises it)
            self.broken[getcurrent()] = error
            return None


_read, _read1, _readline = BufferedReader.read, BufferedReader.read1, BufferedReader.readline
_peek, _readinto, _readinto1 = BufferedReader.peek, BufferedReader.readinto, BufferedReader.readinto1


class Reader(BufferedReader):
    """Read a `Source`; a read that is broken off, by a time limit, say, loses nothing."""

    __slots__ = ("_broken", "_source")

    def __init__(self, source: Source, size: int) -> None:
        super().__init__(source, size)
        self._source = source
        self._broken = source.broken

    def read(self, size: int | None = -1, /) -> bytes:
        data = _read(self, size)
        if self._broken:
            self._go_back(data)
        return data

    def read1(self, size: int = -1, /) -> bytes:
        data = _read1(self, size)
        if self._broken:
            self._go_back(data)
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        data = _readline(self, size)
        if self._broken:
            self._go_back(data)
        return data

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        found: list[bytes] = []
        size = 0
        try:
            while line := self.readline():
                found.append(line)
                size += len(line)
                if hint is not None and 0 < hint <= size:
                    break
        except BaseException:  # raised where the buffer was empty
            if found:
                self._source.unread(b"".join(found))
            raise
        return found

    def peek(self, size: int = 0, /) -> bytes:
        data = _peek(self, size)
        if self._broken:
            self._go_back(None)
        return data

    def readinto(self, buffer: Any, /) -> int:
        count = _readinto(self, buffer)
        if self._broken:
            self._go_back(memoryview(buffer).cast("B")[: count or 0])
        return count

    def readinto1(self, buffer: Any, /) -> int:
        count = _readinto1(self, buffer)
        if self._broken:
            self._go_back(memoryview(buffer).cast("B")[: count or 0])
        return count

    def _go_back(self, data: bytes | memoryview | None) -> None:
        """Raise what has broken this read off, if anything has, after *data*, which is read again."""
        error = self._broken.pop(getcurrent(), None)
        if error is None:
            return
        if data:
            self._source.unread(bytes(data))
        try:
            raise error
        finally:
            del error  # breaks the cycle through the frame
