"""What keeps a server from starting in the way that its options ask for."""

from __future__ import annotations


class StartError(Exception):
    """Say why the server cannot start; ``option`` is the option to look at, ``value`` is in its value."""

    def __init__(self, option: str, reason: str, value: str = "") -> None:
        super().__init__(reason)
        self.option = option
        self.value = value
