"""Destinations of log lines: stderr, files, and collectors over ZeroMQ; none blocks or fails the server."""

from __future__ import annotations

import fcntl
import os
import sys
from collections import deque
from contextlib import suppress
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Protocol

import zmq

if TYPE_CHECKING:
    from appserver.curve import Curve

_HELD = 10000  # lines that wait for a collector before new ones are dropped
_LINGER = 500  # milliseconds that exit waits for a collector
_LARGEST = 4096  # bytes of what a collector may send, which is nothing but ZeroMQ's own


class Sink(Protocol):
    """Where lines go."""

    def write(self, line: str, later: bool = False) -> None:
        """Take a line without its end; never block, never raise.

        With *later* it may be held until the next line or `flush`, which somebody will call soon.
        """

    def flush(self) -> None:
        """Hand over lines that are held; never raise."""

    def reopen(self) -> None:
        """Go on with the file that has the path now; never raise."""

    def rotate(self) -> None:
        """Move the file away and begin a new one; never raise."""

    def forked(self) -> None:
        """Go on in a forked child; never raise."""

    def close(self) -> None:
        """Hand over what is held; safe twice."""


class _Holding:
    """Write lines together that may be written later: a system call costs more than a line."""

    def __init__(self) -> None:
        self._held: deque[str] = deque()  # whose ends two threads may use at once

    def write(self, line: str, later: bool = False) -> None:
        self._held.append(line)
        if not later:
            self.flush()

    def flush(self) -> None:
        held = self._held
        if not held:
            return
        lines = []
        try:
            while held:
                lines.append(held.popleft())
        except IndexError:  # another thread has taken the last one
            pass
        lines.append("")
        self._put("\n".join(lines))

    def _put(self, text: str) -> None:
        """Write *text*, lines with their ends; never raise."""
        raise NotImplementedError


class StderrSink(_Holding):
    """Write lines to stderr."""

    def _put(self, text: str) -> None:
        if sys.stderr is None:  # it was closed when the process began
            return
        with suppress(OSError, ValueError):  # the terminal or pipe is gone: requests go on
            sys.stderr.write(text)
            sys.stderr.flush()

    def reopen(self) -> None:
        pass

    def rotate(self) -> None:
        pass

    def forked(self) -> None:
        pass

    def close(self) -> None:
        self.flush()


class FileSink(_Holding):
    """Append lines to a file; raise `OSError` where it cannot be opened.

    At *most* bytes it becomes *backup*, or has the time behind its name, and a new one is begun; *most*
    0 is no limit. Several processes may have the same file.
    """

    def __init__(self, path: str, mode: int | None = None, most: int = 0, backup: str = "") -> None:
        super().__init__()
        self._path = os.path.abspath(path)  # chdir comes later
        self._mode = mode
        self._most = most
        self._backup = os.path.abspath(backup) if backup else ""
        self._lock = Lock()
        self._file = open(path, "a", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
        self._set_mode()

    def _set_mode(self) -> None:
        if self._mode is not None:
            with suppress(OSError):  # another's file
                os.fchmod(self._file.fileno(), self._mode)

    def _put(self, text: str) -> None:
        with suppress(OSError, ValueError):  # the disk is full
            if self._most and os.fstat(self._file.fileno()).st_size >= self._most:
                self._begin_anew(self._most)
            self._file.write(text)

    def rotate(self) -> None:
        self.flush()
        with suppress(OSError, ValueError):
            self._begin_anew(1)

    def _begin_anew(self, most: int) -> None:
        """Begin a new file, or go on with the one that another process has begun."""
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                if self._has_path() and os.fstat(self._file.fileno()).st_size >= most:
                    os.rename(self._path, self._backup or f"{self._path}.{int(time())}")
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self.reopen()

    def _has_path(self) -> bool:
        """Tell whether the open file is the one at the path."""
        try:
            there, here = os.stat(self._path), os.fstat(self._file.fileno())
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def reopen(self) -> None:
        if self._file.closed:
            return
        self.flush()
        try:
            with open(self._path, "ab") as file:
                os.dup2(file.fileno(), self._file.fileno(), inheritable=False)  # no line is lost between
            self._set_mode()
        except OSError as error:
            self._file.write(
                f"the log goes on in the old file: {self._path} cannot be opened: {error.strerror}\n"
            )

    def forked(self) -> None:
        pass

    def close(self) -> None:
        self.flush()
        with suppress(OSError):
            self._file.close()


class ZeromqSink:
    """Push lines to a ZeroMQ collector, one message a line.

    A bounded number of lines waits for a collector that is away; what is dropped beyond that is
    counted, and reported once it is back. With *curve* only the collector that it names gets them.
    """

    def __init__(self, endpoint: str, held: int = _HELD, curve: Curve | None = None) -> None:
        self._endpoint = endpoint
        self._held = held
        self._curve = curve
        self._inherited: list[zmq.Socket[bytes]] = []
        self._connect()

    def _connect(self) -> None:
        self._lock = Lock()  # a ZeroMQ socket belongs to one thread at a time
        self._pid = os.getpid()  # and to one process
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.sndhwm = self._held
        self._socket.linger = _LINGER
        self._socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST)
        if self._curve is not None:
            self._curve.apply(self._socket)
        self._dropped = 0
        try:
            self._socket.connect(self._endpoint)
        except zmq.ZMQError as error:
            self.close()
            reason = zmq.strerror(error.errno or 0)
            raise OSError(f"cannot connect to {self._endpoint}: {reason}") from None

    def write(self, line: str, later: bool = False) -> None:  # ZeroMQ's own thread sends it anyway
        with self._lock:
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

    def close(self) -> None:
        with self._lock:
            if not self._context.closed and self._pid == os.getpid():
                self._context.destroy(linger=_LINGER)


class Sinks:
    """Several destinations in one."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks

    def write(self, line: str, later: bool = False) -> None:
        for sink in self._sinks:
            sink.write(line, later)

    def flush(self) -> None:
        for sink in self._sinks:
            sink.flush()

    def reopen(self) -> None:
        for sink in self._sinks:
            sink.reopen()

    def rotate(self) -> None:
        for sink in self._sinks:
            sink.rotate()

    def forked(self) -> None:
        for sink in self._sinks:
            sink.forked()

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()
