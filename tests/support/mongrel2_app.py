"""The application behind the simulated Mongrel2: the path says how it answers."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import zlib
from threading import Event, Lock, current_thread
from urllib.parse import parse_qs

import gevent
from gevent.queue import Queue


def app(environ, start_response):
    what = environ["PATH_INFO"].strip("/").partition("/")[0] or "environ"
    arguments = {name: values[-1] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    return ANSWERS[what](environ, start_response, **arguments)


def show(environ, start_response, **_):
    """Answer with the environ and the body."""
    found = {key: value for key, value in environ.items() if isinstance(value, str)}
    found["body"] = environ["wsgi.input"].read().decode("latin-1")
    return plain(start_response, json.dumps(found).encode())


def plain(start_response, body, *headers):
    start_response("200 OK", [("Content-Type", "text/plain"), *headers])
    return [body]


def echo(environ, start_response, text=""):
    return plain(start_response, text.encode())


def thread(environ, start_response):
    return plain(start_response, current_thread().name.encode())


def pid(environ, start_response):
    return plain(start_response, b"%d" % os.getpid())


def empty(environ, start_response, status="204 No Content"):
    start_response(status, [])
    return []


def nothing(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield from ()


def blanks(environ, start_response, length=""):
    """Yield empty pieces among others."""
    start_response("200 OK", [("Content-Length", length)] if length else [])
    yield from (b"", b"a", b"", b"", b"b", b"")


def stream(environ, start_response, pieces, size="10", length=""):
    headers = [("Content-Length", str(int(pieces) * int(size)))] if length else []
    start_response("200 OK", headers)
    for number in range(int(pieces)):
        yield bytes([65 + number % 26]) * int(size)


def counted(environ, start_response, path, pieces, size, **_):
    """Yield pieces; write a byte for each that is asked for."""
    start_response("200 OK", [])
    with open(path, "wb", buffering=0) as file:
        for _ in range(int(pieces)):
            file.write(b".")
            yield bytes(int(size))


def waiting(environ, start_response, where, path, **_):
    """Wait without an end; tell by files that it does, and that it does no more."""

    def forever():
        while True:
            try:
                WAITS[where]()
            except Exception:  # noqa: BLE001  (as applications do)
                continue

    with open(os.path.join(path, "waits"), "wb"):
        pass
    try:
        forever()
    finally:
        with open(os.path.join(path, "left"), "wb"):
            pass


def wait_in_socket():
    one, two = socket.socketpair()
    with one, two:
        one.recv(1)


def wait_in_subprocess():
    """Wait for a process that ends with its pipe, also where this is stopped while it starts."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        process.wait()


def wait_in_lock():
    lock = Lock()
    with lock:
        lock.acquire()


WAITS = {
    "sleep": lambda: time.sleep(60), "socket": wait_in_socket, "event": lambda: Event().wait(),
    "thread": lambda: Event().wait(60), "subprocess": wait_in_subprocess, "lock": wait_in_lock,
}  # fmt: skip


def busy(environ, start_response, path, **_):
    """Yield without an end and without waiting; write a byte at each close."""
    start_response("200 OK", [])
    try:
        while True:
            yield bytes(1000)
    finally:
        with open(path, "ab") as file:
            file.write(b".")


def lingering(environ, start_response, gates, **_):
    """Wait in close(), after the answer."""
    start_response("200 OK", [("Content-Length", "4")])
    return Lingering(gates)


class Lingering:
    def __init__(self, gates):
        self.gates = gates

    def __iter__(self):
        yield b"text"

    def close(self):
        wait_for(self.gates, 0)
        with open(os.path.join(self.gates, "closed"), "wb"):
            pass


def large(environ, start_response, size, **_):
    return plain(start_response, b"x" * int(size))


def fail(environ, start_response, after="0"):
    """Yield some pieces, then raise."""
    start_response("200 OK", [])
    for _ in range(int(after)):
        yield b"piece"
    raise RuntimeError("as asked")


def read(environ, start_response):
    """Read the body in blocks."""
    size = crc = 0
    while block := environ["wsgi.input"].read(1 << 20):
        size += len(block)
        crc = zlib.crc32(block, crc)
    return plain(start_response, f"{size} {crc}".encode())


def progress(environ, start_response, path):
    """Read what there is, and make a file of its size each time."""
    size = 0
    while data := environ["wsgi.input"].read1(65536):
        size += len(data)
        with open(os.path.join(path, str(size)), "wb"):
            pass
    return plain(start_response, b"%d" % size)


def late(environ, start_response, gates):
    """Read the first byte of the body, and the rest once there is a file 0."""
    first = environ["wsgi.input"].read(1)
    wait_for(gates, 0)
    data = first + environ["wsgi.input"].read()
    return plain(start_response, f"{len(data)} {zlib.crc32(data)}".encode())


def cut(environ, start_response, path, case=""):
    """Read the body; write what that raises to a file."""
    error = error_of(environ, path)
    if error is not None and not case:
        raise error
    return plain(start_response, b"whole")


def error_of(environ, path):
    """Read the body; write what that raises to a file and return it."""
    try:
        environ["wsgi.input"].read()
    except OSError as error:
        with open(path + "~", "w") as file:
            file.write(f"{type(error).__name__}: {error}")
        os.rename(path + "~", path)
        return error
    return None


def impatient(environ, start_response, path):
    """Answer while another greenlet reads the body."""
    gevent.spawn(error_of, environ, path)
    gevent.sleep(0)
    return plain(start_response, b"impatient")


def duplex(environ, start_response):
    """Answer each piece of the body with as much, in another greenlet than the one that reads."""
    sizes = Queue()

    def read():
        while data := environ["wsgi.input"].read1():
            sizes.put(len(data))
        sizes.put(0)

    gevent.spawn(read)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"z" * size for size in iter(sizes.get, 0))


def die(environ, start_response):
    environ["wsgi.input"].read(100)
    os._exit(1)


def gated(environ, start_response, gates, pieces="1", length="", **_):
    """Yield a piece as soon as there is a file of its number; tell the log of the end."""
    start_response("200 OK", [("Content-Length", str(7 * int(pieces)))] if length else [])
    return Gated(gates, int(pieces))


def hold(environ, start_response, gates, text="", size="0"):
    """Answer once there is a file 0."""
    wait_for(gates, 0)
    return plain(start_response, text.encode() or b"x" * int(size))


def nap(environ, start_response, seconds, text=""):
    time.sleep(float(seconds))
    return plain(start_response, text.encode())


def spin(environ, start_response, gates):
    """Keep the whole thread, greenlets included, until there is a file 0."""
    tell(gates, 0)
    while not os.path.exists(os.path.join(gates, "0")):
        pass
    return plain(start_response, b"%d" % os.getpid())


def forked(environ, start_response, gates):
    """Hold, with a child that outlives this process."""
    if not os.fork():
        wait_for(gates, 1)
        os._exit(0)
    wait_for(gates, 0)
    return plain(start_response, b"")


def stubborn(environ, start_response, gates):
    """Hold as `hold` does, whatever is raised here."""
    tell(gates, 0)
    while not os.path.exists(os.path.join(gates, "0")):
        with contextlib.suppress(BaseException):
            time.sleep(0.002)
    return plain(start_response, b"too late")


class Gated:
    def __init__(self, gates, pieces):
        self.gates = gates
        self.pieces = pieces
        self.given = 0

    def __iter__(self):
        for number in range(self.pieces):
            wait_for(self.gates, number)
            self.given += 1
            yield b"piece%02d" % number

    def close(self):
        print(f"closed after {self.given}", file=sys.stderr, flush=True)


def wait_for(gates, number):
    tell(gates, number)
    while not os.path.exists(os.path.join(gates, str(number))):
        time.sleep(0.002)


def tell(gates, number):
    """Make the file that says which process asks for a gate."""
    asked = os.path.join(gates, f"asked-{number}")
    with open(f"{asked}.new", "w") as file:
        file.write(str(os.getpid()))
    os.replace(f"{asked}.new", asked)


ANSWERS = {
    "environ": show, "echo": echo, "empty": empty, "nothing": nothing, "blanks": blanks, "stream": stream,
    "large": large, "fail": fail, "read": read, "gated": gated, "counted": counted, "progress": progress,
    "late": late, "cut": cut, "impatient": impatient, "duplex": duplex, "die": die, "waiting": waiting,
    "busy": busy, "lingering": lingering, "hold": hold, "nap": nap, "thread": thread,
    "pid": pid, "spin": spin, "stubborn": stubborn, "forked": forked,
}  # fmt: skip
