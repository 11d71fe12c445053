"""Times of the log while the application changes TZ."""

from __future__ import annotations

import os
import time
from time import strftime

import pytest

from appserver.log import zone

JANUARY, JULY = 1_767_225_600, 1_782_864_000  # of 2026, each the first in UTC
FORM = "%a %F %T %j %z %Z"


@pytest.fixture
def begin(monkeypatch):
    """Return a function that sets TZ as it is when a process begins."""

    def begin(name):
        move(monkeypatch, name)
        monkeypatch.setattr(zone, "_begun", name)
        zone.keep(None)

    before = os.environ.get("TZ")
    yield begin
    move(monkeypatch, before)
    monkeypatch.undo()
    zone.keep(None)


def move(monkeypatch, name):
    """Do as an application that changes the zone."""
    if name is None:
        monkeypatch.delenv("TZ", raising=False)
    else:
        monkeypatch.setenv("TZ", name)
    time.tzset()


@pytest.mark.parametrize(
    "begun", [None, "", "UTC", "Europe/Berlin", ":Asia/Kathmandu", "/usr/share/zoneinfo/Asia/Tokyo"]
)
def test_the_zone_of_the_start_is_kept(begin, monkeypatch, begun):
    begin(begun)
    before = [strftime(FORM, zone.local_time(second)) for second in (JANUARY, JULY)]
    assert before == [strftime(FORM, time.localtime(second)) for second in (JANUARY, JULY)]
    zone.local_time.cache_clear()
    move(monkeypatch, "America/Chicago")
    assert before == [strftime(FORM, zone.local_time(second)) for second in (JANUARY, JULY)]


def test_another_zone_is_kept_whatever_the_start_was(begin):
    begin("Europe/Berlin")
    zone.keep("Asia/Tokyo")
    assert strftime("%H %z", zone.local_time(JANUARY)) == "09 +0900"
    zone.keep(None)
    assert strftime("%H %z", zone.local_time(JANUARY)) == "01 +0100"


@pytest.mark.parametrize("begun", ["CET-1CEST,M3.5.0,M10.5.0/3", "No/Where", "zone.tab"])
def test_what_no_file_has_is_left_to_the_c_library(begin, monkeypatch, begun):
    begin(begun)
    move(monkeypatch, "America/Chicago")
    assert strftime("%H %z", zone.local_time(JANUARY)) == "18 -0600"
