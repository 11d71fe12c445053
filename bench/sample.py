"""One run of one server, and the figures of several: medians and spreads."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.generator import Spent

FULL = 0.9  # share of its core from which on something is the bottleneck


@dataclass(frozen=True)
class Sample:
    """One run: figures by the names of `bench.case.METRICS`, and how busy everybody was (shares of a core).

    ``others`` is what other processes took of the server's cores, and ``beside`` of those of front and load:
    the more it is, the less a run is worth.
    """

    values: dict[str, float]
    failures: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    reopened: int = 0
    busy: dict[str, float] = field(default_factory=dict)  # server, front, load, others, beside

    @classmethod
    def of(cls, figures: dict[str, Any], spent: Spent, peak: int, cores: int, length: int = 0) -> Sample:
        """Make one of what a generator has told and what was spent meanwhile.

        wrk takes the end of a kept connection after an answer for an error; it is counted by itself then, and
        that no answer was shorter than *length* is seen from the bytes. What a load has spun it was not busy.
        """
        requests, clock = figures["requests"], spent.clock
        values = {
            "rate": requests / figures["seconds"],
            "p50": figures["p50"],
            "p99": figures["p99"],
            "peak": float(peak),
        }
        if requests:
            values["cpu"] = spent.server / requests
        failures = {kind: count for kind, count in figures["failures"].items() if count}
        reopened = figures.get("reopened", 0)
        if "bytes" in figures:
            reopened = failures.pop("cut", 0)
            if figures["bytes"] < requests * length:
                failures["length"] = 1
        return cls(
            values,
            failures,
            requests,
            reopened,
            {
                "server": spent.server / clock / cores,
                "front": spent.front / clock,
                "load": max(0.0, spent.load - figures.get("spun", 0.0)) / clock,
                "others": max(0.0, spent.cores - spent.server) / clock / cores,
                "beside": max(0.0, spent.beside - spent.front - spent.load) / clock,
            },
        )

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Summary:
    """Several runs: the median of each figure, and its spread, (largest - smallest) / median."""

    samples: Sequence[Sample]

    def median(self, metric: str) -> float | None:
        """Return the median of the runs that have the figure."""
        found = self._all(metric)
        return median(found) if found else None

    def spread(self, metric: str) -> float | None:
        """Return the spread; None for fewer than two runs."""
        found = self._all(metric)
        middle = median(found) if found else 0.0
        return (max(found) - min(found)) / middle if len(found) > 1 and middle else None

    def _all(self, metric: str) -> list[float]:
        return [sample.values[metric] for sample in self.samples if metric in sample.values]

    def failures(self) -> Counter[str]:
        """Return what went wrong in all runs."""
        found: Counter[str] = Counter()
        for sample in self.samples:
            found.update(sample.failures)
        return found

    def busy(self, who: str) -> float:
        """Return the median share of a core that somebody took."""
        return median(sample.busy.get(who, 0.0) for sample in self.samples) if self.samples else 0.0

    def bottleneck(self) -> str:
        """Say who limited the rate: the server, the front, the load, both together, or nobody."""
        if not any(sample.busy for sample in self.samples):
            return "-"
        if self.busy("server") >= FULL:
            return "server"
        front, load = self.busy("front"), self.busy("load")
        if front + load >= FULL:
            return "front" if front >= FULL else "load" if load >= FULL else "front and load"
        if self.busy("server") + self.busy("others") >= FULL or front + load + self.busy("beside") >= FULL:
            return "other programs"
        return "nobody"


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """Return ours / theirs, None where one of them is not there."""
    return ours / theirs if ours is not None and theirs else None
