"""A descriptor that is readable while something waits here: for those who select it among others."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress


class Bell:
    """Its descriptor is closed when nobody has it any more, or before."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._rings = False
        self._closing = weakref.finalize(self, os.close, self.fd)

    @property
    def closed(self) -> bool:
        """Whether it tells nothing any more."""
        return not self._closing.alive

    def ring(self, waits: object) -> None:
        """Tell whether something waits; to be called by one thread."""
        if bool(waits) == self._rings or self.closed:
            return
        self._rings = not self._rings
        if self._rings:
            os.eventfd_write(self.fd, 1)
        else:
            with suppress(BlockingIOError):  # the application has read it, as one reads a pipe
                os.eventfd_read(self.fd)

    def close(self) -> None:
        """Close the descriptor; safe twice."""
        self._closing()
