"""The command line: collect settings in the order given, check them all, then serve."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, TextIO

from appserver import __version__, ini
from appserver.address import AddressError, BindOptions
from appserver.application import ApplicationOptions, LoadError, load, prepare
from appserver.listeners.stream import StreamOptions
from appserver.log import Log, LogOptions
from appserver.options import Catalogue, Setting, Settings
from appserver.plan import ConcurrencyOptions, Plan, PlanError, plan
from appserver.registry import RegistryError, listeners
from appserver.server import Server, StopOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        elif ":" in argument and not argument.partition(":")[0].endswith(".ini"):
            self.settings.append(Setting("module", argument, "--module"))
        else:
            self._ini(argument)

    def _long(self, name: str, value: str | None) -> None:
        if name == "ini":
            if value is None and self._rest:
                value = self._rest.pop(0)
            if value:
                self._ini(value)
            else:
                self.problems.append("--ini: expected a file")
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
                self.problems.append(f"--{name}: expected {declared.expects}")
                return
            value = self._rest.pop(0)
        self.settings.append(Setting(name, value, f"--{name}"))

    def _short(self, letter: str, attached: str) -> None:
        declared = self._catalogue.by_short.get(letter)
        if declared is None:
            self.problems.append(f"-{letter}: there is no such option; see appserver --help")
        elif declared.flag:
            self.settings.append(Setting(declared.name, None, f"-{letter}"))
            if attached:  # -ML
                self._short(attached[0], attached[1:])
        else:
            if not attached and self._rest:
                attached = self._rest.pop(0)
            self.settings.append(Setting(declared.name, attached, f"-{letter}"))

    def _ini(self, name: str) -> None:
        try:
            self.settings += ini.read(name)
        except ini.IniError as error:
            self.problems.append(str(error))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 1 with the problems on stderr."""
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
        _help(catalogue, sys.stdout)
        return 0
    if "--version" in line.commands:
        print(f"appserver {__version__}")
        return 0
    settings, problems = catalogue.build(line.settings)
    problems = line.problems + problems
    if "--show-config" in line.commands:
        _show(line.settings, sys.stdout)
        return _fail(problems) if problems else 0
    mounted = _mounted(settings, classes)
    if not mounted and not problems:
        problems.append("nothing to listen on: set http-socket = :8080, socket = /path.sock or zeromq = ...")
    check = "--check" in line.commands
    if problems and not check:
        return _fail(problems)
    return _run(line.settings, settings, mounted, problems, check)


def _run(
    given: list[Setting], settings: Settings, mounted: list[Listener], problems: list[str], check: bool
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
        problems.append(str(error))
    try:
        log = Log(settings.of(LogOptions)) if not check else None
    except OSError as error:
        return _fail([*problems, f"the log cannot be opened: {error}"])
    try:
        options = settings.of(ApplicationOptions)
        try:
            prepare(options)
            app = load(options)
        except LoadError as error:
            if error.__cause__ is not None:
                traceback.print_exception(error.__cause__)
            problems.append(f"{_place(given, error.option)}{error}")
        if problems or chosen is None or app is None:
            return _fail(problems)
        what = options.module or options.wsgi_file
        if check:
            _report(what, mounted, chosen)
            return 0
        try:
            access = log.access if log is not None else None
            Server(mounted, chosen, app, access, settings.of(StopOptions)).run(what)
        except AddressError as error:
            return _fail([str(error)])
        return 0
    finally:
        if log is not None:
            logging.getLogger("appserver").debug("closing the log")
            log.close()


def _mounted(settings: Settings, classes: dict[str, type[Listener]]) -> list[Listener]:
    by_options = {each.Options: each for each in classes.values()}
    return [by_options[owner](setting.value or "", settings) for owner, setting in settings.mounts]


def _place(given: list[Setting], name: str) -> str:
    """Return the place of the last setting of an option, with a colon, if it is set at all."""
    places = [f"{setting}: " for setting in given if setting.name == name]
    return places[-1] if places else ""


def _report(what: str, mounted: list[Listener], chosen: Plan) -> None:
    for listener in mounted:
        print(f"listener: {listener.name} {listener.address}")
    print(f"application: {what}")
    print(f"concurrency: {chosen.reason}")
    for warning in chosen.warnings:
        print(f"warning: {warning}")


def _show(given: list[Setting], out: TextIO) -> None:
    print("[appserver]", file=out)
    for setting in given:
        print(f"{setting.name} = {setting.value or 'true'}", file=out)


def _help(catalogue: Catalogue, out: TextIO) -> None:
    print(_USAGE, file=out)
    for owner in catalogue.owners:
        heading = (owner.__doc__ or owner.__name__).rstrip(".")
        print(f"{heading}:", file=out)
        for name, declared in catalogue.by_name.items():
            if declared.owner is not owner or name != declared.name:
                continue
            short = f"-{declared.short}, " if declared.short else ""
            value = "" if declared.flag else f" {declared.expects.upper().replace(' ', '-')}"
            also = f" (also: {', '.join(declared.aliases)})" if declared.aliases else ""
            default = declared.default
            told = f" [{default}]" if default not in (None, "", (), False, 0) else ""
            print(f"  {short}--{name}{value}\n      {declared.help}{told}{also}", file=out)
        print(file=out)


def _fail(problems: list[str]) -> int:
    for problem in problems:
        print(f"appserver: {problem}", file=sys.stderr)
    return 1
