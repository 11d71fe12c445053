"""Real files: every one is read and reported on, and starts and answers as it is, or is refused where it is wrong."""

from __future__ import annotations

import json
import re

import pytest

from appserver.check import Report
from appserver.configuration import Configuration
from appserver.foreign import FOREIGN
from appserver.ini.reader import NAMES
from appserver.verdict import Judgement
from tests.support.clients import FastcgiClient, HttpClient, ScgiClient, UwsgiClient
from tests.support.corpus import CORPUS, Site
from tests.support.server import Server

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real files is not here")

FILES = sorted(CORPUS.glob("*.ini")) if CORPUS.is_dir() else []
CLIENTS = {"http": HttpClient, "uwsgi": UwsgiClient, "fastcgi": FastcgiClient, "scgi": ScgiClient}
# Files with values that are errors here, such as `8 ; note`, and one whose template has not been filled in.
REFUSED = {"059", "061", "099", "109", "111", "121", "133", "135", "187", "189", "247"}


def keys(path):
    """Return the lines of a file's section [uwsgi], by a reading of its own: number and key."""
    found = []
    inside = False
    for number, raw in enumerate(path.read_text(errors="surrogateescape").split("\n"), 1):
        line = raw.strip(" \t\r")
        if line.startswith("["):
            inside = line[1:-1] == "uwsgi"
        elif line and line[0] not in ";#" and inside and "%" not in line.partition("=")[0]:
            found.append((number, line.partition("=")[0].rstrip(" \t")))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_report_names_every_line_and_judges_it(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    configuration = Configuration(["--ini", str(path)])
    report = Report(configuration)
    told = json.loads(report.json())
    judged = {}
    for each in told["lines"]:
        if each["file"] == str(path):
            judged.setdefault((each["line"], each["option"]), set()).add(each["verdict"])
    swallowed = any("% is no variable" in warning for warning in configuration.warnings)
    for number, key in keys(path):
        if (number, key) not in judged:
            assert swallowed or "%" in path.read_text(errors="surrogateescape").split("\n")[number - 1], (
                number,
                key,
            )
            continue
        verdicts = judged[number, key]
        foreign = FOREIGN.get(key)
        if "skipped" in verdicts:
            continue
        if key in configuration.catalogue.by_name:
            assert verdicts <= {"honoured", "dangerous", "wrong", "unsupported"}
        elif key in NAMES:
            assert verdicts <= {"honoured", "wrong"}
        elif foreign is not None:
            assert verdicts == {"unnecessary" if foreign.unnecessary else "unsupported"}
        else:
            assert verdicts <= {"unknown", "honoured", "wrong"}
    assert all(each["text"] for each in told["lines"])
    text = report.text(colour=False)
    words = "|".join(each.value for each in Judgement)
    shown = re.findall(rf"(?m)^ +\d+  (?:{words}) ", text)
    assert len(shown) == sum(each["line"] is not None for each in told["lines"])
    assert (report.code == 2) is bool(configuration.problems)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_starts_and_answers(path, tmp_path):
    site = Site(path, tmp_path / "site")
    server = Server(*site.arguments(), cwd=site.directory, env=site.environ)
    if path.stem in REFUSED:
        server.process.wait(30)
        assert server.stop() == 1
        assert re.search(r"\.ini:\d+: .*: (expected |there is no such option)", server.log), server.log
        return
    with server:
        name, address = server.all_addresses[0]
        with CLIENTS[name](address) as client:
            response = client.request("GET", site.path, **site.fields(name))
    assert response.body == b"it works"
