"""The field lines of HTTP heads, made into entries of an environ.

Most lines of a request have come before, in this request's connection or another's: Host, Accept,
User-Agent. Such a line is checked and split once; from then on it is found whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appserver.protocols.codec import ProtocolError
from appserver.protocols.fields import CODING, KEYS, key_of
from appserver.protocols.framing import BAD_REQUEST
from appserver.protocols.repeated import MOST, Entry, repeats

if TYPE_CHECKING:
    from collections.abc import Iterable

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
            if repeats(line, key, entry[1]):
                if len(_known) >= MOST:
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
