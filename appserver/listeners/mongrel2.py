"""Mongrel2 over ZeroMQ: requests are pulled, answers are published.

With ``zeromq-dispatch = worker`` every thread that serves has a `Subscription` with a PULL socket of
its own, and all of a process share one `Responder`. Mongrel2 deals its messages out in turn to whoever
is connected, notices included. With ``shared`` a `Receiver` beside the workers has the connection, and
every thread a `Share` of what comes over it.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from dataclasses import dataclass
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Self

from gevent import get_hub

from appserver.address import AddressError
from appserver.endpoint import absolute, endpoint, exposed, over_ipv6
from appserver.listeners import strays
from appserver.listeners.options import Mongrel2ServerOptions, StreamOptions
from appserver.listeners.rendezvous import Rendezvous
from appserver.options import BadValue, option
from appserver.plan import ConcurrencyOptions, positive
from appserver.spec import Spec
from appserver.trust import TrustOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    import zmq

    from appserver.listeners.credits import Credits
    from appserver.listeners.listener import Attend
    from appserver.listeners.responder import Responder
    from appserver.listeners.service import Service
    from appserver.listeners.share import Share
    from appserver.listeners.subscription import Subscription
    from appserver.options import Settings

log = logging.getLogger("appserver.listeners")

_LARGEST = 2**63 - 1  # bytes that libzmq has a number for
# Bytes that a client may read before Mongrel2 tells of any: the kernel lets it write again when a third of
# its queue is free, which has 4 MiB (net.ipv4.tcp_wmem), and the client's kernel has such steps, too.
_STEP = 2 << 20
_DETAILS = re.compile(r"b?'[^']*'|b?\"[^\"]*\"|\d+")


def specs(text: str) -> str:
    """Convert ``zeromq``: the endpoints of Mongrel2's send_spec and recv_spec."""
    parts = [part.strip() for part in Spec(text).address.split(",")]
    if len(parts) != 2 or not all("://" in part for part in parts):
        raise BadValue("Mongrel2's send_spec,recv_spec, such as tcp://127.0.0.1:9999,tcp://127.0.0.1:9998")
    if parts[0] == parts[1]:
        raise BadValue("two endpoints: Mongrel2 binds its send_spec and its recv_spec, each for itself")
    return ",".join(map(endpoint, parts))


def reachable(text: str) -> str:
    """Return what is dangerous in ``zeromq``: who connects there gets requests, or answers them."""
    return " ".join(filter(None, map(exposed, specs(text).split(","))))


def dispatch(text: str) -> str:
    """Convert ``zeromq-dispatch``."""
    if text not in {"auto", "worker", "shared"}:
        raise BadValue("auto, worker or shared")
    return text


def most(text: str) -> int:
    """Convert ``zeromq-max-message``."""
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > _LARGEST:
        raise BadValue(f"bytes, a whole number from 0 (any size) to {_LARGEST}")
    return int(text)


@dataclass(frozen=True)
class Mongrel2Options:
    """Mongrel2."""

    zeromq: tuple[str, ...] = option(
        (), "Serve Mongrel2: pull from the first endpoint, answer to the second.",
        aliases=("zmq", "zeromq-socket", "zmq-socket", "mongrel2"), convert=specs,
        expects="send_spec,recv_spec", mounts=True, danger=reachable,
    )  # fmt: skip
    zeromq_dispatch: str = option(
        "auto",
        "Who reads Mongrel2's requests: every thread for itself (worker), or one receiver, which hands each"
        " to the least busy (shared); auto is shared where there are several processes.",
        convert=dispatch, expects="auto, worker or shared", example="shared",
        note="own; in uWSGI it is always worker.",
    )  # fmt: skip
    zeromq_queue: int = option(
        1000, "Requests of a shared receiver that may wait for a worker; more are answered 503.",
        convert=positive, expects="number", note="own; a reload leaves the running receiver's as it is.",
    )  # fmt: skip
    zeromq_max_message: int = option(
        268435456,
        "Bytes of the largest message from Mongrel2: its limits.content_length and a head. A larger one ends"
        " the connection to Mongrel2, and what it has dealt to us is lost; 0 = any size.",
        convert=most, expects="bytes",
        note="own; it is a guard against who is not Mongrel2: limit-post refuses bodies. A reload leaves the"
        " running receiver's as it is.",
    )  # fmt: skip
    mongrel2_keepalive: float = option(
        30.0,
        "Seconds after which Mongrel2 is told, each time, that a request is still worked on; 0 = never.",
        note="own; a reload leaves the running receiver's as it is.",
    )


class Mongrel2Listener:
    """Attach to one Mongrel2 server."""

    name: ClassVar[str] = "mongrel2"
    Options: ClassVar[type] = Mongrel2Options
    subscribes: ClassVar[bool] = True

    # ZeroMQ and what uses it are imported where there is a Mongrel2, and before gevent patches anything.
    # ruff: noqa: PLC0415

    def __init__(self, spec: str, settings: Settings) -> None:
        from appserver.listeners import credits, receiver, responder, share, subscription  # noqa: A004, F401
        from appserver.listeners.turns import Turns

        self.spec = spec
        self.settings = settings
        self.address = specs(spec)
        self.pull, self.publish = map(absolute, self.address.split(","))
        self.options = settings.of(Mongrel2Options)
        given = Spec(spec)
        self.mongrel2 = given.of(settings, Mongrel2ServerOptions)
        self.forwarded = given.of(settings, TrustOptions).forwarded(self._ignored)
        stream = settings.of(StreamOptions)
        self.limit_post = stream.limit_post
        self.timeout = stream.socket_timeout
        # Seconds in which Mongrel2 tells of a client that reads fast enough; min-rate = 0: any speed is.
        self.unheard = self.timeout + (_STEP / stream.min_rate if stream.min_rate else inf)
        self.several = settings.of(ConcurrencyOptions).processes > 1
        self.shared = {"shared": True, "worker": False}.get(self.options.zeromq_dispatch, self.several)
        self.streams = self.shared or not self.several  # later pieces of a body find their request
        self.turns = Turns()
        self.told = False  # that Mongrel2 controls the flow, which cannot be obeyed
        self.accounts: Credits | None = None  # of this process's subscriptions
        self.kept_alive = 0.0  # when that was last done for this process's requests
        self.strange: Counter[str] = Counter()  # malformed messages of nobody, by kind
        self._lock = Lock()
        self._context: zmq.Context[Any] | None = None
        self._responder: Responder | None = None
        self._rendezvous: Rendezvous | None = None
        self._intakes: dict[Any, Subscription | Share] = {}  # by the hub of their thread

    def dangers(self) -> list[str]:
        """Tell of options without any effect: Mongrel2 is who listens."""
        return [
            f"{each.name} has no effect on Mongrel2's endpoints: Mongrel2 binds them"
            for each in Spec(self.spec).own
            if each.owner is not Mongrel2ServerOptions
            and each.field not in {"trusted_proxies", "trusted_headers"}
        ]

    def _ignored(self, name: str, value: str) -> None:
        self.count(f"a {name} is malformed and was ignored")

    @property
    def ordered(self) -> bool:
        """Whether all that a connection brings reaches the same loop, as it came."""
        return self.shared or (not self.several and len(self._intakes) == 1)

    def bind(self, passed: dict[str, int]) -> None:
        """Check the endpoints; Mongrel2 is who binds. Raise `AddressError`."""
        import zmq

        from appserver.listeners.zeromq import check_room

        try:
            check_room()
            with zmq.Context() as trial:
                for endpoint in (self.pull, self.publish):
                    # No PULL: Mongrel2 could deal it requests, which would be lost with it.
                    with trial.socket(zmq.XPUB) as socket:
                        socket.linger = 0
                        socket.ipv6 = over_ipv6(endpoint)
                        try:
                            socket.connect(endpoint)
                        except zmq.ZMQError as error:
                            why = zmq.strerror(error.errno or 0)
                            raise AddressError(f"cannot connect to {endpoint}: {why}", self.address) from None
            if self.shared:
                self._rendezvous = Rendezvous()
        except (OSError, zmq.ZMQError) as error:
            told = f"cannot serve {self.address}: {os.strerror(error.errno or 0)}; raise RLIMIT_NOFILE"
            raise AddressError(told, self.address) from None

    def follows(self, other: Self) -> bool:
        """Tell whether both are for the same Mongrel2, in the same way."""
        return self.address == other.address and self.shared == other.shared

    def take_over(self, other: Self) -> None:
        """Meet the same receiver, if there is one; otherwise threads connect by themselves."""
        self._rendezvous = other._rendezvous
        if self.shared:
            before = other._of_receiver()
            for name, value in self._of_receiver().items():
                if value != (old := before[name]):
                    log.warning(
                        "mongrel2 %s: %s has changed from %r to %r; the receiver that runs goes on with %r"
                        " until a restart", self.pull, name, old, value, old,
                    )  # fmt: skip

    def adapt(self) -> None:
        """Do nothing: the receiver that runs cannot be changed, as `take_over` tells."""

    def _of_receiver(self) -> dict[str, float | str]:
        """Return the options that a receiver begins with, by their names."""
        options = self.options
        return {
            "zeromq-queue": options.zeromq_queue,
            "zeromq-max-message": options.zeromq_max_message,
            "mongrel2-keepalive": options.mongrel2_keepalive,
            "mongrel2-upload-dir": self.mongrel2.mongrel2_upload_dir,
            "mongrel2-chroot": self.mongrel2.mongrel2_chroot,
            "socket-timeout": self.timeout,
            "min-rate": self.settings.of(StreamOptions).min_rate,
        }

    def attendant(self) -> Attend | None:
        """Return the receiver's work where workers share one."""
        return self._receive if self.shared else None

    def _receive(self, control: int, reopen: Callable[[], None]) -> int:
        from appserver.listeners.receiver import Receiver

        assert self._rendezvous is not None
        return Receiver(self, self._rendezvous, control, reopen).run()

    def refuse(self) -> None:
        """Do nothing: what Mongrel2 has dealt to a connection is lost without it."""

    def abandon(self) -> None:
        """Do nothing: there is no address of its own."""

    def sever(self) -> None:
        """Do nothing: Mongrel2 keeps the connections."""

    def waiting(self) -> tuple[int, int]:
        """Return zeros: nobody connects to this server."""
        return 0, 0

    def start(self, service: Service) -> None:
        """Subscribe in this thread's loop, or join the receiver."""
        from appserver.listeners.absence import Absence
        from appserver.listeners.credits import Credits
        from appserver.listeners.responder import Responder
        from appserver.listeners.share import Share
        from appserver.listeners.subscription import Subscription
        from appserver.listeners.zeromq import context

        hub = get_hub()
        with self._lock:
            if self._rendezvous is not None:
                self._intakes[hub] = Share(self, service, self._rendezvous)
                return
            absence = None
            if self._context is None or self._responder is None:
                self._context = context()
                self._responder = Responder(self._context, self.publish, self.timeout)
                self.accounts = Credits(self._responder.try_send, self.unheard)
                absence = Absence(self._context, f"mongrel2 {self.pull}", self.publish)
            assert self.accounts is not None
            self._intakes[hub] = Subscription(
                self, service, self._context, self._responder, self.accounts, absence=absence
            )
            strays.takers[self.address] = self._take_stray

    def _take_stray(self, message: bytes, nobodys: bool) -> bool:
        """Have any thread's subscription see to it: what it needs all of them share."""
        for intake in self._intakes.copy().values():
            if intake.attached:  # else the others know more
                return intake.take_stray(message, nobodys)
        return False

    def stop(self) -> None:
        """Read and answer until nothing comes any more; Mongrel2 would lose what is queued for us."""
        intake = self._intakes.get(get_hub())
        if intake is not None:
            intake.drain()

    def in_hand(self) -> int:
        """Return the requests in hand."""
        intake = self._intakes.get(get_hub())
        return intake.in_hand if intake is not None else 0

    def busy(self) -> int:
        """Return the requests in hand, or 1 while more may come."""
        intake = self._intakes.get(get_hub())
        return intake.busy() if intake is not None else 0

    def close(self) -> None:
        """Close this thread's sockets, and with the last ones what all share."""
        with self._lock:
            if self._intakes:
                intake = self._intakes.pop(get_hub(), None)
                if intake is not None:
                    intake.close()
                if self._intakes:
                    return
            if self._rendezvous is not None:
                self._rendezvous.close()
            strays.takers.pop(self.address, None)
            context, responder = self._context, self._responder
            self._context = self._responder = None
        if responder is not None and context is not None:
            responder.close()
            context.term()  # which may take its time: what ends the process waits for no lock meanwhile
        self.tell_strange()

    def tell_strange(self) -> None:
        """Log what has been counted, once."""
        for kind, count in self.strange.items():
            log.warning("mongrel2 %s: %d messages were malformed: %s", self.pull, count, kind)
        self.strange.clear()

    def count(self, reason: str) -> None:
        """Count a message that nobody can be told about; log the first of its kind."""
        kind = _DETAILS.sub("…", reason)
        if kind not in self.strange and len(self.strange) < 100:
            log.warning("mongrel2 %s: a message was dropped: %s", self.pull, reason)
        self.strange[kind if len(self.strange) < 100 else "others"] += 1
