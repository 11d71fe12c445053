"""Which driver python-engineio takes: a package stands for it that looks for them as it does."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from appserver.compat.drivers import Drivers
from appserver.plan import Plan
from tests.listeners.conftest import serving

NAMES = ("gevent_uwsgi", "gevent", "threading")
CHOICE = """
import importlib

def chosen(*modes):
    for mode in modes:
        try:
            importlib.import_module("engineio.async_drivers." + mode)
        except ImportError:
            continue
        return mode
    raise ValueError("Invalid async_mode specified")
"""
APP = """
from engineio import chosen
mode = chosen({modes})

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [mode.encode()]
"""
USES = "uses async_mode='threading' here"
ALONE = "requests run one at a time"


@pytest.fixture
def library(tmp_path):
    """Write the library, and return a function that writes the application."""
    drivers = tmp_path / "engineio" / "async_drivers"
    drivers.mkdir(parents=True)
    (drivers.parent / "__init__.py").write_text(CHOICE)
    (drivers / "__init__.py").write_text("")
    for name in NAMES:
        (drivers / f"{name}.py").write_text("import uwsgi\n" if name == "gevent_uwsgi" else "")

    def write(*modes):
        (tmp_path / "app.py").write_text(APP.format(modes=", ".join(map(repr, modes))))

    return write


@pytest.mark.parametrize("more", [{}, {"master": "true"}, {"master": "true", "lazy_apps": "true"}])
@pytest.mark.parametrize(
    "options, taken",
    [
        ({"gevent": 3}, ("gevent_uwsgi", None)), ({"threads": 3}, ("threading", USES)),
        ({}, ("gevent_uwsgi", ALONE)),
    ],
)  # fmt: skip
def test_the_first_that_works_is_taken(tmp_path, library, options, taken, more):
    mode, warning = taken
    library(*NAMES)
    with serving(tmp_path, "app", ["http"], pythonpath=tmp_path, **options, **more) as site:
        with site.client("http") as client:
            client.send("GET", "/")
            assert client.receive().body.decode() == mode
        told = [each for each in site.server.warnings if "engineio" in each]
    assert [warning in each for each in told] == [True] * bool(warning)


@pytest.mark.parametrize(
    "plan, left, warning",
    [
        (Plan(1, 4, False, ""), NAMES, None), (Plan(1, 4, True, ""), NAMES[2:], USES),
        (Plan(4, 1, False, ""), NAMES[2:], USES), (Plan(1, 1, False, ""), NAMES, ALONE),
    ],
)  # fmt: skip
def test_what_hangs_cannot_be_imported(caplog, plan, left, warning):
    drivers = Drivers(plan)
    for name in NAMES:
        with nullcontext() if name in left else pytest.raises(ImportError, match=f"{name} hangs"):
            drivers.check(f"engineio.async_drivers.{name}")
    assert [warning in each for each in caplog.messages] == [True] * bool(warning), "it is told once"


@pytest.mark.parametrize("name", ["engineio", "engineio.async_drivers.asgi", "gevent", "uwsgi"])
@pytest.mark.parametrize("plan", [None, Plan(1, 1, False, ""), Plan(1, 4, True, "")])
def test_all_else_can(caplog, name, plan):
    Drivers(plan).check(name)
    assert caplog.messages == []


def test_one_that_is_asked_for_by_name_ends_the_start(tmp_path, library):
    """The library says that there is no such mode, and the line before says why."""
    library("gevent")
    with (
        pytest.raises(AssertionError, match=r"(?s)uses async_mode='threading' here.*Invalid async_mode"),
        serving(tmp_path, "app", ["http"], pythonpath=tmp_path, threads=3),
    ):
        pass
