"""Times of the clock, as uWSGI's cron writes them."""

from __future__ import annotations

import time

import pytest

from appserver import clock as clocks
from appserver.clock import Clock, Schedule
from tests.support.wall import Ended, Wall, seconds


@pytest.mark.parametrize(
    "clock, text, matches",
    [
        ((-1, -1, -1, -1, -1), "2026-03-01 10:07", True), ((7, 10, 1, 3, -1), "2026-03-01 10:07", True),
        ((8, -1, -1, -1, -1), "2026-03-01 10:07", False), ((-5, -1, -1, -1, -1), "2026-03-01 10:10", True),
        ((-5, -1, -1, -1, -1), "2026-03-01 10:11", False), ((-1, -1, -1, -1, 0), "2026-03-01 10:07", True),
        ((-1, -1, -1, -1, 7), "2026-03-01 10:07", True), ((-1, -1, -1, -1, 1), "2026-03-01 10:07", False),
        ((-1, -1, -1, -1, 1), "2026-03-02 10:07", True),
        # Where a day and a weekday are given, one is enough; an interval of days is no day.
        ((0, 3, 1, -1, 1), "2026-03-01 03:00", True), ((0, 3, 1, -1, 1), "2026-03-02 03:00", True),
        ((0, 3, 1, -1, 1), "2026-03-03 03:00", False), ((0, 3, 1, -1, 1), "2026-03-02 03:01", False),
        ((0, 3, 8, -1, 7), "2026-03-01 03:00", True), ((0, 3, 8, 4, 7), "2026-03-08 03:00", False),
        ((0, 3, -2, -1, 1), "2026-03-04 03:00", False), ((0, 3, -2, -1, 1), "2026-03-09 03:00", False),
        ((0, 3, -2, -1, 1), "2026-03-02 03:00", True), ((0, 3, 2, -1, -2), "2026-03-03 03:00", False),
    ],
)  # fmt: skip
def test_the_clock(clock, text, matches):
    assert Clock(*clock).matches(time.strptime(text, "%Y-%m-%d %H:%M")) is matches


class Waiting:
    """Wait for a clock's minutes as cron does, and tell when they came."""

    def __init__(self, monkeypatch, clock, begin, until):
        self.wall = Wall(begin, until)
        monkeypatch.setattr(clocks, "time", self.wall)
        self.schedule = Schedule(Clock(*clock))

    def run(self, part=1.0):
        """Return the times of day, each sleep being *part* of what it should be."""
        found = []
        try:
            while True:
                self.wall.sleep(self.schedule.pause() * part)
                if self.schedule.due():
                    found.append(time.strftime("%H:%M:%S", time.localtime(self.wall.now)))
        except Ended:
            return found

    def pass_until(self, text):
        self.wall.until = seconds(text)
        return self.run()

    def step(self, text, until):
        """Set the clock, and wait until it shows another time."""
        self.wall.now = seconds(text)
        return self.pass_until(until)


EVERY = (-1, -1, -1, -1, -1)
DAILY = (30, 3, -1, -1, -1)


@pytest.mark.parametrize("part", [1, 0.9, 0.9999])
def test_a_minute_comes_once_and_in_time(monkeypatch, part):
    day = "2026-03-01 00:00:30", "2026-03-02 02:00:30"
    assert Waiting(monkeypatch, DAILY, *day).run(part) == ["03:30:00"]
    hour = "2026-03-01 03:00:00", "2026-03-01 03:05:00"
    assert [each[:5] for each in Waiting(monkeypatch, EVERY, *hour).run(part)] == [
        "03:01", "03:02", "03:03", "03:04", "03:05",
    ]  # fmt: skip


@pytest.mark.parametrize("clock, more", [(DAILY, []), (EVERY, ["03:32:00"])])
def test_a_clock_that_is_stepped_back_repeats_nothing(monkeypatch, clock, more):
    waiting = Waiting(monkeypatch, clock, "2026-03-01 03:29:10", "2026-03-01 03:30:10")
    assert waiting.run()[:1] == ["03:30:00"]
    assert waiting.step("2026-03-01 03:20:00", "2026-03-01 03:31:10") == more


def test_a_clock_that_was_wrong_by_hours_counts_from_what_it_shows(monkeypatch):
    waiting = Waiting(monkeypatch, DAILY, "2027-03-01 03:29:10", "2027-03-01 03:30:10")
    assert waiting.run() == ["03:30:00"]
    assert waiting.step("2026-03-01 00:00:00", "2026-03-01 12:00:00") == ["03:30:00"]
    assert waiting.step("2026-03-02 12:00:00", "2026-03-02 20:00:00") == []
    assert waiting.step("2027-03-01 03:30:20", "2027-03-01 20:00:00") == ["03:30:20"]


@pytest.mark.parametrize("clock", [DAILY, EVERY])
def test_minutes_that_were_stepped_over_are_made_up_for_once(monkeypatch, clock):
    waiting = Waiting(monkeypatch, clock, "2026-03-01 02:58:10", "2026-03-01 02:58:20")
    waiting.run()
    late = waiting.step("2026-03-01 05:10:20", "2026-03-01 05:11:20")
    assert late == ["05:10:20", *(["05:11:00", "05:12:00"] if clock is EVERY else [])]
