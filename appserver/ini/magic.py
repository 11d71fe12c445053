"""Magic variables: ``%d``, ``%n`` and the others, which stand for parts of the file's own path."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import sys
import time
from typing import TYPE_CHECKING

from appserver import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

_CAPITALS = "odspcenxij"  # %O and so on are those of the first file, whatever it includes


class Magic:
    """The variables as they are for one file after the other."""

    def __init__(self) -> None:
        now = time.time()
        self._table = {
            "%": "%", "(": "%(", "[": "\033",
            "v": os.getcwd(), "h": socket.gethostname(), "k": str(os.cpu_count() or 1), "V": __version__,
            "t": str(int(now)), "T": str(int(now * 1_000_000)), "b": os.path.abspath(sys.argv[0]),
            "u": str(os.getuid()), "U": _name(lambda: pwd.getpwuid(os.getuid()).pw_name, os.getuid()),
            "g": str(os.getgid()), "G": _name(lambda: grp.getgrgid(os.getgid()).gr_name, os.getgid()),
        }  # fmt: skip
        self._begun = False

    def of(self, path: str, section: str, *, first: bool) -> dict[str, str]:
        """Return the variables for *section* of the file at *path*.

        With *first* it may be the file whose variables the capitals stand for, and is if none was before.
        """
        table = self._table
        absolute = os.path.abspath(path) if os.path.islink(path) else os.path.realpath(path)
        directory, base = os.path.split(absolute)
        stem, dot, extension = base.rpartition(".")
        parts = [part for part in directory.split("/") if part]
        table |= {str(digit): "".join(parts[digit : digit + 1]) for digit in range(10)}
        table |= {
            "o": path, "p": absolute, "s": base, "d": directory.rstrip("/") + "/", "c": "".join(parts[-1:]),
            "n": stem if dot else base, "e": extension if dot else "", "x": section,
            "i": str(os.lstat(absolute).st_ino) if os.path.lexists(absolute) else "", "j": _hash(absolute),
        }  # fmt: skip
        if first and not self._begun:
            self._begun = True
            table |= {each.upper(): table[each] for each in _CAPITALS}
        return table


def _name(look_up: Callable[[], str], number: int) -> str:
    try:
        return look_up()
    except KeyError:  # an account that has only a number, as in containers
        return str(number)


def _hash(text: str) -> str:
    """Return uWSGI's djb33x hash in hexadecimal, in the order of bytes that a little-endian machine has."""
    value = 5381
    for byte in os.fsencode(text):
        value = (value * 33 ^ byte) & 0xFFFFFFFF
    return value.to_bytes(4, "little").hex().upper()
