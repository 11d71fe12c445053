"""The file of a Unix socket, from its making to its end."""

from __future__ import annotations

import os
from contextlib import suppress


class SocketFile:
    """The file of a Unix socket that this process has made."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # the application may change the directory
        status = os.stat(self._path)
        self._identity = (status.st_dev, status.st_ino)
        self._pid = os.getpid()

    def remove(self) -> None:
        """Remove it, unless another server's is there by now or we are only a child; safe twice."""
        with suppress(OSError):
            status = os.stat(self._path)
            if (status.st_dev, status.st_ino) == self._identity and os.getpid() == self._pid:
                os.unlink(self._path)
