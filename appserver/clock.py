"""Times of the clock, as cron and uWSGI write them: which minutes match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from time import struct_time


@dataclass(frozen=True)
class Clock:
    """The minutes that match all five fields: -1 is any, -5 every fifth; Sunday is 0 or 7."""

    minute: int
    hour: int
    day: int
    month: int
    weekday: int

    def matches(self, now: struct_time) -> bool:
        """Tell whether it is time."""
        sunday = 7 if self.weekday == 7 else 0
        pairs = (
            (self.minute, now.tm_min), (self.hour, now.tm_hour), (self.day, now.tm_mday),
            (self.month, now.tm_mon), (self.weekday, (now.tm_wday + 1) % 7 or sunday),
        )  # fmt: skip
        return all(value % -wanted == 0 if wanted < 0 else wanted == value for wanted, value in pairs)
