"""What holds for the codecs of uwsgi, FastCGI and SCGI alike, whatever bytes they get."""

from __future__ import annotations

import random

from tests.protocols.feeding import feed

_LATIN_1 = {chr(number) for number in range(256)}
_OURS = {"wsgi.url_scheme"}


def check(codec, data: bytes, early=lambda begin: False) -> None:
    """Fail where bytes mean something else when they come in pieces, or where a request is unsound.

    *codec* makes one, of how many bytes variables may have; the first byte of *data* says how the others are cut,
    and what is too much. Nothing is cut where *early* is true of what stands before: there it does mean something
    that nothing comes for now. Only `ProtocolError` is caught.
    """
    wire, chance = data[1:], random.Random(data[:1])
    at = sorted(chance.randrange(len(wire) + 1) for _ in range(chance.randrange(6)))
    at = [each for each in at if not early(wire[:each])]
    pieces = [wire[start:stop] for start, stop in zip([0, *at], [*at, len(wire)], strict=True)]
    for limit in (65536, chance.randrange(8, 256)):
        _check(codec(limit), codec(limit), wire, pieces)


def _check(one, other, wire, pieces):
    whole, cut = feed(one, [wire]), feed(other, pieces)
    assert len(whole) == len(cut), "it is refused, or not, however it is cut"
    served = [each for each in whole if not isinstance(each, str)]
    assert [each for each in cut if not isinstance(each, str)] == served
    for environ, body in served:
        sound(environ, body)
    for each in (one, other):
        assert len(each.buffer) <= len(wire)
        assert len(each.replies) <= 64 * len(wire)


def sound(environ, body) -> None:
    """Fail for an environ that WSGI does not allow, or that would be dangerous."""
    for name, value in environ.items():
        assert isinstance(value, str), name
        assert set(value) <= _LATIN_1, name
        assert not {"\r", "\n", "\0"} & set(value), name
        assert not {"\r", "\n", "\0"} & set(name), name
        assert not name.startswith(("wsgi.", "appserver.")) or name in _OURS
    assert environ["REQUEST_METHOD"]
    assert environ["wsgi.url_scheme"] in {"http", "https"}
    assert "HTTP_PROXY" not in environ
    assert "HTTP_TRANSFER_ENCODING" not in environ
    for name in ("PATH_INFO", "QUERY_STRING", "SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL"):
        assert name in environ
    length = environ.get("CONTENT_LENGTH")
    assert length is None or (length.isascii() and length.isdigit() and int(length) == len(body))
