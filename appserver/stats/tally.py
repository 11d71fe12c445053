"""What is counted for the statistics: by each core for itself, so that nobody waits and nothing is lost.

A loop has a table of numbers, one row for each of its cores and one, the first, for what is answered in no
core. Behind the columns below each row has one for each listener: its requests. The first row has there
those that were answered without the application.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from appserver.cores import CORE
from appserver.errors import BodyError
from appserver.exchange import ANSWERED_BY, FAILED
from appserver.wsgi import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from appserver.access import Access
    from appserver.exchange import Exchange
    from appserver.listeners.listener import Listener, Service
    from appserver.wsgi import Application

(
    REQUESTS, EXCEPTIONS, STATIC, ROUTED, WRITE_ERRORS, READ_ERRORS, BYTES, MICROSECONDS, RUNNING,
) = range(9)  # fmt: skip
COLUMNS = 9
_KINDS = {"static": STATIC, "route": ROUTED}


def size(cores: int, listeners: int) -> int:
    """Return how many numbers a loop's table has."""
    return (1 + cores) * (COLUMNS + listeners) + listeners


class Tally:
    """The table of one loop, in *numbers*; each row has one writer.

    The last numbers are the connections of each listener, as they were at the last `look`.
    """

    def __init__(self, numbers: memoryview, cores: int, listeners: int) -> None:
        self._numbers = numbers
        self._width = COLUMNS + listeners
        self._end = (1 + cores) * self._width
        self.rows = [numbers[at : at + self._width] for at in range(0, self._end, self._width)]

    def service(self, service: Service, listener: int) -> Service:
        """Return what a listener, by its number, is to serve so that its requests are counted."""
        counting = _Counting(self.rows, COLUMNS + listener, service.app, service.access)
        return replace(service, app=counting, access=counting)  # type: ignore[arg-type]

    def look(self, listeners: Sequence[Listener]) -> None:
        """Note how many connections each listener has open (or requests in hand, if it has none)."""
        for number, listener in enumerate(listeners, self._end):
            self._numbers[number] = listener.busy()

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


class _Counting:
    """The application and the access log of one listener's requests, which notes what passes."""

    def __init__(
        self, rows: list[memoryview], listener: int, app: Application, access: Access | None
    ) -> None:
        self._rows = rows
        self._listener = listener
        self._app = app
        self._access = access

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self._rows[getattr(getcurrent(), CORE, 0)][RUNNING] = 1
        return self._app(environ, start_response)

    def line(self, x: Exchange, status: str, seconds: float) -> None:
        """Count a request that has been answered, then have its line written."""
        number = getattr(getcurrent(), CORE, 0)
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
        if FAILED in environ:
            _count_failure(row, environ[FAILED])
        if self._access is not None:
            self._access.line(x, status, seconds)


def _count_failure(row: memoryview, error: type[BaseException]) -> None:
    if issubclass(error, BodyError):
        row[READ_ERRORS] += 1
    elif not issubclass(error, Interrupted):
        row[EXCEPTIONS] += 1
