"""How many processors this process may use: its affinity and its control group's quota."""

from __future__ import annotations

import math
import os

_ROOT = "/sys/fs/cgroup"
_MEMBERSHIP = "/proc/self/cgroup"


def available(root: str = _ROOT, membership: str = _MEMBERSHIP) -> int:
    """Return the number of processors, at least 1; a quota of 1.5 processors counts as 2.

    Both versions of control groups are read, and every group from ours up: the tightest counts
    (cgroups(7), kernel: cgroup-v2.rst "cpu.max", sched-bwc.rst "cpu.cfs_quota_us").
    """
    count = len(os.sched_getaffinity(0))
    for directory in _groups(root, membership):
        quota = _quota(directory)
        if quota is not None:
            count = min(count, math.ceil(quota))
    return max(1, count)


def _groups(root: str, membership: str) -> list[str]:
    """Return the directories of our groups and of all above them."""
    found = [root]  # in a container its own group is mounted there
    for line in _read(membership).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = f"{root}/{controllers}" if controllers else root
        parts = [part for part in path.split("/") if part]
        found += ["/".join([base, *parts[:depth]]) for depth in range(len(parts) + 1)]
    return found


def _quota(directory: str) -> float | None:
    limit = _read(f"{directory}/cpu.max").split()
    if not limit:
        limit = [_read(f"{directory}/cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    try:
        quota, period = int(limit[0]), int(limit[1])
    except (ValueError, IndexError):  # "max", or there is none
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
