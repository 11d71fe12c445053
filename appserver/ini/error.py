"""What is wrong with a file."""

from __future__ import annotations


class IniError(Exception):
    """Say what is wrong with a file, and where."""
