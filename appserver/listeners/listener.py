"""The contract of a listener."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.listeners.service import Service
    from appserver.options import Settings

    Attend = Callable[[int, Callable[[], None]], int]


class Listener(Protocol):
    """A place that requests come from; it owns its sockets and the reading of them.

    A class is registered in the entry-point group ``appserver.listeners``. Its ``Options``
    dataclass has one option that ``mounts``: every value of it makes one listener. One that derives
    from this writes what is abstract here, and what else it does in another way.
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
        self.spec = spec
        self.settings = settings

    @property
    @abstractmethod
    def address(self) -> str:
        """Where it listens; the real address once it is bound."""

    def dangers(self) -> list[str]:
        """Return a sentence about each thing in the options that is allowed and dangerous for this one."""
        return []

    @abstractmethod
    def bind(self, passed: dict[str, int]) -> None:
        """Take the address: the only step meant to fail, with `AddressError`; before any fork.

        *passed* are systemd's sockets by address; one that is used is taken out.
        """

    def follows(self, other: Self) -> bool:
        """Tell whether this one can `take_over` what *other*, of the same class, has bound."""
        return False

    def take_over(self, other: Self) -> None:
        """Use what *other* has bound, a listener that this one follows.

        At a reload, instead of `bind` and before others do; *other* may still be needed, so nothing is taken
        from it. Raise `AddressError` where what it has bound will not do.
        """

    def adapt(self) -> None:
        """Have what was taken over be as the options say, as the reload has succeeded; log what cannot be."""

    def attendant(self) -> Attend | None:
        """Return what is to run in a process of its own beside the workers, None where nothing is.

        That process is forked after `bind`, is kept across reloads and begun again when it dies.
        The function returns its exit code. Its first argument is the descriptor of a socket that keeps
        messages apart: on ``drain`` it takes what is there, hands it out and ends, and so it does at
        the end of file; on ``reopen-logs`` it calls its second argument.
        """
        return None

    def refuse(self) -> None:
        """Have no more requests arrive, where that is possible without losing one; before a last `stop`.

        Called once where several processes share what is bound.
        """

    def abandon(self) -> None:
        """Free the address in any thread while the loop is blocked, which serves later what waits."""

    def sever(self) -> None:
        """Have the end of the process show which answers it cuts; in any thread, with the loop blocked."""

    def waiting(self) -> tuple[int, int]:
        """Return how many connections wait to be accepted, and how many may; or zeros."""
        return 0, 0

    @abstractmethod
    def start(self, service: Service) -> None:
        """Begin to serve in this thread's loop."""

    @abstractmethod
    def stop(self) -> None:
        """Take no new connections or stop when the queue is dry; return at once.

        Called in the thread of each loop. What waits to be accepted is taken before, unless
        `Service.followed` tells that others will.
        """

    def in_hand(self) -> int:
        """Return how many connections this thread's loop has open, or requests in hand where it has none."""
        return self.busy()

    @abstractmethod
    def busy(self) -> int:
        """Return how many requests this thread's loop has in hand (or may still receive)."""

    @abstractmethod
    def close(self) -> None:
        """Release this thread's share of what ``start`` made, or all; safe twice, and after a failed bind."""
