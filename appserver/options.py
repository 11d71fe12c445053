"""Options: declared once as dataclass fields, beside the code that uses them.

Names, types, defaults and the one sentence of help all come from the fields. A field
``chmod_socket`` is the option ``chmod-socket``.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from appserver.foreign import ELSEWHERE, FOREIGN
from appserver.ini.expansion import unset
from appserver.masking import masked
from appserver.pcre import RegexError, compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")

TRUE = frozenset({"", "true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_COMMENT = re.compile(r"(^|\s)[;#]")


class Kind(Enum):
    """What becomes of a setting."""

    OPTION = "option"
    LANGUAGE = "language"  # if-..., ini and so on: obeyed when it was read
    VARIABLE = "variable"  # by set-placeholder: only for %(name) and uwsgi.opt
    SKIPPED = "skipped"  # a condition did not hold


@dataclass(frozen=True)
class Setting:
    """One option as somebody gave it, and where; *value* is None for a flag on the command line.

    Where it is *lenient* it stands in a section that has uWSGI's rules, in which an option that
    does not exist is a variable.
    """

    name: str
    value: str | None
    place: str
    lenient: bool = False
    kind: Kind = Kind.OPTION
    written: str | None = None  # the value before anything in it was replaced, if that is another one

    def __str__(self) -> str:
        value = masked(self.name, self.value or "")
        if self.place.startswith("$"):
            return f"{self.place} = {value}".rstrip()
        if not self.place.startswith("-"):
            return f"{self.place}: {self.name} = {value}".rstrip()
        return self.place if self.value is None else f"{self.place} {value}"


@dataclass(frozen=True)
class Option:
    """What a dataclass field declares."""

    owner: type
    field: str
    default: Any
    convert: Callable[[str], Any]
    expects: str
    help: str
    short: str
    aliases: tuple[str, ...]
    flag: bool
    bare: bool
    repeats: bool
    mounts: bool
    danger: Callable[[str], str] | None
    relative: Callable[[str], bool] | None
    example: str
    note: str
    restart: bool
    joins: str

    @property
    def name(self) -> str:
        """The option's name in ini files and, behind two dashes, on the command line."""
        return self.field.rstrip("_").replace("_", "-")  # import_, as Python has a statement of that name

    @property
    def runs(self) -> bool:
        """Whether a shell may have the value, which has ``$(command)`` of its own."""
        return "command" in self.expects.split() or self.expects == "action:argument"

    @staticmethod
    def commented(text: str) -> bool:
        """Tell whether a value looks as if a comment stood behind it."""
        return bool(_COMMENT.search(text))

    def uwsgi(self, text: str) -> str:
        """Return the end of a sentence: what uWSGI makes of a value that is wrong here."""
        told = ""
        if self.flag:
            told = "; uWSGI takes it for true"
        elif self.expects.split(" ")[0] in {"number", "seconds", "megabytes"}:
            number = re.match(r"\s*([+-]?)([0-9]*)", text)
            assert number is not None
            negative = number[1] == "-" and number[2].strip("0")
            told = "; uWSGI refuses it" if negative else f"; uWSGI takes it for {int(number[2] or 0)}"
        if self.commented(text):
            subject = ", and" if told else "; uWSGI"
            told += f"{subject} has no comments behind a value, so put this one on a line of its own"
        return told


class BadValue(ValueError):
    """Say what a value should have been."""


class UnsupportedValue(BadValue):
    """Say what a value should have been, where uWSGI does something with this one that is not done here."""


def option(
    default: Any,
    help: str,  # noqa: A002  (the word that argparse and click users know)
    *,
    short: str = "",
    aliases: tuple[str, ...] = (),
    convert: Callable[[str], Any] | None = None,
    expects: str = "",
    bare: bool = False,
    mounts: bool = False,
    danger: Callable[[str], str] | None = None,
    relative: Callable[[str], bool] | None = None,
    example: str = "",
    note: str = "",
    restart: bool = False,
    joins: str = "",
) -> Any:
    """Declare an option as a dataclass field.

    A tuple as *default* makes it repeatable. *convert* takes the text and raises `BadValue`;
    without it the default's type decides. *bare* marks the option whose value a command line may leave
    out; it is empty then. *mounts* marks the option each of whose values mounts one listener. *danger*
    returns why a value that is allowed is dangerous, or nothing. *relative* tells whether a value begins
    with a path that is meant below ``chdir``, though it is needed before the directory is changed.
    *example* is a value, and *note* says what is not as in uWSGI; both are for the
    reference. *restart* marks the option that holds until a restart, because a reload cannot change it.
    *joins* names another repeatable field of the same dataclass: the values stand among those of that one, in
    the order given.
    """
    metadata = {
        "help": help, "short": short, "aliases": aliases, "convert": convert, "expects": expects,
        "bare": bare, "mounts": mounts, "danger": danger, "relative": relative, "example": example,
        "note": note, "restart": restart, "joins": joins,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


def options_of(owner: type) -> list[Option]:
    """Return the options that a dataclass declares.

    Raise `ValueError` where an annotation does not tell how a value is made of text, and nothing else does.
    """
    found = []
    for field in dataclasses.fields(owner):
        told = field.metadata
        # Text already, where annotations are postponed.
        kind = field.type.__name__ if type(field.type) is type else str(field.type)
        flag = kind == "bool"
        convert, expects = told["convert"], told["expects"]
        if convert is None and kind in _CONVERSIONS:
            convert, expects = _CONVERSIONS[kind]
        elif convert is None and kind in _TEXTS:
            convert, expects = str, expects or "text"
        elif convert is None:
            raise ValueError(
                f"the option {field.name} of {_named(owner)} is annotated with {kind}, which does not tell"
                f" how its value is made of text; take {', '.join(_CONVERSIONS)}, {' or '.join(_TEXTS)}, or"
                " give option() a convert"
            )
        found.append(
            Option(
                owner, field.name, field.default, convert, expects, told["help"], told["short"],
                told["aliases"], flag, told["bare"], isinstance(field.default, tuple), told["mounts"],
                told["danger"], told["relative"], told["example"], told["note"], told["restart"],
                told["joins"],
            )
        )  # fmt: skip
    return found


def changed(before: object, after: object) -> list[Option]:
    """Return the options of one owner that do not have the same value in both."""
    return [
        each for each in options_of(type(before))
        if getattr(before, each.field) != getattr(after, each.field)
    ]  # fmt: skip


def kept(before: object, after: Any) -> Any:
    """Return *after*, with the options that hold until a restart as they are in *before*."""
    held = [each.field for each in options_of(type(after)) if each.restart]
    return dataclasses.replace(after, **{field: getattr(before, field) for field in held})


def boolean(text: str) -> bool:
    """Convert the value of a flag; a bare key is true."""
    lower = text.lower()
    if lower in TRUE or lower in _FALSE:
        return lower in TRUE
    raise BadValue("true or false")


def whole(text: str) -> int:
    """Convert a whole number."""
    if not (text.isascii() and text.isdigit()):
        raise BadValue("a whole number, 0 or more")
    return int(text)


def seconds(text: str) -> float:
    """Convert a time in seconds."""
    try:
        value = float(text)
    except ValueError:
        raise BadValue("a number of seconds") from None
    if not 0 <= value < 1e9:
        raise BadValue("a number of seconds")
    return value


def one_of(*choices: str) -> Callable[[str], str]:
    """Return the conversion of an option that takes one of a few words."""

    def convert(text: str) -> str:
        if text not in choices:
            raise BadValue(" or ".join(choices))
        return text

    return convert


def path(text: str) -> str:
    """Convert a path; an empty variable makes one that must not be taken for the working directory."""
    if not text.strip():
        raise UnsupportedValue("a path; an empty one names nothing")
    return text


def relative_path(text: str) -> bool:
    """Tell whether a path is relative."""
    return text[:1] not in {"", "/"}


def octets(text: str) -> str:
    """Return a text of the configuration as WSGI has texts: its bytes, as latin-1."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def regex(text: str) -> re.Pattern[str]:
    """Convert a regular expression of PCRE's."""
    try:
        return compiled(text)
    except RegexError as error:
        raise BadValue(f"a regular expression; {error}") from None


_CONVERSIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "bool": (boolean, "true or false"),
    "int": (whole, "number"),
    "float": (seconds, "seconds"),
}
_TEXTS = ("str", "tuple[str, ...]")


class Settings:
    """The options of every owner with their values, checked."""

    def __init__(
        self, values: dict[type, Any], mounts: list[tuple[type, Setting]], given: Sequence[Setting] = ()
    ) -> None:
        self._values = values
        self.mounts = mounts  # (owner, setting) of each listener to mount, in the order given
        self.given = given  # as somebody wrote them

    def of(self, owner: type[T]) -> T:
        """Return the values of the options that the dataclass *owner* declares."""
        value: T = self._values[owner]
        return value

    def having(self, value: Any) -> Settings:
        """Return the same settings but for the options that the dataclass of *value* declares."""
        return Settings({**self._values, type(value): value}, self.mounts, self.given)


class Catalogue:
    """All options of all owners, by name."""

    def __init__(self, owners: Iterable[type]) -> None:
        self.owners = list(owners)
        self.by_name: dict[str, Option] = {}
        self.by_short: dict[str, Option] = {}
        for owner in self.owners:
            for declared in options_of(owner):
                for name in (declared.name, *declared.aliases):
                    other = self.by_name.setdefault(name, declared)
                    if other is not declared:
                        raise ValueError(
                            f"the option {name} is declared by {_named(other.owner)} and by {_named(owner)}"
                        )
                if declared.short:
                    other = self.by_short.setdefault(declared.short, declared)
                    if other is not declared:
                        raise ValueError(
                            f"the short option -{declared.short} is declared by {_named(other.owner)}"
                            f" and by {_named(owner)}"
                        )

    def build(self, given: Sequence[Setting]) -> tuple[Settings, list[str]]:
        """Return the settings that result, and every problem found on the way.

        The last value of an option counts; those of a repeatable one add up.
        """
        problems = []
        values: dict[type, dict[str, Any]] = {owner: {} for owner in self.owners}
        mounts = []
        strict = self.strict(given)
        for setting in given:
            declared = self.by_name.get(setting.name)
            if setting.kind is not Kind.OPTION:
                continue
            if declared is None:
                if problem := self._missing(setting, strict=strict):
                    problems.append(f"{setting}: {problem}")
                continue
            try:
                value = declared.convert(setting.value or "")
            except UnsupportedValue as error:
                if not setting.lenient:
                    problems.append(f"{setting}: expected {error}{unset(setting.value or '')}")
                continue
            except BadValue as error:
                files = setting.lenient and not setting.place.startswith("$")
                told = declared.uwsgi(setting.value or "") if files else ""
                problems.append(f"{setting}: expected {error}{told}{unset(setting.value or '')}")
                continue
            fields = values[declared.owner]
            if declared.repeats:
                field = declared.joins or declared.field
                fields[field] = (*fields.get(field, ()), value)
            else:
                fields[declared.field] = value
            if declared.mounts:
                mounts.append((declared.owner, setting))
        built = {owner: owner(**fields) for owner, fields in values.items()}
        return Settings(built, mounts, given), problems

    def _missing(self, setting: Setting, *, strict: bool) -> str:
        """Return what is wrong with the setting of an option that does not exist; empty if nothing is."""
        foreign = FOREIGN.get(setting.name)
        if foreign is not None:
            return "" if setting.lenient or foreign.unnecessary else f"it is not supported. {foreign.why}"
        if setting.lenient and not strict:
            return ""
        if not setting.name:
            return "there is no name before the ="
        return f"there is no such option{self.suggestion(setting.name)}"

    def strict(self, given: Iterable[Setting]) -> bool:
        """Tell whether an unknown option is a mistake in uWSGI's sections, too."""
        values = [each.value or "" for each in given if each.name == "strict" and each.kind is Kind.OPTION]
        return bool(values) and values[-1].lower() not in _FALSE

    def knows(self, name: str) -> bool:
        """Tell whether a name is that of an option, be it uWSGI's."""
        return name in self.by_name or name in FOREIGN

    def place(self, given: Iterable[Setting], name: str, value: str = "") -> str:
        """Return where an option was last given with *value* in it, for the start of a message."""
        declared = self.by_name[name]
        places = [
            f"{setting}: "
            for setting in given
            if self.by_name.get(setting.name) is declared and value in (setting.value or "")
        ]
        return places[-1] if places else ""

    def suggestion(self, name: str) -> str:
        """Return the end of a sentence about an unknown option."""
        from difflib import get_close_matches  # noqa: PLC0415  (only for mistakes)

        dashed = name.replace("_", "-")
        if self.knows(dashed):
            near = [dashed]
        elif ELSEWHERE.get(dashed) in self.by_name:
            near = [ELSEWHERE[dashed]]
        else:  # of what is here: nobody is to be led to an option that is refused
            near = get_close_matches(dashed, self.by_name, n=3, cutoff=0.7)
            near = [each for each in near if each[0] == dashed[0]]  # few mistake the first letter
        return f"; did you mean {near[0]}?" if near else ""


def _named(owner: type) -> str:
    return f"{owner.__module__}.{owner.__qualname__}"
