"""What a request asks of a file beside its bytes: whether it has changed, and which part of it (RFC 9110)."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import nan

_RANGE = re.compile(r"bytes=\s*([0-9]{0,19})-([0-9]{0,19})\s*")  # more bytes no file has
_CODING = re.compile(r"\s*(gzip|br|\*)\s*(?:;\s*q\s*=\s*([0-9.]+)\s*)?", re.IGNORECASE)


class Unsatisfiable(Exception):
    """Say that a range has nothing of the file in it."""


def changed(tag: str, modified: float, match: str | None, unmodified_since: str | None) -> bool:
    """Tell whether the client wants another version of the file than this one, so that it gets none of it."""
    if match is not None:
        return not {"*", tag} & {each.strip() for each in match.split(",")}
    return unmodified_since is not None and int(modified) > _time(unmodified_since)


def unchanged(tag: str, modified: float, none_match: str | None, modified_since: str | None) -> bool:
    """Tell whether the client has this file; *tag* is its entity tag, *modified* seconds of its clock."""
    if none_match is not None:
        tags = [each.strip().removeprefix("W/") for each in none_match.split(",")]
        return "*" in tags or tag in tags
    return modified_since is not None and int(modified) <= _time(modified_since)


def part(
    size: int, tag: str, modified: float, asked: str | None, if_range: str | None
) -> tuple[int, int] | None:
    """Return the first byte and the end of the range that is asked for; None for the whole file.

    Several ranges, and what is no range, get the whole. Raise `Unsatisfiable`.
    """
    match = _RANGE.fullmatch(asked or "")
    if match is None or match.groups() == ("", ""):
        return None
    if if_range is not None and if_range.strip() != tag and not _same_second(modified, if_range):
        return None
    if not match[1]:
        count = min(int(match[2]), size)
        if not count:
            raise Unsatisfiable
        return size - count, size
    first = int(match[1])
    end = min(int(match[2]) + 1, size) if match[2] else size
    if match[2] and int(match[2]) < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return first, end


def takes(wanted: str, accepted: str | None) -> bool:
    """Tell whether ``Accept-Encoding`` allows a coding, ``gzip`` or ``br``."""
    qualities = {}
    for coding in (accepted or "").split(","):
        match = _CODING.fullmatch(coding)
        if match is not None:
            qualities[match[1].lower()] = float(match[2]) if _is_number(match[2]) else 1.0
    return qualities.get(wanted, qualities.get("*", 0.0)) > 0


def _is_number(text: str | None) -> bool:
    return bool(re.fullmatch(r"[0-9]+(\.[0-9]*)?", text or ""))


def _time(text: str) -> float:
    """Return the seconds of a date; for what is none, what is neither before nor after any."""
    try:
        date = parsedate_to_datetime(text)
        # asctime's form has no zone, and means UTC as the others do (RFC 9110 section 5.6.7).
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return nan


def _same_second(modified: float, text: str) -> bool:
    return int(modified) == _time(text)
