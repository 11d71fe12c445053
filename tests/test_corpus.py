"""Real files: every one is read and reported on, and nearly all start and answer as they are."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

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
STARTING = 0.9  # of all files; those that do not have values that are errors here, such as `8 ; note`


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
    report = Report(configuration, "")
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


def answer(path, directory):
    """Start a file and ask it; return what went wrong, or nothing."""
    site = Site(path, directory)
    server = Server(*site.arguments(), cwd=site.directory, env=site.environ)
    try:
        with server:
            name, address = server.all_addresses[0]
            with CLIENTS[name](address) as client:
                response = client.request("GET", site.path, **site.fields(name))
            return "" if response.body == b"it works" else f"{response.status} {response.body!r}"
    except (AssertionError, OSError) as error:
        return str(error)


@pytest.mark.timeout(900)
def test_nearly_all_files_start_and_answer(tmp_path):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        told = list(pool.map(lambda path: answer(path, tmp_path / path.stem), FILES))
    failed = {path.name: why for path, why in zip(FILES, told, strict=True) if why}
    for name, why in failed.items():
        print(name, why[-600:])
    assert len(failed) <= len(FILES) * (1 - STARTING), f"{len(failed)} of {len(FILES)}"
