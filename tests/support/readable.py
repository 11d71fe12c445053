"""A copy of Python, of the server and of the libraries that it needs, which every user can read.

A server that drops its privileges goes on importing; what runs the tests may be in root's own home.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tests.support.server import ROOT

UNUSED = ("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "config-*", "__pycache__",
          "site-packages", "dist-packages")  # fmt: skip


def copied(directory):
    """Fill a directory; return the environment in which `sys._base_executable` runs what is in it."""
    home, packages = Path(directory) / "home", Path(directory) / "packages"
    stdlib = Path(sysconfig.get_path("stdlib"))
    copy_tree(stdlib, home / stdlib.relative_to(sys.base_prefix), *UNUSED)
    copy_tree(ROOT / "appserver", packages / "appserver", "__pycache__")
    copy_distributions(packages)
    for path, names, files in os.walk(directory):
        for name in [".", *names, *files]:
            os.chmod(os.path.join(path, name), 0o755)
    return {"PYTHONHOME": str(home), "PYTHONPATH": str(packages)}


def copy_tree(source, target, *unused):
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*unused))


def copy_distributions(target):
    """Copy the server's metadata, and all of what it requires."""
    wanted, found = ["appserver"], set()
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found.add(name)
        try:
            known = distribution(name)
        except PackageNotFoundError:  # of another platform
            continue
        wanted += [re.match(r"[\w.-]+", line)[0] for line in known.requires or () if "extra ==" not in line]
        for file in known.files:
            if ".." in file.parts or "__pycache__" in file.parts or file.name.startswith("__editable__"):
                continue
            copy = target / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), copy)
