"""The socket that carries all answers to one Mongrel2, shared by every thread behind a lock."""

from __future__ import annotations

import logging
from threading import Lock
from time import monotonic
from typing import Any

import gevent
import zmq

from appserver.exchange import ClientGone

log = logging.getLogger("appserver.listeners")

_PATIENCE = 2.0  # seconds that an answer waits for a Mongrel2 that has just gone or is just coming
_TRY_AGAIN = 0.01
_LINGER = 2000  # milliseconds that close may take to hand over what is queued


class Responder:
    """Publish answers to Mongrel2's SUB socket, losing none.

    An XPUB tells whether Mongrel2 has subscribed (a fresh PUB drops what it sends before that),
    and with XPUB_NODROP it refuses a message at the high-water mark instead of dropping it.
    """

    def __init__(self, context: zmq.Context[Any], endpoint: str) -> None:
        self.endpoint = endpoint
        self._lock = Lock()
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._socket.linger = _LINGER
        self._socket.connect(endpoint)
        self._topics: set[bytes] = set()
        self._lost_at = 0.0  # when the last subscription went
        self._told: set[bytes] = set()

    def subscribed(self) -> bool:
        """Tell whether Mongrel2 listens now."""
        with self._lock:
            self._take_subscriptions()
            return bool(self._topics)

    def _take_subscriptions(self) -> None:
        # Asking for the events makes libzmq look at its peers; sends alone would not tell.
        while self._socket.get(zmq.EVENTS) & zmq.POLLIN:
            frame = bytes(self._socket.recv(zmq.DONTWAIT))
            if frame[:1] == b"\1":
                self._topics.add(frame[1:])
            else:
                self._topics.discard(frame[1:])
                if not self._topics:
                    self._lost_at = monotonic()

    def try_send(self, message: bytes) -> bool:
        """Send a message if Mongrel2 takes it now; raise `ClientGone` once closed."""
        with self._lock:
            if self._socket.closed:
                raise ClientGone
            self._take_subscriptions()
            if not self._topics:
                return False
            if b"" not in self._topics and not message.startswith(tuple(self._topics)):
                self._tell_mismatch(message)
                return True
            try:
                self._socket.send(message, zmq.DONTWAIT)
            except zmq.Again:
                return False
            return True

    def send(self, message: bytes, since: float) -> bool:
        """Send a message for a request taken at *since* (monotonic seconds); wait where needed.

        Return False where Mongrel2 stays away: its clients are gone with it.
        """
        while not self.try_send(message):
            if monotonic() > max(since, self._lost_at) + _PATIENCE and not self._topics:
                return False
            gevent.sleep(_TRY_AGAIN)
        return True

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
            self._socket.close()
