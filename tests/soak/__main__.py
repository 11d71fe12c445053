"""Reload, kill and stop the server under load, and tell what was lost: ``python -m tests.soak --help``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile

from tests.soak.account import Account
from tests.soak.load import Load
from tests.soak.mixed import mixed
from tests.soak.phases import PHASES
from tests.soak.site import DOORS, Site

TIMES = {"reload": 100, "kill": 20, "mongrel2": 20, "term": 20}
RATE = 520.0  # requests a second; some more than the 500 that are to be reached
SHOWN = 20  # failures of each kind that are told one by one


def soak(phase, options, times, *, uwsgi=None, rate=RATE, clients=4, share=0.05):
    """Go through one phase, of the given class, and return its `Account`."""
    with tempfile.TemporaryDirectory() as directory, Site(directory, options, uwsgi=uwsgi) as site:
        load = Load(site.doors, rate, clients, share)
        done = phase(site, load)
        unfinished = ""
        with load:
            try:
                done.run(times)
            except AssertionError as error:  # what should have happened did not: told with the rest
                unfinished = str(error)
        site.explain(load.requests())
        account = Account(done, load, site.ledger)
        account.figures = {"server": site.server.name, "options": list(options), **account.figures}
        if unfinished:
            account.breaches["unfinished"] = unfinished
        return account


def measure_mixed(options, uwsgi, rate, seconds):
    """Run the measurement `mixed` and return its figures."""
    with tempfile.TemporaryDirectory() as directory, Site(directory, options, ["mongrel2"], uwsgi) as site:
        found = mixed(site, rate, seconds)
        return {"server": site.server.name, "options": list(options), **found}


def main():
    """Run phases, print their figures as JSON, and exit with 1 where one has cost what it may not cost."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=main.__doc__)
    parser.add_argument("phases", nargs="*", default=["reload"], choices=[*PHASES, "mixed"])
    parser.add_argument(
        "--times", type=int, help="reloads, kills, restarts or stops [100 reloads, 20 of others]"
    )
    parser.add_argument(
        "--rate", type=float, help="requests a second in all [520; mixed: 10 for each process]"
    )
    parser.add_argument("--clients", type=int, default=4, help=f"clients of each of {len(DOORS)} doors [4]")
    parser.add_argument("--processes", type=int, default=4, help="workers [4]")
    parser.add_argument("--gevent", type=int, help="calls at once in each [100; mixed and uWSGI: one]")
    parser.add_argument("--seconds", type=float, default=60, help="length of mixed [60]")
    parser.add_argument("--option", action="append", default=[], help="a line of the ini file")
    parser.add_argument("--uwsgi", metavar="PROGRAM", help="soak this uWSGI (tests.soak.build_uwsgi) instead")
    told = parser.parse_args()
    broken = False
    for name in told.phases:
        alone = name == "mixed" or told.uwsgi
        calls = told.gevent if told.gevent is not None else 1 if alone else 100
        options = [
            f"processes = {told.processes}",
            *([f"gevent = {calls}"] if calls > 1 else []),
            *told.option,
        ]
        if name == "mixed":
            figures = measure_mixed(options, told.uwsgi, told.rate or 10 * told.processes, told.seconds)
            broken |= bool(figures["not_answered_well"])
        else:
            account = soak(
                PHASES[name], options, told.times or TIMES[name],
                uwsgi=told.uwsgi, rate=told.rate or RATE, clients=told.clients,
            )  # fmt: skip
            figures = account.figures
            broken |= bool(account.breaches)
            for kind in account.counts:
                for sent in [sent for what, sent in account.failures if what == kind][:SHOWN]:
                    print(kind, sent, file=sys.stderr)
        print(json.dumps({"phase": name, **figures}, indent=1), flush=True)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
