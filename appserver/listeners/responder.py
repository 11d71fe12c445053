"""The socket that carries all answers to one Mongrel2, shared by every thread behind a lock."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Final

import gevent
import zmq
import zmq.backend

from appserver import critical
from appserver.endpoint import over_ipv6
from appserver.errors import ClientGone
from appserver.listeners import zeromq

log = logging.getLogger("appserver.listeners")

POLL = 0.05  # seconds between looks for Mongrel2's subscription,
POLL_ATTACHED = 0.25  # and between looks whether it still has it
_RETURN = 100  # milliseconds between an attachment's end and the next one, at least
_FRESH: Final = 0.01  # seconds that a look is good for; a look costs as much as to send
_POLLIN: Final = int(zmq.POLLIN)  # & of the enumeration itself costs half as much as asking
_NOW: Final = int(zmq.DONTWAIT)
# What is around it serves other kinds of sockets, and costs as much again.
_send: Final = zmq.backend.Socket.send
_TRY_AGAIN = 0.01  # seconds between tries while Mongrel2 takes nothing more
_LARGEST = 4096  # bytes of what Mongrel2 may say here, which is what it subscribes to
_GONE = (
    "mongrel2 %s: Mongrel2 has gone, or has taken nothing for 90 s: requests in hand are given up, and"
    " answers that it has not taken are lost, logged or not"
)
_LINGER = 2000  # milliseconds that close may take to hand over what is queued


class Responder:
    """Publish answers to Mongrel2's SUB socket, losing none and giving none to the wrong client.

    An XPUB tells whether Mongrel2 has subscribed (a fresh PUB drops what it sends before that),
    and with XPUB_NODROP it refuses a message at the high-water mark instead of dropping it. With
    XPUB_MANUAL a subscription counts from when we have taken it.

    Mongrel2 numbers its clients from 0 each time it starts, under the same UUID. So an answer
    belongs to one *attachment*, the time from a subscription to its end, and is good for no other:
    it would reach somebody else's browser.
    """

    def __init__(self, context: zmq.Context[Any], endpoint: str, timeout: float) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._lock = critical.lock()
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._socket.setsockopt(zmq.XPUB_MANUAL, 1)  # nothing is for a new one before we know of it
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # what Mongrel2 has not read dies with it
        self._socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST)
        self._socket.setsockopt(zmq.RECONNECT_IVL, _RETURN)
        self._socket.linger = _LINGER
        zeromq.keep(self._socket)
        self._socket.ipv6 = over_ipv6(endpoint)
        self._socket.connect(endpoint)
        self._topics: Counter[bytes] = Counter()
        self._prefixes: tuple[bytes, ...] | None = ()  # of what Mongrel2 wants; None = it wants all
        self._attachment = 0
        self._attachments = 0
        self._looked = 0.0
        self._told: set[bytes] = set()

    @property
    def fd(self) -> int:
        """The descriptor that tells that there may be a new attachment."""
        return int(self._socket.fd)

    def attachment(self) -> int:
        """Return the number of Mongrel2's present attachment, 0 while it does not listen."""
        with self._lock:
            self._take_subscriptions()
            return self._attachment

    def _take_subscriptions(self) -> None:
        # Asking for the events makes libzmq look at its peers; sends alone would not tell.
        self._looked = monotonic()
        while self._socket.get(zmq.EVENTS) & _POLLIN:
            frame = bytes(self._socket.recv(zmq.DONTWAIT))
            topic = frame[1:]
            begins = frame[:1] == b"\1"
            with suppress(zmq.ZMQError):  # it has gone meanwhile, and that is told next
                self._socket.setsockopt(zmq.SUBSCRIBE if begins else zmq.UNSUBSCRIBE, topic)
            if begins:
                if not self._topics or topic in self._topics:
                    self._attachments += 1
                    self._attachment = self._attachments
                self._topics[topic] += 1
                continue
            self._topics[topic] -= 1
            self._topics = +self._topics
            if not self._topics:
                self._attachment = 0
                log.warning(_GONE, self.endpoint)
        self._prefixes = None if b"" in self._topics else tuple(self._topics)

    def try_send(self, message: bytes, attachment: int) -> bool:
        """Send a message if Mongrel2 takes it now; raise `ClientGone` after its attachment's end."""
        with self._lock:
            if monotonic() - self._looked > _FRESH:
                self._take_subscriptions()
            if attachment != self._attachment:
                raise ClientGone
            if self._prefixes is not None and not message.startswith(self._prefixes):
                self._tell_mismatch(message)
                return True
            try:
                _send(self._socket, message, _NOW)
            except zmq.Again:
                return False
            return True

    def send(self, message: bytes, attachment: int) -> None:
        """Send a message, waiting while Mongrel2 is slow; raise `ClientGone` after its end.

        A Mongrel2 that takes nothing for the whole time-out is as good as gone.
        """
        if self.try_send(message, attachment):
            return
        deadline = monotonic() + self._timeout
        while not self.try_send(message, attachment):
            if monotonic() > deadline:
                log.error("mongrel2 %s: Mongrel2 takes no answers", self.endpoint)
                raise ClientGone
            gevent.sleep(_TRY_AGAIN)

    def _tell_mismatch(self, message: bytes) -> None:
        uuid = message.split(b" ", 1)[0]
        if uuid not in self._told:
            self._told.add(uuid)
            log.error(
                "mongrel2 %s: Mongrel2 does not listen to answers for %s: its recv_ident must be "
                "empty or the beginning of its send_ident",
                self.endpoint,
                uuid.decode("latin-1"),
            )

    def close(self) -> None:
        """Close the socket; what is queued is handed over for a while yet. Safe twice."""
        with self._lock:
            self._attachment = 0
            self._looked = inf
            self._socket.close()
