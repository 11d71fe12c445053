"""What becomes of each setting: honoured, unnecessary, unsupported, unknown, dangerous or wrong, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from appserver.address import parse
from appserver.binding import open_to_all
from appserver.foreign import FOREIGN
from appserver.ini.expansion import unset
from appserver.ini.logic import NAMES as LOGIC
from appserver.options import BadValue, Kind, UnsupportedValue
from appserver.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.options import Catalogue, Option, Setting

_EXPANDED = re.compile(r"[$@%]\(")
_REFERENCE = re.compile(r"%\(([^)]*)\)")


class Judgement(Enum):
    """The words of the report."""

    HONOURED = "honoured"
    UNNECESSARY = "unnecessary"
    UNSUPPORTED = "unsupported"
    UNKNOWN = "unknown"
    DANGEROUS = "dangerous"
    WRONG = "wrong"
    SKIPPED = "skipped"


_WARN = frozenset({Judgement.UNSUPPORTED, Judgement.UNKNOWN, Judgement.DANGEROUS})


@dataclass(frozen=True)
class Verdict:
    """The judgement of one setting, with one sentence."""

    setting: Setting
    judgement: Judgement
    text: str

    @property
    def warns(self) -> bool:
        """Whether it is worth a warning when the server starts."""
        return self.judgement in _WARN

    def __str__(self) -> str:
        return f"{self.setting}: {self.judgement.value}: {self.text}"


class Judge:
    """Judge all settings of one configuration; *problems* are what reading them has found."""

    def __init__(self, catalogue: Catalogue, settings: Sequence[Setting], problems: Sequence[str]) -> None:
        self._catalogue = catalogue
        self._settings = settings
        self._problems = problems
        counting = [each for each in settings if each.kind is not Kind.SKIPPED]
        self._strict = catalogue.strict(counting)
        self._used = {
            word
            for each in settings
            for name in _REFERENCE.findall((each.value if each.written is None else each.written) or "")
            for word in name.split(" ")
        }
        self._last = {
            declared: each
            for each in counting
            if each.kind is Kind.OPTION and (declared := catalogue.by_name.get(each.name)) is not None
        }
        self._paths = any(self._on_a_path(each) for each in counting if each.kind is Kind.OPTION)
        self.verdicts = [self._judged(setting) for setting in settings]

    def _on_a_path(self, setting: Setting) -> bool:
        """Tell whether a setting makes a Unix socket that is a file, with permissions."""
        declared = self._catalogue.by_name.get(setting.name)
        if declared is None or declared.expects != "address":
            return False
        try:
            where = parse(Spec(setting.value or "").address)
        except BadValue:
            return False
        return isinstance(where, str) and not where.startswith("\0")

    def _judged(self, setting: Setting) -> Verdict:
        judgement, text = self._judge(setting)
        return Verdict(setting, judgement, text)

    def _judge(self, setting: Setting) -> tuple[Judgement, str]:
        problem = next((each for each in self._problems if each.startswith(f"{setting}: ")), "")
        if problem:
            told = problem.removeprefix(f"{setting}: ")
            if told.partition(" ")[0].isalpha():  # a file's name stays as it is written
                told = f"{told[0].upper()}{told[1:]}"
            return Judgement.WRONG, f"{told}."
        if setting.kind is Kind.SKIPPED:
            return Judgement.SKIPPED, "The condition or loop that it stands in leaves it out."
        if setting.kind is Kind.LANGUAGE and setting.name in LOGIC and _EXPANDED.search(setting.value or ""):
            return (
                Judgement.DANGEROUS,
                "Nothing is expanded here, as in uWSGI: the text counts as it stands.",
            )
        if setting.kind is Kind.LANGUAGE:
            return Judgement.HONOURED, "It belongs to the language of the file and has been obeyed."
        if setting.kind is Kind.VARIABLE:
            return Judgement.HONOURED, f"A variable, for %({setting.name}) and uwsgi.opt."
        declared = self._catalogue.by_name.get(setting.name)
        if declared is None:
            return self._judge_foreign(setting)
        return self._judge_value(setting, declared)

    def _judge_foreign(self, setting: Setting) -> tuple[Judgement, str]:
        foreign = FOREIGN.get(setting.name)
        if foreign is not None:
            if foreign.unnecessary:
                return Judgement.UNNECESSARY, foreign.why
            return Judgement.UNSUPPORTED if setting.lenient else Judgement.WRONG, foreign.why
        if setting.lenient and setting.name in self._used:
            return Judgement.HONOURED, f"A variable, for %({setting.name}) and uwsgi.opt."
        text = f"There is no such option{self._catalogue.suggestion(setting.name) or '.'}"
        if not setting.name:
            text = "There is no name before the =."
        if not setting.lenient or self._strict:
            return Judgement.WRONG, text
        return Judgement.UNKNOWN, f"{text} It is a variable that only uwsgi.opt has."

    def _judge_value(self, setting: Setting, declared: Option) -> tuple[Judgement, str]:
        value = setting.value or ""
        try:
            declared.convert(value)
        except UnsupportedValue as error:
            told = f"Expected {error}{unset(value)}."
            return (Judgement.UNSUPPORTED if setting.lenient else Judgement.WRONG), told
        except BadValue as error:
            told = declared.uwsgi(value) if setting.lenient else ""
            return Judgement.WRONG, f"Expected {error}{told}{unset(value)}."
        if danger := self._danger(setting, declared):
            return Judgement.DANGEROUS, danger
        return Judgement.HONOURED, f"{declared.help}{self._overridden(setting, declared)}"

    def _overridden(self, setting: Setting, declared: Option) -> str:
        last = self._last.get(declared)
        if declared.repeats or last is None or last is setting:
            return ""
        return f" The later one counts: {last}."

    def _danger(self, setting: Setting, declared: Option) -> str:
        """Return what is dangerous in a value that is allowed; empty if nothing is."""
        value = setting.value or ""
        last = self._last.get(declared)
        if (
            last is not None
            and not declared.repeats
            and setting.place[0] in "-$"
            and last.place[0] not in "-$"
            and (last.value or "") != value
        ):
            remedy = "name the file first"
            if setting.place[0] == "$":  # the environment always comes first
                remedy = f"remove it there, or give --{setting.name} behind the file"
            return f"{last} is read later and counts; {remedy}."
        if setting.lenient and declared.commented(value):
            return "uWSGI has no comments behind a value: all of it is the value."
        if not declared.runs and (missing := unset(value)):
            return f"It is taken as it is written, as in uWSGI{missing}."
        if declared.danger is open_to_all and not self._paths:
            return ""
        if declared.danger is not None:
            return declared.danger(value)
        return ""
