"""Who this process is: a worker with its number, or none, and of which generation."""

from __future__ import annotations

_worker = _generation = 1  # of a server without a master


def worker_id() -> int:
    """Return this worker's number, from 1; 0 in a process that is no worker."""
    return _worker


def generation() -> int:
    """Return the number of this process's generation, from 1: a reload begins the next one."""
    return _generation


def become(number: int, generation: int = 1) -> None:
    """Be the worker of that number from now on; 0 for none."""
    global _worker, _generation
    _worker, _generation = number, generation
