"""What Mongrel2 tells one worker and another needs: at reloads of one process there are some for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appserver.websocket.link import Link
from appserver.websocket.meeting import STRAY

if TYPE_CHECKING:
    from collections.abc import Callable

# Of this process, by the endpoints of their Mongrel2. They tell whether a message is about a connection of
# theirs; with True it is about none of another's, either.
takers: dict[str, Callable[[bytes, bool], bool]] = {}


def hand_on(endpoints: str, message: bytes) -> bool:
    """Have the other workers take a message, or us again if it is nobody's; return False without a master."""
    if Link.here is None:
        return False
    Link.here.send(STRAY, endpoints, message)
    return True


def hear(endpoints: str, message: bytes) -> bool:
    """Take what another worker has handed on; tell whether it is for us. In the loop that has the link."""
    taker = takers.get(endpoints)
    return taker is not None and taker(message, False)


def come_back(endpoints: str, message: bytes) -> bool:
    """Take what is nobody's, in the same way."""
    taker = takers.get(endpoints)
    return taker is not None and taker(message, True)
