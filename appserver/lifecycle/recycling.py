"""When a worker has served long enough: requests, age and memory."""

from __future__ import annotations

from dataclasses import dataclass

from appserver.memory import memory
from appserver.options import BadValue, option, seconds, whole


def megabytes(text: str) -> int:
    """Convert a number of megabytes, perhaps with a fraction, to bytes."""
    try:
        value = float(text)
    except ValueError:
        raise BadValue("a number of megabytes") from None
    if not 0 <= value < 1e9:
        raise BadValue("a number of megabytes")
    return int(value * 1048576)


@dataclass(frozen=True)
class RecyclingOptions:
    """Recycling."""

    max_requests: int = option(
        0,
        "Replace a worker after so many requests; 0 = never.",
        short="R",
        example="10000",
        note="The successor serves before the worker leaves.",
    )
    max_requests_delta: int | None = option(
        None, "Let it be up to so many more, at random (default: a tenth of max-requests).",
        convert=whole, expects="number",
        example="500", note="Chance, not the worker's number; a tenth of max-requests without it.",
    )  # fmt: skip
    min_worker_lifetime: float = option(10.0, "Seconds that a worker serves before it is replaced.")
    max_worker_lifetime: float = option(
        0.0,
        "Replace a worker after so many seconds; 0 = never.",
        example="3600",
        note="The successor serves before the worker leaves.",
    )
    max_worker_lifetime_delta: float | None = option(
        None, "Let it be up to so many more, at random (default: a tenth of max-worker-lifetime).",
        convert=seconds, expects="seconds",
        example="300", note="Chance, not the worker's number; a tenth of max-worker-lifetime without it.",
    )  # fmt: skip
    reload_on_rss: int = option(
        0, "Replace a worker that has more megabytes of memory than this.", convert=megabytes,
        expects="megabytes",
        note="Looked at four times a second, not behind each request.",
    )  # fmt: skip
    evil_reload_on_rss: int = option(
        0, "Kill a worker at once that has more megabytes of memory than this.", convert=megabytes,
        expects="megabytes",
        example="1024",
    )  # fmt: skip
    reload_on_as: int = option(
        0, "Replace a worker whose address space has more megabytes than this.", convert=megabytes,
        expects="megabytes", example="2048",
        note="Looked at four times a second. It counts what is only mapped, too: `reload-on-rss` says more.",
    )  # fmt: skip
    evil_reload_on_as: int = option(
        0, "Kill a worker at once whose address space has more megabytes than this.", convert=megabytes,
        expects="megabytes", example="4096",
        note="Its requests are lost; `reload-on-as` loses none.",
    )  # fmt: skip


class Limits:
    """The limits of one worker: those of the options, with chance in those that many reach at once."""

    def __init__(self, options: RecyclingOptions) -> None:
        self._options = options
        count, delta = options.max_requests, options.max_requests_delta
        import random  # noqa: PLC0415  (a server without a master does without)

        self._requests = count and count + random.randint(0, count // 10 if delta is None else delta)  # noqa: S311
        age, spread = options.max_worker_lifetime, options.max_worker_lifetime_delta
        self._age = age and age + random.uniform(0, age / 10 if spread is None else spread)  # noqa: S311

    def reached(self, requests: int, age: float, pid: int) -> str | None:
        """Return why a worker is to be replaced once its successor serves, None while it is not.

        *age* counts seconds since it began to serve.
        """
        options = self._options
        if age < options.min_worker_lifetime and not 0 < self._age < options.min_worker_lifetime:
            return None
        if self._requests and requests >= self._requests:
            return f"it has served {requests} requests (max-requests = {options.max_requests})"
        if self._age and age >= self._age:
            return f"it has served for {age:.0f} s (max-worker-lifetime = {options.max_worker_lifetime:g})"
        return _over(pid, "reload-on", options.reload_on_rss, options.reload_on_as)

    def exceeded(self, pid: int) -> str | None:
        """Return why a worker is to be killed at once, None while it is not."""
        options = self._options
        return _over(pid, "evil-reload-on", options.evil_reload_on_rss, options.evil_reload_on_as)


def _over(pid: int, option: str, most_resident: int, most: int) -> str | None:
    """Return which limit of its memory a process is above, None where it is not; 0 = no limit."""
    if not (most_resident or most):
        return None
    used = memory(pid)
    if most_resident and used.resident > most_resident:
        return f"it has {used.resident >> 20} MB of memory ({option}-rss = {most_resident >> 20})"
    if most and used.every > most:
        return f"it has {used.every >> 20} MB of address space ({option}-as = {most >> 20})"
    return None
