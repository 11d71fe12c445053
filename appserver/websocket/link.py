"""A worker's way to the WebSockets of the other workers, by the `Relay`."""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

from gevent import get_hub

from appserver.listeners.outbox import Outbox
from appserver.protocols.handoff import Frames, frame
from appserver.websocket.meeting import MOST, Meeting

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("appserver.websocket")

_READ, _WRITE = 1, 2  # libev's event bits
_BUFFER = 262144  # bytes read at once
_KIND = 1
_joining = Lock()


class Link:
    """The stream to the relay, in the loop of the thread that makes it.

    *deliver* takes what others have published: the channel, and the frame.
    """

    here: ClassVar[Link | None] = None  # that of this process

    def __init__(self, meeting: Meeting, deliver: Callable[[str, bytes], None]) -> None:
        self._deliver = deliver
        self._loop = get_hub().loop
        self._stream = meeting.join()
        self._frames = Frames()
        self._outbox = Outbox(self._stream.fileno())
        self._behind = False
        self._reader: Any = self._loop.io(self._stream.fileno(), _READ)
        self._writer: Any = self._loop.io(self._stream.fileno(), _WRITE)
        self._reader.start(self._read)
        Link.here = self

    def send(self, channel: str, data: bytes) -> None:
        """Have all other workers deliver a frame; from any thread."""
        name = channel.encode()
        self._loop.run_callback_threadsafe(self._send, frame(_KIND, len(name), name + data))

    def _send(self, message: bytes) -> None:
        if Link.here is not self:
            return
        if self._outbox.size > MOST:
            if not self._behind:
                log.error("other workers do not take what this one publishes; they lose messages")
            self._behind = True
            return
        self._outbox.put([message])
        self._write()

    def _write(self) -> None:
        try:
            self._outbox.flush()
        except OSError:  # the master has gone, and this worker is about to
            self._outbox.clear()
        if not self._outbox:
            self._behind = False
            self._writer.stop()
        elif not self._writer.active:
            self._writer.start(self._write)

    def _read(self) -> None:
        try:
            data = self._stream.recv(_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._reader.stop()
            return
        for each in self._frames.feed(data):
            self._deliver(each.data[: each.number].decode(), each.data[each.number :])

    def close(self) -> None:
        """Leave the relay."""
        Link.here = None
        for watcher in (self._reader, self._writer):
            watcher.stop()
            watcher.close()
        self._stream.close()


def joined(deliver: Callable[[str, bytes], None]) -> Link | None:
    """Join the relay, where this process has a master that has one, and has not joined yet."""
    with _joining:  # each loop has a thread of its own
        if Meeting.here is None or Link.here is not None:
            return None
        return Link(Meeting.here, deliver)
