"""When a worker has served long enough: requests, age and memory."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

from appserver.options import BadValue, option, seconds, whole

_PAGE = os.sysconf("SC_PAGE_SIZE")


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
        note="Looked at once a second, not behind each request.",
    )  # fmt: skip
    evil_reload_on_rss: int = option(
        0, "Kill a worker at once that has more megabytes of memory than this.", convert=megabytes,
        expects="megabytes",
        example="1024",
    )  # fmt: skip


class Limits:
    """The limits of one worker: those of the options, with chance in those that many reach at once."""

    def __init__(self, options: RecyclingOptions) -> None:
        self._options = options
        count, delta = options.max_requests, options.max_requests_delta
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
        if options.reload_on_rss and (rss := resident(pid)) > options.reload_on_rss:
            return f"it has {rss >> 20} MB of memory (reload-on-rss = {options.reload_on_rss >> 20})"
        return None

    def exceeded(self, pid: int) -> str | None:
        """Return why a worker is to be killed at once, None while it is not."""
        limit = self._options.evil_reload_on_rss
        if limit and (rss := resident(pid)) > limit:
            return f"it has {rss >> 20} MB of memory (evil-reload-on-rss = {limit >> 20})"
        return None


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has resident (proc(5), statm); 0 when it has gone."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0
