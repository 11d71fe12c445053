"""How many connections wait at a listening socket to be accepted, as the kernel knows it."""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from contextlib import suppress
from functools import lru_cache

log = logging.getLogger("appserver")

_TCP_INFO = struct.Struct("@8B24I")  # the beginning of struct tcp_info (tcp(7))
_UNACKED, _SACKED = 8 + 4, 8 + 5  # of a listening socket: those that wait, and how many may

# sock_diag(7): a message for one Unix socket, by its inode, with its queue's length.
_SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 20, 1
_UDIAG_SHOW_RQLEN, _UNIX_DIAG_RQLEN = 0x10, 4
_HEADER = struct.Struct("=IHHII")
_ASKED = struct.Struct("=BBHIIIII")
_TOLD = struct.Struct("=BBBBIII")
_ATTRIBUTE = struct.Struct("=HH")
_QUEUE = struct.Struct("=II")
_EVERY_STATE, _NO_COOKIE = 0xFFFFFFFF, 0xFFFFFFFF
_FORBIDDEN = {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EPERM, errno.EACCES}

_Socket = socket.socket  # the real one, also where gevent replaces it later


def backlog(sock: socket.socket) -> tuple[int, int]:
    """Return how many connections wait, and how many may; zeros where the kernel does not tell."""
    with suppress(OSError, struct.error):
        return _of_unix(sock) if sock.family == socket.AF_UNIX else _of_tcp(sock)
    return 0, 0


def _of_tcp(sock: socket.socket) -> tuple[int, int]:
    info = _TCP_INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
    return info[_UNACKED], info[_SACKED]


def _of_unix(sock: socket.socket) -> tuple[int, int]:
    inode = os.fstat(sock.fileno()).st_ino
    asked = _ASKED.pack(socket.AF_UNIX, 0, 0, _EVERY_STATE, inode, _UDIAG_SHOW_RQLEN, _NO_COOKIE, _NO_COOKIE)
    header = _HEADER.pack(_HEADER.size + len(asked), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    try:
        kernel = _Socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)  # NETLINK_SOCK_DIAG
    except OSError as error:
        if error.errno in _FORBIDDEN:
            _warn(error.strerror)
        raise
    with kernel:
        kernel.settimeout(1)
        kernel.send(header + asked)
        answer = kernel.recv(8192)
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return 0, 0
    at = _HEADER.size + _TOLD.size
    while at + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, at)
        if kind == _UNIX_DIAG_RQLEN:
            waiting, most = _QUEUE.unpack_from(answer, at + _ATTRIBUTE.size)
            return waiting, most
        at += (length + 3) & ~3 or len(answer)
    return 0, 0


@lru_cache(maxsize=1)
def _warn(why: str) -> None:
    """Say, once, that the numbers are none."""
    log.warning(
        "statistics tell 0 for the listen queues of Unix sockets, as the kernel gives this process no netlink"
        " socket: %s; under systemd add AF_NETLINK to RestrictAddressFamilies",
        why,
    )
