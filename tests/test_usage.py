"""What --help prints: short at first, and complete where it is asked for more."""

from __future__ import annotations

import re

import pytest

from appserver.cli import main
from appserver.configuration import Configuration
from appserver.log.access import NAMES
from appserver.usage import COMMON, usage

CATALOGUE = Configuration([]).catalogue
HEADINGS = [(owner.__doc__ or "").rstrip(".") for owner in CATALOGUE.owners]


def told(*arguments, width=100):
    text, found = usage(CATALOGUE, arguments, width)
    assert found
    return text


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_the_first_page_is_short(flag, capsys):
    assert main([flag]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) < 90
    assert max(map(len, text.splitlines())) <= 100
    for name in ("--ini", "--check", "--show-config", "--version", "-h, --help", "--help-all"):
        assert f"\n  {name}" in text
    for name in ("module", "socket", "http-socket", "zeromq", "processes", "gevent", "stats"):
        assert re.search(rf"^  (-\w, )?--{name} ", text, re.MULTILINE), name
    for heading in HEADINGS:
        assert heading in " ".join(text.split())


def test_the_variables_of_log_format_are_told_where_docs_are_not_installed():
    text = told("--help", "log-format")
    assert "options.md" not in text
    assert set(NAMES) <= set(re.findall(r"[\w.]+\w", text))


def test_each_common_option_stands_once():
    names = [name for group in COMMON.values() for name in group]
    assert len(set(names)) == len(names)
    assert {CATALOGUE.by_name[name].name for name in names} == set(names)


def test_all_options_are_listed_by_area_in_one_line_each(capsys):
    assert main(["--help-all"]) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^(\S.*):$", text, re.MULTILINE) == HEADINGS
    assert len(set(HEADINGS)) == len(HEADINGS)
    for name, declared in CATALOGUE.by_name.items():
        section = text[text.index(f"\n{declared.owner.__doc__.rstrip('.')}:\n") :].partition("\n\n")[0]
        if name == declared.name:
            short = f"-{declared.short}, " if declared.short else ""
            [line] = re.findall(rf'(?m)^  {short}--{name}(?: "[^"]+"| \S+)?  .*$', section)
            assert declared.help[:15] in line


@pytest.mark.parametrize("width", [20, 60, 80, 500])
def test_lines_fit_where_names_are_not_too_long(width):
    lines = told("--help-all", width=width).partition("Configuration:")[2].splitlines()
    assert max(map(len, lines)) <= min(max(width, 60), 120) + 20
    assert sum(len(line) > max(width, 60) for line in lines) < 20


@pytest.mark.parametrize("topic", ["sockets", "Sockets", "static files", "mongrel2", "http"])
def test_an_area(topic):
    text = told("--help", *topic.split())
    assert text.lower().startswith(f"{topic.lower()}:\n")
    assert "usage:" not in text


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_area_is_found_by_its_name(heading):
    text = told("--help", heading.upper())
    names = [name for name, each in CATALOGUE.by_name.items() if each.owner.__doc__ == f"{heading}."]
    assert all(CATALOGUE.by_name[name].name in text for name in names)


@pytest.mark.parametrize("name", sorted(CATALOGUE.by_name))
def test_every_option_is_told_in_detail(name):
    declared = CATALOGUE.by_name[name]
    areas = {heading.lower() for heading in HEADINGS}
    for topic in {f"--{name}"} if name in areas else {name, f"--{name}"}:
        text = " ".join(told("--help", topic).split())
        assert declared.help in text
        assert f" example {declared.name} = " in text
        assert f" uWSGI {declared.note or 'the same'} " in text
        for alias in declared.aliases:
            assert alias in text


def test_what_is_told_of_an_option():
    assert told("--help", "listen") == (
        "-l, --listen NUMBER\n\n  Connections that may wait to be accepted.\n\n"
        "  value    number\n  default  1024\n  example  listen = 1024\n  several  the last one counts\n"
        "  uWSGI    100 in uWSGI, and a start fails above net.core.somaxconn; here it is lowered to it.\n"
        "  area     Sockets\n"
    )


@pytest.mark.parametrize(
    "name, shown",
    [
        ("zeromq-dispatch", "--zeromq-dispatch auto|worker|shared"),
        ("file-serve-mode", "--file-serve-mode direct|x-sendfile|x-accel-redirect"),
        ("processes", "-p, --processes NUMBER|auto"),
        ("websocket-origin", "--websocket-origin same|ORIGIN"),
        ("chmod-socket", "-C, --chmod-socket [OCTAL]"),
        ("cron", '--cron "MIN HOUR DAY MON WDAY COMMAND"'),
        ("add-header", '--add-header "NAME: VALUE"'),
        ("route", '--route "REGEX ACTION:ARGUMENT"'),
    ],
)
def test_the_form_of_a_value_is_shown_whole(name, shown):
    assert told("--help", name).partition("\n")[0] == shown


def test_no_help_leans_on_that_of_another_option():
    for declared in CATALOGUE.by_name.values():
        assert not re.match(r"The same[., ](?!as )|Let it be", declared.help), declared.name


@pytest.mark.parametrize("letter", sorted(CATALOGUE.by_short))
def test_an_option_is_found_by_its_letter(letter):
    assert told("--help", f"-{letter}") == told("--help", f"--{CATALOGUE.by_short[letter].name}")


def test_so_are_uwsgis():
    assert told("--help", "-O").startswith("optimize: an option of uWSGI, unnecessary here.")
    assert told("--help", "-y").startswith(("yaml: an option of uWSGI, ", "yaml: it belongs to the language"))
    text, found = usage(CATALOGUE, ["--help", "-Z"], 100)
    assert (text, found) == ("appserver: there is no option and no area -Z; see appserver --help\n", False)


def test_options_of_uwsgis_that_are_none_here():
    assert told("--help", "emperor") == (
        "emperor: an option of uWSGI, not supported. There is no Emperor: run one appserver for each site, from"
        " systemd or a container.\n"
    )
    assert told("--help", "plugins").startswith("plugins: an option of uWSGI, unnecessary here. Python is")
    assert "belongs to the language" in told("--help", "if-env")


def test_what_is_not_known(capsys):
    assert main(["--help", "proceses"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "appserver: there is no option and no area proceses; did you mean processes?; see appserver --help\n"
    )


def test_help_behind_other_options_is_the_first_page():
    assert told("--threads", "4", "--help") == told("--help")
    assert told("--nonsense", "-h", "x") == told("--help")
