"""curl, and raw connections for what curl does not do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.answers import Wire, read_response
from tests.support.fronts import GUARD


@dataclass
class Reply:
    """What curl got: *exit* is its exit code, 0 for a whole answer."""

    exit: int
    status: int
    headers: list[tuple[str, str]]
    body: bytes = field(repr=False)  # perhaps many MiB
    errors: str

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def json(self):
        return json.loads(self.body)


def curl(url, *arguments, **run):
    """Run curl and return a `Reply`, whatever becomes of it; it goes on for as long as anything moves."""
    guard = ["--connect-timeout", str(GUARD), "--speed-limit", "1", "--speed-time", f"{GUARD:.0f}"]
    result = subprocess.run(
        ["curl", "-q", "-sS", "-i", *guard, *map(str, arguments), url], capture_output=True, **run
    )
    status, headers, body = 0, [], result.stdout
    while body.startswith(b"HTTP/") and status < 200:  # 100 Continue comes before the answer
        head, _, body = body.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        headers = [tuple(line.split(": ", 1)) for line in lines]
    return Reply(result.returncode, status, headers, body, result.stderr.decode())


def get(url, *arguments, **run):
    """Run curl and return its `Reply`, which must be a whole answer."""
    reply = curl(url, *arguments, **run)
    assert reply.exit == 0, reply
    return reply


def together(count, call):
    """Return what *count* calls of ``call(number)`` return that run at once."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


class Raw:
    """A connection that sends bytes and reads HTTP answers strictly."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), GUARD)
        self.wire = Wire(lambda: self.sock.recv(65536))

    def send(self, text):
        self.sock.sendall(text.encode("latin-1"))

    def get(self, path, *lines, version="HTTP/1.1", method="GET"):
        """Send a request and return its answer."""
        head = "".join(f"{line}\r\n" for line in ("Host: 127.0.0.1", *lines))
        self.send(f"{method} {path} {version}\r\n{head}\r\n")
        return self.answer(method)

    def answer(self, method="GET"):
        return read_response(self.wire, method)

    def take(self, size):
        """Receive some bytes, whatever they are."""
        return self.wire.take(size)

    def closed(self):
        """Tell whether the connection ends, with nothing before."""
        return self.wire.rest() == b""

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@contextmanager
def connections(count, port):
    """Give *count* connections."""
    found = [Raw(port) for _ in range(count)]
    try:
        yield found
    finally:
        for each in found:
            each.close()


def established(port):
    """Return the peers' ports of the connections to a local *port*, from the system's own table."""
    found = set()
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in list(table)[1:]:
            _, local, peer, state = line.split()[:4]
            if state == "01" and int(local.partition(":")[2], 16) == port:
                found.add(int(peer.partition(":")[2], 16))
    return found


def memory(pid, what):
    """Return a process's VmHWM (peak) or VmRSS in MiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith(what))


def forget_peak(pid):
    """Let VmHWM begin anew (proc(5), clear_refs)."""
    fd = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY)
    os.write(fd, b"5")
    os.close(fd)


def family(pid):
    """Return a process and all that descend from it."""
    found = [pid]
    for each in found:
        with open(f"/proc/{each}/task/{each}/children", encoding="ascii") as children:
            found += map(int, children.read().split())
    return found
