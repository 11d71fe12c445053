"""The least that Python can do: ``python -m bench.floor DOOR ADDRESS``, or ``mongrel2 PUSH SUB``.

It answers whatever comes with the same bytes, and neither looks at a request nor calls an application; the
loop and the sockets are those that the server has. No server that stands on them can spend less.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import zmq
import zmq.backend
from gevent import get_hub

from appserver.listeners.zeromq import context
from appserver.protocols.fastcgi import END, STDOUT, record

if TYPE_CHECKING:
    from collections.abc import Callable

    # What has been read, and where more comes from -> what is written; of Mongrel2's messages, which come
    # whole, both without the client's address.
    Answering = Callable[[bytes, int], bytes]

_READ = 1  # libev's event bit
_ACCEPTS = 16  # in one turn of the loop
_FIELDS = b"Content-Type: text/plain\r\nContent-Length: 12\r\n"
_PAGE = b"\r\nHello world\n"
_HTTP = b"HTTP/1.1 200 OK\r\n" + _FIELDS + b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" + _PAGE
_CGI = b"Status: 200 OK\r\n" + _FIELDS + _PAGE
ANSWERS = {
    "http": _HTTP,
    "uwsgi": b"HTTP/1.1 200 OK\r\n" + _FIELDS + _PAGE,
    "scgi": _CGI,
    "fastcgi": record(STDOUT, 1, _CGI) + record(STDOUT, 1, b"") + record(END, 1, bytes(8)),
    "mongrel2": _HTTP,
}
_NOW = int(zmq.DONTWAIT)


def serve(door: str, where: list[str], answering: Answering) -> None:
    """Answer at a place until the process is ended."""
    if door == "mongrel2":
        _subscribe(where[0], where[1], answering)
    else:
        _accept(door, where[0], answering)


def _accept(door: str, address: str, answering: Answering) -> None:
    """Answer on a socket; HTTP and FastCGI keep their connections."""
    keeps = door in {"http", "fastcgi"}
    loop = get_hub().loop
    host, _, port = address.rpartition(":")
    listening: Any = socket.create_server((host, int(port)), backlog=1024) if host else _unix(address)
    listening.setblocking(False)
    watchers: dict[int, Any] = {}

    def once(fd: int) -> None:
        data = os.read(fd, 65536)
        if data:  # else somebody only asks whether we are there
            with suppress(BrokenPipeError):
                os.write(fd, answering(data, fd))
        os.close(fd)

    def again(fd: int) -> None:
        data = os.read(fd, 65536)
        if data:
            os.write(fd, answering(data, fd))
        else:
            watchers.pop(fd).close()
            os.close(fd)

    def accept() -> None:
        for _ in range(_ACCEPTS):
            try:
                fd, _peer = listening._accept()  # noqa: SLF001 - as the server does
            except BlockingIOError:
                return
            if keeps:
                watchers[fd] = watcher = loop.io(fd, _READ)
                watcher.start(again, fd)
            else:
                once(fd)

    loop.io(listening.fileno(), _READ).start(accept)
    get_hub().join()


def _unix(path: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(1024)
    return listening


def _subscribe(push: str, sub: str, answering: Answering) -> None:
    """Answer Mongrel2's requests."""
    made = context()
    pull, publisher = made.socket(zmq.PULL), made.socket(zmq.XPUB)
    pull.connect(push)
    publisher.connect(sub)
    send = zmq.backend.Socket.send

    def take() -> None:
        publisher.get(zmq.EVENTS)
        while True:
            try:
                message = pull.recv(_NOW)
            except zmq.Again:
                return
            uuid, number, rest = message.split(b" ", 2)
            send(publisher, b"%b %d:%b, %b" % (uuid, len(number), number, answering(rest, -1)), _NOW)

    get_hub().loop.io(pull.fd, _READ).start(take)
    get_hub().join()


if __name__ == "__main__":
    answer = ANSWERS[sys.argv[1]]
    serve(sys.argv[1], sys.argv[2:], lambda _data, _fd: answer)
