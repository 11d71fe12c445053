"""A short soak: reloads, kills, restarts and stops under load from all front ends (``python -m tests.soak``)."""

from __future__ import annotations

from math import inf

import pytest

from tests.soak.__main__ import soak
from tests.soak.phases import Kill, Mongrel2, Reload, Term
from tests.soak.site import DOORS

pytestmark = pytest.mark.peers

DISPATCHES = ["worker", "shared"]  # the values of zeromq-dispatch


class PatientKill(Kill):
    """Kill, and ask how requests were given up, but not how soon."""

    pause = 1.0
    within = inf


@pytest.mark.parametrize("dispatch", DISPATCHES)
@pytest.mark.parametrize("phase, times", [(Reload, 3), (PatientKill, 2), (Mongrel2, 2), (Term, 2)])
def test_nothing_is_lost_that_need_not_be(phase, times, dispatch):
    """Half of the requests take their time, so that each worker has some in its hands at any time."""
    options = ["processes = 2", "gevent = 20", f"zeromq-dispatch = {dispatch}"]
    account = soak(phase, options, times, rate=120, clients=2, share=0.5)
    assert account.breaches == {}, account.failures
    assert {sent.door for sent in account.requests if sent.outcome == "ok"} == set(DOORS)
    assert len(account.requests) > len(account.failures)
    if phase is PatientKill:
        assert account.figures["calls_in_hand"] > 0
