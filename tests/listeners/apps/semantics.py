"""An application whose path names what it does; ``?TOKEN`` marks the request in the log."""

from __future__ import annotations

import gc
import hashlib
import io
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
BLOCK = bytes(range(256)) * 256  # 64 KiB
TEXT = [("Content-Type", "text/plain")]

closed = Counter()  # how often close() was called, by token
seen = Counter()  # how often the application was called, by token
ROUTES = {}


def route(function):
    ROUTES[function.__name__.replace("_", "-")] = function
    return function


def app(environ, start_response):
    seen[environ["QUERY_STRING"]] += 1
    return ROUTES[environ["PATH_INFO"].split("/")[1]](environ, start_response)


class Closing:
    """An iterable that notes its close()."""

    def __init__(self, environ, pieces, error=None):
        self.environ = environ
        self.pieces = iter(pieces)
        self.error = error

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.pieces)

    def close(self):
        token = self.environ["QUERY_STRING"]
        closed[token] += 1
        print(f"closed {token}", file=self.environ["wsgi.errors"])
        if self.error is not None:
            raise self.error


def as_json(start_response, value):
    body = json.dumps(value, sort_keys=True).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


# What came in


@route
def environ(environ, start_response):
    def shown(value):
        return value if isinstance(value, (str, bool, int, list, tuple)) else type(value).__name__

    return as_json(start_response, {key: shown(value) for key, value in environ.items()})


@route
def counts(environ, start_response):
    token = environ["PATH_INFO"].split("/")[2]
    return as_json(start_response, {"seen": seen[token], "closed": closed[token]})


@route
def digest(environ, start_response):
    body = environ["wsgi.input"].read()
    told = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    return as_json(start_response, told | {"length": environ.get("CONTENT_LENGTH")})


@route
def echo(environ, start_response):
    start_response("200 OK", TEXT)
    return [environ["wsgi.input"].read()]


@route
def ignore(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"not read\n"]


@route
def reading(environ, start_response):
    """Read the body in the way that the path names, and return the pieces."""
    file = environ["wsgi.input"]
    ways = {
        "read": lambda: [file.read(), file.read()],
        "read-minus": lambda: [file.read(-1)],
        "read-size": lambda: list(iter(lambda: file.read(4), b"")),
        "read-more": lambda: [file.read(1 << 20), file.read(1), file.read(0)],
        "readline": lambda: list(iter(file.readline, b"")),
        "readline-size": lambda: list(iter(lambda: file.readline(3), b"")),
        "readlines": lambda: list(file.readlines()),
        "readlines-hint": lambda: file.readlines(1) + file.readlines(),
        "iterate": lambda: list(file),
        "mixed": lambda: [file.read(1), file.readline(), *file, file.read()],
    }
    pieces = ways[environ["PATH_INFO"].split("/")[2]]()
    return as_json(start_response, [piece.decode("latin-1") for piece in pieces])


# What goes out


@route
def answer(environ, start_response):
    """Answer with the status, headers and pieces that the body (JSON) says."""
    told = json.loads(environ["wsgi.input"].read() or b"{}")
    headers = [tuple(field) for field in told.get("headers", TEXT)]
    start_response(told.get("status", "200 OK"), headers)
    return [piece.encode("latin-1") for piece in told.get("body", [])]


@route
def result(environ, start_response):
    kind = environ["PATH_INFO"].split("/")[2]
    pieces = [b"one,", b"two,", b"three"]
    if kind == "own-iterator":
        start_response("200 OK", TEXT)
        return Closing(environ, pieces)
    if kind == "late-start":  # the head is decided when the first piece is asked for

        def late():
            start_response("200 OK", TEXT)
            yield from pieces

        return late()
    start_response("200 OK", TEXT)
    return {
        "list": list, "tuple": tuple, "generator": lambda p: (piece for piece in p),
        "bytes": b"".join, "empty-list": lambda p: [], "empty-tuple": lambda p: (),
        "empty-bytes": lambda p: b"", "empty-iterator": lambda p: iter(()),
        "empty-pieces": lambda p: iter([b"", p[0], b"", b"", p[1], p[2], b""]),
        "only-empty-pieces": lambda p: iter([b"", b""]),
        "list-of-empty": lambda p: [b"", b""],
    }[kind](pieces)  # fmt: skip


@route
def lengths(environ, start_response):
    """Announce one length and yield another: ``/lengths/KIND/ANNOUNCED/REAL``."""
    _, _, kind, announced, real = environ["PATH_INFO"].split("/")
    write = start_response("200 OK", [*TEXT, ("Content-Length", announced)])
    body = b"x" * int(real)
    half = len(body) // 2
    if kind == "write":
        write(body[:half])
        return [body[half:]]
    return {
        "list": lambda: [body], "generator": lambda: iter([body[:half], body[half:]]), "bytes": lambda: body,
        "file": lambda: environ["wsgi.file_wrapper"](_file(body)),
        "bytesio": lambda: environ["wsgi.file_wrapper"](io.BytesIO(body)),
    }[kind]()  # fmt: skip


@route
def repeat(environ, start_response):
    """Announce so many bytes, and yield one after the other for ever."""
    length = environ["PATH_INFO"].split("/")[2]
    start_response("200 OK", [*TEXT, ("Content-Length", length)])

    def pieces():
        for number in itertools.count(1):
            if number > int(length):
                print(f"asked for {number} {environ['QUERY_STRING']}", file=environ["wsgi.errors"])
            yield b"x"

    return Closing(environ, pieces())


@route
def then(environ, start_response):
    """Do something behind the piece that completes the answer."""
    token = environ["PATH_INFO"].split("/")[2]
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])

    def pieces():
        yield b"whole"
        print(f"and then {token}", file=environ["wsgi.errors"])

    return Closing({**environ, "QUERY_STRING": token}, pieces())


@route
def big(environ, start_response):
    """Stream so many blocks of 64 KiB."""
    start_response("200 OK", TEXT)
    count = int(environ["PATH_INFO"].split("/")[2])
    return Closing(environ, (BLOCK for _ in range(count)))


@route
def large(environ, start_response):
    """Answer with so many bytes in one piece; with ``?close`` the connection ends."""
    start_response("200 OK", [("Connection", environ["QUERY_STRING"] or "keep-alive")])
    return [b"x" * int(environ["PATH_INFO"].split("/")[2])]


@route
def writing(environ, start_response):
    kind = environ["PATH_INFO"].split("/")[2]
    headers = [*TEXT, ("Content-Length", "9")] if kind == "length" else list(TEXT)
    write = start_response("200 OK", headers)
    if kind == "empty":
        write(b"")
        return []
    write(b"one")
    write(b"two")
    if kind == "raise":
        raise RuntimeError(environ["QUERY_STRING"])
    return [] if kind == "alone" else Closing(environ, [b"six"])


@route
def file(environ, start_response):
    """Send a file by wsgi.file_wrapper: ``/file/KIND/SIZE/OFFSET``, and LENGTH where it is less than the rest."""
    _, _, kind, size, offset, *length = environ["PATH_INFO"].split("/")
    data = (BLOCK * (int(size) // len(BLOCK) + 1))[: int(size)]
    opened = io.BytesIO(data) if kind == "bytesio" else _file(data)
    opened.seek(int(offset))
    headers = list(TEXT)
    if kind == "length" or length:
        headers.append(("Content-Length", length[0] if length else str(int(size) - int(offset))))
    start_response("200 OK", headers)
    return environ["wsgi.file_wrapper"](Noting(environ, opened), 1000)


class Noting:
    """A file that notes its close()."""

    def __init__(self, environ, opened):
        self.opened = opened
        self.close_it = Closing(environ, ()).close

    def close(self):
        self.opened.close()
        self.close_it()

    def __getattr__(self, name):
        return getattr(self.opened, name)


def _file(data):
    opened = tempfile.TemporaryFile()  # noqa: SIM115
    opened.write(data)
    opened.seek(0)
    return opened


@route
def endless(environ, start_response):
    """Begin an answer that does not end by itself, or only when a file is there: ``/endless/KIND``."""
    kind, token = environ["PATH_INFO"].split("/")[2:4]
    headers = [*TEXT, ("Content-Length", "10")] if kind in {"length", "whole"} else TEXT
    start_response("200 OK", headers)

    def wait():
        threading.Event().wait()

    def wait_for_file():
        while not os.path.exists(environ["QUERY_STRING"]):
            time.sleep(0.005)

    def resist():
        while True:
            with suppress(BaseException):
                time.sleep(0.005)

    def pieces():
        yield b"first,"
        if kind == "whole":
            yield b"last"
        print(f"begun {token}", file=environ["wsgi.errors"])
        if kind == "ticks":
            while True:
                time.sleep(0.005)
                yield b"more,"
        {
            "waits": wait, "whole": wait, "file": wait_for_file, "length": wait_for_file, "stubborn": resist,
        }[kind]()  # fmt: skip
        yield b"last"

    return Closing({**environ, "QUERY_STRING": token}, pieces())


@route
def late(environ, start_response):
    """Begin no answer before a file is there."""
    print(f"begun {environ['PATH_INFO'].split('/')[2]}", file=environ["wsgi.errors"])
    while not os.path.exists(environ["QUERY_STRING"]):
        time.sleep(0.005)
    start_response("200 OK", TEXT)
    return [b"late"]


# What goes wrong


ERRORS = {
    each.__name__: each
    for each in (RuntimeError, SystemExit, KeyboardInterrupt, BaseException, GeneratorExit, RecursionError,
                 StopIteration, MemoryError, ConnectionResetError, TimeoutError)
}  # fmt: skip


@route
def fail(environ, start_response):
    """Raise: ``/fail/WHEN/WHAT``."""
    _, _, when, what = environ["PATH_INFO"].split("/")
    error = ERRORS[what](f"failed {environ['QUERY_STRING']}")

    def pieces():
        if when.startswith("middle"):
            yield b"first,"
        if when != "close":
            raise error
        yield b"all of it"

    if when == "call":
        raise error
    start_response("200 OK", [*TEXT, ("Content-Length", "100")] if when == "middle-length" else TEXT)
    if when == "started":
        raise error
    return Closing(environ, pieces(), error if when == "close" else None)


@route
def hostile(environ, start_response):
    """Give start_response what it may not take."""
    bad = "X-Injected"
    status, headers = {
        "value-crlf": ("200 OK", [("X-A", f"a\r\n{bad}: 1")]),
        "value-lf": ("200 OK", [("X-A", f"a\n{bad}: 1")]),
        "value-cr": ("200 OK", [("X-A", f"a\r{bad}: 1")]),
        "value-nul": ("200 OK", [("X-A", f"a\0{bad}")]),
        "value-wide": ("200 OK", [("X-A", f"\u20ac {bad}")]),
        "value-lookalike": ("200 OK", [("X-A", f"a\u010d\u010a{bad}: 1")]),
        "value-bytes": ("200 OK", [("X-A", bad.encode())]),
        "value-int": ("200 OK", [(bad, 1)]),
        "value-none": ("200 OK", [(bad, None)]),
        "name-crlf": ("200 OK", [(f"X-A: a\r\n{bad}", "1")]),
        "name-lf": ("200 OK", [(f"X-A\n{bad}", "1")]),
        "name-nul": ("200 OK", [(f"{bad}\0", "1")]),
        "name-blank": ("200 OK", [(f"{bad} ", "1")]),
        "name-colon": ("200 OK", [(f"{bad}:", "1")]),
        "name-empty": ("200 OK", [("", bad)]),
        "name-wide": ("200 OK", [(f"{bad}\xe9", "1")]),
        "name-bytes": ("200 OK", [(bad.encode(), "1")]),
        "pair-list": ("200 OK", [[bad, "1"]]),
        "pair-three": ("200 OK", [(bad, "1", "2")]),
        "headers-tuple": ("200 OK", ((bad, "1"),)),
        "headers-dict": ("200 OK", {bad: "1"}),
        "headers-none": ("200 OK", None),
        "status-crlf": (f"200 OK\r\n{bad}: 1", []),
        "status-lf": (f"200 OK\n{bad}: 1", []),
        "status-nul": (f"200 OK\0{bad}", []),
        "status-wide": (f"200 \u20ac{bad}", []),
        "status-no-blank": (f"200{bad}", []),
        "status-two-digits": (f"20 {bad}", []),
        "status-four-digits": (f"2000 {bad}", []),
        "status-no-digits": (f"OK {bad}", []),
        "status-100": (f"100 {bad}", []),
        "status-101": (f"101 {bad}", []),
        "status-600": (f"600 {bad}", []),
        "status-int": (200, [(bad, "1")]),
        "status-bytes": (b"200 OK", [(bad, "1")]),
        "status-empty": ("", [(bad, "1")]),
        "length-twice": ("200 OK", [("Content-Length", "5"), ("Content-Length", "5"), (bad, "1")]),
        "length-negative": ("200 OK", [("Content-Length", "-5"), (bad, "1")]),
        "length-plus": ("200 OK", [("Content-Length", "+5"), (bad, "1")]),
        "length-text": ("200 OK", [("Content-Length", "five"), (bad, "1")]),
        "length-empty": ("200 OK", [("Content-Length", ""), (bad, "1")]),
        "length-arabic": ("200 OK", [("Content-Length", "\u0665"), (bad, "1")]),
        "length-superscript": ("200 OK", [("Content-Length", "\xb2"), (bad, "1")]),
    }[environ["PATH_INFO"].split("/")[2]]  # fmt: skip
    start_response(status, headers)
    return [b"never seen"]


@route
def protocol(environ, start_response):
    """Break or use PEP 3333's rules about start_response and the pieces of a body."""
    kind = environ["PATH_INFO"].split("/")[2]
    if kind == "no-start":
        return [b"never seen"]
    if kind == "no-start-generator":
        return iter([b"never seen"])
    if kind == "none":
        start_response("200 OK", list(TEXT))
        return None
    if kind == "text":
        start_response("200 OK", list(TEXT))
        return ["text"]
    if kind == "text-generator":
        start_response("200 OK", list(TEXT))
        return iter(["text"])
    if kind == "text-write":
        start_response("200 OK", list(TEXT))("text")
    start_response("200 OK", [("X-Which", "first")])
    if kind == "twice":
        start_response("200 OK", [("X-Which", "second")])
    elif kind == "exc-info-before":
        try:
            int("caught")
        except ValueError:
            start_response("503 Later", [("X-Which", "second")], sys.exc_info())
        return [b"replaced"]
    elif kind == "exc-info-after":

        def pieces():
            yield b"first,"
            try:
                int(f"late {environ['QUERY_STRING']}")
            except ValueError:
                start_response("503 Later", [("X-Which", "second")], sys.exc_info())
            yield b"never seen"

        return Closing(environ, pieces())
    return [b"never seen"]


@route
def errors(environ, start_response):
    token = environ["QUERY_STRING"]
    stream = environ["wsgi.errors"]
    stream.write(f"written {token}\n")
    stream.writelines([f"lines {token}\n", f"more {token}\n"])
    print(f"printed {token}", file=stream)
    stream.flush()
    start_response("200 OK", TEXT)
    return [b"noted"]


@route
def garbage(environ, start_response):
    """Collect, and count, what only the collector can free."""
    return as_json(start_response, gc.collect())


@route
def open_files(environ, start_response):
    """Count the descriptors of this process."""
    return as_json(start_response, len(os.listdir("/proc/self/fd")))
