"""One line for every request, or for those that are worth one, in the built-in form or ``log-format``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from time import asctime, strftime, time
from typing import TYPE_CHECKING, Any

from appserver.fairqueue import QUEUED
from appserver.identity import worker_id
from appserver.log.zone import local_time
from appserver.memory import memory
from appserver.options import option

if TYPE_CHECKING:
    from collections.abc import Callable

    from appserver.exchange import Exchange
    from appserver.log.sinks import Sink

UNLOGGED = "appserver.unlogged"  # the key in the environ of a request that gets no line
LOGVARS = "appserver.logvars"  # the key in the environ of what uwsgi.set_logvar has set

_UNSAFE = re.compile(r"[^\x20-\x7e]|[\"\\]")
_VARIABLE = re.compile(r"%\(([^)]*)\)")
_QUICK = 0.001  # seconds
_LOCAL = "%d/%b/%Y:%H:%M:%S %z"


@dataclass
class Ended:
    """A request that has been answered."""

    x: Exchange
    status: str
    seconds: float
    now: float
    peer: str

    @property
    def begun(self) -> float:
        """When it came, in seconds of the clock."""
        return self.now - self.seconds


def _fields(ended: Ended) -> int:
    x = ended.x
    return len(x.headers) + (x.begun and x.codec.dated and not x.dated)  # a Date is added in the head


def _size(ended: Ended) -> int:
    return ended.x.head_size + ended.x.sent


def _queued(ended: Ended) -> str:
    queued = ended.x.environ.get(QUEUED)
    return f"{queued if type(queued) is float else 0.0:.6f}"  # the environ is the application's


# What %(name) stands for; text of the client's is escaped afterwards.
_VARIABLES: dict[str, Callable[[Ended], Any]] = {
    "uri": lambda e: e.x.uri,
    "method": lambda e: e.x.method,
    "proto": lambda e: e.x.protocol,
    "user": lambda e: e.x.environ.get("REMOTE_USER"),
    "addr": lambda e: e.peer,
    "host": lambda e: e.x.environ.get("HTTP_HOST"),
    "uagent": lambda e: e.x.environ.get("HTTP_USER_AGENT"),
    "referer": lambda e: e.x.environ.get("HTTP_REFERER"),
    "status": lambda e: e.status,
    "rsize": lambda e: e.x.sent,
    "hsize": lambda e: e.x.head_size,
    "size": _size,
    "cl": lambda e: e.x.environ.get("CONTENT_LENGTH") or 0,
    "micros": lambda e: int(e.seconds * 1e6),
    "msecs": lambda e: int(e.seconds * 1e3),
    "secs": lambda e: f"{e.seconds:.6f}",
    "queued": _queued,
    "tmsecs": lambda e: int(e.begun * 1e3),
    "tmicros": lambda e: int(e.begun * 1e6),
    "time": lambda e: int(e.begun),
    "epoch": lambda e: int(e.now),
    "ltime": lambda e: strftime(_LOCAL, local_time(int(e.begun))),
    "ctime": lambda e: asctime(local_time(int(e.begun))),
    "pid": lambda _: os.getpid(),
    "wid": lambda _: worker_id(),
    "vars": lambda e: len(e.x.environ),
    "headers": _fields,
    "vsz": lambda _: memory().every,
    "rss": lambda _: memory().resident,
    "vszM": lambda _: memory().every >> 20,
    "rssM": lambda _: memory().resident >> 20,
    "listener": lambda e: e.x.environ.get("appserver.listener"),
    # A core has no number here, and nothing switches within one; errors of sending are the line's 499.
    "core": lambda _: 0, "switches": lambda _: 0, "modifier1": lambda _: 0, "modifier2": lambda _: 0,
    "werr": lambda e: int(e.status == "499"), "rerr": lambda _: 0, "ioerr": lambda e: int(e.status == "499"),
    "pktsize": lambda _: None,
}  # fmt: skip
NAMES = (*_VARIABLES, "ftime", "var.NAME")


@dataclass(frozen=True)
class AccessOptions:
    """Request lines."""

    log_format: str = option(
        "", "The line about a request, with %(uri), %(status) and so on.",
        aliases=("logformat",), example='%(addr) "%(method) %(uri) %(proto)" %(status) %(size) %(msecs)ms',
        note="Quotes and control characters of the client are escaped, so that JSON stays JSON."
        f" The variables: {', '.join(NAMES)}.", restart=True,
    )  # fmt: skip
    log_format_strftime: bool = option(
        False, "Replace %Y and so on in log-format, too; write %%Y in an ini file.",
        aliases=("logformat-strftime",), note="Nothing that a client sends is replaced.", restart=True,
    )  # fmt: skip
    log_4xx: bool = option(
        False, "With disable-logging: write the lines of answers 4xx all the same.", restart=True
    )
    log_5xx: bool = option(
        False, "With disable-logging: write the lines of answers 5xx all the same.", restart=True
    )
    log_slow: int = option(
        0, "With disable-logging: write the lines of requests that take so many milliseconds all the same.",
        example="500", restart=True,
    )  # fmt: skip
    log_big: int = option(
        0, "With disable-logging: write the lines of answers of so many bytes all the same.",
        example="1000000", restart=True,
    )  # fmt: skip
    log_x_forwarded_for: bool = option(
        False, "Give the X-Forwarded-For of a request for its address.", restart=True
    )


DEFAULT = AccessOptions()


class Access:
    """Write the lines, each to *sink*; with *every* about all requests, else about what the options name.

    *date* is the form of the times in them, as strftime(3) has it.
    """

    def __init__(
        self, sink: Sink, options: AccessOptions = DEFAULT, *, every: bool = True, date: str = ""
    ) -> None:
        self._sink = sink
        self.turns = False  # whether somebody calls `flush` in each turn of the only loop
        self._options = options
        self._every = every
        self._date = date
        self._second = 0
        self._stamp = ""
        self._format = _compiled(options, date) if options.log_format else None

    def line(self, x: Exchange, status: str, seconds: float) -> None:
        """Write the line about an exchange that ended with *status* after *seconds* in the application.

        A wait for a core before that is told behind them.
        """
        environ = x.environ
        later = self.turns and seconds < _QUICK  # the line of a call that takes long is not kept back
        if UNLOGGED in environ or (not self._every and not self._wanted(x, status, seconds)):
            return
        peer = environ.get("REMOTE_ADDR") or "-"
        if self._options.log_x_forwarded_for:
            peer = environ.get("HTTP_X_FORWARDED_FOR") or peer
        now = time()
        if self._format is not None:
            ended = Ended(x, status or "-", seconds, now, peer)
            self._sink.write("".join([piece(ended) for piece in self._format]), later)
            return
        if int(now) != self._second:
            self._second = int(now)
            self._stamp = strftime(self._date or "%Y-%m-%d %H:%M:%S", local_time(self._second))
        said = f'{peer} "{x.method} {x.uri} {x.protocol}"'
        if not (said.isascii() and said.isprintable() and "\\" not in said and said.count('"') == 2):
            peer, uri = _UNSAFE.sub(_escaped, str(peer)), _UNSAFE.sub(_escaped, x.uri)
            said = f'{peer} "{_UNSAFE.sub(_escaped, x.method)} {uri} {_UNSAFE.sub(_escaped, x.protocol)}"'
        queued = environ.get(QUEUED)
        waited = f" queued {queued * 1000:.1f}ms" if type(queued) is float else ""
        self._sink.write(
            f"[{self._stamp}] {environ.get('appserver.listener', '-')} {said}"
            f" {status or '-'} {x.sent} {seconds * 1000:.1f}ms{waited}",
            later,
        )

    def flush(self) -> None:
        """Write the lines that are held back; safe in any thread."""
        self._sink.flush()

    def _wanted(self, x: Exchange, status: str, seconds: float) -> bool:
        options = self._options
        return bool(
            (options.log_4xx and status[:1] == "4")
            or (options.log_5xx and status[:1] == "5")
            or (options.log_slow and seconds * 1000 >= options.log_slow)
            or (options.log_big and x.head_size + x.sent >= options.log_big)
        )


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]) & 0xFF:02x}"


def _for_json(match: re.Match[str]) -> str:
    """Escape a character so that it is right in JSON and in lines that people read."""
    character = match[0]
    if character in '"\\':
        return f"\\{character}"
    number = ord(character)
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000  # JSON has two halves of such a character (RFC 8259 section 7)
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"


def _compiled(options: AccessOptions, date: str) -> list[Callable[[Ended], str]]:
    """Return functions whose results, put together, are a line."""
    pieces: list[Callable[[Ended], str]] = []
    at = 0
    for match in _VARIABLE.finditer(options.log_format):
        pieces.append(_literal(options.log_format[at : match.start()], strftimes=options.log_format_strftime))
        pieces.append(_variable(match[1], date if options.log_format_strftime else ""))
        at = match.end()
    pieces.append(_literal(options.log_format[at:], strftimes=options.log_format_strftime))
    return pieces


def _literal(text: str, *, strftimes: bool) -> Callable[[Ended], str]:
    if strftimes and "%" in text:
        return lambda ended: strftime(text, local_time(int(ended.now)))
    return lambda _: text


def _variable(name: str, date: str) -> Callable[[Ended], str]:
    if name == "ftime":
        return lambda ended: strftime(date or _LOCAL, local_time(int(ended.begun)))
    find = _VARIABLES.get(name)
    kind, dot, key = name.partition(".")
    if find is None and dot and kind == "var":

        def find(ended: Ended) -> Any:
            return ended.x.environ.get(key)

    elif find is None:

        def find(ended: Ended) -> Any:
            return ended.x.environ.get(LOGVARS, {}).get(name)

    def shown(ended: Ended) -> str:
        found = find(ended)
        text = "" if found is None else str(found)
        return _UNSAFE.sub(_for_json, text) if text else "-"

    return shown
