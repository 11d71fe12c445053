"""What a command line says: commands, and settings in the order given."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from appserver.foreign import FOREIGN, SHORT
from appserver.ini.logic import ENDS
from appserver.ini.reader import NAMES as LANGUAGE
from appserver.ini.reader import Reader
from appserver.options import Setting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from appserver.options import Catalogue

COMMANDS = frozenset({"--check", "--json", "--show-config", "--uwsgi-env", "--version"})

_PREFIX = "APPSERVER_"
_UWSGI_PREFIX = "UWSGI_"
_ASKS_FOR_UWSGI = "APPSERVER_UWSGI_ENV"
_NO_OPTIONS = {_ASKS_FOR_UWSGI, "APPSERVER_COMPILE"}  # the other one is for setup.py
# What uWSGI sets for its own processes.
_RESERVED = {
    "RELOADS", "VASSALS_DIR", "EMPEROR_FD", "BROODLORD_NUM", "EMPEROR_FD_CONFIG", "EMPEROR_PROXY", "JAIL_PID",
    "ORIGINAL_PROC_NAME", "PLUGINS",
}  # fmt: skip
# Of files of configuration, and of what is taken for one.
_ENDINGS = {"ini", "conf", "cfg", "config", "txt", "py", "yaml", "yml", "json", "js", "xml", "toml"}
_BARE = ENDS | {"else", "if-reload", "if-not-reload"}


class CommandLine:
    """What the environment and the arguments say: commands, settings in order, and problems found.

    Later settings count more, so the order is: ``APPSERVER_*`` variables (and ``UWSGI_*`` if
    ``--uwsgi-env`` asks for them), then the arguments as they stand, each file where it is named.
    ``unread`` are ``UWSGI_*`` variables that would be options if it did.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        catalogue: Catalogue,
        environ: Mapping[str, str] | None = None,
        *,
        reloading: bool = False,
    ) -> None:
        self.commands: set[str] = set()
        self._reader = Reader(catalogue.knows, reloading=reloading)
        self._own: list[str] = []
        self._catalogue = catalogue
        self._rest = list(arguments)
        self.unread: list[str] = []
        self._environment({} if environ is None else environ)
        while self._rest:
            self._take(self._rest.pop(0))
        self.settings = self._reader.settings()
        self.all = self._reader.all
        self.problems = [*self._own, *self._reader.problems]
        self.warnings = self._reader.warnings
        self.secrets = self._reader.secrets()

    def _environment(self, environ: Mapping[str, str]) -> None:
        prefixes = [_PREFIX]
        asked = environ.get(_ASKS_FOR_UWSGI, "false").lower() not in {"", "0", "no", "off", "false"}
        if asked or "--uwsgi-env" in self._rest:
            prefixes.insert(0, _UWSGI_PREFIX)
        else:
            named = _named(environ, _UWSGI_PREFIX)
            self.unread = [
                each for each, name in named if name in LANGUAGE or name in self._catalogue.by_name
            ]
        for prefix in prefixes:
            for variable, name in _named(environ, prefix):
                # Lenient: others name variables so, too, as Kubernetes does for a service of that name.
                self._reader.add(Setting(name, environ[variable], f"${variable}", lenient=True))

    def _take(self, argument: str) -> None:
        if argument in COMMANDS:
            self.commands.add(argument)
        elif argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            self._long(name, value if equals else None)
        elif argument.startswith("-") and len(argument) > 1:
            self._short(argument[1], argument[2:].removeprefix("="))
        elif ":" in argument and not self._names_file(argument):
            self._reader.add(Setting("module", argument, "--module"))
        elif _names_module(argument):
            self._own.append(
                f"{argument}: No such file or directory; for a module write {argument}:application"
            )
        else:
            self._reader.read(argument)

    def _names_file(self, argument: str) -> bool:
        path = argument.rpartition(":")[0]
        return path.endswith(".ini") or os.path.isfile(path) or os.path.isfile(argument)

    def _long(self, name: str, value: str | None) -> None:
        if name == "ini":
            if value is None and self._rest:
                value = self._rest.pop(0)
            if value:
                self._reader.read(value)
            else:
                self._own.append("--ini: a value is missing; expected a file")
            return
        takes, expects = self._takes(name)
        if takes is None:
            self._own.append(f"--{name}: there is no such option{self._catalogue.suggestion(name)}")
            # What follows is its value, unless it cannot be.
            if value is None and self._rest and self._rest[0][0:1] not in {"-", ""}:
                self._rest.pop(0)
            return
        if value is None and self._follows(takes):
            value = self._rest.pop(0)
        if value is None and takes == "=":
            self._own.append(f"--{name}: a value is missing; expected {expects}")
        else:
            self._add(name, value, f"--{name}")

    def _takes(self, name: str) -> tuple[str | None, str]:
        """Return ``=`` for an option that takes a value, and what is expected; None if there is none.

        It is ``~`` for one of ours that takes the next word unless that is something else, and ``?`` for
        one of uWSGI's that never does.
        """
        declared = self._catalogue.by_name.get(name)
        if declared is not None:
            return "" if declared.flag else "~" if declared.bare else "=", declared.expects
        if name in LANGUAGE:
            return "" if name in _BARE else "=", "text"
        foreign = FOREIGN.get(name)
        return (None, "") if foreign is None else (foreign.takes, "text")

    def _follows(self, takes: str) -> bool:
        """Tell whether the next word is an option's value."""
        if not self._rest:
            return False
        word = self._rest[0]
        return takes == "=" or (takes == "~" and word[:1] != "-" and not self._names_file(word))

    def _short(self, letter: str, attached: str) -> None:
        declared = self._catalogue.by_short.get(letter)
        name = SHORT.get(letter, "") if declared is None else declared.name
        takes, expects = self._takes(name)
        if takes is None:
            self._own.append(f"-{letter}: there is no such option; see appserver --help")
        elif takes in {"", "?"}:
            self._add(name, None, f"-{letter}")
            if attached:  # -ML
                self._short(attached[0], attached[1:].removeprefix("="))
        elif attached or self._follows(takes):
            self._add(name, attached or self._rest.pop(0), f"-{letter}")
        elif takes == "~":
            self._add(name, None, f"-{letter}")
        else:
            self._own.append(f"-{letter}: a value is missing; expected {expects}")

    def _add(self, name: str, value: str | None, place: str) -> None:
        self._reader.add(Setting(name, value, place))


def _names_module(word: str) -> bool:
    """Tell whether a word that names no file looks like a module with dots, or is one of this directory."""
    if os.path.exists(word) or not all(part.isidentifier() for part in word.split(".")):
        return False
    dotted = "." in word and word.rpartition(".")[2] not in _ENDINGS
    return dotted or os.path.isfile(f"{word}.py")


def _named(environ: Mapping[str, str], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield each variable that begins so, in order, and the option that it names."""
    for variable in sorted(environ):
        rest = variable.removeprefix(prefix)
        if rest == variable or variable in _NO_OPTIONS or (prefix == _UWSGI_PREFIX and rest in _RESERVED):
            continue
        yield variable, rest.lower().replace("_", "-")
