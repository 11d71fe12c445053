"""Bodies: in memory while they are small, in a file that nobody sees when they are not."""

from __future__ import annotations

from io import BytesIO

import pytest

from appserver.body import Body
from appserver.protocols.codec import ProtocolError


def reader(held, environ=None):
    environ = {} if environ is None else environ
    held.give_to(environ)
    return environ["wsgi.input"]


@pytest.mark.parametrize(
    "pieces", [[], [b""], [b"abc"], [b"ab", b"c"], [b"abcd"], [b"abc", b"def"], [b"abcd", b"efgh"]]
)
def test_a_body_reads_as_it_was_added(pieces):
    held = Body(3)
    for piece in pieces:
        held.add(piece)
    assert held.size == len(b"".join(pieces))
    assert reader(held).read() == b"".join(pieces)
    assert reader(held).readline() == b"".join(pieces)  # from its start again
    held.close()
    held.close()


@pytest.mark.parametrize("limit, size, in_memory", [(3, 3, True), (3, 4, False), (0, 0, True), (0, 1, False)])
def test_what_is_larger_goes_to_a_file(limit, size, in_memory):
    held = Body(limit)
    held.add(size * b"x")
    assert isinstance(reader(held), BytesIO) is in_memory
    if not in_memory:
        assert isinstance(reader(held).name, int)  # a file without a name
    held.close()


@pytest.mark.parametrize(
    "pieces, given, expected",
    [
        ([], {}, None),
        ([b"abc"], {}, "3"),
        ([b"a", b"bc"], {"CONTENT_LENGTH": "3"}, "3"),
        ([], {"CONTENT_LENGTH": "0"}, "0"),
    ],
)
def test_its_size_is_the_content_length(pieces, given, expected):
    held = Body(10)
    for piece in pieces:
        held.add(piece)
    environ = dict(given)
    reader(held, environ)
    assert environ.get("CONTENT_LENGTH") == expected


def test_a_limit_is_exact():
    held = Body(10, limit=4, announced=4)
    held.add(b"abc")
    held.add(b"d")
    with pytest.raises(ProtocolError) as refused:
        held.add(b"e")
    assert refused.value.status.startswith("413")
    held.close()
    with pytest.raises(ProtocolError):
        Body(10, limit=4, announced=5)


def test_a_full_disk_is_a_refusal_and_leaves_nothing_open(monkeypatch):
    opened = []

    class Full(BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    def temporary(**_):
        opened.append(Full())
        return opened[0]

    monkeypatch.setattr("tempfile.TemporaryFile", temporary)
    held = Body(1)
    with pytest.raises(ProtocolError, match="No space left") as refused:
        held.add(b"xy")
    assert refused.value.status.startswith("507")
    held.close()
    assert opened[0].closed
