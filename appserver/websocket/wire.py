"""The contract of what carries a WebSocket's frames: a connection of HTTP, or one of Mongrel2's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.listeners.patience import Patience
    from appserver.protocols.upgrade import Upgrade
    from appserver.websocket.deflate import Deflate
    from appserver.websocket.messages import Messages


class Peer(Protocol):
    """What a wire gives to that which comes over it; all is called in the loop's thread."""

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be sent."""

    def feed(self, data: bytes) -> None:
        """Take bytes as they come."""

    def feed_frame(self, first: int, payload: bytes) -> None:
        """Take a message that has been put together, or a control frame: its first byte and its payload."""

    def resume(self) -> None:
        """Take what comes, as the client does not wait any more; safe twice."""

    def lost(self) -> None:
        """Note that the connection has ended; safe twice."""

    def drained(self) -> None:
        """Note that less waits to be sent than before."""

    def finish(self, *, failed: bool) -> None:
        """End, as the application's call is over; it has *failed* if it has not ended by itself."""


class Wire(Protocol):
    """Carry bytes for one client; all is called in the loop's thread."""

    x: Upgrade
    hub: Any  # of the loop
    cancels: bool  # a client that is lost ends the application's call

    @property
    def pending(self) -> int:
        """How many bytes wait for the client."""

    @property
    def untaken(self) -> int:
        """How many bytes the client has not taken, as far as is known: waiting ones, and those under way."""

    def patience(self, seconds: float) -> Patience:
        """Return what measures the time of a client that has to answer, and to take what is before that."""

    @property
    def together(self) -> Together | None:
        """What can write to several of its kind at once, where that is less work."""

    def deflate(self, limit: int) -> Deflate | None:
        """Return how messages are packed, where the client offers that and the wire carries it."""

    def messages(self, limit: int, deflate: Deflate | None) -> Messages:
        """Return what takes the frames apart that come over this wire."""

    def open(self, head: bytes, peer: Peer) -> None:
        """Answer with *head*, and give *peer* what comes; raise `ClientGone`."""

    def write(self, data: bytes) -> None:
        """Send *data* after what waits already."""

    def pause(self) -> bool:
        """Have the client wait before it sends more; return False where nothing can make it."""

    def resume(self) -> None:
        """Have it go on."""

    def end(self) -> None:
        """End the connection once all is sent; safe twice."""

    def cut(self) -> None:
        """End it at once; safe twice."""


class Together(Protocol):
    """Write the same to several wires at once."""

    def write_all(self, wires: Sequence[Wire], data: bytes) -> None:
        """Write to each of *wires*, which are all of this."""
