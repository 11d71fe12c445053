"""The command line of ``appserver parity``."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from appserver.configuration import Configuration, ConfigurationError
from appserver.listeners.stream import StreamListener
from appserver.parity.asking import Unasked, ask, known
from appserver.parity.comparing import Difference, differences
from appserver.parity.stage import Stage
from appserver.protocols.codec import ProtocolError
from appserver.protocols.fields import check_host, check_method, check_value, key_of
from appserver.protocols.fronts import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.listeners.listener import Listener
    from appserver.protocols.fronts import Answer

_USAGE = """\
usage: appserver parity [--environ] [--json] [--method METHOD] [--target TARGET]
                        [--header 'NAME: VALUE' ...] [--body TEXT]
                        [OPTION ...] [FILE.ini[:SECTION]]

Send one request over every listener of the running server that FILE describes, as its front ends would, and
tell where the answers differ: status, fields, body, and JSON by its keys. Mongrel2 is left out: a running
server takes its requests from there only.

  --environ  Start a server of our own instead, with the same options of listeners and of trust on loopback
             addresses and with a simulated Mongrel2, whose application answers with its environ; compare
             those. The application of FILE is not loaded.
  --json     Print the result for machines.

The exit code is 0 where all answer alike, 1 where something differs, 2 where a listener cannot be asked, or
there are not two of them.
"""

_VALUES = frozenset({"--method", "--target", "--header", "--body"})
# What front ends have to bring through alike: escapes, bytes of UTF-8, fields that are repeated, a body.
_PROBE = Request(
    "POST", "/a%2541/..;/%C3%A9//b%20c?q=1&r=%20",
    (("Host", "localhost"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("Accept", "text/a"), ("Accept", "text/b"),
     ("Content-Type", "text/plain"), ("X-Empty", ""), ("X-Latin", "\xe9")),
    b"\0body\xff",
)  # fmt: skip


class _Problem(Exception):
    """Say what is wrong with the arguments."""


@dataclass
class _Asked:
    """What became of the request over one listener."""

    listener: Listener
    answer: Answer | None = None
    left_out: str = ""
    failed: str = ""
    differences: list[Difference] = field(default_factory=list)

    def lines(self, *, first: bool) -> list[str]:
        start = f"{self.listener.name} {self.listener.address}: "
        if self.answer is None:
            return [start + (f"left out: {self.left_out}" if self.left_out else self.failed)]
        told = f"{start}{self.answer.status}, {len(self.answer.body)} bytes"
        if first:
            return [told]
        return [
            f"{told}, {'differs' if self.differences else 'alike'}",
            *(f"    {each}" for each in self.differences),
        ]

    def plain(self) -> dict[str, Any]:
        return {
            "name": self.listener.name, "address": self.listener.address,
            "status": self.answer.status if self.answer is not None else None,
            "bytes": len(self.answer.body) if self.answer is not None else None,
            "left_out": self.left_out or None, "failed": self.failed or None,
            "differences": [{"where": d.where, "first": d.first, "other": d.other} for d in self.differences],
        }  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Ask all listeners, print what differs and return the exit code: 0, 1 or 2."""
    if {"-h", "--help"} & set(arguments):
        print(_USAGE, end="")
        return 0
    try:
        flags, request, rest = _read(list(arguments), probing="--environ" in arguments)
        configuration = Configuration(rest)
    except _Problem as problem:
        return _fail([str(problem)])
    except ConfigurationError as error:
        return _fail(error.problems)
    if configuration.problems:
        return _fail(configuration.problems)
    try:
        asked = _ask_all(configuration, request, staged="--environ" in flags)
    except Unasked as error:
        return _fail([str(error)])
    answered = [each for each in asked if each.answer is not None]
    for each in answered[1:]:
        assert answered[0].answer is not None
        assert each.answer is not None
        each.differences = differences(answered[0].answer, each.answer)
    code = 1 if any(each.differences for each in asked) else 0
    if any(each.failed for each in asked) or len(answered) < 2:
        code = 2
    if "--json" in flags:
        print(json.dumps({"listeners": [each.plain() for each in asked], "exit": code}, indent=2))
        return code
    for each in asked:
        for line in each.lines(first=each is answered[0] if answered else False):
            print(line)
    if sum(not each.left_out for each in asked) < 2:
        print("there are not two listeners to compare")
    elif not answered and "--environ" not in flags:
        print("no listener answers: is the server running?")
    return code


def _read(rest: list[str], *, probing: bool) -> tuple[set[str], Request, list[str]]:
    """Return our flags, the request, and the arguments that are the server's."""
    flags: set[str] = set()
    given: dict[str, str] = {}
    headers: list[tuple[str, str]] = []
    others = []
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if argument in {"--environ", "--json"}:
            flags.add(argument)
        elif name in _VALUES:
            if not equals and not rest:
                raise _Problem(f"{name}: a value is missing")
            value = value if equals else rest.pop(0)
            if name == "--header":
                headers.append(_header(value))
            else:
                given[name] = value
        else:
            others.append(argument)
    if probing and not given and not headers:
        return flags, _PROBE, others
    if not any(name.lower() == "host" for name, _ in headers):
        headers.insert(0, ("Host", "localhost"))
    body = given.get("--body", "").encode("utf-8", "surrogateescape")
    method = given.get("--method", "POST" if body else "GET")
    target = given.get("--target", "/").encode("utf-8", "surrogateescape").decode("latin-1")
    try:
        check_method(method)
    except ProtocolError as error:
        raise _Problem(f"--method: {error.reason}") from None
    if target[:1] != "/" or any(character <= " " or character == "\x7f" for character in target):
        raise _Problem("--target: expected a path that begins with /, without blanks")
    return flags, Request(method, target, tuple(headers), body), others


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    value = value.strip().encode("utf-8", "surrogateescape").decode("latin-1")
    try:
        key = key_of(name)
        check_value(name, value)
        if key == "HTTP_HOST":
            check_host(value)
    except ProtocolError as error:
        raise _Problem(f"--header: {error.reason}") from None
    if not colon or not key or key == "CONTENT_LENGTH":
        raise _Problem(f"--header: {text[:80]!r} cannot be sent: expected NAME: VALUE, and no Content-Length")
    return name, value


def _ask_all(configuration: Configuration, request: Request, *, staged: bool) -> list[_Asked]:
    """Send *request* over each listener in turn; raise `Unasked` where our own server does not start."""
    found = []
    with ExitStack() as stack:
        stage = stack.enter_context(Stage(configuration)) if staged else None
        for listener in configuration.listeners:
            asked = _Asked(listener)
            found.append(asked)
            try:
                if not isinstance(listener, StreamListener) and stage is None:
                    asked.left_out = f"only {listener.name} itself can ask a running server; try --environ"
                elif isinstance(listener, StreamListener) and not known(listener.name):
                    asked.left_out = f"nothing here speaks {listener.name}"
                elif stage is not None:
                    asked.answer = stage.ask(listener, request)
                elif isinstance(listener, StreamListener):
                    asked.answer = ask(listener, listener.address, request)
            except Unasked as error:
                asked.failed = str(error)
    return found


def _fail(problems: list[str]) -> int:
    for problem in problems:
        print(f"appserver: {problem}", file=sys.stderr)
    return 2
