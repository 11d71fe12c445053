"""The field lines of HTTP heads, made into entries of an environ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from appserver.protocols.codec import ProtocolError
from appserver.protocols.fields import CODING, KEYS, key_of
from appserver.protocols.forms import Forms, Item
from appserver.protocols.framing import BAD_REQUEST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from appserver.protocols.repeated import Entry


class Lines(Forms):
    """Know the forms of heads; their characters are checked, and no line is longer than it may be."""

    def items(self, data: bytes, text: str, at: int, end: int) -> list[Item]:
        found = []
        for line in text[at:end].split("\r\n")[:-1]:
            name, _, value = line.partition(":")
            stop = at + len(line) + 2
            said = data[at:stop]
            lead = len(name) + 1 + value.startswith(" ")
            found.append(Item(_key(name), value.strip(" \t"), said, said[:lead]))
            at = stop
        return found


LINES: Final = Lines(mark="\r\n", bare=True)


def read(lines: Iterable[str]) -> list[Entry]:
    """Return the entries of lines whose characters are checked already.

    Raise `ProtocolError` where one is no field.
    """
    found = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ProtocolError(BAD_REQUEST, "The head is malformed: a field has no colon.")
        key = _key(name)
        if key:
            found.append((key, value.strip(" \t")))
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
