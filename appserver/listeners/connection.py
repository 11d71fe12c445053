"""One connection of a stream listener, from its first byte to its end.

A small state machine that the loop's callbacks drive, so that an idle connection costs no
greenlet and a slow one no core: a request is read whole before the application is called, unless
its body is streamed, and what the kernel does not take of an answer at once is sent by the loop.

    HEAD -> BODY -> RUN -> FLUSH -> HEAD ...
            HEAD -> RUN -> FLUSH -> SKIP -> HEAD ...    (streamed: what the application left is skipped)
            HEAD -> RUN -> SWITCHED -> DRAIN            (WebSocket: frames both ways)
      any of them -> FLUSH -> DRAIN -> CLOSED           (refused: the peer can read why)
"""

from __future__ import annotations

import logging
import os
import select
from contextlib import suppress
from io import BytesIO
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

from appserver.errors import BodyError
from appserver.interrupt import cancel
from appserver.listeners.channel import (
    BODY,
    CLOSED,
    DRAIN,
    FLUSH,
    HEAD,
    RECV,
    RUN,
    SKIP,
    SWITCHED,
    Channel,
)
from appserver.listeners.ending import say_last, shut_writing
from appserver.listeners.inlet import Inlet
from appserver.listeners.stream_wire import offer
from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BAD_REQUEST, OVERDUE, SKIPPED, UNSERVED
from appserver.protocols.upgrade import Upgrade
from appserver.websocket.environ import clear

if TYPE_CHECKING:
    from appserver.exchange import Exchange
    from appserver.listeners.stream import StreamListener
    from appserver.protocols.codec import Codec

log = logging.getLogger("appserver.listeners")

# The real ones, also where gevent replaces them later: its own wait for a turn of the loop.
_recv: Final = os.read
_close: Final = os.close
_poll: Final = select.poll
_READ: Final = 1  # libev's event bit
_LAST_CHANCE: Final = 1.0  # seconds for a request on a connection that the peer believes is kept
_LINGER: Final = 2.0  # seconds that a refused peer has to stop sending
_AT_ONCE: Final = 14600  # bytes that TCP sends before it hears of any (RFC 6928)
_BACKLOG: Final = 65536  # bytes of next requests beyond which no more are taken while an answer is made

_UNREADABLE: Final = "%s: a request cannot be read"
_SLOW = ProtocolError("408 Request Timeout", "The request did not come in time.")


class Connection(Channel):
    """An accepted connection: also the task of its request and the channel of its answer."""

    __slots__ = ("backlog", "head_until", "skipped")

    def __init__(self, listener: StreamListener, fd: int, codec: Codec) -> None:
        self.listener = listener
        self.service = listener.service
        self.fd = fd
        self.codec = codec
        self.breaks = False
        self.state = HEAD
        self.keep = True  # this server would keep it
        self.gone = False  # nobody reads answers any more
        self.failed = False  # the answer cannot be finished
        self.x = None
        self.inlet = None  # of the request that has a body
        self.skipped = 0  # bytes of a body that nobody reads
        self.backlog = b""  # bytes that came while an answer was made, and then frames
        self.wire = None  # of the request that asks for a WebSocket
        self.sender = None  # of what the kernel has not taken; made when it does not
        self.reader = None
        self.running = False  # a core has the request
        self.deadline = inf  # in monotonic() seconds
        self.head_until = inf  # when a head that has begun must be whole
        listener.connections.add(self)

    @property
    def spare(self) -> bool:
        """Whether it may make room for others: between two requests, before the first, or refused."""
        return (self.state == DRAIN and self.wire is None) or (self.state == HEAD and not self._begun)

    @property
    def _begun(self) -> bool:
        """Whether a part of the next request has come."""
        return self.codec.partial or self.codec.buffer != b""

    # Reading: callbacks of the loop

    def readable(self) -> None:
        """Take what has come."""
        try:
            size = RECV if self.inlet is None else self.inlet.room
            try:
                data = _recv(self.fd, size)
            except BlockingIOError:
                self._read()
                return
            except OSError:
                self.gone = self.state != RUN or self.x is None or not self.x.ended
                data = b""
            if self.state == HEAD or self.state == BODY:
                if data:
                    self._take(data, len(data) == size)
                else:
                    self._cut()
            elif self.state == DRAIN:
                if not data:
                    self.close()
            elif (x := self.x) is not None and x.body_left:
                if data:
                    self._take_rest(x, data)
                else:
                    self._end_rest(x)
            else:
                self._overhear(data)
        except Exception:  # gevent would stop the watcher, and nobody end the connection
            log.exception(_UNREADABLE, self.listener.name)
            self.cut()

    def _take(self, data: bytes, more: bool = False) -> None:
        """Go on with the request that is being read; with *more* the rest may wait already."""
        codec = self.codec
        try:
            x = self.x
            if x is None:
                x = codec.receive(data)
                data = b""
                self.x = x
            if x is not None and x.body_left:
                if self.inlet is None:
                    self.state = BODY
                    self.inlet = Inlet(self, x)
                self.inlet.take(data)
                if more and x.body_left and not self.inlet.streams and not codec.behind:
                    self.inlet.read_on(self.fd)
        except ProtocolError as error:
            self._refuse(error)
            return
        except Exception:  # a defect of the codec: gevent would stop the watcher, or accepting
            log.exception(_UNREADABLE, self.listener.name)
            self._refuse(UNSERVED)
            return
        if codec.replies:
            self._reply()
        if x is None:
            self._read(codec.behind)
        elif not x.body_left or (self.inlet is not None and self.inlet.streams):
            self._submit(x)
        else:
            self._ask(x)
            self._read(codec.behind)

    def _ask(self, x: Exchange) -> None:
        """Invite the client to send the body, where it waits for that and the answer has not begun."""
        if x.expect and not x.begun:
            x.expect = False
            self.put([self.codec.ask(x)])

    def wanted(self, x: Exchange) -> bool:
        """Read on in a streamed body, because the application waits; return False where nothing can come."""
        if self.state != RUN or self.gone:
            return False
        self._ask(x)
        self.watch()
        return True

    def _take_rest(self, x: Exchange, data: bytes) -> None:
        """Go on with a streamed body, which the application reads, or has left."""
        inlet = self.inlet
        x.expect = False  # it did not wait to be asked
        try:
            if inlet is not None:
                inlet.take(data)
            else:
                self.codec.receive_body(x, data)
        except ProtocolError as error:
            self._spoil(x, error)
            return
        except Exception:
            log.exception(_UNREADABLE, self.listener.name)
            self._spoil(x, UNSERVED)
            return
        if self.codec.replies and not (self.running and (x.ended or self.service.cores.native)):
            self._reply()  # else behind the answer: a thread may be in the middle of a record
        if self.state == SKIP:
            self.skipped += len(data)
            if not x.body_left:
                self._next()
                return
            if self.skipped > SKIPPED:
                self.linger()
                return
        if inlet is not None and inlet.full:
            self.mute()
        elif not self.reader.active or (x.body_left and self.codec.behind):
            self.watch()

    def _end_rest(self, x: Exchange) -> None:
        """End a streamed body of which nothing more comes."""
        self.keep = x.keep_alive = False
        self.reader.stop()
        self._leave()
        if self.inlet is not None:
            self.inlet.leave()
        if self.state == SKIP:
            self.close()

    def _spoil(self, x: Exchange, error: ProtocolError) -> None:
        """Read no further in a streamed body that is no good."""
        self.reader.stop()
        self.skipped = SKIPPED + 1
        x.keep_alive = False
        if self.state == SKIP:
            self.linger()
        elif not error.answer:  # the front end has given the request up
            self.gone = True
            self._leave()
        elif self.inlet is not None:
            self.inlet.fail(BodyError(error.status, f"{error.reason} {error.hint}".rstrip()))

    def _read(self, behind: bool = False) -> None:
        """Wait for more, or for a turn where the codec is *behind* with what has come."""
        if self.gone:
            self.close()
            return
        limits = self.listener.limits
        now = monotonic()
        if self.inlet is not None:
            self.deadline = self.inlet.until()
        elif self.codec.buffer or self.codec.partial:
            self.head_until = min(self.head_until, now + limits.head)
            self.deadline = min(self.head_until, now + limits.pause)
        elif self.keep:
            self.deadline = now + limits.idle
        else:
            self.deadline = now + _LAST_CHANCE
        if self.reader is None or behind or not self.reader.active:
            self.watch()

    def watch(self) -> None:
        """Read on when something comes; not before what has come is taken, by and by with that of others."""
        if self.reader is None:
            self.reader = self.listener.loop.io(self.fd, _READ)
        else:
            self.listener.muted.discard(self)
        if self._behind:
            self.reader.stop()
            self.listener.quantum.wait(self)
        elif not self.reader.active:
            self.reader.start(self.readable)

    @property
    def _behind(self) -> bool:
        """Whether more can be taken of the request that has come in part."""
        if self.state == HEAD or self.state == BODY:
            return self.codec.behind
        x = self.x
        return RUN <= self.state <= SKIP and x is not None and x.body_left != 0 and self.codec.behind

    def take_turn(self) -> None:
        """Take a part of what has come."""
        x = self.x
        if self.state == SWITCHED:
            assert self.wire is not None
            self.wire.take_turn()
        elif not self._behind:
            return  # it has ended while it waited
        elif self.state == HEAD or self.state == BODY:
            self._take(b"")
        elif x is not None:
            self._take_rest(x, b"")

    def hear(self) -> None:
        """Find out what the peer says while an answer takes long, the end above all."""
        if self.state == RUN and (self.reader is None or not self.reader.active):
            if self._ahead > _BACKLOG:
                self.mute()
            else:
                self.watch()

    @property
    def _ahead(self) -> int:
        """How many bytes of next requests are kept."""
        return len(self.backlog) + len(self.codec.buffer)

    def mute(self) -> None:
        """Read no more for now; `look` tells of the peer's end, which stands behind what is not read."""
        if self.reader is not None:
            self.reader.stop()
        self.listener.muted.add(self)

    def look(self) -> None:
        """Find out whether the peer has gone, while nothing is read of what it says."""
        wire = self.wire if self.state == SWITCHED else None
        poll = _poll()
        spared = wire is None and self.listener.options.ignore_client_abort
        poll.register(self.fd, 0 if spared else select.POLLRDHUP)
        if poll.poll(0):
            self.listener.muted.discard(self)
            if wire is not None:
                wire.left()
            else:
                self.keep = False
                self._leave()

    def _cut(self) -> None:
        """End a connection whose peer says no more, perhaps in the middle of a request."""
        if self.gone or (self.state == HEAD and not self._begun):
            self.close()
        else:
            self._refuse(ProtocolError(BAD_REQUEST, "The request ends in its middle.", self.state == BODY))

    def _overhear(self, data: bytes) -> None:
        """Keep what comes while an answer is made; something in it may end the answer."""
        if not data:
            self.reader.stop()
            if self.gone or not self.listener.options.ignore_client_abort:
                self.keep = False
                self._leave()
            elif not self.backlog and not self.codec.buffer:  # else its end is found again behind those
                self._keep_no_more()
            return
        self.backlog += data
        if self.codec.aborted(self.backlog):
            self.gone = True
            self._leave()
        if self._ahead > _BACKLOG:
            self.mute()

    def _leave(self) -> None:
        """End the application's call, because nobody waits for its answer, unless that is whole."""
        x = self.x
        if self.state != RUN or x is None or x.ended:
            return
        self.gone = True
        core = x.core
        hears = False  # by what it waits for; what else of the application waits there is another greenlet
        if self.inlet is not None:
            hears = self.inlet.holds(core)
            self.inlet.leave()
        if self.sender is not None and self.sender.paces:
            hears = hears or self.sender.holds(core)
            self.sender.wake()
        if hears:
            x.spared = True
        else:
            self.service.cores.withdraw(self)
            self.listener.loop.run_callback(cancel, x)

    def _refuse(self, error: ProtocolError) -> None:
        """Answer what is no request, and close in a way that lets the peer read the answer."""
        self.listener.refusals.note(f"{error.reason} {error.hint}".rstrip())
        if self.codec.replies:
            self._reply()
        if error.answer:
            answer = self.codec.refuse(error, self.x)
            sent = 0 if self.sender else say_last(self.fd, answer)
            if sent < len(answer):
                self.put([answer[sent:]])
            if self.x is not None and self.service.access is not None:
                self.service.access.line(self.x, error.status[:3], 0.0)
        self.x = None
        self.done()

    # The task: in a core, and after it

    def _submit(self, x: Exchange) -> None:
        """Give the request to a core."""
        environ = x.environ
        if self.inlet is None:
            environ["wsgi.input"] = BytesIO()
        else:
            self.inlet.give_to(environ)
        self.state = RUN
        self.running = True
        self.deadline = inf
        if self.listener.accepting is self:
            self.listener.ready = self
            return
        if self.reader is None:  # accepted lately; others may be, and not by this process
            self.service.cores.run(self)
        else:
            self.service.cores.run_soon(self)
        self.waits()

    def waits(self) -> None:
        """Hear what the peer says meanwhile, unless it is done."""
        x = self.x
        if self.state != RUN or x is None:
            return
        if x.body_left:
            self.watch()
        elif self.reader is None and not self.service.cores.full():
            self.listener.watch_later(self)  # it runs, and most end soon
        elif self.reader is None or not self.reader.active:
            self.hear()

    def work(self) -> None:
        """Make and send the answer."""
        x = self.x
        assert x is not None
        if self.gone:  # before its turn came
            if self.service.access is not None:
                self.service.access.line(x, "499", 0.0)
            return
        if not self.keep:
            x.keep_alive = False
        if self.listener.prepares:
            self.listener.prepare(self, x)
        if type(x) is not Upgrade:
            self.service.respond(x, self)
        elif (error := offer(self, x)) is not None:
            self.service.refuse(x, self, error)
        else:
            self.service.respond(x, self)
            clear(x)

    def refuse(self, error: ProtocolError) -> None:
        """Answer without the application; the connection is kept where that would keep it."""
        x = self.x
        assert x is not None
        if self.gone:
            self.work()  # without it, too
            return
        if not self.keep and self.codec.announces:
            x.keep_alive = False
        self.service.refuse(x, self, error)

    def done(self) -> None:
        """Send the rest of the answer, then take the next request or close."""
        self.running = False
        if self.inlet is not None:
            self.inlet.close()
            self.inlet = None
            x = self.x
            if self.codec.replies and self.state == RUN and not self.gone and x is not None and x.keep_alive:
                self._reply()
        if self.state == CLOSED:
            self.sender = None
            _close(self.fd)
            return
        if self.state == DRAIN:  # given up, or ended while the application's call went on
            return
        if self.state == SWITCHED and self.wire is not None:
            self.wire.finish(failed=self.failed)
            return
        self.wire = None
        self.state = FLUSH
        x = self.x
        if x is not None and x.body_left and not self.skipped:
            self.watch()  # the client may read nothing until it has sent all
        sender = self.sender
        if sender and not self.gone and (self.keep or not self.failed):
            sender.drain()  # a stop does not wait for the rest of what is cut anyway
        else:
            self._finish()

    def give_up(self, direct: bool = False) -> None:
        """Answer in the place of an application that does not come back, and end the connection."""
        x = self.x
        if x is None or self.state not in {RUN, SWITCHED}:
            return
        begun = x.begun
        self.gone = True  # what the application still sends
        if not begun:
            answer = self.codec.refuse(OVERDUE, x)
            if direct:
                with suppress(OSError):
                    os.write(self.fd, answer)
            else:
                self.put([answer])
        if self.service.access is not None:
            self.service.access.line(x, x.status[:3] if begun else OVERDUE.status[:3], 0.0)
        x.logged = True  # should the application come back
        if direct:
            with suppress(OSError):
                self.sever()
            self.listener.loop.run_callback_threadsafe(self._let_go, x, begun)
        else:
            self._let_go(x, begun)

    def _let_go(self, x: Exchange, begun: bool) -> None:
        """End the connection of a request that was given up, unless that has ended by itself."""
        if self.x is not x or self.state not in {RUN, SWITCHED}:
            return
        if self.inlet is not None:
            self.inlet.leave()
        if begun:
            self._reset()
        else:
            self.linger()

    def flushed(self) -> None:
        """Go on, as the client has taken all, or leaves."""
        if self.state == FLUSH:
            self._finish()
        elif self.state == SWITCHED and self.wire is not None:
            self.wire.flushed()
        elif self.state == RUN:  # the peer need not wait for what the application does behind its answer
            if self.breaks and not (self.gone or self._misses(self.x)):
                self._unbreak()
            if self._says_end():
                self._shut()

    def _finish(self) -> None:
        """Go on after an answer that is sent whole, or will not be."""
        x, self.x = self.x, None
        replies = self.gone and self.codec.replies != b""  # who asked for the end waits for a word
        if self.breaks and (replies or not (self.gone or self.failed)):
            self._unbreak()
        if replies:
            self.gone = False
            self._reply()
            if self.sender:
                self.sender.drain()
            else:
                self.linger()
        elif self.gone:
            self._break_off(x)
        elif self.failed:
            self._reset()
        elif x is None or (not x.keep_alive and (self.backlog or self._more_may_come(x))):
            self.linger()
        elif not x.keep_alive:
            if (self.sender is not None or x.sent > _AT_ONCE) and self.codec.goes_on(x):
                self.linger()  # what comes now would have the kernel drop what it has not sent
            else:
                self.close()
        elif not x.body_left or self.codec.multiplexed:
            self._next()
        elif x.body_left > SKIPPED:
            self.linger()
        else:
            self.x = x
            self.state = SKIP
            self.deadline = monotonic() + self.listener.limits.pause
            self.watch()

    def _more_may_come(self, x: Exchange) -> bool:
        """Tell whether the peer may still send what belongs to a request."""
        return (
            x.body_left != 0
            or self.codec.buffer != b""
            or not (self.codec.exact or (x.method in {"GET", "HEAD"} and not self.codec.multiplexed))
        )

    def _next(self) -> None:
        """Take the next request."""
        self.x = None
        self.skipped = 0
        self.head_until = inf
        self.state = HEAD
        data, self.backlog = self.backlog, b""
        if data or self.codec.buffer:
            self._take(data)
        else:
            self._read()

    # The end

    def stop(self) -> None:
        """Finish what has arrived, and what the peer may be sending just now; then close."""
        self._keep_no_more()
        if self.state == HEAD:
            self.readable()

    def _keep_no_more(self) -> None:
        """Have this answer tell that the connection ends, unless its head has said that it is kept."""
        self.keep = False
        x = self.x
        # A thread may be making the head; nothing can come between these two.
        if x is not None and not x.begun:
            x.keep_alive = False

    def expire(self) -> None:
        """End a connection whose time is up, with a 408 where a request has begun."""
        if self.state == BODY or (self.state == HEAD and self._begun):
            self._expire_request()
        elif self.state == RUN:
            self._expire_in_core()
        elif self.state == HEAD:
            self._close_idle()
        elif (self.state == SWITCHED or self.state == DRAIN) and self.wire is not None:
            self.wire.expire()
        elif self.state != FLUSH or self.sender is None or self.sender.late():
            self.cut()

    def _expire_request(self) -> None:
        """Refuse a request that is not whole, unless it only was not read while the loop was held up."""
        if not self._behind and self._has_come():
            self.readable()
            if (self.state != HEAD and self.state != BODY) or self._behind or self.deadline > monotonic():
                return
        self._refuse(_SLOW)

    def _has_come(self) -> bool:
        """Tell whether there is something to be read."""
        poll = _poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))

    def _expire_in_core(self) -> None:
        """End what the application waits for in vain."""
        x, now = self.x, monotonic()
        inlet, sender = self.inlet, self.sender
        if inlet is not None and inlet.limit < now and self._has_come():  # while the loop was held up
            self.readable()
        if inlet is not None and inlet.limit < now:
            inlet.limit = inf
            if x is not None and inlet.waits:
                self._spoil(x, _SLOW)
        if sender is not None and sender.limit < now and sender.late():
            sender.limit = inf
            if sender.paces:
                self._leave()
        self.limited()

    def _close_idle(self) -> None:
        """Close, unless a request has just come."""
        try:
            data = _recv(self.fd, RECV)
        except OSError:
            data = b""
        if data:
            self._take(data)
        else:
            self.close()

    def linger(self) -> None:
        """Close for writing and drain: unread bytes would make the kernel drop our last answer."""
        try:
            shut_writing(self.fd)
        except OSError:
            self.close()
            return
        self.state = DRAIN
        self.deadline = monotonic() + _LINGER
        if self.reader is None:
            self.listener.dry(self)
        else:
            self.watch()

    def dry(self) -> None:
        """Close where the peer has ended its half by now; else wait for that."""
        if self.state != DRAIN:
            return
        try:
            data = _recv(self.fd, RECV)
        except BlockingIOError:
            data = b"later"
        except OSError:
            data = b""
        if data:
            self.watch()
        else:
            self.close()
