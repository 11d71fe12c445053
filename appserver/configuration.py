"""What a server is to be: all settings checked, its listeners made, its plan chosen; nothing begun.

It is read again for each reload, so nothing here may depend on what has been read before.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from appserver.absent import absent
from appserver.address import AddressError
from appserver.application import OPTIONS as APPLICATION_OPTIONS
from appserver.application import named
from appserver.arguments import CommandLine
from appserver.binding import BindOptions
from appserver.blocking import BlockingOptions
from appserver.directories import Missing, missing
from appserver.fairqueue import QueueOptions
from appserver.hooks import HookOptions, wanted
from appserver.interfaces import unavailable
from appserver.lifecycle import cheaper, recycling
from appserver.lifecycle.cheaper import CheaperOptions
from appserver.lifecycle.options import OPTIONS as LIFECYCLE_OPTIONS
from appserver.lifecycle.options import wants_master
from appserver.lifecycle.privileges import PrivilegeOptions, owner_of_sockets
from appserver.lifecycle.recycling import RecyclingOptions
from appserver.lifecycle.touch import TouchOptions, without_watcher
from appserver.listeners.options import Mongrel2ServerOptions, StreamOptions
from appserver.log.access import AccessOptions
from appserver.log.destinations import LogError, encryption
from appserver.log.options import LogOptions, astray
from appserver.masking import visible
from appserver.options import TRUE, Catalogue, Kind, changed, kept, option
from appserver.overlaps import overlaps
from appserver.plan import ConcurrencyOptions, Plan, PlanError, plan
from appserver.registry import RegistryError, listeners
from appserver.server import StopOptions
from appserver.spec import Spec
from appserver.trust import TrustOptions
from appserver.verdict import Judge
from appserver.websocket.options import WebSocketOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from logging import Logger

    from appserver.listeners.listener import Listener
    from appserver.options import Setting, Settings


@dataclass(frozen=True)
class FileOptions:
    """Configuration."""

    strict: bool = option(
        False, "Refuse unknown options in uWSGI's sections, too, instead of taking them for variables.",
        note="[appserver] sections are always strict.",
    )  # fmt: skip
    print: tuple[str, ...] = option(
        (), "Write this to the log at the start.", example="serving from %d", expects="text",
    )  # fmt: skip


_OWN = (
    FileOptions,
    *APPLICATION_OPTIONS,
    ConcurrencyOptions,
    BlockingOptions,
    QueueOptions,
    BindOptions,
    TrustOptions,
    StreamOptions,
    Mongrel2ServerOptions,
    WebSocketOptions,
    LogOptions,
    AccessOptions,
    StopOptions,
)
_NOTHING = "nothing to listen on: set http-socket = :8080, socket = /path.sock or zeromq = ..."
_UNLOCKED = "Python is told to run without its GIL, which gevent needs: leave out PYTHON_GIL=0 and -X gil=0"
_UNREAD = "UWSGI_* variables are read only with --uwsgi-env or APPSERVER_UWSGI_ENV=true"


class ConfigurationError(Exception):
    """List every problem of a configuration, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _OfAnOption(Protocol):
    """An error that an option has led to; ``value`` is in the option's value."""

    option: str
    value: str


def _one_application(settings: list[Setting]) -> tuple[list[Setting], list[str]]:
    """Leave out ``wsgi-file`` where there is ``module``, too, in uWSGI's sections, and say so."""
    options = [each for each in settings if each.kind is Kind.OPTION]
    modules = [each for each in options if each.name in {"module", "wsgi"}]
    files = [each for each in options if each.name in {"wsgi-file", "file"} and each.lenient]
    if not modules:
        return settings, []
    told = [f"{each}: {modules[-1]} is the application, as in uWSGI; remove one of them" for each in files]
    return [each for each in settings if each not in files], told


def _below_chdir(catalogue: Catalogue, settings: list[Setting]) -> Callable[[Setting], Setting]:
    """Return what makes relative paths those below ``chdir``, where uWSGI is when it opens them."""
    values = {
        declared.name: each.value or ""
        for each in settings
        if each.kind is Kind.OPTION and (declared := catalogue.by_name.get(each.name)) is not None
    }
    directory = values.get("chdir", "") and os.path.abspath(values["chdir"])
    # Their names are no paths; those that are no addresses stay what they are.
    abstract = values.get("abstract-socket", "false").lower() in TRUE

    def below(setting: Setting) -> Setting:
        declared, value = catalogue.by_name.get(setting.name), (setting.value or "").strip()
        if setting.kind is not Kind.OPTION or declared is None or declared.relative is None:
            return setting
        if not declared.relative(value) or (abstract and declared.expects == "address"):
            return setting
        written = setting.value if setting.written is None else setting.written
        return replace(setting, value=os.path.join(directory, value.removeprefix("./")), written=written)

    return below if directory else lambda setting: setting


def _of_their_user(settings: Settings) -> Settings:
    """Give Unix sockets to the user that the server becomes, unless ``chown-socket`` says to whom."""
    options = settings.of(BindOptions)
    if options.chown_socket is not None:
        return settings
    return settings.having(replace(options, chown_socket=owner_of_sockets(settings.of(PrivilegeOptions))))


class Configuration:
    """Read *arguments* and the files that they name.

    ``problems`` are all that were found, ``mistakes`` those of single options; where there are any,
    ``plan`` may be None and the listeners too few. ``warnings`` are sentences about what is not as it
    looks, ``remarks`` those of them that reading has found; ``verdicts`` tell what becomes of each setting,
    and have the others. None of their texts has ``secrets`` in it.
    ``directory`` is where relative files were looked for; ``first`` is the configuration of the start, given
    by a reload. ``settings`` have from that what holds until a restart; ``asked`` are those that were read.
    Raise `ConfigurationError` where not even the options can be known.
    """

    def __init__(self, arguments: Sequence[str], *, first: Configuration | None = None) -> None:
        self.arguments = list(arguments)
        self.first = first or self
        try:
            self.directory = os.getcwd()
        except FileNotFoundError:
            raise ConfigurationError(
                ["the current directory has been removed; start the server in one that is there (try cd /)"]
            ) from None
        try:
            classes = listeners()
            self.catalogue = Catalogue(
                [*_OWN, *LIFECYCLE_OPTIONS, *(each.Options for each in classes.values())]
            )
        except (RegistryError, ValueError) as error:
            raise ConfigurationError([str(error)]) from None
        line = CommandLine(arguments, self.catalogue, os.environ, reloading=first is not None)
        self.commands = line.commands
        self.secrets = line.secrets
        below = _below_chdir(self.catalogue, line.settings)
        self.given, told = _one_application(list(map(below, line.settings)))
        # A problem begins with its setting as it was read.
        everything = line.all if line.problems else list(map(below, line.all))
        verdicts = Judge(self.catalogue, everything, line.problems).verdicts
        self.verdicts = [replace(each, text=self.secrets.hidden(each.text)) for each in verdicts]
        self.asked, problems = self.catalogue.build(self.given)
        self.settings = _of_their_user(self._held(self.asked))
        self.mistakes = [visible(self.secrets.hidden(each)) for each in line.problems + problems]
        self.remarks = [visible(self.secrets.hidden(each)) for each in line.warnings + told]
        judged = [visible(self.secrets.hidden(str(each))) for each in verdicts if each.warns]
        self.warnings = self.remarks + judged
        self.problems = [*self.mistakes]
        self.listeners: list[Listener] = [
            self._kind(classes, mounting, setting)(setting.value or "", self.settings)
            for mounting, setting in self.settings.mounts
        ]
        found = overlaps(self.listeners, self.settings, self.catalogue, self.directory)
        self.problems += [visible(self.secrets.hidden(each)) for each in found]
        if getattr(sys.flags, "gil", None) == 0:  # None where it takes the GIL when gevent wants it
            self.problems.append(_UNLOCKED)
        if not self.listeners and not self.problems:
            unread = f"; {' and '.join(line.unread)}: {_UNREAD}" if line.unread else ""
            self.problems.append(f"{_NOTHING}{unread}")
        least, most = self.settings.of(CheaperOptions).cheaper, self.settings.of(ConcurrencyOptions).processes
        if least > most and not self.mistakes:  # else it may not be what was meant
            expected = f"expected no more than the option processes says, {most}"
            self.problems.append(self._placed("cheaper", "", expected))
        self.plan: Plan | None = None
        try:
            self.plan = plan(self.listeners, self.settings.of(ConcurrencyOptions))
        except PlanError as error:
            self.problems.append(self._placed("gevent", "", error))

    def _held(self, settings: Settings) -> Settings:
        """Return *settings* with what holds until a restart as it was at first: whoever asks is told that."""
        if self.first is not self:
            for owner in self._lasting():
                settings = settings.having(kept(self.first.asked.of(owner), settings.of(owner)))
        return settings

    def _lasting(self) -> list[type]:
        """Return the owners of options that were there at the start; a plug-in may be new."""
        return [each for each in self.catalogue.owners if each in self.first.catalogue.owners]

    def _kind(self, classes: dict[str, type[Listener]], owner: type, setting: Setting) -> type[Listener]:
        """Return the class of the listener that a setting mounts."""
        kinds = [each for each in classes.values() if each.Options is owner]
        if setting.name == "socket":
            # What is spoken on a plain socket is an option, and may be what another listener speaks.
            spoken = getattr(self.settings.of(owner), "protocol", "")
            kinds = [classes[spoken]] if spoken in classes else kinds
        return kinds[0]

    def tell(self, log: Logger) -> None:
        """Log what is to be said about the configuration when the server starts."""
        for text in self.settings.of(FileOptions).print:
            log.info("%s", self.secrets.hidden(text))
        for warning in [*self.warnings, *self.dangers()]:
            log.warning("%s", warning)

    def dangers(self) -> list[str]:
        """Return warnings about whom the listeners let in and whom they believe, and what is in vain."""
        settings = self.settings
        processes = settings.of(ConcurrencyOptions).processes
        beside = cheaper.astray(settings.of(CheaperOptions), processes) + recycling.astray(
            settings.of(RecyclingOptions)
        )
        in_vain = astray(settings.of(LogOptions)) + [(option, "", why) for option, why in beside]
        return [
            self.secrets.hidden(f"{setting.place}: {danger}")
            for listener, (_, setting) in zip(self.listeners, self.settings.mounts, strict=True)
            for danger in listener.dangers()
        ] + [self._placed(option, name, why) for option, name, why in in_vain]

    def missing(self) -> list[str]:
        """Return a problem for each thing that a start needs and that is not there.

        With a master that is to be asked before the application is loaded, which changes sys.path.
        """
        if self.mistakes:
            return []
        problems = self._told_of(missing(self.settings, self.catalogue, self.directory))
        if not wanted(self.settings.of(HookOptions), "asap"):  # which may make the files
            try:
                encryption(self.settings.of(LogOptions))
            except LogError as error:
                problems.append(self.told(error))
        if self.settings.of(TouchOptions).py_autoreload and (why := without_watcher()):
            problems.append(self._placed("py-autoreload", "", why))
        return problems

    def absent(self) -> list[str]:
        """Return a warning for each thing that is only read, and that is not there."""
        if self.mistakes:
            return []
        return self._told_of(absent(self.settings, self.catalogue, self.directory))

    def unavailable(self) -> list[str]:
        """Return a warning for each address that this machine, or this user, cannot listen on."""
        return [] if self.mistakes else self._told_of(unavailable(self.settings, self.catalogue))

    def _told_of(self, found: list[Missing]) -> list[str]:
        return [self._placed(each.option, each.value, each.why) for each in found]

    def effective(self) -> list[Setting]:
        """Return the settings that count: each of a repeatable option, the last of any other."""
        known = [
            each for each in self.given if each.kind is Kind.OPTION and each.name in self.catalogue.by_name
        ]
        last = {self.catalogue.by_name[each.name]: each for each in known}
        return [
            each for each in known
            if (declared := self.catalogue.by_name[each.name]).repeats or last[declared] is each
        ]  # fmt: skip

    def at_restart(self) -> list[str]:
        """Return a sentence about each option that is kept until a restart, and not what it was at first."""
        return [
            self._placed(each.name, "", f"{each.name} has changed, which takes effect at a restart")
            for owner in self._lasting()
            for each in changed(self.first.asked.of(owner), self.asked.of(owner))
            if each.restart
        ]

    @property
    def what(self) -> str:
        """The application, as the options name it."""
        return named(self.settings)

    @property
    def supervised(self) -> bool:
        """Whether a master is to keep worker processes."""
        return wants_master(self.asked) or any(each.attendant() for each in self.listeners)

    def told(self, error: AddressError | _OfAnOption) -> str:
        """Return what an error says, behind the place of the setting that has led to it."""
        if not isinstance(error, AddressError):
            return self._placed(error.option, error.value, error)
        places = [
            f"{each.place}: "
            for _, each in self.settings.mounts
            if Spec(each.value or "").address == error.address
        ]
        return self.secrets.hidden("".join([*places[:1], str(error)]))

    def _placed(self, option: str, value: str, error: object) -> str:
        return self.secrets.hidden(f"{self.catalogue.place(self.given, option, value)}{error}")
