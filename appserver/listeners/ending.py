"""How the descriptor of a connection ends: half of it, or all of it in a way that the peer notices."""

from __future__ import annotations

import os
import socket
from ctypes import PyDLL, c_char_p, c_int, c_size_t, c_ssize_t, get_errno

# Called as they are: a socket object around a descriptor costs three times what they do.
_libc = PyDLL(None, use_errno=True)
_send, _shutdown, _setsockopt = _libc.send, _libc.shutdown, _libc.setsockopt
_send.argtypes, _send.restype = (c_int, c_char_p, c_size_t, c_int), c_ssize_t
_LAST = socket.MSG_MORE | socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_ONE = bytes(c_int(1))
_RESET = bytes(c_int(1)) + bytes(c_int(0))  # struct linger: close(2) sends RST
_ORDERLY = bytes(2 * len(_ONE))  # struct linger: close(2) sends what there is, and FIN


def say_last(fd: int, data: bytes) -> int:
    """Send what `shut_writing` follows, so that TCP has one segment for both; return how much was taken."""
    sent: int = _send(fd, data, len(data), _LAST)
    return max(0, sent)


def shut_writing(fd: int) -> None:
    """Tell the peer that nothing more comes; raise `OSError` where it does not listen any more."""
    _check(_shutdown(fd, socket.SHUT_WR))


def hold_back(fd: int) -> None:
    """Have TCP keep a last part of a segment until more comes, or the end (TCP_CORK in tcp(7))."""
    _check(_setsockopt(fd, socket.IPPROTO_TCP, socket.TCP_CORK, _ONE, len(_ONE)))


def reset_at_close(fd: int) -> None:
    """Have a TCP connection broken when it is closed, so that a cut answer cannot pass for a whole one."""
    _check(_setsockopt(fd, socket.SOL_SOCKET, socket.SO_LINGER, _RESET, len(_RESET)))


def end_at_close(fd: int) -> None:
    """Have a TCP connection end in order when it is closed, as any does without `reset_at_close`."""
    _check(_setsockopt(fd, socket.SOL_SOCKET, socket.SO_LINGER, _ORDERLY, len(_ORDERLY)))


def close_under(fd: int, null: int) -> None:
    """Close a connection whose number a core may be about to use: *null* takes it, until it is closed too."""
    os.dup2(null, fd, inheritable=False)


def _check(outcome: int) -> None:
    if outcome:
        number = get_errno()
        raise OSError(number, os.strerror(number))
