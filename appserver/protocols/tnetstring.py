"""Tagged netstrings, as far as Mongrel2 uses them (tnetstrings.org; Mongrel2 src/tnetstrings.c)."""

from __future__ import annotations

from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BAD_REQUEST

_DIGITS = 9  # Mongrel2 reads no longer length either


def malformed(reason: str) -> ProtocolError:
    """Return the error for bytes that are no (tagged) netstring."""
    return ProtocolError(BAD_REQUEST, reason)


def netstring(data: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the netstring at *at* starts and ends; its tag is at the end."""
    size = 0
    start = at
    most = min(len(data), at + _DIGITS + 1)
    while start < most and 0x30 <= data[start] <= 0x39:
        size = 10 * size + data[start] - 0x30
        start += 1
    if start == at or start >= most or data[start] != 0x3A:
        raise malformed(f"{data[at : at + _DIGITS]!r} is no netstring length.")
    start += 1
    end = start + size
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


def dictionary(data: bytes, at: int, stop: int) -> tuple[dict[str, str | list[str]], bool]:
    """Return the dictionary in ``data[at:stop]``, as latin-1 text, and whether all of it is strings.

    There may be lists of strings besides, and nothing nests deeper. Raise `ProtocolError` for anything else.
    """
    found: dict[str, str | list[str]] = {}
    text = data[:stop].decode("latin-1")
    name = None  # while its value is read
    count = 0
    plain = True
    try:
        while at < stop:
            # As `netstring` does it, without a call for each: this loop is half of a request.
            first, second = data[at], data[at + 1]
            if second == 0x3A and 0x30 <= first <= 0x39:
                start = at + 2
                at = start + first - 0x30
            elif 0x30 <= first <= 0x39 and 0x30 <= second <= 0x39 and data[at + 2] == 0x3A:
                start = at + 3
                at = start + 10 * first + second - 0x210
            else:
                start, at = netstring(data, at)
            tag = data[at]
            if name is None:
                if tag != 0x2C:
                    raise malformed("A key of the headers is no string.")
                name = text[start:at]
                count += 1
            else:
                if tag == 0x2C:
                    found[name] = text[start:at]
                elif tag == 0x5D:
                    found[name] = strings(data, start, at)
                    plain = False
                else:
                    raise malformed(f"The value of {name!r} is neither a string nor a list.")
                name = None
            at += 1
    except IndexError:
        at = stop + 1
    if at != stop or name is not None:
        raise malformed("A string of the headers is longer than they are.")
    if count != len(found):
        raise malformed("The headers have a name twice.")
    return found, plain


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
