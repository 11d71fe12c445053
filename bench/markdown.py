"""docs/performance.md, made of what the bench has measured and of nothing else."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from bench.case import METRICS
from bench.report import NOISE, Measured, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

INTRODUCTION = """\
# Performance

This page is written by the bench, from one run of it, and says nothing that it has not measured:

```sh
{command}
```

{machine}

Versions: {versions}.

How to read it: each server runs one process on one core of its own (two where the case says so), front
ends and load run on the others. Runs alternate between the servers, {runs} of {seconds:g} s each; figures
are medians, `+-` is (largest - smallest) / median. Access logs are off, all limits of the servers are as
they come; after each run over sockets the process of ours that was measured is sent what it has to refuse,
and the run counts only if it does (bench/limits.py). `CPU us` is utime + stime of all the server's processes
for each answer, which says more than the rate where the machine is not idle; `core` is the share of its
core that the server had, and *bottleneck* who limited the rate. `ours/its` compares the figure in the case's
title. Every answer is checked for its status and length.
{again}The load of bench/load/streams.c does not sleep
where it has a core for itself: to wake it would cost the server, by as much as the machine makes of that, and
the slower server more often. wrk and the simulated Mongrel2 do sleep.

`floor` is no server: it answers whatever comes with the same bytes, from the same loop and sockets as ours
(bench/floor.py), and shows what Python, gevent and pyzmq cost by themselves; what a goal leaves below it, no
server can reach that stands on them. `bare` is none either: it believes that each read has one head, whole
and well-formed, takes it apart with a plain loop, reads the body, calls the application and writes, for one
connection after the other (bench/bare.py). It shows what Python takes where nothing is checked or limited and
a slow client may keep all others waiting; only what comes together or repeats can cost less, where that is
made use of, as it is here. Behind goals stands also the most that can be: calls that sleep 50 ms make no more
than 20 a second on each connection. A goal that is more than that was out of
reach of anybody in this run.

`null` is no server either, but a handler of Mongrel2's in C that sends the same page for each request and
keeps the connection (bench/load/null.c). It shows what Mongrel2 itself can serve.
"""

HEADLESS = "Nothing was measured."


def document(saved: Mapping[str, Any]) -> str:
    """Return the document for a run as `--json` has saved it."""
    everything = [Measured.of(name, plain) for name, plain in saved["cases"].items()]
    found = saved["machine"]
    machine = (
        f"Measured {found['time']} on {found['cores']} cores of {found['processor']}, {found['memory']}, "
        f"{found['system']}."
    )
    parts = [
        INTRODUCTION.format(
            again=_again(saved.get("again", ())),
            command=saved["command"],
            machine=machine,
            versions=", ".join(saved["versions"]),
            runs=_count(saved["runs"]),
            seconds=saved["seconds"],
        ),
        _where_peers_are_faster(everything),
        _goals(everything),
        "## Figures\n",
        *(_case(measured) for measured in everything),
    ]
    return "\n".join(parts) if everything else HEADLESS


def _again(names: Sequence[str]) -> str:
    if not names:
        return ""
    cases = ", ".join(f"`{name}`" for name in names)
    counted = "1 case was" if len(names) == 1 else f"{len(names)} cases were"
    return (
        f"{counted} measured again by `--again`, as others took more than {NOISE:.0%} of a core"
        f" meanwhile, and what was disturbed less is kept: {cases}.\n"
    )


def _count(runs: int) -> str:
    return "one run" if runs == 1 else f"{runs} runs"


def _where_peers_are_faster(everything: Iterable[Measured]) -> str:
    lines = ["## Where a peer is better\n"]
    for measured in everything:
        if faster := measured.faster():
            metric = METRICS[measured.case.headline].title
            peers = ", ".join(f"{name} ({measured.ratio(name):.2f})" for name in faster)
            lines.append(f"* **{measured.case.title}**, {metric}, ours / its: {peers}")
    if len(lines) == 1:
        lines.append("In none of the cases that were measured.")
    return "\n".join(lines) + "\n"


def _goals(everything: Iterable[Measured]) -> str:
    goals = [(measured.case.name, *goal) for measured in everything for goal in measured.goals()]
    found = Counter(verdict for *_, verdict in goals)
    counts = ", ".join(f"{found[verdict]} {verdict}" for verdict in Verdict if found[verdict])
    rows = [f"| {name} | {text} | {verdict} |" for name, text, verdict in goals]
    return "\n".join(["## Goals\n", f"{counts}.\n", "| case | goal | |", "|---|---|---|", *rows]) + "\n"


def _case(measured: Measured) -> str:
    rows = list(measured.rows())
    metric = METRICS[measured.case.headline].title
    lines = [f"### `{measured.case.name}`: {measured.case.title} ({metric})\n"]
    for index, row in enumerate(rows):
        lines.append("| " + " | ".join(row) + " |")
        if not index:
            lines.append("|---|" + "---:|" * (len(row) - 1))
    notes = [f"* {' '.join(note.split())}" for note in measured.notes()]
    return "\n".join(lines) + "\n" + ("\n" + "\n".join(notes) + "\n" if notes else "")
