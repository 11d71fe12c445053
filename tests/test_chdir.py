"""What relative paths are relative to: ``chdir``, for what uWSGI opens after it; else the directory of the start."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from appserver.configuration import Configuration

BELOW = [
    ("socket", "a.sock"),
    ("http-socket", "sub/a.sock, chmod-socket=660"),
    ("fastcgi-socket", "a.sock"),
    ("scgi-socket", "a.sock"),
    ("stats", "a.sock"),
    ("pidfile2", "a.pid"),
    ("safe-pidfile", "a.pid"),
    ("touch-reload", "a"),
    ("touch-chain-reload", "a"),
    ("touch-logreopen", "a"),
    ("touch-logrotate", "a"),
    ("touch-exec", "a echo a/b ./c"),
    ("smart-attach-daemon", "a.pid run a.pid"),
]


@pytest.fixture
def site(tmp_path, monkeypatch):
    (tmp_path / "start").mkdir()
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    return tmp_path


@pytest.fixture
def value(site):
    """Return a function that writes settings in a section, and returns the value that the last one has then."""

    def value(section, *lines):
        (site / "start" / "site.ini").write_text("\n".join([f"[{section}]", *lines, ""]))
        return Configuration(["site.ini"]).effective()[-1].value

    return value


@pytest.mark.parametrize("section", ["uwsgi", "appserver"])
@pytest.mark.parametrize("directory", ["%d../site", "../site"])
@pytest.mark.parametrize("name, text", BELOW)
def test_relative_paths_are_below_chdir(site, value, section, directory, *, name, text):
    for written in (text, f"./{text}"):
        assert value(section, f"chdir = {directory}", f"{name} = {written}") == f"{site}/site/{text}"
    assert value(section, f"{name} = {text}") == text
    assert value(section, "chdir =", f"{name} = {text}") == text


@pytest.mark.parametrize(
    "name, text",
    [
        ("pidfile", "a.pid"),
        ("logto", "a.log"),
        ("control-socket", "./a.sock"),
        *((name, f"/{text}") for name, text in BELOW),
        ("socket", "@a.sock"),
        ("socket", ":3031"),
        ("socket", "localhost:3031"),
        ("socket", "fd://3"),
        ("socket", "a.sock, abstract-socket=true"),
    ],
)
def test_what_is_not_below_it(value, name, text):
    assert value("uwsgi", "chdir = %d../site", f"{name} = {text}") == text


def test_names_of_abstract_sockets_are_no_paths(site, value):
    above = ["chdir = %d../site", "abstract-socket = true"]
    assert value("uwsgi", *above, "socket = a.sock") == "a.sock"
    assert value("uwsgi", *above, "touch-reload = a") == f"{site}/site/a"


def test_a_name_that_grows_too_long_is_told(site):
    directory = site / ("d" * 90)
    configuration = Configuration([f"--chdir={directory}", "--socket=a-socket.sock"])
    assert configuration.problems[0].endswith("expected a path of 107 bytes at most, the kernel's limit")


def test_the_report_shows_both(site):
    arguments = ["--check", "--chdir=../site", "--socket=a.sock", "--master"]
    told = subprocess.run(
        [sys.executable, "-m", "appserver", *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    ).stdout
    assert f"--socket = a.sock  ->  {site}/site/a.sock\n" in told
    assert f"listener: uwsgi {site}/site/a.sock\n" in told


@pytest.mark.parametrize("master", [[], ["--master"]])
def test_the_socket_is_there(site, master):
    (site / "site" / "app.py").write_text("def application(environ, start_response): pass\n")
    arguments = ["--chdir=../site", "--socket=a.sock", "--module=app", *master]
    with subprocess.Popen(
        [sys.executable, "-m", "appserver", *arguments], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            lines = iter(server.stderr.readline, "")
            assert any(
                line.endswith(f"listening: uwsgi {os.path.realpath(site)}/site/a.sock\n") for line in lines
            )
            assert (site / "site" / "a.sock").is_socket()
        finally:
            server.terminate()
            server.stderr.read()
