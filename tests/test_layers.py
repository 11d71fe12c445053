"""ARCHITECTURE.md tells the truth: which modules there are, and who imports whom."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "appserver"

# What would give a codec the world to act on.
WORLD = {
    "asyncio",
    "gevent",
    "logging",
    "os",
    "select",
    "selectors",
    "signal",
    "socket",
    "threading",
    "time",
    "zmq",
}


def modules():
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").strip(".")
        if name:
            yield name, ast.parse(file.read_text())


def imported(tree):
    """Yield the full name of everything that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = dict(modules())


def own(tree):
    """Return the modules of this package that a module imports."""
    found = set()
    for name in imported(tree):
        if name.startswith("appserver."):
            rest = name.removeprefix("appserver.")
            found.add(rest if rest in MODULES else rest.rpartition(".")[0])
    return found - {""}


def table():
    rows = re.findall(
        r"^\| `([\w.]+)` \| [^|]+ \| ([^|]*) \|$", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE
    )
    return {name: set(re.findall(r"`([\w.]+)`", imports)) for name, imports in rows}


def test_the_module_map_lists_every_module():
    assert set(table()) == set(MODULES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_what_the_map_says(name):
    assert own(MODULES[name]) == table()[name]


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("protocols")))
def test_a_codec_has_no_world(name):
    assert {each.split(".")[0] for each in imported(MODULES[name])} & WORLD == set()


def test_only_the_thread_rule_asks_how_a_listener_connects():
    asking = {
        name
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "subscribes"
    }
    assert asking == {"plan"}
