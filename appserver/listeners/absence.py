"""Why Mongrel2 does not come, as far as it shows from here."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from time import monotonic
from typing import Any

import zmq

from appserver.endpoint import over_ipv6
from appserver.listeners.zeromq import next_event

log = logging.getLogger("appserver.listeners")

_PATIENCE = 5.0  # seconds that Mongrel2 may be away without a word
_TRIAL = 1.0  # seconds of looking for the reason
_AGAIN = 30000  # milliseconds between connections, of which one is enough
_Socket = socket.socket  # the real one, also where gevent replaces it later
_SWAPPED = "who is there is no recv_spec of Mongrel2's: are send_spec and recv_spec swapped?"


def unreachable(endpoint: str) -> str:
    """Return why nobody can be reached at an endpoint; what would take time is not looked for."""
    scheme, _, path = endpoint.partition("://")
    if scheme == "ipc":
        with _Socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            try:
                sock.connect(path.replace("@", "\0", 1) if path.startswith("@") else path)
            except OSError as error:
                return error.strerror or str(error)
    return "nobody can be reached there"


class Absence:
    """Say once, when Mongrel2 has not come for a while, what it may be.

    A socket of its own finds that out: the responder's is not asked, as who does not read what it tells
    would hold it up.
    """

    def __init__(self, context: zmq.Context[Any], name: str, endpoint: str) -> None:
        self._context = context
        self._name = name
        self._endpoint = endpoint
        self._since = monotonic()
        self._told = False
        self._trial: zmq.Socket[Any] | None = None
        self._monitor: zmq.Socket[Any] | None = None

    def look(self, *, attached: bool) -> None:
        """Look whether Mongrel2 is there; to be called now and then by one thread."""
        now = monotonic()
        if attached:
            self.close()
            self._since, self._told = now, False
        elif self._told or now < self._since + _PATIENCE:
            return
        elif self._trial is None:
            self._begin()
        elif now >= self._since + _PATIENCE + _TRIAL:
            self._told = True
            found = _SWAPPED if self._connects() else unreachable(self._endpoint)
            log.warning("%s: waiting for Mongrel2 at %s: %s", self._name, self._endpoint, found)
            self.close()

    def _begin(self) -> None:
        with suppress(zmq.ZMQError):  # without descriptors there is nothing to be found out
            self._trial = self._context.socket(zmq.XPUB)
            self._trial.linger = 0
            self._trial.setsockopt(zmq.RECONNECT_IVL, _AGAIN)
            self._monitor = self._trial.get_monitor_socket(zmq.EVENT_CONNECTED)
            self._trial.ipv6 = over_ipv6(self._endpoint)
            self._trial.connect(self._endpoint)

    def _connects(self) -> bool:
        event = next_event(self._monitor)
        return event is not None and event[0] == zmq.EVENT_CONNECTED

    def close(self) -> None:
        """Release its sockets; safe twice."""
        if self._trial is not None:
            if self._monitor is not None:
                self._trial.disable_monitor()
                self._monitor.close()
            self._trial.close()
        self._trial = self._monitor = None
