"""What the bench prints and saves."""

from __future__ import annotations

import json
import sys
from xml.etree import ElementTree as ET

import pytest

from bench import __main__ as command_line
from bench.cases import CASES
from bench.markdown import document
from bench.plot import svg
from bench.report import Measured, text
from bench.sample import Sample


def run(cpu, **more):
    return Sample({"cpu": cpu, "rate": 1 / cpu, "p50": 0.001, "p99": 0.002, "peak": 40 << 20}, **more)


def measured():
    return Measured(
        CASES["http"],
        {
            "appserver": [run(20e-6, busy={"server": 0.95}), run(22e-6, busy={"server": 0.97})],
            "uwsgi": [run(30e-6, requests=100, reopened=100, busy={"load": 0.97})],
            "bjoern": [run(10e-6, failures={"status": 3}, busy={"server": 0.9, "others": 0.3})],
        },
        {"granian": "granian is missing (pip install granian)"},
        {"uwsgi": "a remark"},
    )


def test_the_table_has_figures_ratios_goals_and_notes():
    lines = text(measured()).splitlines()
    assert lines[0] == "http: HTTP, connections kept (wrk)"
    assert lines[1].split() == [
        "server", "CPU", "us", "+-", "req/s", "+-", "p50", "ms", "p99", "ms", "peak", "MiB", "core", "bottleneck",
        "ours/its",
    ]  # fmt: skip
    assert lines[2].split()[:4] == ["appserver", "21.0", "10%", "47,727"]
    assert lines[2].split()[-3:] == ["96%", "server", "ours"]
    assert lines[3].split()[-2:] == ["load", "0.70"]
    assert lines[4].split()[-2:] == ["server", "2.10"]
    assert [line.strip() for line in lines[5:]] == [
        "not measured: CPU of the server per request of appserver at most 0.75 x uwsgi-http11",
        "not measured: CPU of the server per request of appserver at most 1 x granian",
        "not measured: CPU of the server per request of appserver-compiled at most 1 x granian",
        "MISSED: CPU of the server per request of appserver at most 1 x bjoern: 2.10",
        "not measured: CPU of the server per request of appserver-compiled at most 1 x bjoern",
        "note: uwsgi: a remark",
        "note: uwsgi: it ends every connection",
        "note: bjoern: 3 x status (these are no answers, and not counted)",
        "note: bjoern: other programs, or the host, took 30% of a core meanwhile",
        "note: granian: not measured: granian is missing (pip install granian)",
    ]


@pytest.mark.parametrize(
    "rate, others, line",
    [
        (1.8, 0.1, "met: {} 2.00 with its cores to itself, 1.80 on the 90% of them that others left"),
        (1.8, 0.0, "MISSED: {} 1.80 with its cores to itself, 1.80 on the 100% of them that others left"),
    ],
)
def test_a_goal_for_free_cores_is_reckoned_from_what_others_left(rate, others, line):
    busy = {"server": 0.9, "others": others}
    found = {
        "appserver-2": [run(1 / rate, busy=busy)],
        "appserver": [run(1.0, busy={"server": 0.5, "others": 0.3})],
    }
    goal = "requests a second of appserver-2 at least 1.9 x appserver:"
    assert line.format(goal) in text(Measured(CASES["processes"], found))


def test_what_was_saved_is_read_again():
    plain = json.loads(json.dumps(measured().plain()))
    again = Measured.of("http", plain)
    assert text(again) == text(measured())
    assert again.plain() == plain


def test_the_document_names_the_peers_that_are_better():
    saved = {
        "command": "python -m bench http",
        "machine": {"time": "t", "processor": "p", "cores": "2", "memory": "m", "system": "s"},
        "versions": ["CPython 3"],
        "runs": 2,
        "seconds": 5.0,
        "cases": {"http": measured().plain()},
    }
    found = document(saved)
    better = found.partition("## Where a peer is better")[2].partition("##")[0]
    assert "bjoern (2.10)" in better
    assert "uwsgi" not in better
    assert "| appserver | 21.0 | 10% |" in found
    assert "python -m bench http\n" in found
    assert "## Goals\n\n1 MISSED, 4 not measured.\n" in found


def test_what_nobody_could_run_instead_is_no_peer_that_is_better():
    found = {"appserver": [run(2e-6)], "null": [run(1e-6)], "uwsgi": [run(1.5e-6)]}
    assert Measured(CASES["mongrel2"], found).faster() == ["uwsgi"]


def test_the_plot_has_a_bar_for_each_server_that_was_measured():
    picture = ET.fromstring(svg([measured(), Measured(CASES["scgi"])]))
    bars = picture.findall("{http://www.w3.org/2000/svg}rect")
    assert [bar.get("class") for bar in bars] == ["ours", "peer", "peer"]
    assert [round(float(bar.get("width")) / float(bars[1].get("width")), 2) for bar in bars] == [0.7, 1, 0.33]


def test_every_case_names_goals_of_servers_that_it_has():
    for case in CASES.values():
        for goal in case.goals:
            assert {goal.peer, goal.ours} - {""} <= set(case.servers)


@pytest.mark.parametrize("noise, kept", [(0.2, 5.0), (0.4, 21.0)])
def test_what_others_disturbed_is_measured_again(tmp_path, monkeypatch, noise, kept):
    """And what was disturbed less is kept; a case that was not is left as it was."""
    quiet = Measured(CASES["scgi"], {"appserver": [run(7e-6)]})
    cases = {each.case.name: each.plain() for each in (measured(), quiet)}
    assert measured().noise == 0.3
    about = {
        "command": "python -m bench http scgi",
        "machine": {"time": "t", "processor": "p", "cores": "2", "memory": "m", "system": "s"},
        "versions": ["CPython 3"], "runs": 2, "seconds": 5.0,
    }  # fmt: skip
    first, second, page = tmp_path / "first.json", tmp_path / "second.json", tmp_path / "page.md"
    first.write_text(json.dumps({**about, "cases": cases}))
    asked = []

    def measure(case, names, setting, runs):
        asked.append(case.name)
        return Measured(case, {"appserver": [run(5e-6, busy={"beside": noise})]})

    monkeypatch.setattr(command_line, "measure", measure)
    words = ["--again", str(first), "--json", str(second), "--markdown", str(page)]
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    assert command_line.main() == 0
    assert asked == ["http"]
    found = json.loads(second.read_text())
    assert (found["command"], found["again"]) == (about["command"], ["http"])
    assert round(found["cases"]["http"]["servers"]["appserver"]["median"]["cpu"] * 1e6, 1) == kept
    assert found["cases"]["scgi"] == json.loads(json.dumps(quiet.plain()))
    assert "1 case was measured again by `--again`" in page.read_text()
