"""README.md and its kin can be followed: what they show runs as it is written."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
TEXTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]

APPLICATIONS = [
    code
    for code in re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    if "def application(" in code
]
# Those that name a whole server, without a file that is not here.
COMMANDS = [each for each in re.findall(r"^appserver (--\S.*)$", README, re.MULTILINE) if ".ini" not in each]
MODULES = {each for file in TEXTS for each in re.findall(r"python -m ([a-z][\w.]*\w)", file.read_text())}


def test_there_are_such():
    assert APPLICATIONS
    assert COMMANDS
    assert "tests.soak.cost" in MODULES


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_that_is_to_be_run_can_be_imported(name):
    if importlib.util.find_spec(name).submodule_search_locations:
        name += ".__main__"
    assert importlib.import_module(name)


def _anchors(file):
    """As GitHub makes them of headings."""
    text = re.sub(r"^```.*?^```$", "", file.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("text", TEXTS, ids=lambda each: str(each.relative_to(ROOT)))
def test_links_lead_somewhere(text):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text.read_text()):
        path, _, anchor = link.partition("#")
        file = (text.parent / path).resolve() if path else text
        assert file.exists(), link
        assert not anchor or anchor in _anchors(file), link


def test_every_page_can_be_reached_from_readme():
    seen, ahead = set(), {ROOT / "README.md"}
    while ahead:
        file = ahead.pop()
        seen.add(file)
        links = re.findall(r"\]\((?!https?:)([^)#\s]+)[^)]*\)", file.read_text())
        ahead |= {(file.parent / each).resolve() for each in links if each.endswith(".md")} - seen
    assert {each for each in TEXTS if "security" not in each.parts} <= seen


def test_nothing_installs_another_project_of_this_name():
    """PyPI's."""
    files = [ROOT / "README.md", ROOT / "pyproject.toml"]
    for name in ("appserver", "bench", "configs", "docs", "examples"):
        files += [
            each for each in (ROOT / name).rglob("*") if each.suffix in {".py", ".md", ".toml", ".service"}
        ]
    for file in files:
        text = file.read_text()
        assert not re.search(r"pip install (-\S+ )*['\"]?appserver(?![\w/-])", text), file
        if file.suffix == ".toml":
            project = tomllib.loads(text)["project"]
            optional = project.get("optional-dependencies", {}).values()
            wanted = [*project["dependencies"], *(name for names in optional for name in names)]
            assert not [each for each in wanted if re.match(r"appserver\b(?!-)", each)], file


@pytest.mark.parametrize("code", APPLICATIONS)
def test_an_application_survives_the_warm_up(code):
    statuses = []
    environ = {}
    setup_testing_defaults(environ)
    module = {}
    exec(code, module)
    answer = module["application"](environ, lambda status, headers: statuses.append(status))
    assert b"".join(answer)
    assert statuses[0] < "5"


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_command_names_what_is_there(arguments):
    command = shlex.split(arguments)
    assert (ROOT / command[command.index("--wsgi-file") + 1]).is_file()  # a module would have to be installed
    checked = subprocess.run(
        [sys.executable, "-m", "appserver", "--check", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
