"""A pause before something is tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Pause:
    """Call something once when *seconds* have passed, each time that it is begun.

    A timer of the loop that has been used up does not: started once more it ends at once.
    """

    def __init__(self, loop: Any, seconds: float) -> None:
        self._timer = loop.timer(0, seconds)

    def begin(self, call: Callable[[], object]) -> None:
        """Have *call* be called, unless something is going to be."""
        if not self._timer.active:
            self._timer.again(self._over, call)

    def _over(self, call: Callable[[], object]) -> None:
        self._timer.stop()
        call()

    def stop(self) -> None:
        """Call nothing; safe twice."""
        self._timer.stop()

    def close(self) -> None:
        """Release the timer."""
        self._timer.close()
