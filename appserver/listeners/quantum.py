"""How long a turn of the loop takes what is dear, such as frames; those left wait in line for the next."""

from __future__ import annotations

import logging
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from appserver.listeners.connection import Connection

log = logging.getLogger("appserver.listeners")

_QUANTUM = 0.01  # seconds; the last connection of a turn may take longer by what it has read
_TURN = 1e-9  # seconds: a timer, so that sockets are looked at in between (see `GreenletCores.turn`)


class Quantum:
    """Have connections take what has come, a part of each in turn, until a turn of the loop is over.

    It is for what is cheap to send and dear to read: frames, small chunks, small records. One that finds
    others in line waits behind them, so that nobody is passed over again and again.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._timer = loop.timer(_TURN)
        self._line: OrderedDict[Connection, None] = OrderedDict()
        self._turn = -1  # the loop's, that
        self._left = 0.0  # is over so many seconds from now

    def take(self, connection: Connection) -> bool:
        """Have *connection* take a part; return False where this turn has had enough."""
        if self._line or not self._any_left():
            return False
        self._serve(connection)
        return True

    def wait(self, connection: Connection) -> None:
        """Have it do so in a later turn, behind those that wait already; safe twice."""
        self._line[connection] = None
        if not self._timer.active:
            self._timer.start(self._go_on)

    def _any_left(self) -> bool:
        turn = self._loop.iteration
        if turn != self._turn:
            self._turn = turn
            self._left = _QUANTUM
        return self._left > 0

    def _serve(self, connection: Connection) -> None:
        began = monotonic()
        try:
            connection.take_turn()
        except Exception:  # the others in line would not be served, and nobody end the connection
            log.exception("%s: what has come cannot be read", connection.listener.name)
            connection.cut()
        self._left -= monotonic() - began

    def _go_on(self) -> None:
        for _ in range(len(self._line)):
            if not self._any_left():
                break
            self._serve(self._line.popitem(last=False)[0])
        if self._line and not self._timer.active:
            self._timer.start(self._go_on)

    def stop(self) -> None:
        """Have nobody's taken any more; safe twice."""
        self._timer.stop()

    def close(self) -> None:
        """Release the timer."""
        self._timer.close()
