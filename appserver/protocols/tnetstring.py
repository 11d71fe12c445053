"""Tagged netstrings, as far as Mongrel2 uses them (tnetstrings.org; Mongrel2 src/tnetstrings.c)."""

from __future__ import annotations

from typing import Final

from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BAD_REQUEST

OVERRUN: Final = "A string of the headers is longer than they are."
_DIGITS = 9  # Mongrel2 reads no longer length either


def malformed(reason: str) -> ProtocolError:
    """Return the error for bytes that are no (tagged) netstring."""
    return ProtocolError(BAD_REQUEST, reason)


def netstring(data: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the netstring at *at* starts and ends; its tag is at the end."""
    colon = data.find(b":", at, at + _DIGITS + 1)
    digits = data[at:colon] if colon > at else b""
    if not digits.isdigit():
        raise malformed(f"{data[at : at + _DIGITS]!r} is no netstring length.")
    start = colon + 1
    end = start + int(digits)
    if end >= len(data):
        raise malformed("A netstring is longer than its message.")
    return start, end


def strings(data: bytes, at: int, stop: int) -> list[str]:
    """Return the strings of a flat list in ``data[at:stop]``, as latin-1 text."""
    found = []
    while at < stop:
        start, end = netstring(data, at)
        if end >= stop or data[end] != 0x2C:
            raise malformed("A list has something else than strings.")
        found.append(data[start:end].decode("latin-1"))
        at = end + 1
    return found


def span(data: bytes, at: int) -> tuple[int, int]:
    """Return what `netstring` does, sooner for lengths of up to three digits.

    Raise IndexError where *data* ends among them; the content may be longer than that has.
    """
    first, second = data[at], data[at + 1]
    if 0x30 <= first <= 0x39:
        if second == 0x3A:
            return at + 2, at + first - 0x2E
        if 0x30 <= second <= 0x39:
            third = data[at + 2]
            if third == 0x3A:
                return at + 3, at + 10 * first + second - 0x20D
            if 0x30 <= third <= 0x39 and data[at + 3] == 0x3A:
                return at + 4, at + 100 * first + 10 * second + third - 0x14CC
    return netstring(data, at)


def dictionary(data: bytes, at: int, stop: int) -> dict[str, str | list[str]]:
    """Return the dictionary in ``data[at:stop]``, of strings and lists of strings, as latin-1 text.

    Nothing nests deeper. Raise `ProtocolError` for anything else.
    """
    found: dict[str, str | list[str]] = {}
    while at < stop:
        start, end = netstring(data, at)
        if data[end] != 0x2C:
            raise malformed("A key of the headers is no string.")
        name = data[start:end].decode("latin-1")
        if name in found:
            raise malformed("The headers have a name twice.")
        start, end = netstring(data, end + 1)
        if data[end] == 0x2C:
            found[name] = data[start:end].decode("latin-1")
        elif data[end] == 0x5D:
            found[name] = strings(data, start, end)
        else:
            raise malformed(f"The value of {name!r} is neither a string nor a list.")
        at = end + 1
    if at != stop:
        raise malformed(OVERRUN)
    return found


def encode(value: str | bytes | int | bool | list[object] | dict[str, object]) -> bytes:
    """Return *value* as a tagged netstring; text is encoded as latin-1."""
    if isinstance(value, bool):
        content, tag = (b"true" if value else b"false"), b"!"
    elif isinstance(value, int):
        content, tag = str(value).encode(), b"#"
    elif isinstance(value, dict):
        content = b"".join(encode(name) + encode(item) for name, item in value.items())  # type: ignore[arg-type]
        tag = b"}"
    elif isinstance(value, list):
        content, tag = b"".join(map(encode, value)), b"]"  # type: ignore[arg-type]
    else:
        content, tag = (value.encode("latin-1") if isinstance(value, str) else value), b","
    return b"%d:%b%b" % (len(content), content, tag)
