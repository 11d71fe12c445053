"""What reports and logs show of options: something else for secrets, and nothing that ends a line.

``--show-config`` is no report: what it prints is the configuration itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"

_NAMED = re.compile(
    r"secret|passw|passphrase|(?<![a-z])pass(?![\w-])|token|credential|api[-_]?key|private[-_]?key",
    re.IGNORECASE,
).search
_USERINFO = re.compile(r"(?<=://)[^/\s]+@")  # of a URL (RFC 3986 section 3.2.1); passwords may have an @, too
# What guards by a rule of ``route`` has behind its realm, or all that it has.
_GUARD = re.compile(r"(\b(?:(?:basicauth|ldapauth)(?:-next)?:[^,]*,|radius(?:-next)?:)).*", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_ASSIGNED = frozenset({"env", "set", "set-placeholder", "set-ph"})
_SHORTEST = 6  # characters; what is shorter is also a part of other words


class Secrets:
    """Texts that are not shown, wherever they have come to stand."""

    def __init__(self, texts: Iterable[str]) -> None:
        found = sorted({each for each in texts if len(each) >= _SHORTEST}, key=len, reverse=True)
        self._found = re.compile("|".join(map(re.escape, found))) if found else None

    def hidden(self, text: str) -> str:
        """Return *text* as it may be shown."""
        return self._found.sub(MASK, text) if self._found is not None else text

    def masked(self, name: str, value: str) -> str:
        """Return the value of the option *name* as it may be shown."""
        return self.hidden(masked(name, value))


def is_secret(name: str) -> bool:
    """Tell whether what is named so is a secret."""
    return _NAMED(name) is not None


def secret(name: str, value: str) -> str:
    """Return the part of the option's value that is a secret by its name, or by what it is assigned to."""
    if is_secret(name):
        return value
    variable, _, text = value.partition("=")
    return text if name in _ASSIGNED and is_secret(variable) else ""


def masked(name: str, value: str) -> str:
    """Return the value of the option *name* as it may be shown by itself.

    Of a variable of the environment only the name is shown, as those are where sites keep their secrets;
    of what is named like a secret nothing, of URLs all but the user and password, and of rules that ask for
    passwords all but those.
    """
    variable, equals, text = value.partition("=")
    if name == "env" and equals:
        return f"{variable}={MASK}"
    if is_secret(name):
        return MASK if value else value
    if name in _ASSIGNED and equals and is_secret(variable):
        return f"{variable}={MASK if text else ''}"
    return _GUARD.sub(rf"\1{MASK}", without_userinfo(value))


def without_userinfo(text: str) -> str:
    """Return *text* with the user and password of URLs masked."""
    return _USERINFO.sub(f"{MASK}@", text)


def visible(text: str) -> str:
    """Return *text* in one line that moves no cursor, whatever a file has in it."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
