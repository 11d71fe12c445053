"""Where the log's lines go in tests."""

from __future__ import annotations


class Lines:
    def __init__(self):
        self.lines = []
        self.closed = 0

    def write(self, line):
        self.lines.append(line)

    def close(self):
        self.closed += 1
