"""Where workers meet the `Relay`: a pair of sockets without a name, made before any fork; nobody else can."""

from __future__ import annotations

import _socket
import errno
import os
import socket
from typing import ClassVar

MOST = 16777216  # bytes that may wait for a worker; what comes then is lost to it

# Kinds of messages. A stray is for the one worker that knows what it is about: each that is asked gives a
# verdict, 1 or 0, in the order of the strays, and what all have denied is nobody's.
PUBLISHED, SIGNAL, STRAY, VERDICT, NOBODYS = 1, 2, 3, 4, 5


class Meeting:
    """Where workers meet the relay; inherited by all processes of a server.

    ``relays`` is the master's alone: without that, who joins is told that the master has gone.
    """

    here: ClassVar[Meeting | None] = None  # that of this process's server

    def __init__(self) -> None:
        self.relays, self._workers = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.relays.setblocking(False)
        self._workers.setblocking(False)
        Meeting.here = self

    def join(self) -> _socket.socket:
        """Join the relay from this process; return a stream to it that does not block.

        Raise `BrokenPipeError` where the master has gone, and `OSError` where that can be tried again.
        """
        ours, theirs = _socket.socketpair()
        ours.setblocking(False)
        try:
            socket.send_fds(self._workers, [b"join"], [theirs.fileno()])  # type: ignore[arg-type]
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def fileno(self) -> int:
        """Return the descriptor that is readable when a worker joins."""
        return self.relays.fileno()

    def accept(self) -> int:
        """Return the descriptor of a stream to a worker; raise `BlockingIOError` where none joins.

        Other `OSError`s are for one whose stream could not be taken, which it sees as its end.
        """
        _, fds, _, _ = socket.recv_fds(self.relays, 16, 1)  # type: ignore[arg-type]
        if not fds:  # the kernel drops what there is no descriptor for
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return fds[0]

    def close(self) -> None:
        """Close both ends, in this process."""
        self.relays.close()
        self._workers.close()
