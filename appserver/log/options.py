"""Options of the log, and what is in vain in them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from appserver.binding import mode
from appserver.endpoint import endpoint as checked_endpoint
from appserver.endpoint import exposed
from appserver.log.curve import server_key
from appserver.log.encoders import Encoder, encoder, route
from appserver.options import BadValue, UnsupportedValue, option, regex

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
        note="A path, never a UDP address. What the application prints stays on stdout; in uWSGI it is in"
        " the file, as its loggers and `wsgi.errors` are here, too.", restart=True,
    )  # fmt: skip
    logto2: str = option(
        "", "As logto, but a new file is given to uid and gid, so that uid can open it anew.",
        convert=log_file, expects="file", example="/var/log/mysite/log",
        note="uWSGI opens it as `uid` and `gid`. Where `logto` is given, too, this one counts.",
        restart=True,
    )  # fmt: skip
    logger: tuple[str, ...] = option(
        (), "Send the log to zeromq:ENDPOINT, file:PATH or stdio, perhaps with a name in front.",
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
        expects="file", example="/etc/mysite/appserver.key_secret",
        note="own; nobody else may read it. It needs `log-zeromq-server-key`.",
        restart=True,
    )  # fmt: skip
    req_logger: tuple[str, ...] = option(
        (), "Send the lines about requests to zeromq:ENDPOINT, file:PATH or stdio, and only there.",
        aliases=("logger-req",), convert=destination, expects="engine:argument",
        note="Other engines are not supported.",
        restart=True,
    )  # fmt: skip
    disable_logging: bool = option(False, "Write no lines about requests.", short="L", restart=True)
    log_date: str = option(
        _DATE, "The form of the times in the log; write %%Y in an ini file.", aliases=("logdate",),
        convert=date, expects="strftime form", bare=True, example="%%d/%%b/%%Y %%H:%%M:%%S",
        note="Lines always begin with a time, in the time zone of the start, or of `env = TZ=...`. A"
        " TZ that contains its own rules, such as `CET-1CEST`, becomes that of an application that sets"
        " another one.",
        restart=True,
    )  # fmt: skip
    log_encoder: tuple[Encoder, ...] = option(
        (), "Change each line of the log: json, format, prefix, suffix or strftime, with ${msg}, ${unix} ...",
        convert=encoder, expects="encoder[:logger] text", aliases=("worker-log-encoder",),
        example='json {"at": ${unix}, "message": "${msg}"}', note="nl does nothing: lines always end.",
        restart=True,
    )  # fmt: skip
    log_req_encoder: tuple[Encoder, ...] = option(
        (), "Change each line about a request, as log-encoder does the others.", convert=encoder,
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
        (), "As log-route, but for the lines about requests.", convert=route, expects="logger regex",
        example="api /api/",
        note="Names of `req-logger` count as well; in uWSGI only those of `logger`.",
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
        note="640 in uWSGI; what the umask leaves here, and 640 for `daemonize`.", restart=True,
    )  # fmt: skip
    log_maxsize: int = option(
        0, "Begin a new file when the log has so many bytes; 0 = never.", example="100000000",
        note="It holds for each file; that of `daemonize` is looked at four times a second. One that cannot"
        " be moved away, as in a directory of root's, says so and grows on.", restart=True,
    )  # fmt: skip
    log_backupname: str = option(
        "", "The name of the file before (default: that of the log with the time behind it).",
        expects="file", example="/var/log/mysite.log.old",
        note="It is that of the first file, `logto`, `daemonize` or a logger's; others have the time, or a"
        " `backupname`. Without it nothing is overwritten: files of the same second are numbered.",
        restart=True,
    )  # fmt: skip


def named(destination: str) -> tuple[str, str]:
    """Return the name of a logger and its destination."""
    before, _, after = destination.partition(" ")
    return (before, after) if ":" not in before else ("", destination)


def parts(argument: str) -> dict[str, str]:
    """Return what a file's path, or ``logfile=PATH,maxsize=BYTES,backupname=PATH``, says: by these names."""
    if not argument.startswith("logfile="):
        return {"logfile": argument}
    return dict(each.partition("=")[::2] for each in argument.split(","))


def file_of(destination: str) -> str:
    """Return the path of the file that a destination is; empty where it is none."""
    engine, _, argument = named(destination)[1].partition(":")
    return parts(argument)["logfile"] if engine == "file" else ""


def astray(options: LogOptions) -> list[tuple[str, str, str]]:
    """Return routes that find no logger, and loggers that no route finds: the option, the name, and why."""
    ours, theirs = (
        {named(each)[0] for each in texts} - {""} for texts in (options.logger, options.req_logger)
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
