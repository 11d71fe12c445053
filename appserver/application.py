"""Find and load the WSGI application."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import stat
import sys
from dataclasses import dataclass
from functools import partial
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from appserver import forks
from appserver.compat.locks import LockOptions
from appserver.compat.module import WithLogvars
from appserver.headers import HeaderOptions, Headers
from appserver.hooks import HookError, HookOptions, run
from appserver.lifecycle.privileges import named_user
from appserver.loading import watched
from appserver.mounts import Managed, MountOptions, Mounts
from appserver.options import BadValue, Kind, Setting, option
from appserver.routing import RouteOptions, Routes
from appserver.static.options import StaticOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType, TracebackType

    from appserver.options import Settings
    from appserver.wsgi import Application


def variable(text: str) -> tuple[str, str]:
    """Convert ``env``: ``NAME=value``."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise BadValue("NAME=value")
    return name.strip(), value.strip()


def no_variable(text: str) -> tuple[str, None]:
    """Convert ``unenv``: a name."""
    return text, None


def arguments(text: str) -> tuple[str, ...]:
    """Convert ``pyargv``: words between blanks."""
    return tuple(text.split())


@dataclass(frozen=True)
class ApplicationOptions:
    """Application."""

    module: str = option(
        "", "The application: pkg.mod, pkg.mod:callable or pkg.mod:factory().", short="w",
        aliases=("wsgi",), expects="module[:callable]", note="A factory may have dots.",
    )  # fmt: skip
    wsgi_file: str = option(
        "", "The application's Python file.", aliases=("file",), expects="file",
        example="/srv/mysite/wsgi.py",
    )  # fmt: skip
    callable: str = option(
        "", "The callable's name where nothing else gives one (default: application).", example="app"
    )
    chdir: str = option(
        "", "Working directory, set before the application is loaded. Sockets, the files of touch-...,"
        " pidfile2 and safe-pidfile are below it, too.", aliases=("force-cwd",), expects="directory",
        note="`pidfile`, logs and `control-socket` are below the directory of the start, as files of"
        " configuration are.",
    )  # fmt: skip
    chdir2: str = option("", "Working directory, set once a worker has begun.", expects="directory")
    pythonpath: tuple[str, ...] = option(
        (), "Put this directory first on sys.path, or those that match: *, ? and [...] are those of a shell.",
        aliases=("python-path", "pp"), expects="directory",
        note="Of several the first one is first; in uWSGI the last one is.",
    )  # fmt: skip
    env: tuple[tuple[str, str | None], ...] = option(
        (), "Set an environment variable for the application, and for what hooks and other options run.",
        convert=variable, expects="NAME=value",
    )  # fmt: skip
    unenv: tuple[tuple[str, None], ...] = option(
        (), "Unset an environment variable for the application; of env and unenv the later one counts.",
        convert=no_variable, expects="text", example="DEBUG", joins="env",
    )  # fmt: skip
    envdir: tuple[str, ...] = option(
        (), "Set an environment variable for each file in this directory, after env and unenv; an empty file"
        " unsets it.",
        expects="directory", example="/run/secrets",
    )  # fmt: skip
    pyargv: tuple[str, ...] = option(
        (), "Words for the application's sys.argv, behind the program's name.", convert=arguments,
        expects="words", example="--config site.yml", note="sys.argv is the server's own without it.",
    )  # fmt: skip
    import_: tuple[str, ...] = option(
        (), "Import this module, or run this .py file, before the application is loaded.",
        aliases=(
            "pyimport", "py-import", "python-import", "shared-import", "shared-pyimport", "shared-py-import",
            "shared-python-import",
        ),
        expects="module", example="mysite.patches",
        note="One that cannot be imported keeps the server from starting; in uWSGI it is a line in the log.",
    )  # fmt: skip
    virtualenv: str = option(
        "", "Use the packages of this virtual environment.", short="H",
        aliases=("home", "venv", "pyhome"), expects="directory", example="/srv/mysite/venv",
        note="It must be made by this Python; the server itself need not be installed in it.",
    )  # fmt: skip


# What makes an application, beside its own options.
OPTIONS: tuple[type, ...] = (
    ApplicationOptions,
    MountOptions,
    StaticOptions,
    HeaderOptions,
    HookOptions,
    RouteOptions,
    LockOptions,
)

_MOUNTING = frozenset({"mount", "worker-mount"})
# What applications are called, and what makes them.
_USUAL = ("application", "app", "wsgi", "wsgi_app", "wsgi_application", "handler", "main")
_MAKER = re.compile(
    r"(create|make|build|get)_(wsgi_)?app(lication)?|(wsgi_)?app(lication)?_factory"
).fullmatch
_NO_DEFAULT = "no-default-app"
_ELSEWHERE = "correct the name, or set pythonpath to the directory that has it (the directory is "
_LOADING = frozenset({"appserver", "importlib", "_frozen_importlib"})


class LoadError(Exception):
    """Say why there is no application; the cause is the exception of its code, if any.

    ``option`` is the option to look at, and ``value`` is in the one of its values that counts, if it is one.
    """

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(reason)
        self.option = option
        self.value = ""


def load(settings: Settings, *, hooks: bool = True) -> Application:
    """Return the application that the options name; raise `LoadError` where there is none.

    It is the application of ``module`` or ``wsgi-file``, or those of ``mount``. Without *hooks* it is
    only loaded, and no command is run before and after.
    """
    options, mounted = settings.of(ApplicationOptions), settings.of(MountOptions)
    if options.module and options.wsgi_file:
        raise LoadError("wsgi-file", "module and wsgi-file both name an application; remove one")
    if not options.module and not options.wsgi_file and not mounted.mount:
        raise LoadError(
            "module", "no application: set module = package.module:callable or wsgi-file = file.py"
        )
    if hooks:
        _run("pre-app", settings)
    with watched(named(settings)):
        app = _load(settings)
    app = _surrounded(settings, app)
    if hooks:
        _run("post-app", settings)
    return app


def settle(settings: Settings) -> None:
    """Go where requests are served, once all has begun in this process; raise `LoadError`."""
    if directory := settings.of(ApplicationOptions).chdir2:
        change_directory("chdir2", directory)


def _load(settings: Settings) -> Application:
    options, mounted = settings.of(ApplicationOptions), settings.of(MountOptions)
    for name in options.import_:
        _loaded("import", name, partial(_module, name, "import"))
    app: Application | None = None
    if options.wsgi_file:
        app = _application("wsgi-file", options.wsgi_file, options.callable, is_file=True)
    elif options.module:
        app = _application("module", options.module, options.callable, is_file=False)
    if mounted.mount:
        apps = {prefix: _mounted(what, options.callable) for prefix, what in mounted.mount}
        app = Mounts(apps, app, _instead(settings, mounted), strict=mounted.no_default_app)
    assert app is not None
    return app


def _mounted(what: str, name: str) -> Application:
    try:
        return _application("mount", what, name, is_file=_is_file(what))
    except LoadError as error:
        error.value = what
        raise


def _instead(settings: Settings, mounted: MountOptions) -> str:
    """Return the prefix of the application that uWSGI gives what is mounted nowhere; empty for none."""
    if any(each.name == _NO_DEFAULT for each in settings.given):
        return "" if mounted.no_default_app else mounted.mount[0][0]
    return mounted.mount[0][0] if implied(settings) else ""


def implied(settings: Settings) -> list[Setting]:
    """Return what a section ``[uwsgi]`` says by being one, as a section ``[appserver]`` would have to."""
    options = settings.of(ApplicationOptions)
    mounts = [each for each in settings.given if each.name in _MOUNTING and each.kind is Kind.OPTION]
    if (
        not mounts
        or options.module
        or options.wsgi_file
        or not mounts[0].lenient
        or mounts[0].place.startswith("$APPSERVER_")
        or any(each.name == _NO_DEFAULT for each in settings.given)
    ):
        return []
    return [Setting(_NO_DEFAULT, "false", mounts[0].place)]


def _run(stage: str, settings: Settings) -> None:
    try:
        run(settings.of(HookOptions), stage)
    except HookError as error:
        raise LoadError(error.option, str(error)) from None


def _surrounded(settings: Settings, app: Application) -> Application:
    """Return the application behind what answers in its place, or changes its answers."""
    static, headers = settings.of(StaticOptions), settings.of(HeaderOptions)
    mounted = settings.of(MountOptions)
    if "uwsgi" in sys.modules:
        app = WithLogvars(app)
    ruled = partial(Routes, settings) if settings.of(RouteOptions) != RouteOptions() else None
    if static.static_map or static.static_map2 or static.check_static:
        from appserver.static.service import Static  # noqa: PLC0415  (it parses dates with email's help)

        app = Static(static, app, ruled)  # around files as well: a rule may refuse them
    elif ruled is not None:
        app = ruled(app)
    if headers != HeaderOptions():
        app = Headers(headers, app)
    if mounted.manage_script_name and mounted.mount:  # first: rules are for what is behind the prefix
        app = Managed([prefix for prefix, _ in mounted.mount], app)
    return app


def mountpoints(settings: Settings) -> list[str]:
    """Return where applications are mounted, if ``mount`` tells; "" is that of all other requests."""
    options = settings.of(ApplicationOptions)
    mounts = [prefix for prefix, _ in settings.of(MountOptions).mount]
    if mounts and (options.module or options.wsgi_file):
        mounts.insert(0, "")
    return list(dict.fromkeys(mounts))


def named(settings: Settings) -> str:
    """Return the application as the options name it."""
    options = settings.of(ApplicationOptions)
    mounts = [f"{what} at {prefix or '/'}" for prefix, what in settings.of(MountOptions).mount]
    return ", ".join(filter(None, [options.module or options.wsgi_file, *mounts]))


def _application(option: str, what: str, name: str, *, is_file: bool) -> Application:
    """Return the application of ``module:callable`` or of a file."""
    source, path = (what, "") if is_file else what.partition(":")[::2]
    path = path or name or "application"
    module = _loaded(option, source, lambda: _module(source, option, is_file=is_file))
    app = _loaded(option, source, lambda: _attribute(module, path, option, source, is_file=is_file))
    if not callable(app):
        raise LoadError(option, f"{source}:{path} is {type(app).__name__}, which cannot be called")
    if why := _no_application(app, path):
        raise LoadError(option, f"{source}:{path} {why}")
    return app  # type: ignore[no-any-return]


def _no_application(app: Any, path: str) -> str:
    """Return why a callable cannot be an application of WSGI; empty where it may be one.

    Only what is written in Python, and says nothing else of how it is called, tells that for certain.
    """
    called = app
    if not isinstance(app, (FunctionType, MethodType, partial)) and type(app) is not type:
        code = inspect.getattr_static(type(app), "__call__", None)
        if not isinstance(code, FunctionType):
            return ""
        called = MethodType(code, app)
    if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
        return "is of ASGI (async def): put an adapter to WSGI around it, or take a server of ASGI"
    if isinstance(app, partial) or hasattr(called, "__signature__"):
        return ""
    try:
        signature = inspect.signature(called, follow_wrapped=False)
    except ValueError:  # a class that derives from one written in C
        return ""
    if _binds(signature, {}, None):
        return ""
    if _binds(signature):
        return f"takes no environ, so it is what makes the application: write {path}()"
    return f"cannot be called with (environ, start_response), as WSGI does: it is {path}{signature}"


def _binds(called: inspect.Signature, *arguments: object) -> bool:
    try:
        called.bind(*arguments)
    except TypeError:
        return False
    return True


def _loaded(option: str, what: str, load: Callable[[], Any]) -> Any:
    """Return what *load* returns; raise `LoadError` for whatever it raises."""
    try:
        found = load()
    except LoadError:
        raise
    except BaseException as error:
        forks.leave(error)
        kind = "module" if option == "import" else "application"
        told = f"the {kind} {what} cannot be loaded"
        error.__traceback__ = _of_application(error.__traceback__)
        if error.__traceback__ is None and isinstance(error, ModuleNotFoundError):
            raise LoadError(option, f"{told}: {error}; {_ELSEWHERE}{os.getcwd()})") from None
        raise LoadError(option, f"{told}: {type(error).__name__}: {error}") from error
    forks.leave()
    return found


def _of_application(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of the server and of importlib that a traceback begins with."""
    while trace is not None:
        package = trace.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        if package not in _LOADING:
            break
        trace = trace.tb_next
    return trace


def _module(what: str, option: str, *, is_file: bool | None = None) -> ModuleType:
    if _is_file(what) if is_file is None else is_file:
        return _from_file(what, option)
    return importlib.import_module(what)


def _is_file(what: str) -> bool:
    return what.endswith((".py", ".wsgi")) or "/" in what


def change_directory(option: str, directory: str) -> None:
    """Go to a directory; raise `LoadError` that names *option*."""
    try:
        os.chdir(directory)
    except OSError as error:
        raise LoadError(option, f"{error.strerror}: {directory}") from None


def readable(option: str, path: str, kind: Callable[[int], bool]) -> bool:
    """Tell whether there is something of a kind at *path*; raise `LoadError` where that cannot be read."""
    try:
        found = kind(os.stat(path).st_mode)
        if found:
            os.close(os.open(path, os.O_RDONLY))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise LoadError(option, f"{named_user(os.geteuid())} cannot read {path}: {error.strerror}") from None
    return found


def _attribute(module: ModuleType, path: str, option: str, source: str, *, is_file: bool) -> Any:
    """Follow dots and call ``factory()``; *source* is the module or its file as the option has it."""
    value: Any = module
    for part in path.split("."):
        name = part.removesuffix("()")
        try:
            value = getattr(value, name)
        except AttributeError:
            names, likely = _callables(module)
            told = f"{source} has no {path}; it has {', '.join(names[:5]) or 'nothing that could be called'}"
            if likely:
                told += f": set callable = {likely}" if is_file else f": write {source}:{likely}"
            raise LoadError(option, told) from None
        if part.endswith("()"):
            value = value()
    return value


def _callables(module: ModuleType) -> tuple[list[str], str]:
    """Return what a module has that may be an application, and what is likely to be one; empty for nothing.

    Functions and classes that are imported are left out; an object that is one of a framework's class is not.
    Usual names come first.
    """
    made, likely, others = [], [], []
    for name, value in vars(module).items():
        if name[0] == "_" or not callable(value):
            continue
        defined = issubclass(type(value), (FunctionType, type))
        called = value if defined else inspect.getattr_static(type(value), "__call__")
        own = getattr(value if defined else type(value), "__module__", "") == module.__name__
        if isinstance(called, FunctionType) and _wants_both(called, bound=not defined):
            if not defined:
                made.append(name)
            elif own:
                likely.append(name)
        elif own:
            others.append(name)
    found = sorted(made + likely, key=_unusual)
    makers = [name for name in others if _MAKER(name) and _makes(vars(module)[name])]
    others = [*makers, *(name for name in others if name not in makers)]
    calls = [f"{name}()" for name in makers]
    return found + others, [*found, *calls, ""][0]


def _unusual(name: str) -> int:
    return _USUAL.index(name) if name in _USUAL else len(_USUAL)


def _makes(called: Any) -> bool:
    """Tell whether a function can be called without anything."""
    return isinstance(called, FunctionType) and _binds(inspect.signature(called, follow_wrapped=False))


def _wants_both(called: FunctionType, *, bound: bool) -> bool:
    """Tell whether a function takes the two arguments of WSGI, and cannot do without."""
    signature, first = inspect.signature(called, follow_wrapped=False), (None,) if bound else ()
    return _binds(signature, *first, {}, None) and not _binds(signature, *first)


def _from_file(path: str, option: str) -> ModuleType:
    """Return the module of a file, which is run once, however often it is named."""
    name = os.path.splitext(os.path.basename(path))[0].replace("-", "_").replace(".", "_")
    if not readable(option, path, stat.S_ISREG):
        raise LoadError(option, f"there is no file {path} (the directory is {os.getcwd()})")
    first = name = f"appserver_wsgi_{name}"
    path = os.path.abspath(path)
    number = 1
    while (other := sys.modules.get(name)) is not None:  # pickle and typing look modules up by name
        if other.__file__ == path:
            return other
        number += 1
        name = f"{first}_{number}"
    loader = SourceFileLoader(name, path)  # the name may end with .wsgi as well
    module = importlib.util.module_from_spec(ModuleSpec(name, loader, origin=path))
    module.__file__ = path
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:  # what has run in part is no module, as for import
        del sys.modules[name]
        raise
    return module
