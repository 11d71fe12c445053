"""CPU that each process spends on a request of Mongrel2's: ``python -m tests.soak.cost --help``.

Mongrel2 is simulated, so that it is not what the figures are limited by; so many requests are always in
flight. The floor is what a process costs that only takes and sends messages of this size.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import select
import tempfile
import time
from pathlib import Path

import zmq

from tests.support.mongrel2 import tnetstring
from tests.support.ports import free_port
from tests.support.server import Server

UUID = b"34f9ceee-cd52-4b7f-b197-88bf2f0ec378"
FIELDS = {
    "PATH": "/", "METHOD": "GET", "VERSION": "HTTP/1.1", "URI": "/", "PATTERN": "/", "URL_SCHEME": "http",
    "REMOTE_ADDR": "127.0.0.1", "host": "localhost:6767", "user-agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "accept-encoding": "gzip",
    "accept-language": "en-US,en;q=0.5", "connection": "keep-alive", "x-forwarded-for": "127.0.0.1",
}  # fmt: skip
APP = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello world\\n"]
"""
WARM_UP = 2000  # requests that do not count


class Front:
    """Mongrel2's two sockets, and *flight* clients of which each has one request in flight."""

    def __init__(self, flight):
        self.endpoints = tuple(f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        self._context = zmq.Context()
        self._push, self._sub = self._context.socket(zmq.PUSH), self._context.socket(zmq.SUB)
        self._push.bind(self.endpoints[0])
        self._sub.bind(self.endpoints[1])
        self._sub.subscribe(b"")
        rest = tnetstring(FIELDS) + b"0:,"
        self._messages = [b"%b %d / %b" % (UUID, number, rest) for number in range(flight)]

    def meet(self):
        """Wait until somebody takes requests."""
        while not self._push.poll(10, zmq.POLLOUT):
            self._sub.poll(10)

    def drive(self, count):
        """Have *count* requests answered."""
        left = count - len(self._messages)
        for message in self._messages:
            self._push.send(message)
        for _ in range(count):
            answer = self._sub.recv()
            if left > 0:
                left -= 1
                client = answer[len(UUID) + 1 :].partition(b":")[2].partition(b",")[0]
                self._push.send(self._messages[int(client)])

    def close(self):
        self._context.destroy(linger=0)


def ticks(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def family(master):
    """Return the processes of a server by pid: what they are."""
    found = {master: "master, or alone"}
    for pid in map(int, Path(f"/proc/{master}/task/{master}/children").read_text().split()):
        title = Path(f"/proc/{pid}/cmdline").read_bytes().decode().removeprefix("appserver: ")
        found[pid] = "receiver" if title.startswith("mongrel2") else title.partition(" (")[0]
    return found


def serve(front, requests, options):
    """Print what each process of a server spends, and the rate."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "hello.py").write_text(APP)
        words = [
            "--zeromq",
            ",".join(front.endpoints),
            "--module",
            "hello:app",
            "--disable-logging",
            *options,
        ]
        with Server(*words, cwd=directory) as server:
            front.meet()
            front.drive(WARM_UP)
            processes = family(server.process.pid)
            before = {pid: ticks(pid) for pid in processes}
            began = time.monotonic()
            front.drive(requests)
            print(f"{requests / (time.monotonic() - began):8.0f} requests a second")
            for pid, name in processes.items():
                spent = (ticks(pid) - before[pid]) / os.sysconf("SC_CLK_TCK")
                print(f"{spent / requests * 1e6:8.1f} us a request: {name}")


def echo(endpoints, count, spent):
    """Take messages and send answers of their size, and nothing else."""
    context = zmq.Context()
    xpub, pull = context.socket(zmq.XPUB), context.socket(zmq.PULL)
    xpub.connect(endpoints[1])
    xpub.recv()  # Mongrel2's subscription
    pull.connect(endpoints[0])
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello world\n"
    poll = select.epoll()
    poll.register(pull.fd, select.EPOLLIN)
    before = resource.getrusage(resource.RUSAGE_SELF)
    done = 0
    while done < count:
        poll.poll()
        try:
            while True:
                uuid, client, _ = pull.recv(zmq.DONTWAIT).split(b" ", 2)
                xpub.send(b"%b %d:%b, %b" % (uuid, len(client), client, answer))
                done += 1
        except zmq.Again:
            pass
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent.put(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    context.destroy(linger=1000)


def floor(flight, requests):
    """Print what it costs to take and send messages."""
    spent = multiprocessing.Queue()
    front = multiprocessing.Queue()
    driver = multiprocessing.Process(target=drive_for, args=(flight, requests, front))
    driver.start()
    process = multiprocessing.Process(target=echo, args=(front.get(), requests, spent))
    process.start()
    print(f"{spent.get() / requests * 1e6:8.1f} us a request: the floor")
    process.join()
    driver.join()


def drive_for(flight, requests, told):
    front = Front(flight)
    told.put(front.endpoints)
    front.meet()
    front.drive(requests)
    front.close()


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.soak.cost", description=__doc__)
    parser.add_argument("--requests", type=int, default=40000, help="that count [40000]")
    parser.add_argument("--flight", type=int, default=64, help="requests in flight [64]")
    parser.add_argument("options", nargs="*", help="options of the server, after --")
    told = parser.parse_args()
    floor(told.flight, told.requests)
    front = Front(told.flight)
    try:
        serve(front, told.requests, told.options)
    finally:
        front.close()


if __name__ == "__main__":
    main()
