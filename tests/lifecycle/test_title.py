"""Titles of processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from appserver.application import ApplicationOptions
from appserver.lifecycle.title import TitleOptions, title
from appserver.options import Setting, Settings


def settings(place="sites/a:b.ini:3", *, application=None, **options):
    mounts = [(object, Setting("http", ":80", "--http")), (object, Setting("http", ":81", place))]
    application = application or ApplicationOptions(module="site:app")
    return Settings({TitleOptions: TitleOptions(**options), ApplicationOptions: application}, mounts)


@pytest.mark.parametrize(
    "options, role, expected",
    [
        ({}, "master", "appserver: master sites/a:b.ini"),
        ({}, "worker 1 (generation 2)", "appserver: worker 1 (generation 2) sites/a:b.ini"),
        ({"procname_prefix": "x-"}, "master", "x-appserver: master sites/a:b.ini"),
        ({"procname_prefix_spaced": "x"}, "master", "x appserver: master sites/a:b.ini"),
        ({"procname_append": " y"}, "master", "appserver: master sites/a:b.ini y"),
        ({"procname": "z"}, "master", "z"),
        ({"procname": "z"}, "worker 1", "z"),
        ({"procname": "z", "procname_master": "m"}, "master", "m"),
        ({"procname": "z", "procname_master": "m", "procname_prefix": "x-"}, "worker 1", "x-z"),
    ],
)
def test_titles(options, role, expected):
    assert title(settings(**options), role) == expected


@pytest.mark.parametrize(
    "application, expected",
    [
        (ApplicationOptions(module="site:app"), "appserver: master site:app"),
        (ApplicationOptions(wsgi_file="app.py"), "appserver: master app.py"),
        (ApplicationOptions(), "appserver: master"),
    ],
)
def test_without_a_file_the_application_is_named(application, expected):
    assert title(settings("--http", application=application), "master") == expected


SHOWN = """
import sys
from appserver.application import ApplicationOptions
from appserver.lifecycle import title
from appserver.options import Settings
application = ApplicationOptions(module=sys.argv[1])
title.set(Settings({title.TitleOptions: title.TitleOptions(), ApplicationOptions: application}, []), "master")
print(open("/proc/self/cmdline").read().rstrip(chr(0)))
"""


@pytest.mark.parametrize(
    "module, shown", [(b"m", "m"), (b"caf\xc3\xa9", "caf\xe9"), (b"caf\xe9", "caf\ufffd")]
)
def test_the_system_shows_it(module, shown):
    """Bytes that are no UTF-8 included, as names of files may have."""
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", SHOWN, module], capture_output=True, encoding="utf-8", timeout=20
    )
    assert (done.stdout, done.stderr) == (f"appserver: master {shown}\n", "")
