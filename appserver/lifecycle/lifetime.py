"""Whose processes end with whom: what Linux offers through prctl(2)."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent has died; raise `OSError` where that cannot be.

    So the master of workers reaps them after their preloader has gone (PR_SET_CHILD_SUBREAPER).
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, "be the reaper of orphans (PR_SET_CHILD_SUBREAPER)")


def die_with_parent(parent: int, number: int = signal.SIGTERM) -> None:
    """Get a signal when *parent*, this process's parent, dies; raise `OSError` where that cannot be.

    A parent that has died already is noticed, too. fork(2) and a change of user undo it
    (PR_SET_PDEATHSIG). The kernel means the parent's *thread* that forked.
    """
    _prctl(_PR_SET_PDEATHSIG, number, "end with the parent (PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _prctl(what: int, value: int, purpose: str) -> None:
    try:
        function = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        raise OSError(f"cannot {purpose}: the C library has no prctl; this server needs Linux") from None
    if function(what, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
        number = ctypes.get_errno()
        raise OSError(number, f"cannot {purpose}: {os.strerror(number)}")
