"""The answering half of a connection, which a core has, and how the connection ends."""

from __future__ import annotations

import os
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Final

from appserver.errors import ClientGone
from appserver.listeners.ending import close_under, end_at_close, hold_back, reset_at_close, shut_writing
from appserver.listeners.outbox import MOST_PIECES
from appserver.listeners.sender import Sender

if TYPE_CHECKING:
    from appserver.exchange import Exchange
    from appserver.listeners.inlet import Inlet
    from appserver.listeners.service import Service
    from appserver.listeners.stream import StreamListener
    from appserver.listeners.stream_wire import StreamWire
    from appserver.protocols.codec import Codec, Piece

# The real ones, also where gevent replaces them later; and compiled they need not be looked for.
_close: Final = os.close
_write: Final = os.write
RECV: Final = 131072  # bytes that are read at once where nothing says how many there should be
_JOINED: Final = 65536  # bytes up to which copying pieces together is cheaper than writev(2)

HEAD: Final = 0
BODY: Final = 1
RUN: Final = 2
FLUSH: Final = 3
SKIP: Final = 4
DRAIN: Final = 5
SWITCHED: Final = 6
CLOSED: Final = 7


class Channel:
    """Send answers over the descriptor *fd* and close it; `Connection`, which reads, makes the attributes."""

    __slots__ = (
        "breaks", "codec", "deadline", "failed", "fd", "gone", "inlet", "keep", "listener", "reader",
        "running", "sender", "service", "state", "wire", "x",
    )  # fmt: skip

    listener: StreamListener
    service: Service
    fd: int
    codec: Codec
    breaks: bool  # the kernel resets it where it is closed, also by the end of the process
    state: int
    keep: bool  # this server would keep it
    gone: bool  # nobody reads answers any more
    failed: bool  # the answer cannot be finished
    x: Exchange | None
    inlet: Inlet | None  # of the request that has a body
    wire: StreamWire | None  # of the request that asks for a WebSocket
    sender: Sender | None  # of what the kernel has not taken; made when it does not
    reader: Any  # the loop's watcher, once there is one
    running: bool  # a core has the request
    deadline: float  # in monotonic() seconds

    def flushed(self) -> None:
        """Go on, as the client has taken all, or leaves."""
        raise NotImplementedError

    def send(self, pieces: list[Piece], more: bool) -> None:
        """Send pieces of the answer; with *more* wait while too much of it is unsent."""
        x = self.x
        if more and not self.breaks:
            self._break_at_end(x)
        if not self.gone:
            if (
                x is not None
                and x.ended
                and ((not x.keep_alive and self.listener.tcp) or not (self.keep or self.codec.announces))
            ):
                self._put_last(x, pieces)
            elif pieces:
                self.put(pieces)
        if self.gone:
            raise ClientGone
        if more:
            if sender := self.sender:
                sender.pace()
            self.service.cores.turn()
            if self.gone:  # that turn has told
                raise ClientGone
        elif (sender := self.sender) and x is not None and x.ended:
            if not self.breaks:
                self._break_at_end(x)
            sender.leave()
        elif self.breaks and x is not None and x.ended:
            self._unbreak()

    def put(self, pieces: list[Piece]) -> None:
        """Send pieces in one system call as far as the kernel takes them; keep the rest."""
        sent = 0
        sender = self.sender
        if not sender:
            if len(pieces) == 1:
                size = len(pieces[0])
            else:
                size = sum(map(len, pieces))
                if size <= _JOINED:
                    pieces = [b"".join(pieces)]
            try:
                if len(pieces) == 1:
                    sent = _write(self.fd, pieces[0])
                else:
                    sent = os.writev(self.fd, pieces[:MOST_PIECES])
            except BlockingIOError:
                pass
            except OSError:
                self.gone = True
                return
            if sender is not None:
                sender.wrote(sent)
            if sent == size:
                return
            if sender is None:
                sender = self.sender = Sender(self)
        sender.put(pieces, sent)

    def limited(self) -> None:
        """Have the earlier of two limits count, as a body may be waited for beside its answer."""
        if self.state != RUN and self.state != FLUSH and self.state != SWITCHED:
            return  # it has one limit, which is another
        inlet, sender = self.inlet, self.sender
        came = inf if inlet is None else inlet.limit
        self.deadline = came if sender is None else min(came, sender.limit)

    def _reply(self) -> None:
        """Send what the protocol itself has to say."""
        replies, self.codec.replies = self.codec.replies, b""
        self.put([replies])

    def _put_last(self, x: Exchange, pieces: list[Piece]) -> None:
        """Send the end of an answer and that of the connection as one.

        Where no answer announces the second, a peer that saw the first without it would send its next
        request, and lose it. With TCP it is a segment less, and we end the connection before the peer does:
        to be the second costs three times as much.
        """
        x.keep_alive = False
        if pieces:
            if self.listener.tcp:
                hold_back(self.fd)  # FIN goes in the last segment
            self.put(pieces)
        if not self.sender and not self.gone:
            self._shut()

    def _says_end(self) -> bool:
        """Tell whether nothing more comes behind an answer, all of which is sent."""
        x = self.x
        return x is not None and x.ended and not (x.keep_alive or self.gone or self.failed)

    def _shut(self) -> None:
        try:
            shut_writing(self.fd)
        except OSError:
            self.gone = True

    def send_file(self, fd: int, offset: int, count: int) -> bool:
        """Send a part of a file by sendfile(2); *fd* may be closed afterwards."""
        if self.gone:
            raise ClientGone
        if self.sender is None:
            self.sender = Sender(self)
        self.sender.put_file(fd, offset, count)
        return True

    def abort(self) -> None:
        """Give the answer up: the front end sees the connection break."""
        self.failed = True

    def refused(self, what: str) -> None:
        """Log that a request is refused for its body, or count it."""
        self.listener.refusals.note(what)

    # The end

    def _reset(self) -> None:
        """Break the connection, so that a cut answer cannot pass for a whole one."""
        self._spoil_end()
        self.close()

    def _spoil_end(self) -> None:
        if self.listener.tcp:
            reset_at_close(self.fd)
        elif self.codec.spoiler and not self.sender:  # else it would be in the middle of something
            self.put([self.codec.spoiler])

    def _break_at_end(self, x: Exchange | None) -> None:
        """Have the kernel break the connection if the process dies in the middle of *x*'s answer."""
        if self.listener.tcp and x is not None and self.codec.ends_by_close(x):
            with suppress(OSError):  # it has ended, which is found out by writing
                reset_at_close(self.fd)
                self.breaks = True

    def _unbreak(self) -> None:
        """Have the connection end in order, as the kernel has all of the answer."""
        self.breaks = False
        with suppress(OSError):
            end_at_close(self.fd)

    def sever(self) -> None:
        """Have the end of the process break it under an answer that is not sent whole; in any thread."""
        if self.state != CLOSED and self.state != DRAIN and self._misses(self.x):
            self._spoil_end()

    def cut(self) -> None:
        """Close at once, and break the connection under an answer that is not sent whole."""
        self._break_off(self.x if self.state != DRAIN else None)

    def _misses(self, x: Exchange | None) -> bool:
        """Tell whether a part of an answer that has begun is not sent."""
        return x is not None and x.begun and (bool(self.sender) or not x.ended)

    def _break_off(self, x: Exchange | None) -> None:
        if self._misses(x):
            self._reset()
        else:
            self.close()

    def close(self) -> None:
        """Release everything; safe twice."""
        if self.state == CLOSED:
            return
        self.state = CLOSED
        self.gone = True
        wire, self.wire = self.wire, None  # it knows this connection
        if wire is not None:
            wire.lost()
        self.listener.connections.discard(self)
        self.listener.muted.discard(self)
        if self.listener.full:
            self.listener.go_on()
        if self.reader is not None:
            self.reader.stop()
            self.reader.close()
        if self.sender is not None:
            self.sender.close()
        if self.running:  # and done ends it
            if self.inlet is not None:
                self.inlet.leave()
            close_under(self.fd, self.listener.null)
            return
        self.sender = None  # likewise; a core may be in it until its call is over
        if self.inlet is not None:
            self.inlet.close()
        _close(self.fd)
