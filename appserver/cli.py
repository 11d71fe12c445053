"""The command line: collect settings in the order given, check them all, then serve."""

from __future__ import annotations

import os
import sys
import traceback
from functools import partial
from typing import TYPE_CHECKING

from appserver import __version__, ini
from appserver.address import AddressError, BindOptions
from appserver.application import ApplicationOptions, LoadError, load, prepare
from appserver.listeners.stream import StreamOptions
from appserver.log import Log, LogError, LogOptions
from appserver.options import Catalogue, Setting, Settings
from appserver.plan import ConcurrencyOptions, Plan, PlanError, plan
from appserver.registry import RegistryError, listeners
from appserver.server import Server, StopOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from appserver.listeners.listener import Listener
    from appserver.wsgi import Application

_USAGE = """\
usage: appserver [OPTION ...] [FILE.ini[:SECTION]] [MODULE:CALLABLE]

Serve one WSGI application over every listener that the options mount. Every option can stand in
the ini file without its dashes, and on the command line; the last value counts, and an option
that names a listener's address may be given several times.

  --ini FILE[:SECTION]   Take options from this file.
  --check                Check all options and load the application; listen on nothing.
  --show-config          Print the options that result, as an ini file.
  --version              Print the version.
  -h, --help             Print this.
"""

_COMMANDS = {"--check", "--show-config", "--version", "--help", "-h"}


class CommandLine:
    """What the arguments say: commands, settings in order, and problems found."""

    def __init__(self, arguments: Sequence[str], catalogue: Catalogue) -> None:
        self.commands: set[str] = set()
        self.settings: list[Setting] = []
        self.problems: list[str] = []
        self._catalogue = catalogue
        self._rest = list(arguments)
        while self._rest:
            self._take(self._rest.pop(0))

    def _take(self, argument: str) -> None:
        if argument in _COMMANDS:
            self.commands.add(argument)
        elif argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            self._long(name, value if equals else None)
        elif argument.startswith("-") and len(argument) > 1:
            self._short(argument[1], argument[2:].removeprefix("="))
        elif ":" in argument and not self._names_file(argument):
            self.settings.append(Setting("module", argument, "--module"))
        else:
            self._ini(argument)

    def _names_file(self, argument: str) -> bool:
        path = argument.rpartition(":")[0]
        return path.endswith(".ini") or os.path.isfile(path) or os.path.isfile(argument)

    def _long(self, name: str, value: str | None) -> None:
        if name == "ini":
            if value is None and self._rest:
                value = self._rest.pop(0)
            if value:
                self._ini(value)
            else:
                self.problems.append("--ini: a value is missing; expected a file")
            return
        declared = self._catalogue.by_name.get(name)
        if declared is None:
            self.problems.append(f"--{name}: there is no such option{self._catalogue.suggestion(name)}")
            # What follows is its value, unless it cannot be.
            if value is None and self._rest and self._rest[0][0:1] not in {"-", ""}:
                self._rest.pop(0)
            return
        if value is None and not declared.flag:
            if not self._rest:
                self.problems.append(f"--{name}: a value is missing; expected {declared.expects}")
                return
            value = self._rest.pop(0)
        self._add(name, value, f"--{name}")

    def _short(self, letter: str, attached: str) -> None:
        declared = self._catalogue.by_short.get(letter)
        if declared is None:
            self.problems.append(f"-{letter}: there is no such option; see appserver --help")
        elif declared.flag:
            self._add(declared.name, None, f"-{letter}")
            if attached:  # -ML
                self._short(attached[0], attached[1:].removeprefix("="))
        elif attached or self._rest:
            self._add(declared.name, attached or self._rest.pop(0), f"-{letter}")
        else:
            self.problems.append(f"-{letter}: a value is missing; expected {declared.expects}")

    def _add(self, name: str, value: str | None, place: str) -> None:
        self.settings.append(Setting(name, None if value is None else ini.expanded(value), place))

    def _ini(self, name: str) -> None:
        try:
            self.settings += ini.read(name)
        except ini.IniError as error:
            self.problems.append(str(error))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 1 with the problems on stderr."""
    _keep_standard_streams()
    try:
        classes = listeners()
    except RegistryError as error:
        return _fail([str(error)])
    own = [ApplicationOptions, ConcurrencyOptions, BindOptions, StreamOptions, LogOptions, StopOptions]
    try:
        catalogue = Catalogue([*own, *(each.Options for each in classes.values())])
    except ValueError as error:
        return _fail([str(error)])
    line = CommandLine(sys.argv[1:] if arguments is None else arguments, catalogue)
    if line.commands & {"--help", "-h"}:
        _print(_help(catalogue))
        return 0
    if "--version" in line.commands:
        _print(f"appserver {__version__}\n")
        return 0
    settings, problems = catalogue.build(line.settings)
    problems = line.problems + problems
    if "--show-config" in line.commands:
        _print(ini.written(line.settings))
        return _fail(problems) if problems else 0
    mounted = _mounted(settings, classes)
    if not mounted and not problems:
        problems.append("nothing to listen on: set http-socket = :8080, socket = /path.sock or zeromq = ...")
    check = "--check" in line.commands
    if problems and not check:
        return _fail(problems)
    place = partial(catalogue.place, line.settings)
    return _run(place, settings, mounted, problems, check)


def _keep_standard_streams() -> None:
    """Fill descriptors 0 to 2 where they are closed, lest a client's socket become our stderr."""
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)


def _run(
    place: Callable[..., str],
    settings: Settings,
    mounted: list[Listener],
    problems: list[str],
    check: bool,
) -> int:
    """Load the application, and serve it unless that is only to be checked."""
    chosen: Plan | None = None
    app: Application | None = None
    try:
        chosen = plan(mounted, settings.of(ConcurrencyOptions))
        if settings.of(ConcurrencyOptions).gevent:
            from gevent import monkey  # noqa: PLC0415  (only where it is wanted)

            monkey.patch_all()
    except PlanError as error:
        problems.append(f"{place('gevent')}{error}")
    try:
        log = Log(settings.of(LogOptions)) if not check else None
    except LogError as error:
        return _fail([*problems, f"{place(error.option, error.value)}{error}"])
    try:
        options = settings.of(ApplicationOptions)
        try:
            prepare(options)
            app = load(options)
            if log is not None:
                log.reclaim()
        except LoadError as error:
            if error.__cause__ is not None:
                traceback.print_exception(error.__cause__)
            problems.append(f"{place(error.option)}{error}")
        if problems or chosen is None or app is None:
            return _fail(problems)
        what = options.module or options.wsgi_file
        if check:
            _print(_report(what, mounted, chosen))
            return 0
        try:
            access = log.access if log is not None else None
            Server(mounted, chosen, app, access, settings.of(StopOptions)).run(what)
        except AddressError as error:
            places = [f"{each.place}: " for _, each in settings.mounts if each.value == error.address]
            return _fail([f"{''.join(places[:1])}{error}"])
        return 0
    finally:
        if log is not None:
            log.close()


def _mounted(settings: Settings, classes: dict[str, type[Listener]]) -> list[Listener]:
    by_options = {each.Options: each for each in classes.values()}
    return [by_options[owner](setting.value or "", settings) for owner, setting in settings.mounts]


def _report(what: str, mounted: list[Listener], chosen: Plan) -> str:
    lines = [f"listener: {listener.name} {listener.address}" for listener in mounted]
    lines += [f"application: {what}", f"concurrency: {chosen.reason}"]
    lines += [f"warning: {warning}" for warning in chosen.warnings]
    return "\n".join([*lines, ""])


def _help(catalogue: Catalogue) -> str:
    lines = [_USAGE]
    for owner in catalogue.owners:
        heading = (owner.__doc__ or owner.__name__).rstrip(".")
        lines.append(f"{heading}:")
        for name, declared in catalogue.by_name.items():
            if declared.owner is not owner or name != declared.name:
                continue
            short = f"-{declared.short}, " if declared.short else ""
            value = "" if declared.flag else f" {declared.expects.upper().replace(' ', '-')}"
            also = f" (also: {', '.join(declared.aliases)})" if declared.aliases else ""
            default = declared.default
            told = f" [{default}]" if default not in (None, "", (), False, 0) else ""
            lines.append(f"  {short}--{name}{value}\n      {declared.help}{told}{also}")
        lines.append("")
    return "\n".join(lines)


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
