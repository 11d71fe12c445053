"""Mongrel2 over ZeroMQ: requests are pulled, answers are published.

Every thread that serves has a `Subscription` with a PULL socket of its own; all share one
`Responder`. Mongrel2 deals its messages out in turn to whoever is connected, notices included.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Self

import zmq
from gevent import get_hub

from appserver.address import AddressError
from appserver.listeners.responder import Responder
from appserver.listeners.stream import StreamOptions
from appserver.listeners.subscription import Subscription
from appserver.listeners.turns import Turns
from appserver.options import BadValue, option

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.listeners.listener import Service
    from appserver.options import Settings

log = logging.getLogger("appserver.listeners")

_DETAILS = re.compile(r"b?'[^']*'|b?\"[^\"]*\"|\d+")


def specs(text: str) -> str:
    """Convert ``zeromq``: the endpoints of Mongrel2's send_spec and recv_spec."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(re.fullmatch(r"(tcp|ipc|inproc)://.+", part) for part in parts):
        raise BadValue("Mongrel2's send_spec,recv_spec, such as tcp://127.0.0.1:9999,tcp://127.0.0.1:9998")
    return ",".join(parts)


@dataclass(frozen=True)
class Mongrel2Options:
    """Mongrel2."""

    zeromq: tuple[str, ...] = option(
        (), "Serve Mongrel2: pull from the first endpoint, answer to the second.",
        aliases=("zmq", "zeromq-socket", "zmq-socket", "mongrel2"), convert=specs,
        expects="send_spec,recv_spec", mounts=True,
    )  # fmt: skip
    mongrel2_upload_dir: str = option(
        "",
        "The directory of Mongrel2's upload.temp_store, as this server sees it.",
        expects="directory",
        note="own",
    )
    mongrel2_chroot: str = option(
        "",
        "The directory that Mongrel2 has for its root, as this server sees it.",
        expects="directory",
        note="own",
    )
    mongrel2_script_name: bool = option(
        False, "Make SCRIPT_NAME of the route that Mongrel2 has chosen.", note="own"
    )


class Mongrel2Listener:
    """Attach to one Mongrel2 server."""

    name: ClassVar[str] = "mongrel2"
    Options: ClassVar[type] = Mongrel2Options
    subscribes: ClassVar[bool] = True

    def __init__(self, spec: str, settings: Settings) -> None:
        self.spec = spec
        self.settings = settings
        self.address = specs(spec)
        self.pull, self.publish = self.address.split(",")
        self.options = settings.of(Mongrel2Options)
        stream = settings.of(StreamOptions)
        self.limit_post = stream.limit_post
        self._timeout = stream.socket_timeout
        self.turns = Turns()
        self.strange: Counter[str] = Counter()  # malformed messages of nobody, by kind
        self._lock = Lock()
        self._context: zmq.Context[Any] | None = None
        self._responder: Responder | None = None
        self._subscriptions: dict[Any, Subscription] = {}  # by the hub of their thread

    def bind(self, passed: dict[str, int]) -> None:
        """Check the endpoints; Mongrel2 is who binds. Raise `AddressError`."""
        with zmq.Context() as context:
            for endpoint in (self.pull, self.publish):
                # No PULL: Mongrel2 could deal it requests, which would be lost with it.
                with context.socket(zmq.XPUB) as socket:
                    socket.linger = 0
                    try:
                        socket.connect(endpoint)
                    except zmq.ZMQError as error:
                        why = zmq.strerror(error.errno or 0)
                        raise AddressError(f"cannot connect to {endpoint}: {why}", self.address) from None

    def take_over(self, other: Self) -> None:
        """Do nothing: every thread connects by itself."""

    def attendant(self) -> Callable[[int], int] | None:
        """Return None: every thread connects by itself."""
        return None

    def refuse(self) -> None:
        """Do nothing: what Mongrel2 has dealt to a connection is lost without it."""

    def start(self, service: Service) -> None:
        """Subscribe in this thread's loop."""
        with self._lock:
            if self._context is None or self._responder is None:
                self._context = zmq.Context()
                self._responder = Responder(self._context, self.publish, self._timeout)
            hub = get_hub()
            self._subscriptions[hub] = Subscription(self, service, self._context, self._responder)

    def stop(self) -> None:
        """Read and answer until nothing comes any more; Mongrel2 would lose what is queued for us."""
        subscription = self._subscriptions.get(get_hub())
        if subscription is not None:
            subscription.drain()

    def busy(self) -> int:
        """Return the requests in hand, or 1 while more may come."""
        subscription = self._subscriptions.get(get_hub())
        return subscription.busy() if subscription is not None else 0

    def close(self) -> None:
        """Close this thread's socket, and with the last one what all share."""
        with self._lock:
            subscription = self._subscriptions.pop(get_hub(), None)
            if subscription is not None:
                subscription.close()
            if self._subscriptions or self._context is None or self._responder is None:
                return
            self._responder.close()
            self._context.term()
            self._context = self._responder = None
        for kind, count in self.strange.items():
            log.warning("mongrel2 %s: %d messages were malformed: %s", self.pull, count, kind)

    def count(self, reason: str) -> None:
        """Count a message that nobody can be told about; log the first of its kind."""
        kind = _DETAILS.sub("…", reason)
        if kind not in self.strange and len(self.strange) < 100:
            log.warning("mongrel2 %s: a message was dropped: %s", self.pull, reason)
        self.strange[kind if len(self.strange) < 100 else "others"] += 1
