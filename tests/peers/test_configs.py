"""Every file of configs/ as it is shipped, before its real front ends, and the commands they name."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.peers.client import get
from tests.support.fronts import CONFIGS, ENV, Mongrel2, Nginx, require
from tests.support.server import ROOT

pytestmark = pytest.mark.peers

INIS = sorted(path.name for path in CONFIGS.glob("*.ini"))
FRONTS = {"http": (8080, 8104), "uwsgi": (8101,), "fastcgi": (8102,), "scgi": (8103,), "mongrel2": (6767,)}
ALONE = {"http.ini", "uwsgi.ini", "fastcgi.ini", "scgi.ini", "mongrel2.ini"}


def test_there_is_a_file_for_each_listener_and_one_for_all():
    assert set(INIS) == ALONE | {"site.ini"}


@pytest.mark.parametrize("ini", INIS)
def test_an_ini_file_serves_its_front_ends(start, ini):
    server = start(ini)
    mounted = [name for name, _ in server.all_addresses]
    assert set(mounted) == (set(FRONTS) if ini == "site.ini" else {ini.removesuffix(".ini")})
    assert server.warnings == []
    if set(mounted) - {"mongrel2"}:
        start(Nginx)
    if "mongrel2" in mounted:
        start(Mongrel2)
    for name in mounted:
        for port in FRONTS[name]:
            page = get(start.configs.url(port)).body.decode()
            assert f"Answered by the <em>{name}</em> listener" in page
            for every in mounted:
                assert f"<b>{every}</b>" in page
    assert server.stop() == 0


@pytest.mark.parametrize("ini", INIS)
def test_check_finds_nothing_wrong(start, ini):
    (start.configs.directory / "uploads").mkdir()  # as mongrel2.conf says
    checked = subprocess.run(
        [sys.executable, "-m", "appserver", "--check", "--ini", start.configs.ini(ini)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "warning" not in checked.stdout


def test_the_settings_that_readme_shows_are_taken(tmp_path):
    """m2sh exits with 0 where it cannot read a file, and has made no table then."""
    require("m2sh")
    text = (ROOT / "README.md").read_text()
    [shown] = re.findall(r"^```.*\n(settings = (?s:.)*?)^```$", text, re.MULTILINE)
    whole = (CONFIGS / "mongrel2.conf").read_text()
    (tmp_path / "mongrel2.conf").write_text(f"{whole.partition('settings = ')[0]}{shown}")
    command = ["m2sh", "load", "-config", "mongrel2.conf", "-db", "config.sqlite"]
    done = subprocess.run(command, cwd=tmp_path, env=ENV, capture_output=True, text=True, check=True)
    assert "ERROR" not in done.stdout + done.stderr
    with closing(sqlite3.connect(tmp_path / "config.sqlite")) as database:
        found = dict(database.execute("SELECT key, value FROM setting"))
    assert found == {"download.flow_control": "1", "upload.stream": "1"}


@pytest.mark.parametrize("ini", INIS)
def test_the_comment_names_the_file_itself_and_addresses_that_exist(ini):
    text = (CONFIGS / ini).read_text()
    assert f";   appserver --ini configs/{ini}\n" in text
    known = set()
    for path in CONFIGS.iterdir():
        if path.suffix in {".conf", ".ini"}:
            known |= set(re.findall(r"(?:listen|-socket =|port=) ?(?:127\.0\.0\.1:)?(\d+)", path.read_text()))
    named = re.findall(r"http://127\.0\.0\.1:(\d+)/", text)
    assert named
    assert set(named) <= known


def test_front_ends_leave_nothing_but_what_git_ignores(start):
    """Runtime files go to known places, so that a checkout stays clean."""
    start("site.ini")
    start(Nginx)
    start(Mongrel2)
    get(start.configs.url(6767, "/size"), "--data-binary", "@/dev/stdin", input=bytes(100_000))
    made = {path.name for path in start.configs.directory.iterdir()} - {p.name for p in CONFIGS.iterdir()}
    output = {"nginx.out", "mongrel2.out"}  # of these tests
    ignored = {"run", "logs", "tmp", "uploads", "nginx-tmp", "nginx.pid", "config.sqlite", "__pycache__"}
    assert made - output <= ignored
