"""What Mongrel2 tells one worker and another needs: at a reload of one process there are two for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appserver.websocket.link import Link
from appserver.websocket.meeting import STRAY

if TYPE_CHECKING:
    from collections.abc import Callable

takers: dict[str, Callable[[bytes], None]] = {}  # of this process, by the endpoints of their Mongrel2


def hand_on(endpoints: str, message: bytes) -> bool:
    """Have the other worker take a message, or us again if there is none; return False without a master."""
    if Link.here is None:
        return False
    Link.here.send(STRAY, endpoints, message)
    return True


def hear(endpoints: str, message: bytes) -> None:
    """Take what another worker has handed on; in the loop that has the link."""
    taker = takers.get(endpoints)
    if taker is not None:
        taker(message)
