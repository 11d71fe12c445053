"""Destinations of log lines: stderr, files, and collectors over ZeroMQ; none blocks or fails the server."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from threading import Lock
from typing import Protocol

import zmq

_HELD = 10000  # lines that wait for a collector before new ones are dropped
_LINGER = 500  # milliseconds that exit waits for a collector


class Sink(Protocol):
    """Where lines go."""

    def write(self, line: str) -> None:
        """Take a line without its end; never block, never raise."""

    def reopen(self) -> None:
        """Go on with the file that has the path now; never raise."""

    def forked(self) -> None:
        """Go on in a forked child; never raise."""

    def close(self) -> None:
        """Hand over what is held; safe twice."""


class StderrSink:
    """Write lines to stderr."""

    def write(self, line: str) -> None:
        if sys.stderr is None:  # it was closed when the process began
            return
        with suppress(OSError, ValueError):  # the terminal or pipe is gone: requests go on
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def reopen(self) -> None:
        pass

    def forked(self) -> None:
        pass

    def close(self) -> None:
        pass


class FileSink:
    """Append lines to a file; raise `OSError` where it cannot be opened."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # chdir comes later
        self._file = open(path, "a", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115

    def write(self, line: str) -> None:
        with suppress(OSError, ValueError):  # the disk is full
            self._file.write(f"{line}\n")

    def reopen(self) -> None:
        if self._file.closed:
            return
        try:
            with open(self._path, "ab") as file:
                os.dup2(file.fileno(), self._file.fileno(), inheritable=False)  # no line is lost between
        except OSError as error:
            self.write(f"the log goes on in the old file: {self._path} cannot be opened: {error.strerror}")

    def forked(self) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()


class ZeromqSink:
    """Push lines to a ZeroMQ collector, one message a line.

    A bounded number of lines waits for a collector that is away; what is dropped beyond that is
    counted, and reported once it is back.
    """

    def __init__(self, endpoint: str, held: int = _HELD) -> None:
        self._endpoint = endpoint
        self._held = held
        self._inherited: list[zmq.Socket[bytes]] = []
        self._connect()

    def _connect(self) -> None:
        self._lock = Lock()  # a ZeroMQ socket belongs to one thread at a time
        self._pid = os.getpid()  # and to one process
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.sndhwm = self._held
        self._socket.linger = _LINGER
        self._dropped = 0
        try:
            self._socket.connect(self._endpoint)
        except zmq.ZMQError as error:
            self.close()
            reason = zmq.strerror(error.errno or 0)
            raise OSError(f"cannot connect to {self._endpoint}: {reason}") from None

    def write(self, line: str) -> None:
        with self._lock:
            try:
                if self._dropped:
                    lost = f"{self._dropped} lines of the log were dropped: no collector took them"
                    self._socket.send(lost.encode(), zmq.DONTWAIT)
                    self._dropped = 0
                self._socket.send(line.encode("utf-8", "backslashreplace"), zmq.DONTWAIT)
            except zmq.ZMQError:
                self._dropped += 1

    def reopen(self) -> None:
        pass

    def forked(self) -> None:
        if self._pid == os.getpid() or self._context.closed:
            return
        self._inherited.append(self._socket)  # the parent's, with its context: neither used nor ended here
        with suppress(OSError):  # the endpoint was good before
            self._connect()

    def close(self) -> None:
        with self._lock:
            if not self._context.closed and self._pid == os.getpid():
                self._context.destroy(linger=_LINGER)


class Sinks:
    """Several destinations in one."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks

    def write(self, line: str) -> None:
        for sink in self._sinks:
            sink.write(line)

    def reopen(self) -> None:
        for sink in self._sinks:
            sink.reopen()

    def forked(self) -> None:
        for sink in self._sinks:
            sink.forked()

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()
