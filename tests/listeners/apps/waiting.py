"""An application that waits, reads and yields as its path says, and tells what becomes of it on wsgi.errors."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import tempfile
import threading
import time

import gevent

TEXT = [("Content-Type", "text/plain")]
BLOCK = bytes(range(256)) * 256  # 64 KiB
ROUTES = {}
own = threading.local()
produced = {}  # blocks taken from a generator, by token


def route(function):
    ROUTES[function.__name__.replace("_", "-")] = function
    return function


def tell(environ, what):
    print(f"{environ['QUERY_STRING']} {what}", file=environ["wsgi.errors"])


def as_json(start_response, value):
    body = json.dumps(value).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def app(environ, start_response):
    _, name, *arguments = environ["PATH_INFO"].split("/")
    return ROUTES[name](environ, start_response, *arguments)


class Closing:
    """An iterable that tells of its close()."""

    def __init__(self, environ, pieces):
        self.environ = environ
        self.pieces = iter(pieces)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.pieces)

    def close(self):
        tell(self.environ, "closed")


@route
def ok(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"ok"]


@route
def tells(environ, start_response, size):
    """Tell the size in so many bytes, then of the close()."""
    environ["wsgi.errors"].write("e" * int(size))
    start_response("200 OK", TEXT)
    return Closing(environ, [b"told"])


@route
def local(environ, start_response, value):
    """Answer with what this greenlet or thread has kept of the request before, and keep *value* for the next one."""
    start_response("200 OK", TEXT)
    before, own.value = getattr(own, "value", "nothing"), value
    return [before.encode()]


@route
def wait(environ, start_response, where):
    """Wait for ever in the call, between two pieces, or in close() after the whole answer."""
    own.value = "half"

    def forever():
        tell(environ, "waits")
        try:
            threading.Event().wait()
        except BaseException as error:
            tell(environ, f"raised {type(error).__name__}")
            raise

    def pieces():
        yield b"first"
        if where == "pieces":
            forever()
        yield b"last"

    if where == "call":
        forever()
    start_response("200 OK", [*TEXT, ("Content-Length", "9")])
    return Closing(environ, pieces())


@route
def beside(environ, start_response, what):
    """Wait for ever, while a greenlet beside the call reads the body, or writes more than the kernel takes."""
    write = start_response("200 OK", TEXT)

    def work():
        try:
            environ["wsgi.input"].read() if what == "reads" else write(BLOCK * 1024)
        except OSError as error:
            tell(environ, f"has raised {type(error).__name__} beside it")

    gevent.spawn(work)
    gevent.sleep()  # until it waits
    tell(environ, "waits")
    try:
        threading.Event().wait()
    except BaseException as error:
        tell(environ, f"raised {type(error).__name__}")
        raise


@route
def rolls_back(environ, start_response, path):
    """Wait for ever, and behind the end of that until a file is there."""
    tell(environ, "waits")
    try:
        threading.Event().wait()
    finally:
        tell(environ, "rolls back")
        while not os.path.exists("/" + path.replace(":", "/")):
            time.sleep(0.005)
        tell(environ, "has rolled back")


@route
def late_close(environ, start_response, path):
    """Wait in close() until a file is there."""

    class Late(Closing):
        def close(self):
            tell(environ, "waits")
            while not os.path.exists("/" + path.replace(":", "/")):
                time.sleep(0.005)
            super().close()

    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return Late(environ, [b"whole"])


@route
def late(environ, start_response, kind, path):
    """Answer with 8 MiB, and do something behind their end until a file is there."""
    path = "/" + path.replace(":", "/")

    def wait():
        tell(environ, "waits")
        while not os.path.exists(path):
            time.sleep(0.005)

    class Late(Closing):
        def close(self):
            wait()

    class File:
        def __init__(self):
            self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            self.file.write(BLOCK * 128)
            self.file.seek(0)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def close(self):
            wait()
            self.file.close()

    def pieces():
        yield BLOCK * 128
        wait()

    start_response("200 OK", [*TEXT, ("Content-Length", str(len(BLOCK) * 128))])
    if kind == "file":
        return environ["wsgi.file_wrapper"](File())
    return Late(environ, [BLOCK * 128]) if kind == "close" else pieces()


@route
def tick(environ, start_response, seconds):
    """Yield for ever, and block the thread between two pieces."""
    start_response("200 OK", TEXT)

    def pieces():
        while True:
            yield b"tick"
            time.sleep(float(seconds))

    return Closing(environ, pieces())


@route
def events(environ, start_response, path):
    """Yield one event, and the next when a file is there."""
    path = "/" + path.replace(":", "/")
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    yield b"data: first\n\n"
    while not os.path.exists(path):
        time.sleep(0.005)
    yield b"data: last\n\n"


@route
def steps(environ, start_response, directory):
    """Yield a piece, and another one for each of the files 0, 1, 2 ... in a directory, in turn."""
    start_response("200 OK", TEXT)
    path = "/" + directory.replace(":", "/")

    def pieces():
        yield b"first"
        for number in range(3):
            while not os.path.exists(f"{path}/{number}"):
                time.sleep(0.005)
            yield b"next"

    return Closing(environ, pieces())


@route
def blocks(environ, start_response, count):
    """Yield so many blocks, and count them as they are asked for."""
    token = environ["QUERY_STRING"]
    start_response("200 OK", TEXT)
    for number in range(int(count)):
        produced[token] = number + 1
        yield BLOCK


@route
def count(environ, start_response, token):
    return as_json(start_response, produced.get(token, 0))


@route
def memory(environ, start_response):
    """Tell the peak of the resident memory, in KiB."""
    return as_json(start_response, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


# Bodies


@route
def digest(environ, start_response, size="65536"):
    """Read the body in pieces."""
    total, digest = 0, hashlib.sha256()
    file = environ["wsgi.input"]
    while data := file.read(int(size)):
        total += len(data)
        digest.update(data)
    return as_json(start_response, {"size": total, "sha256": digest.hexdigest()})


@route
def echo(environ, start_response):
    """Answer with each line as it comes."""
    start_response("200 OK", TEXT)
    yield b"begun\n"
    for line in environ["wsgi.input"]:
        yield line.upper()


@route
def part(environ, start_response, size):
    """Read no more than a part."""
    data = environ["wsgi.input"].read(int(size))
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(data)))])
    return [data]


@route
def careless(environ, start_response):
    """Take an error of reading for the end."""
    total = 0
    tell(environ, "reads")
    try:
        while data := environ["wsgi.input"].read(1000):
            total += len(data)
    except OSError as error:
        tell(environ, f"raised {type(error).__name__}: {error}")
    start_response("200 OK", TEXT)
    return [b"%d" % total]


@route
def strict(environ, start_response):
    """Read all, whatever that raises."""
    tell(environ, "reads")
    return as_json(start_response, len(environ["wsgi.input"].read()))


@route
def empties(environ, start_response):
    """Leave nothing in the environ, which is the application's (PEP 3333)."""
    environ.clear()
    start_response("200 OK", TEXT)
    return [b"emptied"]


@route
def keep(environ, start_response):
    """Read the body when its request is long over."""
    kept.append(environ["wsgi.input"])
    start_response("200 OK", TEXT)
    return [b"kept"]


@route
def reads_on(environ, start_response):
    """Answer while a greenlet or thread beside the call reads the body."""

    def read():
        tell(environ, "reads")
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            tell(environ, f"has raised {type(error).__name__} beside it: {error}")

    threading.Thread(target=read).start()
    while not environ["wsgi.input"].raw.waiting:
        time.sleep(0.005)
    start_response("200 OK", TEXT)
    return [b"impatient"]


@route
def read_kept(environ, start_response):
    try:
        data = kept[-1].read()
    except (OSError, ValueError) as error:
        return as_json(start_response, type(error).__name__)
    return as_json(start_response, data.decode("latin-1"))


kept = []


@route
def many(environ, start_response):
    """Answer with 8 MiB in one piece, whatever there is to read."""
    start_response("200 OK", TEXT)
    return [BLOCK * 128]


@route
def slowly(environ, start_response, seconds):
    """Read a little, before and after a nap, and then the rest."""
    total = len(environ["wsgi.input"].read(10))
    time.sleep(float(seconds))
    total += len(environ["wsgi.input"].read(10))
    total += len(environ["wsgi.input"].read())
    start_response("200 OK", TEXT)
    return [b"%d" % total]


@route
def many_blocks(environ, start_response):
    """Answer with 64 MiB in one piece."""
    start_response("200 OK", TEXT)
    return [BLOCK * 1024]


@route
def duet(environ, start_response):
    """Write 32 MiB in one piece, and beside this greenlet another one does."""
    write = start_response("200 OK", TEXT)
    other = gevent.spawn(write, BLOCK * 512)
    write(BLOCK * 512)
    other.join()
    return []


@route
def writes(environ, start_response, count):
    """Answer with so many blocks by write()."""
    write = start_response("200 OK", TEXT)
    for _ in range(int(count)):
        write(BLOCK)
    return []
