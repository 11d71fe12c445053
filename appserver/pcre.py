r"""Regular expressions of PCRE, which uWSGI's options have, made those of Python that match the same.

Most of both languages is one. What Python would take otherwise is written anew (``[[:digit:]]``, ``\h``,
``a(?i)b``), or refused: no pattern may match something else than it says, because there are rules that guard.
"""

from __future__ import annotations

import re
import string
import warnings
from dataclasses import dataclass, field

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_QUANTIFIER = re.compile(r"(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})[+?]?")
_NO_QUANTIFIER = re.compile(r"\{,[0-9]*\}")
_GROUP = re.compile(r"\((?:\?(?::|=|!|<=|<!|>|\([0-9]+\)))?(?![?*])")
_NAMED = re.compile(rf"\(\?(?:P?<({_NAME})>|'({_NAME})')")
_REFERENCE = re.compile(rf"\(\?P=({_NAME})\)")
_FLAGS = re.compile(r"\(\?([is]*(?:-[is]+)?)([:)])")
_COMMENT = re.compile(r"\(\?#[^)]*\)")
_POSIX = re.compile(r"\[([:.=])(\^?)([^\]\[\\]*?)\1\]")
_HEXADECIMAL = re.compile(r"x(?:\{([0-9A-Fa-f]{1,2})\}|(?!\{)([0-9A-Fa-f]{0,2}))")
_OCTAL = re.compile(r"0[0-7]{0,2}")

_CONTROLS = {"a": 7, "e": 27, "f": 12, "n": 10, "r": 13, "t": 9}
_SHORT = {"h": {9, 32, 160}, "v": {10, 11, 12, 13, 133}}
_CLASSES = {
    name: set(map(ord, members))
    for name, members in {
        "alpha": string.ascii_letters, "lower": string.ascii_lowercase, "upper": string.ascii_uppercase,
        "digit": string.digits, "xdigit": string.hexdigits, "alnum": string.ascii_letters + string.digits,
        "word": string.ascii_letters + string.digits + "_", "punct": string.punctuation,
        "space": string.whitespace, "blank": " \t", "cntrl": [*map(chr, range(32)), "\x7f"],
        "graph": map(chr, range(33, 127)), "print": map(chr, range(32, 127)), "ascii": map(chr, range(128)),
    }.items()
}  # fmt: skip


class RegexError(ValueError):
    """Say why a text is no regular expression, or which part of it has no equal in Python's."""


def compiled(text: str) -> re.Pattern[str]:
    """Return the pattern of a regular expression; raise `RegexError`."""
    translated = _Translation(text).text()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of what may mean something else some day
            return re.compile(translated, re.ASCII)
    except (re.error, Warning, OverflowError, RecursionError) as error:
        raise RegexError(getattr(error, "msg", str(error))) from None


@dataclass
class _Level:
    """A group that is open: whether case counts in it, and what ``(?i)`` has opened until it ends."""

    caseless: bool = False
    opened: list[str] = field(default_factory=list)


class _Translation:
    """One pass over a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._levels = [_Level()]

    def text(self) -> str:
        """Return the pattern in Python's language."""
        parts = []
        while self._at < len(self._pattern):
            parts.append(self._part())
        if len(self._levels) > 1:
            raise RegexError("missing ), unterminated subpattern")
        return "".join(parts) + ")" * len(self._levels[0].opened)

    def _part(self) -> str:
        at, pattern, level = self._at, self._pattern, self._levels[-1]
        character = pattern[at]
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if found := _NO_QUANTIFIER.match(pattern, at):
            raise _unlike(found[0], f"no quantifier of PCRE's: write \\{found[0]} or {{0{found[0][1:]}")
        if found := _QUANTIFIER.match(pattern, at):
            self._at = found.end()
            return found[0]
        self._at += 1
        if character == "\\":
            return self._escape()
        if character == ")":
            if len(self._levels) == 1:
                raise RegexError("unbalanced parenthesis")
            self._levels.pop()
            return ")" * len(level.opened) + ")"
        if character == "|":
            return ")" * len(level.opened) + "|" + "".join(level.opened)
        return character

    def _group(self) -> str:
        at, pattern, level = self._at, self._pattern, self._levels[-1]
        if found := _COMMENT.match(pattern, at):
            self._at = found.end()
            return ""
        if found := _REFERENCE.match(pattern, at):
            self._at = found.end()
            return found[0]
        if found := _FLAGS.match(pattern, at):
            self._at = found.end()
            on, _, off = found[1].partition("-")
            caseless = "i" not in off and ("i" in on or level.caseless)
            opening = f"(?{found[1]}:"
            if found[2] == ":":
                self._levels.append(_Level(caseless))
            else:  # until the end of this group, in all that stands between its |
                level.caseless = caseless
                level.opened.append(opening)
            return opening
        if found := _NAMED.match(pattern, at):
            opening = f"(?P<{found[1] or found[2]}>"
        elif found := _GROUP.match(pattern, at):
            opening = found[0]
        else:
            raise _unlike(pattern[at : at + 4])
        self._at = found.end()
        self._levels.append(_Level(level.caseless))
        return opening

    def _escape(self) -> str:
        """Return what stands for a backslash and what is behind it, outside of a class."""
        at, pattern = self._at, self._pattern
        letter = pattern[at : at + 1]
        self._at += 1
        if letter == "Q":
            quoted, _, _ = pattern[at + 1 :].partition("\\E")
            self._at += len(quoted)
            return re.escape(quoted)
        if letter == "E":
            return ""
        if letter and letter in "dDwWsSbA":
            return f"\\{letter}"
        if letter == "B":  # Python's matches no empty text
            return r"(?!\b)"
        if letter == "Z":  # Python's is what z is here
            return r"(?=\n?\Z)"
        if letter == "z":
            return r"\Z"
        if letter == "N" and pattern[at + 1 : at + 2] != "{":
            return r"[^\n]"
        if letter.lower() in _SHORT:
            return f"[{_members(_SHORT[letter.lower()], negated=letter.isupper())}]"
        if letter.isdigit() and letter != "0":
            if pattern[at + 1 : at + 2].isdigit():
                raise _unlike(pattern[at - 1 : at + 2], "a group or a character: write \\x41 for one")
            return f"\\{letter}"
        return re.escape(self._character(at))

    def _character(self, at: int) -> str:
        """Return the one character that is escaped at a place, behind which the reading goes on."""
        pattern = self._pattern
        letter = pattern[at : at + 1]
        if not letter:
            raise RegexError("bad escape (end of pattern)")
        if found := _HEXADECIMAL.match(pattern, at):
            self._at = found.end()
            return chr(int(found[1] or found[2] or "0", 16))
        if found := _OCTAL.match(pattern, at):
            self._at = found.end()
            return chr(int(found[0], 8) & 255)
        self._at = at + 1
        if letter in _CONTROLS:
            return chr(_CONTROLS[letter])
        if letter.isascii() and letter.isalnum():
            raise _unlike(f"\\{letter}")
        return letter

    def _class(self) -> str:
        if found := _POSIX.match(self._pattern, self._at):
            raise _unlike(found[0], f"no class by itself: write [{found[0]}]")
        self._at += 1
        opening = "["
        if self._pattern.startswith("^", self._at):
            opening = "[^"
            self._at += 1
        parts: list[str] = []
        while not parts or not self._pattern.startswith("]", self._at):
            first, one = self._member()
            parts.append(first)
            if not self._pattern.startswith("-", self._at) or self._pattern.startswith("-]", self._at):
                continue
            self._at += 1
            if not one:
                parts.append(r"\-")  # behind what is more than a character it begins no range
                continue
            last, one = self._member()
            if not one:
                raise RegexError("invalid range in character class")
            parts.append(f"-{last}")
        self._at += 1
        return f"{opening}{''.join(parts)}]"

    def _member(self) -> tuple[str, bool]:
        """Return the next part of a class, and whether it is one character."""
        at, pattern = self._at, self._pattern
        if at >= len(pattern):
            raise RegexError("unterminated character set")
        if found := _POSIX.match(pattern, at):
            self._at = found.end()
            name = found[3]
            if found[1] != ":" or name not in _CLASSES:
                raise _unlike(found[0], f"no class: there are {', '.join(_CLASSES)}")
            if self._levels[-1].caseless and name in {"lower", "upper"}:
                name = "alpha"
            return _members(_CLASSES[name], negated=bool(found[2])), False
        self._at += 1
        if pattern[at] != "\\":
            return re.escape(pattern[at]), True
        letter = pattern[at + 1 : at + 2]
        self._at += 1
        if letter and letter in "dDwWsS":
            return f"\\{letter}", False
        if letter.lower() in _SHORT:
            return _members(_SHORT[letter.lower()], negated=letter.isupper()), False
        if letter == "b":
            return r"\x08", True
        return re.escape(self._character(at + 1)), True


_UNKNOWN = "not taken here: Python's re has no such thing, or means another by it"


def _unlike(text: str, told: str = _UNKNOWN) -> RegexError:
    return RegexError(f"{text} is {told}")


def _members(found: set[int], *, negated: bool) -> str:
    """Return what stands for some octets between [ and ], or for all other characters."""
    if not negated:
        return "".join(f"\\x{each:02x}" for each in sorted(found))
    return _members(set(range(256)) - found, negated=False) + r"\u0100-\U0010ffff"
