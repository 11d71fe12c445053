"""Logs: what the server says, and one line for every request, each to where it is wanted.

A destination is a sink with ``write(line)``; none of them blocks or fails the server.
"""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from time import localtime, strftime, time
from typing import TYPE_CHECKING, Any, Protocol

import zmq

from appserver.options import BadValue, option

if TYPE_CHECKING:
    from appserver.exchange import Exchange

_HELD = 10000  # lines that wait for a collector before new ones are dropped
_LINGER = 500  # milliseconds that exit waits for a collector

_UNSAFE = re.compile(r"[^\x20-\x7e]|[\"\\]")


def destination(text: str) -> str:
    """Convert ``logger``: ``[name ]engine:argument`` of an engine that exists here."""
    engine, _, argument = text.rpartition(" ")[2].partition(":")
    if engine in {"zeromq", "zmq"}:
        return endpoint(argument)
    if engine in {"file", "stdio"}:
        return text.rpartition(" ")[2]
    raise BadValue("zeromq:ENDPOINT, file:PATH or stdio")


def endpoint(text: str) -> str:
    """Convert a ZeroMQ endpoint to a destination."""
    if not re.fullmatch(r"(tcp|ipc|inproc)://.+", text):
        raise BadValue("a ZeroMQ endpoint, such as tcp://127.0.0.1:9191")
    return f"zeromq:{text}"


@dataclass(frozen=True)
class LogOptions:
    """Logging."""

    logto: str = option("", "Append the log to this file instead of stderr.", expects="file")
    logger: tuple[str, ...] = option(
        (), "Send the log there: zeromq:ENDPOINT, file:PATH or stdio.", convert=destination,
        expects="engine:argument",
    )  # fmt: skip
    log_zeromq: tuple[str, ...] = option(
        (), "Push each line of the log to this ZeroMQ endpoint.", convert=endpoint, expects="endpoint"
    )
    req_logger: tuple[str, ...] = option(
        (), "Send the lines about requests there, and only there.", aliases=("logger-req",),
        convert=destination, expects="engine:argument",
    )  # fmt: skip
    disable_logging: bool = option(False, "Write no lines about requests.", short="L")


class Sink(Protocol):
    """Where lines go."""

    def write(self, line: str) -> None:
        """Take a line without its end; never block, never raise."""

    def close(self) -> None:
        """Hand over what is held; safe twice."""


class StderrSink:
    """Write lines to stderr."""

    def write(self, line: str) -> None:
        with suppress(OSError, ValueError):  # the terminal or pipe is gone: requests go on
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def close(self) -> None:
        pass


class FileSink:
    """Append lines to a file; raise `OSError` where it cannot be opened."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "a", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115

    def write(self, line: str) -> None:
        with suppress(OSError, ValueError):  # the disk is full
            self._file.write(f"{line}\n")

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()


class ZeromqSink:
    """Push lines to a ZeroMQ collector, one message a line.

    A bounded number of lines waits for a collector that is away; what is dropped beyond that is
    counted, and reported once it is back.
    """

    def __init__(self, endpoint: str, held: int = _HELD) -> None:
        self._lock = Lock()  # a ZeroMQ socket belongs to one thread at a time
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.sndhwm = held
        self._socket.linger = _LINGER
        self._dropped = 0
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise OSError(f"cannot connect to {endpoint}: {error.strerror}") from None

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

    def close(self) -> None:
        with self._lock:
            if not self._context.closed:
                self._context.destroy(linger=_LINGER)


class Sinks:
    """Several destinations in one."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks

    def write(self, line: str) -> None:
        for sink in self._sinks:
            sink.write(line)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


def _sink(text: str) -> Sink:
    engine, _, argument = text.partition(":")
    if engine == "zeromq":
        return ZeromqSink(argument)
    return FileSink(argument) if engine == "file" else StderrSink()


class _SinkHandler(logging.Handler):
    """Give the records of ``logging`` to a sink, one message a record."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink
        self.setFormatter(logging.Formatter("[%(asctime)s] %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        self._sink.write(self.format(record))


class Access:
    """Write one line about every request."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._second = 0
        self._stamp = ""

    def line(self, x: Exchange, status: str, seconds: float) -> None:
        """Write the line about an exchange that ended with *status* after *seconds*."""
        now = int(time())
        if now != self._second:
            self._stamp = strftime("%Y-%m-%d %H:%M:%S", localtime(now))
            self._second = now
        environ = x.environ
        uri = environ.get("REQUEST_URI", "-")
        if _UNSAFE.search(uri):
            uri = _UNSAFE.sub(_escaped, uri)
        self._sink.write(
            f"[{self._stamp}] {environ.get('appserver.listener', '-')}"
            f" {environ.get('REMOTE_ADDR') or '-'}"
            f' "{environ["REQUEST_METHOD"]} {uri} {environ["SERVER_PROTOCOL"]}"'
            f" {status or '-'} {x.sent} {seconds * 1000:.1f}ms"
        )


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]) & 0xFF:02x}"


class Errors:
    """The text stream that applications see as ``wsgi.errors``: lines of it go to the log."""

    def __init__(self) -> None:
        self._log = logging.getLogger("appserver.application")

    def write(self, text: str) -> int:
        """Log *text* line by line."""
        for line in text.splitlines():
            if line.strip():
                self._log.error("%s", line)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Log several pieces of text."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""


class Log:
    """The open destinations of one server."""

    def __init__(self, options: LogOptions) -> None:
        """Open them; raise `OSError` where one cannot be."""
        named = [*options.logger, *options.log_zeromq]
        if options.logto:
            named.append(f"file:{options.logto}")
        self._sink = Sinks([_sink(text) for text in named] or [StderrSink()])
        self._requests = Sinks([_sink(text) for text in options.req_logger])
        self._handler = _SinkHandler(self._sink)
        root = logging.getLogger()
        self._root = (root.handlers[:], root.level)
        root.handlers[:] = [self._handler]
        root.setLevel(logging.INFO)
        self.access: Access | None = None
        if not options.disable_logging:
            self.access = Access(self._requests if options.req_logger else self._sink)

    def close(self) -> None:
        """Hand over what is held and give ``logging`` back as it was; safe twice."""
        root = logging.getLogger()
        if self._handler in root.handlers:
            root.handlers[:], level = self._root
            root.setLevel(level)
        self._sink.close()
        self._requests.close()
