"""What becomes of each line before it goes to its destination: prefixes, JSON, and routes by its text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from time import strftime, time
from typing import TYPE_CHECKING

from appserver.log.zone import local_time
from appserver.options import BadValue, regex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appserver.log.sinks import Sink

_FORMS = "prefix, suffix, nl, format, json or strftime, perhaps :LOGGER, and its text"
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True)
class Encoder:
    """One step: *kind* with *text*, for the lines of the logger of that name, or of all."""

    kind: str
    logger: str
    text: str

    def encode(self, line: str) -> str:
        """Return what becomes of a line."""
        if self.kind == "prefix":
            return self.text + line
        if self.kind == "suffix":
            return line + self.text
        if self.kind == "strftime":
            return _timed(line)
        if self.kind == "nl":  # every line ends here, anyway
            return line
        shown = _in_json if self.kind == "json" else str
        return _VARIABLE.sub(lambda match: _value(match[1], line, shown), self.text)


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _value(name: str, line: str, shown: Callable[[str], str]) -> str:
    if name in {"msg", "msgnl"}:
        return shown(line)
    if name == "unix":
        return str(int(time()))
    if name == "micros":
        return str(int(time() * 1e6))
    kind, _, form = name.partition(":")
    return shown(_timed(form)) if kind == "strftime" else ""


def _timed(text: str) -> str:
    """Replace %Y and so on; strftime refuses a NUL, and returns nothing where the result is too long."""
    now = local_time(int(time()))
    return "\0".join([strftime(part, now) or part for part in text.split("\0")])


def encoder(text: str) -> Encoder:
    """Convert ``log-encoder``: ``name[:logger] text``."""
    name, _, argument = text.partition(" ")
    kind, _, logger = name.partition(":")
    if kind not in {"prefix", "suffix", "nl", "format", "json", "strftime"}:
        raise BadValue(_FORMS)
    return Encoder(kind, logger, argument.strip())


def route(text: str) -> tuple[str, re.Pattern[str]]:
    """Convert ``log-route``: the name of a logger, and a regular expression."""
    name, _, matched = text.partition(" ")
    if not matched.strip():
        raise BadValue("the name of a logger, and a regular expression")
    return name, regex(matched.strip())


@dataclass(frozen=True)
class Rules:
    """Which lines go where, and in which form."""

    encoders: Sequence[Encoder] = ()
    routes: Sequence[tuple[str, re.Pattern[str]]] = ()
    drained: Sequence[re.Pattern[str]] = ()
    kept: Sequence[re.Pattern[str]] = ()

    def __bool__(self) -> bool:
        return bool(self.encoders or self.routes or self.drained or self.kept)


class Ruled:
    """Several destinations, by their names; those without one take what no route takes.

    As in uWSGI those with names get nothing else, and a route to a name that none has is none.
    A line that ``log-drain`` matches goes nowhere, and where there is ``log-filter`` one of them must match.
    """

    def __init__(self, sinks: Sequence[tuple[str, Sink]], rules: Rules) -> None:
        self._sinks = sinks
        self._rules = rules
        names = {name for name, _ in sinks}
        self._routes = [(name, regex) for name, regex in rules.routes if name in names]

    def write(self, line: str, later: bool = False) -> None:
        rules = self._rules
        if any(regex.search(line) for regex in rules.drained):
            return
        if rules.kept and not any(regex.search(line) for regex in rules.kept):
            return
        wanted = {name for name, regex in self._routes if regex.search(line)} or {""}
        for name, sink in self._sinks:
            if name in wanted:
                sink.write(self._encoded(line, name), later)

    def flush(self) -> None:
        for _, sink in self._sinks:
            sink.flush()

    def _encoded(self, line: str, name: str) -> str:
        for each in self._rules.encoders:
            if each.logger in {"", name}:
                line = each.encode(line)
        return line

    def reopen(self) -> None:
        for _, sink in self._sinks:
            sink.reopen()

    def rotate(self) -> None:
        for _, sink in self._sinks:
            sink.rotate()

    def forked(self) -> None:
        for _, sink in self._sinks:
            sink.forked()

    def close(self) -> int:
        return sum(sink.close() for _, sink in self._sinks)
