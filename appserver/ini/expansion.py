"""Expansion of values: ``$(VARIABLE)``, then ``@(file)``, then ``%(name)``, in this order, as uWSGI does it.

What names nothing stays as it is written, so that ``log-format = %(addr)`` reaches the log.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from appserver.ini.error import IniError

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 1000  # replacements in one value; more than that and it contains itself
_LONGEST = 1 << 20
_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_MOST_READ = 1 << 19  # characters, as each replacement has it read anew


def expanded(value: str, symbol: str, look_up: Callable[[str], str | None]) -> str:
    """Replace each ``symbol(name)`` by what *look_up* returns for the name; raise `IniError`.

    After each replacement the whole value is read anew, but for its first character: that is what
    uWSGI does (`uwsgi_apply_config_pass`), and why a value that is nothing but ``%(a)`` is not expanded
    further, while ``x%(a)`` is.
    """
    at, begin, depth, ready, count, read = 0, -1, 0, False, 0, 0
    while at < len(value):
        character = value[at]
        if character == symbol:
            ready, begin = True, -1
        elif begin < 0:
            if character == "(" and ready:
                begin, depth = at + 1, 0
            ready = False
        elif character == "(":
            depth += 1
        elif character == ")" and depth:
            depth -= 1
        elif character == ")":
            found = look_up(value[begin:at]) if at > begin else None
            if found is not None:
                value = f"{value[: begin - 2]}{found}{value[at + 1 :]}"
                read += at
                at = 0
                count += 1
                if count > _MOST or len(value) > _LONGEST or read > _MOST_READ:
                    raise IniError("it contains itself, so that its expansion has no end")
            begin = -1
        at += 1
    return value


def environment(name: str) -> str | None:
    """Return an environment variable; ``NAME:-text`` and ``NAME-text`` say what it is where it is not set."""
    found = os.environ.get(name)
    if found is not None:
        return found
    name, colon, text = name.partition(":-")
    if colon:
        return os.environ.get(name) or text
    name, minus, text = name.partition("-")
    return os.environ.get(name, text) if minus else None


def unset(value: str) -> str:
    """Return the end of a sentence that names the variables of a value that are not set; empty for none."""
    names = [each for each in dict.fromkeys(_VARIABLE.findall(value)) if each not in os.environ]
    if not names:
        return ""
    many = len(names) > 1
    what = f"variables {', '.join(names[:-1])} and {names[-1]} are" if many else f"variable {names[0]} is"
    return f"; the environment {what} not set"


def contents(source: str) -> str:
    """Return what a file, or a command (``exec://``), has in it, without the last end of a line."""
    scheme, separator, rest = source.partition("://")
    try:
        if separator and scheme == "exec":
            import subprocess  # noqa: PLC0415  (most files run no commands)

            # It is a shell's command, as in uWSGI, and as trusted as all else in the file.
            done = subprocess.run(rest, shell=True, stdout=subprocess.PIPE, check=False)  # noqa: S602
            data = done.stdout
        elif separator and scheme in {"http", "data", "fd", "sym", "section", "call", "callint", "emperor"}:
            raise IniError(f"{scheme}:// is not supported; name a file or exec://COMMAND")
        else:
            with open(source, "rb") as file:
                data = file.read()
    except OSError as error:
        raise IniError(f"{error.strerror}: {source}") from None
    if b"\0" in data:
        raise IniError(f"it has a NUL byte, which no value can have: {source}")
    return (data[:-1] if data[-1:] in {b"\n", b"\r"} else data).decode("utf-8", "surrogateescape")


def computed(name: str, look_up: Callable[[str], str | None]) -> str | None:
    """Return the value of ``%(name)``: another option, or several with signs between them.

    Blanks separate the parts, which are taken from the left to the right: two side by side are put
    together; ``+ - * /`` count, without precedence and in whole numbers; ``++`` and ``--`` add one to
    and take one from what is there so far.
    """
    if " " not in name:
        return look_up(name)
    value: str | None = None
    sign = ""
    for part in name.split(" "):
        if not part:
            continue
        if part in {"+", "-", "*", "/"}:
            sign = part
            continue
        if part in {"++", "--"}:
            if value is not None:
                value = str(_number(value) + (1 if part == "++" else -1))
            sign = ""
            continue
        operand = part if part.isascii() and part.isdigit() else look_up(part) or ""
        value = _calculated(value or "", sign, operand)
        sign = ""
    return value


def _calculated(left: str, sign: str, right: str) -> str:
    if not sign:
        return left + right
    one, other = _number(left), _number(right)
    if sign == "+":
        return str(one + other)
    if sign == "-":
        return str(one - other)
    if sign == "*":
        return str(one * other)
    if not other:
        return "0"
    quotient = abs(one) // abs(other)  # C's division drops the fraction
    return str(quotient if (one < 0) == (other < 0) else -quotient)


def _number(text: str) -> int:
    """Return the number at the start of *text*, 0 if there is none, as C's strtoll does."""
    text = text.lstrip(" \t\r\n\v\f")
    sign = text[:1] if text[:1] in {"+", "-"} else ""
    digits = ""
    for character in text[len(sign) :]:
        if character not in "0123456789":
            break
        digits += character
    return int(f"{sign}{digits}") if digits else 0
