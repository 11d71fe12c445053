"""When a worker has served long enough, or is to be killed.

Its options are a module of their own, as a server without a master has them, too, and does without `random`.
"""

from __future__ import annotations

from random import randint, uniform
from typing import TYPE_CHECKING

from appserver.counting import number_of
from appserver.memory import memory

if TYPE_CHECKING:
    from appserver.lifecycle.recycling import RecyclingOptions


class Limits:
    """The limits of one worker: those of the options, with chance in those that many reach at once."""

    def __init__(self, options: RecyclingOptions) -> None:
        self._options = options
        count, delta = options.max_requests, options.max_requests_delta
        self._requests = count and count + randint(0, count // 10 if delta is None else delta)  # noqa: S311
        age, spread = options.max_worker_lifetime, options.max_worker_lifetime_delta
        self._age = age and age + uniform(0, age / 10 if spread is None else spread)  # noqa: S311

    def reached(self, requests: int, age: float, pid: int) -> str | None:
        """Return why a worker is to be replaced once its successor serves, None while it is not.

        *age* counts seconds since it began to serve.
        """
        options = self._options
        if age < options.min_worker_lifetime and not 0 < self._age < options.min_worker_lifetime:
            return None
        if self._requests and requests >= self._requests:
            more = self._requests - options.max_requests
            chance = f" and {more} more by max-requests-delta" if more else ""
            limit = f"max-requests = {options.max_requests}{chance}"
            return f"it has served {number_of(requests, 'request')} ({limit})"
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
