"""The clock of the wall as a test sets it."""

from __future__ import annotations

import threading
import time


class Ended(Exception):
    """The time of a test is over."""


class Wall:
    """Stand for the module ``time``: who sleeps wakes in the moment that it has asked for.

    That of localtime() without an argument is coarser, as in Linux: it is a tick behind. Threads that other
    tests have left sleep as long as they would.
    """

    def __init__(self, text, until):
        self.now, self.until = seconds(text), seconds(until)
        self._thread = threading.get_ident()

    def time(self):
        return self.now

    def localtime(self, when=None):
        return time.localtime(self.now - 0.004 if when is None else when)

    def sleep(self, length):
        if threading.get_ident() != self._thread:
            time.sleep(length)
            return
        if self.now >= self.until:
            raise Ended
        self.now += max(length, 1e-6)

    @staticmethod
    def monotonic():
        return time.monotonic()


def seconds(text):
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))
