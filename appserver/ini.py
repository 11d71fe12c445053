"""Ini files in uWSGI's form: one ordered list of keys and values, with the line of each.

Comments begin a line. A bare key is a flag. Keys may repeat. ``%d`` and the other magic variables
stand for parts of the file's own path, and ``$(NAME)`` for an environment variable. Section
``[appserver]`` also allows comments behind a value; ``[uwsgi]`` does not, as uWSGI does not.
"""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING

from appserver.options import Setting

if TYPE_CHECKING:
    from collections.abc import Iterable

SECTIONS = ("appserver", "uwsgi")

_ENVIRONMENT = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_INLINE = re.compile(r"\s[;#].*")


class IniError(Exception):
    """Say what is wrong with a file, and where."""


def read(name: str) -> list[Setting]:
    """Return the settings of ``file`` or ``file:section``; raise `IniError`.

    Without a section all of ``[appserver]`` and ``[uwsgi]`` count, in the order of the file.
    """
    path, section = _split(name)
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        raise IniError(f"{path}: {error.strerror}") from None
    wanted = (section,) if section else SECTIONS
    settings, found = _settings(_magic(text, path), path, wanted)
    if not any(name in wanted for name in found):
        has = f"it has {', '.join(f'[{name}]' for name in found)}" if found else "it has no section"
        raise IniError(f"{path}: no section {' or '.join(f'[{name}]' for name in wanted)}; {has}")
    return settings


def _split(name: str) -> tuple[str, str]:
    path, colon, section = name.rpartition(":")
    return (path, section) if colon and path and not os.path.exists(name) else (name, "")


def _settings(text: str, path: str, wanted: tuple[str, ...]) -> tuple[list[Setting], list[str]]:
    settings = []
    found = []
    section = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r")
        if not line or line[0] in ";#":
            continue
        if line[0] == "[":
            section = line[1:].partition("]")[0]
            found.append(section)
            continue
        if section not in wanted:
            continue
        key, _, value = line.partition("=")
        value = value.strip()
        if section == "appserver":
            value = _INLINE.sub("", f" {value}").strip()
        settings.append(Setting(key.strip(), expanded(value), f"{path}:{number}"))
    return settings, found


def expanded(value: str) -> str:
    """Replace ``$(NAME)`` by the environment variable; one that is not set stays as it is written."""
    return _ENVIRONMENT.sub(lambda match: os.environ.get(match[1], match[0]), value)


def written(settings: Iterable[Setting]) -> str:
    """Return an ini file that `read` makes equal settings of."""
    lines = []
    for setting in settings:
        value = "" if setting.value is None else f" = {setting.value}"
        lines.append(f"{setting.name}{value}".rstrip().replace("%", "%%"))
    cut = any(_INLINE.search(line) for line in lines)
    return "\n".join(["[uwsgi]" if cut else "[appserver]", *lines, ""])


def _magic(text: str, path: str) -> str:
    """Replace the magic variables; an unknown one stays as it is written."""
    absolute = os.path.abspath(path)
    directory = os.path.dirname(absolute)
    base = os.path.basename(absolute)
    stem, extension = os.path.splitext(base)
    values = {
        "%": "%", "o": path, "p": absolute, "s": base, "n": stem, "e": extension[1:],
        "d": directory.rstrip("/") + "/", "c": os.path.basename(directory), "h": socket.gethostname(),
        "v": os.getcwd(), "k": str(os.cpu_count() or 1), "u": str(os.getuid()), "g": str(os.getgid()),
    }  # fmt: skip
    return re.sub(r"%([%a-zA-Z])", lambda match: values.get(match[1], match[0]), text)
