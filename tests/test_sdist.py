"""What is built of the checkout: an sdist is all of it, and the metadata are what today's setuptools wants."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile

import pytest

from tests.support.server import ROOT

MADE = ("__pycache__", "*.pyc", "*.egg-info", ".*", "build", "dist", "run", "logs", "tmp", "uploads", "nginx-tmp",
        "nginx.pid", "config.sqlite")  # fmt: skip
BUILD = "import sys, setuptools.build_meta; setuptools.build_meta.build_sdist(sys.argv[1])"
DESCRIBE = (
    "import sys, setuptools.build_meta; setuptools.build_meta.prepare_metadata_for_build_wheel(sys.argv[1])"
)


def files(directory):
    return {each.relative_to(directory).as_posix() for each in directory.rglob("*") if each.is_file()}


def test_all_that_is_in_the_checkout_is_in_it(tmp_path):
    copy = tmp_path / "checkout"
    shutil.copytree(
        ROOT, copy, ignore=lambda _, names: shutil.ignore_patterns(*MADE)(_, names) - {"run", ".ci"}
    )
    shutil.rmtree(copy / "configs" / "run", ignore_errors=True)
    expected = files(copy)
    assert {"tests/run", ".ci/run", "tests/conftest.py", "docs/options.md", "configs/nginx.conf"} <= expected
    subprocess.run(
        [sys.executable, "-c", BUILD, tmp_path], cwd=copy, check=True, capture_output=True, timeout=50
    )
    [made] = tmp_path.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        found = {each.name.partition("/")[2]: each.mode for each in archive if each.isfile()}
    assert expected - set(found) == set()
    assert found["tests/run"] & 0o111


@pytest.mark.parametrize("name", [".", "examples/appserver-ajp"])
def test_the_metadata_have_nothing_that_is_deprecated(tmp_path, name):
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / name, copy, ignore=shutil.ignore_patterns(*MADE))
    made = subprocess.run(
        [sys.executable, "-W", "error", "-c", DESCRIBE, tmp_path],
        cwd=copy, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    [metadata] = tmp_path.glob("*.dist-info/METADATA")
    assert "\nLicense-Expression: MIT\n" in metadata.read_text()
