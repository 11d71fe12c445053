"""Numbers of things, in words."""

from __future__ import annotations


def number_of(number: int, what: str) -> str:
    """Return a number and what there are so many of; *what* is the singular."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
