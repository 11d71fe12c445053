"""A small part of uWSGI's internal routing: rules for requests before a file or the application answers.

Rules are tried in the order in which they stand. One that matches does its action; then the next is tried,
unless the action has answered, or ends the routing.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from appserver import placeholders
from appserver.conditions import NAMES, Condition, condition
from appserver.exchange import ANSWERED_BY, FIELD_NAME, NO_FIELD_VALUE
from appserver.headers import HeaderOptions, Headers, field
from appserver.log.access import UNLOGGED
from appserver.options import BadValue, Kind, UnsupportedValue, octets, option, regex
from appserver.placeholders import checked, filled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appserver.options import Settings
    from appserver.wsgi import Application

_SUBJECTS = {
    "route": "PATH_INFO", "route-uri": "REQUEST_URI", "route-host": "HTTP_HOST", "route-qs": "QUERY_STRING",
    "route-user-agent": "HTTP_USER_AGENT", "route-remote-addr": "REMOTE_ADDR",
    "route-remote-user": "REMOTE_USER", "route-referer": "HTTP_REFERER",
}  # fmt: skip
_INSTEAD = {"HTTP_HOST": "SERVER_NAME"}  # for the request that lacks it
_REDIRECTS = {
    "redirect": "302 Found", "redirect-302": "302 Found", "redirect-permanent": "301 Moved Permanently",
    "redirect-301": "301 Moved Permanently",
}  # fmt: skip
_EVERYTHING = re.compile("")
_FILLED = frozenset({"addheader", "addvar", *_REDIRECTS})  # placeholders in the argument are replaced
_STATUSES = frozenset({"break", "break-with-status", "return"})  # answer with a status
_PASSWORDS = frozenset({"basicauth", "basicauth-next"})  # ask for a user and a password
_ACTIONS = (
    "donotlog", "addheader", "addvar", "break", "break-with-status", "return", "continue", "last",
    "basicauth", "basicauth-next", *_REDIRECTS,
)  # fmt: skip
# Without these, what they keep away would be let in.
_GUARDS = (
    _STATUSES
    | _PASSWORDS
    | _REDIRECTS.keys()
    | {"ldapauth", "ldapauth-next", "radius", "radius-next", "spnego", "access"}
)


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
    if not colon and name in _ACTIONS:  # uWSGI does not start so
        refused = BadValue if name in _GUARDS else UnsupportedValue
        raise refused(f"a colon behind {name}, as in {name}:, and what it takes, if anything")
    if not colon or name not in _ACTIONS:
        told = f"an action of {', '.join(_ACTIONS)}"
        if name in _GUARDS:
            raise BadValue(
                f"{told}; {name} guards what it matches, which would be open: try basicauth or the front end"
            )
        raise UnsupportedValue(told)
    if name in _FILLED:
        _check_filled(name, argument)
    if name == "addheader":
        field(argument)
    if name == "addvar" and "=" not in argument:
        raise BadValue("addvar:NAME=value")
    if name in _STATUSES:
        _status(name, argument)
    if name in _PASSWORDS:
        _credentials(name, argument)
    return Rule(matched, name, argument, negated)


def _check_filled(name: str, argument: str) -> None:
    try:
        checked(argument)
    except UnsupportedValue as error:
        if name in _GUARDS:
            raise BadValue(f"{error}; without the rule what its {name} keeps away would be open") from None
        raise


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
    try:
        test = condition(tested)
    except UnsupportedValue as error:
        guard = rest.lstrip().partition(":")[0]
        if guard in _GUARDS:
            raise BadValue(f"{error}; without the rule what its {guard} keeps away would be open") from None
        raise
    return action(rest.lstrip(), test, negated=negated)


def negated(text: str) -> Rule:
    """Convert ``route-if-not``: as ``route-if``, where the condition does not hold."""
    return conditional(text, negated=True)


def _status(name: str, text: str) -> str:
    code = text.partition(" ")[0] or ("" if name == "return" else "200")
    try:
        status = HTTPStatus(int(code))
    except ValueError:
        raise BadValue(f"{name}:STATUS, such as {name}:403") from None
    return f"{status.value} {status.phrase}"


def _credentials(name: str, text: str) -> tuple[str, str]:
    """Return the realm, and the user and password with a colon between; empty ones are nobody's."""
    realm, comma, credentials = text.partition(",")
    if not comma or '"' in realm or "\\" in realm:
        raise BadValue(f"{name}:REALM,USER:PASSWORD, without quotes or backslashes in the realm")
    if credentials and ":" not in credentials:
        raise BadValue(
            f"{name}:REALM,USER:PASSWORD; files of passwords are not read: let the front end do it"
        )
    return realm, credentials


_LACKING = "As in uWSGI, a request without one matches no pattern, not even `^$`. "


def _rules(of: str, example: str, note: str = "") -> Any:
    return option(
        (), f"Do an action for the requests whose {of} matches, before a file or the application answers.",
        convert=rule, expects="regex action:argument", example=example,
        note=f"{note}Few of the actions are known; `--check` names them. A rule that guards and cannot be"
        " obeyed keeps the server from starting.",
    )  # fmt: skip


@dataclass(frozen=True)
class RouteOptions:
    """Routing."""

    route: tuple[Rule, ...] = _rules(
        "path", "^/health donotlog:",
        f"Arguments may have `$1`, `${{HTTP_HOST}}` and, in `${{}}`, {', '.join(placeholders.NAMES)}. ",
    )  # fmt: skip
    route_uri: tuple[Rule, ...] = _rules("target", r"^/old/(.*) redirect-permanent:/new/$1")
    route_host: tuple[Rule, ...] = _rules(
        "host", r"^www\.example\.com$ redirect-permanent:https://example.com${REQUEST_URI}"
    )
    route_qs: tuple[Rule, ...] = _rules("query", "debug=1 break:403")
    route_user_agent: tuple[Rule, ...] = _rules("User-Agent", "^kube-probe/ donotlog:", _LACKING)
    route_remote_addr: tuple[Rule, ...] = _rules("client's address", r"^127\.0\.0\.1$ donotlog:")
    route_remote_user: tuple[Rule, ...] = _rules("user", "^guest$ break:403", _LACKING)
    route_referer: tuple[Rule, ...] = _rules(
        "Referer", r"^https?://([^/]+\.)?spam\.example/ break:403", _LACKING
    )
    route_if: tuple[Rule, ...] = option(
        (), "Do an action for the requests for which a condition holds.", convert=conditional,
        expects="condition:text action:argument", example="equal:${REQUEST_METHOD};PUT break:405",
        note=f"The conditions: {', '.join(NAMES)}.",
    )  # fmt: skip
    route_if_not: tuple[Rule, ...] = option(
        (), "Do an action for the requests for which a condition does not hold.", convert=negated,
        expects="condition:text action:argument", example="ipv4in:${REMOTE_ADDR};10.0.0.0/8 break:403",
    )  # fmt: skip
    route_run: tuple[Rule, ...] = option(
        (), "Do an action for every request, before a file or the application answers.",
        convert=unconditional, expects="action:argument", example="addheader:X-Frame-Options: DENY",
        note="Few of the actions are known; `--check` names them. A rule that guards and cannot be obeyed"
        " keeps the server from starting.",
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
        known = False  # whether a rule has had the right password; REMOTE_USER may be what a client has said
        for subject, each in self._rules:
            text = environ.get(subject) if subject else ""
            if text is None and (other := _INSTEAD.get(subject)):
                text = environ.get(other)
            match = None if text is None else each.match(text, environ)  # what a request lacks is not ""
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
            elif each.action in _PASSWORDS:
                given = _given(environ)
                known = known or _knows(each, given, environ)
                if not known and (given is None or each.action == "basicauth"):
                    environ[ANSWERED_BY] = "route"
                    return _unauthorized(each, added, start_response)
            else:
                environ[ANSWERED_BY] = "route"
                argument = each.argument
                if each.action in _FILLED:
                    argument = filled(argument, match, environ)
                return _answer(each.action, argument, added, start_response)
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
    status = _status(name, argument)
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *added])
    return [f"{status[4:]}\n".encode()]


def _given(environ: dict[str, Any]) -> bytes | None:
    """Return the user and password of a request; None where it has none."""
    scheme, _, encoded = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return a2b_base64(encoded) or None
    except ValueError:
        return None


def _knows(rule: Rule, given: bytes | None, environ: dict[str, Any]) -> bool:
    """Tell whether the user and password are those of a rule; the user becomes REMOTE_USER then."""
    from hmac import compare_digest  # noqa: PLC0415  (only for such rules)

    _, credentials = _credentials(rule.action, rule.argument)
    if given is None or not credentials or not compare_digest(given, credentials.encode("latin-1")):
        return False
    environ["REMOTE_USER"] = credentials.partition(":")[0]
    return True


def _unauthorized(
    rule: Rule, added: list[tuple[str, str]], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    realm, _ = _credentials(rule.action, rule.argument)
    challenge = ("WWW-Authenticate", f'Basic realm="{realm}"')
    start_response("401 Unauthorized", [("Content-Type", "text/plain; charset=utf-8"), challenge, *added])
    return [b"Unauthorized\n"]
