"""What a core is, and what runs in one.

A core is room for one running request, as in uWSGI. A task is anything with ``work``, which runs
in a core, and ``done``, which runs afterwards in the thread of the loop; neither may raise, and one that
does ends its own request and no other. Tasks that find no core wait in a queue, which is fair between
listeners.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableSequence
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from types import FrameType

    from greenlet import greenlet

    from appserver.exchange import Exchange
    from appserver.protocols.codec import ProtocolError

# Two counters that somebody else may read: requests done, requests in hand (running or waiting).
Load = MutableSequence[int] | memoryview
DONE: Final = 0
IN_HAND: Final = 1
CORE = "appserver_core"  # the attribute of a core's greenlet, or of its thread's, that has its number, from 1


class Task(Protocol):
    """One request on its way through a core."""

    x: Exchange | None

    @property
    def listener(self) -> object:
        """Whose request it is; listeners have their turns in the queue."""

    def work(self) -> None:
        """Make and send the answer; may wait."""

    def refuse(self, error: ProtocolError) -> None:
        """Answer without the application, in its place, if somebody wants that; may wait, in a greenlet."""

    def abort(self) -> None:
        """Have `done` end the connection, as `work` or `refuse` has raised in the middle of an answer."""

    def done(self) -> None:
        """Go on in the loop's thread after `work` or `refuse`; may not wait."""

    def cut(self) -> None:
        """End the request at once, and its connection, as `done` has raised; may not wait."""


class Cores(Protocol):
    """The contract of both kinds."""

    native: bool  # a core is a thread beside the loop's
    count: int

    def run(self, task: Task) -> None:
        """Give *task* a core, at once or when one is free, or have it refused; never waits."""

    def run_soon(self, task: Task) -> None:
        """Do as `run`, only that of several in one turn of the loop all but the first run at its end.

        They are run as `run_all` does, and the answers leave together. What this process has not taken yet,
        and another could, is better run at once.
        """

    def run_all(
        self, source: Callable[[], Task | None], waits: Callable[[Any], object] | None = None
    ) -> None:
        """Run what *source* gives, as `run` would, until it gives None.

        One core runs it, one task after the other, as long as they do not wait: to wake it for each costs as
        much as reading one. *source* is called in that core or where this is, and may neither wait nor switch
        to another greenlet; *waits* is called here for a task that waits, and perhaps for one that does not.
        """

    def withdraw(self, task: Task) -> None:
        """End *task*, which knows that it is not wanted any more, if it waits; others may have its place."""

    def full(self) -> bool:
        """Tell whether one more task would have to wait."""

    def when_free(self, call: Callable[[], object]) -> None:
        """Call *call* once, in the hub, when a core is free for what it brings, or its turn has come.

        While tasks wait, those that wait here have a turn in each round of the queue, one at a time.
        """

    def turn(self) -> None:
        """Let the loop have a turn, called in a core between two pieces of an answer."""

    def stacks(self) -> Iterator[tuple[FrameType, greenlet | None]]:
        """Yield the innermost frame of each core, and the greenlet if it is one that waits."""

    def stop(self) -> None:
        """Take the cores down; tasks still waiting are dropped."""
