"""The report of ``--check``: what becomes of every line, what is served, and whether it would start."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any

from appserver.masking import visible
from appserver.verdict import Judgement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appserver.configuration import Configuration
    from appserver.masking import Secrets
    from appserver.verdict import Verdict

_WIDTH = 100
_INDENT = 20
_COLOURS = {
    Judgement.HONOURED: "32", Judgement.UNNECESSARY: "36", Judgement.UNSUPPORTED: "33",
    Judgement.UNKNOWN: "33", Judgement.DANGEROUS: "31", Judgement.WRONG: "1;31", Judgement.SKIPPED: "2",
}  # fmt: skip


class Report:
    """Judge a configuration; *failures* are problems that only its application, or this machine, shows.

    *noticed* are warnings of what showed while it was loaded, and *lacking* is why only root could start it.

    ``code`` is 0, 1 for warnings where ``--strict`` is given, or 2 where the server would not start.
    """

    def __init__(
        self, configuration: Configuration, failures: Sequence[str] = (), noticed: Sequence[str] = (),
        lacking: str = "",
    ) -> None:  # fmt: skip
        self._configuration = configuration
        self._verdicts = [each for each in configuration.verdicts if each.setting.place != "--ini"]
        self._secrets = configuration.secrets
        hidden = self._secrets.hidden
        plan = configuration.plan
        self.problems = configuration.problems + [hidden(each) for each in failures]
        self._lacking = lacking
        more = [hidden(each) for each in (*(plan.warnings if plan is not None else ()), *noticed)]
        self._beside = configuration.remarks + more  # what no verdict says
        self._listeners = [(each.name, hidden(each.address)) for each in configuration.listeners]
        self._application = hidden(configuration.what)
        self.warnings = configuration.warnings + more
        strict = any(each.place == "--strict" for each in configuration.given)
        self.code = 2 if self.problems else 1 if self.warnings and strict else 0

    def json(self) -> str:
        """Return the report for machines."""
        plan = self._configuration.plan
        data: dict[str, Any] = {
            "lines": [_plain(each, self._secrets) for each in self._verdicts],
            "listeners": [{"name": name, "address": address} for name, address in self._listeners],
            "application": self._application,
            "concurrency": plan.reason if plan is not None else None,
            "warnings": self.warnings,
            "problems": self.problems,
            "exit": self.code,
        }
        return json.dumps(data, indent=2, ensure_ascii=True) + "\n"

    def text(self, *, colour: bool) -> str:
        """Return the report for people, with colours where the terminal has them."""
        lines = []
        file = ""
        for verdict in self._verdicts:
            path, number = _place(verdict)
            if path != file:
                lines += [path]
                file = path
            lines += _told(verdict, number, self._secrets, colour=colour)
        if lines:
            lines.append("")
        lines += [f"listener: {name} {address}" for name, address in self._listeners]
        if self._application:
            lines.append(f"application: {self._application}")
        if self._configuration.plan is not None:
            lines.append(f"concurrency: {self._configuration.plan.reason}")
        lines += [f"warning: {each}" for each in self._beside]
        count = Counter(each.judgement for each in self._verdicts)
        told = [f"{count[each]} {each.value}" for each in Judgement if count[each]]
        end = "the server would not start" if self.problems else "the server would start"
        if self._lacking and not self.problems:
            end += f" as root: {self._lacking}"
        lines.append("; ".join([", ".join(told), end] if told else [end]))
        return "\n".join([*lines, ""])


def _place(verdict: Verdict) -> tuple[str, str]:
    place = verdict.setting.place
    if place[0] == "-":
        return "command line", ""
    if place[0] == "$":
        return "environment", ""
    path, _, number = place.rpartition(":")
    return path, number


def _told(verdict: Verdict, number: str, secrets: Secrets, *, colour: bool) -> list[str]:
    setting, judgement = verdict.setting, verdict.judgement
    written = setting.value if setting.written is None else setting.written
    value = secrets.masked(setting.name, written or "")
    key = setting.place if number == "" else setting.name
    line = f"{key} = {value}" if value else key
    result = secrets.masked(setting.name, setting.value or "")
    if setting.written is not None and result != value:
        line += f"  ->  {result}"
    word = f"{judgement.value:12}"
    if colour:
        word = f"\033[{_COLOURS[judgement]}m{word}\033[0m"
    indent = " " * _INDENT
    return [
        f"{number:>5}  {word} {visible(line)}",
        *textwrap.wrap(
            visible(verdict.text), _WIDTH, initial_indent=indent, subsequent_indent=indent,
            break_long_words=False, break_on_hyphens=False,
        ),
    ]  # fmt: skip


def _plain(verdict: Verdict, secrets: Secrets) -> dict[str, Any]:
    setting = verdict.setting
    path, number = _place(verdict)
    written = setting.value if setting.written is None else setting.written
    return {
        "file": path, "line": int(number) if number else None, "place": setting.place, "option": setting.name,
        "value": secrets.masked(setting.name, setting.value) if setting.value else setting.value,
        "written": secrets.masked(setting.name, written) if written else written,
        "verdict": verdict.judgement.value, "text": verdict.text,
    }  # fmt: skip
