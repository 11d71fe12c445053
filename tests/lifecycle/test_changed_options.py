"""A reload has each option that has changed take effect, or tells that only a restart does it."""

from __future__ import annotations

import signal

import pytest

from appserver.configuration import Configuration
from appserver.reference import example

CATALOGUE = Configuration([]).catalogue
OPTIONS = {option.name: option for option in CATALOGUE.by_name.values()}
RESTART = sorted(name for name, option in OPTIONS.items() if option.restart)
WAITS = "{} has changed, which takes effect at a restart"


def reload(site, number=2):
    site.server.process.send_signal(signal.SIGHUP)
    site.wait_until(f"generation {number} has taken over")


@pytest.mark.parametrize("name", RESTART)
def test_what_only_a_restart_changes_is_told_with_its_place(name, tmp_path):
    old, new = tmp_path / "old.ini", tmp_path / "new.ini"
    old.write_text("[appserver]\nhttp-socket = :0\nmodule = x\nmaster = true\n")
    new.write_text(f"{old.read_text()}{name} = {example(OPTIONS[name])}\n")
    first, second = Configuration([str(old)]), Configuration([str(new)])
    assert second.problems == []
    second.first = first
    [told] = second.at_restart()
    assert told.startswith(f"{new}:5: {name} = ")
    assert told.endswith(f": {WAITS.format(name)}")
    first.first = second
    assert first.at_restart() == [WAITS.format(name)]
    second.first = second
    assert second.at_restart() == []


def test_it_is_told_at_each_reload_until_it_is_as_before(site):
    site.configure().start()
    site.configure("umask = 027")
    reload(site, 2)
    reload(site, 3)
    site.configure()
    reload(site, 4)
    told = "WARNING " + str(site.ini) + ":5: umask = 027: " + WAITS.format("umask")
    assert site.count(told) == site.count("takes effect at a restart") == 2


def test_a_configuration_that_wants_no_master_any_more_is_told(site):
    site.configure().start()
    site.configure(master="false")
    reload(site)
    assert "WARNING no option asks for a master any more, which takes effect at a restart" in site.log
    assert site.told()["version"] == 1
