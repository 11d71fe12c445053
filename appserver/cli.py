"""The command line: check all options, then do what the command says."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NoReturn

from appserver import __version__, forks, hooks, leaving
from appserver.address import AddressError
from appserver.application import ApplicationOptions, LoadError, implied, load, settle
from appserver.compat import finder
from appserver.configuration import Configuration, ConfigurationError
from appserver.hooks import HookError, HookOptions
from appserver.ini.written import written
from appserver.lifecycle import privileges
from appserver.lifecycle.error import StartError
from appserver.lifecycle.privileges import PrivilegeOptions
from appserver.log import zone
from appserver.log.access import AccessOptions
from appserver.log.destinations import Log, LogError
from appserver.log.options import LogOptions
from appserver.patching import Patching
from appserver.plan import ConcurrencyOptions
from appserver.surroundings import prepare, run_hooks
from appserver.usage import FLAGS, usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from appserver.wsgi import Application

_TOOLS = 6  # that may watch (PEP 669)
_WIDTH = 100  # columns of lines that are written to no terminal


def run() -> NoReturn:
    """Run the command line of this process, and end that, whatever threads the application has left."""
    code = main()
    if _observed():  # cProfile and coverage write then
        sys.exit(code)
    leaving.finish()
    os._exit(code)


def _observed() -> bool:
    """Tell whether a profiler or a tracer watches this process; since 3.12 some do by `sys.monitoring`."""
    if sys.getprofile() is not None or sys.gettrace() is not None:
        return True
    monitoring = getattr(sys, "monitoring", None)
    return monitoring is not None and any(monitoring.get_tool(each) for each in range(_TOOLS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 1 with the problems on stderr."""
    _keep_standard_streams()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if (command := _command(arguments[:1])) is not None:
        return command(arguments[1:])
    try:
        if set(arguments) & set(FLAGS):
            return _help(arguments)
        configuration = Configuration(arguments)
    except ConfigurationError as error:
        return _fail(error.problems)
    if "--version" in configuration.commands:
        _print(f"appserver {__version__}\n")
        return 0
    if "--show-config" in configuration.commands:
        text, lost = written([*configuration.effective(), *implied(configuration.settings)])
        _print(text)
        problems = configuration.mistakes + lost
        return _fail(problems) if problems else 0
    if "--check" in configuration.commands:
        return _check(configuration)
    if configuration.problems:
        return _fail(configuration.problems)
    return _run(configuration)


def _command(named: Sequence[str]) -> Callable[[Sequence[str]], int] | None:
    """Return what does the command that the first argument names, if it names one."""
    # ruff: noqa: PLC0415  (a server does without them)
    if named == ["ctl"]:
        from appserver.lifecycle.ctl import main as command
    elif named == ["parity"]:
        from appserver.parity.command import main as command
    elif named == ["doctor"]:
        from appserver.doctor import main as command
    else:
        return None
    return command


def _help(arguments: Sequence[str]) -> int:
    import shutil

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH
    text, found = usage(Configuration([]).catalogue, arguments, width)
    if found:
        _print(text)
        return 0
    print(text, end="", file=sys.stderr)
    return 1


def _keep_standard_streams() -> None:
    """Fill descriptors 0 to 2 where they are closed, lest a client's socket become our stderr.

    Python has no streams for those that were closed when it began; a daemon's log wants them.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        name = ("stdin", "stdout", "stderr")[fd]
        if getattr(sys, name) is None:
            mode = "w" if fd else "r"
            setattr(sys, name, open(fd, mode, buffering=1, errors="backslashreplace", closefd=False))  # noqa: SIM115  (for the life of the process)
    os.close(fd)


def _check(configuration: Configuration) -> int:
    """Load the application and report what would be served, and what becomes of every line."""
    from appserver.check import Report

    unloadable = lacking = ""
    machine = "--json" in configuration.commands
    # A master has looked for all this before it becomes another user, and loads the application.
    missing = configuration.missing() if configuration.supervised else []
    dangers = [*configuration.dangers(), *configuration.unavailable()]  # as who starts it
    patching = _patch(configuration)
    options = configuration.settings.of(PrivilegeOptions)
    privileges.mask(options)
    try:
        lacking = privileges.rehearse(options)
        with _printing_to_stderr() if machine else nullcontext():
            _load(configuration, hooks=False)
        settle(configuration.settings)
    except (LoadError, StartError) as error:
        unloadable = configuration.told(error)
    if not configuration.supervised:  # what the application makes is there before the sockets are
        missing = configuration.missing()
    problems = [*missing, *([unloadable] if unloadable else [])]
    noticed = [*patching.warnings, *dangers, *configuration.absent()]
    report = Report(configuration, problems, noticed, lacking)
    if machine:
        _print(report.json())
        os.dup2(2, 1)  # from now on, too: threads go on, and there are functions of atexit
    else:
        _print(report.text(colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
        _fail(report.problems)
    return report.code


@contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Have stdout for what is printed next: what the application and its children print goes to stderr."""
    leaving.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        leaving.flush()
        os.dup2(stdout, 1)
        os.close(stdout)


def _patch(configuration: Configuration) -> Patching:
    return Patching(configuration.settings.of(ConcurrencyOptions), configuration.plan)


def _load(configuration: Configuration, *, hooks: bool = True) -> Application:
    """Return the application; print the traceback of what its code raised, and raise `LoadError`."""
    try:
        prepare(configuration.settings, configuration.plan)
        return load(configuration.settings, hooks=hooks)
    except LoadError as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        raise


def _run(configuration: Configuration) -> int:
    """Serve, with a master or without."""
    log: Log | None = None
    settings = configuration.settings
    zone.keep(dict(settings.of(ApplicationOptions).env).get("TZ"))
    privileges.mask(settings.of(PrivilegeOptions))
    try:
        run_hooks(settings, "asap")
        if configuration.supervised:
            from appserver.lifecycle import start

            return start.run(configuration)
        from appserver import alone
        from appserver.lifecycle.notify import Notifier

        notifier = Notifier()
        _obey_as_process_1()
        patching = _patch(configuration)
        log = Log(settings.of(LogOptions), settings.of(AccessOptions))
        patching.tell()
        configuration.tell(logging.getLogger("appserver"))
        run_hooks(settings, "as-root")
        run_hooks(settings, "as-user")
        forks.begin()
        app = _load(configuration)
        log.reclaim()
        finder.begin()
        settle(settings)
        alone.run(configuration, log, app, notifier)
        hooks.run(settings.of(HookOptions), "as-user-atexit")  # in the application's process
    except (AddressError, LogError, StartError, HookError, LoadError) as error:
        return _fail([configuration.told(error)])
    else:
        return 0
    finally:
        if log is not None:
            log.close()


def _obey_as_process_1() -> None:
    """Have process 1 of a container end as any process does: the kernel drops what it has no handler for."""
    if os.getpid() == 1:
        numbers = signal.SIGTERM, signal.SIGQUIT  # Python has a handler for SIGINT
        for number in numbers:
            signal.signal(number, lambda number, _: os._exit(128 + number))
        forks.own(*numbers)


def _print(text: str) -> None:
    """Write to stdout, bytes of a file that are no UTF-8 included; nobody need read it to its end."""
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        sys.stdout.flush()
    except BrokenPipeError:  # appserver --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(problems: list[str]) -> int:
    for problem in problems:
        print(f"appserver: {problem}", file=sys.stderr)
    return 1
