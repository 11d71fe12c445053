"""Ask one listener, as its front end would."""

from __future__ import annotations

import socket
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

import zmq

from appserver.address import parse
from appserver.protocols import fronts
from appserver.protocols.codec import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.listeners.stream import StreamListener
    from appserver.protocols.fronts import Answer, Request

PATIENCE = 30.0  # seconds for an answer
_LOOK = 20  # milliseconds between looks at a socket
_ENCODERS: dict[str, Callable[[Request], bytes]] = {
    "http": fronts.http, "uwsgi": fronts.uwsgi, "fastcgi": fronts.fastcgi, "scgi": fronts.scgi,
}  # fmt: skip
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (names of every address)
_UUID = b"f1d2d2f9-24e0-4e9e-8b5d-2f3e9a4c7b10"


class Unasked(Exception):
    """Say why a listener cannot be asked, or why what it answers is no answer."""


def known(name: str) -> bool:
    """Tell whether requests of a listener's protocol can be made here."""
    return name in _ENCODERS


def ask(listener: StreamListener, address: str, request: Request) -> Answer:
    """Send *request* to *address*, where *listener* or its like listens; raise `Unasked`."""
    try:
        with _connected(address) as sock:
            if sock.family != socket.AF_UNIX:
                host, port = sock.getsockname()[:2]
                request = replace(request, peer=(host, str(port)))
            data = _ENCODERS[listener.name](request)
            if listener.proxied:
                data = b"PROXY TCP4 127.0.0.1 127.0.0.1 49152 80\r\n" + data
            sock.sendall(data)
            received = b"".join(iter(lambda: sock.recv(65536), b""))
        if listener.name != "fastcgi":
            found = fronts.answer(received, request.method)
        else:
            content, ended = fronts.stdout(received)
            found = fronts.answer(content, request.method)
            if found is not None and not ended:
                found = replace(found, complete=False)
    except TimeoutError:
        raise Unasked(f"no whole answer came within {PATIENCE:g} s") from None
    except OSError as error:
        raise Unasked(f"{error.strerror or error}") from None
    except ProtocolError as error:
        raise Unasked(error.reason) from None
    assert found is not None
    return found


def _connected(text: str) -> socket.socket:
    where = parse(text)
    if isinstance(where, int) or (isinstance(where, tuple) and not where[1]):
        raise Unasked("only the running server knows its address; give it one in the ini file")
    if isinstance(where, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        try:
            sock.connect(where)
        except OSError:
            sock.close()
            raise
        return sock
    return socket.create_connection((_ANY.get(where[0], where[0]), where[1]), PATIENCE)


class Mongrel2:
    """A Mongrel2 with one client, in the place of a real one; `close` frees its endpoints."""

    def __init__(self, path: str) -> None:
        """Bind beside *path*."""
        self.specs = f"ipc://{path}.send,ipc://{path}.recv"
        send, recv = self.specs.split(",")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._push = self._context.socket(zmq.PUSH)
        self._sub = self._context.socket(zmq.SUB)
        for sock in (self._push, self._sub):
            sock.linger = 0
            sock.rcvtimeo = int(PATIENCE * 1000)
        self._push.bind(send)
        self._sub.subscribe(b"")
        self._sub.bind(recv)
        self._clients = 0

    def ask(self, request: Request) -> Answer:
        """Deal *request* out and return its answer; raise `Unasked`."""
        self._clients += 1
        connection = (_UUID, b"%d" % self._clients)
        start = b"%b %d:%b, " % (_UUID, len(connection[1]), connection[1])
        received = b""
        try:
            # A SUB subscribes only while it is looked at, and the server pulls only from who has subscribed.
            until = monotonic() + PATIENCE
            while not self._push.poll(_LOOK, zmq.POLLOUT) and monotonic() < until:
                self._sub.poll(0)
            self._push.send(fronts.mongrel2(request, connection), zmq.DONTWAIT)
            while True:
                message = self._sub.recv()
                if not message.startswith(start):
                    continue
                piece = message[len(start) :]
                received += piece
                found = fronts.answer(received, request.method, ended=not piece)
                if found is not None:
                    return found
        except zmq.Again:
            raise Unasked(f"no whole answer came within {PATIENCE:g} s") from None
        except ProtocolError as error:
            raise Unasked(error.reason) from None

    def close(self) -> None:
        """Close both sockets."""
        self._push.close()
        self._sub.close()
        self._context.term()
