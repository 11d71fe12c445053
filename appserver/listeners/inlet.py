"""The body of one request on its way in: read ahead of the application, or streamed to it."""

from __future__ import annotations

import os
from math import inf
from typing import TYPE_CHECKING, Any

from appserver.body import Body
from appserver.errors import ClientGone
from appserver.listeners.patience import Patience
from appserver.streamed import StreamedBody

if TYPE_CHECKING:
    from greenlet import greenlet

    from appserver.exchange import Exchange
    from appserver.listeners.connection import Connection

_MOST = 262144  # bytes at once: more than a Unix socket holds
_ONE_TURN = 1048576  # bytes to read on in one turn of the loop
_READ_AHEAD = 262144  # bytes of a streamed body that wait for the application


class Inlet:
    """Take what a connection reads of *x*'s body, and say until when more must have come.

    `ProtocolError` says why a body is no good; after that nothing more is to be taken.
    """

    __slots__ = ("_body", "_connection", "_patience", "_x", "limit")

    def __init__(self, connection: Connection, x: Exchange) -> None:
        listener = connection.listener
        options = listener.options
        self._connection = connection
        self._x = x
        self.limit = inf  # when the application has waited for too long; inf = it does not wait
        self._patience: Patience | None = None  # made when it is needed: most bodies come with their heads
        self._body: Body | StreamedBody
        if options.post_buffering:
            self._body = Body(options.post_buffering, options.limit_post, x.body_left)
        else:
            native = connection.service.cores.native
            self._body = StreamedBody(
                options.limit_post, x.body_left, self._wanted, self._rest, native=native
            )

    @property
    def streams(self) -> bool:
        """Whether the application is called before all is there."""
        return type(self._body) is StreamedBody

    @property
    def waits(self) -> bool:
        """Whether the application waits for more."""
        return type(self._body) is StreamedBody and self._body.waiting

    def holds(self, core: greenlet | None) -> bool:
        """Tell whether it is the greenlet *core* that waits for more."""
        return core is not None and type(self._body) is StreamedBody and self._body.waiter is core

    @property
    def full(self) -> bool:
        """Whether enough waits for the application, so that nothing more need be read."""
        return type(self._body) is StreamedBody and self._body.held > _READ_AHEAD

    @property
    def room(self) -> int:
        """How many bytes to read at once: where the body comes as it is, what its last block lacks.

        At its end one more: a connection is not closed over what nobody has read, which would break it.
        """
        body, left, codec = self._body, self._x.body_left, self._connection.codec
        if type(body) is not Body or left <= 0 or not codec.plain or codec.chunks is not None:
            return _MOST
        return body.room if body.room < left else left + 1

    def take(self, data: bytes) -> None:
        """Take bytes."""
        if self._patience is not None:
            self._patience.moved(len(data))
        self._add(data)

    def read_on(self, fd: int) -> None:
        """Take what waits behind a read that was filled: a turn of the loop costs more than a read."""
        total = 0
        while total < _ONE_TURN:
            size = self.room
            try:
                data = os.read(fd, size)
            except OSError:  # the loop finds out
                break
            if data:
                total += len(data)
                self._add(data)
            if len(data) < size or not self._x.body_left or self._connection.codec.behind:
                break
        if self._patience is not None:
            self._patience.moved(total)

    def _add(self, data: bytes) -> None:
        x, body = self._x, self._body
        pieces = self._connection.codec.receive_body(x, data)
        if type(body) is Body:
            for piece in pieces:
                body.add(piece)
            return
        waited, size = body.waiting, body.size  # before a native thread takes what is added
        for piece in pieces:
            body.add(piece)
        if not x.body_left:
            body.end()
        if waited and self._patience is not None:
            if body.size > size or not x.body_left:
                self._rest()
            else:  # only what is around the bytes of a chunk or record
                self._wait()

    def until(self) -> float:
        """Return when more must have come, as of now."""
        if self._patience is None:
            limits = self._connection.listener.limits
            self._patience = Patience(limits, limits.body)
        return self._patience.until()

    def _wanted(self) -> None:
        """Have the connection read on, as the application waits."""
        body = self._body
        if type(body) is not StreamedBody or not body.waiting or body.held:
            return  # a native thread has been given something meanwhile
        if self._connection.wanted(self._x):
            self._wait()
        else:
            self.leave()

    def _wait(self) -> None:
        self.limit = self.until()
        self._connection.limited()

    def _rest(self) -> None:
        """Stop the clock: what the application does now is not up to the client."""
        if self._patience is not None:
            self._patience.rest()
        self.limit = inf
        if self._connection.inlet is self:  # else a native thread has gone on, and the connection, too
            self._connection.limited()

    def give_to(self, environ: dict[str, Any]) -> None:
        """Make the body ``wsgi.input``."""
        body = self._body
        body.give_to(environ)
        if not body.size and self._connection.codec.chunks is not None and not self.streams:
            environ["CONTENT_LENGTH"] = "0"  # of chunks that are none

    def leave(self) -> None:
        """Have reading fail, because the client has gone."""
        self.fail(ClientGone("The client has gone before the end of its body."))

    def fail(self, error: OSError) -> None:
        """Have reading fail where it would go on."""
        if type(self._body) is StreamedBody:
            self._body.fail(error)

    def close(self) -> None:
        """Give the memory or the file back; safe twice."""
        self._body.close()
