"""Lines of an ini file: the sections, keys and values of a text, each with its number.

A comment begins a line. There are no continuations, quotes or escapes. In ``[appserver]``, and in what
it includes, a comment may stand behind a value, too, and a ``%`` that begins no variable is a mistake;
elsewhere uWSGI's rules hold: `core/ini.c` cuts a section's name before the last character of its line, and
`magic_sub` takes ``%`` and whatever follows it away, even the end of a line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OWN = "appserver"  # the section in which the stricter rules hold

_BLANK = " \t\r"
_INLINE = re.compile(r"(?:^|\s)[;#].*")
_MAGIC = re.compile(r"%(.?)", re.DOTALL)
_OWN_HEADER = re.compile(rf"\[{OWN}\]\s*([;#].*)?")


@dataclass(frozen=True)
class Line:
    """A key with its value, or the header of a section; ``odd`` are the ``%x`` in it that name nothing."""

    number: int
    section: str
    key: str
    value: str
    odd: tuple[str, ...] = ()
    is_header: bool = False


def lines(text: str, magic: Mapping[str, str]) -> Iterator[Line]:
    """Yield every key of *text*, and the header of every section; *magic* are the ``%x``."""
    section = ""
    for number, line, odd in _substituted(text, magic):
        stripped = line.strip(_BLANK)
        if not stripped or stripped[0] in ";#":
            continue
        if stripped[0] == "[":
            section = OWN if _OWN_HEADER.fullmatch(stripped) else stripped[1:][:-1]
            yield Line(number, section, "", "", is_header=True)
            continue
        key, _, value = stripped.partition("=")
        yield Line(number, section, key.rstrip(_BLANK), value.strip(_BLANK), odd)


def uncommented(value: str) -> str:
    """Return a value without the comment behind it."""
    return _INLINE.sub("", value).rstrip(_BLANK)


def commented(value: str) -> bool:
    """Tell whether a value looks as if a comment stood behind it."""
    return bool(_INLINE.search(value))


def _substituted(text: str, magic: Mapping[str, str]) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Yield each line with its number, its variables replaced, and those that there are not."""
    first, begun, odd = 0, "", []

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if name in magic:
            return magic[name]
        odd.append(match[0].rstrip("\n"))
        return ""

    for number, line in enumerate(text.split("\n"), 1):
        first = first or number
        begun += _MAGIC.sub(replaced, f"{line}\n")
        if begun.endswith("\n"):
            yield first, begun[:-1], tuple(odd)
            first, begun, odd = 0, "", []
    if begun:  # a % is the last character
        yield first, begun, tuple(odd)
