"""Whether somebody else serves the same Mongrel2, as far as it shows here."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appserver.protocols.mongrel2 import Connection

log = logging.getLogger("appserver.listeners")

_MANY = 10  # messages that are no accident any more
_GRACE = 5.0  # seconds in which who was here before has left, and its clients have read most of what it sent
_TOLD = (
    "%s: Mongrel2 tells us of clients that are not ours: another server has the same Mongrel2, and each of"
    " both misses what the other is told, so that answers above 100 KiB hang (download.flow_control) and"
    " bodies are cut (upload.stream); stop one, or give each a Handler with endpoints of its own"
)


class Rivals:
    """Note what Mongrel2 tells of clients that are nobody's here, for the time of one attachment.

    Mongrel2 counts its clients up. Those that are older than the first one who has come to us may have been
    another server's before; younger ones have come to somebody else meanwhile. While none has come to us
    those are taken for such that are younger than all before: of many old ones, in any order, few are.

    It begins a while after the attachment. Until then a worker before this one gets new clients as well, at a
    reload; and of many clients that read what a server before has sent, the older ones may be the first.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._first = -1
        self._youngest = -1
        self._strange = 0
        self._begins = monotonic() + _GRACE

    def begin(self, connection: Connection) -> None:
        """Note that a client has come to us, with its first request."""
        if self._first < 0 and monotonic() >= self._begins:
            self._first = int(connection[1])

    def suspect(self, connection: Connection) -> None:
        """Take a client that is nobody's here; log once that there are many."""
        number = int(connection[1])
        known = self._youngest if self._first < 0 else self._first
        self._youngest = max(self._youngest, number)
        if 0 <= known < number and monotonic() >= self._begins:
            self._strange += 1
            if self._strange == _MANY:
                log.error(_TOLD, self._name)
