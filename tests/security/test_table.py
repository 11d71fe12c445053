"""docs/security/ says of every case what becomes of it, and names tests that there are."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.server import ROOT

DOCS = ROOT / "docs" / "security"
INDEX = re.findall(
    r"^\| \[([\w.]+)\]\([\w.]+\) \| (\S+) \| (\d+) \|$", (DOCS / "README.md").read_text(), re.MULTILINE
)
_ROW = re.compile(r"^\| ([A-Z]'?\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
ROWS = {file: _ROW.findall((DOCS / file).read_text()) for file, _, _ in INDEX}
CASES = [pytest.param(row[0], row[3], id=row[0]) for rows in ROWS.values() for row in rows]


def named(shown):
    """Return the tests that the last cell of a row names; none where it has a decision."""
    return [] if shown.startswith("decision: ") else shown.split("; ")


@pytest.fixture(scope="module")
def tests():
    """Return the ids of all tests of the files that the tables name."""
    files = sorted(
        {each.partition("::")[0] for rows in ROWS.values() for row in rows for each in named(row[3])}
    )
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=50)
    assert found.returncode == 0, found.stdout[-2000:]
    return found.stdout.split("\n")


def test_every_file_is_in_the_index():
    assert {file for file, _, _ in INDEX} | {"README.md"} == {each.name for each in DOCS.iterdir()}


def test_all_cases_are_counted():
    assert f" {len(CASES)} cases" in (DOCS / "README.md").read_text()


@pytest.mark.parametrize("file, prefix, count", INDEX)
def test_no_case_is_missing(file, prefix, count):
    assert [row[0] for row in ROWS[file]] == [f"{prefix}{number}" for number in range(1, int(count) + 1)]


@pytest.mark.parametrize("case, shown", CASES)
def test_a_case_is_shown_or_decided(tests, case, shown):
    if not named(shown):
        assert len(shown) > 60, "a decision has its reason"
        return
    numbered, ours = re.compile(rf"(?<![A-Za-z0-9]){case}(?![0-9])"), []
    for name in named(shown):
        pattern = re.compile(re.escape(name).replace(r"\*", ".*") + r"(\[.*\])?")
        found = [each for each in tests if pattern.fullmatch(each)]
        assert found, f"{name}: there is no such test"
        ours += [each for each in found if each.startswith("tests/security/")]
    assert not ours or any(map(numbered.search, ours)), f"none of them has the number {case}"
