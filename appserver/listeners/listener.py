"""The contract of a listener, and what a started one gives its requests to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from appserver.wsgi import Application, respond

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.access import Access
    from appserver.cores import Cores
    from appserver.exchange import Channel, Exchange
    from appserver.options import Settings


@dataclass(frozen=True)
class Service:
    """What one loop's listeners serve: the application, its cores and the access log.

    ``environ`` is what every environ starts from; listeners copy it and add their own.
    """

    app: Application
    cores: Cores
    access: Access | None
    environ: dict[str, Any]

    def respond(self, x: Exchange, channel: Channel) -> None:
        """Call the application for *x* and send all of its answer; to be called in a core."""
        respond(self.app, x, channel, self.access)


class Listener(Protocol):
    """A place that requests come from; it owns its sockets and the reading of them.

    A class is registered in the entry-point group ``appserver.listeners``. Its ``Options``
    dataclass has one option that ``mounts``: every value of it makes one listener.
    """

    name: ClassVar[str]
    Options: ClassVar[type]
    subscribes: ClassVar[bool]
    """True where every thread makes a connection of its own to the front end, so that ``start``
    is called in each; False where sockets are bound once and belong to one loop."""

    spec: str  # the value of the mounting option
    settings: Settings

    def __init__(self, spec: str, settings: Settings) -> None:
        """Keep the value of the mounting option and what is needed of all options; no I/O."""

    @property
    def address(self) -> str:
        """Where it listens; the real address once it is bound."""

    def bind(self, passed: dict[str, int]) -> None:
        """Take the address: the only step meant to fail, with `AddressError`; before any fork.

        *passed* are systemd's sockets by address; one that is used is taken out.
        """

    def take_over(self, other: Self) -> None:
        """Use what *other* has bound, a listener of the same class and spec that this one follows.

        At a reload, instead of `bind`; *other* may still be needed, so nothing is taken from it.
        """

    def attendant(self) -> Callable[[int], int] | None:
        """Return what is to run in a process of its own beside the workers, None where nothing is.

        That process is forked after `bind`, is kept across reloads and begun again when it dies.
        The function returns its exit code. Its argument is the descriptor of a socket that keeps
        messages apart: on ``drain`` it takes what is there, hands it out and ends, on ``stop`` it
        ends at once, and at the end of file, too, it drains.
        """

    def refuse(self) -> None:
        """Have no more requests arrive, where that is possible without losing one; before a last `stop`.

        Called once where several processes share what is bound.
        """

    def start(self, service: Service) -> None:
        """Begin to serve in this thread's loop."""

    def stop(self) -> None:
        """Take no new connections or stop when the queue is dry; return at once.

        Called in the thread of each loop.
        """

    def busy(self) -> int:
        """Return how many requests this thread's loop has in hand (or may still receive)."""

    def close(self) -> None:
        """Release this thread's share of what ``start`` made, or all; safe twice, and after a failed bind."""
