"""The bench's arithmetic: figures of a run, medians, ratios, goals and verdicts."""

from __future__ import annotations

import pytest

from bench.case import Case, Goal
from bench.generator import Spent
from bench.report import Measured, Verdict
from bench.sample import Sample, Summary, ratio

CASE = Case("c", "a case", "http", ("appserver", "uwsgi", "granian"), goals=(Goal("cpu", "uwsgi", 0.75),))


def spent(**given):
    return Spent(**{"server": 0, "front": 0, "load": 0, "cores": 0, "beside": 0, "clock": 1.0, **given})


def samples(metric, *values):
    return [Sample({metric: value}) for value in values]


def busy(**shares):
    return Summary([Sample({}, busy=shares)])


def test_a_sample_is_what_was_told_and_what_was_spent():
    figures = {
        "requests": 1000,
        "seconds": 2.0,
        "p50": 0.001,
        "p99": 0.003,
        "failures": {"cut": 2},
        "sent": 1,
    }
    sample = Sample.of(
        figures, spent(server=1.5, load=0.5, cores=1.9, beside=0.6, clock=2.0), peak=1 << 20, cores=1
    )
    assert sample.values == {"rate": 500, "p50": 0.001, "p99": 0.003, "peak": 1 << 20, "cpu": 0.0015}
    assert sample.failures == {"cut": 2}
    assert sample.busy == pytest.approx(
        {"server": 0.75, "front": 0, "load": 0.25, "others": 0.2, "beside": 0.05}
    )


def test_a_server_on_two_cores_is_busy_with_both():
    figures = {"requests": 1, "seconds": 1.0, "p50": 0, "p99": 0, "failures": {}}
    assert Sample.of(figures, spent(server=1.8, cores=1.8), 0, cores=2).busy["server"] == pytest.approx(0.9)


def test_a_load_is_not_busy_while_it_spins():
    figures = {"requests": 1, "seconds": 1.0, "p50": 0, "p99": 0, "failures": {}, "spun": 0.7}
    sample = Sample.of(figures, spent(load=0.95, beside=0.97), 0, 1)
    assert sample.busy["load"] == pytest.approx(0.25)
    assert sample.busy["beside"] == pytest.approx(0.02)  # what others took


def test_without_an_answer_there_is_no_cost_of_one():
    figures = {"requests": 0, "seconds": 1.0, "p50": 0, "p99": 0, "failures": {"late": 4}}
    assert "cpu" not in Sample.of(figures, spent(server=0.5), 0, 1).values


@pytest.mark.parametrize(("size", "failures"), [(1200, {}), (1199, {"length": 1})])
def test_connections_that_end_after_an_answer_are_no_failures_of_wrk(size, failures):
    figures = {"requests": 100, "seconds": 1.0, "p50": 0, "p99": 0, "bytes": size, "failures": {"cut": 99}}
    sample = Sample.of(figures, spent(), 0, 1, length=12)
    assert (sample.reopened, sample.failures) == (99, failures)


def test_a_summary_has_the_median_and_the_spread():
    found = Summary(samples("cpu", 4.0, 1.0, 2.0))
    assert found.median("cpu") == 2
    assert found.spread("cpu") == 1.5
    assert found.median("rate") is None
    assert Summary(samples("cpu", 1.0)).spread("cpu") is None


@pytest.mark.parametrize(
    ("shares", "who"),
    [
        ({"server": 0.9, "load": 1.0}, "server"),
        ({"server": 0.5, "front": 0.95}, "front"),
        ({"server": 0.5, "load": 0.95}, "load"),
        ({"server": 0.5, "front": 0.5, "load": 0.45}, "front and load"),
        ({"server": 0.5, "others": 0.45}, "other programs"),
        ({"server": 0.5, "load": 0.3, "beside": 0.65}, "other programs"),
        ({"server": 0.5, "front": 0.3, "load": 0.1}, "nobody"),
        ({}, "-"),
    ],
)
def test_the_bottleneck_is_who_has_no_core_left(shares, who):
    assert busy(**shares).bottleneck() == who


def test_a_ratio_is_ours_by_theirs():
    assert ratio(1.0, 4.0) == 0.25
    assert ratio(None, 4.0) is None
    assert ratio(1.0, None) is None
    assert ratio(1.0, 0.0) is None


@pytest.mark.parametrize(("ours", "met"), [(0.75, Verdict.MET), (0.76, Verdict.MISSED)])
def test_a_goal_is_met_at_its_factor(ours, met):
    measured = Measured(CASE, {"appserver": samples("cpu", ours), "uwsgi": samples("cpu", 1.0)})
    assert [verdict for _, verdict in measured.goals()] == [met]


@pytest.mark.parametrize(
    ("least", "told"),
    [
        ({}, ""),
        ({"floor": 0.8}, " (floor 0.80)"),
        ({"bare": 0.9}, " (bare 0.90)"),
        ({"floor": 0.8, "bare": 0.9}, " (floor 0.80, bare 0.90)"),
    ],
)
def test_a_goal_names_what_is_least_which_is_no_peer(least, told):
    case = Case("c", "a case", "http", ("appserver", "uwsgi", *least), goals=CASE.goals)
    cpu = {"appserver": 2.0, "uwsgi": 1.0, **least}
    runs = {name: samples("cpu", value) for name, value in cpu.items()}
    [(text, met)] = Measured(case, runs).goals()
    assert text.endswith(f"0.75 x uwsgi: 2.00{told}")
    assert met is Verdict.MISSED
    assert Measured(case, runs).faster() == ["uwsgi"]


def test_a_goal_of_a_rate_names_it_too():
    case = Case(
        "c",
        "a case",
        "uwsgi",
        ("appserver", "uwsgi", "bare"),
        "rate",
        app="post",
        goals=(Goal("rate", "uwsgi"),),
    )
    rates = {"appserver": 80.0, "uwsgi": 100.0, "bare": 90.0}
    runs = {name: samples("rate", value) for name, value in rates.items()}
    [(text, met)] = Measured(case, runs).goals()
    assert text.endswith("at least 1 x uwsgi: 0.80 (bare 0.90)")
    assert met is Verdict.MISSED


@pytest.mark.parametrize(("factor", "met"), [(1.6, Verdict.MISSED), (1.7, Verdict.BEYOND)])
def test_a_goal_of_calls_that_sleep_names_the_most_that_can_be(factor, met):
    case = Case(
        "c", "a case", "http", ("appserver", "uwsgi"), "rate", app="sleep", connections=400,
        goals=(Goal("rate", "uwsgi", factor),),
    )  # fmt: skip
    runs = {"appserver": samples("rate", 6000.0), "uwsgi": samples("rate", 5000.0)}
    [(text, found)] = Measured(case, runs).goals()
    assert text.endswith(f"at least {factor} x uwsgi: 1.20 (at most 1.60)")
    assert found is met


def test_a_goal_whose_peer_was_not_measured_has_no_verdict():
    measured = Measured(CASE, {"appserver": samples("cpu", 1.0)})
    assert [verdict for _, verdict in measured.goals()] == [Verdict.UNKNOWN]


@pytest.mark.parametrize(
    ("goal", "values", "met"),
    [
        (Goal("rate", "uwsgi", 1.2), (120.0, 100.0), Verdict.MET),
        (Goal("rate", "uwsgi", 1.2), (119.0, 100.0), Verdict.MISSED),
        (Goal("p99", limit=75), (0.075, 0.01), Verdict.MET),
        (Goal("p99", limit=75), (0.076, 0.01), Verdict.MISSED),
        (Goal("cpu", "uwsgi", limit=3, more=True), (13e-6, 10e-6), Verdict.MET),
        (Goal("cpu", "uwsgi", limit=3, more=True), (13.1e-6, 10e-6), Verdict.MISSED),
    ],
)
def test_goals_know_which_way_is_better(goal, values, met):
    case = Case("c", "a case", "http", ("appserver", "uwsgi"), goals=(goal,))
    runs = {
        name: samples(goal.metric, value) for name, value in zip(("appserver", "uwsgi"), values, strict=True)
    }
    assert [verdict for _, verdict in Measured(case, runs).goals()] == [met]


@pytest.mark.parametrize(("headline", "faster"), [("cpu", ["uwsgi"]), ("rate", ["granian"])])
def test_peers_that_are_better_are_named(headline, faster):
    case = Case("c", "a case", "http", ("appserver", "appserver-gevent", "uwsgi", "granian"), headline)
    runs = {
        name: samples(headline, value) for name, value in zip(case.servers, (2.0, 1.0, 1.0, 3.0), strict=True)
    }
    assert Measured(case, runs).faster() == faster
