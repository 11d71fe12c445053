"""Frames between the receiver of Mongrel2's requests and the loops that serve them.

A frame is its kind, the number of a request, the size of its data, and the data. Requests travel in
packets of frames, so that whole packets can be taken back; everything else in a stream.
"""

from __future__ import annotations

from struct import Struct, pack, unpack
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD = Struct("<BQQ")

# From the receiver
REQUEST = 1  # a message of Mongrel2
NOTICE = 2  # a message of Mongrel2 about the client of a request
GONE = 3  # nobody waits for the answer any more
FAREWELL = 4  # no more requests will come
PROBE = 12  # nothing: shows, as the last of the packets, whether they are taken
WAIT = 13  # the client does not read as fast as the answer comes
GO_ON = 14  # it has caught up
BODY = 16  # a message of Mongrel2 that belongs to a request: a piece of its body, or a frame
FLOW = 15  # the number is 1 if Mongrel2 tells what clients have read, else 0
WELCOME = 20  # requests may come from now on

# From a loop
PIECE = 5  # a message of the answer, with more to follow
LAST = 6  # the last message of the answer
LAST_CLOSE = 7  # the same, and the end of the connection
CLOSE = 8  # the answer cannot be completed: the connection ends
END = 9  # the request has ended without an answer
LEAVE = 10  # no more requests, please; the number is 1 where the master has gone
ORDER = 17  # a message that Mongrel2 obeys
SWITCHED = 18  # the client's connection carries frames: they are not requests, but BODY
PUBLISH = 19  # the same message for the clients of several requests; the number says of how many
ORPHAN = 11  # the id of a client whose receiver has died; the number is 1 if its answer has begun


class Frame(NamedTuple):
    """One frame, taken apart."""

    kind: int
    number: int
    data: bytes


def frame(kind: int, number: int, data: bytes = b"") -> bytes:
    """Return a frame."""
    return _HEAD.pack(kind, number, len(data)) + data


def numbered(numbers: Sequence[int], data: bytes) -> bytes:
    """Return the frame that has *data* published to the clients of requests."""
    return frame(PUBLISH, len(numbers), pack(f"<{len(numbers)}Q", *numbers) + data)


def unnumbered(published: Frame) -> tuple[tuple[int, ...], bytes]:
    """Return the numbers and the data of a frame of `numbered`."""
    end = 8 * published.number
    return unpack(f"<{published.number}Q", published.data[:end]), published.data[end:]


def frames(packet: bytes) -> list[Frame]:
    """Return the frames of a whole packet."""
    return Frames().feed(packet)


class Frames:
    """Take the frames of a stream apart, whatever pieces it comes in."""

    __slots__ = ("_missing", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of a frame that is not complete
        self._missing = 0  # bytes that it needs at the least

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that *data* completes."""
        if len(data) < self._missing:
            self._missing -= len(data)
            self._pieces.append(data)
            return []
        if self._pieces:
            data = b"".join([*self._pieces, data])
        found = []
        at, size = 0, len(data)
        needed = _HEAD.size
        while size - at >= needed:
            kind, number, length = _HEAD.unpack_from(data, at)
            start = at + _HEAD.size
            if size - start < length:
                needed = _HEAD.size + length
                break
            at = start + length
            found.append(Frame(kind, number, data[start:at]))
        self._pieces = [data[at:]] if at < size else []
        self._missing = needed - (size - at)
        return found
