"""Routing: which rules match, what their actions do, and in which order."""

from __future__ import annotations

import pytest

from appserver.access import UNLOGGED
from appserver.configuration import Configuration
from appserver.options import BadValue, UnsupportedValue
from appserver.routing import Routes, rule, unconditional

HEAD = ["--http", ":0", "--module", "x"]


def ask(*rules, **environ):
    """Return the status, the fields, and the environ that the application has had, if it was asked."""
    told = []

    def app(environ, start_response):
        start_response("200 OK", [("A", "app")])
        return [environ]

    configuration = Configuration([*HEAD, *rules])
    assert configuration.problems == []
    environ = {
        "PATH_INFO": "/a/b",
        "REQUEST_URI": "/a/b?c=d",
        "HTTP_HOST": "www.example",
        "QUERY_STRING": "c=d",
    } | environ
    answer = Routes(configuration.settings, app)(
        environ, lambda status, headers, *_: told.append((status, headers))
    )
    [(status, headers)] = told
    return status, headers, next(iter(answer), b"")


@pytest.mark.parametrize(
    "option, regex, matches",
    [
        ("route", "^/a", True), ("route", "^/b", False), ("route", "b$", True), ("route-uri", r"\?c=", True), ("route-host", "^www", True),
        ("route-qs", "^c=d$", True), ("route-user-agent", "^$", True), ("route-user-agent", "bot", False), ("route-remote-addr", "^10", False),
    ],
)  # fmt: skip
def test_a_rule_is_for_what_matches(option, regex, matches):
    _, _, environ = ask(f"--{option}={regex} donotlog:")
    assert (UNLOGGED in environ) is matches


def test_fields_are_added():
    assert ask("--route=^/a addheader:X-One: 1", "--route-run=addheader:X-Two: ${HTTP_HOST}") [1] == [
        ("A", "app"), ("X-One", "1"), ("X-Two", "www.example"),
    ]  # fmt: skip


def test_variables_are_added_with_the_groups_of_the_match():
    _, _, environ = ask("--route=^/(.)/(.) addvar:SEEN=$2$1$3${NOPE}")
    assert environ["SEEN"] == "ba"


@pytest.mark.parametrize(
    "action, status", [("redirect", "302 Found"), ("redirect-302", "302 Found"), ("redirect-301", "301 Moved Permanently"), ("redirect-permanent", "301 Moved Permanently")]
)  # fmt: skip
def test_redirects(action, status):
    assert ask(f"--route=^/a/(.*) {action}:https://${{HTTP_HOST}}/$1") == (
        status,
        [("Location", "https://www.example/b")],
        b"",
    )


def test_a_client_breaks_no_header():
    assert ask("--route=^/ redirect:/$1${X}", X="a\r\nSet-Cookie: b")[1] == [("Location", "/aSet-Cookie: b")]


def test_requests_are_refused():
    status, headers, body = ask(
        "--route-run=addheader:X: y", "--route=^/a break:403 no", "--route-run=donotlog:"
    )
    assert (status, headers[1:], body) == ("403 Forbidden", [("X", "y")], b"Forbidden\n")


@pytest.mark.parametrize("action", ["continue", "last"])
def test_the_rules_end_and_the_application_is_asked(action):
    status, _, environ = ask(f"--route=^/a {action}:", "--route-run=break:403")
    assert (status, UNLOGGED in environ) == ("200 OK", False)


def test_the_order_is_that_of_the_file_over_all_options():
    assert ask("--route-run=break:401", "--route=^/ break:403")[0] == "401 Unauthorized"
    assert ask("--route=^/ break:403", "--route-run=break:401")[0] == "403 Forbidden"


@pytest.mark.parametrize("text", ["^/ http:127.0.0.1:80", "^/ donotlog", "^/ uwsgi:x", "^/ goto:x"])
def test_actions_that_are_not_here(text):
    with pytest.raises(UnsupportedValue, match=r"^an action of donotlog"):
        rule(text)


@pytest.mark.parametrize(
    "text", ["", "^/", "( donotlog:", "^/ addheader:x", "^/ addvar:x", "^/ break:soon", "^/ break:999"]
)
def test_bad_rules(text):
    with pytest.raises(BadValue):
        rule(text)


def test_rules_without_a_condition():
    assert unconditional("break:403").action == "break"
    with pytest.raises(BadValue):
        unconditional("")
