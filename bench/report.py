"""What was measured, as tables: figures, ratios to ours, goals, and which cases a peer wins."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from bench.case import METRICS, Case, Goal
from bench.cases import CASES
from bench.sample import Sample, Summary, ratio
from bench.server import LEAST, NULL, SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HEAD = (
    "server",
    "CPU us",
    "+-",
    "req/s",
    "+-",
    "p50 ms",
    "p99 ms",
    "peak MiB",
    "core",
    "bottleneck",
    "ours/its",
)
EXTRA = ("start", "memory", "idle")  # figures that only some cases have
CLOSES = 0.5  # share of requests whose connection the server ended, from which on that is said
NOISE = 0.1  # share of a core that other programs may take before it is said


class Verdict(StrEnum):
    """What has become of a goal."""

    MET = "met"
    MISSED = "MISSED"
    BEYOND = "out of reach"  # of anybody in this run
    UNKNOWN = "not measured"


@dataclass
class Measured:
    """The runs of one case: samples, or why there are none, by the names of its servers."""

    case: Case
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)

    def summary(self, server: str) -> Summary:
        """Return the figures of a server."""
        return Summary(self.samples.get(server, []))

    def ratio(self, server: str) -> float | None:
        """Return our headline figure / that of the server."""
        headline = self.case.headline
        return ratio(
            self.summary(self.case.servers[0]).median(headline), self.summary(server).median(headline)
        )

    def faster(self) -> list[str]:
        """Return the peers that are better than ours in the headline: of those that can be run instead."""
        found = []
        for name in self.case.servers[1:]:
            value = self.ratio(name)
            if value is None or SERVERS[name].ours or name in {*LEAST, NULL}:
                continue
            if value < 1 if METRICS[self.case.headline].more_is_better else value > 1:
                found.append(name)
        return found

    @property
    def noise(self) -> float:
        """The largest share of a core that other programs, or the host, took from one of its servers."""
        return max(map(self.noise_of, self.samples), default=0.0)

    def noise_of(self, server: str) -> float:
        """Return the share that others took of the server's core, or of that of front and load."""
        found = self.summary(server)
        return max(found.busy("others"), found.busy("beside"))

    def goals(self) -> Iterator[tuple[str, Verdict]]:
        """Yield each goal as a sentence, and its verdict."""
        for goal in self.case.goals:
            text, met = self._goal(goal)
            most = self._most(goal)
            if met is None:
                yield text, Verdict.UNKNOWN
            elif met:
                yield text, Verdict.MET
            else:
                yield text, Verdict.BEYOND if most is not None and most < goal.factor else Verdict.MISSED

    def _goal(self, goal: Goal) -> tuple[str, bool | None]:
        metric = METRICS[goal.metric]
        name = goal.ours or self.case.servers[0]
        ours = self.summary(name).median(goal.metric)
        bound = "at least" if metric.more_is_better else "at most"
        if not goal.peer:
            text = f"{metric.title} of {name} {bound} {goal.limit:g} {metric.unit}"
            if ours is None:
                return text, None
            return f"{text}: {ours * metric.factor:.3g}", ours * metric.factor <= goal.limit
        theirs = self.summary(goal.peer).median(goal.metric)
        if goal.more:
            text = f"{metric.title} of {name} {bound} {goal.limit:g} {metric.unit} more than {goal.peer}"
            if ours is None or theirs is None:
                return text, None
            more = (ours - theirs) * metric.factor
            return f"{text}: {more:.3g}", more <= goal.limit
        text = f"{metric.title} of {name} {bound} {goal.factor:g} x {goal.peer}"
        value = ratio(ours, theirs)
        if value is None:
            return text, None
        told = f"{value:.2f}{self._within(goal)}"
        if goal.free:
            free = 1 - self.summary(name).busy("others")
            rest = f"{value:.2f} on the {free:.0%} of them that others left"
            value /= free
            told = f"{value:.2f} with its cores to itself, {rest}"
        met = value >= goal.factor if metric.more_is_better else value <= goal.factor
        return f"{text}: {told}", met

    def _within(self, goal: Goal) -> str:
        """Return what no server can be better than, where that is known."""
        if (most := self._most(goal)) is not None:
            return f" (at most {most:.2f})"
        theirs = self.summary(goal.peer).median(goal.metric)
        least = ((name, ratio(self.summary(name).median(goal.metric), theirs)) for name in LEAST)
        told = ", ".join(f"{name} {value:.2f}" for name, value in least if value is not None)
        return f" ({told})" if told else ""

    def _most(self, goal: Goal) -> float | None:
        """Return the most that its load allows anybody, where there is such a limit."""
        if goal.metric != "rate" or not goal.peer:
            return None
        return ratio(self.case.ceiling, self.summary(goal.peer).median(goal.metric))

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the rows of its table, the head first; columns in which nobody has a figure are left out."""
        rows = list(self._all_rows())
        kept = [index for index, cells in enumerate(zip(*rows, strict=True)) if {*cells[1:]} != {"-"}]
        yield from (tuple(row[index] for index in kept) for row in rows)

    def _all_rows(self) -> Iterator[tuple[str, ...]]:
        extra = [
            name for name in EXTRA if any(self.summary(s).median(name) is not None for s in self.samples)
        ]
        yield (*HEAD[:-1], *(f"{METRICS[name].title} ({METRICS[name].unit})" for name in extra), HEAD[-1])
        for server in self.case.servers:
            if server in self.samples:
                yield self._row(server, extra)

    def _row(self, server: str, extra: Sequence[str]) -> tuple[str, ...]:
        found = self.summary(server)
        core = f"{found.busy('server'):.0%}" if found.busy("server") else "-"
        value = self.ratio(server)
        return (
            server,
            _shown(found, "cpu", 1),
            _spread(found, "cpu"),
            _shown(found, "rate", 0),
            _spread(found, "rate"),
            _shown(found, "p50", 1),
            _shown(found, "p99", 1),
            _shown(found, "peak", 0),
            core,
            found.bottleneck(),
            *(_shown(found, name, 3 if name == "start" else 1) for name in extra),
            "ours" if server == self.case.servers[0] else f"{value:.2f}" if value is not None else "-",
        )

    def notes(self) -> Iterator[str]:
        """Yield what must be said beside the figures."""
        for server in self.case.servers:
            if server in self.remarks:
                yield f"{server}: {self.remarks[server]}"
            if server in self.problems:
                yield f"{server}: not measured: {self.problems[server]}"
            found = self.summary(server)
            for kind, count in found.failures().items():
                yield f"{server}: {count} x {kind} (these are no answers, and not counted)"
            asked, ended = (
                sum(getattr(each, name) for each in found.samples) for name in ("requests", "reopened")
            )
            if asked and ended > CLOSES * asked:
                yield f"{server}: it ends every connection"
            if (noise := self.noise_of(server)) > NOISE:
                yield f"{server}: other programs, or the host, took {noise:.0%} of a core meanwhile"

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "title": self.case.title,
            "headline": self.case.headline,
            "goals": [{"goal": text, "verdict": verdict} for text, verdict in self.goals()],
            "notes": list(self.notes()),
            "problems": self.problems,
            "remarks": self.remarks,
            "servers": {
                name: {
                    "median": {metric: self.summary(name).median(metric) for metric in METRICS},
                    "spread": {metric: self.summary(name).spread(metric) for metric in METRICS},
                    "bottleneck": self.summary(name).bottleneck(),
                    "ratio": self.ratio(name),
                    "samples": [sample.plain() for sample in samples],
                }
                for name, samples in self.samples.items()
            },
        }

    @classmethod
    def of(cls, name: str, plain: Mapping[str, Any]) -> Measured:
        """Make one of what `plain` has returned for the case of that name."""
        samples = {
            server: [Sample(**each) for each in found["samples"]]
            for server, found in plain["servers"].items()
        }
        return cls(CASES[name], samples, dict(plain["problems"]), dict(plain["remarks"]))


def _shown(found: Summary, metric: str, digits: int) -> str:
    value = found.median(metric)
    return "-" if value is None else f"{value * METRICS[metric].factor:,.{digits}f}"


def _spread(found: Summary, metric: str) -> str:
    value = found.spread(metric)
    return "-" if value is None else f"{value:.0%}"


def text(measured: Measured) -> str:
    """Return the report of a case for a terminal."""
    rows = list(measured.rows())
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{measured.case.name}: {measured.case.title}"]
    for row in rows:
        cells = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  " + "  ".join(cells))
    lines += [f"  {verdict}: {goal}" for goal, verdict in measured.goals()]
    lines += [f"  note: {note}" for note in measured.notes()]
    return "\n".join(lines) + "\n"
