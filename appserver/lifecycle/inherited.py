"""Connections and loops of asyncio that this process has, and would share with whoever is forked from it."""

from __future__ import annotations

import gc
import os
import socket
import stat
import sys
from contextlib import suppress
from typing import Any

from appserver.address import peer_of

# The real one, also where gevent replaces it later.
_Socket = socket.socket


def connections() -> dict[int, str]:
    """Return whom stream sockets of this process are connected to, by the inode of each.

    Those whose peer has no name are halves of pairs; datagrams, as to syslog, may come from several.
    """
    found = {}
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(None)  # else what is looked at would not block any more
    with suppress(OSError):  # there is no /proc
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # it has been closed, or is not connected
                status = os.fstat(int(name))
                if stat.S_ISSOCK(status.st_mode) and (peer := _peer(int(name))):
                    found[status.st_ino] = peer
    socket.setdefaulttimeout(timeout)
    return found


def _peer(fd: int) -> str:
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
