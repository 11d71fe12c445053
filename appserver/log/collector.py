"""Collectors of log lines over ZeroMQ: destinations that neither block nor fail the server."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import zmq
from gevent.monkey import get_original

from appserver.endpoint import absolute, over_ipv6

if TYPE_CHECKING:
    from appserver.log.curve import Curve

# The real one, also where gevent has replaced it: native threads log, too.
_Lock = get_original("_thread", "allocate_lock")

_HELD = 10000  # lines that wait for a collector before new ones are dropped
_LINGER = 500  # milliseconds that exit waits for a collector
_LARGEST = 4096  # bytes of what a collector may send, which is nothing but ZeroMQ's own


class ZeromqSink:
    """Push lines to a ZeroMQ collector, one message a line.

    A bounded number of lines waits for a collector that is away; what is dropped beyond that is
    counted, and reported once it is back. With *curve* only the collector that it names gets them.
    """

    def __init__(self, endpoint: str, held: int = _HELD, curve: Curve | None = None) -> None:
        self._endpoint = absolute(endpoint)  # it is connected again after forks, wherever that is
        self._held = held
        self._curve = curve
        self._inherited: list[zmq.Socket[bytes]] = []
        self._connect()

    def _connect(self) -> None:
        self._lines: deque[str] = deque()
        self._lock = _Lock()  # a ZeroMQ socket belongs to one thread at a time
        self._pid = os.getpid()  # and to one process
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.sndhwm = self._held
        self._socket.linger = _LINGER
        self._socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST)
        if self._curve is not None:
            self._curve.apply(self._socket)
        self._dropped = 0
        self._socket.ipv6 = over_ipv6(self._endpoint)
        try:
            self._socket.connect(self._endpoint)
        except zmq.ZMQError as error:
            self.close()
            reason = zmq.strerror(error.errno or 0)
            raise OSError(f"cannot connect to {self._endpoint}: {reason}") from None

    def write(self, line: str, later: bool = False) -> None:  # ZeroMQ's own thread sends it anyway
        lines, lock = self._lines, self._lock
        lines.append(line)
        while lines and lock.acquire(blocking=False):
            try:
                while lines:
                    self._send(lines.popleft())
            finally:
                lock.release()

    def _send(self, line: str) -> None:
        try:
            if self._dropped:
                lost = f"{self._dropped} lines of the log were dropped: no collector took them"
                self._socket.send(lost.encode(), zmq.DONTWAIT)
                self._dropped = 0
            self._socket.send(line.encode("utf-8", "backslashreplace"), zmq.DONTWAIT)
        except zmq.ZMQError:
            self._dropped += 1

    def flush(self) -> None:
        pass

    def reopen(self) -> None:
        pass

    def rotate(self) -> None:
        pass

    def forked(self) -> None:
        if self._pid == os.getpid() or self._context.closed:
            return
        self._inherited.append(self._socket)  # the parent's, with its context: neither used nor ended here
        with suppress(OSError):  # the endpoint was good before
            self._connect()

    def close(self) -> int:
        with self._lock:
            if not self._context.closed and self._pid == os.getpid():
                self._context.destroy(linger=_LINGER)
            return self._dropped
