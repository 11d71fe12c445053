"""The thread rule, as a table."""

from __future__ import annotations

import pytest

from appserver.configuration import Configuration
from appserver.options import BadValue
from appserver.plan import ConcurrencyOptions, PlanError, number_of_processes, plan, positive


class Tiny:
    def __init__(self, name, address, subscribes=False):
        self.name = name
        self.address = address
        self.subscribes = subscribes


M = Tiny("mongrel2", "tcp://a,tcp://b", subscribes=True)
M2 = Tiny("mongrel2", "tcp://c,tcp://d", subscribes=True)
H = Tiny("http", ":8080")
U = Tiny("uwsgi", "/run/u.sock")

ONE = (1, 1, False)
ONE_REASON = "one request at a time; connections are served concurrently"
FORCED = (
    "threads = 8 is forced to 1: beside mongrel2 there is {}; use gevent = N to run several requests at once"
)


@pytest.mark.parametrize(
    "listeners, options, shape, threaded, reason, warnings",
    [
        ([H], {}, ONE, False, ONE_REASON, ()),
        ([M], {}, ONE, False, ONE_REASON, ()),
        ([M, H], {}, ONE, False, ONE_REASON, ()),
        ([M], {"threads": 8}, (8, 1, False), True, "8 threads, each subscribed by itself", ()),
        ([M, M2], {"threads": 8}, (8, 1, False), True, "8 threads, each subscribed by itself", ()),
        ([H], {"threads": 8}, (1, 8, True), True, "up to 8 requests at once in threads", ()),
        ([H, U], {"threads": 8}, (1, 8, True), True, "up to 8 requests at once in threads", ()),
        ([M, H], {"threads": 8}, ONE, False, ONE_REASON, (FORCED.format("http :8080"),)),
        ([H, M], {"threads": 8}, ONE, False, ONE_REASON, (FORCED.format("http :8080"),)),
        ([H, M, M2, U], {"threads": 8}, ONE, False, ONE_REASON, (FORCED.format("http :8080, uwsgi /run/u.sock"),)),
        ([M, H], {"threads": 1}, ONE, False, ONE_REASON, ()),
        ([M], {"gevent": 5}, (1, 5, False), True, "up to 5 requests at once in greenlets", ()),
        ([H], {"gevent": 5}, (1, 5, False), True, "up to 5 requests at once in greenlets", ()),
        ([M, H], {"gevent": 5, "threads": 1}, (1, 5, False), True, "up to 5 requests at once in greenlets", ()),
        ([H], {"processes": 4}, ONE, False, f"4 processes, each: {ONE_REASON}", ()),
        ([M, H], {"processes": 4, "threads": 8}, ONE, False, f"4 processes, each: {ONE_REASON}",
         (FORCED.format("http :8080"),)),
        ([M], {"processes": 4, "threads": 8}, (8, 1, False), True,
         "4 processes, each: 8 threads, each subscribed by itself", ()),
        ([H], {"processes": 1, "master": True}, ONE, False, ONE_REASON, ()),
    ],
)  # fmt: skip
def test_the_rule(listeners, options, shape, threaded, reason, warnings):  # noqa: PLR0917
    chosen = plan(listeners, ConcurrencyOptions(**options))
    assert (chosen.loops, chosen.cores, chosen.native) == shape
    assert chosen.threaded is threaded
    assert chosen.reason == reason
    assert chosen.warnings == warnings
    assert chosen.processes == options.get("processes", 1)


@pytest.mark.parametrize("listeners", [[M], [H], [M, H]])
def test_greenlets_and_threads_exclude_each_other(listeners):
    with pytest.raises(PlanError) as caught:
        plan(listeners, ConcurrencyOptions(gevent=2, threads=3))
    assert str(caught.value) == "gevent = 2 and threads = 3: greenlets run in one thread; remove one"


@pytest.mark.parametrize("text, number", [("1", 1), ("64", 64)])
def test_positive(text, number):
    assert positive(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "x", ""])
def test_not_positive(text):
    with pytest.raises(BadValue, match="a whole number"):
        positive(text)


def test_processes_may_be_as_many_as_the_machine_allows(monkeypatch):
    monkeypatch.setattr("appserver.cpus.available", lambda: 3)
    assert number_of_processes("auto") == 3
    assert number_of_processes("2") == 2


@pytest.mark.parametrize("text", ["0", "-1", "all", ""])
def test_no_number_of_processes(text):
    with pytest.raises(BadValue, match="or auto"):
        number_of_processes(text)


@pytest.mark.parametrize("option", ["gevent", "threads"])
def test_calls_that_no_process_has_room_for(option):
    given = ["-w", "app", "--http-socket", ":0", "--stats", ":0", f"--{option}"]
    told = f"--{option} 1048577: expected a whole number, 1048576 or less"
    assert Configuration([*given, "1048577"]).problems == [told]
    assert Configuration([*given, "1048576"]).problems == []
