"""The bench as people run it, and how it looks at processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bench import __main__ as bench_main
from bench import process
from bench.cases import CASES
from bench.requirement import REQUIREMENTS, Requirement
from bench.sample import Sample
from tests.support.server import ROOT


def bench(*words):
    return subprocess.run([sys.executable, "-m", "bench", *words], cwd=ROOT, capture_output=True, text=True)


def test_the_list_names_cases_and_their_servers():
    done = bench("--list", "http", "scgi")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["http", "appserver,", "scgi", "appserver,"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nothing"], "there is no case nothing"),
        (["--server", "apache"], "there is no server apache"),
        (["--runs", "0"], "--runs and --seconds must be above 0"),
    ],
)
def test_what_does_not_exist_is_refused(words, complaint):
    done = bench(*words)
    assert done.returncode == 2
    assert complaint in done.stderr


@pytest.mark.peers
@pytest.mark.skipif(REQUIREMENTS["cc"].missing(), reason=f"cc: {REQUIREMENTS['cc'].source}")
def test_a_run_is_printed_saved_and_documented(tmp_path):
    saved, written = tmp_path / "run.json", tmp_path / "run.md"
    done = bench(
        "--quick", "fastcgi-keep", "--server", "appserver", "--json", str(saved), "--markdown", str(written)
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(saved.read_text())
    (sample,) = found["cases"]["fastcgi-keep"]["servers"]["appserver"]["samples"]
    assert sample["requests"] > 0
    assert sample["failures"] == {}
    assert sample["values"]["cpu"] > 0
    assert 0 < sample["busy"]["server"] <= 1.1
    assert (tmp_path / "run.svg").exists()
    again = bench("--from", str(saved))
    assert again.stdout.strip() == done.stdout.strip()
    assert done.stdout.splitlines()[2].split()[0] == "appserver"
    assert "`fastcgi-keep`" in written.read_text()


def test_a_small_difference_is_measured_more_often(monkeypatch, capsys):
    case, runs = CASES["log"], []
    monkeypatch.setattr(bench_main, "_lacks", lambda *_: False)
    monkeypatch.setitem(
        bench_main.PROCEDURES, case.procedure, lambda *_: runs.append(1) or Sample({"cpu": 1e-6})
    )
    monkeypatch.setattr(sys, "argv", ["bench", "--runs", "2", "--server", case.servers[0], case.name])
    with monkeypatch.context() as at_work:
        at_work.setattr(bench_main.signal, "signal", lambda *_: None)
        assert bench_main.main() == 0
    assert len(runs) == 2 * case.times > 2
    assert case.title in capsys.readouterr().out


def test_an_interpreter_without_packages_is_told_what_is_missing():
    done = subprocess.run(
        [sys.executable, "-S", "-m", "bench", "--quick", "http", "--server", "appserver"],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 1
    for name in ("gevent", "zmq", "msgspec"):
        assert f"missing: {name}; to get it: pip install -e '.[bench]'\n" in done.stderr
        assert f"{name} is missing (pip install -e '.[bench]')" in done.stdout
    assert "Traceback" not in done.stderr


def test_what_is_missing_says_so():
    assert Requirement("module", "no_such_module", "").missing()
    assert Requirement("program", "no-such-program", "").missing()
    assert Requirement("file", "/no/such/file", "").missing()
    assert not Requirement("module", "json", "").missing()
    assert not Requirement("program", "sh", "").missing()


def test_processes_are_pinned_and_counted_with_their_descendants(tmp_path):
    core = max(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    program = (
        "import os, subprocess, sys\n"
        "inner = 'import sys; list(range(3000000)); sys.stdin.read()'\n"
        "child = subprocess.Popen([sys.executable, '-c', inner], stdin=subprocess.PIPE)\n"
        f"open({str(tmp_path / 'cores')!r}, 'w').write(repr(os.sched_getaffinity(0)))\n"
        "os.mkfifo('fifo'); open('fifo').read()\n"
    )
    running = process.Process([sys.executable, "-c", program], [core], str(tmp_path))
    try:
        assert os.sched_getaffinity(0) == before
        while not (tmp_path / "fifo").exists():
            assert not running.ended(), running.output()
        assert (tmp_path / "cores").read_text() == repr({core})
        members = process.family(running.pid)
        assert len(members) == 2
        while process.cpu(members[1]) < 0.02:
            assert not running.ended(), running.output()
        assert process.cpu(running.pid) >= process.cpu(members[1])
        both, one = (process.memory(pid, "VmHWM") for pid in members)
        assert both - one > 1 << 20
        assert one > 1 << 20
    finally:
        running.stop()
    assert process.memory(running.pid, "VmHWM") == 0
