"""Applications for uWSGI's calls: those of its documentation, and others; their ends are told on wsgi.errors."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from contextlib import suppress

import gevent
import gevent.select
import uwsgi

ROUTES = {}


def route(function):
    ROUTES["/" + function.__name__.replace("_", "-")] = function
    return function


def application(env, start_response):
    if env["PATH_INFO"] == "/has":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [json.dumps([hasattr(uwsgi, name) for name in env["QUERY_STRING"].split(",")]).encode()]
    if env["PATH_INFO"] == "/descriptors":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(sum("eventfd" in each for each in links())).encode()]
    try:
        return ROUTES[env["PATH_INFO"]](env, start_response)
    except BaseException as error:
        tell(env, f"raised {type(error).__name__}, {'an' if isinstance(error, OSError) else 'no'} OSError")
        raise


def links():
    for each in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the list's own
            yield os.readlink(f"/proc/self/fd/{each}")


def waiting(env):
    """Return the function that waits where its caller has to: in the thread of a loop, or in another one."""
    own = not uwsgi.loop and env["appserver.listener"].startswith("http")
    return select.select if own else gevent.select.select


def tell(env, what):
    print(f"{env['QUERY_STRING']} {what}", file=env["wsgi.errors"])


@route
def echo(env, start_response):
    """As in the documentation of uWSGI."""
    uwsgi.websocket_handshake(env["HTTP_SEC_WEBSOCKET_KEY"], env.get("HTTP_ORIGIN", ""))
    while True:
        msg = uwsgi.websocket_recv()
        uwsgi.websocket_send(msg)


class Channel:
    """Stand for a subscription of Redis."""

    channels = []  # noqa: RUF012

    def __init__(self):
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.channels.append(self)

    @classmethod
    def publish(cls, msg):
        for each in cls.channels:
            each.theirs.send(msg)

    def close(self):
        self.channels.remove(self)
        self.ours.close()
        self.theirs.close()


@route
def chat(env, start_response):
    """As in the documentation of uWSGI, for gevent."""
    uwsgi.websocket_handshake(env["HTTP_SEC_WEBSOCKET_KEY"], env.get("HTTP_ORIGIN", ""))
    channel = Channel()
    websocket_fd = uwsgi.connection_fd()
    redis_fd = channel.ours.fileno()
    uwsgi.websocket_send("welcome")
    try:
        while True:
            ready = waiting(env)([websocket_fd, redis_fd], [], [], 60.0)
            if not ready[0]:
                raise RuntimeError("nothing is told in a minute")
            for fd in ready[0]:
                if fd == websocket_fd:
                    msg = uwsgi.websocket_recv_nb()
                    if msg:
                        channel.publish(msg)
                elif fd == redis_fd:
                    uwsgi.websocket_send(b"said: " + channel.ours.recv(4096))
    finally:
        channel.close()


@route
def looks(env, start_response):
    """Select before the handshake, as python-engineio does."""
    fd = uwsgi.connection_fd()
    uwsgi.websocket_handshake()
    told = [waiting(env)([fd], [], [], 0)[0] == [], uwsgi.websocket_recv_nb().decode()]
    uwsgi.websocket_send(json.dumps(told))
    waiting(env)([fd], [], [])
    first = uwsgi.websocket_recv()
    if first == b"two":
        waiting(env)([fd], [], [])
        uwsgi.websocket_send_binary(first + b" " + uwsgi.websocket_recv_nb())
    uwsgi.websocket_send(json.dumps(waiting(env)([fd], [], [], 0)[0] == []))
    waiting(env)([fd], [], [])  # for the end
    for _ in range(2):
        try:
            uwsgi.websocket_recv_nb()
        except OSError as error:
            tell(env, f"ends {type(error).__name__}")
    waiting(env)([fd], [], [])
    return [b""]


@route
def kinds(env, start_response):
    uwsgi.websocket_handshake()
    for send in (uwsgi.websocket_send, uwsgi.websocket_send_binary):
        for message in ("grüß", "grüß".encode(), bytearray(b"array")):
            send(message)
    try:
        uwsgi.websocket_send(b"\xff")
    except ValueError as error:
        uwsgi.websocket_send(str(error))
    uwsgi.disconnect()


@route
def protocol(env, start_response):
    name = env["QUERY_STRING"]
    uwsgi.websocket_handshake("", "", name.encode() if name == "b" else name)
    uwsgi.disconnect()


@route
def away(env, start_response):
    uwsgi.disconnect()


def elsewhere(start):
    """Serve by what *start* begins, outside of the request."""
    uwsgi.websocket_handshake()
    context = uwsgi.request_context()
    told = []

    def work():
        try:
            uwsgi.websocket_send("lost")
        except OSError as error:
            told.append(str(error))
        message = uwsgi.websocket_recv(request_context=context)
        uwsgi.websocket_send(told[0], request_context=context)
        uwsgi.websocket_send_binary(message, request_context=context)

    start(work).join()
    uwsgi.disconnect()


@route
def greenlet(env, start_response):
    elsewhere(gevent.spawn)


@route
def thread(env, start_response):
    def start(work):
        begun = threading.Thread(target=work)
        begun.start()
        return begun

    elsewhere(start)
