"""What a case declares: the protocol, the load, the servers that are compared, and the goals."""

from __future__ import annotations

from dataclasses import dataclass

from bench.application import SLEEP
from bench.server import SERVERS

HELLO = 12  # bytes


@dataclass(frozen=True)
class Metric:
    """A figure of a run; *factor* makes it readable in its *unit*."""

    title: str
    unit: str
    factor: float = 1.0
    more_is_better: bool = False


METRICS = {
    "cpu": Metric("CPU of the server per request", "us", 1e6),
    "rate": Metric("requests a second", "/s", more_is_better=True),
    "p50": Metric("median", "ms", 1e3),
    "p99": Metric("99th percentile", "ms", 1e3),
    "start": Metric("start to first answer", "s"),
    "memory": Metric("resident memory", "MiB", 1 / (1 << 20)),
    "peak": Metric("peak memory", "MiB", 1 / (1 << 20)),
    "idle": Metric("memory for each idle connection", "KiB", 1 / (1 << 10)),
}


@dataclass(frozen=True)
class Goal:
    """A figure of ours against a *factor* of a peer's, or against a *limit* in the metric's unit.

    With *more* the limit is what we may have more than the peer. A goal for *free* cores is reckoned from the
    share of ours that no other program had.
    """

    metric: str
    peer: str = ""
    factor: float = 1.0
    limit: float = 0.0
    more: bool = False
    free: bool = False
    ours: str = ""  # of our servers, where it is not the first one


@dataclass(frozen=True)
class Case:
    """One comparison; its first server is ours."""

    name: str
    title: str
    door: str
    servers: tuple[str, ...]
    headline: str = "cpu"
    procedure: str = "load"
    app: str = "hello"
    load: str = "streams"  # the program that makes it: streams, wrk or mongrel2
    front: str = ""  # nginx or mongrel2
    connections: int = 32
    keep: bool = True
    body: int = 0  # bytes that are posted
    length: int = HELLO  # bytes of the answer's body
    encoding: str = "tnetstring"  # of Mongrel2's headers
    requests: int = 0  # after which a run ends, where time alone does not end it
    cores: int = 1  # of the server's own
    times: int = 1  # as many runs as other cases have, where a small difference is to be told
    quick: bool = True  # is part of the self-check
    goals: tuple[Goal, ...] = ()

    def __post_init__(self) -> None:
        for name in self.servers:
            assert name in SERVERS, f"{self.name}: there is no server {name}"

    @property
    def ceiling(self) -> float | None:
        """The most requests a second that its connections can make, where each has to sleep."""
        return self.connections / SLEEP if self.app == "sleep" else None

    def needs(self) -> set[str]:
        """Return the requirements of the case itself."""
        found = {"wrk"} if self.load == "wrk" else {"cc"}
        if self.load == "mongrel2":
            found.add("/usr/include/zmq.h")
        if self.front:
            found |= {"nginx"} if self.front == "nginx" else {"mongrel2", "m2sh"}
        return found
