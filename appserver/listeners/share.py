"""One loop's share of the requests that a receiver reads for all."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from appserver import critical
from appserver.errors import ClientGone
from appserver.listeners import upload
from appserver.listeners.intake import FAILED, Intake, last_words
from appserver.listeners.outbox import Outbox
from appserver.protocols import handoff
from appserver.protocols.handoff import Frames, frame, frames, numbered
from appserver.protocols.mongrel2 import sender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.listeners.mongrel2 import Mongrel2Listener
    from appserver.listeners.rendezvous import Rendezvous
    from appserver.listeners.request import Request
    from appserver.listeners.service import Service
    from appserver.protocols.codec import Piece
    from appserver.protocols.handoff import Frame
    from appserver.protocols.mongrel2 import Message

log = logging.getLogger("appserver.listeners")

_READ, _WRITE = 1, 2  # libev's event bits
_BUFFER = 262144  # bytes read at once; more than a packet has
_BATCH = 16  # packets taken in one turn of the loop
_TRY_AGAIN = 0.01  # seconds after which to try again at the latest while the receiver takes nothing more
_GATHERS = 0.0005  # seconds in which answers wait for those of the same packet
_SMALL = 16384  # bytes up to which copying frames together is cheaper than another send
_UNJOINED = "mongrel2 %s: the next receiver cannot be joined: %s; it is tried again"
_REMEMBERED = 1000  # numbers of requests that were given up before they came


class Share(Intake):
    """Take requests from the receiver when there are cores for them, and give it the answers.

    The origin of a message is the receiver's number. When the receiver dies, what is in hand cannot
    be answered any more; the next one is told to break it off.
    """

    def __init__(self, listener: Mongrel2Listener, service: Service, rendezvous: Rendezvous) -> None:
        super().__init__(listener, service)
        self.draining = False
        self._rendezvous = rendezvous
        self._requests: dict[int, Request] = {}  # in hand
        self._departed: set[int] = set()  # given up before they came
        self._flow_control = False
        self._slow: set[int] = set()  # whose clients do not keep pace
        self._welcome = False  # there is a receiver, which may give us requests
        self._released = False  # it gives us no more
        self._lock = critical.lock()  # of what is written: a watchdog's thread may answer, too
        self._gathered: list[bytes] = []  # frames that wait for those of the same packet
        self._gathering_ends = 0.0  # when no more wait; 0 = none do
        self._blocked: dict[Request, None] = {}  # that wait until the outbox is empty
        self._orphaned = b""  # what the next receiver has to know of the one before
        self._told = False  # that it cannot be joined
        self._join()

    def _join(self) -> None:
        self._packets, self._stream = self._rendezvous.join(self.cores.count)
        self._outbox = Outbox(self._stream.fileno())
        self._frames = Frames()
        self._packet_watcher = self.loop.io(self._packets.fileno(), _READ)
        self._stream_watcher = self.loop.io(self._stream.fileno(), _READ)
        self._write_watcher = self.loop.io(self._stream.fileno(), _WRITE)
        self._packet_watcher.start(self._take_packets)
        self._stream_watcher.start(self._hear)

    def _part(self) -> None:
        for each in (self._packet_watcher, self._stream_watcher, self._write_watcher):
            each.stop()
            each.close()
        self._packets.close()
        self._stream.close()
        self._outbox = Outbox(-1)  # whose descriptor may be another's from now on
        self._welcome = False

    def put_off(self) -> None:
        if self._packets.fileno() >= 0:
            for each in (self._packet_watcher, self._stream_watcher, self._write_watcher):
                each.stop()
        super().put_off()

    def resume(self) -> None:
        if self._packets.fileno() < 0:
            self._join_next()
            return
        self._packet_watcher.start(self._take_packets)
        self._stream_watcher.start(self._hear)
        self._write_watcher.start(self._write_more)

    # What comes

    def _take_packets(self) -> None:
        """Take requests as long as there are cores for them."""
        try:
            for _ in range(_BATCH):
                if self.cores.full():
                    self._packet_watcher.stop()
                    self.cores.when_free(self._go_on)
                    return
                if not self._take_packet():
                    return
        except Exception:
            self.put_off()
            log.exception(FAILED, self.listener.pull)

    def _take_packet(self) -> bool:
        """Take a packet; return False where there is none."""
        try:
            packet = self._packets.recv(_BUFFER)
        except BlockingIOError:
            return False
        except ConnectionError:
            packet = b""
        if not packet:  # the receiver has gone; its stream tells
            self._packet_watcher.stop()
            return False
        found = frames(packet)
        if len(found) > 1:
            self._gathering_ends = monotonic() + _GATHERS
        for each in found:
            self._obey(each)
        if self._gathering_ends:
            self._gathering_ends = 0.0
            self._write(b"")
        return True

    def _go_on(self) -> None:
        """Take packets again; one at once, though the cores may be full: it is this listener's turn."""
        if not self._released and self._packets.fileno() >= 0:
            try:
                self._packet_watcher.start(self._take_packets)
                self._take_packet()
            except Exception:
                self.put_off()
                log.exception(FAILED, self.listener.pull)

    def _hear(self) -> None:
        """Take what comes over the stream."""
        try:
            try:
                data = self._stream.recv(_BUFFER)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            except OSError:  # the next one is still to be joined
                return
            if not data:
                self._lose_receiver()
                return
            for each in self._frames.feed(data):
                self._obey(each)
        except Exception:
            self.put_off()
            log.exception(FAILED, self.listener.pull)

    def _obey(self, told: Frame) -> None:
        try:
            if told.kind == handoff.REQUEST:
                if not self.take(told.data, told.number):
                    self._write(frame(handoff.END, told.number))
            elif told.kind in {handoff.NOTICE, handoff.BODY}:
                self.take(told.data, told.number)
            elif told.kind == handoff.GONE:
                self._forget(told.number)
            elif told.kind == handoff.WAIT:
                if told.number in self._requests:
                    self._slow.add(told.number)
            elif told.kind == handoff.GO_ON:
                self._slow.discard(told.number)
                if (request := self._requests.get(told.number)) is not None:
                    request.go_on()
            elif told.kind == handoff.FLOW:
                self._flow_control = told.number > 0
            elif told.kind == handoff.WELCOME:
                self._welcome = True
            elif told.kind == handoff.FAREWELL:
                self._released = True
        except Exception:  # gevent would stop the watcher
            if told.kind == handoff.REQUEST and told.number not in self._requests:
                self._write(frame(handoff.CLOSE, told.number))
            log.exception("mongrel2 %s: what the receiver says cannot be done", self.listener.pull)

    def _forget(self, number: int) -> None:
        """Note that nobody waits for an answer any more."""
        request = self._requests.get(number)
        if request is not None:
            request.depart()
        else:
            if len(self._departed) >= _REMEMBERED:
                self._departed.clear()
            self._departed.add(number)

    def _lose_receiver(self) -> None:
        """End, where that was to come; else break off what is in hand and join the next receiver.

        Who is leaving joins only to tell what was in hand: there may be no next one.
        """
        orphans = self._orphans()
        if self._released or (self.draining and not orphans):
            self._released = True
            self._packet_watcher.stop()
            self._stream_watcher.stop()
            return
        log.error("mongrel2 %s: the receiver has gone; requests in hand are given up", self.listener.pull)
        self._requests.clear()
        self._departed.clear()  # the next one counts from 1 again
        self._slow.clear()
        self._flow_control = False
        self._part()
        self._orphaned = orphans
        self._join_next()

    def _join_next(self) -> None:
        """Join the next receiver, now or once there are the means."""
        try:
            self._join()
        except OSError as error:
            if not self._told:
                self._told = True
                log.error(_UNJOINED, self.listener.pull, error)  # noqa: TRY400  (where is known)
            self.put_off()
            return
        self._told = False
        orphans, self._orphaned = self._orphaned, b""
        if self.draining:
            self._released = True
            self._packet_watcher.stop()
            self._stream_watcher.stop()
            orphans += self._leaving()
        self._write(orphans)

    def _orphans(self) -> bytes:
        """Give up what is in hand or has not been taken, and return what the next receiver has to know."""
        found = b""
        for request in self._requests.values():
            if not request.gone and not request.ended:
                request.depart()
                found += frame(handoff.ORPHAN, request.begun, b"%b %b " % request.client)
        options = self.listener.mongrel2
        while packet := self._unread():
            for each in frames(packet):
                client = sender(each.data) if each.kind == handoff.REQUEST else None
                if client is not None:
                    upload.discard(each.data, options.mongrel2_upload_dir, options.mongrel2_chroot)
                    found += frame(handoff.ORPHAN, 0, b"%b %b " % client)
        return found

    def _unread(self) -> bytes:
        try:
            return self._packets.recv(_BUFFER)
        except OSError:
            return b""

    # What goes

    def _write(self, data: bytes) -> bool:
        """Send frames, in pieces if the receiver has no room for them; return False after its end.

        The answers of a packet's requests go together, as long as they are made in no time: each send
        wakes the receiver.
        """
        with self._lock:
            if len(data) < _SMALL and self._gathering_ends and monotonic() < self._gathering_ends:
                self._gathered.append(data)
                return True
            if self._gathered:
                data = b"".join([*self._gathered, data])
                self._gathered.clear()
            if not data:
                return True
            waits = bool(self._outbox)
            self._outbox.put([data])
            if waits:
                return True
            try:
                self._outbox.flush()
            except OSError:
                self._outbox.clear()
                return False
            if self._outbox:
                self.loop.run_callback_threadsafe(self._wait_for_room)
            return True

    def _wait_for_room(self) -> None:
        if self._packets.fileno() >= 0:
            self._write_watcher.start(self._write_more)

    def _write_more(self) -> None:
        try:
            with self._lock:
                try:
                    self._outbox.flush()
                except OSError:
                    self._outbox.clear()
                if not self._outbox:
                    self._write_watcher.stop()
                    blocked, self._blocked = self._blocked, {}
                    for request in blocked:
                        self.loop.run_callback(request.go_on)
        except Exception:
            self.put_off()
            log.exception(FAILED, self.listener.pull)

    # The intake

    def submit(self, request: Request) -> None:
        self._requests[request.origin] = request
        if request.origin in self._departed:
            self._departed.discard(request.origin)
            request.gone = True
        self.cores.run(request)

    def notice(self, message: Message, origin: int, raw: bytes) -> None:
        if message.notice == "disconnect":
            self._forget(origin)

    def send(self, request: Request, pieces: Sequence[Piece], last: bool) -> None:
        if self.cores.count == 1:
            self._hear()  # what the application may have kept the loop from
        while not self.try_send(request, pieces, last):
            self._blocked[request] = None
            request.wait(_TRY_AGAIN)

    def try_send(self, request: Request, pieces: Sequence[Piece], last: bool) -> bool:
        if request.gone:
            raise ClientGone
        if self._outbox and not request.ended:  # else a watchdog answers, who tries only once
            if request.switched:  # whose frames its timer would try again, all together and much later
                self._blocked[request] = None
            return False
        kind = handoff.PIECE
        if last and request.closes:
            kind = handoff.LAST_CLOSE if pieces else handoff.CLOSE
        elif last:
            kind = handoff.LAST if pieces else handoff.END
        if not self._write(frame(kind, request.origin, b"".join(pieces))):
            return False  # the receiver has gone, as `_hear` will tell
        request.begun = True
        return True

    def order(self, request: Request, message: bytes) -> bool:
        self._write(frame(handoff.ORDER, request.origin, message))
        return True

    def proceed(self, piece: Message, origin: int, raw: bytes) -> None:
        request = self._requests.get(origin)
        if request is not None:
            request.feed(piece)

    def take_frame(self, message: Message, origin: int) -> None:
        request = self._requests.get(origin)
        if request is not None:
            request.take_frame(message)
        else:  # of a WebSocket that has ended, or of none
            words = last_words(message)
            self._write(frame(handoff.LAST_CLOSE if words else handoff.CLOSE, origin, words))

    def switch(self, request: Request) -> None:
        self._write(frame(handoff.SWITCHED, request.origin))

    def send_together(self, requests: list[Request], data: bytes) -> list[Request]:
        if self._outbox or not self._write(numbered([each.origin for each in requests], data)):
            return requests
        return []

    def credited(self, request: Request) -> bool:
        return self._flow_control

    def accounted(self, request: Request) -> bool:
        return True  # by the receiver, if at all

    def learn(self, origin: int) -> None:
        self._flow_control = True

    def held_up(self, request: Request) -> bool:
        return request.origin in self._slow

    def end(self, request: Request) -> None:
        """Make room for the next request."""
        self._slow.discard(request.origin)
        if self._requests.get(request.origin) is request:  # not another one, of the next receiver
            if not request.ended:
                self._write(frame(handoff.END, request.origin))
            del self._requests[request.origin]
        self.in_hand -= 1  # last: where this raises it is called again

    def drain(self) -> None:
        """Go on until the receiver says that there is no more; who has had none yet can end at once."""
        self.draining = True
        self._hear()
        self._write(self._leaving())
        self._released = self._released or not self._welcome

    def _leaving(self) -> bytes:
        return frame(handoff.LEAVE, int(self.service.orphaned()))

    def busy(self) -> int:
        """Return the requests in hand, or 1 while more may come."""
        return self.in_hand or int(not self._released)

    def close(self) -> None:
        """Release the sockets; safe twice."""
        super().close()
        if self._packets.fileno() >= 0:
            self._part()
