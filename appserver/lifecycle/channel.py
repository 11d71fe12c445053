"""A child's end of the channel to its master; words, one message a datagram."""

from __future__ import annotations

import os
from contextlib import suppress

_LARGEST = 65536  # bytes of a message to us
_LONGEST = 150000  # bytes of one from us; the kernel's limit is above


class Channel:
    """Speak to the master over a descriptor, which works as well where gevent has patched sockets."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def send(self, text: str) -> None:
        """Send a message; a master that has gone hears nothing."""
        with suppress(OSError):
            os.write(self.fd, text.encode("utf-8", "backslashreplace")[:_LONGEST])

    def receive(self) -> str:
        """Return the next message, waiting for it where the descriptor blocks; "" at the master's end."""
        try:
            return os.read(self.fd, _LARGEST).decode("utf-8", "replace")
        except BlockingIOError:
            raise
        except OSError:
            return ""
