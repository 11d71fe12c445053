"""What a server is to be: all settings checked, its listeners made, its plan chosen; nothing begun.

It is read again for each reload, so nothing here may depend on what has been read before.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from appserver.address import BindOptions
from appserver.application import ApplicationOptions
from appserver.arguments import CommandLine
from appserver.fairqueue import QueueOptions
from appserver.lifecycle.options import OPTIONS as LIFECYCLE_OPTIONS
from appserver.lifecycle.options import wants_master
from appserver.listeners.stream import StreamOptions
from appserver.log import LogOptions
from appserver.options import Catalogue
from appserver.plan import ConcurrencyOptions, Plan, PlanError, plan
from appserver.registry import RegistryError, listeners
from appserver.server import StopOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.listeners.listener import Listener

_OWN = (
    ApplicationOptions, ConcurrencyOptions, QueueOptions, BindOptions, StreamOptions, LogOptions, StopOptions,
)  # fmt: skip
_NOTHING = "nothing to listen on: set http-socket = :8080, socket = /path.sock or zeromq = ..."


class ConfigurationError(Exception):
    """List every problem of a configuration, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Configuration:
    """Read *arguments* and the files that they name.

    ``problems`` are all that were found, ``mistakes`` those of single options; where there are any,
    ``plan`` may be None and the listeners too few.
    Raise `ConfigurationError` where not even the options can be known.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = list(arguments)
        try:
            classes = listeners()
            self.catalogue = Catalogue(
                [*_OWN, *LIFECYCLE_OPTIONS, *(each.Options for each in classes.values())]
            )
        except (RegistryError, ValueError) as error:
            raise ConfigurationError([str(error)]) from None
        line = CommandLine(arguments, self.catalogue)
        self.commands = line.commands
        self.given = line.settings
        self.settings, problems = self.catalogue.build(line.settings)
        self.mistakes = line.problems + problems
        self.problems = [*self.mistakes]
        self.place = partial(self.catalogue.place, line.settings)
        by_options = {each.Options: each for each in classes.values()}
        self.listeners: list[Listener] = [
            by_options[owner](setting.value or "", self.settings) for owner, setting in self.settings.mounts
        ]
        if not self.listeners and not self.problems:
            self.problems.append(_NOTHING)
        self.plan: Plan | None = None
        try:
            self.plan = plan(self.listeners, self.settings.of(ConcurrencyOptions))
        except PlanError as error:
            self.problems.append(f"{self.place('gevent')}{error}")

    @property
    def what(self) -> str:
        """The application, as the options name it."""
        options = self.settings.of(ApplicationOptions)
        return options.module or options.wsgi_file

    @property
    def supervised(self) -> bool:
        """Whether a master is to keep worker processes."""
        return wants_master(self.settings) or any(each.attendant() for each in self.listeners)

    def placed(self, address: str) -> str:
        """Return where a listener's address was given, for the start of a message."""
        places = [f"{each.place}: " for _, each in self.settings.mounts if each.value == address]
        return "".join(places[:1])
