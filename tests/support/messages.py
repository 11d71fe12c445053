"""Parts of Mongrel2's messages, encoded as it does it; nothing of appserver's, so that they can be its oracle."""

from __future__ import annotations


def octets(text):
    return text.encode("latin-1") if isinstance(text, str) else text


def netstring(data, end):
    return b"%d:%b%b" % (len(data), data, end)


def as_json(fields):
    """Return JSON as Mongrel2 writes it: nothing is escaped but quotes and backslashes."""

    def text(value):
        if isinstance(value, list):
            return b"[" + b",".join(map(text, value)) + b"]"
        return b'"' + octets(value).replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'

    return b"{" + b",".join(text(name) + b":" + text(value) for name, value in fields.items()) + b"}"


def as_tnetstring(value):
    if isinstance(value, dict):
        items = b"".join(as_tnetstring(item) for pair in value.items() for item in pair)
        return netstring(items, b"}")
    if isinstance(value, list):
        return netstring(b"".join(map(as_tnetstring, value)), b"]")
    return netstring(octets(value), b",")
