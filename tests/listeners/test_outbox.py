"""What the kernel does not take at once: order, counts, and as many pieces as there are."""

import os
import socket
import tempfile

import pytest

from appserver.listeners.outbox import MOST_PIECES, Outbox


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def emptied(outbox, theirs):
    """Return what *theirs* reads until nothing is left."""
    read = b""
    while True:
        outbox.flush()
        try:
            read += theirs.recv(1 << 20)
        except BlockingIOError:
            if not outbox:
                return read


def test_more_pieces_than_one_call_takes_leave_in_their_order(ends):
    ours, theirs = ends
    pieces = [b"%d," % number for number in range(3 * MOST_PIECES + 1)]
    outbox = Outbox(ours.fileno())
    outbox.put(pieces, sent=1)
    assert outbox.size == len(b"".join(pieces)) - 1
    assert emptied(outbox, theirs) == b"".join(pieces)[1:]
    assert (outbox.size, outbox.flushed) == (0, len(b"".join(pieces)) - 1)


def test_a_piece_that_the_kernel_takes_a_part_of_goes_on_there(ends):
    ours, theirs = ends
    pieces = [os.urandom(size) for size in (8, 300_000, 1, 65528, 500_000)]
    outbox = Outbox(ours.fileno())
    outbox.put([pieces[0], memoryview(pieces[1]), *pieces[2:]])
    outbox.flush()
    assert 0 < outbox.size == sum(map(len, pieces)) - outbox.flushed
    assert emptied(outbox, theirs) == b"".join(pieces)


def test_files_stay_between_the_pieces(ends):
    ours, theirs = ends
    outbox = Outbox(ours.fileno())
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        outbox.put([b"a", b"b"])
        outbox.put_file(file.fileno(), 2, 3)
        outbox.put([b"c"])
        outbox.put_file(file.fileno(), 0, 1)
    assert outbox.size == 3
    assert emptied(outbox, theirs) == b"ab234c0"
    assert (outbox.size, outbox.flushed) == (0, 7)
