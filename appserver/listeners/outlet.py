"""What goes to Mongrel2, in order, and waits here while it takes none."""

from __future__ import annotations

import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from appserver.errors import ClientGone

if TYPE_CHECKING:
    from appserver.listeners.responder import Responder

log = logging.getLogger("appserver.listeners")

_MOST = 1000  # messages that wait before no more of Mongrel2's requests are read


class Outlet:
    """Send messages over a responder, now or when Mongrel2 takes them; its length is how many wait."""

    def __init__(self, name: str, responder: Responder, timeout: float) -> None:
        self.full = False  # so many wait that nobody shall make more
        self._name = name
        self._responder = responder
        self._timeout = timeout
        self._held: deque[tuple[bytes, int]] = deque()
        self._since = 0.0  # when Mongrel2 last took one

    def __len__(self) -> int:
        return len(self._held)

    def put(self, message: bytes, attachment: int) -> bool:
        """Take a message, and return True; raise `ClientGone` after its attachment's end."""
        if self._held or not self._responder.try_send(message, attachment):
            if not self._held:
                self._since = monotonic()
            self._held.append((message, attachment))
            if len(self._held) == _MOST:
                self.full = True
        return True

    def flush(self, now: float) -> list[tuple[bytes, int]]:
        """Send what waits, and return what is given up.

        A Mongrel2 that takes nothing for the whole time-out is as good as gone. With the message that it
        does not take the rest is given up: no answer may have a gap.
        """
        while self._held:
            message, attachment = self._held[0]
            try:
                if not self._responder.try_send(message, attachment):
                    if now - self._since < self._timeout:
                        return []
                    log.error("%s: Mongrel2 takes no answers", self._name)
                    lost = list(self._held)
                    self._held.clear()
                    self.full = False
                    return lost
            except ClientGone:
                pass
            self._held.popleft()
            self._since = now
            if len(self._held) < _MOST // 2:
                self.full = False
        return []
