"""The open destinations of one server's log."""

from __future__ import annotations

import logging
import os
from typing import Protocol

from appserver.log.access import DEFAULT, Access, AccessOptions
from appserver.log.curve import Curve, keys
from appserver.log.encoders import Ruled, Rules
from appserver.log.loggers import Loggers
from appserver.log.options import LogOptions, named, parts
from appserver.log.sinks import FileSink, Sink, Sinks, StderrSink

log = logging.getLogger("appserver")


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


def _together(sinks: list[tuple[str, Sink]], rules: Rules) -> Sink:
    """Return one or several destinations as one."""
    if rules or any(name for name, _ in sinks):
        return Ruled(sinks, rules)
    return sinks[0][1] if len(sinks) == 1 else Sinks([sink for _, sink in sinks])


def encryption(options: LogOptions) -> Curve | None:
    """Return the keys for ZeroMQ collectors, None for none; raise `LogError` where they cannot be had."""
    try:
        return keys(options.log_zeromq_server_key, options.log_zeromq_client_key)
    except OSError as error:
        why = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        name = "log-zeromq-client-key" if options.log_zeromq_client_key else "log-zeromq-server-key"
        raise LogError(name, options.log_zeromq_client_key, f"the log cannot be encrypted: {why}") from None


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
        self._curve = encryption(options)
        try:
            sinks = [self._sink(name, text) for name, texts in named.items() for text in texts]
            requests = [self._sink("req-logger", text) for text in options.req_logger]
        except LogError:
            self._close_sinks()
            raise
        if all(name for name, _ in sinks):  # what no route takes goes there, as in uWSGI
            sinks.append(("", StderrSink()))
            self._open.append(sinks[-1][1])
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
        self._loggers = Loggers(sink, options.log_date)

    def reclaim(self) -> None:
        """Undo what an application's ``dictConfig`` did to this server's own loggers."""
        self._loggers.reclaim()

    def _sink(self, option: str, text: str) -> tuple[str, Sink]:
        """Open a destination, and return it with its name."""
        name, text = named(text)
        engine, _, argument = text.partition(":")
        try:
            sink: Sink
            if engine == "zeromq":
                from appserver.log.collector import ZeromqSink  # noqa: PLC0415  (most logs do without ZeroMQ)

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
        """Open a file, with a size and a backup of its own if they are given."""
        options = self._options
        given = parts(argument)
        path, backup, most = given["logfile"], given.get("backupname", ""), given.get("maxsize", "")
        largest = int(most) if most.isdigit() else options.log_maxsize
        if not backup:
            self._first = self._first or path
            backup = self._backup if path == self._first else ""
        return FileSink(path, options.logfile_chmod, largest, backup, owner)

    def reaches(self, peer: str) -> bool:
        """Tell whether a collector of ours may be at an address; names of hosts are not looked up."""
        return any(
            each.removeprefix("ipc://") == peer or each.rpartition(":")[2] == peer.rpartition(":")[2]
            for each in self._collectors
        )

    def _close_sinks(self) -> int:
        return sum(sink.close() for sink in self._open)

    def reopen(self) -> None:
        """Go on with the files that have the paths now, after those before were moved away."""
        for sink in self._open:
            sink.reopen()
        if self._behind is not None:
            try:
                self._behind.reopen()
            except OSError as error:
                log.error("a log cannot be opened anew: %s", error.strerror)  # noqa: TRY400

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
                log.error("%s", why)  # noqa: TRY400
            self._told = True
            return False
        self._told = self._told and not rotated
        return rotated

    def forked(self) -> None:
        """Go on in a forked child, which leaves to its parent what cannot be shared."""
        for sink in self._open:
            sink.forked()

    def close(self) -> int:
        """Hand over what is held and give ``logging`` back as it was; safe twice.

        Return how many lines were not taken, by readers that have stopped and collectors that are away.
        """
        self._loggers.release()
        return self._close_sinks()
