"""What stands in rules of ``route`` for a part of the request: ``$1``, ``${HTTP_HOST}``, ``${cookie[a]}``."""

from __future__ import annotations

import os
import re
from time import time
from typing import TYPE_CHECKING, Any

from appserver.dates import http_date
from appserver.identity import worker_id
from appserver.options import UnsupportedValue

if TYPE_CHECKING:
    from collections.abc import Callable

    Environ = dict[str, Any]

_PLACEHOLDER = re.compile(r"\$\{([A-Za-z0-9_]+)(?:\[([^]}]*)\])?\}|\$([0-9])")
_MEANT = re.compile(r"\$\{[^}]*\}")


def _cookie(name: str, environ: Environ) -> str:
    return _first(name, [each.strip(" \t") for each in environ.get("HTTP_COOKIE", "").split(";")])


def _of_query(name: str, environ: Environ) -> str:
    return _first(name, environ.get("QUERY_STRING", "").split("&"))


def _first(name: str, pairs: list[str]) -> str:
    """Return the first value of a name that is not empty, as it was sent."""
    given = f"{name}="
    return next((each[len(given) :] for each in pairs if each.startswith(given) and each != given), "")


def _uuid() -> str:
    from uuid import uuid4  # noqa: PLC0415  (only for such rules)

    return str(uuid4())


_OF_SERVER: dict[str, Callable[[], str]] = {
    "uwsgi[wid]": lambda: str(worker_id()), "uwsgi[pid]": lambda: str(os.getpid()), "uwsgi[uuid]": _uuid,
    "time[unix]": lambda: str(int(time())), "time[micros]": lambda: str(int(time() * 1e6)),
}  # fmt: skip
_OF_KEY: dict[str, Callable[[str, Environ], str]] = {
    "cookie": _cookie, "qs": _of_query,
    "httptime": lambda seconds, _: http_date(int(time()) + int(seconds or 0)),
}  # fmt: skip
NAMES = ("cookie[NAME]", "qs[NAME]", "httptime[SECONDS]", *_OF_SERVER)


def checked(text: str) -> str:
    """Return a text all of whose placeholders are known; raise `UnsupportedValue`."""
    for each in _MEANT.findall(text):
        match = _PLACEHOLDER.fullmatch(each)
        if match is None or not (match[2] is None or each[2:-1] in _OF_SERVER or _takes(match[1], match[2])):
            raise UnsupportedValue(
                f"a variable of the request, such as ${{HTTP_HOST}}, or {', '.join(NAMES)}, not {each}"
            )
    return text


def _takes(kind: str, key: str) -> bool:
    if kind == "httptime":
        return not key or (key.isascii() and key.isdigit() and len(key) < 10)
    return kind in _OF_KEY


def filled(text: str, match: re.Match[str], environ: Environ) -> str:
    """Replace the placeholders; line breaks of a client are no part of a header."""

    def found(each: re.Match[str]) -> str:
        name, key = each[1], each[2]
        if key is not None:
            server = _OF_SERVER.get(f"{name}[{key}]")
            return server() if server is not None else _OF_KEY[name](key, environ)
        if name:
            return str(environ.get(name, ""))
        number = int(each[3])
        return (match[number] or "") if number <= match.re.groups else ""

    return re.sub(r"[\r\n\x00]", "", _PLACEHOLDER.sub(found, text)) if "$" in text else text
