"""Times of the clock, as cron and uWSGI write them: which minutes match, and when they have come."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableSequence

_MINUTE = 60
_CORRECTED = 3 * 60 * _MINUTE  # seconds; a clock that is off by more was wrong before, as for cron(8)


@dataclass(frozen=True)
class Clock:
    """The minutes that match the five fields: -1 is any, -5 every fifth; Sunday is 0 or 7.

    Where a day and a weekday are given, one of both is enough, as for uWSGI and cron(8).
    """

    minute: int
    hour: int
    day: int
    month: int
    weekday: int

    def matches(self, now: time.struct_time) -> bool:
        """Tell whether it is time."""
        weekday = 0 if self.weekday == 7 else self.weekday
        days = _matches(self.day, now.tm_mday), _matches(weekday, (now.tm_wday + 1) % 7)
        return (
            _matches(self.minute, now.tm_min)
            and _matches(self.hour, now.tm_hour)
            and _matches(self.month, now.tm_mon)
            and (any(days) if self.day >= 0 and weekday >= 0 else all(days))
        )


class Schedule:
    """Whether it is time, for one who again and again sleeps for as long as `pause` says and asks `due`.

    Each minute counts once, also where the clock is stepped back. Several that have passed meanwhile count
    as one. A clock that is corrected by hours begins anew with the minute that it shows. The first of
    *numbers* is the minute that is waited for; several processes that have the same count it once.
    """

    def __init__(self, clock: Clock, numbers: MutableSequence[float] | None = None) -> None:
        self._clock = clock
        self._numbers = [0.0] if numbers is None else numbers
        self._numbers[0] = self._numbers[0] or _following(time.time())

    def pause(self) -> float:
        """Return the seconds until the next minute begins, or until the clock may have been stepped."""
        return min(max(self._numbers[0] - time.time(), 0.0), _MINUTE)

    def due(self) -> bool:
        """Tell whether a minute that matches has begun since the last time that this was asked.

        A sleep may be too short, and localtime() without an argument reads a coarser clock, which may
        still be in the minute before; so it is the minute that is waited for that is looked at.
        """
        now, begun = time.time(), int(self._numbers[0])
        following = _following(now)
        if now < begun - _CORRECTED:
            self._numbers[0] = following
        if now < begun:
            return False
        self._numbers[0] = following
        if now - begun >= _CORRECTED:
            begun = following - _MINUTE
        return any(self._clock.matches(time.localtime(each)) for each in range(begun, following, _MINUTE))


def _matches(wanted: int, value: int) -> bool:
    return value % -wanted == 0 if wanted < 0 else wanted == value


def _following(now: float) -> int:
    return (int(now) // _MINUTE + 1) * _MINUTE
