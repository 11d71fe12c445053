"""How the descriptor of a connection ends: half of it, or all of it in a way that the peer notices."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_Socket = socket.socket  # the real one, also where gevent replaces it later
_RESET = b"\1\0\0\0\0\0\0\0"  # struct linger {1, 0}: close(2) sends RST


def shut_writing(fd: int) -> None:
    """Tell the peer that nothing more comes; raise `OSError` where it does not listen any more."""
    with _as_socket(fd) as sock:
        sock.shutdown(socket.SHUT_WR)


def hold_back(fd: int) -> None:
    """Have TCP keep a last part of a segment until more comes, or the end (TCP_CORK in tcp(7))."""
    with _as_socket(fd) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)


def reset_at_close(fd: int) -> None:
    """Have a TCP connection broken when it is closed, so that a cut answer cannot pass for a whole one."""
    with _as_socket(fd) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def close_under(fd: int, null: int) -> None:
    """Close a connection whose number a core may be about to use: *null* takes it, until it is closed too."""
    os.dup2(null, fd, inheritable=False)


@contextmanager
def _as_socket(fd: int) -> Iterator[_Socket]:
    """Lend a socket object for a descriptor, which stays open."""
    sock = _Socket(fileno=fd)
    try:
        yield sock
    finally:
        sock.detach()
