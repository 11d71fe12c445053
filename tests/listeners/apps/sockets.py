"""An application whose paths are WebSockets of all kinds; what becomes of them is told on wsgi.errors."""

from __future__ import annotations

import gc
import json
import os
import threading
import time
import weakref
from contextlib import suppress

import appserver
from appserver.errors import ApplicationError, ConnectionClosed

TEXT = [("Content-Type", "text/plain")]
ROUTES = {}
TOLD = threading.Event()
GUESTS = []


def route(function):
    ROUTES["/" + function.__name__.replace("_", "-")] = function
    return function


def tell(environ, what):
    print(f"{environ['QUERY_STRING']} {what}", file=environ["wsgi.errors"])


class Marker:
    """Be in the environ of one request."""


class Closing:
    def __init__(self, environ):
        self.environ = environ

    def __iter__(self):
        return iter(())

    def close(self):
        tell(self.environ, "closed")


def app(environ, start_response):
    socket = environ.get("wsgi.websocket")
    if socket is None or environ["PATH_INFO"] == "/plain":
        start_response("200 OK", TEXT)
        return [b"plain" if socket is None else b"could be more"]
    if environ["PATH_INFO"] == "/refuse-and-answer":
        return refuse_and_answer(environ, start_response)
    try:
        ROUTES[environ["PATH_INFO"]](environ, socket)
    except BaseException as error:
        tell(environ, f"raised {type(error).__name__}")
        raise
    tell(environ, f"ended {socket.close_code} {socket.close_reason}".rstrip())
    return Closing(environ)


@route
def echo(environ, socket):
    for message in socket:
        socket.send(message)


@route
def accepted(environ, socket):
    choice = environ["QUERY_STRING"]
    socket.accept(choice if choice in socket.subprotocols else None, [("X-Own", "yes")])
    tell(environ, f"chose {socket.subprotocol} of {','.join(socket.subprotocols)}")
    tell(
        environ, f"asked {socket.path} {socket.version} {socket.protocol} {socket.origin}"
    )  # gevent-websocket's
    socket.send(
        json.dumps([socket.subprotocol, environ["REQUEST_METHOD"], environ["wsgi.input"].read().decode()])
    )
    socket.close(4000, "enough")
    assert socket.closed
    assert socket.receive() is None


@route
def accept_when(environ, socket):
    """Accept once there is a file."""
    tell(environ, "waits")
    while not os.path.exists(environ["QUERY_STRING"]):
        time.sleep(0.01)
    socket.accept()
    assert socket.receive() is None


@route
def refuse(environ, socket):
    socket.close()


def refuse_and_answer(environ, start_response):
    """Refuse, and go on as a framework does: with an answer of its own, or with none."""
    environ["wsgi.websocket"].close()
    if environ["QUERY_STRING"].endswith("none"):
        return None
    write = start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    write(b"written")
    return Closing(environ)


@route
def mistakes(environ, socket):
    found = []
    tries = [
        lambda: socket.accept("not offered"), lambda: socket.accept(None, [("Upgrade", "h2c")]),
        lambda: socket.accept(None, [("X-A", "a\nb")]), lambda: socket.send(1), lambda: socket.close(1005),
        lambda: socket.close(999), lambda: socket.close(1000, "x" * 124), lambda: socket.ping(bytes(126)),
    ]  # fmt: skip
    for each in tries:
        try:
            each()
        except (ApplicationError, TypeError, ValueError) as error:
            found.append(type(error).__name__)
    socket.send(json.dumps(found))
    try:
        socket.accept()
    except ApplicationError as error:
        socket.send(str(error))


@route
def until_told(environ, socket):
    """Answer until that is not possible any more, as libraries have it."""
    nones = 0
    try:
        while True:
            message = socket.receive()
            if message is None:
                nones += 1
            else:
                socket.send(message)
    except ConnectionClosed as error:
        tell(environ, f"received {nones} None, then {error.code}")


@route
def close_with(environ, socket):
    code, _, reason = environ["QUERY_STRING"].partition("&")
    socket.receive()
    socket.close(int(code), reason)
    for each in (lambda: socket.send("more"), socket.ping):
        try:
            each()
        except ConnectionClosed as error:
            tell(environ, f"cannot: {error.code} {error.reason}")


@route
def fail(environ, socket):
    socket.receive()
    raise RuntimeError("the application fails")


@route
def forgotten(environ, socket):
    """Tell when nobody knows a WebSocket any more, as well as all that belongs to it; then do as another path."""
    gc.disable()  # it would find what is left in a cycle
    token, _, path = environ["QUERY_STRING"].partition("&")
    session = socket._session
    environ["marker"] = Marker()  # the connection knows the request, and this its environ
    for part in (environ["marker"], socket, session, session.wire):
        text = f"{token} nobody knows its {type(part).__name__}"
        weakref.finalize(part, print, text, file=environ["wsgi.errors"])
    del session, part
    ROUTES[path](environ, socket)


@route
def by_itself(environ, socket):
    """Speak as simple-websocket does."""
    environ["werkzeug.socket"].send(b"HTTP/1.1 101 ...")


@route
def selected(environ, socket):
    socket.accept()
    socket.fileno()
    echo(environ, socket)


@route
def relay(environ, socket):
    """Send what comes to all who are there, and fail where one of them has left."""
    GUESTS.append(socket)
    tell(environ, "joined")
    for message in socket:
        for each in GUESTS:
            each.send(message)


@route
def fail_early(environ, socket):
    raise RuntimeError("the application fails")


@route
def late(environ, socket):
    socket.accept()
    for _ in range(3):
        try:
            socket.receive(timeout=0.01)
        except TimeoutError:
            socket.send("late")
    socket.send(socket.receive(timeout=20))


@route
def poll(environ, socket):
    """Look for a message now and then, without waiting for it, and do other work in between."""
    socket.accept()
    pause = int(environ["QUERY_STRING"]) / 1000
    for _ in range(1000):
        with suppress(TimeoutError):
            socket.send(f"got {socket.receive(timeout=0)}")
            return
        time.sleep(pause)
    tell(environ, "got nothing")


@route
def spin(environ, socket):
    """Look for a message without a pause, until there is one."""
    socket.accept()
    tell(environ, "spins")
    for _ in range(1_000_000):
        with suppress(TimeoutError):
            socket.send(f"got {socket.receive(timeout=0)}")
            return
    tell(environ, "got nothing")


@route
def send_and_wait(environ, socket):
    """Never receive, as one that only tells of news."""
    socket.accept()
    tell(environ, "waits")
    time.sleep(30)


@route
def push(environ, socket):
    """Send until that fails."""
    block = bytes(65536)
    count = 0
    try:
        while True:
            socket.send(block)
            count += 1
            if count in {1, 64}:
                tell(environ, f"sent {count}")
    except ConnectionClosed as error:
        tell(environ, f"cannot: {error.code}")


@route
def slow_reader(environ, socket):
    """Take no message until somebody else has come."""
    socket.accept()
    socket.subscribe("go")
    tell(environ, "waits")
    while not socket.closed:
        time.sleep(0.01)
    tell(environ, f"found {socket.close_code}")


@route
def late_reader(environ, socket):
    """Take no message until somebody else has come for `go`, then count those up to one of bytes."""
    socket.accept()
    tell(environ, "waits")
    TOLD.wait()
    socket.send(str(sum(1 for _ in iter(socket.receive, b"end"))))


@route
def go(environ, socket):
    socket.accept()
    TOLD.set()


@route
def sum_up(environ, socket):
    """Tell how many bytes have come."""
    tell(environ, f"got {sum(map(len, socket))} bytes")


@route
def subscribe(environ, socket):
    socket.subscribe("news")
    tell(environ, f"subscribed by {os.getpid()}")
    socket.send("subscribed")
    for message in socket:
        if message == "stop":
            socket.unsubscribe("news")
            socket.send("stopped")
        elif isinstance(message, bytes):
            appserver.publish("news", bytes(int(message)))
        else:
            appserver.publish("news", message)


@route
def bad_channels(environ, socket):
    """Tell what becomes of names that are none, after somebody has subscribed to a good one."""
    socket.subscribe("news")
    found = []
    for name in (5, b"x", None, "\ud800"):
        for each in (socket.subscribe, socket.unsubscribe, lambda name: appserver.publish(name, "lost")):
            try:
                each(name)
            except (TypeError, ValueError) as error:
                found.append(f"{type(error).__name__}: {error}")
    socket.send(json.dumps(found))


@route
def fork(environ, socket):
    """Tell what becomes of a message that a child publishes."""
    socket.subscribe("news")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            appserver.publish("news", "lost")
        except RuntimeError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.set_blocking(reading, False)
    socket.send(os.read(reading, 1000).decode())
    os.close(reading)
    os.close(writing)


@route
def pings(environ, socket):
    socket.ping(b"application")
    socket.receive()


@route
def crunch(environ, socket):
    """Take longer for a message than a limit."""
    for message in socket:
        time.sleep(float(message))
        socket.send("done")


@route
def nothing(environ, socket):
    """Neither accept nor answer."""
