"""Answers without a known end, such as server-sent events: found when a worker stops, and ended.

They are found on the stacks of the cores, so that they cost nothing before. Each is ended as one that
has failed is: its front end sees it cut, never whole.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, NoReturn

from gevent import get_hub

from appserver import stacks
from appserver.interrupt import interrupt
from appserver.protocols.upgrade import Upgrade
from appserver.wsgi import Ended

if TYPE_CHECKING:
    from appserver.cores.contract import Cores
    from appserver.exchange import Channel, Exchange
    from appserver.protocols.codec import Piece

log = logging.getLogger("appserver")

_GRACE = 1.0  # seconds that the application has to leave its answer before its client is let go


class _LastWord:
    """In the place of an answer's channel: it takes the end, if that comes by itself, and nothing else."""

    gone = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.abort, self.refused, self.give_up = channel.abort, channel.refused, channel.give_up

    def send(self, pieces: list[Piece], more: bool) -> None:
        if more:
            raise Ended
        self._channel.send(pieces, more)

    def send_file(self, fd: int, offset: int, count: int) -> NoReturn:
        raise Ended


class Streams:
    """The answers without a known end that run in the cores of this thread's loop."""

    def __init__(self, cores: Cores) -> None:
        self._cores = cores
        self._loop = get_hub().loop
        self._since: dict[Exchange, float] = {}  # those that shall end; since when

    def end(self) -> None:
        """End those that there are now; to be called again while there may be more.

        A greenlet that waits is interrupted at once, what runs at its next piece. An application that
        does neither loses its client, and is left to the end of its process.
        """
        now = monotonic()
        for frame, waiting in self._cores.stacks():
            call = stacks.call_on(frame)
            if call is None or not _is_stream(call.x):
                continue
            if isinstance(call.x, Upgrade):
                self._end_frames(call.x, now, waits=waiting is not None)
                continue
            since = self._since.get(call.x)
            if since is None:
                self._since[call.x] = now
                log.info("%s is ended, as this worker stops", stacks.request_line(call.x))
                call.x.channel = _LastWord(call.channel)
                if waiting is not None:
                    self._loop.run_callback(interrupt, call.x, Ended)
            elif now - since > _GRACE and not call.channel.gone:
                log.warning("%s does not end and loses its client", stacks.request_line(call.x))
                call.channel.give_up()

    def _end_frames(self, x: Upgrade, now: float, *, waits: bool) -> None:
        """Tell the client, and end what the application does besides once that has had time to notice."""
        since = self._since.get(x)
        if since is None:
            self._since[x] = now
            log.info("%s is ended, as this worker stops", stacks.request_line(x))
            if x.go_away is not None:
                x.go_away()
        elif now - since > _GRACE:
            self._since[x] = now
            if waits:
                self._loop.run_callback(interrupt, x, Ended)


def _is_stream(x: Exchange) -> bool:
    return x.begun and not x.ended and x.length is None
