"""Conditions and loops: what becomes of the options between ``if-...`` or ``for...`` and their end."""

from __future__ import annotations

import glob
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appserver.ini.error import IniError
from appserver.pcre import RegexError, compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Found = tuple[bool, str | None]  # whether the condition holds, and what %(_) stands for

ENDS = frozenset({"end", "endif", "end-if", "endfor", "end-for"})

# What `if-plugin` says yes to: what this server does by itself.
_PLUGINS = frozenset(
    [
        "python",
        "python2",
        "python3",
        "gevent",
        "http",
        "logfile",
        "logzmq",
        "logsocket",
        "mongrel2",
        "zeromq",
        "signal",
        "ping",
    ]
)


@dataclass(frozen=True)
class Facts:
    """What conditions ask about beside the system."""

    option: Callable[[str], str | None]  # the first value that an option has so far
    reloading: bool = False


def _named(value: str | None, wanted: str) -> Found:
    """Compare with ``name`` (is it there?) or ``name=value``."""
    _, equals, text = wanted.partition("=")
    return value is not None and (not equals or value == text), value


def _env(wanted: str, _: Facts) -> Found:
    return _named(os.environ.get(wanted.partition("=")[0]), wanted)


def _opt(wanted: str, facts: Facts) -> Found:
    return _named(facts.option(wanted.partition("=")[0]), wanted)


def _matches(pattern: str, _: Facts) -> Found:
    try:
        return compiled(pattern).search(socket.gethostname()) is not None, pattern
    except RegexError as error:
        raise IniError(f"{pattern} is no regular expression: {error}") from None


_TESTS: dict[str, Callable[[str, Facts], Found]] = {
    "env": _env,
    "opt": _opt,
    "exists": lambda path, _: (os.access(path, os.R_OK), path),
    "file": lambda path, _: (os.path.isfile(path), path),
    "dir": lambda path, _: (os.path.isdir(path), path),
    "plugin": lambda name, _: (name in _PLUGINS, name),
    "hostname": lambda name, _: (socket.gethostname() == name, name),
    "hostname-match": _matches,
    "reload": lambda _, facts: (facts.reloading, None),
}
_ALIASES = {
    "ifenv": "env", "ifexists": "exists", "ifplugin": "plugin", "ifdir": "dir", "if-directory": "dir",
}  # fmt: skip


def _words(value: str) -> Iterator[str]:
    return (word for word in value.split(" ") if word)


def _glob(pattern: str) -> Iterator[str]:
    found = sorted(glob.glob(pattern, include_hidden=False)) or [pattern]
    return (f"{path}/" if os.path.isdir(path) and not path.endswith("/") else path for path in found)


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return iter([line.rstrip("\n") for line in file])
    except OSError as error:
        raise IniError(f"{error.strerror}: {path}") from None


def _times(value: str) -> Iterator[str]:
    if not (value.isascii() and value.isdigit()):
        raise IniError(f"{value or 'nothing'} is no number of times")
    return (str(number) for number in range(1, int(value) + 1))


_LOOPS: dict[str, Callable[[str], Iterator[str]]] = {
    "for": _words, "for-glob": _glob, "for-readline": _lines, "for-times": _times,
}  # fmt: skip

CONDITIONS: dict[str, tuple[str, bool]] = {name: (test, True) for name, test in _ALIASES.items()}
for _test in _TESTS:
    CONDITIONS[f"if-{_test}"] = (_test, True)
    CONDITIONS[f"if-not-{_test}"] = (_test, False)
NAMES = frozenset({*CONDITIONS, *_LOOPS, *ENDS, "else"})


class Block:
    """The options between a condition or a loop and its end, taken one by one."""

    def __init__(self, name: str, value: str, facts: Facts) -> None:
        self._name = name
        self._value = value
        self._facts = facts
        self._held: bool | None = None  # at the last look
        self._otherwise = False

    def otherwise(self) -> None:
        """Take what stands behind ``else``; raise `IniError` where that makes no sense."""
        if self._name in _LOOPS:
            raise IniError(f"else stands in {self._name}, which is no condition")
        if self._otherwise:
            raise IniError("else stands twice in one condition")
        if self._held is None:
            self._look()
        self._otherwise = True

    def values(self, value: str) -> list[str]:
        """Return *value* as often as the option is to be taken, with ``%(_)`` replaced; raise `IniError`.

        The condition is looked at for each option anew, as uWSGI does it.
        """
        loop = _LOOPS.get(self._name)
        if loop is not None:
            return [value.replace("%(_)", each) for each in loop(self._value)]
        if self._otherwise:
            return [] if self._held else [value]
        found = self._look()
        if not self._held:
            return []
        return [value if found is None else value.replace("%(_)", found)]

    def _look(self) -> str | None:
        test, wanted = CONDITIONS[self._name]
        holds, found = _TESTS[test](self._value, self._facts)
        self._held = holds is wanted
        return found
