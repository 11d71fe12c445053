"""Dates as header fields have them (RFC 9110 section 5.6.7), without all of email that formatdate needs."""

from __future__ import annotations

from time import gmtime

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(second: int) -> str:
    """Return the date of a second since the epoch."""
    year, month, day, hour, minute, seconds, weekday, *_ = gmtime(second)
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{seconds:02} GMT"
