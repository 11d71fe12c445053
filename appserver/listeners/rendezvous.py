"""Where the receiver of Mongrel2's requests and the loops that serve them meet."""

from __future__ import annotations

import array  # noqa: F401  (since Python 3.14 socket.send_fds imports it; a worker's user may not be allowed to)
import os
import socket
from contextlib import ExitStack
from typing import NamedTuple

# The real ones, also where gevent replaces them later.
_socketpair, _send_fds, _recv_fds = socket.socketpair, socket.send_fds, socket.recv_fds


class Joined(NamedTuple):
    """What a loop has of its connection to the receiver."""

    packets: socket.socket
    stream: socket.socket


class Rendezvous:
    """A pair of sockets without a name, inherited by all processes of a server; nobody else can join.

    Made before any fork, closed by everybody who has it. It outlives the receiver, so that loops can
    join the next one before it runs.
    """

    def __init__(self) -> None:
        self._receivers, self._loops = _socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._receivers.setblocking(False)

    def join(self, cores: int) -> Joined:
        """Join the receiver from this process, as a loop with so many cores; both sockets do not block.

        Raise `OSError` where there are no descriptors.
        """
        with ExitStack() as stack:
            given, taken = map(stack.enter_context, _socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            stream, theirs = map(stack.enter_context, _socketpair())
            taken.setblocking(False)
            stream.setblocking(False)
            message = f"{os.getpid()} {cores}".encode()
            _send_fds(self._loops, [message], [given.fileno(), taken.fileno(), theirs.fileno()])
            stack.pop_all()
        given.close()
        theirs.close()
        return Joined(taken, stream)

    def fileno(self) -> int:
        """Return the descriptor that is readable when a loop joins."""
        return self._receivers.fileno()

    def accept(self) -> tuple[int, int, list[int]]:
        """Return the pid and cores of a loop that joins, and the descriptors to be given to a `Consumer`.

        Raise `BlockingIOError` where none does.
        """
        data, fds, _, _ = _recv_fds(self._receivers, 64, 3)
        pid, cores = map(int, data.split())
        return pid, cores, fds

    def close(self) -> None:
        """Close this process's ends; safe twice."""
        self._receivers.close()
        self._loops.close()
