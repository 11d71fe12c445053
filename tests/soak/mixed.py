"""Slow requests among fast ones, through Mongrel2 to a blocking application: do they hold others up?

The clients are so many that none waits for its own answer, so requests come at a steady rate whatever the
server does.
"""

from __future__ import annotations

from time import sleep

from tests.soak.account import percentiles
from tests.soak.load import Load

SHARE, SECONDS = 0.05, 1.0  # of the requests, and what they take
HELD_UP = 0.1  # seconds beyond which a fast request has been held up
PERIOD = 4.0  # seconds between two requests of one client


def mixed(site, rate, seconds):
    """Return the figures of *rate* requests a second for so many *seconds*."""
    load = Load({"mongrel2": site.doors["mongrel2"]}, rate, round(rate * PERIOD), SHARE, SECONDS)
    with load:
        sleep(seconds)
    requests = load.requests()
    answered = [sent for sent in requests if sent.outcome == "ok"]
    fast = [sent.took for sent in answered if not sent.seconds]
    slow = [sent.took for sent in answered if sent.seconds]
    return {
        "asked_rate": rate,
        "rate": round(len(requests) / (load.ended - load.began), 1),
        "seconds": round(load.ended - load.began, 1),
        "requests": len(requests),
        "not_answered_well": len(requests) - len(answered),
        "fast": {
            **percentiles(fast),
            "over_100_ms_percent": round(100 * sum(took > HELD_UP for took in fast) / len(fast), 1),
            "longest_ms": round(max(fast) * 1000),
        },
        "slow": {**percentiles(slow), "requests": len(slow)},
    }
