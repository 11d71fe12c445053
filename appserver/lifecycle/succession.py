"""How one generation of workers follows another: all at once, or one worker at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from appserver.lifecycle.generation import Failed

if TYPE_CHECKING:
    from appserver.lifecycle.generation import Generation, Report, Serving


async def start(generation: Generation, count: int, report: Report, *, strict: bool) -> None:
    """Load the application and start workers 1 to *count* of a generation, which keeps them from then on.

    Raise `Failed` where one cannot serve; the caller gives the generation up then.
    """
    name = f"generation {generation.number}"
    report(f"{name}: loading {generation.configuration.what}")
    await generation.load()
    report(f"{name}: loaded")
    numbers = range(1, count + 1)
    starting = [asyncio.ensure_future(generation.spawn(number, strict=strict)) for number in numbers]
    try:
        for number, task in zip(numbers, starting, strict=True):
            worker = await task
            report(f"{name}: {serves(worker)}")
            generation.keep(number, worker)
    finally:
        for task in starting:
            task.cancel()


async def start_one_by_one(old: Generation, new: Generation, count: int, report: Report) -> None:
    """Let the workers of *new* follow those of *old* one at a time; raise `Failed` where one cannot.

    Then those of *old* that have gone are started again, and *new* is the caller's to give up.
    """
    name = f"generation {new.number}"
    report(f"{name}: loading {new.configuration.what}")
    await new.load()
    report(f"{name}: loaded")
    dropped = []
    try:
        for number in range(1, max(count, *old.numbers, 0) + 1):
            if number <= count:
                worker = await new.spawn(number, strict=True)
                report(f"{name}: {serves(worker)}")
                new.keep(number, worker)
            if number in old.numbers:
                report(f"generation {old.number}: worker {number} stops")
                dropped.append(number)
                await old.drop(number)
                report(f"generation {old.number}: worker {number} has gone")
    except (Failed, asyncio.CancelledError):
        for number in dropped:
            old.keep(number)
        raise


def serves(worker: Serving) -> str:
    """Return what is to be said of a worker that has begun to serve."""
    warmed = worker.ready.result()
    told = f", its warm-up request was answered {warmed}" if warmed else ""
    return f"worker {worker.number} (pid {worker.pid}) serves{told}"
