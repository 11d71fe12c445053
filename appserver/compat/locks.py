"""Locks that all processes of a server share: ``uwsgi.lock`` and its kin.

They are record locks (fcntl(2)) on the bytes of a file without a name, which every process inherits. The
kernel releases those of a process that ends, in whatever way. Threads of one process, which it does not tell
apart, and greenlets have a lock of their own before.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import threading
import time
from dataclasses import dataclass

from appserver.options import option

_FLOCK = struct.Struct("@hhqqi")  # struct flock
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.02  # seconds between tries where greenlets must go on


@dataclass(frozen=True)
class LockOptions:
    """The uwsgi module."""

    locks: int = option(
        0, "How many locks uwsgi.lock has beside the first one, which is number 0.", example="4",
        note="A process that ends releases its own.",
    )  # fmt: skip


class Locks:
    """The locks of a server, by number; not recursive."""

    def __init__(self) -> None:
        self._fd = -1
        self._pid = 0
        self._own: dict[int, threading.Lock] = {}  # of this process's threads
        self._held: set[int] = set()

    def share(self) -> None:
        """Make the file, in the process from which all others descend."""
        if self._fd < 0:
            self._fd = os.memfd_create("appserver-locks", os.MFD_CLOEXEC)

    def acquire(self, number: int) -> None:
        """Wait for a lock and take it."""
        own = self._of_process(number)
        own.acquire()
        try:
            self._wait(number)
            self._held.add(number)
        except BaseException:
            own.release()
            raise

    def _wait(self, number: int) -> None:
        if not _greenlets():
            fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, number)
            return
        pause = _FIRST_PAUSE
        while True:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except BlockingIOError:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return

    def release(self, number: int) -> None:
        """Give a lock back; nothing happens where this process does not have it."""
        own = self._of_process(number)
        if number in self._held:
            self._held.discard(number)
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, number)
            own.release()

    def holder(self, number: int) -> int:
        """Return the pid of the process that has a lock; 0 for none."""
        self._of_process(number)
        if number in self._held:
            return self._pid
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_GETLK, asked))
        return 0 if kind == fcntl.F_UNLCK else int(pid)

    def _of_process(self, number: int) -> threading.Lock:
        """Return the lock of this process's threads; what a parent held is not held in its child."""
        if self._pid != os.getpid():
            self.share()
            self._pid = os.getpid()
            self._own = {}
            self._held = set()
        return self._own.setdefault(number, threading.Lock())


def _greenlets() -> bool:
    """Tell whether others go on while time.sleep waits, so that nothing may block their thread."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("time"))


LOCKS = Locks()
