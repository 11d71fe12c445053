"""Our end of Mongrel2's PUSH, for the time of one attachment."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import zmq

from appserver.endpoint import over_ipv6
from appserver.listeners import zeromq
from appserver.listeners.absence import unreachable

log = logging.getLogger("appserver.listeners")

_NOW: Final = int(zmq.DONTWAIT)
_Socket = socket.socket  # the real one, also where gevent replaces it later
_RECONNECT = 30000  # milliseconds that an application may block a thread; see Pull
_QUIET = 0.25  # seconds without a message after which the queue counts as dry
_LULL = 0.005  # seconds without one after which Mongrel2 looks at its peers before it deals again
_LOOKS = 3  # at a connection that has ended before that is told
_EVENTS: Final = (
    zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED
)
_SOON = 1.0  # seconds in which a connection to a Mongrel2 that is there should be made
_PATIENCE = 1.0  # seconds that a stop waits for that; under load it may not come
NOT_ATTACHED = "%s: Mongrel2 has come and nothing can be subscribed to: %s; it is tried again"
_UNREACHABLE = (
    "%s: Mongrel2 listens to answers, but its requests cannot be had: %s: %s; compare zeromq with the"
    " send_spec in mongrel2.conf"
)
_BROKEN_OFF = (
    "%s: Mongrel2's connection to us has ended%s: what it had dealt is lost, and the connection is made again"
)
_TOO_LARGE = ", perhaps for a message larger than zeromq-max-message"


class Pull:
    """Take Mongrel2's messages from one connection, and leave it without losing any.

    When Mongrel2 has gone, what the socket still holds has nobody to be answered; so that no requests
    of the next Mongrel2 get among it, the socket must not connect again by itself before its owner has
    had the time to notice. A message of more than *most* bytes (0 = any) is not taken: who sends one is none
    of Mongrel2's, and disconnected before memory is there for it.
    """

    def __init__(self, context: zmq.Context[Any], endpoint: str, identity: str, most: int = 0) -> None:
        # Once there is a stop: when the last message came, or the owner last had anything to do,
        self.last = 0.0
        self._leave_at = 0.0  # and when it has waited long enough for quiet; 0 = there is none
        self._left = False  # Mongrel2 deals us nothing more
        self._connection = 0  # the descriptor
        self._broken = 0  # looks since it ended by itself
        self._over = False  # it has ended after that, and what came before is to be taken
        self._retries = False  # libzmq connects again by itself
        self.ready = False  # Mongrel2 has dealt to us, or would do so
        self.told = False  # that it is
        self._told_late = False
        self._began = monotonic()
        self._endpoint = endpoint
        self._monitor: zmq.Socket[Any] | None = None
        self._socket = context.socket(zmq.PULL)
        try:
            self._socket.linger = 0
            self._socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT)
            self._socket.setsockopt(zmq.ROUTING_ID, identity.encode())
            self._socket.setsockopt(zmq.MAXMSGSIZE, most or -1)
            zeromq.keep(self._socket)
            self._monitor = self._socket.get_monitor_socket(_EVENTS)
            self._socket.ipv6 = over_ipv6(endpoint)
            self._socket.connect(endpoint)
        except BaseException:  # a socket that is left open keeps its context from ever ending
            self.close()
            raise

    @property
    def fd(self) -> int:
        """The descriptor that tells of messages; it does so once, so all must be taken then."""
        return int(self._socket.fd)

    def take(self) -> bytes | None:
        """Return the next message, None where there is none now."""
        try:
            message: bytes = self._socket.recv(_NOW)
        except zmq.Again:
            if self._over:  # a stop may take longer than libzmq waits before it connects again
                self._over = False
                self._socket.disconnect(self._endpoint)
            return None
        if self._leave_at:
            self.last = monotonic()
            if not self._left and self.last > self._leave_at:
                self._leave()
        return message

    def drain(self) -> None:
        """Have it end, once Mongrel2 deals to others."""
        self.last = monotonic()
        self._leave_at = self.last + _PATIENCE

    def quiet(self) -> bool:
        """Tell whether nothing has come for so long that nothing will; leave in a lull where it shall end."""
        idle = monotonic() - self.last
        if self._leave_at and not self._left and idle >= _LULL:
            self._leave()
        return idle >= _QUIET

    def ended(self) -> bool:
        """Tell, once, that Mongrel2 has ended the connection: what it has sent can be taken now."""
        if not self._left:
            return False
        event = zeromq.next_event(self._monitor)
        ended = event is not None and event[0] == zmq.EVENT_DISCONNECTED
        self._over = self._over or ended
        return ended

    def _leave(self) -> None:
        """Have Mongrel2 deal to others, and lose nothing that it has dealt to us.

        To close the socket would throw away what is queued for it. Half of the connection is closed
        instead: Mongrel2 takes that for its end, and what it has written before still arrives. A lull is
        the best moment: libzmq's PUSH does not look for ends of its peers within a millisecond or so of
        the time it did last, and throws away what it deals to one of them meanwhile. Where none comes, it
        is that just after a message, as the next ones go to others, in turn.
        """
        self._note_events()
        if self._connection:
            self._left = True
            with suppress(OSError):
                half = _Socket(fileno=os.dup(self._connection))
                half.shutdown(socket.SHUT_WR)
                half.close()

    def look(self, name: str, subscribed: str) -> None:
        """Log what has become of the connection; to be called now and then."""
        if self.broken():
            # Where it was Mongrel2 that ended it libzmq has begun to connect again.
            log.error(_BROKEN_OFF, name, "" if self._retries else _TOO_LARGE)
        self.tell(name, subscribed)
        if not self.ready and not self._told_late and monotonic() >= self._began + _SOON:
            self._told_late = True
            log.error(_UNREACHABLE, name, self._endpoint, unreachable(self._endpoint))

    def tell(self, name: str, subscribed: str) -> None:
        """Log, once, that Mongrel2 deals to us: before the first of its messages is taken."""
        if not self.told:
            self._note_events()
            if self.ready:
                self.told = True
                log.info("%s: subscribed as %s", name, subscribed)

    def broken(self) -> bool:
        """Tell, once, that the connection has ended by itself, and had done so at the look before.

        By then it is known whether Mongrel2 has gone; if not, it is connected again: libzmq does not do that
        by itself where it was a message of more than it may have.
        """
        if self._left:
            self._socket.get(zmq.EVENTS)  # libzmq ends what it is told to end while it is asked something
            return False
        self._note_events()
        if not self.ready:
            self._begin_again()
            return False
        if self._connection:
            self._broken = 0
        elif self._broken:
            self._broken += 1
        if self._broken != _LOOKS:
            return False
        if not self._retries:
            self._socket.connect(self._endpoint)
        return True

    def _begin_again(self) -> None:
        """Try again to connect for the first time, where libzmq would not do so for long."""
        if self._broken:
            self._broken += 1
        if self._retries or self._broken == _LOOKS:
            self._retries = False
            self._broken = 0
            with suppress(zmq.ZMQError):  # it may have given the endpoint up
                self._socket.disconnect(self._endpoint)
            self._socket.connect(self._endpoint)

    def _note_events(self) -> None:
        while (event := zeromq.next_event(self._monitor)) is not None:
            if event[0] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.ready = True
                continue
            self._retries = event[0] == zmq.EVENT_CONNECT_RETRIED
            if not self._retries:
                connected = event[0] == zmq.EVENT_CONNECTED
                self._connection = event[1] if connected else 0
                self._broken = 0 if connected else 1

    def close(self) -> None:
        """Release the sockets; what has not been taken is lost."""
        if self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close()
        self._socket.close()
