"""docs/options.md and the catalogue of uWSGI's options: complete, and no staler than the code."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appserver.configuration import Configuration
from appserver.foreign import FOREIGN, SHORT
from appserver.ini.reader import NAMES as LANGUAGE
from appserver.ini.reader import Reader
from appserver.log.access import NAMES as LOG_VARIABLES
from appserver.options import Kind
from appserver.reference import reference

ROOT = Path(__file__).resolve().parents[1]
CATALOGUE = Configuration([]).catalogue
TEXT = (ROOT / "docs" / "options.md").read_text()


# uWSGI's plug-ins, and what of ours only they have.
PLUGINS = {
    "python3": "module",
    "gevent_python3": "gevent-monkey-patch",
    "logzmq": "log-zeromq",
    "http": "http",
}
# What uWSGI has since another version than Debian's, or where it was built with ZeroMQ.
NOT_IN_EACH = {"cheaper-idle", "max-requests-delta", "worker-log-encoder", "worker-log-req-encoder", "zeromq"}


def test_the_reference_is_made_of_the_declarations():
    assert reference(CATALOGUE) == TEXT, "run python -m appserver.reference > docs/options.md"


@pytest.mark.parametrize("name", sorted(CATALOGUE.by_name))
def test_every_option_has_a_row_with_an_example_that_is_right(name, tmp_path):
    option = CATALOGUE.by_name[name]
    [row] = re.findall(rf"(?m)^\| `{option.name}`[, ].*$", TEXT)
    cells = re.split(r" \| ", row.strip("| "))
    assert len(cells) == 5
    assert f"`{name}`" in cells[0]
    assert cells[1].startswith(option.help.replace("|", "&#124;"))
    example = re.fullmatch(r"`(\S+) = (.*)`", cells[3])
    assert example[1] == option.name
    written = example[2].replace("&#124;", "|")
    variables = {"%%": "%", "%d": f"{tmp_path}/"}
    for section in ("appserver", "uwsgi"):
        (tmp_path / f"{section}.ini").write_text(f"[{section}]\n{option.name} = {written}\n")
        reader = Reader(CATALOGUE.knows)
        reader.read(str(tmp_path / f"{section}.ini"))
        [setting] = [each for each in reader.settings() if each.kind is Kind.OPTION]
        assert reader.problems == reader.warnings == []
        assert setting.value == re.sub("%[%d]", lambda found: variables[found[0]], written)
        option.convert(setting.value)
    assert cells[4]


def test_help_ends_as_sentences_do():
    for option in CATALOGUE.by_name.values():
        assert option.help.endswith((".", ". ...")), option.name
        assert option.help[0].isupper() or option.help.startswith("With"), option.name


def test_every_option_of_uwsgis_is_one_of_ours_or_has_a_reason():
    assert not set(FOREIGN) & (set(CATALOGUE.by_name) | LANGUAGE)
    for each in FOREIGN.values():
        assert each.takes in {"", "?", "="}
        assert re.fullmatch(r"[A-Z].+\.", each.why), each.why
        assert f"`{each.name}`" in TEXT
    assert len(FOREIGN) > 1000
    assert not set(SHORT) & set(CATALOGUE.by_short)
    assert set(SHORT.values()) <= set(FOREIGN) | LANGUAGE


def test_every_variable_of_log_format_is_listed():
    for name in LOG_VARIABLES:
        assert f"`{name}`" in TEXT


@pytest.mark.peers
@pytest.mark.skipif(shutil.which("uwsgi") is None, reason="uwsgi is not installed (Debian: uwsgi-core)")
def test_the_names_are_those_of_a_real_uwsgi():
    loaded = [each for each in PLUGINS if Path(f"/usr/lib/uwsgi/plugins/{each}_plugin.so").exists()]
    command = ["uwsgi", "--plugins", ",".join(loaded), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    theirs = set(re.findall(r"(?m)^ +(?:-\w\|)?--([\w-]+)", done.stdout + done.stderr))
    assert len(theirs) > 500
    unknown = {name for name in theirs if not CATALOGUE.knows(name) and name not in LANGUAGE}
    assert unknown == set()
    for letter, name in re.findall(r"(?m)^ +-(\w)\|--([\w-]+)", done.stdout + done.stderr):
        declared = CATALOGUE.by_name.get(name)
        ours = CATALOGUE.by_short.get(letter)
        assert declared is ours
        assert ours is not None or letter in SHORT or name in {"help", "usage"}, (letter, name)
    elsewhere = {name for plugin, name in PLUGINS.items() if plugin not in loaded} | NOT_IN_EACH
    for option in CATALOGUE.by_name.values():
        if option.note.startswith("own"):
            assert option.name not in theirs
        else:  # by another name, where the note says so
            assert {option.name, *option.aliases} & (theirs | elsewhere), option.name
