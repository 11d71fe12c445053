"""A body that Mongrel2 sends in pieces, without a Mongrel2."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import pytest

from appserver.listeners.inflow import Inflow
from appserver.protocols.mongrel2 import LAST, OFFSET
from appserver.reader import Reader


@pytest.mark.parametrize("size", [-1, 5])
def test_what_a_read_that_is_broken_off_has_taken_is_read_again(size):
    def wait(_):
        raise gevent.Timeout

    first = SimpleNamespace(body=b"hel", fields={})
    last = SimpleNamespace(body=b"lo", fields={OFFSET: "3", LAST: "true"})
    inflow = Inflow(first, 5, 0, 60.0)
    inflow.of(SimpleNamespace(gone=False, order=lambda **_: True, wait=wait, go_on=lambda: None))
    reader = Reader(inflow, 16)
    for _ in range(2):
        with pytest.raises(gevent.Timeout):
            reader.read(size)
    inflow.feed(last)
    assert reader.read(size) == b"hello"
