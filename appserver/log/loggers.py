"""The loggers of Python's ``logging``: this server's own, and what no handler of the application's takes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from gevent.monkey import get_original

from appserver.log.sinks import StderrSink
from appserver.log.zone import local_time

if TYPE_CHECKING:
    from appserver.log.sinks import Sink

_RLock = get_original("_thread", "RLock")  # the real one, also where gevent has replaced it
_OURS = "appserver"  # the logger above all of this server's own


class _SinkHandler(logging.Handler):
    """Give the records of ``logging`` to a sink, one message a record."""

    def __init__(self, sink: Sink, date: str) -> None:
        self._real = _RLock()
        super().__init__()
        self._sink = sink
        formatter = logging.Formatter("[%(asctime)s] %(levelname)s %(message)s", date)
        formatter.converter = lambda seconds: local_time(int(seconds or 0))
        self.setFormatter(formatter)

    @property
    def lock(self) -> Any:
        """A real lock: callbacks of a loop write here, which may not wait for one of gevent's.

        Native threads hold it for no longer than a write, and greenlets do not switch meanwhile.
        """
        return self._real

    @lock.setter
    def lock(self, lock: object) -> None:
        pass  # gevent gives each handler that there is one of its own

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  (the application's: `logging` tells of it and goes on)
            self.handleError(record)
        else:
            self._sink.write(line)


class _Untold(int):
    """The root logger's level where nobody has set one: another object than any of the application's."""


_UNTOLD = _Untold(logging.INFO)


class Loggers:
    """Have what is logged written to *sink*, with times in the form of *date*."""

    def __init__(self, sink: Sink, date: str) -> None:
        self._date = date
        self._handler = _SinkHandler(sink, date)
        ours, root = logging.getLogger(_OURS), logging.getLogger()
        self._before = ours.handlers[:], ours.level, ours.propagate
        self.reclaim()
        # What no handler takes is logged here. So the root logger is the application's, as everywhere.
        logging.lastResort = self._handler
        if not root.handlers and root.level == logging.WARNING:
            root.setLevel(_UNTOLD)
            vars(root)["addHandler"] = self._configured

    def _configured(self, handler: logging.Handler) -> None:
        """Give the root logger its first handler, and the level that it has elsewhere."""
        self._give_back_root()
        logging.getLogger().addHandler(handler)

    def _give_back_root(self) -> None:
        root = logging.getLogger()
        vars(root).pop("addHandler", None)
        if root.level is _UNTOLD:
            root.setLevel(logging.WARNING)

    def reclaim(self) -> None:
        """Undo what an application's ``dictConfig`` did to this server's own loggers."""
        ours = logging.getLogger(_OURS)
        ours.handlers[:] = [self._handler]
        ours.setLevel(logging.INFO)
        ours.propagate = False
        for name, logger in logging.root.manager.loggerDict.items():
            if name.split(".")[0] == _OURS and isinstance(logger, logging.Logger):
                logger.disabled = False

    def release(self) -> None:
        """Give ``logging`` back as it was, but for its last resort, which does not wait; safe twice."""
        ours = logging.getLogger(_OURS)
        if self._handler in ours.handlers:
            ours.handlers[:], level, ours.propagate = self._before
            ours.setLevel(level)
        if logging.lastResort is self._handler:
            # Python's own would wait for who reads stderr, and with its lock held: the exit takes that, too.
            logging.lastResort = _SinkHandler(StderrSink(), self._date)
            logging.lastResort.setLevel(logging.WARNING)
            self._give_back_root()
