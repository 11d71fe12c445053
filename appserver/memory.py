"""How much memory a process has (proc(5), statm)."""

from __future__ import annotations

import os
from typing import NamedTuple

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Memory(NamedTuple):
    """Bytes: what is resident, and the whole address space."""

    resident: int
    every: int


def memory(pid: int | str = "self") -> Memory:
    """Return what a process has, by default this one; zeros when it has gone."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            every, resident = file.read().split()[:2]
            return Memory(int(resident) * _PAGE, int(every) * _PAGE)
    except (OSError, ValueError):
        return Memory(0, 0)
