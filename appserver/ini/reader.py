"""Read settings one after the other: obey what belongs to the language, keep the rest in its order.

It is uWSGI's way (`add_exported_option` and `uwsgi_configure`): one list for the environment, the command
line and all files, in which an ``ini`` is followed at once by what it names. Values are expanded when
the list is complete.
"""

from __future__ import annotations

import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from appserver.ini.error import IniError
from appserver.ini.expansion import computed, contents, environment, expanded, unset
from appserver.ini.lines import OWN, lines, uncommented
from appserver.ini.logic import ENDS, Block, Facts
from appserver.ini.logic import NAMES as LOGIC
from appserver.ini.magic import Magic
from appserver.masking import Secrets, is_secret, secret
from appserver.options import Kind, Setting

if TYPE_CHECKING:
    from collections.abc import Callable

SECTIONS = (OWN, "uwsgi")

_INCLUDES = frozenset({"ini", "include", "config"})
_PLACEHOLDERS = frozenset({"set", "set-placeholder", "set-ph"})
_OTHER_FORMATS = frozenset({"yaml", "yml", "json", "js", "xml", "xmlconfig"})
# What somebody means as the value of the option before it: a flag has its value behind =.
_VALUES = frozenset({"true", "false", "yes", "no", "on", "off", "1", "0"})
_VALUE = "a flag has its value behind =, as in --lazy-apps=false"
_ONLY_INI = "only ini files are read; write this one as an ini file"
_PYTHON = frozenset({"py", "wsgi"})
_INHERITS = "inherit"
NAMES = LOGIC | _INCLUDES | _PLACEHOLDERS | _OTHER_FORMATS | {_INHERITS}

_BOMS = tuple(each.decode("utf-8", "surrogateescape") for each in (BOM_UTF16_LE, BOM_UTF16_BE))
_DEEPEST = 32  # files that include each other
_MOST = 1000  # files in all: those that include each other twice would be read 2^32 times


class Reader:
    """Settings as they are read; ``all`` has those that conditions leave out, too.

    *is_option* tells whether a name is that of an option, *reloading* whether ``if-reload`` holds.
    ``problems`` and ``warnings`` are sentences that begin with their place.
    """

    def __init__(
        self, is_option: Callable[[str], bool] = lambda _: False, *, reloading: bool = False
    ) -> None:
        self.all: list[Setting] = []
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._is_option = is_option
        self._secrets: set[str] = set()  # that expansion has put somewhere
        self._magic = Magic()
        self._facts = Facts(self._first, reloading)
        self._block: Block | None = None
        self._in_block = False
        self._last = ""  # the file that `ini = :section` means
        self._depth = 0
        self._files = 0

    def add(self, setting: Setting) -> None:
        """Take one setting, and all that it includes."""
        try:
            self._add(setting)
        except IniError as error:
            self.problems.append(f"{setting}: {error}{unset(setting.value or '')}")

    def read(self, name: str) -> None:
        """Take the settings of ``file`` or ``file:section``, as with ``--ini`` on the command line.

        Without a section all of ``[appserver]`` and ``[uwsgi]`` count, in the order of the file.
        """
        self.all.append(Setting("ini", name, "--ini", kind=Kind.LANGUAGE))
        try:
            self._read(name, first=True)
        except IniError as error:
            self.problems.append(str(error))

    def settings(self) -> list[Setting]:
        """Return all that counts with its values expanded, once everything is read.

        What ``inherit`` names is read behind the expansion, and so is not expanded, as in uWSGI.
        """
        self._expand()
        for _ in range(_DEEPEST):
            at = next((at for at, each in enumerate(self.all) if _inherits(each)), -1)
            if at < 0:
                break
            setting = self.all[at]
            self.all[at] = replace(setting, kind=Kind.LANGUAGE)
            try:
                self._read(setting.value or "", first=False, setting=setting)
            except IniError as error:
                self.problems.append(f"{setting}: {error}")
        else:
            self.problems.append(f"{setting}: it inherits from itself")
        return self._counting()

    def secrets(self) -> Secrets:
        """Return what is not to be shown of all this, once it has its values."""
        return Secrets({*self._secrets, *(secret(each.name, each.value or "") for each in self.all)})

    def _counting(self) -> list[Setting]:
        return [each for each in self.all if each.kind is not Kind.SKIPPED]

    def _first(self, name: str) -> str | None:
        """Return the first value of an option or a variable, as ``%(name)`` has it."""
        return next((each.value or "" for each in self._counting() if each.name == name), None)

    # Lines

    def _add(self, setting: Setting) -> None:
        if "\0" in f"{setting.name}{setting.value}":  # which no path, variable or address can have
            self.all.append(replace(setting, kind=Kind.LANGUAGE))
            raise IniError("it has a NUL byte; remove that, or save a file in UTF-16 as UTF-8")
        if self._in_block:
            self._keep(setting)
        elif setting.name in ENDS:
            self._block = None
            self._keep(setting)
        elif self._block is None:
            self._keep(setting)
        elif setting.name == "else":
            self._block.otherwise()
            self.all.append(replace(setting, kind=Kind.LANGUAGE))
        else:
            self._add_in_block(self._block, setting)

    def _add_in_block(self, block: Block, setting: Setting) -> None:
        values = block.values(setting.value or "")
        if not values:
            self.all.append(replace(setting, kind=Kind.SKIPPED))
        self._in_block = True
        try:
            for value in values:
                changed = None if value == (setting.value or "") else setting.value
                self._keep(replace(setting, value=value, written=changed))
        finally:
            self._in_block = False

    def _keep(self, setting: Setting) -> None:
        name, value = setting.name, setting.value or ""
        if name not in NAMES:
            self.all.append(setting)
            return
        self.all.append(replace(setting, kind=Kind.OPTION if name == _INHERITS else Kind.LANGUAGE))
        if name in _INCLUDES:
            self._include(setting)
        elif name in _PLACEHOLDERS:
            self._set(setting)
        elif name in _OTHER_FORMATS:
            raise IniError(_ONLY_INI)
        elif name == "else":
            raise IniError("there is no condition before it")
        elif name in LOGIC and name not in ENDS:
            if self._block is not None:
                raise IniError("it stands within another condition or loop, which uWSGI refuses, too")
            self._block = Block(name, value, self._facts)

    def _set(self, setting: Setting) -> None:
        name, equals, value = (setting.value or "").partition("=")
        if not equals:
            raise IniError("expected name=value")
        kind = Kind.OPTION if setting.name == "set" else Kind.VARIABLE
        if kind is Kind.VARIABLE and self._is_option(name):
            raise IniError(f"{name} is an option and cannot be a variable; use set = {name}={value}")
        place, lenient = setting.place, setting.lenient
        if place.startswith("-"):  # a command line is for files of both kinds of sections
            place, lenient = f"{place} {name}", not self._is_option(name)
        self.all.append(replace(setting, name=name, value=value, place=place, kind=kind, lenient=lenient))

    # Files

    def _include(self, setting: Setting) -> None:
        name = expanded(setting.value or "", "$", environment)
        if not name:
            raise IniError("expected a file")
        self._read(name, first=setting.name != "include", setting=setting)

    def _read(self, name: str, *, first: bool, setting: Setting | None = None) -> None:
        """Take the settings of a file that *setting* includes, or that the command line names."""
        path, section = _split(name)
        path = path or self._last
        if not path:
            raise IniError(f"{name} names a section of the file before, and there is none")
        self._files += 1
        if self._files > _MOST:
            raise IniError(f"{path}: there are more than {_MOST} files: do some include each other?")
        text = _text(path)
        self._last = path
        if self._depth == _DEEPEST:
            raise IniError(f"{path}: it is included by files that it includes")
        magic = self._magic.of(path, section, first=first)
        self._depth += 1
        try:
            missing = self._take(text, path, section, magic, lenient=setting is None or setting.lenient)
        finally:
            self._depth -= 1
        if not missing:
            return
        if setting is None or not setting.lenient:
            raise IniError(missing)
        self.warnings.append(f"{setting}: {missing}")

    def _take(self, text: str, path: str, section: str, magic: dict[str, str], *, lenient: bool) -> str:
        """Take the settings of a section, or of both; return what is to be said if there is none."""
        wanted = (section,) if section else SECTIONS
        found = []
        # All of it first: what it includes gives the variables other values.
        for line in list(lines(text, magic)):
            if line.is_header:
                found.append(line.section)
                continue
            if line.section not in wanted:
                continue
            place = f"{path}:{line.number}"
            ours = line.section == OWN or not (lenient or line.section == "uwsgi")
            value = uncommented(line.value) if ours else line.value
            setting = Setting(line.key, value, place, lenient=not ours)
            if line.odd:
                self._odd(setting, line.odd)
            self.add(setting)
        if any(name in wanted for name in found):
            return ""
        _check_ending(path, section)
        has = f"it has {', '.join(f'[{name}]' for name in found)}" if found else "it has no section"
        return f"{path}: no section {' or '.join(f'[{name}]' for name in wanted)}; {has}"

    def _odd(self, setting: Setting, odd: tuple[str, ...]) -> None:
        """Tell of a percent sign that names nothing: a mistake here, silence in uWSGI."""
        what = " and ".join(dict.fromkeys(odd))
        if not setting.lenient:
            self.problems.append(f"{setting}: {what} is no variable; write %% for a percent sign")
            return
        more = " with the end of the line" if "%" in odd else ""
        self.warnings.append(
            f"{setting}: {what} is no variable and taken away{more}, as in uWSGI; write %% for a percent sign"
        )

    # Expansion

    def _expand(self) -> None:
        passes: tuple[tuple[str, Callable[[str], str | None]], ...] = (
            ("$", environment), ("@", contents), ("%", lambda name: computed(name, self._first)),
        )  # fmt: skip
        for symbol, look_up in passes:
            for at, setting in enumerate(self.all):
                if setting.kind is not Kind.OPTION or setting.value is None or symbol not in setting.value:
                    continue
                try:
                    value = expanded(setting.value, symbol, partial(self._found, look_up))
                except IniError as error:
                    self.problems.append(f"{setting}: {error}{unset(setting.value)}")
                    continue
                if value != setting.value:
                    written = setting.value if setting.written is None else setting.written
                    self.all[at] = replace(setting, value=value, written=written)

    def _found(self, look_up: Callable[[str], str | None], name: str) -> str | None:
        """Return what *look_up* returns, and note what is a secret by its name, without its default."""
        found = look_up(name)
        if found and is_secret(name.partition("-")[0] if look_up is environment else name):
            self._secrets.add(found)
        return found


def _inherits(setting: Setting) -> bool:
    return setting.name == _INHERITS and setting.kind is Kind.OPTION


def _check_ending(path: str, section: str) -> None:
    """Raise `IniError` where the name of a file without such a section tells that it is no ini file."""
    ending = path.rpartition(".")[2].lower()
    if ending in _OTHER_FORMATS:
        raise IniError(f"{path}: {_ONLY_INI}")
    if ending in _PYTHON:
        more = f" and callable = {section}" if section else ""
        raise IniError(f"{path}: it is a Python file, not an ini file; set wsgi-file = {path}{more}")


def _split(name: str) -> tuple[str, str]:
    """Return the file and the section; the name of a file that exists may have a colon."""
    path, colon, section = name.rpartition(":")
    return (path, section) if colon and "://" not in name and not os.path.exists(name) else (name, "")


def _text(path: str) -> str:
    if "://" in path:
        raise IniError(f"{path}: only files are read")
    try:
        with open(
            0 if path == "-" else path, encoding="utf-8-sig", errors="surrogateescape", newline="\n"
        ) as file:
            text = file.read()
    except OSError as error:
        why = error.strerror
        if path in _VALUES and isinstance(error, FileNotFoundError):
            why = f"it is taken for an ini file, and there is none; {_VALUE}"
        raise IniError(f"{path}: {why}") from None
    if text.startswith(_BOMS) or "\0" in text[:2]:
        raise IniError(f"{path}: it is in UTF-16, as some editors of Windows save files; save it as UTF-8")
    return text
