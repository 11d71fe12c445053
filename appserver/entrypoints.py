"""Entry points of the distributions on sys.path, as their ``entry_points.txt`` name them.

importlib.metadata finds the same in whatever holds distributions, and takes as long as the rest of a
start's imports: it has all of email and zipfile with it. Here they are directories, as pip installs them.
"""

from __future__ import annotations

import os
import re
import sys
from functools import reduce
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY = re.compile(r"([\w.]+)(?:-.*)?\.(?:dist|egg)-info")
_POINT = re.compile(r"\s*([^=\s]+)\s*=\s*([\w.]+):([\w.]+)")


class EntryPoint(NamedTuple):
    """A name, and the object that it stands for."""

    name: str
    value: str  # module:attribute
    distribution: str = ""

    def load(self) -> Any:
        """Import the module and return the object."""
        module, _, attribute = self.value.partition(":")
        return reduce(getattr, attribute.split("."), import_module(module))


def entry_points(group: str) -> Iterator[EntryPoint]:
    """Yield those of a group; of a distribution that is there twice the first one counts."""
    seen = set()
    for directory in sys.path:
        try:
            names = os.listdir(directory or ".")
        except OSError:  # there is none, or it is an archive
            continue
        for match in filter(None, map(_DIRECTORY.fullmatch, names)):
            distribution = re.sub(r"[_.]+", "-", match[1]).lower()
            if distribution in seen:
                continue
            seen.add(distribution)
            try:
                with open(os.path.join(directory, match[0], "entry_points.txt"), encoding="utf-8") as file:
                    text = file.read()
            except OSError:  # most have none
                continue
            if f"[{group}]" in text:
                section = text.partition(f"[{group}]")[2].partition("\n[")[0]
                for name, module, attribute in _POINT.findall(section):
                    yield EntryPoint(name, f"{module}:{attribute}", distribution)
