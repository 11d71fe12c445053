"""A worker's way to the others, by the `Relay`: to their WebSockets, and for the application's signals."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from gevent import get_hub

from appserver.listeners.outbox import Outbox
from appserver.protocols.handoff import Frames, frame
from appserver.websocket.meeting import MOST, NOBODYS, STRAY, VERDICT, Meeting

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Mapping

    Taker = Callable[[str, bytes], object]

log = logging.getLogger("appserver.websocket")

_READ, _WRITE = 1, 2  # libev's event bits
_BUFFER = 262144  # bytes read at once
_AGAIN = 1.0  # seconds until a worker that is not joined tries again


class Link:
    """The stream to the relay, in the loop of the thread that makes it.

    *takers* take what others send, by its kind: a name, such as that of a channel, and the data. That of
    strays tells whether this worker knows what one is about. A stream that ends is joined again as long as
    there is a master: it may have had no descriptor for it.
    """

    here: ClassVar[Link | None] = None  # that of this process

    def __init__(self, meeting: Meeting, takers: Mapping[int, Taker]) -> None:
        self._meeting = meeting
        self._takers = takers
        self._loop = get_hub().loop
        self._again: Any = self._loop.timer(_AGAIN, _AGAIN)
        self._stream: _socket.socket | None = None
        self._behind = False
        self._failed = False  # to join, which has been told
        self._join()
        Link.here = self

    def _join(self) -> None:
        try:
            stream = self._meeting.join()
        except BrokenPipeError:  # the master has gone, and this worker is about to
            self._again.stop()
            return
        except OSError as error:
            if not self._failed:
                log.error("this worker cannot join the others yet: %s; it tries again", error.strerror)  # noqa: TRY400
            self._failed = True
            self._again.start(self._join)
            return
        self._again.stop()
        self._failed = False
        self._stream = stream
        self._frames = Frames()
        self._outbox = Outbox(stream.fileno())
        self._reader: Any = self._loop.io(stream.fileno(), _READ)
        self._writer: Any = self._loop.io(stream.fileno(), _WRITE)
        self._reader.start(self._read)

    def _part(self) -> None:
        if self._stream is not None:
            for watcher in (self._reader, self._writer):
                watcher.stop()
                watcher.close()
            self._stream.close()
            self._stream = None

    def send(self, kind: int, name: str, data: bytes) -> None:
        """Have all other workers take something; from any thread. A stray that cannot be sent is nobody's."""
        self._loop.run_callback_threadsafe(self._send, kind, name, data)

    def _send(self, kind: int, name: str, data: bytes) -> None:
        begin = name.encode()
        if not self._sent(frame(kind, len(begin), begin + data)) and kind == STRAY:
            self._take(NOBODYS, name, data)

    def _sent(self, message: bytes) -> bool:
        """Send a message; return False where others lose it."""
        if Link.here is not self or self._stream is None:
            return False
        if self._outbox.size > MOST:
            if not self._behind:
                log.error("other workers do not take what this one publishes; they lose messages")
            self._behind = True
            return False
        self._outbox.put([message])
        self._write()
        return True

    def _write(self) -> None:
        try:
            self._outbox.flush()
        except OSError:  # reading tells
            self._outbox.clear()
        if not self._outbox:
            self._behind = False
            self._writer.stop()
        elif not self._writer.active:
            self._writer.start(self._write)

    def _read(self) -> None:
        assert self._stream is not None
        try:
            data = self._stream.recv(_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._part()
            self._again.start(self._join)
            return
        for each in self._frames.feed(data):
            taken = self._take(each.kind, each.data[: each.number].decode(), each.data[each.number :])
            if each.kind == STRAY:
                self._outbox.put([frame(VERDICT, int(taken))])
        if self._outbox:
            self._write()

    def _take(self, kind: int, name: str, data: bytes) -> bool:
        try:
            return bool(self._takers[kind](name, data))
        except Exception:  # gevent would stop the watcher, and nothing more come
            log.exception("what another worker tells cannot be done")
            return False

    def close(self) -> None:
        """Leave the relay."""
        Link.here = None
        self._again.stop()
        self._again.close()
        self._part()


def joined(takers: Mapping[int, Taker]) -> Link | None:
    """Join the relay, where this process has a master that has one."""
    return None if Meeting.here is None else Link(Meeting.here, takers)
