"""What surrounds the application: variables, directories, sys.path and its virtual environment."""

from __future__ import annotations

import logging
import os
import stat
import sys
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from glob import glob
from typing import TYPE_CHECKING

from appserver import hooks
from appserver.application import ApplicationOptions, LoadError, change_directory, readable
from appserver.compat import finder
from appserver.hooks import HookOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appserver.options import Settings
    from appserver.plan import Plan

log = logging.getLogger("appserver")

# As in uWSGI: what runs earlier may make the directories.
_BEFORE_ENVDIR = {"asap"}
_IN_CHDIR = {"master-start", "as-user-atexit"}
_AT_EXIT = {"as-user-atexit"}  # of what has been prepared before, some may have gone: a release, a mount


def prepare(settings: Settings, plan: Plan | None = None, *, supervised: bool = False) -> None:
    """Set up the process as the application wants it; raise `LoadError`.

    *plan* is None where nothing will be served; *supervised* tells whether the process has a master.
    """
    options = settings.of(ApplicationOptions)
    finder.install(settings, plan, supervised=supervised)
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
    _set_variables(settings)
    _change_directory(settings)


def run_hooks(settings: Settings, stage: str) -> None:
    """Do what is wanted at a stage outside of the application's process, in its surroundings for the while.

    They are not for this process, whose next application may have others; what hooks change in it remains.
    Raise `HookError`, and `LoadError` for the surroundings, which those of the exit do without.
    """
    options = settings.of(HookOptions)
    if hooks.wanted(options, stage):
        with _visited(settings, stage):
            hooks.run(options, stage)


@contextmanager
def _visited(settings: Settings, stage: str) -> Iterator[None]:
    """Be in the surroundings; then take back what they have changed and nobody has since."""
    needed = stage not in _AT_EXIT
    before = dict(os.environ)
    with nullcontext() if needed else _warned():
        _set_variables(settings, envdir=stage not in _BEFORE_ENVDIR)
    inside = dict(os.environ)
    with _directory(settings, needed=needed) if stage in _IN_CHDIR else nullcontext():
        yield
    for name in before | inside:
        if before.get(name) != inside.get(name) == os.environ.get(name):
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


@contextmanager
def _warned() -> Iterator[None]:
    """Go on without what has gone, and tell of it."""
    try:
        yield
    except LoadError as error:
        log.warning("%s: %s", error.option, error)


@contextmanager
def _directory(settings: Settings, *, needed: bool) -> Iterator[None]:
    """Be in ``chdir``, and then where this process was, unless it has gone elsewhere."""
    with ExitStack() as stack:
        here = -1
        with suppress(PermissionError):  # who may not search this directory needs no way back to it
            here = os.open(".", os.O_PATH | os.O_CLOEXEC)
            stack.callback(os.close, here)
        with nullcontext() if needed else _warned():
            _change_directory(settings)
        inside = os.stat(".")
        yield
        if here >= 0 and os.path.samestat(os.stat("."), inside):
            os.fchdir(here)


def _set_variables(settings: Settings, *, envdir: bool = True) -> None:
    options = settings.of(ApplicationOptions)
    for name, value in options.env:
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    for directory in options.envdir if envdir else ():
        _read_envdir(directory)


def _change_directory(settings: Settings) -> None:
    if directory := settings.of(ApplicationOptions).chdir:
        change_directory("chdir", directory)


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
