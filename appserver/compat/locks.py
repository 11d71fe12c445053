"""Locks that all processes of a server share: ``uwsgi.lock`` and its kin.

They are record locks (fcntl(2)) on the bytes of a file without a name, which every process inherits. The
kernel releases those of a process that ends, in whatever way. Threads of one process, which it does not tell
apart, and greenlets have a lock of their own before.
"""

from __future__ import annotations

import errno
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


class _Process:
    """What one process knows of the locks."""

    __slots__ = ("held", "own")

    def __init__(self) -> None:
        self.own: dict[int, threading.Lock] = {}  # of its threads
        self.held: set[int] = set()


class Locks:
    """The locks of a server, by number; not recursive."""

    def __init__(self) -> None:
        self._fd = -1
        self._processes: dict[int, _Process] = {}  # this one's by its pid, once it has asked

    def share(self) -> None:
        """Make the file, in the process from which all others descend."""
        if self._fd < 0:
            self._fd = os.memfd_create("appserver-locks", os.MFD_CLOEXEC)

    def acquire(self, number: int) -> None:
        """Wait for a lock and take it."""
        process = self._here()
        own = process.own.setdefault(number, threading.Lock())
        own.acquire()
        try:
            lock(self._fd, 1, number)
            process.held.add(number)
        except BaseException:
            own.release()
            raise

    def release(self, number: int) -> None:
        """Give a lock back; nothing happens where this process does not have it."""
        process = self._here()
        if number in process.held:
            process.held.discard(number)
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, number)
            process.own[number].release()

    def holder(self, number: int) -> int:
        """Return the pid of the process that has a lock; 0 for none."""
        if number in self._here().held:
            return os.getpid()
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_GETLK, asked))
        return 0 if kind == fcntl.F_UNLCK else int(pid)

    def _here(self) -> _Process:
        """Return what this process knows; what a parent held is not held in its child."""
        pid = os.getpid()
        found = self._processes.get(pid)
        if found is None:
            self.share()
            found = self._processes.setdefault(pid, _Process())  # the same for all threads that come first
            for other in [*self._processes]:
                if other != pid:
                    self._processes.pop(other, None)
        return found


def lock(fd: int, length: int = 0, start: int = 0) -> None:
    """Wait for the lock of *length* bytes of a file, by default all, and take it for this process."""
    if not _greenlets():
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX, length, start)
        except OSError as error:
            # Its threads are one process for the kernel: what each of two has and waits for need not be
            # of the same thread.
            if error.errno != errno.EDEADLK:
                raise
        else:
            return
    pause = _FIRST_PAUSE
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        except BlockingIOError:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return


def _greenlets() -> bool:
    """Tell whether others go on while time.sleep waits, so that nothing may block their thread."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("time"))


LOCKS = Locks()
