"""A request's body that the application reads while it comes (``post-buffering = 0``)."""

from __future__ import annotations

import _thread
from collections import deque
from typing import TYPE_CHECKING, Any

from gevent import get_hub, getcurrent

from appserver.body import too_long
from appserver.errors import ClientGone
from appserver.reader import Reader, Source, check_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from greenlet import greenlet

    from appserver.protocols.codec import Piece

_Lock = _thread.allocate_lock  # the real one, also where gevent replaces it later
_BUFFER = 16384  # bytes for the lines of a body; larger reads go past it
_LOOK = 1.0  # seconds after which a native thread that waits can be interrupted


class StreamedBody(Source):
    """Hand a body's pieces from the loop to the application, which waits for them in its core.

    The listener adds pieces, and says how the body ends; all in the loop's thread. *wanted* is called
    there when the application waits for more, *broken_off* when an exception has ended that; how much is
    ``held`` for it the listener decides.
    *limit* and *announced* are those of `Body`. Cores that are threads of their own are *native*.
    """

    def __init__(
        self,
        limit: int,
        announced: int,
        wanted: Callable[[], None],
        broken_off: Callable[[], None],
        *,
        native: bool,
    ) -> None:
        if 0 < limit < announced:
            raise too_long(limit)
        super().__init__()
        self._limit = limit
        self._wanted = wanted
        self._broken_off = broken_off
        self._hub = get_hub()
        self._pieces: deque[Piece] = deque()
        self._taken = 0
        self._whole = False
        self._error: OSError | None = None
        self._signal: Any = None  # a lock that is free when a native thread shall look again
        if native:
            self._signal = _Lock()
            self._signal.acquire()
        self.size = 0
        self.waiting = False  # the application does
        self.waiter: greenlet | None = None  # which of its greenlets, unless cores are native

    # The listener's side

    @property
    def held(self) -> int:
        """How many bytes wait for the application."""
        return self.size - self._taken

    def add(self, data: Piece) -> None:
        """Append a piece; raise `ProtocolError` for a body that is longer than it may be."""
        self.size += len(data)
        if 0 < self._limit < self.size:
            raise too_long(self._limit)
        if self.closed:
            self._taken = self.size
        elif data:
            self._pieces.append(data)
            self._wake()

    def end(self) -> None:
        """Note that the body is whole."""
        self._whole = True
        self._wake()

    def fail(self, error: OSError) -> None:
        """Have *error* raised where the application reads on, or waits; only the first one counts."""
        if self._error is None and not self._whole:
            self._error = error
            self._wake()

    def give_to(self, environ: dict[str, Any]) -> None:
        """Make it ``wsgi.input``; CONTENT_LENGTH is there where the client has announced it."""
        environ["wsgi.input"] = Reader(self, _BUFFER)

    def _wake(self) -> None:
        if self._signal is not None:
            if self._signal.locked():
                self._signal.release()
        elif self.waiter is not None:
            self._hub.loop.run_callback(self._go_on)

    def _go_on(self) -> None:
        if self.waiter is not None:
            self.waiter.switch()

    # The application's side, below a Reader

    def fill(self, buffer: Any) -> int:
        """Fill *buffer* with what there is, at least a byte, and return how much; 0 at the end of the body.

        `ClientGone` says that there is no end because the client has left, `BodyError` all else.
        """
        if not self._more():
            return 0
        pieces = self._pieces
        size = len(buffer)
        at = 0
        while pieces and at < size:
            piece = pieces[0]
            count = min(len(piece), size - at)
            buffer[at : at + count] = piece[:count]
            at += count
            if count == len(piece):
                pieces.popleft()
            else:
                pieces[0] = memoryview(piece)[count:]
        self._taken += at
        return at

    def readall(self) -> bytes:
        """Return all that comes, before something breaks that off if need be."""
        found: list[Piece] = []
        try:
            while self._more():
                piece = self._pieces.popleft()
                self._taken += len(piece)
                found.append(piece)
        except BaseException as error:  # noqa: BLE001  (the reader raises it)
            self.broken[getcurrent()] = error
        return b"".join(found)

    def unread(self, data: bytes) -> None:
        """Have *data* be what comes next."""
        if not self.closed:
            self._pieces.appendleft(data)
            self._taken -= len(data)

    def _more(self) -> bool:
        """Wait for a piece; return False at the end of the body."""
        while not self._pieces:
            if self._whole:
                return bool(self._pieces)  # the last one may have come before the end
            if self._error is not None:
                if self._pieces:
                    continue
                raise self._error.with_traceback(None)
            self._wait()
        return True

    def _wait(self) -> None:
        if self._signal is None:
            check_thread(self._hub)
        self.waiting = True
        try:
            if self._signal is not None:
                self._hub.loop.run_callback_threadsafe(self._wanted)
                while not self._signal.acquire(timeout=_LOOK):
                    pass
            else:
                self.waiter = getcurrent()
                self._wanted()
                self._hub.switch()
        except BaseException:  # a time limit, the server's or the application's own
            if self._signal is not None:
                self._hub.loop.run_callback_threadsafe(self._broken_off)
            else:
                self._broken_off()
            raise
        finally:
            self.waiting = False
            self.waiter = None

    def close(self) -> None:
        """Forget what nobody reads, and have whoever still waits hear of the end; safe twice."""
        super().close()
        if self._pieces:
            self._pieces.clear()
            self._taken = self.size
            self._whole = False  # for whoever has begun to read it
        self.fail(ClientGone("The request has ended."))
