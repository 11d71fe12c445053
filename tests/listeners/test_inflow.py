"""A body that Mongrel2 sends in pieces, without a Mongrel2."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gevent
import pytest
from gevent import get_hub

from appserver.errors import ClientGone
from appserver.listeners.inflow import Inflow
from appserver.protocols.mongrel2_fields import LAST, OFFSET
from appserver.reader import Reader

HERE = SimpleNamespace(hub=get_hub())


@pytest.mark.parametrize("size", [-1, 5])
def test_what_a_read_that_is_broken_off_has_taken_is_read_again(size):
    def wait(_):
        raise gevent.Timeout

    first = SimpleNamespace(body=b"hel", aside={})
    last = SimpleNamespace(body=b"lo", aside={OFFSET: "3", LAST: "true"})
    inflow = Inflow(first, 5, 0, 60.0)
    inflow.of(SimpleNamespace(gone=False, intake=HERE, order=lambda **_: True, wait=wait, go_on=lambda: None))
    reader = Reader(inflow, 16)
    for _ in range(2):
        with pytest.raises(gevent.Timeout):
            reader.read(size)
    inflow.feed(last)
    assert reader.read(size) == b"hello"


@pytest.mark.parametrize("waits", [True, False], ids=["while it waits", "before"])
def test_who_still_reads_when_the_call_is_over_is_not_told_that_the_body_ends(waits):
    """What it has not read by then is read over; a rest of nothing would pass for the whole of a body."""
    first = SimpleNamespace(body=b"hel", aside={})
    last = SimpleNamespace(body=b"lo", aside={OFFSET: "3", LAST: "true"})

    def over(*_):
        inflow.discard()
        inflow.feed(last)

    inflow = Inflow(first, 5, 0, 60.0)
    inflow.of(SimpleNamespace(gone=False, intake=HERE, order=lambda **_: True, wait=over, go_on=lambda: None))
    reader = Reader(inflow, 16)
    if not waits:
        assert reader.read(3) == b"hel"
        over()
    with pytest.raises(ClientGone, match="the request has ended"):
        reader.read()
    assert inflow.finished


def test_a_wait_that_ends_just_before_its_time_is_not_one_without_an_end(monkeypatch):
    """`Request.wait` takes 0 seconds for any time, and less as well: nobody would wake who waits so."""
    clock = iter((0.0, 0.0, 59.999999, 60.000001, 60.000002))
    monkeypatch.setattr("appserver.listeners.inflow.monotonic", lambda: next(clock))
    waits = []
    inflow = Inflow(SimpleNamespace(body=b"", aside={}), 5, 0, 60.0)
    request = SimpleNamespace(gone=False, intake=HERE, order=lambda **_: True, wait=waits.append)
    request.drop = lambda: setattr(request, "gone", True)
    inflow.of(request)
    with pytest.raises(ClientGone, match="the client has left"):
        Reader(inflow, 16).read()
    assert waits == [60.0, pytest.approx(1e-6)]


def test_another_thread_cannot_wait_for_more():
    """It would wait in a loop of its own, for nobody."""
    inflow = Inflow(SimpleNamespace(body=b"hel", aside={}), 5, 0, 60.0)
    inflow.of(SimpleNamespace(gone=False, intake=HERE, order=lambda **_: True))
    reader = Reader(inflow, 16)
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="in the thread of its call alone"):
        pool.submit(reader.read).result()
    assert reader.read(3) == b"hel"
