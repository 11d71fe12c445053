"""The field lines of HTTP heads, made into entries of an environ.

Most lines of a request have come before, in this request's connection or another's: Host, Accept,
User-Agent. Such a line is checked and split once; from then on it is found whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appserver.protocols.codec import ProtocolError
from appserver.protocols.fields import CODING, KEYS, key_of
from appserver.protocols.framing import BAD_REQUEST

if TYPE_CHECKING:
    from collections.abc import Iterable

Entry = tuple[str, str]  # the environ's key and its value

# Fields that say the same in many requests, and nothing that is secret or frames the request.
_REPEATED = frozenset(
    {
        "HTTP_HOST", "HTTP_CONNECTION", "HTTP_USER_AGENT", "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING",
        "HTTP_ACCEPT_LANGUAGE", "HTTP_ACCEPT_CHARSET", "HTTP_CACHE_CONTROL", "HTTP_PRAGMA", "HTTP_PRIORITY",
        "HTTP_DNT", "HTTP_ORIGIN", "HTTP_UPGRADE_INSECURE_REQUESTS", "HTTP_X_REQUESTED_WITH",
        "HTTP_SEC_FETCH_DEST", "HTTP_SEC_FETCH_MODE", "HTTP_SEC_FETCH_SITE", "HTTP_SEC_FETCH_USER",
        "HTTP_SEC_CH_UA", "HTTP_SEC_CH_UA_MOBILE", "HTTP_SEC_CH_UA_PLATFORM", "HTTP_SEC_GPC",
        "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_VIA",
        "CONTENT_TYPE",
    }
)  # fmt: skip
_LONG = 256  # characters of a line from which on it is not remembered
_MOST = 2000  # lines; then all are forgotten, so that a client that invents them does no lasting harm
_known: dict[str, Entry] = {}


def known(lines: Iterable[str]) -> list[Entry] | None:
    """Return the entries of lines that have all been read before, else None."""
    try:
        return list(map(_known.__getitem__, lines))
    except KeyError:
        return None


def read(lines: Iterable[str]) -> list[Entry]:
    """Return the entries of lines whose characters are checked already.

    Raise `ProtocolError` where one is no field.
    """
    found = []
    for line in lines:
        entry = _known.get(line)
        if entry is None:
            name, colon, value = line.partition(":")
            if not colon:
                raise ProtocolError(BAD_REQUEST, "The head is malformed: a field has no colon.")
            key = _key(name)
            if not key:
                continue
            entry = key, value.strip(" \t")
            if key in _REPEATED and len(line) < _LONG:
                if len(_known) >= _MOST:
                    _known.clear()
                _known[line] = entry
        found.append(entry)
    return found


def entries(fields: Iterable[tuple[str, str]]) -> list[Entry]:
    """Return the entries of fields that something else has read."""
    return [(key, value) for name, value in fields if (key := _key(name))]


def _key(name: str) -> str:
    """Return a field's key, "" where it is not passed on."""
    key = KEYS.get(name)
    if key is None:
        key = key_of(name)
    return CODING if not key and name.lower() == "transfer-encoding" else key
