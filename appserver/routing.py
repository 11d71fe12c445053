"""A small part of uWSGI's internal routing: rules for requests before a file or the application answers.

Rules are tried in the order in which they stand. One that matches does its action; then the next is tried,
unless the action has answered, or ends the routing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from appserver.access import UNLOGGED
from appserver.conditions import NAMES, Condition, condition, filled
from appserver.exchange import ANSWERED_BY, FIELD_NAME, NO_FIELD_VALUE
from appserver.headers import HeaderOptions, Headers, field
from appserver.options import BadValue, Kind, UnsupportedValue, octets, option, regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appserver.options import Settings
    from appserver.wsgi import Application

_SUBJECTS = {
    "route": "PATH_INFO", "route-uri": "REQUEST_URI", "route-host": "HTTP_HOST", "route-qs": "QUERY_STRING",
    "route-user-agent": "HTTP_USER_AGENT", "route-remote-addr": "REMOTE_ADDR",
    "route-remote-user": "REMOTE_USER", "route-referer": "HTTP_REFERER",
}  # fmt: skip
_REDIRECTS = {
    "redirect": "302 Found", "redirect-302": "302 Found", "redirect-permanent": "301 Moved Permanently",
    "redirect-301": "301 Moved Permanently",
}  # fmt: skip
_EVERYTHING = re.compile("")
_ACTIONS = ("donotlog", "addheader", "addvar", "break", "continue", "last", *_REDIRECTS)


@dataclass(frozen=True)
class Rule:
    """An action for the requests whose subject matches, or for which a condition holds."""

    test: re.Pattern[str] | Condition
    action: str
    argument: str
    negated: bool = False

    def match(self, subject: str, environ: dict[str, Any]) -> re.Match[str] | None:
        """Return the match whose groups the action may use; None where there is nothing to do."""
        test = self.test
        found = test.match(environ) if isinstance(test, Condition) else test.search(subject)
        if self.negated:
            return None if found is not None else _EVERYTHING.search("")
        return found


def action(text: str, matched: re.Pattern[str] | Condition, *, negated: bool = False) -> Rule:
    """Return the rule of ``action:argument``; raise `BadValue` or `UnsupportedValue`."""
    name, colon, argument = text.partition(":")
    if not colon or name not in _ACTIONS:
        raise UnsupportedValue(f"an action of {', '.join(_ACTIONS)}")
    if name == "addheader":
        field(argument)
    if name == "addvar" and "=" not in argument:
        raise BadValue("addvar:NAME=value")
    if name == "break":
        _status(argument)
    return Rule(matched, name, argument, negated)


def rule(text: str) -> Rule:
    """Convert ``route``: a regular expression, a blank and an action."""
    matched, _, rest = octets(text.strip()).partition(" ")
    if not rest:
        raise BadValue("a regular expression and an action, such as ^/health donotlog:")
    return action(rest.lstrip(), regex(matched))


def unconditional(text: str) -> Rule:
    """Convert ``route-run``: an action."""
    return action(octets(text.strip()), _EVERYTHING)


def conditional(text: str, *, negated: bool = False) -> Rule:
    """Convert ``route-if``: a condition without blanks, a blank and an action."""
    tested, _, rest = octets(text.strip()).partition(" ")
    if not rest:
        raise BadValue("a condition and an action, such as equal:${REQUEST_METHOD};POST addvar:POSTED=1")
    return action(rest.lstrip(), condition(tested), negated=negated)


def negated(text: str) -> Rule:
    """Convert ``route-if-not``: as ``route-if``, where the condition does not hold."""
    return conditional(text, negated=True)


def _status(text: str) -> str:
    code = text.partition(" ")[0] or "200"
    try:
        status = HTTPStatus(int(code))
    except ValueError:
        raise BadValue("break:STATUS, such as break:403") from None
    return f"{status.value} {status.phrase}"


def _rules(of: str) -> Any:
    return option(
        (), f"Do an action for the requests whose {of} matches, before a file or the application answers.",
        convert=rule, expects="regex action:argument", example="^/health donotlog:",
        note="Few of the actions are known; `--check` names them.",
    )  # fmt: skip


@dataclass(frozen=True)
class RouteOptions:
    """Routing."""

    route: tuple[Rule, ...] = _rules("path")
    route_uri: tuple[Rule, ...] = _rules("target")
    route_host: tuple[Rule, ...] = _rules("host")
    route_qs: tuple[Rule, ...] = _rules("query")
    route_user_agent: tuple[Rule, ...] = _rules("User-Agent")
    route_remote_addr: tuple[Rule, ...] = _rules("client's address")
    route_remote_user: tuple[Rule, ...] = _rules("user")
    route_referer: tuple[Rule, ...] = _rules("Referer")
    route_if: tuple[Rule, ...] = option(
        (), "Do an action for the requests for which a condition holds.", convert=conditional,
        expects="condition:text action:argument", example="equal:${REQUEST_METHOD};TRACE break:405",
        note=f"The conditions: {', '.join(NAMES)}.",
    )  # fmt: skip
    route_if_not: tuple[Rule, ...] = option(
        (), "The same, where the condition does not hold.", convert=negated,
        expects="condition:text action:argument", example="ipv4in:${REMOTE_ADDR};10.0.0.0/8 break:403",
    )  # fmt: skip
    route_run: tuple[Rule, ...] = option(
        (), "Do an action for every request, before a file or the application answers.",
        convert=unconditional, expects="action:argument", example="addheader:X-Frame-Options: DENY",
        note="Few of the actions are known; `--check` names them.",
    )  # fmt: skip


_CONVERTED: dict[str, Callable[[str], Rule]] = {
    **dict.fromkeys(_SUBJECTS, rule),
    "route-run": unconditional, "route-if": conditional, "route-if-not": negated,
}  # fmt: skip


class Routes:
    """Do what the rules say, then call *app* unless one of them has answered."""

    def __init__(self, settings: Settings, app: Application) -> None:
        self._rules = [
            (_SUBJECTS.get(each.name, ""), found)
            for each in settings.given
            if each.kind is Kind.OPTION
            and (convert := _CONVERTED.get(each.name)) is not None
            and (found := _converted(convert, each.value))
        ]
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        added = []
        for subject, each in self._rules:
            match = each.match(environ.get(subject, "") if subject else "", environ)
            if match is None:
                continue
            if each.action == "donotlog":
                environ[UNLOGGED] = True
            elif each.action == "addheader":
                added += _field(each.argument, match, environ)
            elif each.action == "addvar":
                name, _, value = filled(each.argument, match, environ).partition("=")
                environ[name] = value
            elif each.action in {"continue", "last"}:
                break
            else:
                environ[ANSWERED_BY] = "route"
                return _answer(each.action, filled(each.argument, match, environ), added, start_response)
        if added:
            return Headers(HeaderOptions(add_header=tuple(added)), self._app)(environ, start_response)
        return self._app(environ, start_response)


def _converted(convert: Callable[[str], Rule], value: str | None) -> Rule | None:
    try:
        return convert(value or "")
    except BadValue:  # it has been told of
        return None


def _field(text: str, match: re.Match[str], environ: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the field of ``addheader``; none where a client's text makes a name that is no name."""
    name, _, value = text.partition(":")
    name = filled(name.strip(), match, environ)
    return [(name, _value(filled(value.strip(" \t"), match, environ)))] if FIELD_NAME(name) else []


def _value(text: str) -> str:
    """Return a text without what the value of a field may not have."""
    return NO_FIELD_VALUE.sub("", text)


def _answer(
    name: str, argument: str, added: list[tuple[str, str]], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    if name in _REDIRECTS:
        start_response(_REDIRECTS[name], [("Location", _value(argument)), *added])
        return []
    status = _status(argument)
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *added])
    return [f"{status[4:]}\n".encode()]
