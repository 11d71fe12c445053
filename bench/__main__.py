"""Measure this server beside others: ``python -m bench [CASE ...]``."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cases import CASES
from bench.machine import machine, versions
from bench.markdown import document
from bench.plot import svg
from bench.procedure import PROCEDURES, Setting, usable_cores
from bench.report import NOISE, Measured, text
from bench.requirement import missing, provide
from bench.server import SERVERS, Compiled, Uwsgi

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from bench.case import Case

QUICK = Setting(seconds=0.5, warm_up=0.1, cores=(), idle=500)
QUICK_SERVERS = 2  # of each case


def measure(case: Case, names: Sequence[str], setting: Setting, runs: int) -> Measured:
    """Measure a case: each server once, then each again, so many times; one that fails is not tried again."""
    measured = Measured(case)
    names = [name for name in names if not _lacks(case, name, measured)]
    for run in range(runs):
        for name in names:
            if name in measured.problems:
                continue
            _progress(f"{case.name} {name} {run + 1}/{runs}")
            try:
                sample = PROCEDURES[case.procedure](case, SERVERS[name], setting)
            except (OSError, AssertionError) as error:  # AssertionError: a front end does not start
                measured.problems[name] = str(error)
                continue
            measured.samples.setdefault(name, []).append(sample)
            if remark := SERVERS[name].remark(case.door):
                measured.remarks[name] = remark
    _progress("")
    return measured


def _progress(words: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{words}\033[K", end="", file=sys.stderr, flush=True)


def _lacks(case: Case, name: str, measured: Measured) -> bool:
    """Note what a server lacks; tell whether it lacks anything."""
    lacking = missing([*case.needs(), *SERVERS[name].needs])
    if len(usable_cores()) < case.cores:
        measured.problems[name] = f"it needs {case.cores} cores, and there are {len(usable_cores())}"
    elif lacking:
        measured.problems[name] = "; ".join(f"{each.name} is missing ({each.source})" for each in lacking)
    return name in measured.problems


def report_missing(cases: Iterable[Case]) -> None:
    """Say once what is missing for these cases and how to get it; it is not installed."""
    names = {need for case in cases for need in case.needs()}
    names |= {need for case in cases for name in case.servers for need in SERVERS[name].needs}
    for each in missing(sorted(names)):
        print(f"missing: {each.name}; to get it: {each.source}", file=sys.stderr)


def save(path: str, all_measured: Collection[Measured], about: dict[str, Any]) -> None:
    """Write the JSON, and the picture beside it."""
    plain = {**about, "cases": {each.case.name: each.plain() for each in all_measured}}
    Path(path).write_text(json.dumps(plain, indent=1) + "\n")
    Path(path).with_suffix(".svg").write_text(svg(all_measured))


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure this server beside others, one core each, runs alternating. Installs nothing, "
        "but says what is missing. Exits with 1 where a case could not be measured for this server.",
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="see --list [all]")
    parser.add_argument("--list", action="store_true", help="list cases and servers, and what is missing")
    parser.add_argument(
        "--quick", action="store_true", help="a self-check: one short run of two servers each"
    )
    parser.add_argument("--runs", type=int, default=3, help="of each server [3]")
    parser.add_argument("--seconds", type=float, default=5, help="of each run [5]")
    parser.add_argument("--server", action="append", metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--uwsgi", metavar="PROGRAM", help="the uWSGI to measure [the one on the path]")
    parser.add_argument(
        "--compiled", metavar="PROGRAM", help="the appserver of an environment with the compiled build"
    )
    parser.add_argument("--json", metavar="FILE", help="save all figures there, and a plot as FILE with .svg")
    parser.add_argument(
        "--again",
        metavar="FILE",
        help="measure those cases of a run that --json has saved there again in which others took more than"
        f" {NOISE:.0%} of a core, and keep what was disturbed less",
    )
    parser.add_argument("--markdown", metavar="FILE", help="write the document about the run there")
    parser.add_argument("--from", dest="saved", metavar="FILE", help="report a run that --json has saved")
    told = parser.parse_args()
    if unknown := [name for name in told.cases if name not in CASES]:
        parser.error(f"there is no case {unknown[0]}; --list names them")
    if unknown := [name for name in told.server or () if name not in SERVERS]:
        parser.error(f"there is no server {unknown[0]}; --list names them")
    if told.runs < 1 or told.seconds <= 0:
        parser.error("--runs and --seconds must be above 0")
    return told


def main() -> int:
    """Do what the command line says."""
    told = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C does: what was started is ended
    if told.uwsgi:
        Uwsgi.program = str(Path(told.uwsgi).resolve())
        provide("uwsgi", Uwsgi.program)
    if told.compiled:
        Compiled.program = str(Path(told.compiled).absolute())
        provide("appserver-compiled", Compiled.program)
    cases = [CASES[name] for name in told.cases] or [
        case for case in CASES.values() if case.quick or not told.quick
    ]
    if told.list:
        for case in cases:
            print(f"{case.name:22} {case.title}\n{'':22} {', '.join(case.servers)}")
    if told.saved:
        saved = json.loads(Path(told.saved).read_text())
        for name, plain in saved["cases"].items():
            print(text(Measured.of(name, plain)))
        if told.markdown:
            Path(told.markdown).write_text(document(saved))
        return 0
    report_missing(cases)
    if told.list:
        return 0
    short = QUICK if told.quick else Setting(told.seconds, min(1.0, told.seconds / 2), ())
    setting = Setting(short.seconds, short.warm_up, usable_cores(), short.idle)
    if len(setting.cores) < 2:
        print("there is one core only: load and server share it, so that rates say little", file=sys.stderr)
    about: dict[str, Any] = {
        "machine": machine(),
        "versions": versions(dict.fromkeys(name for case in cases for name in case.servers if _there(name))),
        "runs": 1 if told.quick else told.runs,
        "seconds": setting.seconds,
    }
    everything: dict[str, Measured] = {}
    if told.again:
        about = json.loads(Path(told.again).read_text())
        everything = {name: Measured.of(name, plain) for name, plain in about.pop("cases").items()}
        cases = [each.case for each in everything.values() if each.noise > NOISE]
        about["again"] = sorted({*about.get("again", ()), *(case.name for case in cases)})
    for case in cases:
        names = [name for name in case.servers if not told.server or name in told.server]
        if told.quick:
            found = measure(case, names[:QUICK_SERVERS], setting, 1)
        else:
            found = measure(case, names, setting, told.runs * case.times)
        before = everything.get(case.name)
        if before is None or found.noise < before.noise:
            everything[case.name] = found
        if not told.again:
            about["command"] = command(told, everything)
        print(text(found), flush=True)
        if told.json:  # after each case, so that a run that is interrupted is not lost
            save(told.json, everything.values(), about)
    if told.markdown:
        plain = {**about, "cases": {name: each.plain() for name, each in everything.items()}}
        Path(told.markdown).write_text(document(plain))
    return int(any(each.case.servers[0] in each.problems for each in everything.values()))


def _there(name: str) -> bool:
    return not missing(SERVERS[name].needs)


def command(told: argparse.Namespace, everything: Collection[str]) -> str:
    """Return the command that measures this again: what was measured and how, not where it was written to."""
    words = [] if len(everything) == len(CASES) else list(everything)
    words += ["--quick"] if told.quick else ["--runs", str(told.runs), "--seconds", f"{told.seconds:g}"]
    words += [word for name in told.server or () for word in ("--server", name)]
    words += ["--uwsgi", Path(told.uwsgi).name] if told.uwsgi else []
    words += ["--compiled", Path(told.compiled).name] if told.compiled else []
    return shlex.join(["python", "-m", "bench", *words])


if __name__ == "__main__":
    sys.exit(main())
