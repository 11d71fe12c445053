"""The servers that are measured have their limits, and the bench finds out where one has not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appserver.configuration import Configuration
from bench.cases import CASES
from bench.limits import refusals
from bench.place import free_place
from bench.procedure import Setting, serving, usable_cores
from bench.server import SERVERS

OURS = [name for name, server in SERVERS.items() if server.ours]
SETTING = Setting(1, 0, usable_cores())
DOORS = ("http", "uwsgi", "fastcgi", "scgi")
CASE = {"http": "http", "uwsgi": "uwsgi", "fastcgi": "fastcgi-keep", "scgi": "scgi"}
# What a case says of a server of ours; no limit is among it.
MAY_DIFFER = {
    "module", "pythonpath", "disable_logging", "logto", "gevent", "processes", "post_buffering", "zeromq",
    "http_socket", "socket", "fastcgi_socket", "scgi_socket",
}  # fmt: skip


def values(words):
    """Return the options of a command line by their names."""
    configuration = Configuration(words)
    assert not configuration.problems
    return {
        name: value
        for owner in configuration.catalogue.owners
        for name, value in vars(configuration.settings.of(owner)).items()
    }


@pytest.mark.parametrize("door", [*DOORS, "mongrel2"])
@pytest.mark.parametrize("name", OURS)
def test_every_limit_is_as_it_comes(name, door, tmp_path):
    command = SERVERS[name].command(free_place(door, str(tmp_path)), "hello")
    words = command[command.index("--module") - 2 :]
    usual = values([*words[:2], "--module", "bench.application:hello"])
    given = values(words)
    assert {option for option in given if given[option] != usual[option]} <= MAY_DIFFER


@pytest.mark.parametrize("door", DOORS)
def test_it_refuses_what_it_is_asked(door):
    with serving(CASES[CASE[door]], SERVERS["appserver"], SETTING):
        pass


@pytest.mark.parametrize("door", ["http", "fastcgi", "scgi"])
def test_a_server_without_limits_is_found_out(door):
    unlimited = ["--buffer-size", "10000000"]
    if door == "http":
        unlimited += ["--limit-request-line", "0"]
    server = replace(SERVERS["appserver"], options=unlimited)
    with (
        pytest.raises(OSError, match="its limits are off: it answers"),
        serving(CASES[CASE[door]], server, SETTING),
    ):
        pass


@pytest.mark.parametrize("door", DOORS)
def test_what_is_refused_is_told_apart(door):
    told = [what for what, _, _ in refusals(door)]
    assert len(told) == len(set(told))
