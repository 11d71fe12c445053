"""What keeps a loop from all other requests: named by the application's own line, once for each place."""

from __future__ import annotations

import linecache
import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from appserver import stacks
from appserver.options import option

if TYPE_CHECKING:
    from types import FrameType

_MANY = 1000  # places that are remembered
_OURS = os.path.dirname(os.path.abspath(__file__))
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@dataclass(frozen=True)
class BlockingOptions:
    """Blocking."""

    gevent_block_warning: float = option(
        1.0,
        "With gevent: seconds after which what keeps the loop from all others is logged; 0 = never.",
        note="own",
    )


class Places:
    """The functions that have been told of: what computes is in one line now, and soon in another."""

    def __init__(self) -> None:
        self._told: set[tuple[str, int]] = set()

    def new(self, frame: FrameType) -> bool:
        """Tell whether the stack that ends with *frame* blocks in another function than those before."""
        code = own(frame).f_code
        key = code.co_filename, code.co_firstlineno
        if key in self._told or len(self._told) >= _MANY:
            return False
        self._told.add(key)
        return True


@cache
def _libraries() -> tuple[str, ...]:
    """Return how paths begin of what is no application's code."""
    import sysconfig  # noqa: PLC0415  (only where something blocks)

    paths = {f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib")}
    return tuple(paths | {f"{_OURS}{os.sep}", "<"})


def is_own(path: str) -> bool:
    """Tell whether a file is the application's own code, and no library's."""
    return not path.startswith(_libraries()) and not any(each in path for each in _PACKAGES)


def own(frame: FrameType) -> FrameType:
    """Return the innermost frame of the stack that is the application's own code, or else the innermost."""
    at: FrameType | None = frame
    while at is not None:
        if is_own(at.f_code.co_filename):
            return at
        at = at.f_back
    return frame


def described(frame: FrameType) -> str:
    """Return where the stack that ends with *frame* blocks: the application's own line, then all of it."""
    place = own(frame)
    source = linecache.getline(place.f_code.co_filename, stacks.line_of(place), place.f_globals).strip()
    within = f", within {_named(frame)}" if place is not frame else ""
    return f"{_named(place)}: {source or '(no source)'}{within}; {stacks.described('its stack', frame)}"


def _named(frame: FrameType) -> str:
    code = frame.f_code
    module = frame.f_globals.get("__name__", "?")
    return f"{module} ({code.co_filename}:{stacks.line_of(frame)}, in {code.co_name})"
