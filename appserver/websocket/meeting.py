"""Where workers meet the `Relay`: a pair of sockets without a name, made before any fork; nobody else can."""

from __future__ import annotations

import _socket
import socket
from typing import ClassVar

MOST = 16777216  # bytes that may wait for a worker; what comes then is lost to it
STRAY = 3  # the kind of messages that come back where there is no other worker


class Meeting:
    """Where workers meet the relay; inherited by all processes of a server."""

    here: ClassVar[Meeting | None] = None  # that of this process's server

    def __init__(self) -> None:
        self._relays, self._workers = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._relays.setblocking(False)
        Meeting.here = self

    def join(self) -> _socket.socket:
        """Join the relay from this process; return a stream to it that does not block."""
        ours, theirs = _socket.socketpair()
        ours.setblocking(False)
        socket.send_fds(self._workers, [b"join"], [theirs.fileno()])  # type: ignore[arg-type]
        theirs.close()
        return ours

    def fileno(self) -> int:
        """Return the descriptor that is readable when a worker joins."""
        return self._relays.fileno()

    def accept(self) -> int:
        """Return the descriptor of a stream to a worker; raise `BlockingIOError` where none joins."""
        _, fds, _, _ = socket.recv_fds(self._relays, 16, 1)  # type: ignore[arg-type]
        return fds[0]

    def close(self) -> None:
        """Close both ends, in this process."""
        self._relays.close()
        self._workers.close()
