"""Find and load the WSGI application."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from typing import TYPE_CHECKING, Any

from appserver.options import BadValue, option

if TYPE_CHECKING:
    from types import ModuleType

    from appserver.wsgi import Application


def variable(text: str) -> tuple[str, str]:
    """Convert ``env``: ``NAME=value``."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise BadValue("NAME=value")
    return name.strip(), value.strip()


@dataclass(frozen=True)
class ApplicationOptions:
    """Application."""

    module: str = option(
        "", "The application: pkg.mod, pkg.mod:callable or pkg.mod:factory().", short="w",
        aliases=("wsgi",), expects="module[:callable]",
    )  # fmt: skip
    wsgi_file: str = option("", "The application's Python file.", aliases=("file",), expects="file")
    callable: str = option("", "The callable's name where module gives none (default: application).")
    chdir: str = option("", "Working directory, set before the application is loaded.", expects="directory")
    pythonpath: tuple[str, ...] = option(
        (), "Put this directory first on sys.path.", aliases=("python-path", "pp"), expects="directory"
    )
    env: tuple[tuple[str, str], ...] = option(
        (), "Set an environment variable for the application.", convert=variable, expects="NAME=value"
    )
    virtualenv: str = option(
        "", "Use the packages of this virtual environment.", short="H",
        aliases=("home", "venv", "pyhome"), expects="directory",
    )  # fmt: skip


class LoadError(Exception):
    """Say why there is no application; the cause is the exception of its code, if any.

    ``option`` is the option to look at.
    """

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(reason)
        self.option = option


def prepare(options: ApplicationOptions) -> None:
    """Set up the process as the application wants it; raise `LoadError`."""
    for name, value in options.env:
        os.environ[name] = value
    if options.chdir:
        try:
            os.chdir(options.chdir)
        except OSError as error:
            raise LoadError("chdir", f"{error.strerror}: {options.chdir}") from None
    if options.virtualenv:
        _activate(os.path.abspath(options.virtualenv))
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for path in reversed(options.pythonpath):
        sys.path.insert(0, os.path.abspath(path))


def load(options: ApplicationOptions) -> Application:
    """Return the application that the options name; raise `LoadError` where there is none."""
    if options.module and options.wsgi_file:
        raise LoadError("wsgi-file", "module and wsgi-file both name an application; remove one")
    if not options.module and not options.wsgi_file:
        raise LoadError(
            "module", "no application: set module = package.module:callable or wsgi-file = file.py"
        )
    name, _, path = options.module.partition(":")
    path = path or options.callable or "application"
    what = options.wsgi_file or name
    option = "wsgi-file" if options.wsgi_file else "module"
    try:
        module = _from_file(what) if options.wsgi_file else importlib.import_module(name)
        app = _attribute(module, path, option)
    except LoadError:
        raise
    except BaseException as error:
        raise LoadError(
            option, f"the application {what} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not callable(app):
        raise LoadError(option, f"{what}:{path} is {type(app).__name__}, which cannot be called")
    return app  # type: ignore[no-any-return]


def _attribute(module: ModuleType, path: str, option: str) -> Any:
    """Follow dots and call ``factory()``."""
    value: Any = module
    for part in path.split("."):
        name = part.removesuffix("()")
        try:
            value = getattr(value, name)
        except AttributeError:
            raise LoadError(option, f"{module.__name__} has no {path}; it has {_callables(module)}") from None
        if part.endswith("()"):
            value = value()
    return value


def _callables(module: ModuleType) -> str:
    names = [
        name
        for name, value in vars(module).items()
        if callable(value) and name[0] != "_" and getattr(value, "__module__", "") == module.__name__
    ]
    return ", ".join(names[:5]) or "nothing that could be called"


def _from_file(path: str) -> ModuleType:
    name = os.path.splitext(os.path.basename(path))[0].replace("-", "_").replace(".", "_")
    if not os.path.isfile(path):
        raise LoadError("wsgi-file", f"there is no file {path} (the directory is {os.getcwd()})")
    name = f"appserver_wsgi_{name}"
    loader = SourceFileLoader(name, os.path.abspath(path))  # the name may end with .wsgi as well
    module = importlib.util.module_from_spec(ModuleSpec(name, loader, origin=loader.path))
    module.__file__ = loader.path
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def _activate(directory: str) -> None:
    """Put a virtual environment's packages first; it must be of this Python."""
    packages = sysconfig.get_path("purelib", "venv", {"base": directory, "platbase": directory})
    if not os.path.isdir(packages):
        raise LoadError(
            "virtualenv",
            f"there is no {packages};"
            f" the environment must be made by Python {sys.version_info[0]}.{sys.version_info[1]}",
        )
    import site  # noqa: PLC0415  (only needed here)

    before = sys.path[:]
    site.addsitedir(packages)
    sys.path[:] = [path for path in sys.path if path not in before] + before
    sys.prefix = directory
    os.environ["VIRTUAL_ENV"] = directory
