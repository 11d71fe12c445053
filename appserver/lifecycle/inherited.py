"""Connections, files and loops of asyncio that this process has, and those that it forks would share."""

from __future__ import annotations

import fcntl
import gc
import os
import socket
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from appserver.address import peer_of

if TYPE_CHECKING:
    from collections.abc import Callable

# The real one, also where gevent replaces it later.
_Socket = socket.socket


def connections() -> dict[int, str]:
    """Return whom stream sockets of this process are connected to, by the inode of each.

    Those whose peer has no name are halves of pairs; datagrams, as to syslog, may come from several.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(None)  # else what is looked at would not block any more
    try:
        return _of_descriptors(_peer)
    finally:
        socket.setdefaulttimeout(timeout)


def files() -> dict[int, str]:
    """Return the files that are open to be read and written, as those of databases are, by the inode of each.

    Neither those that are only appended to, as logs are, nor those of /dev/shm, which are meant to be shared.
    """
    return _of_descriptors(_changed)


def _of_descriptors(told: Callable[[int, int], str]) -> dict[int, str]:
    """Return what *told* says of each descriptor and its mode, but for nothing, by the inode."""
    found = {}
    with suppress(OSError):  # there is no /proc
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # it has been closed, or is not connected
                status = os.fstat(int(name))
                if text := told(int(name), status.st_mode):
                    found[status.st_ino] = text
    return found


def _changed(fd: int, mode: int) -> str:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if not stat.S_ISREG(mode) or flags & os.O_ACCMODE != os.O_RDWR or flags & os.O_APPEND:
        return ""
    path = os.readlink(f"/proc/self/fd/{fd}")
    shared = path.startswith("/dev/shm/")  # noqa: S108  (nothing is made there)
    return "" if shared or not os.path.exists(path) else path


def _peer(fd: int, mode: int) -> str:
    if not stat.S_ISSOCK(mode):
        return ""
    sock = _Socket(fileno=fd)
    try:
        return peer_of(sock) if sock.type == socket.SOCK_STREAM else ""
    finally:
        sock.detach()


def loops() -> list[Any]:
    """Return the loops of asyncio that are not closed, whether they run or not."""
    events = sys.modules.get("asyncio.events")
    return [
        each
        for each in (gc.get_objects() if events is not None else ())
        if issubclass(type(each), events.AbstractEventLoop) and not _closed(each)  # type: ignore[union-attr]
    ]


def _closed(loop: Any) -> bool:
    try:
        return bool(loop.is_closed())
    except Exception:  # noqa: BLE001  (it is a class's of the application, or not made to its end)
        return True
