"""What a command line says: commands, and settings in the order given."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from appserver import ini
from appserver.options import Catalogue, Setting

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = frozenset({"--check", "--show-config", "--version", "--help", "-h"})


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
        if argument in COMMANDS:
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
