"""Tagged netstrings: those that are read are those that a slow reader of their own finds, and can be written again."""

from __future__ import annotations

from appserver.protocols.codec import ProtocolError
from appserver.protocols.mongrel2_fields import ASIDE, TNETSTRINGS, read
from appserver.protocols.tnetstring import dictionary, encode, netstring, strings

PIECES = [
    b"0:,", b"1:a,", b"3:foo,", b"10:0123456789,", b"0:]", b"4:1:b,]", b"0:}", b"8:1:a,1:b,}", b"4:true!", b"1:5#", b"0:~",
    b"100:", b"999999999:", b"1000000000:", b"01:", b"+1:", b"-1:", b"1_0:", b":", b",", b"}", b"]", b"\xff",
]  # fmt: skip


def check(data: bytes) -> None:
    """Fail where two readers differ, or where what was read cannot be written."""
    found = _ours(dictionary, data)
    assert found == _ours(_slow_dictionary, data)
    _check_fields(data, found)
    if found is not None:
        content = encode(found)
        start, end = netstring(content, 0)
        assert dictionary(content, start, end) == found
        assert content[end:] == b"}"
    listed = _ours(strings, data)
    if listed is not None:
        start, end = netstring(encode(listed), 0)
        assert strings(encode(listed), start, end) == listed
    for at in range(min(len(data), 12)):
        try:
            start, end = netstring(data, at)
        except ProtocolError:
            continue
        assert at < start <= end < len(data)
        assert int(data[at : start - 1]) == end - start


def _check_fields(data, found):
    """Fail where the fields of a message are not those of the dictionary, though nothing is unusual."""
    try:
        given, aside, named = read(data + b"}", 0, len(data), {})
    except ProtocolError:
        assert found is None
        return
    if found is None:
        assert all(TNETSTRINGS.key(name) == "" for name in _repeated(data)), "what is left out may be"
        return
    if named is None:
        assert all(isinstance(value, str) for value in found.values())
        found = {
            name: value if name in ASIDE.values() else value.strip(" \t") for name, value in found.items()
        }
        assert all(value.isprintable() for value in found.values())
        keys = {name: name if name in ASIDE.values() else TNETSTRINGS.key(name) for name in found}
        assert given | aside == {key: found[name] for name, key in keys.items() if key}, '"" is left out'


def _repeated(data):
    """Return the names that are given twice, of which there are some."""
    names, at = [], 0
    while at < len(data):
        name, _, at = _one(data, at, len(data))
        _, _, at = _one(data, at, len(data))
        names.append(name.decode("latin-1"))
    found = {each for each in names if names.count(each) > 1}
    assert found
    return found


def _ours(read, data):
    try:
        return read(data, 0, len(data))
    except ProtocolError:
        return None


def _one(data, at, stop):
    """Return the content and the tag of the tagged netstring at *at*, and where it ends."""
    digits = data[at:stop].partition(b":")[0]
    if not digits.isdigit() or len(digits) > 9 or data[at + len(digits) : at + len(digits) + 1] != b":":
        raise ProtocolError("400", "no length")
    start = at + len(digits) + 1
    end = start + int(digits)
    if end >= stop:
        raise ProtocolError("400", "too long")
    return data[start:end], data[end : end + 1], end + 1


def _slow_dictionary(data, at, stop):
    found = {}
    while at < stop:
        name, tag, at = _one(data, at, stop)
        if tag != b"," or name.decode("latin-1") in found:
            raise ProtocolError("400", "no name")
        value, tag, at = _one(data, at, stop)
        if tag == b",":
            found[name.decode("latin-1")] = value.decode("latin-1")
            continue
        if tag != b"]":
            raise ProtocolError("400", "no value")
        items = found[name.decode("latin-1")] = []
        inner = 0
        while inner < len(value):
            item, tag, inner = _one(value, inner, len(value))
            if tag != b",":
                raise ProtocolError("400", "no item")
            items.append(item.decode("latin-1"))
    return found
