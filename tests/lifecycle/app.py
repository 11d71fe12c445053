"""An application that tells of its process, and does to it whatever it is asked."""

import ctypes
import json
import os
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
VERSION = 1
MEMORY = []

with open(os.path.join(HERE, "imports"), "a") as file:
    file.write(f"{os.getpid()}\n")


def hold(name):
    """Wait until somebody makes a file; the hub is not blocked where the standard library is patched."""
    open(os.path.join(HERE, f"{name}.held"), "w").close()
    while not os.path.exists(os.path.join(HERE, f"{name}.released")):
        time.sleep(0.005)


def loop_for_ever(name):
    open(os.path.join(HERE, f"{name}.held"), "w").close()
    while True:
        pass


def leave_an_orphan():
    """Have a grandchild outlive its parent for a moment, and then nobody reaps it."""
    read, write = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            os.read(read, 1)
            os._exit(7)
        os._exit(0)
    os.wait()
    os.write(write, b"x")


def recurse():
    recurse()


def events(name):
    """Send events without end, or until somebody makes a file."""
    yield b"event,"
    hold(name)
    yield b"end"


def streamed(name):
    """Send in a last piece what no kernel keeps for a client that does not read."""
    yield b"event,"
    open(os.path.join(HERE, f"{name}.held"), "w").close()
    yield bytes(7_999_994)


def large(name):
    """Return so much at once."""
    open(os.path.join(HERE, f"{name}.held"), "w").close()
    return [bytes(8_000_000)]


class Behind:
    """An answer in one large piece, behind which close() holds."""

    def __init__(self, name):
        self.name = name

    def __iter__(self):
        return iter(large(self.name))

    def close(self):
        hold(f"{self.name}.close")


DEATHS = {
    "exit": lambda: sys.exit(3),
    "_exit": lambda: os._exit(3),
    "segfault": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "memory": lambda: bytearray(1 << 62),
    "recursion": recurse,
    "interrupt": lambda: signal.raise_signal(signal.SIGINT),
}


ANSWERS = {"/events": events, "/streamed": streamed, "/large": large, "/behind": Behind}


def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/hold":
        hold(query)
    elif path == "/die":
        DEATHS[query]()
    elif path == "/loop":
        loop_for_ever(query)
    elif path == "/grow":
        MEMORY.append(bytearray(os.urandom(1024)) * (int(query) << 10))
    elif path == "/orphan":
        leave_an_orphan()
    elif path in ANSWERS:
        length = [("Content-Length", "8000000")] if path == "/behind" else []
        start_response("200 OK", [("Content-Type", "text/event-stream"), *length])
        return ANSWERS[path](query)
    told = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "version": VERSION,
        "multiprocess": environ["wsgi.multiprocess"],
        "multithread": environ["wsgi.multithread"],
        "uid": os.getuid(),
        "setting": os.environ.get("SETTING"),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
