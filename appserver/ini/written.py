"""Write settings as an ini file that `Reader` makes the same settings of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from appserver.ini.lines import OWN, commented

if TYPE_CHECKING:
    from collections.abc import Iterable

    from appserver.options import Setting

# What would be replaced, or cut, when it is read is put together from these.
_SIGNS = {"$": "written-dollar", "@": "written-at", "%": "written-percent", "": "written-nothing"}


def written(settings: Iterable[Setting]) -> tuple[str, list[str]]:
    """Return the text of a file with *settings*, and what it cannot hold, a sentence each."""
    lines = []
    problems = []
    signs: set[str] = set()
    names = {setting.name for setting in settings}
    for setting in settings:
        if setting.value is None:
            lines.append(setting.name)
            continue
        if "\n" in setting.value:
            problems.append(
                f"{setting.place}: {setting.name} has several lines, which an ini file cannot hold"
            )
            continue
        value = _guarded(setting.value.replace("%", "%%"), names, signs)
        lines.append(f"{setting.name} = {value}".rstrip(" \t\r"))
    own = not any(commented(line) for line in lines)
    guards = [f"set-placeholder = {_SIGNS[sign]}={sign}".replace("%", "%%") for sign in sorted(signs)]
    return "\n".join([f"[{OWN if own else 'uwsgi'}]", *guards, *lines, ""]), problems


def _guarded(value: str, names: set[str], signs: set[str]) -> str:
    """Return *value*, in which ``%`` is doubled already, so that its expansion is what it is now."""

    def sign(character: str) -> str:
        signs.add(character)
        return f"%%({_SIGNS[character]})"

    first = re.match(r"%%\(([^)]*)\)", value)
    if first and (" " in first[1] or first[1] in names):
        value = sign("%") + value[2:]
    value = re.sub(r"[$@](?=\()", lambda match: sign(match[0]), value)
    if value != value.strip(" \t\r"):
        value = f"{sign('')}{value}{sign('')}"
    return value
