"""Logs: what the server says, and one line for every request, each to where it is wanted.

Destinations are `sinks`.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from threading import local
from time import localtime, strftime, time
from typing import TYPE_CHECKING

from appserver.options import BadValue, option
from appserver.sinks import FileSink, Sink, Sinks, StderrSink, ZeromqSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appserver.exchange import Exchange

_OURS = "appserver"  # the logger above all of this server's own
_UNSAFE = re.compile(r"[^\x20-\x7e]|[\"\\]")


def destination(text: str) -> str:
    """Convert ``logger``: ``[name ]engine:argument`` of an engine that exists here."""
    match = re.fullmatch(r"(?:[\w-]+\s+)?(zeromq|zmq|file|stdio)(?::(.*))?", text)
    engine, argument = match.groups("") if match else ("", "")
    if engine in {"zeromq", "zmq"}:
        return endpoint(argument)
    if engine == "stdio" or (engine == "file" and argument):
        return f"{engine}:{argument}"
    raise BadValue("zeromq:ENDPOINT, file:PATH or stdio")


def endpoint(text: str) -> str:
    """Convert a ZeroMQ endpoint to a destination."""
    if not re.fullmatch(r"(tcp|ipc|inproc)://.+", text):
        raise BadValue("a ZeroMQ endpoint, such as tcp://127.0.0.1:9191")
    return f"zeromq:{text}"


@dataclass(frozen=True)
class LogOptions:
    """Logging."""

    logto: str = option(
        "",
        "Append the log to this file instead of stderr.",
        expects="file",
        example="/var/log/mysite.log",
        note="A path, never a UDP address.",
    )
    logger: tuple[str, ...] = option(
        (), "Send the log there: zeromq:ENDPOINT, file:PATH or stdio.", convert=destination,
        expects="engine:argument",
        note="Other engines are not supported.",
    )  # fmt: skip
    log_zeromq: tuple[str, ...] = option(
        (),
        "Push each line of the log to this ZeroMQ endpoint.",
        convert=endpoint,
        expects="endpoint",
        note="It never blocks the server; what nobody takes is dropped and counted.",
    )
    req_logger: tuple[str, ...] = option(
        (), "Send the lines about requests there, and only there.", aliases=("logger-req",),
        convert=destination, expects="engine:argument",
        note="Other engines are not supported.",
    )  # fmt: skip
    disable_logging: bool = option(False, "Write no lines about requests.", short="L")


class LogError(Exception):
    """Say why a destination cannot be had; ``option`` names it, ``value`` is in its value."""

    def __init__(self, option: str, value: str, reason: str) -> None:
        super().__init__(reason)
        self.option = option
        self.value = value


class _SinkHandler(logging.Handler):
    """Give the records of ``logging`` to a sink, one message a record."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink
        self.setFormatter(logging.Formatter("[%(asctime)s] %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  (the application's: `logging` tells of it and goes on)
            self.handleError(record)
        else:
            self._sink.write(line)


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
        peer = environ.get("REMOTE_ADDR") or "-"
        request = f"{x.method} {x.uri} {x.protocol}"
        if _UNSAFE.search(f"{peer} {request}"):
            peer = _UNSAFE.sub(_escaped, peer)
            request = _UNSAFE.sub(_escaped, request)
        self._sink.write(
            f"[{self._stamp}] {environ.get('appserver.listener', '-')} {peer}"
            f' "{request}" {status or "-"} {x.sent} {seconds * 1000:.1f}ms'
        )


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]) & 0xFF:02x}"


class Errors(local):
    """The text stream that applications see as ``wsgi.errors``: its lines go to the log."""

    def __init__(self) -> None:
        self._log = logging.getLogger("appserver.application")
        self._begun = ""  # a line whose end is still to come

    def write(self, text: str) -> int:
        """Log the lines that *text* completes."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self._log.error("%s", line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Log several pieces of text."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log a line that is not ended."""
        if self._begun:
            self.write("\n")


class Log:
    """The open destinations of one server."""

    def __init__(self, options: LogOptions) -> None:
        """Open them; raise `LogError` where one cannot be."""
        self._open: list[Sink] = []
        self._others: list[Callable[[], None]] = []
        named = {
            "logto": [f"file:{options.logto}"] if options.logto else [],
            "logger": options.logger,
            "log-zeromq": options.log_zeromq,
        }
        try:
            sinks = [self._sink(name, text) for name, texts in named.items() for text in texts]
            requests = [self._sink("req-logger", text) for text in options.req_logger]
        except LogError:
            self._close_sinks()
            raise
        sink = Sinks(sinks or [StderrSink()])
        self.access: Access | None = None
        if not options.disable_logging:
            self.access = Access(Sinks(requests) if requests else sink)
        self._handler = _SinkHandler(sink)
        self._loggers = [logging.getLogger(), logging.getLogger(_OURS)]
        self._before = [(each.handlers[:], each.level, each.propagate) for each in self._loggers]
        for logger in self._loggers:
            logger.handlers[:] = [self._handler]
            logger.setLevel(logging.INFO)
            logger.propagate = False

    def reclaim(self) -> None:
        """Undo what an application's ``dictConfig`` did to this server's own loggers."""
        ours = logging.getLogger(_OURS)
        ours.handlers[:] = [self._handler]
        ours.setLevel(logging.INFO)
        ours.propagate = False
        for name, logger in logging.root.manager.loggerDict.items():
            if name.split(".")[0] == _OURS and isinstance(logger, logging.Logger):
                logger.disabled = False

    def _sink(self, option: str, text: str) -> Sink:
        engine, _, argument = text.partition(":")
        try:
            sink: Sink
            if engine == "zeromq":
                sink = ZeromqSink(argument)
            else:
                sink = FileSink(argument) if engine == "file" else StderrSink()
        except OSError as error:
            why = f"{error.strerror}: {error.filename}" if error.filename else str(error)
            raise LogError(option, argument, f"the log cannot be opened: {why}") from None
        self._open.append(sink)
        return sink

    def _close_sinks(self) -> None:
        for sink in self._open:
            sink.close()

    def also_reopen(self, reopen: Callable[[], None]) -> None:
        """Have `reopen` call this, too, which may raise `OSError`."""
        self._others.append(reopen)

    def reopen(self) -> None:
        """Go on with the files that have the paths now, after those before were moved away."""
        for sink in self._open:
            sink.reopen()
        for reopen in self._others:
            try:
                reopen()
            except OSError as error:
                logging.getLogger(_OURS).error("a log cannot be opened anew: %s", error.strerror)  # noqa: TRY400

    def forked(self) -> None:
        """Go on in a forked child, which leaves to its parent what cannot be shared."""
        for sink in self._open:
            sink.forked()

    def close(self) -> None:
        """Hand over what is held and give ``logging`` back as it was; safe twice."""
        for logger, (handlers, level, propagate) in zip(self._loggers, self._before, strict=True):
            if self._handler in logger.handlers:
                logger.handlers[:] = handlers
                logger.setLevel(level)
                logger.propagate = propagate
        self._close_sinks()
