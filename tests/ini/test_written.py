"""Settings that are written as an ini file, and read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appserver.ini.reader import Reader
from appserver.ini.written import written
from appserver.options import Kind, Setting


def read(directory, text):
    path = directory / "shown.ini"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    reader = Reader()
    reader.read(str(path))
    settings = reader.settings()
    assert (reader.problems, reader.warnings) == ([], [])
    return [(each.name, each.value) for each in settings if each.kind is Kind.OPTION]


VALUES = st.text(
    st.sampled_from("%$@()ab;# =[]-:\t'\udce9é1\r\v\x85\xa0\u2028"), max_size=12
) | st.sampled_from(
    [
        "%(a)",
        "%(a b)",
        "%(key)",
        "$(HOME)",
        "@(shown.ini)",
        "%Y",
        "%%",
        " a ",
        "a ; b",
        "x%(a)",
        "%(a)%(a)",
        "%(a)$(HOME)",
        "a\v",
        "a\rb",
        "a\x85",
        "a\xa0",
        "a\u2028",
        "\x85",
    ]
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("written")


def final(value):
    """Return a value as expansion leaves it: what could be replaced stands nowhere but at its start."""
    return value[:1] + value[1:].replace("%(", "(")


@given(
    values=st.lists(
        st.tuples(st.sampled_from(["a", "key", "other-key"]), st.none() | VALUES.map(final)), max_size=6
    )
)
def test_what_is_written_reads_the_same(directory, values):
    settings = [Setting(name, value, "") for name, value in values]
    text, problems = written(settings)
    assert problems == []
    assert read(directory, text) == [(each.name, each.value or "") for each in settings]


def test_lines_cannot_be_written():
    text, problems = written([Setting("env", "A=1\n2", "--env"), Setting("a", "1", "")])
    assert text == "[appserver]\na = 1\n"
    assert problems == ["--env: env has several lines, which an ini file cannot hold"]


@pytest.mark.parametrize("end", ["\xa0", "\x85", "\u2028", "\x0b"])
def test_what_only_python_takes_for_a_blank_is_kept(end):
    assert written([Setting("a", f"1{end}", "")])[0] == f"[appserver]\na = 1{end}\n"


@pytest.mark.parametrize(
    "value, section", [("1", "appserver"), ("1;2", "appserver"), ("1 ; 2", "uwsgi"), ("# x", "uwsgi")]
)
def test_only_what_has_the_signs_of_a_comment_needs_uwsgis_section(value, section):
    assert written([Setting("a", value, "")])[0] == f"[{section}]\na = {value}\n"
