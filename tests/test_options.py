"""Options: declared as dataclass fields, converted, and every problem told at once."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass

import pytest

from appserver.options import BadValue, Catalogue, Setting, one_of, option, options_of


def even_number(text):
    if not text.isdigit() or int(text) % 2:
        raise BadValue("an even number")
    return int(text)


@dataclass(frozen=True)
class First:
    """First."""

    a_text: str = option("x", "A text.", expects="word")
    a_number: int = option(7, "A number.", short="n", aliases=("number",))
    a_flag: bool = option(False, "A flag.", short="f")
    a_time: float = option(1.5, "A time.")


@dataclass(frozen=True)
class Second:
    """Second."""

    mount: tuple[str, ...] = option((), "Mounts.", aliases=("mnt",), convert=str.strip, mounts=True)
    even: int = option(2, "Even.", convert=even_number, expects="number")
    evens: tuple[int, ...] = option((), "Evens.", convert=even_number)
    choice: str = option("a", "One.", convert=one_of("a", "b"), expects="a or b")


def declaring(annotation, **more):
    """Return an owner of one option with this annotation."""
    fields = [("level", annotation, option(None, "A level.", **more))]
    return make_dataclass("Options", fields, namespace={"__module__": __name__})


def build(*pairs):
    given = [Setting(name, value, f"f.ini:{number}") for number, (name, value) in enumerate(pairs, 1)]
    return Catalogue([First, Second]).build(given)


def test_fields_declare_options():
    text, number, flag, _ = options_of(First)
    assert (text.name, text.default, text.expects, text.help, text.flag) == (
        "a-text",
        "x",
        "word",
        "A text.",
        False,
    )
    assert (number.name, number.short, number.aliases, number.repeats) == (
        "a-number",
        "n",
        ("number",),
        False,
    )
    assert flag.flag
    mount, *_ = options_of(Second)
    assert mount.mounts
    assert mount.repeats


@pytest.mark.parametrize("postponed", [False, True])
@pytest.mark.parametrize("annotation", [bool, int, float, str, tuple[str, ...]])
def test_an_annotation_tells_the_kind_also_where_it_is_text(annotation, postponed):
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    [declared] = options_of(declaring(text if postponed else annotation))
    value = {bool: True, int: 1, float: 1.0}.get(annotation, "1")
    found = declared.convert("1")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "annotation, named",
    [
        ("Level", "Level"),
        ("int | None", "int | None"),
        ("tuple[int, ...]", "tuple[int, ...]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (complex, "complex"),
    ],
)
def test_an_annotation_that_tells_no_kind_is_refused_without_a_conversion(annotation, named):
    with pytest.raises(
        ValueError, match=rf"^the option level of {__name__}\.Options is annotated with "
    ) as caught:
        options_of(declaring(annotation))
    assert str(caught.value).endswith(
        f" with {named}, which does not tell how its value is made of text;"
        " take bool, int, float, str or tuple[str, ...], or give option() a convert"
    )
    [declared] = options_of(declaring(annotation, convert=even_number))
    assert declared.convert("2") == 2


def test_without_settings_there_are_the_defaults():
    settings, problems = build()
    assert (settings.of(First), settings.of(Second), settings.mounts, problems) == (First(), Second(), [], [])


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("a-text", "hello", "hello"),
        ("a-text", "", ""),
        ("a-text", None, ""),
        ("a-number", "0", 0),
        ("a-number", "42", 42),
        ("number", "42", 42),
        *(("a-flag", text, True) for text in (None, "", "true", "True", "yes", "on", "1")),
        *(("a-flag", text, False) for text in ("false", "FALSE", "no", "off", "0")),
        ("a-time", "2", 2.0),
        ("a-time", "0.25", 0.25),
        ("even", "4", 4),
        ("evens", "4", (4,)),
        ("choice", "b", "b"),
        ("mount", " m ", ("m",)),
    ],
)
def test_values_are_converted(name, text, value):
    catalogue = Catalogue([First, Second])
    settings, problems = catalogue.build([Setting(name, text, "f.ini:1")])
    declared = catalogue.by_name[name]
    assert problems == []
    assert getattr(settings.of(declared.owner), declared.field) == value


@pytest.mark.parametrize(
    "name, text, expected",
    [
        *(
            ("a-number", text, "a whole number, 0 or more")
            for text in ("-1", "1.5", "x", "", "1 ; one", "²", "٣")
        ),
        *(("a-flag", text, "true or false") for text in ("2", "maybe", "true # yes")),
        *(("a-time", text, "a number of seconds") for text in ("-1", "x", "nan", "inf", "", "1e10")),
        ("even", "3", "an even number"),
        ("choice", "c", "a or b"),
    ],
)
def test_a_bad_value_is_told_with_its_place_and_what_was_expected(name, text, expected):
    settings, problems = build((name, text))
    assert problems == [f"f.ini:1: {name} = {text}".rstrip() + f": expected {expected}"]
    assert (settings.of(First), settings.of(Second)) == (First(), Second())


def test_the_last_value_counts_and_repeatable_ones_add_up():
    settings, _ = build(("a-number", "1"), ("evens", "2"), ("number", "3"), ("evens", "4"))
    assert settings.of(First).a_number == 3
    assert settings.of(Second).evens == (2, 4)


def test_mounts_come_in_the_order_given_under_any_name():
    settings, _ = build(("mount", "one"), ("a-text", "x"), ("mnt", "two"))
    assert [(owner, each.value) for owner, each in settings.mounts] == [(Second, "one"), (Second, "two")]
    assert settings.of(Second).mount == ("one", "two")


def test_all_problems_are_told_at_once_and_good_values_kept():
    settings, problems = build(
        ("a-numbr", "1"), ("even", "3"), ("a-text", "kept"), ("wholly-else", None), ("mount", "m")
    )
    assert problems == [
        "f.ini:1: a-numbr = 1: there is no such option; did you mean a-number?",
        "f.ini:2: even = 3: expected an even number",
        "f.ini:4: wholly-else =: there is no such option",
    ]
    assert settings.of(First).a_text == "kept"
    assert len(settings.mounts) == 1


@pytest.mark.parametrize(
    "name, near",
    [("a_number", "a-number"), ("a-nubmer", "a-number"), ("evenns", "evens"), ("mnnt", "mnt"), ("zzz", "")],
)
def test_suggestions(name, near):
    assert Catalogue([First, Second]).suggestion(name) == (f"; did you mean {near}?" if near else "")


@pytest.mark.parametrize(
    "setting, text",
    [
        (Setting("a", "1", "f.ini:3"), "f.ini:3: a = 1"),
        (Setting("a", "", "f.ini:3"), "f.ini:3: a ="),
        (Setting("a", "1", "--a"), "--a 1"),
        (Setting("a", None, "-a"), "-a"),
    ],
)
def test_a_setting_shows_where_it_was_given(setting, text):
    assert str(setting) == text


def test_the_place_of_an_option_is_its_last_one_under_any_name():
    catalogue = Catalogue([First])
    given = [
        Setting("a-number", "1", "f.ini:1"),
        Setting("number", "22", "f.ini:2"),
        Setting("a-text", "1", "f.ini:3"),
    ]
    assert catalogue.place(given, "a-number") == "f.ini:2: number = 22: "
    assert catalogue.place(given, "a-number", "1") == "f.ini:1: a-number = 1: "
    assert catalogue.place(given, "a-flag") == ""


@dataclass(frozen=True)
class SameName:
    """Same name."""

    number: int = option(1, "Again.")


@dataclass(frozen=True)
class SameAlias:
    """Same alias."""

    other: int = option(1, "Again.", aliases=("a-text",))


@dataclass(frozen=True)
class SameShort:
    """Same short form."""

    other: int = option(1, "Again.", short="n")


@pytest.mark.parametrize(
    "owner, what",
    [(SameName, "the option number"), (SameAlias, "the option a-text"), (SameShort, "the short option -n")],
)
def test_an_option_may_be_declared_once(owner, what):
    with pytest.raises(ValueError, match=f"{what} is declared by .*First and by .*{owner.__name__}$"):
        Catalogue([First, owner])
