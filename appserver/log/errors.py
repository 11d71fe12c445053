"""``wsgi.errors``: what applications write to it goes to the log."""

from __future__ import annotations

import logging
from threading import local
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


# As it is before anybody replaces it: what collects errors that are logged has its own way to those of
# applications, which write here what they have logged already.
_hand_on = logging.Logger.callHandlers


class Errors(local):
    """The text stream that applications see as ``wsgi.errors``: its lines go to the log."""

    def __init__(self) -> None:
        self._log = logging.getLogger("appserver.application")
        self._begun = ""  # a line whose end is still to come

    def write(self, text: str) -> int:
        """Log the lines that *text* completes as one message."""
        lines, _, self._begun = (self._begun + text).rpartition("\n")
        if lines.strip() and self._log.isEnabledFor(logging.ERROR):
            said = (lines.strip("\n"),)
            record = self._log.makeRecord(self._log.name, logging.ERROR, "wsgi.errors", 0, "%s", said, None)
            if self._log.filter(record):
                _hand_on(self._log, record)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Log several pieces of text."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log a line that is not ended."""
        if self._begun:
            self.write("\n")
