"""What surrounds the application: variables, directories, sys.path and its virtual environment."""

from __future__ import annotations

import os
import stat
import sys
from glob import glob
from typing import TYPE_CHECKING

from appserver.application import ApplicationOptions, LoadError, change_directory, readable
from appserver.compat import finder

if TYPE_CHECKING:
    from appserver.options import Settings


def prepare(settings: Settings, *, supervised: bool = False) -> None:
    """Set up the process as the application wants it; raise `LoadError`.

    *supervised* tells whether the process has a master.
    """
    options = settings.of(ApplicationOptions)
    finder.install(settings, supervised=supervised)
    enter(settings)
    if options.pyargv:
        sys.argv = [sys.argv[0], *options.pyargv]
    if options.virtualenv:
        _activate(os.path.abspath(options.virtualenv))
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    paths = [path for pattern in options.pythonpath for path in sorted(glob(pattern)) or [pattern]]
    sys.path[:0] = map(os.path.abspath, paths)


def enter(settings: Settings) -> None:
    """Set the variables and the directory of the application; raise `LoadError`."""
    options = settings.of(ApplicationOptions)
    for name, value in options.env:
        os.environ[name] = value
    for directory in options.envdir:
        _read_envdir(directory)
    for name in options.unenv:
        os.environ.pop(name, None)
    if options.chdir:
        change_directory("chdir", options.chdir)


def _read_envdir(directory: str) -> None:
    """Set what the files of *directory* say, as daemontools' envdir does: the first line of each counts."""
    try:
        names = sorted(os.listdir(directory))
        for name in names:
            path = os.path.join(directory, name)
            if name.startswith(".") or "=" in name or not os.path.isfile(path):
                continue
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
            if text:
                os.environ[name] = text.split("\n")[0].rstrip(" \t").replace("\0", "\n")
            else:
                os.environ.pop(name, None)
    except OSError as error:
        raise LoadError("envdir", f"{error.strerror}: {error.filename}") from None


def _activate(directory: str) -> None:
    """Put a virtual environment's packages first; it must be of this Python."""
    import site  # noqa: PLC0415  (only needed here)
    import sysconfig  # noqa: PLC0415

    packages = sysconfig.get_path("purelib", "venv", {"base": directory, "platbase": directory})
    if not readable("virtualenv", packages, stat.S_ISDIR):
        raise LoadError(
            "virtualenv",
            f"there is no {packages};"
            f" the environment must be made by Python {sys.version_info[0]}.{sys.version_info[1]}",
        )
    before = sys.path[:]
    site.addsitedir(packages)
    sys.path[:] = [path for path in sys.path if path not in before] + before
    sys.prefix = directory
    os.environ["VIRTUAL_ENV"] = directory
