"""Reload, kill and stop the server under load, and tell what was lost: ``python -m tests.soak --help``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time

from tests.soak.load import Load
from tests.soak.site import Soaked


def reload(site, load, times):
    """Reload so many times, each when the one before has ended."""
    for number in range(2, times + 2):
        site.server.process.send_signal(signal.SIGHUP)
        site.server.wait_until(rf"generation {number} has taken over", 90)


def kill(site, load, times):
    """Kill a worker that has just answered, so many times."""
    for number in range(times):
        before = load.answered
        os.kill(site.workers()[number % 2], signal.SIGKILL)
        while load.answered < before + 300:
            time.sleep(0.05)


def mongrel2(site, load, times):
    """Stop and start Mongrel2 so many times."""
    for _ in range(times):
        site.mongrel2.stop()
        site.mongrel2.start()
        before = sum(door.outcomes["ok"] for door in load.doors if door.name == "mongrel2")
        while sum(door.outcomes["ok"] for door in load.doors if door.name == "mongrel2") < before + 20:
            time.sleep(0.05)


PHASES = {"reload": reload, "kill": kill, "mongrel2": mongrel2}


def main():
    """Run the phases and print their figures as JSON; exit with 1 where a reload has cost a request."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=main.__doc__)
    parser.add_argument("phases", nargs="*", default=["reload"], choices=list(PHASES))
    parser.add_argument("--times", type=int, default=100, help="reloads, kills or restarts [100]")
    parser.add_argument("--rate", type=float, default=500, help="requests a second in all [500]")
    parser.add_argument("--clients", type=int, default=2, help="clients of each front end [2]")
    parser.add_argument(
        "--option", action="append", default=[], help="a line of the ini file, such as processes=2"
    )
    arguments = parser.parse_args()
    broken = False
    for phase in arguments.phases:
        with tempfile.TemporaryDirectory() as directory, Soaked(directory, *arguments.option) as site:
            with Load(site.doors, arguments.rate, arguments.clients) as load:
                PHASES[phase](site, load, arguments.times)
            figures = load.account(site.ledger)
            print(json.dumps({"phase": phase, "times": arguments.times, **figures}, indent=1))
            for failure in load.failures[:20]:
                print(failure, file=sys.stderr)
            broken |= bool(figures["duplicated"] or (phase == "reload" and load.failures))
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
