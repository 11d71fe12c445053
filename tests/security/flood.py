"""How much longer good requests take beside a flood of bad ones: ``python -m tests.security.flood --bad 10000``.

The server has one core, all loads (bench/load/flood.c) another. The bad requests are those of the tables of HTTP, uwsgi,
FastCGI and SCGI, in turn, each on a connection of its own. The good ones come at random moments at a steady rate, and
their latencies count from when they were due. Runs with and without the flood take turns, as the machine may have
others' work; what is compared is the median of the runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import struct
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import process
from bench.compiler import built
from bench.generator import drive, spent
from tests.protocols.wire import GET, fastcgi_request, scgi_request, uwsgi_packet
from tests.security.gateways import test_fastcgi, test_scgi, test_uwsgi
from tests.security.test_wrong_port import FIRST
from tests.security.wires import CHUNKS, HEADS, LINE, POST, TE
from tests.support.server import Server

APP = """
import time

def application(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"]) / 1000)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""
GOOD = "GET /?{} HTTP/1.1\r\nHost: h\r\n\r\n"
LARGEST = 2000  # bytes of a bad request: most are small, and the price of one is what counts
NEXT = {"uwsgi": uwsgi_packet(GET), "fastcgi": fastcgi_request(GET), "scgi": scgi_request(GET)}
TABLES = {"uwsgi": test_uwsgi.REFUSED, "fastcgi": test_fastcgi.REFUSED, "scgi": test_scgi.REFUSED}


def _http():
    heads = [f"{head}\r\n{LINE}\r\n" for given in HEADS.values() for _, head in given]
    bodies = [f"{POST}{TE}\r\n{chunks}{LINE}\r\n" for given in CHUNKS.values() for _, chunks in given]
    return [text.encode("latin-1") for text in heads + bodies]


def wires(protocol):
    """Return the bad requests for a listener, and what belongs to the others' ports."""
    if protocol == "http":
        found, own = _http(), "HTTP"
    else:
        found = [each.values[0] + NEXT[protocol] for each in TABLES[protocol]]
        own = {"uwsgi": "uwsgi", "fastcgi": "FastCGI", "scgi": "SCGI"}[protocol]
    found += [wire for name, wire in FIRST.items() if not name.startswith(own)]
    return [wire for wire in found if len(wire) <= LARGEST]


class Flood:
    """A server on a core of its own, and what is sent to it."""

    def __init__(self, arguments, stack):
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.arguments = arguments
        cores = sorted(os.sched_getaffinity(0))
        self.core, self.others = cores[:1], cores[1:] or cores
        (directory / "app.py").write_text(APP)
        (directory / "good").write_text(GOOD.format(arguments.work))
        mounts = [f"{name}-socket = 127.0.0.1:0" for name in arguments.protocols]
        lines = [
            "[appserver]",
            f"wsgi-file = {directory}/app.py",
            f"req-logger = file:{directory}/access.log",
        ]
        lines += [*mounts, *arguments.options]
        (directory / "site.ini").write_text("\n".join(lines) + "\n")
        with process.pinned(self.core):
            self.server = stack.enter_context(Server("--ini", directory / "site.ini"))
        self.bad = []
        for name in arguments.protocols:
            packed = [struct.pack(">I", len(wire)) + wire for wire in wires(name)]
            (directory / name).write_bytes(b"".join(packed))
            self.bad += ["--bad", f"{self.server.addresses[name]}={directory / name}"]
        self.command = [
            built("flood"), "--good", self.server.addresses["http"], "--request", str(directory / "good"), "--length", "2",
            "--rate", str(arguments.good), "--connections", str(arguments.connections), "--warm-up", "0.5",
            "--seconds", str(arguments.seconds), *self.bad,
        ]  # fmt: skip

    def run(self, name, rate):
        """Return what a run with so many bad requests a second has found."""
        pid = self.server.process.pid
        found = drive(
            [*self.command, "--bad-rate", str(rate)], self.others, self.arguments.seconds + 0.5,
            lambda load: spent(pid, None, load, self.core, self.others),
        )  # fmt: skip
        return Run(name, *found)


class Run:
    """What a run has found."""

    def __init__(self, name, figures, seconds):
        self.name = name
        self.figures = figures
        self.p99 = figures["p99"] * 1000
        self.ours = seconds.server / seconds.clock
        self.load = seconds.load / seconds.clock
        self.others = max(seconds.cores - seconds.server, seconds.beside - seconds.load) / seconds.clock

    def __str__(self):
        found = self.figures
        told = ", ".join(
            f"{value:.0f} {kind}" for kind, value in found["bad"].items() if value and kind != "sent"
        )
        wrong = f"; FAILED {found['failures']} {found['example']}" if found["failures"] else ""
        return (
            f"{self.name:>8}: {found['requests']} good, p50 {found['p50'] * 1000:.2f} ms, p99 {self.p99:.2f} ms; "
            f"bad a second: {told or 'none'}; server {100 * self.ours:.0f} %, load {100 * self.load:.0f} %, "
            f"others {100 * self.others:.0f} % of a core{wrong}"
        )


def main():
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.security.flood", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--bad", type=float, default=10_000, help="bad requests a second (default: 10000)")
    parser.add_argument("--good", type=float, default=500, help="good requests a second (default: 500)")
    parser.add_argument(
        "--work", type=float, default=20, help="milliseconds that each of them waits (default: 20)"
    )
    parser.add_argument("--connections", type=int, default=64, help="of the good requests (default: 64)")
    parser.add_argument("--seconds", type=float, default=5, help="of each run (default: 5)")
    parser.add_argument("--runs", type=int, default=5, help="with and without the flood (default: 5)")
    parser.add_argument(
        "--others", type=float, default=0.15,
        help="of a core that other programs may have in a run that counts (default: 0.15); more says nothing, unless"
        " all this is started with chrt(1)",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=float, default=300, help="seconds after which to do with fewer runs (default: 300)"
    )
    parser.add_argument(
        "--protocols", nargs="+", default=["http", *TABLES], choices=["http", *TABLES],
        help="whose bad requests (default: all of %(choices)s)",
    )  # fmt: skip
    parser.add_argument("--options", nargs="+", default=["gevent=100"], help="of the server (default: gevent=100)")  # fmt: skip
    arguments = parser.parse_args()
    with ExitStack() as stack:
        flood = Flood(arguments, stack)
        found = {"quiet": [], "flooded": []}
        deadline = time.monotonic() + arguments.patience
        while min(map(len, found.values())) < arguments.runs and time.monotonic() < deadline:
            pair = [flood.run("quiet", 0), flood.run("flooded", arguments.bad)]
            print(*pair, sep="\n", flush=True)
            if any(each.others > arguments.others for each in pair):
                print("          not counted")
            else:
                for each in pair:
                    found[each.name].append(each.p99)
    if not found["quiet"]:
        raise SystemExit("No run was left alone by other programs on these cores.")
    before, after = (statistics.median(each) for each in found.values())
    print(
        f"p99 {before:.2f} ms, beside the flood {after:.2f} ms: {100 * (after / before - 1):+.0f} %, of {len(found['quiet'])} runs"
    )


if __name__ == "__main__":
    main()
