"""How many workers the load asks for, between ``cheaper`` and ``processes``."""

from __future__ import annotations

from dataclasses import dataclass

from appserver.options import changed, option


@dataclass(frozen=True)
class CheaperOptions:
    """Scaling."""

    cheaper: int = option(
        0,
        "Keep at least so many workers, and up to processes under load; 0 = all always.",
        example="2",
        note="The only algorithm is that of spare workers. One is busy, as in uWSGI, while it has any request"
        " or WebSocket in hand, however many cores are free.",
    )
    cheaper_initial: int = option(0, "Workers to begin with (default: cheaper).", example="2")
    cheaper_step: int = option(1, "Workers to add at a time.")
    cheaper_overload: float = option(3.0, "Seconds for which all workers must be busy before some are added.")
    cheaper_idle: float = option(
        10.0,
        "Seconds for which a worker must be to spare before it is ended.",
        note="In uWSGI's development version only.",
    )


def astray(options: CheaperOptions, most: int) -> list[tuple[str, str]]:
    """Return options that are in vain beside each other and *most* processes, and why."""
    least, first = options.cheaper, options.cheaper_initial
    if not least:
        why = f"without cheaper there are always {most}, as processes says; set cheaper, or remove this"
        return [(each.name, why) for each in changed(CheaperOptions(), options)]
    if not first or least <= first <= most:
        return []
    told = f"the server begins with {min(max(first, least), most)}, as uWSGI does"
    return [("cheaper-initial", f"{told}: no less than cheaper, {least}, and no more than processes, {most}")]


class Cheaper:
    """Decide by looks at how many workers are busy, which have any request in hand.

    How many of a worker's cores are free tells nothing of how long its one thread is taken.
    While all of them are busy at every look for ``cheaper-overload`` seconds, workers are added;
    while two at least are idle at every look for ``cheaper-idle`` seconds, one is ended. One idle
    worker is kept as room for the next request.
    """

    def __init__(self, options: CheaperOptions, most: int) -> None:
        self._options = options
        self._processes = most
        self.least = options.cheaper or most
        self.most = max(most, self.least)
        self.wanted = min(max(options.cheaper_initial, self.least), self.most)
        self._busy_since: float | None = None
        self._idle_since: float | None = None

    def follow(self, before: Cheaper) -> None:
        """Begin with as many workers as there were to be *before* a reload, within the bounds.

        Bounds that were set by hand stay as long as the options do.
        """
        if (self._options, self._processes) == (before._options, before._processes):
            self.least, self.most = before.least, before.most
        self.wanted = min(max(before.wanted, self.least), self.most)

    @property
    def scales(self) -> bool:
        """Whether the number may change at all."""
        return self.least < self.most

    def look(self, now: float, serving: int, idle: int) -> int:
        """Return how many workers there shall be, given how many serve and how many of them are idle."""
        self._busy_since = _since(self._busy_since, now, holds=serving > 0 and not idle)
        self._idle_since = _since(self._idle_since, now, holds=idle > 1)
        if self._busy_since is not None and now - self._busy_since >= self._options.cheaper_overload:
            self.wanted = min(self.wanted + max(1, self._options.cheaper_step), self.most)
            self._busy_since = now  # what has been added has as long to help
        elif self._idle_since is not None and now - self._idle_since >= self._options.cheaper_idle:
            self.wanted = max(self.wanted - 1, self.least)
            self._idle_since = now
        return self.wanted

    def set(self, wanted: int) -> None:
        """Set the number of workers by hand; the load moves it on from there."""
        wanted = max(1, wanted)
        if self.scales:
            self.least, self.most = min(self.least, wanted), max(self.most, wanted)
        else:
            self.least = self.most = wanted
        self.wanted = wanted


def _since(before: float | None, now: float, *, holds: bool) -> float | None:
    """Return since when something holds, given since when it did at the last look."""
    if not holds:
        return None
    return now if before is None else before
