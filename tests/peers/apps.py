"""Applications that tell what the server did with a request. They run inside the server."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from urllib.parse import parse_qs

TEXT = [("Content-Type", "text/plain")]
barrier = threading.Barrier(int(os.environ.get("MEET", "1")))


def application(environ, start_response):
    handler = HANDLERS[environ["PATH_INFO"].split("/")[1]]
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    return handler(environ, start_response, **query)


def environ_json(environ, start_response, **_):
    """Answer with the environ's text and the body."""
    found = {name: value for name, value in environ.items() if isinstance(value, str)}
    found["body"] = environ["wsgi.input"].read().decode("latin-1")
    start_response("200 OK", TEXT)
    return [json.dumps(found).encode()]


def size(environ, start_response):
    count = 0
    while data := environ["wsgi.input"].read(65536):
        count += len(data)
    start_response("200 OK", TEXT)
    return [b"%d" % count]


def store(environ, start_response, path):
    """Write the body to a file; name the exception of one that is cut in another."""
    try:
        with open(path, "wb") as file:
            while data := environ["wsgi.input"].read(65536):
                file.write(data)
    except OSError as error:
        with open(f"{path}.error", "w", encoding="ascii") as file:
            file.write(type(error).__name__)
        raise
    start_response("200 OK", TEXT)
    return [b"stored"]


def pieces(environ, start_response, count, size):
    """Answer with numbered pieces, none of them before it is asked for; the length is not known."""
    start_response("200 OK", TEXT)
    return (b"%0*d" % (int(size), number) for number in range(int(count)))


def big(environ, start_response, mib, known):
    """Answer with so many MiB: their length is known from a header or because they are one list."""
    blocks = (bytes([number]) * 1048576 for number in range(int(mib)))
    if known == "header":
        start_response("200 OK", [*TEXT, ("Content-Length", str(int(mib) << 20))])
        return blocks
    start_response("200 OK", TEXT)
    return list(blocks)


def fail(environ, start_response, after, length="", over=""):
    """Break off after some bytes."""
    start_response("200 OK", [*TEXT, ("Content-Length", length)] if length else TEXT)
    yield bytes(int(after))
    raise RuntimeError("in the middle of an answer")


def killed(environ, start_response, after, length=""):
    """End the process after some bytes, as the kernel does for want of memory."""
    start_response("200 OK", [*TEXT, ("Content-Length", length)] if length else TEXT)
    yield bytes(int(after))
    os.kill(os.getpid(), signal.SIGKILL)


class Endless:
    """An answer without an end; its close() leaves a file."""

    def __init__(self, path):
        self.path = path

    def __iter__(self):
        while True:
            yield bytes(8192)
            time.sleep(0.002)

    def close(self):
        with open(self.path, "x", encoding="ascii"):
            pass


def endless(environ, start_response, path):
    start_response("200 OK", TEXT)
    return Endless(path)


def meet(environ, start_response):
    """Answer once as many requests as MEET says are here at the same time."""
    try:
        barrier.wait(20)
    except threading.BrokenBarrierError:
        start_response("503 Service Unavailable", TEXT)
        return [b"alone"]
    time.sleep(0.1)  # blocks a thread, as applications do
    start_response("200 OK", TEXT)
    return [threading.current_thread().name.encode()]


def thread(environ, start_response):
    start_response("200 OK", TEXT)
    return [threading.current_thread().name.encode()]


def slow(environ, start_response, seconds, path=""):
    """Answer late; *path* is a file to make at once."""
    if path:
        open(path, "x", encoding="ascii").close()
    time.sleep(float(seconds))
    start_response("200 OK", TEXT)
    return [environ["QUERY_STRING"].encode()]


HANDLERS = {
    "": environ_json, "environ": environ_json, "size": size, "store": store, "pieces": pieces, "big": big, "fail": fail,
    "killed": killed, "endless": endless, "meet": meet, "thread": thread, "slow": slow, "x": environ_json,
}  # fmt: skip
