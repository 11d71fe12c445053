"""Connections with defects: some are not made, some cannot be read, others not be ended; nor is accepting as it should be."""

from __future__ import annotations

import errno
from itertools import count

import hasty  # noqa: F401

from appserver.listeners.connection import Connection
from appserver.listeners.http import HttpListener

numbers = count()
codec, start = HttpListener.codec, HttpListener.start


class Listening:
    """A socket whose every other accept(2) tells of a failure of the network, as Linux does."""

    def __init__(self, sock):
        self.sock = sock
        self.calls = count()

    def _accept(self):
        if next(self.calls) % 2:
            raise OSError(errno.EPROTO, "Protocol error")
        return self.sock._accept()

    def __getattr__(self, name):
        return getattr(self.sock, name)


def failing_start(self, service):
    start(self, service)
    self._sock = Listening(self._sock)


def failing_codec(self, peer):
    if next(numbers) % 3 == 1:
        raise ValueError("a defect")
    return codec(self, peer)


def failing(call, path):
    def fails(self, *given):
        if self.codec.buffer.startswith(path):
            raise ValueError("a defect")
        call(self, *given)

    return fails


HttpListener.start = failing_start
HttpListener.codec = failing_codec
Connection._read = failing(Connection._read, b"GET /unread")
Connection.expire = failing(Connection.expire, b"GET /late")
Connection.stop = failing(Connection.stop, b"GET /stop")
