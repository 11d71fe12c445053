"""Logs: what the server says, and one line for every request, each to where it is wanted.

Destinations are `sinks`.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from threading import local
from typing import TYPE_CHECKING, Any, Protocol

from gevent.monkey import get_original

from appserver.access import DEFAULT, Access, AccessOptions
from appserver.binding import mode
from appserver.curve import keys, server_key
from appserver.encoders import Encoder, Ruled, Rules, encoder, route
from appserver.endpoint import endpoint as checked_endpoint
from appserver.endpoint import exposed
from appserver.options import BadValue, UnsupportedValue, option, regex
from appserver.sinks import FileSink, Sink, Sinks, StderrSink
from appserver.zone import local_time

if TYPE_CHECKING:
    from collections.abc import Iterable


_RLock = get_original("_thread", "RLock")  # the real one, also where gevent has replaced it
_OURS = "appserver"  # the logger above all of this server's own
_DATE = "%Y-%m-%d %H:%M:%S"
# Those of uWSGI that are not here.
_ENGINES = {
    "syslog", "rsyslog", "socket", "fd", "redislog", "mongodblog", "pipe", "crypto", "graylog2", "systemd",
}  # fmt: skip


def destination(text: str) -> str:
    """Convert ``logger``: ``[name ]engine:argument`` of an engine that exists here."""
    match = re.fullmatch(r"(?:([\w-]+)\s+)?([a-z0-9]+)(?::(.*))?", text)
    name, engine, argument = match.groups("") if match else ("", "", "")
    prefix = f"{name} " if name else ""
    if engine in {"zeromq", "zmq"}:
        return prefix + endpoint(argument)
    if engine == "stdio" or (engine == "file" and argument):
        return f"{prefix}{engine}:{argument}"
    raise (UnsupportedValue if engine in _ENGINES else BadValue)("zeromq:ENDPOINT, file:PATH or stdio")


def endpoint(text: str) -> str:
    """Convert a ZeroMQ endpoint to a destination."""
    return f"zeromq:{checked_endpoint(text)}"


def overheard(text: str) -> str:
    """Return what is dangerous in a collector's endpoint."""
    why = exposed(text.removeprefix("zeromq:"))
    return f"{why} See log-zeromq-server-key." if why else ""


def log_file(text: str) -> str:
    """Convert ``logto``: a path."""
    if re.fullmatch(r"[^/]*:[0-9]+", text):
        raise UnsupportedValue("a path; logs are not sent over UDP")
    return text


def date(text: str) -> str:
    """Convert ``log-date``: a form for strftime(3), or true for the usual one."""
    if text.lower() in {"", "true", "1", "on", "yes", "false", "0", "off", "no"}:
        return _DATE
    return text


@dataclass(frozen=True)
class LogOptions:
    """Logging."""

    logto: str = option(
        "", "Append the log to this file instead of stderr.", convert=log_file,
        expects="file", example="/var/log/mysite.log",
        note="A path, never a UDP address. What the application prints stays on stdout; there it is in the"
        " file, as its loggers and `wsgi.errors` are here, too.", restart=True,
    )  # fmt: skip
    logto2: str = option(
        "", "The same for a file that `uid` can open anew.", convert=log_file,
        expects="file", example="/var/log/mysite/log",
        note="A new file is given to `uid` and `gid`; uWSGI opens it as them. With both this one counts.",
        restart=True,
    )  # fmt: skip
    logger: tuple[str, ...] = option(
        (), "Send the log there: zeromq:ENDPOINT, file:PATH or stdio, perhaps with a name in front.",
        convert=destination, expects="engine:argument",
        note="Other engines are not supported. One with a name gets what `log-route` sends it, no more.",
        restart=True,
    )  # fmt: skip
    log_zeromq: tuple[str, ...] = option(
        (), "Push each line of the log to this ZeroMQ endpoint.", convert=endpoint, expects="endpoint",
        danger=overheard,
        note="It never blocks the server; what nobody takes is dropped and counted.", restart=True,
    )  # fmt: skip
    log_zeromq_server_key: str = option(
        "", "Encrypt what goes to ZeroMQ collectors (CURVE); only those get it that own this public key.",
        convert=server_key, expects="key or file", example="rq:rM>}U?@Lns47E1%%kR.o@n%%FcmmsL/@{H8]yf7",
        note="own; the file is one of zmq.auth's certificates. In an ini file write %% for each % of a key.",
        restart=True,
    )  # fmt: skip
    log_zeromq_client_key: str = option(
        "", "Be known to collectors by the secret key in this file; a fresh pair otherwise.",
        expects="file", example="/etc/mysite/appserver.key_secret", note="own; nobody else may read it.",
        restart=True,
    )  # fmt: skip
    req_logger: tuple[str, ...] = option(
        (), "Send the lines about requests there, and only there.", aliases=("logger-req",),
        convert=destination, expects="engine:argument", note="Other engines are not supported.",
        restart=True,
    )  # fmt: skip
    disable_logging: bool = option(False, "Write no lines about requests.", short="L", restart=True)
    log_date: str = option(
        _DATE, "The form of the times in the log; write %%Y in an ini file.", aliases=("logdate",),
        convert=date, expects="strftime form", example="%%d/%%b/%%Y %%H:%%M:%%S",
        note="Lines always begin with a time, in the time zone of the start, or of `env = TZ=...`.",
        restart=True,
    )  # fmt: skip
    log_encoder: tuple[Encoder, ...] = option(
        (), "Change each line of the log: json, format, prefix, suffix or strftime, with ${msg}, ${unix} ...",
        convert=encoder, expects="encoder[:logger] text", aliases=("worker-log-encoder",),
        example='json {"at": ${unix}, "message": "${msg}"}', note="nl does nothing: lines always end.",
        restart=True,
    )  # fmt: skip
    log_req_encoder: tuple[Encoder, ...] = option(
        (), "Change each line about a request in the same way.", convert=encoder,
        expects="encoder[:logger] text", aliases=("worker-log-req-encoder",), example="prefix request:",
        restart=True,
    )  # fmt: skip
    log_route: tuple[tuple[str, re.Pattern[str]], ...] = option(
        (), "Send the lines that match to the logger of this name, and to no other.", convert=route,
        expects="logger regex", example="errors ERROR",
        note="What no route takes goes to those without a name, or stderr. A name that none has is ignored.",
        restart=True,
    )  # fmt: skip
    log_req_route: tuple[tuple[str, re.Pattern[str]], ...] = option(
        (), "The same for the lines about requests.", convert=route, expects="logger regex",
        example="api /api/", note="Names of `req-logger` count as well; there those of `logger` alone.",
        restart=True,
    )  # fmt: skip
    log_drain: tuple[re.Pattern[str], ...] = option(
        (),
        "Drop the lines that match.",
        convert=regex,
        expects="regex",
        example="/health",
        restart=True,
    )
    log_filter: tuple[re.Pattern[str], ...] = option(
        (),
        "Drop the lines that do not match.",
        convert=regex,
        expects="regex",
        example="ERROR",
        restart=True,
    )
    logfile_chmod: int | None = option(
        None, "Permissions of log files.", convert=mode, expects="octal digits",
        note="640 there; what the umask leaves here, and 640 for `daemonize`.", restart=True,
    )  # fmt: skip
    log_maxsize: int = option(
        0, "Begin a new file when the log has so many bytes; 0 = never.", example="100000000",
        note="It holds for each file; that of `daemonize` is looked at four times a second.", restart=True,
    )  # fmt: skip
    log_backupname: str = option(
        "", "The name of the file before (default: that of the log with the time behind it).",
        expects="file", example="/var/log/mysite.log.old",
        note="It is that of the first file, `logto`, `daemonize` or a logger's; others have the time, or a"
        " `backupname`. Without it nothing is overwritten: files of the same second are numbered.",
        restart=True,
    )  # fmt: skip


class LogError(Exception):
    """Say why a destination cannot be had; ``option`` names it, ``value`` is in its value."""

    def __init__(self, option: str, value: str, reason: str) -> None:
        super().__init__(reason)
        self.option = option
        self.value = value


class Stderr(Protocol):
    """The file that stderr is."""

    path: str

    def reopen(self) -> None:
        """Go on with the file that has the path now; raise `OSError` and keep the old one."""

    def rotate(self, most: int, backup: str) -> bool:
        """Move it away if it has *most* bytes, and begin a new one; tell whether; raise `OSError`."""


class _SinkHandler(logging.Handler):
    """Give the records of ``logging`` to a sink, one message a record."""

    def __init__(self, sink: Sink, date: str) -> None:
        self._real = _RLock()
        super().__init__()
        self._sink = sink
        formatter = logging.Formatter("[%(asctime)s] %(levelname)s %(message)s", date)
        formatter.converter = lambda seconds: local_time(int(seconds or 0))
        self.setFormatter(formatter)

    @property
    def lock(self) -> Any:
        """A real lock: callbacks of a loop write here, which may not wait for one of gevent's.

        Native threads hold it for no longer than a write, and greenlets do not switch meanwhile.
        """
        return self._real

    @lock.setter
    def lock(self, lock: object) -> None:
        pass  # gevent gives each handler that there is one of its own

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  (the application's: `logging` tells of it and goes on)
            self.handleError(record)
        else:
            self._sink.write(line)


class _Untold(int):
    """The root logger's level where nobody has set one: another object than any of the application's."""


_UNTOLD = _Untold(logging.INFO)


class Errors(local):
    """The text stream that applications see as ``wsgi.errors``: its lines go to the log."""

    def __init__(self) -> None:
        self._log = logging.getLogger("appserver.application")
        self._begun = ""  # a line whose end is still to come

    def write(self, text: str) -> int:
        """Log the lines that *text* completes as one message."""
        lines, _, self._begun = (self._begun + text).rpartition("\n")
        if lines.strip():
            self._log.error("%s", lines.strip("\n"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Log several pieces of text."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log a line that is not ended."""
        if self._begun:
            self.write("\n")


def _named(destination: str) -> tuple[str, str]:
    """Return the name of a logger and its destination."""
    before, _, after = destination.partition(" ")
    return (before, after) if ":" not in before else ("", destination)


def astray(options: LogOptions) -> list[tuple[str, str, str]]:
    """Return routes that find no logger, and loggers that no route finds: the option, the name, and why."""
    ours, theirs = (
        {_named(each)[0] for each in texts} - {""} for texts in (options.logger, options.req_logger)
    )
    routes, of_requests = ([name for name, _ in each] for each in (options.log_route, options.log_req_route))
    found = []
    for where, routed, names in (("log-route", routes, ours), ("log-req-route", of_requests, ours | theirs)):
        known = f"the names are {', '.join(sorted(names))}" if names else "none has a name"
        found += [
            (where, name, f"no logger has the name {name}, so the route is ignored; {known}")
            for name in routed
            if name not in names
        ]
    for where, names, routed in (
        ("logger", ours, routes + of_requests),
        ("req-logger", theirs, of_requests),
    ):
        found += [
            (where, name, f"no route leads to {name}, so no line does; remove the name")
            for name in sorted(names.difference(routed))
        ]
    return found


def _together(sinks: list[tuple[str, Sink]], rules: Rules) -> Sink:
    """Return one or several destinations as one."""
    if rules or any(name for name, _ in sinks):
        return Ruled(sinks, rules)
    return sinks[0][1] if len(sinks) == 1 else Sinks([sink for _, sink in sinks])


class Log:
    """The open destinations of one server."""

    def __init__(
        self, options: LogOptions, access: AccessOptions = DEFAULT, owner: tuple[int, int] = (-1, -1),
        behind: Stderr | None = None,
    ) -> None:  # fmt: skip
        """Open them; raise `LogError` where one cannot be.

        *owner* are the user and the group that a new file of ``logto2`` is given to, and *behind* is the file
        that stderr is, of a daemon.
        """
        self._options = options
        self._owner = owner
        self._behind = behind
        # The file whose backup is log-backupname, as that of another one would overwrite it.
        self._first = options.logto2 or options.logto or ("" if behind is None else behind.path)
        self._backup = os.path.abspath(options.log_backupname) if options.log_backupname else ""
        self._told = False  # that stderr's cannot be moved away
        self._open: list[Sink] = []
        self._collectors: list[str] = []  # endpoints
        named = {
            "logto": [f"file:{options.logto}"] if options.logto and not options.logto2 else [],
            "logto2": [f"file:{options.logto2}"] if options.logto2 else [],
            "logger": options.logger,
            "log-zeromq": options.log_zeromq,
        }
        try:
            self._curve = keys(options.log_zeromq_server_key, options.log_zeromq_client_key)
        except OSError as error:
            why = f"{error.strerror}: {error.filename}" if error.filename else str(error)
            name = "log-zeromq-client-key" if options.log_zeromq_client_key else "log-zeromq-server-key"
            raise LogError(
                name, options.log_zeromq_client_key, f"the log cannot be encrypted: {why}"
            ) from None
        try:
            sinks = [self._sink(name, text) for name, texts in named.items() for text in texts]
            requests = [self._sink("req-logger", text) for text in options.req_logger]
        except LogError:
            self._close_sinks()
            raise
        if all(name for name, _ in sinks):  # what no route takes goes there, as in uWSGI
            sinks.append(("", StderrSink()))
        # Requests have their own, and for what those do not take the others.
        names, routed = {name for name, _ in requests}, {"", *(name for name, _ in options.log_req_route)}
        requests += [each for each in sinks if each[0] in routed - names]
        filters = {"drained": options.log_drain, "kept": options.log_filter}
        sink = _together(sinks, Rules(options.log_encoder, options.log_route, **filters))
        self.access: Access | None = None
        shown = access.log_4xx or access.log_5xx or access.log_slow or access.log_big
        if not options.disable_logging or shown:
            rules = Rules(options.log_req_encoder, options.log_req_route, **filters)
            self.access = Access(
                _together(requests, rules), access, every=not options.disable_logging,
                date=options.log_date,
            )  # fmt: skip
        self._handler = _SinkHandler(sink, options.log_date)
        ours, root = logging.getLogger(_OURS), logging.getLogger()
        self._before = ours.handlers[:], ours.level, ours.propagate
        self.reclaim()
        # What no handler takes is logged here. So the root logger is the application's, as everywhere.
        self._last_resort, logging.lastResort = logging.lastResort, self._handler
        if not root.handlers and root.level == logging.WARNING:
            root.setLevel(_UNTOLD)
            vars(root)["addHandler"] = self._configured

    def _configured(self, handler: logging.Handler) -> None:
        """Give the root logger its first handler, and the level that it has elsewhere."""
        self._give_back_root()
        logging.getLogger().addHandler(handler)

    def _give_back_root(self) -> None:
        root = logging.getLogger()
        vars(root).pop("addHandler", None)
        if root.level is _UNTOLD:
            root.setLevel(logging.WARNING)

    def reclaim(self) -> None:
        """Undo what an application's ``dictConfig`` did to this server's own loggers."""
        ours = logging.getLogger(_OURS)
        ours.handlers[:] = [self._handler]
        ours.setLevel(logging.INFO)
        ours.propagate = False
        for name, logger in logging.root.manager.loggerDict.items():
            if name.split(".")[0] == _OURS and isinstance(logger, logging.Logger):
                logger.disabled = False

    def _sink(self, option: str, text: str) -> tuple[str, Sink]:
        """Open a destination, and return it with its name."""
        name, text = _named(text)
        engine, _, argument = text.partition(":")
        try:
            sink: Sink
            if engine == "zeromq":
                from appserver.collector import ZeromqSink  # noqa: PLC0415  (most logs do without ZeroMQ)

                sink = ZeromqSink(argument, curve=self._curve)
                self._collectors.append(argument)
            else:
                owner = self._owner if option == "logto2" else (-1, -1)
                sink = self._file(argument, owner) if engine == "file" else StderrSink()
        except OSError as error:
            why = f"{error.strerror}: {error.filename}" if error.filename else str(error)
            raise LogError(option, argument, f"the log cannot be opened: {why}") from None
        self._open.append(sink)
        return name, sink

    def _file(self, argument: str, owner: tuple[int, int]) -> FileSink:
        """Open a file, which may be given as ``logfile=PATH,maxsize=BYTES,backupname=PATH``."""
        options = self._options
        path, most, backup = argument, options.log_maxsize, ""
        if argument.startswith("logfile="):
            pairs = dict(each.partition("=")[::2] for each in argument.split(","))
            path, backup = pairs["logfile"], pairs.get("backupname", "")
            most = int(pairs["maxsize"]) if pairs.get("maxsize", "").isdigit() else most
        if not backup:
            self._first = self._first or path
            backup = self._backup if path == self._first else ""
        return FileSink(path, options.logfile_chmod, most, backup, owner)

    def reaches(self, peer: str) -> bool:
        """Tell whether a collector of ours may be at an address; names of hosts are not looked up."""
        return any(
            each.removeprefix("ipc://") == peer or each.rpartition(":")[2] == peer.rpartition(":")[2]
            for each in self._collectors
        )

    def _close_sinks(self) -> None:
        for sink in self._open:
            sink.close()

    def reopen(self) -> None:
        """Go on with the files that have the paths now, after those before were moved away."""
        for sink in self._open:
            sink.reopen()
        if self._behind is not None:
            try:
                self._behind.reopen()
            except OSError as error:
                logging.getLogger(_OURS).error("a log cannot be opened anew: %s", error.strerror)  # noqa: TRY400

    def rotate(self) -> None:
        """Move the files away and begin new ones."""
        for sink in self._open:
            sink.rotate()
        self._rotate_stderr(1)

    def rotate_full(self) -> bool:
        """Do so with the file that stderr is, if it is full; tell whether. No sink sees all that it gets."""
        most = self._options.log_maxsize
        return most > 0 and self._rotate_stderr(most)

    def _rotate_stderr(self, most: int) -> bool:
        behind = self._behind
        if behind is None:
            return False
        try:
            rotated = behind.rotate(most, self._backup if behind.path == self._first else "")
        except OSError as error:
            if not self._told:
                why = f"the log goes on in the old file: {behind.path} cannot be moved away: {error.strerror}"
                logging.getLogger(_OURS).error("%s", why)  # noqa: TRY400
            self._told = True
            return False
        self._told = self._told and not rotated
        return rotated

    def forked(self) -> None:
        """Go on in a forked child, which leaves to its parent what cannot be shared."""
        for sink in self._open:
            sink.forked()

    def close(self) -> None:
        """Hand over what is held and give ``logging`` back as it was; safe twice."""
        ours = logging.getLogger(_OURS)
        if self._handler in ours.handlers:
            ours.handlers[:], level, ours.propagate = self._before
            ours.setLevel(level)
        if logging.lastResort is self._handler:
            logging.lastResort = self._last_resort
            self._give_back_root()
        self._close_sinks()
