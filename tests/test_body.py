"""Bodies: in memory while they are small, in a file that nobody sees when they are not."""

from __future__ import annotations

from io import BytesIO

import pytest

from appserver import body
from appserver.body import Body


@pytest.mark.parametrize(
    "pieces", [[], [b""], [b"abc"], [b"ab", b"c"], [b"abcd"], [b"abc", b"def"], [b"abcd", b"efgh"]]
)
def test_a_body_reads_as_it_was_added(pieces):
    held = Body(3)
    for piece in pieces:
        held.add(piece)
    assert held.size == len(b"".join(pieces))
    assert held.reader().read() == b"".join(pieces)
    assert held.reader().readline() == b"".join(pieces)  # from its start again
    held.close()
    held.close()


@pytest.mark.parametrize("limit, size, in_memory", [(3, 3, True), (3, 4, False), (0, 0, True), (0, 1, False)])
def test_what_is_larger_goes_to_a_file(limit, size, in_memory):
    held = Body(limit)
    held.add(size * b"x")
    assert isinstance(held.reader(), BytesIO) is in_memory
    if not in_memory:
        assert isinstance(held.reader().name, int)  # a file without a name
    held.close()


def test_a_full_disk_is_an_os_error_and_leaves_nothing_open(monkeypatch):
    opened = []

    class Full(BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    def temporary(**_):
        opened.append(Full())
        return opened[0]

    monkeypatch.setattr(body, "TemporaryFile", temporary)
    held = Body(1)
    with pytest.raises(OSError, match="No space left"):
        held.add(b"xy")
    held.close()
    assert opened[0].closed
