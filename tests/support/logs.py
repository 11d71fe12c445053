"""Where the log's lines go in tests."""

from __future__ import annotations


class Lines:
    def __init__(self):
        self.lines = []
        self.calls = []

    def write(self, line, later=False):
        self.lines.append(line)

    def flush(self):
        pass

    def rotate(self):
        pass

    def reopen(self):
        self.calls.append("reopen")

    def forked(self):
        self.calls.append("forked")

    def close(self):
        self.calls.append("close")
        return 0
