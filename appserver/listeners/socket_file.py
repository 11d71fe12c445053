"""The file of a Unix socket, from its making to its end."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SocketFile:
    """The file of a Unix socket that this process has made."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # the application may change the directory
        status = os.lstat(self._path)
        self._identity = (status.st_dev, status.st_ino)
        self._pid = os.getpid()

    def remove(self) -> None:
        """Remove it, unless another server's is there by now or we are only a child; safe twice."""
        with suppress(OSError):
            status = os.lstat(self._path)
            if (status.st_dev, status.st_ino) == self._identity and os.getpid() == self._pid:
                os.unlink(self._path)

    def change(self, how: Callable[[str], None]) -> None:
        """Call *how* with a path that leads to this file alone; raise `OSError` where another is there."""
        fd = os.open(self._path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) != self._identity:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._path)
            how(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
