"""Secrets among options: what reports and logs show in their place.

``--show-config`` is no report: what it prints is the configuration itself.
"""

from __future__ import annotations

import re

MASK = "***"

_NAMED = re.compile(r"secret|passw|token|credential|api[-_]?key|private[-_]?key", re.IGNORECASE).search
_USERINFO = re.compile(r"(?<=://)[^/@\s]*@")  # of a URL (RFC 3986 section 3.2.1)
_ASSIGNED = frozenset({"env", "set", "set-placeholder", "set-ph"})


def masked(name: str, value: str) -> str:
    """Return the value of the option *name* as it may be shown.

    Of a variable of the environment only the name is shown, as those are where sites keep their secrets;
    of what is named like a secret nothing, and of URLs all but the user and password.
    """
    variable, equals, text = value.partition("=")
    if name == "env" and equals:
        return f"{variable}={MASK}"
    if _NAMED(name):
        return MASK if value else value
    if name in _ASSIGNED and equals and _NAMED(variable):
        return f"{variable}={MASK if text else ''}"
    return without_userinfo(value)


def without_userinfo(text: str) -> str:
    """Return *text* with the user and password of URLs masked."""
    return _USERINFO.sub(f"{MASK}@", text)
