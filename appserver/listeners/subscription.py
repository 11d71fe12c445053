"""One thread's subscription to a Mongrel2: its requests and notices, read as they come."""

from __future__ import annotations

import logging
import os
import socket
import threading
from contextlib import suppress
from io import BytesIO
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

import gevent
import zmq
from gevent import get_hub
from zmq.utils.monitor import parse_monitor_message

from appserver.body import too_long
from appserver.listeners import upload
from appserver.listeners.request import Request
from appserver.protocols.codec import ProtocolError
from appserver.protocols.mongrel2 import DONE, START, Message, Mongrel2Codec, parse, sender

if TYPE_CHECKING:
    from appserver.listeners.listener import Service
    from appserver.listeners.mongrel2 import Mongrel2Listener
    from appserver.listeners.responder import Responder

log = logging.getLogger("appserver.listeners")

_ERROR = "500 Internal Server Error"

_Socket = socket.socket  # the real one, also where gevent replaces it later
_READ = 1  # libev's event bit
_BATCH = 64  # messages taken in one turn of the loop
_POLL = 0.05  # seconds between looks for Mongrel2's subscription,
_POLL_ATTACHED = 0.25  # and between looks whether it still has it
_RECONNECT = 30000  # milliseconds that an application may block a thread; see Subscription
_QUIET = 0.25  # seconds without a message after which the queue counts as dry
_PATIENCE = 1.0  # seconds that a stop waits for that; under load it does not come


class Subscription:
    """One thread's connection to Mongrel2's requests.

    It has a PULL socket for each attachment of Mongrel2 (see `Responder`), connected once the
    answers can leave. When Mongrel2 has gone, what the socket still holds has nobody to be
    answered; so that no requests of the next Mongrel2 get among it, the socket must not connect
    again by itself before this thread has had the time to notice.
    """

    def __init__(
        self,
        listener: Mongrel2Listener,
        service: Service,
        context: zmq.Context[Any],
        responder: Responder,
    ) -> None:
        self.listener = listener
        self.cores = service.cores
        self.service = service
        self.responder = responder
        self.loop = get_hub().loop
        self.in_hand = 0
        self.draining = False
        self.last = 0.0  # when the last message came or the last request ended
        self.attachment = 0  # the one that the socket belongs to; 0 without a socket
        base = service.environ | {"appserver.listener": listener.name}
        self.codec = Mongrel2Codec(base, listener.options.mongrel2_script_name)
        self.identity = f"appserver-{os.getpid()}-{threading.current_thread().name}"
        self._context = context
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._leave_at = 0.0  # when a stop has waited long enough for quiet
        self._left = False  # Mongrel2 deals us nothing more
        self._watcher: Any = None
        self._again = self.loop.timer(0.0)
        self._following = gevent.spawn(self._follow)

    def _follow(self) -> None:
        """Attach to Mongrel2 whenever it has come."""
        while True:
            if not self.draining:
                attachment = self.responder.attachment()
                if attachment != self.attachment:
                    self.listener.turns.lost(self.attachment)
                    self._detach()
                    if attachment:
                        self._attach(attachment)
            gevent.sleep(_POLL_ATTACHED if self.attachment else _POLL)

    def _attach(self, attachment: int) -> None:
        self.attachment = attachment
        self._socket = self._context.socket(zmq.PULL)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT)
        self._socket.setsockopt(zmq.ROUTING_ID, self.identity.encode())
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED)
        self._socket.connect(self.listener.pull)
        log.info("mongrel2 %s: subscribed as %s", self.listener.pull, self.identity)
        self._watcher = self.loop.io(self._socket.fd, _READ)
        self._watcher.start(self.read)
        self.read()

    def _detach(self) -> None:
        if self._socket is None:
            return
        self._again.stop()
        self._watcher.stop()
        self._watcher.close()
        self._socket.disable_monitor()
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        self._socket.close()
        self._socket = None
        self.attachment = 0

    def read(self) -> None:
        """Take what waits. The descriptor signals only once, so go on until there is nothing."""
        pull = self._socket
        if pull is None:
            return
        for _ in range(_BATCH):
            try:
                message = pull.recv(zmq.DONTWAIT)
            except zmq.Again:
                return
            self.last = monotonic()
            if self.draining and not self._left and self.last > self._leave_at:
                self._leave()
            try:
                self._take(message)
            except ProtocolError as error:
                self._refuse(message, error)
            except Exception:  # gevent would stop the watcher, and with it every other client
                log.exception("mongrel2 %s: a message cannot be served", self.listener.pull)
                self._refuse(message, ProtocolError(_ERROR, "The request cannot be served."))
        self._again.start(self.read)

    def _take(self, message: bytes) -> None:
        try:
            parsed = parse(message)
        except ProtocolError as error:
            if message.split(b" ", 3)[2:3] != [b"@*"]:
                raise
            self.listener.count(error.reason)  # as good as a notice
            return
        if parsed.path == b"@*":
            notice = parsed.notice
            if notice == "disconnect":
                self.listener.turns.gone((self.attachment, parsed.connection))
            if notice is not None:
                return  # a notice is never answered: Mongrel2 would send another
        fields = parsed.fields
        if START in fields and upload.announced(parsed):
            if DONE in fields:
                self._upload(parsed)
            return  # without an end the file is still growing; an answer now would end the upload
        self._serve(parsed, BytesIO(parsed.body), len(parsed.body))

    def _upload(self, message: Message) -> None:
        options = self.listener.options
        file, size = upload.take(message, options.mongrel2_upload_dir, options.mongrel2_chroot)
        try:
            self._serve(message, file, size)
        except ProtocolError:
            file.close()
            raise

    def _serve(self, message: Message, body: IO[bytes], size: int) -> None:
        x = self.codec.exchange(message, size)
        x.environ["wsgi.input"] = body
        error = None
        if 0 < self.listener.limit_post < size:
            error = too_long(self.listener.limit_post)
            self._warn(error)
        self._submit(Request(self, message.connection, x, body, error))

    def _refuse(self, message: bytes, error: ProtocolError) -> None:
        """Answer what is no request, in its turn, and close its connection."""
        client = sender(message)
        if client is None:
            self.listener.count(error.reason)
            return
        self._warn(error)
        self._submit(Request(self, client, None, error=error))

    def _warn(self, error: ProtocolError) -> None:
        hint = f" {error.hint}" if error.hint else ""
        log.warning("mongrel2 %s: %s%s", self.listener.pull, error.reason, hint)

    def _submit(self, request: Request) -> None:
        self.in_hand += 1
        if self.listener.turns.enter(request):
            self.cores.run(request)

    def next(self, request: Request) -> None:
        """Let the next request of a connection run, in the thread that took it."""
        self.in_hand -= 1
        self.last = monotonic()
        following = self.listener.turns.leave(request)
        if following is not None:
            owner = following.subscription
            if owner is self:
                self.cores.run(following)
            else:
                owner.loop.run_callback_threadsafe(owner.cores.run, following)

    def drain(self) -> None:
        """Go on until Mongrel2 has been quiet for a while, or deals to others."""
        self.draining = True
        self.last = monotonic()
        self._leave_at = self.last + _PATIENCE

    def _leave(self) -> None:
        """Have Mongrel2 deal to others, and lose nothing that it has dealt to us.

        To close the socket would throw away what is queued for it. Half of the connection is closed
        instead: Mongrel2 takes that for its end, and what it has written before still arrives. This
        moment, just after a message, is the best one: the next messages go to others, in turn.
        """
        connection = 0
        while (event := self._next_event()) is not None:
            connection = event[1] if event[0] == zmq.EVENT_CONNECTED else 0
        if connection:
            self._left = True
            with suppress(OSError):
                half = _Socket(fileno=os.dup(connection))
                half.shutdown(socket.SHUT_WR)
                half.close()

    def _next_event(self) -> tuple[int, int] | None:
        """Return what happened to the connection next, with its descriptor; None for nothing new."""
        if self._monitor is None:
            return None
        try:
            event = parse_monitor_message(self._monitor.recv_multipart(zmq.DONTWAIT))
        except zmq.Again:
            return None
        return event["event"], event["value"]

    def busy(self) -> int:
        """Return the requests in hand, or 1 while more may come."""
        if self.draining and not self.in_hand:
            self.read()  # a blocking application may have kept the loop from it
        if self.in_hand:
            return self.in_hand
        return int(not self.draining or not self._dry())

    def _dry(self) -> bool:
        """Whether nothing more can come: it has been quiet, or the connection has ended, and all is read."""
        if monotonic() - self.last >= _QUIET:
            return True
        if not self._left:
            return False
        event = self._next_event()
        if event is not None and event[0] == zmq.EVENT_DISCONNECTED:
            self.read()  # what came before the end
            self.last = 0.0
        return not self.in_hand and monotonic() - self.last >= _QUIET

    def close(self) -> None:
        """Release the socket; safe twice."""
        self._following.kill(block=False)
        self._detach()
        self._again.close()
