"""What is counted for the statistics: by each core for itself, so that nobody waits and nothing is lost.

A loop has a table of numbers, one row for each of its cores and one, the first, for what is answered in no
core. Behind the columns below each row has one for each listener: its requests. The first row has there
those that were answered without the application. Where applications are mounted two for each of them
follow: the requests that it was given, and its exceptions.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from appserver.cores.contract import CORE
from appserver.errors import BodyError
from appserver.exchange import ANSWERED_BY, FAILED
from appserver.mounts import MOUNT
from appserver.wsgi import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from appserver.exchange import Exchange
    from appserver.listeners.listener import Listener
    from appserver.log.access import Access
    from appserver.wsgi import Application

(
    REQUESTS, EXCEPTIONS, STATIC, ROUTED, WRITE_ERRORS, READ_ERRORS, BYTES, MICROSECONDS, RUNNING,
) = range(9)  # fmt: skip
COLUMNS = 9
_KINDS = {"static": STATIC, "route": ROUTED}


def size(cores: int, listeners: int, mounts: int = 0) -> int:
    """Return how many numbers a loop's table has."""
    return (1 + cores) * (COLUMNS + listeners + 2 * mounts) + listeners


class Tally:
    """The table of one loop, in *numbers*; each row has one writer.

    The last numbers are the connections of each listener, as they were at the last `look`.
    """

    def __init__(self, numbers: memoryview, cores: int, listeners: int, mounts: Sequence[str] = ()) -> None:
        self._numbers = numbers
        self._mounts = {mount: at for at, mount in zip(count(COLUMNS + listeners, 2), mounts, strict=False)}
        self._width = COLUMNS + listeners + 2 * len(mounts)
        self._end = (1 + cores) * self._width
        self.rows = [numbers[at : at + self._width] for at in range(0, self._end, self._width)]

    def counting(self, listener: int, app: Application, access: Access | None) -> Counting:
        """Return what counts the requests of a listener, by its number: application and access log in one."""
        return Counting(self.rows, COLUMNS + listener, self._mounts, app, access)

    def look(self, listeners: Sequence[Listener]) -> None:
        """Note how many connections each listener has open (or requests in hand, if it has none)."""
        for number, listener in enumerate(listeners, self._end):
            self._numbers[number] = listener.in_hand()

    # What the reader asks

    def total(self, column: int) -> int:
        """Return the sum of a column over all cores."""
        return sum(self._numbers[self._width + column : self._end : self._width])

    def of_listener(self, listener: int) -> dict[str, int]:
        """Return a listener's requests, those that the application did not see, and its connections."""
        return {
            "requests": self.total(COLUMNS + listener),
            "refused": self._numbers[COLUMNS + listener],
            "connections": self._numbers[self._end + listener],
        }

    def of_application(self, mount: str) -> dict[str, int]:
        """Return the requests that the application at *mount* was given, and its exceptions."""
        at = self._mounts.get(mount)
        if at is not None:
            return {"requests": self.total(at), "exceptions": self.total(at + 1)}
        others = self.total(STATIC) + self.total(ROUTED)  # what one that is alone did not get
        return {"requests": self.total(REQUESTS) - others, "exceptions": self.total(EXCEPTIONS)}


class Counting:
    """The application and the access log of one listener's requests, which notes what passes."""

    def __init__(
        self,
        rows: list[memoryview],
        listener: int,
        mounts: dict[str, int],
        app: Application,
        access: Access | None,
    ) -> None:
        self._rows = rows
        self._listener = listener
        self._mounts = mounts
        self._app = app
        self._access = access

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self._rows[getattr(getcurrent(), CORE, 0)][RUNNING] = 1
        return self._app(environ, start_response)

    def line(self, x: Exchange, status: str, seconds: float) -> None:
        """Count a request that has been answered, then have its line written."""
        # What took no time did not reach the application; a core may have read and refused it.
        number = getattr(getcurrent(), CORE, 0) if seconds else 0
        row = self._rows[number]
        row[self._listener] += 1
        row[REQUESTS] += 1
        row[RUNNING] = 0
        row[BYTES] += x.head_size + x.sent
        row[MICROSECONDS] += int(seconds * 1e6)
        if status == "499":
            row[WRITE_ERRORS] += 1
        environ = x.environ
        if ANSWERED_BY in environ:
            row[_KINDS[environ[ANSWERED_BY]]] += 1
        mount = self._mounts.get(environ[MOUNT], 0) if MOUNT in environ else 0
        if mount:
            row[mount] += 1
        if FAILED in environ:
            error = environ[FAILED]
            if issubclass(error, BodyError):
                row[READ_ERRORS] += 1
            elif not issubclass(error, Interrupted):
                row[EXCEPTIONS] += 1
                if mount:
                    row[mount + 1] += 1
        if self._access is not None:
            self._access.line(x, status, seconds)
