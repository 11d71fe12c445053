"""Expansion of values: names that are replaced, sums, and what stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appserver.ini.error import IniError
from appserver.ini.expansion import computed, environment, expanded

KNOWN = {"a": "6", "b": "bee", "c": "", "d": "%(a)", "a(b)": "nested", "minus": "-7"}


def of(name):
    return computed(name, KNOWN.get)


@pytest.mark.parametrize(
    "value, expected",
    [
        ("", ""),
        ("plain", "plain"),
        ("%(a)", "6"),
        ("x%(a)y%(b)z", "x6ybeez"),
        ("%(c)", ""),
        ("%(nope)", "%(nope)"),
        ("%(nope)%(a)", "%(nope)6"),
        ("%()", "%()"),
        ("%(a", "%(a"),
        ("% (a)", "% (a)"),
        ("%%(a)", "%6"),
        ("%(a(b))", "nested"),
        ("%(%(a))", "%(6)"),
        ("%(d)", "%(a)"),  # the first character is not read again
        ("x%(d)", "x6"),
        ("(a) $(a) @(a)", "(a) $(a) @(a)"),
    ],
)
def test_names_are_replaced(value, expected):
    assert expanded(value, "%", of) == expected


@pytest.mark.parametrize(
    "name, expected",
    [
        ("a b", "6bee"), ("a + 2", "8"), ("a - 10", "-4"), ("a * a", "36"), ("a / 4", "1"), ("minus / 2", "-3"),
        ("minus / minus", "1"), ("a / 0", "0"), ("a / nope", "0"), ("a + 2 * 3", "24"), ("a ++", "7"), ("a --", "5"),
        ("a ++ b", "7bee"), ("nope 1", "1"), ("b + 1", "1"), ("+ 3", "3"), ("++ 3", "3"), ("a  b ", "6bee"), ("4 2", "42"),
        ("-3 1", "1"), (" ", None),
    ],
)  # fmt: skip
def test_sums(name, expected):
    assert of(name) == expected


def test_a_value_that_contains_itself_is_an_error():
    with pytest.raises(IniError, match="contains itself"):
        expanded("x%(a)", "%", {"a": "x%(a)"}.get)
    with pytest.raises(IniError, match="contains itself"):
        expanded("x%(a)", "%", {"a": "x%(a)" * 1000}.get)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("GIVEN", "x"), ("NOPE", None), ("EMPTY", ""), ("GIVEN:-y", "x"), ("EMPTY:-y", "y"), ("NOPE:-y", "y"),
        ("NOPE:-", ""), ("NOPE:-a b-c", "a b-c"), ("EMPTY-y", ""), ("NOPE-y", "y"), ("NOPE-", ""), ("WITH-MINUS", "z"),
    ],
)  # fmt: skip
def test_environment_variables_may_have_a_default(monkeypatch, name, expected):
    monkeypatch.setenv("GIVEN", "x")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("WITH-MINUS", "z")
    monkeypatch.delenv("NOPE", raising=False)
    assert environment(name) == expected


@given(st.text("%$@(a) b+1", max_size=30))
def test_every_value_comes_to_an_end_and_what_names_nothing_stays(value):
    assert expanded(value, "%", lambda _: None) == value
    assert expanded(value, "%", lambda _: "1").count("%(") <= value.count("%(")


def test_a_value_that_contains_itself_is_found_out_in_linear_time():
    """By the characters that are read, not only by the replacements."""
    read = []
    text = "y" * 1000 + "%(a)"

    def look_up(name):
        read.append(name)
        return text

    with pytest.raises(IniError, match="contains itself"):
        expanded(text, "%", look_up)
    assert len(read) < 100
