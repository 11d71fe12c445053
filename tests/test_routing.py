"""Routing: which rules match, what their actions do, and in which order."""

from __future__ import annotations

import base64
import os
import re

import pytest

from appserver.conditions import condition
from appserver.configuration import Configuration
from appserver.log.access import UNLOGGED
from appserver.options import BadValue, UnsupportedValue
from appserver.reference import example
from appserver.routing import Routes, conditional, negated, rule, unconditional

HEAD = ["--http", ":0", "--module", "x"]


def ask(*rules, without="", **environ):
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
    environ.pop(without, None)
    answer = Routes(configuration.settings, app)(
        environ, lambda status, headers, *_: told.append((status, headers))
    )
    [(status, headers)] = told
    return status, headers, next(iter(answer), b"")


@pytest.mark.parametrize(
    "option, regex, matches",
    [
        ("route", "^/a", True), ("route", "^/b", False), ("route", "b$", True), ("route-uri", r"\?c=", True), ("route-host", "^www", True),
        ("route-qs", "^c=d$", True), ("route-user-agent", "^$", False), ("route-user-agent", "bot", False), ("route-remote-addr", "^10", False),
    ],
)  # fmt: skip
def test_a_rule_is_for_what_matches(option, regex, matches):
    _, _, environ = ask(f"--{option}={regex} donotlog:")
    assert (UNLOGGED in environ) is matches


@pytest.mark.parametrize(
    "option, name",
    [("route-user-agent", "HTTP_USER_AGENT"), ("route-remote-user", "REMOTE_USER"), ("route-referer", "HTTP_REFERER"), ("route-qs", "QUERY_STRING")],
)  # fmt: skip
def test_what_a_request_lacks_matches_nothing(option, name):
    """What it has, and is empty, does."""
    for regex in ("^$", "^(?!good)"):
        rules = [f"--{option}={regex} donotlog:", f"--route-if=regexp:${{{name}}};{regex} addvar:SEEN=1"]
        _, _, environ = ask(*rules, **{name: ""})
        assert environ[UNLOGGED]
        _, _, environ = ask(*rules, without=name)
        assert UNLOGGED not in environ
        assert environ["SEEN"] == "1"


def test_the_host_of_a_request_without_one_is_the_server_s_name():
    rule = "--route-host=^(?!good$) break:400"
    assert ask(rule, without="HTTP_HOST", SERVER_NAME="127.0.0.1")[0] == "400 Bad Request"
    assert ask(rule, without="HTTP_HOST", SERVER_NAME="good")[0] == "200 OK"
    assert ask(rule, HTTP_HOST="bad", SERVER_NAME="good")[0] == "400 Bad Request"


@pytest.mark.parametrize(
    "option, value, matching",
    [
        ("route", "PATH_INFO", "/health/db"), ("route-uri", "REQUEST_URI", "/old/page?a=b"), ("route-host", "HTTP_HOST", "www.example.com"),
        ("route-qs", "QUERY_STRING", "a=b&debug=1"), ("route-user-agent", "HTTP_USER_AGENT", "kube-probe/1.31"),
        ("route-remote-addr", "REMOTE_ADDR", "127.0.0.1"), ("route-remote-user", "REMOTE_USER", "guest"),
        ("route-referer", "HTTP_REFERER", "https://www.spam.example/page"),
    ],
)  # fmt: skip
def test_the_example_of_each_option_matches_what_it_is_for(option, value, matching):
    shown = example(Configuration([]).catalogue.by_name[option])

    def obeyed(**environ):
        status, headers, environ = ask(f"--{option}={shown}", **environ)
        return (status, headers) != ("200 OK", [("A", "app")]) or UNLOGGED in environ

    assert obeyed(**{value: matching})
    assert not obeyed()


def test_fields_are_added():
    assert ask("--route=^/a addheader:X-One: 1", "--route-run=addheader:X-Two: ${HTTP_HOST}") [1] == [
        ("A", "app"), ("X-One", "1"), ("X-Two", "www.example"),
    ]  # fmt: skip


def test_variables_are_added_with_the_groups_of_the_match():
    _, _, environ = ask("--route=^/(.)/(.) addvar:SEEN=$2$1$3${NOPE}")
    assert environ["SEEN"] == "ba"


PLACEHOLDERS = [
    ("${cookie[a]}", "1"), ("${cookie[b]}", "x=y"), ("${cookie[c]}", ""), ("${cookie[d]}", "4"), ("${cookie[ a]}", ""), ("${cookie[]}", ""),
    ("${qs[c]}", "d"), ("${qs[e]}", "f%20g"), ("${qs[h]}", ""), ("${qs[i]}", ""), ("<${qs[c]}${cookie[a]}$1>", "<d1a>"),
    ("${uwsgi[wid]}", "7"), ("${time[unix]}", "1600000000"), ("${time[micros]}", "1600000000500000"),
    ("${httptime[60]}", "Sun, 13 Sep 2020 12:27:40 GMT"), ("${httptime[]}", "Sun, 13 Sep 2020 12:26:40 GMT"),
    ("${HTTP_HOST", "${HTTP_HOST"), ("$x$", "$x$"), ("${NOPE}", ""),
]  # fmt: skip


@pytest.mark.parametrize("text, value", PLACEHOLDERS)
def test_placeholders(text, value, monkeypatch):
    monkeypatch.setattr("appserver.placeholders.time", lambda: 1_600_000_000.5)
    monkeypatch.setattr("appserver.identity._worker", 7)
    sent = {"HTTP_COOKIE": "a=1;\tb=x=y ; c=; d=; d=4", "QUERY_STRING": "c=d&e=f%20g&h&i=&c=2"}
    match = "--route=^/(.) "
    status, headers, environ = ask(f"{match}addheader:X: {text}", f"{match}addvar:SEEN={text}", **sent)
    assert (status, headers, environ["SEEN"]) == ("200 OK", [("A", "app"), ("X", value)], value)
    assert ask(f"{match}redirect:/{text}", **sent)[1] == [("Location", f"/{value}")]
    if "$1" not in text and " " not in text + value:  # which ends a condition
        assert ask(f"--route-if=equal:{text};{value} break:403", **sent)[0] == "403 Forbidden"


def test_the_process_of_a_request():
    assert ask("--route-run=addvar:ID=${uwsgi[pid]}")[2]["ID"] == str(os.getpid())


def test_no_two_requests_have_the_same_uuid():
    found = {ask("--route-run=addvar:ID=${uwsgi[uuid]}")[2]["ID"] for _ in range(2)}
    assert len(found) == 2
    assert all(re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each) for each in found)


@pytest.mark.parametrize("action", ["addheader:X: {}", "addvar:X={}", "redirect:/{}", "redirect-301:/{}"])
@pytest.mark.parametrize(
    "text",
    ["${geoip[a]}", "${uwsgi[status]}", "${time[x]}", "${httptime[x]}", "${httptime[-1]}", "${mime[PATH_INFO]}", "${cookie}x${b64[a]}", "${a-b}", "${}", "${qs[a]b}"],
)  # fmt: skip
def test_placeholders_that_are_not_here(action, text):
    """A redirect may keep its clients away from something, and is no rule to leave out."""
    told = BadValue if action.startswith("redirect") else UnsupportedValue
    with pytest.raises(told, match=r"^a variable of the request, .* not \$\{") as caught:
        unconditional(action.format(text))
    assert type(caught.value) is told


def test_the_text_behind_a_status_is_nobodys():
    assert ask("--route-run=break:403 ${geoip[a]}")[::2] == ("403 Forbidden", b"Forbidden\n")


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


E_ACUTE = "\xc3\xa9"  # in UTF-8, as WSGI has it


@pytest.mark.parametrize(
    "rule",
    [
        "--route=^/\xe9$ {}", "--route-if=equal:${{PATH_INFO}};/\xe9 {}", "--route-if=regexp:${{PATH_INFO}};^/\xe9$ {}",
        "--route-if=isfile:{directory}/\xe9 {}", "--route-if=isfile:{directory}${{PATH_INFO}} {}",
        "--route-if-not=equal:${{PATH_INFO}};/e {}", "--route-run={}",
    ],
)  # fmt: skip
def test_rules_are_bytes_as_requests_are(rule, tmp_path):
    (tmp_path / "\xe9").touch()
    given = {"PATH_INFO": f"/{E_ACUTE}"}
    rules = [
        rule.format(f"{action} \xe9\xe0", directory=tmp_path) for action in ("addheader:X:", "addvar:S=")
    ]
    _, headers, environ = ask(*rules, **given)
    assert headers == [("A", "app"), ("X", f"{E_ACUTE}\xc3\xa0")]
    assert environ["S"] == f" {E_ACUTE}\xc3\xa0"
    assert ask(rule.format("redirect:/\xe0", directory=tmp_path), **given)[1] == [("Location", "/\xc3\xa0")]


CONTROLS = "".join(map(chr, [*range(9), *range(10, 32), 127]))


@pytest.mark.parametrize(
    "text, value",
    [("\xc3\x89t\xc3\xa9", "\xc3\x89t\xc3\xa9"), ("\xc3\xa0", "\xc3\xa0"), ("\x80\x85\x9f\xff", "\x80\x85\x9f\xff"), ("a\tb", "a\tb"), (f"a{CONTROLS}b", "ab"), ("\u20ac", "")],
    ids=["UTF-8", "at its end a blank of latin-1", "octets", "tab", "controls", "none of WSGI"],
)  # fmt: skip
def test_a_client_s_text_in_a_field_is_never_an_error(text, value):
    assert ask("--route-run=addheader:X: ${T}", T=text)[1] == [("A", "app"), ("X", value)]
    assert ask("--route-run=redirect:/${T}", T=text)[1] == [("Location", f"/{value}")]


def test_a_client_s_text_that_is_no_name_makes_no_field():
    rules = ["--route=^/(.*)$ addheader:X-$1: v", "--route-run=addheader:Y: z"]
    assert ask(*rules, PATH_INFO="/a")[1] == [("A", "app"), ("X-a", "v"), ("Y", "z")]
    for path in ("/a b", "/a: b", "/\xc3\xa9", "/a\tb"):
        assert ask(*rules, PATH_INFO=path)[1] == [("A", "app"), ("Y", "z")]


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


@pytest.mark.parametrize("text", ["^/ http:127.0.0.1:80", "^/ uwsgi:x", "^/ goto:x"])
def test_actions_that_are_not_here(text):
    with pytest.raises(UnsupportedValue, match=r"^an action of donotlog"):
        rule(text)


@pytest.mark.parametrize("name, refused", [("donotlog", UnsupportedValue), ("break", BadValue)])
def test_an_action_without_its_colon_is_told_so(name, refused):
    with pytest.raises(refused, match=rf"^a colon behind {name}, as in {name}:,"):
        rule(f"^/ {name}")


@pytest.mark.parametrize(
    "text", ["", "^/", "( donotlog:", "^/ addheader:x", "^/ addvar:x", "^/ break:soon", "^/ break:999"]
)
def test_bad_rules(text):
    with pytest.raises(BadValue):
        rule(text)


@pytest.mark.parametrize(
    "name, text, why",
    [
        ("route", "^/a ldapauth:Realm,url=ldap://h", "ldapauth guards what it matches"),
        ("route", "^/a radius:server=127.0.0.1:1812", "radius guards what it matches"),
        ("route", "^/a basicauth", "a colon behind basicauth"),
        ("route", "^/a basicauth:Realm", "expected basicauth:REALM,USER:PASSWORD"),
        ("route", "^/a basicauth:Realm,/etc/htpasswd", "files of passwords are not read"),
        (
            "route",
            '^/a basicauth-next:A "B",u:p',
            "expected basicauth-next:REALM,USER:PASSWORD, without quotes",
        ),
        ("route", "^/a return:", "expected return:STATUS"),
        ("route-run", "return:soon", "expected return:STATUS"),
        ("route", "^/a redirect:https://x/${lower[HTTP_HOST]}", "what its redirect keeps away would be open"),
        ("route-if", "lord:x redirect:/login", "what its redirect keeps away would be open"),
        ("route-if", "lord:x return:403", "without the rule what its return keeps away would be open"),
        (
            "route-if",
            "equal:${geoip[a]};b break:403",
            "without the rule what its break keeps away would be open",
        ),
        (
            "route-if-not",
            "lord:x basicauth:R,u:p",
            "without the rule what its basicauth keeps away would be open",
        ),
    ],
)
def test_a_guard_that_cannot_be_obeyed_keeps_the_server_from_starting(tmp_path, name, text, why):
    """All other rules that are not here are left out, with a warning."""
    file = tmp_path / "site.ini"
    file.write_text(f"[uwsgi]\nhttp = :0\nmodule = x\n{name} = {text}\n")
    [problem] = Configuration([str(file)]).problems
    assert why in problem


def basic(credentials):
    return {"HTTP_AUTHORIZATION": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


def test_a_rule_asks_for_a_password():
    rules = [
        "--route-run=addheader:X: y",
        "--route=^/a basicauth:A realm,me:pass,w:ord\u00e9",
        "--route-run=donotlog:",
    ]
    status, headers, body = ask(*rules)
    assert (status, body) == ("401 Unauthorized", b"Unauthorized\n")
    assert headers[1:] == [("WWW-Authenticate", 'Basic realm="A realm"'), ("X", "y")]
    for wrong in (
        basic("me:pass"), basic("me:"), basic("you:pass,w:ord\u00e9"), basic(""), {"HTTP_AUTHORIZATION": "Basic"},
        {"HTTP_AUTHORIZATION": "Basic bWU"}, {"HTTP_AUTHORIZATION": "Basic \u20ac"}, {"HTTP_AUTHORIZATION": "Bearer x"},
        {"REMOTE_USER": "me"},
    ):  # fmt: skip
        assert ask(*rules, **wrong)[0] == "401 Unauthorized"
    status, _, environ = ask(*rules, REMOTE_USER="you", **basic("me:pass,w:ord\u00e9"))
    assert (status, environ["REMOTE_USER"], UNLOGGED in environ) == ("200 OK", "me", True)
    assert ask(*rules, PATH_INFO="/b")[0] == "200 OK"


def test_one_of_several_passwords_is_enough():
    rules = ["--route=^/a basicauth-next:A,me:one", "--route=^/a basicauth-next:A,you:two"]
    last = "--route=^/a basicauth:A,"
    for credentials, user in (("me:one", "me"), ("you:two", "you")):
        assert ask(*rules, last, **basic(credentials))[2]["REMOTE_USER"] == user
    for wrong in (basic("me:two"), basic("me:"), basic(":")):
        assert ask(*rules, last, **wrong)[0] == "401 Unauthorized"
        assert ask(*rules, **wrong)[0] == "200 OK"
    for none in ({"HTTP_AUTHORIZATION": "Basic "}, {"HTTP_AUTHORIZATION": "Bearer x"}, {}):
        status, headers, _ = ask(*rules, **none)
        assert (status, headers[1:]) == ("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="A"')])


@pytest.mark.parametrize("action", ["return:403", "break-with-status:403 Forbidden"])
def test_rules_answer_with_a_status(action):
    assert ask(f"--route=^/a {action}", "--route-run=break:500")[::2] == ("403 Forbidden", b"Forbidden\n")


def test_rules_without_a_condition():
    assert unconditional("break:403").action == "break"
    with pytest.raises(BadValue):
        unconditional("")


CONDITIONS = [
    ("equal:${REQUEST_METHOD};GET", True), ("equal:${REQUEST_METHOD};POST", False), ("==:a;a", True),
    ("isequal:${NOPE};", True), ("eq:a;b", False),
    ("startswith:${PATH_INFO};/a", True), ("startswith:${PATH_INFO};/b", False),
    ("endswith:${PATH_INFO};b", True), ("endswith:${PATH_INFO};a", False),
    ("contains:${HTTP_HOST};w.ex", True), ("contain:${HTTP_HOST};ww.w", False),
    ("regexp:${PATH_INFO};^/(.)/", True), ("re:${PATH_INFO};^/b", False),
    ("empty:${HTTP_REFERER}", True), ("empty:${HTTP_HOST}", False), ("empty:", True),
    ("exists:/dev/null", True), ("exists:/nope", False), ("isfile:/dev/null", False), ("isfile:{file}", True),
    ("isdir:/dev", True), ("isdir:{file}", False), ("islink:/dev/stdin", True), ("islink:/dev", False),
    ("isexec:/bin/sh", True), ("isexec:/dev/null", False),
    ("ipv4in:${REMOTE_ADDR};10.0.0.0/8", True), ("ipv4in:${REMOTE_ADDR};10.2.0.0/16", False),
    ("ipv4in:${REMOTE_ADDR};10.1.2.3", True), ("ipv4in:${HTTP_HOST};10.0.0.0/8", False),
    ("ipv4in:::ffff:10.1.2.3;10.0.0.0/8", True), ("ipv4in:::ffff:a01:203;10.1.2.3", True),
    ("ipv4in:::ffff:10.1.2.3;11.0.0.0/8", False), ("ipv4in:2001:db8::a01:203;10.0.0.0/8", False),
    ("ipv6in:${REMOTE_ADDR};::ffff:10.0.0.0/104", True), ("ipv6in:${REMOTE_ADDR};::/0", False),
    ("ipv6in:::1;::/64", True), ("ipv6in:fe80::1;::/64", False), ("ipv4in:1.2.3.4;${HTTP_HOST}", False),
    ("ishigher:${CONTENT_LENGTH};99", True), (">:${CONTENT_LENGTH};100", False),
    ("ishigherequal:${CONTENT_LENGTH};100", True), (">=:${CONTENT_LENGTH};101", False),
    ("islower:${CONTENT_LENGTH};101", True), ("<:${CONTENT_LENGTH};100", False),
    ("islowerequal:${CONTENT_LENGTH};100", True), ("<=:${NOPE};0", True),
]  # fmt: skip


@pytest.mark.parametrize("text, holds", CONDITIONS)
def test_conditions(text, holds, tmp_path):
    (tmp_path / "file").touch()
    text = text.replace("{file}", str(tmp_path / "file"))
    more = {"REQUEST_METHOD": "GET", "REMOTE_ADDR": "10.1.2.3", "CONTENT_LENGTH": "100"}
    for option, wanted in (("route-if", holds), ("route-if-not", not holds)):
        assert (ask(f"--{option}={text} break:403", **more)[0] == "403 Forbidden") is wanted


def test_a_regular_expression_of_a_condition_has_groups():
    assert ask("--route-if=regexp:${PATH_INFO};^/(.)/(.) addheader:X: $2$1")[1] == [("A", "app"), ("X", "ba")]
    assert ask("--route-if-not=regexp:${PATH_INFO};^/(b) addheader:X: <$1>")[1] == [("A", "app"), ("X", "<>")]


def test_conditions_stand_in_order_with_all_other_rules():
    rules = ["--route-if=empty:${SEEN} addvar:SEEN=1", "--route-if=empty:${SEEN} break:500"]
    assert ask(*rules, "--route=^/a break:403")[0] == "403 Forbidden"


@pytest.mark.parametrize(
    "option, name", [("route-remote-user", "REMOTE_USER"), ("route-referer", "HTTP_REFERER")]
)
def test_more_subjects(option, name):
    assert ask(f"--{option}=^me$ break:403", **{name: "me"})[0] == "403 Forbidden"
    assert ask(f"--{option}=^me$ break:403")[0] == "200 OK"


@pytest.mark.parametrize(
    "text, why",
    [
        ("lord:x", "a condition of equal, startswith"),
        ("status:404", "a condition of"),
        ("equal", "a condition of"),
        ("equal:${geoip[a]};b", r"not \$\{geoip\[a\]\}"),
    ],
)
def test_conditions_that_are_not_here(text, why):
    with pytest.raises(UnsupportedValue, match=why):
        conditional(f"{text} donotlog:")


@pytest.mark.parametrize("text", ["equal:a", "regexp:a", "regexp:a;(", "ipv4in:${REMOTE_ADDR};10.0.0.0/99"])
def test_bad_conditions(text):
    with pytest.raises(BadValue) as caught:
        condition(text)
    assert not isinstance(caught.value, UnsupportedValue)


@pytest.mark.parametrize("text", ["", "equal:a;b", "equal:a;b ", "equal:a;b break:soon"])
def test_bad_conditional_rules(text):
    with pytest.raises(BadValue):
        negated(text)
