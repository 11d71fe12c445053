"""Times of the clock, as uWSGI's cron writes them."""

from __future__ import annotations

import time

import pytest

from appserver.clock import Clock


@pytest.mark.parametrize(
    "clock, text, matches",
    [
        ((-1, -1, -1, -1, -1), "2026-03-01 10:07", True), ((7, 10, 1, 3, -1), "2026-03-01 10:07", True),
        ((8, -1, -1, -1, -1), "2026-03-01 10:07", False), ((-5, -1, -1, -1, -1), "2026-03-01 10:10", True),
        ((-5, -1, -1, -1, -1), "2026-03-01 10:11", False), ((-1, -1, -1, -1, 0), "2026-03-01 10:07", True),
        ((-1, -1, -1, -1, 7), "2026-03-01 10:07", True), ((-1, -1, -1, -1, 1), "2026-03-01 10:07", False),
        ((-1, -1, -1, -1, 1), "2026-03-02 10:07", True),
    ],
)  # fmt: skip
def test_the_clock(clock, text, matches):
    assert Clock(*clock).matches(time.strptime(text, "%Y-%m-%d %H:%M")) is matches
