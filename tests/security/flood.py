"""How much longer good requests take beside a flood of bad ones: ``python -m tests.security.flood --rate 10000``.

A server, a client with good requests at a steady rate on kept connections, and processes that send bad ones, each on a
connection of its own, as every one of them ends it. Latencies count from when a request was due, so that none hides
that the one before it was late. Rounds with and without the flood take turns, as the machine may have others' work.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.support.server import Server

APP = """
import time

def application(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"]) / 1000)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""
GOOD = "GET /?{} HTTP/1.1\r\nHost: h\r\n\r\n"
BAD = [
    b"GET\r\n\r\n", b"GET /bad HTTP/1.1\r\n\r\n", b"POST /bad HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello",
    b"POST /bad HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /bad HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
]  # fmt: skip


def flood(where, rate, stop, sent, how):
    """Send *rate* bad requests a second until *stop* is set."""
    due, step, number = time.perf_counter(), 1 / rate, 0
    while not stop.is_set():
        with suppress(OSError), socket.socket() as sock:
            sock.settimeout(5)
            sock.connect(where)
            sock.send(BAD[number % len(BAD)])
            if how == "read":
                while sock.recv(4096):
                    pass
        number += 1
        with sent.get_lock():
            sent.value += 1
        due = max(due + step, time.perf_counter() - 1)  # who is late may hurry, but not for ever
        if (rest := due - time.perf_counter()) > 0:
            time.sleep(rest)


def good(where, rate, seconds, work):
    """Send good requests at a steady rate on one connection; return their latencies, in seconds."""
    found, request = [], GOOD.format(work).encode()
    with socket.create_connection(where) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begun = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            if (rest := due - time.perf_counter()) > 0:
                time.sleep(rest)
            sock.sendall(request)
            data = b""
            while not data.endswith(b"\r\n\r\nok"):
                data += sock.recv(4096)
            found.append(time.perf_counter() - due)
    return found


def several(where, arguments):
    """Send good requests on as many connections as they need that none waits for another's work."""
    count = 1 + int(arguments.good * arguments.work / 1000 * 2)
    found, threads = [], []
    for _ in range(count):
        share = (where, arguments.good / count, arguments.seconds, arguments.work)
        threads.append(threading.Thread(target=lambda share=share: found.extend(good(*share))))
        threads[-1].start()
    for each in threads:
        each.join()
    return found


def told(name, latencies):
    def at(share):
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1000

    print(f"{name:>8}: {len(latencies)} good requests, p50 {at(0.5):.2f} ms, p90 {at(0.9):.2f} ms, p99 {at(0.99):.2f} ms", flush=True)  # fmt: skip
    return at(0.99)


def main():
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.security.flood", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--rate", type=int, default=10_000, help="bad requests a second (default: 10000)")
    parser.add_argument("--good", type=int, default=100, help="good requests a second (default: 100)")
    parser.add_argument(
        "--work", type=float, default=0, help="milliseconds that each of them waits (default: 0)"
    )
    parser.add_argument("--seconds", type=float, default=5, help="of each round (default: 5)")
    parser.add_argument("--rounds", type=int, default=3, help="with and without the flood (default: 3)")
    parser.add_argument(
        "--clients", type=int, default=2, help="processes that send bad requests (default: 2)"
    )
    parser.add_argument("--read", action="store_true", help="have them read the answers to bad requests")
    parser.add_argument("options", nargs="*", help="more of the server's, such as gevent=100")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        ini = Path(directory) / "site.ini"
        (Path(directory) / "app.py").write_text(APP)
        lines = [
            "[appserver]",
            f"wsgi-file = {directory}/app.py",
            "http-socket = 127.0.0.1:0",
            *arguments.options,
        ]
        ini.write_text("\n".join(lines) + "\n")
        with Server("--ini", ini) as server:
            measure(server, arguments)


def measure(server, arguments):
    host, _, port = server.addresses["http"].rpartition(":")
    where = (host, int(port))
    how = "read" if arguments.read else "leave"
    rounds = {"quiet": [], "flooded": []}
    for _ in range(arguments.rounds):
        rounds["quiet"] += several(where, arguments)
        stop, sent = multiprocessing.Event(), multiprocessing.Value("q", 0)
        share = arguments.rate / arguments.clients
        floods = [
            multiprocessing.Process(target=flood, args=(where, share, stop, sent, how))
            for _ in range(arguments.clients)
        ]
        for each in floods:
            each.start()
        begun = time.perf_counter()
        rounds["flooded"] += several(where, arguments)
        print(f"{sent.value / (time.perf_counter() - begun):.0f} bad requests a second", flush=True)
        stop.set()
        for each in floods:
            each.join()
    quiet, flooded = (told(name, sorted(found)) for name, found in rounds.items())
    print(f"p99 has moved by {100 * (flooded / quiet - 1):+.0f} %")


if __name__ == "__main__":
    main()
