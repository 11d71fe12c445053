"""Conditions of ``route-if``: what a rule asks of a request and of the system."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appserver.ip import address_of, network_of
from appserver.options import BadValue, UnsupportedValue, regex
from appserver.placeholders import checked, filled

if TYPE_CHECKING:
    from collections.abc import Callable

    Environ = dict[str, Any]

_YES = re.compile("")


def _number(text: str) -> int:
    """Return the number that a text begins with, 0 for none, as uWSGI has it."""
    match = re.match(r"[0-9]*", text)
    assert match is not None
    return int(match[0] or 0)


def _within(address: str, network: str) -> bool:
    try:
        return address_of(address) in network_of(network, strict=False)
    except ValueError:
        return False


_OF_TWO: dict[str, Callable[[str, str], bool]] = {
    "equal": lambda one, two: one == two,
    "startswith": lambda one, two: one.startswith(two),
    "endswith": lambda one, two: one.endswith(two),
    "contains": lambda one, two: two in one,
    "ipv4in": _within,
    "ipv6in": _within,
    "ishigher": lambda one, two: _number(one) > _number(two),
    "islower": lambda one, two: _number(one) < _number(two),
    "ishigherequal": lambda one, two: _number(one) >= _number(two),
    "islowerequal": lambda one, two: _number(one) <= _number(two),
}
_OF_ONE: dict[str, Callable[[bytes], bool]] = {
    "empty": lambda text: not text,
    "exists": os.path.exists,
    "isfile": os.path.isfile,
    "isdir": os.path.isdir,
    "islink": os.path.islink,
    "isexec": lambda path: os.access(path, os.X_OK),
}
_ALIASES = {
    "isequal": "equal", "eq": "equal", "==": "equal", "re": "regexp", "contain": "contains",
    ">": "ishigher", "<": "islower", ">=": "ishigherequal", "<=": "islowerequal",
}  # fmt: skip
NAMES = (*_OF_TWO, "regexp", *_OF_ONE)


@dataclass(frozen=True)
class Condition:
    """A test of one text, or of two, in which variables of the request are replaced."""

    name: str
    one: str
    two: str = ""
    pattern: re.Pattern[str] | None = None

    def match(self, environ: Environ) -> re.Match[str] | None:
        """Return the match, with the groups of a regular expression; None where it does not hold."""
        nothing = _YES.search("")
        assert nothing is not None
        one = filled(self.one, nothing, environ)
        if self.pattern is not None:
            return self.pattern.search(one)
        if self.name in _OF_ONE:
            return nothing if _OF_ONE[self.name](one.encode("latin-1")) else None
        return nothing if _OF_TWO[self.name](one, filled(self.two, nothing, environ)) else None


def condition(text: str) -> Condition:
    """Return the condition of ``name:text`` or ``name:text;text``; raise `BadValue` or `UnsupportedValue`."""
    name, colon, rest = text.partition(":")
    name = _ALIASES.get(name, name)
    if not colon or name not in NAMES:
        raise UnsupportedValue(f"a condition of {', '.join(NAMES)}")
    checked(rest)
    if name in _OF_ONE:
        return Condition(name, rest)
    one, semicolon, two = rest.partition(";")
    if not semicolon:
        raise BadValue(f"{name}:text;text, such as equal:${{REQUEST_METHOD}};POST")
    if name == "regexp":
        return Condition(name, one, pattern=regex(two))
    if name in {"ipv4in", "ipv6in"} and "$" not in two:
        try:
            network_of(two, strict=False)
        except ValueError:
            raise BadValue(f"{name}:${{REMOTE_ADDR}};network, such as 10.0.0.0/8") from None
    return Condition(name, one, two)
