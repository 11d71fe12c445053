"""A small part of uWSGI's internal routing: rules for requests before the application is asked.

Rules are tried in the order in which they stand. One that matches does its action; then the next is tried,
unless the action has answered, or ends the routing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from appserver.access import UNLOGGED
from appserver.exchange import ANSWERED_BY
from appserver.headers import HeaderOptions, Headers, field
from appserver.options import BadValue, Kind, UnsupportedValue, option, regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appserver.options import Settings
    from appserver.wsgi import Application

_SUBJECTS = {
    "route": "PATH_INFO", "route-uri": "REQUEST_URI", "route-host": "HTTP_HOST", "route-qs": "QUERY_STRING",
    "route-user-agent": "HTTP_USER_AGENT", "route-remote-addr": "REMOTE_ADDR", "route-run": "",
}  # fmt: skip
_REDIRECTS = {
    "redirect": "302 Found", "redirect-302": "302 Found", "redirect-permanent": "301 Moved Permanently",
    "redirect-301": "301 Moved Permanently",
}  # fmt: skip
_ACTIONS = ("donotlog", "addheader", "addvar", "break", "continue", "last", *_REDIRECTS)
_VARIABLE = re.compile(r"\$\{([A-Za-z0-9_]+)\}|\$([0-9])")


@dataclass(frozen=True)
class Rule:
    """An action for the requests whose subject matches."""

    regex: re.Pattern[str]
    action: str
    argument: str


def action(text: str, matched: re.Pattern[str]) -> Rule:
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
    return Rule(matched, name, argument)


def rule(text: str) -> Rule:
    """Convert ``route``: a regular expression, a blank and an action."""
    matched, _, rest = text.strip().partition(" ")
    if not rest.strip():
        raise BadValue("a regular expression and an action, such as ^/health donotlog:")
    return action(rest.strip(), regex(matched))


def unconditional(text: str) -> Rule:
    """Convert ``route-run``: an action."""
    return action(text.strip(), re.compile(""))


def _status(text: str) -> str:
    code = text.partition(" ")[0] or "200"
    try:
        status = HTTPStatus(int(code))
    except ValueError:
        raise BadValue("break:STATUS, such as break:403") from None
    return f"{status.value} {status.phrase}"


def _rules(of: str) -> Any:
    return option(
        (), f"Do an action for the requests whose {of} matches, before the application is asked.",
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
    route_run: tuple[Rule, ...] = option(
        (), "Do an action for every request, before the application is asked.", convert=unconditional,
        expects="action:argument", example="addheader:X-Frame-Options: DENY",
        note="Few of the actions are known; `--check` names them.",
    )  # fmt: skip


class Routes:
    """Do what the rules say, then call *app* unless one of them has answered."""

    def __init__(self, settings: Settings, app: Application) -> None:
        self._rules = [
            (_SUBJECTS[each.name], found)
            for each in settings.given
            if each.kind is Kind.OPTION
            and each.name in _SUBJECTS
            and (found := _converted(each.name, each.value))
        ]
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        added = []
        for subject, each in self._rules:
            match = each.regex.search(environ.get(subject, "") if subject else "")
            if match is None:
                continue
            argument = _filled(each.argument, match, environ)
            if each.action == "donotlog":
                environ[UNLOGGED] = True
            elif each.action == "addheader":
                added.append(field(argument))
            elif each.action == "addvar":
                name, _, value = argument.partition("=")
                environ[name] = value
            elif each.action in {"continue", "last"}:
                break
            else:
                environ[ANSWERED_BY] = "route"
                return _answer(each.action, argument, added, start_response)
        if added:
            return Headers(HeaderOptions(add_header=tuple(added)), self._app)(environ, start_response)
        return self._app(environ, start_response)


def _converted(name: str, value: str | None) -> Rule | None:
    try:
        return (unconditional if name == "route-run" else rule)(value or "")
    except BadValue:  # it has been told of
        return None


def _filled(text: str, match: re.Match[str], environ: dict[str, Any]) -> str:
    """Replace ``$1`` and ``${HTTP_HOST}``; line breaks of a client are no part of a header."""

    def found(each: re.Match[str]) -> str:
        if each[1]:
            return str(environ.get(each[1], ""))
        number = int(each[2])
        return (match[number] or "") if number <= match.re.groups else ""

    return re.sub(r"[\r\n\x00]", "", _VARIABLE.sub(found, text)) if "$" in text else text


def _answer(
    name: str, argument: str, added: list[tuple[str, str]], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    if name in _REDIRECTS:
        start_response(_REDIRECTS[name], [("Location", argument), *added])
        return []
    status = _status(argument)
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *added])
    return [f"{status[4:]}\n".encode()]
