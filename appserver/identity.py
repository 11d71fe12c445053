"""Who this process is: a worker with its number, or none."""

from __future__ import annotations

_worker = 1  # of a server without a master


def worker_id() -> int:
    """Return this worker's number, from 1; 0 in a process that is no worker."""
    return _worker


def become(number: int) -> None:
    """Be the worker of that number from now on; 0 for none."""
    global _worker  # noqa: PLW0603  (there is one process)
    _worker = number
