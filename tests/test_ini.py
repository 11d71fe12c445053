"""Ini files: sections, comments, variables, and where each setting stands."""

from __future__ import annotations

import os
import socket

import pytest

from appserver.ini import IniError, read, written
from appserver.options import Setting


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that reads text as ``site.ini`` in the working directory."""
    monkeypatch.chdir(tmp_path)

    def load(text, section=""):
        with open("site.ini", "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return [(each.name, each.value, each.place) for each in read(f"site.ini{section}")]

    return load


def values(settings):
    return [(name, value) for name, value, _ in settings]


@pytest.mark.parametrize(
    "text, section, expected",
    [
        ("[appserver]\na = 1\n", "", [("a", "1")]),
        ("[uwsgi]\na = 1\n", "", [("a", "1")]),
        ("[uwsgi]\na = 1\n[other]\nb = 2\n[appserver]\nc = 3\n", "", [("a", "1"), ("c", "3")]),
        ("[uwsgi]\na = 1\n[other]\nb = 2\n[uwsgi]\nc = 3\n", "", [("a", "1"), ("c", "3")]),
        ("[uwsgi]\na = 1\n[other]\nb = 2\n", ":other", [("b", "2")]),
        ("[uwsgi]\na = 1\n[appserver]\nb = 2\n", ":uwsgi", [("a", "1")]),
        ("[uwsgi]\na = 1\n", ":", [("a", "1")]),
        ("[uwsgi] ; mine\na = 1\n", "", [("a", "1")]),
        ("before = any section\n[uwsgi]\na = 1\n", "", [("a", "1")]),
        ("[uwsgi]\n", "", []),
    ],
)
def test_sections(load, text, section, expected):
    assert values(load(text, section)) == expected


@pytest.mark.parametrize(
    "text, section, problem",
    [
        ("[server]\na = 1\n[x]\n", "", "site.ini: no section [appserver] or [uwsgi]; it has [server], [x]"),
        ("a = 1\n", "", "site.ini: no section [appserver] or [uwsgi]; it has no section"),
        ("", "", "site.ini: no section [appserver] or [uwsgi]; it has no section"),
        ("[uwsgi]\na = 1\n", ":prod", "site.ini: no section [prod]; it has [uwsgi]"),
    ],
)
def test_a_missing_section_is_an_error(load, text, section, problem):
    with pytest.raises(IniError) as caught:
        load(text, section)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    "line, expected",
    [
        ("a = 1", ("a", "1")),
        ("a=1", ("a", "1")),
        ("  a  =  1  ", ("a", "1")),
        ("\ta\t=\t1\t", ("a", "1")),
        ("a = b = c", ("a", "b = c")),
        ("a =", ("a", "")),
        ("a", ("a", "")),
        ("a = # b", ("a", "")),
        ("a = 1 ; one", ("a", "1")),
        ("a = 1 # one", ("a", "1")),
        ("a = 1\t# one", ("a", "1")),
        ("a = 1;2#3", ("a", "1;2#3")),
        ('a = "1"', ("a", '"1"')),
    ],
)
def test_lines(load, line, expected):
    assert values(load(f"[appserver]\n{line}\n")) == [expected]


@pytest.mark.parametrize("line", ["; a = 1", "# a = 1", "   ; a = 1", "", "   "])
def test_comments_and_empty_lines(load, line):
    assert load(f"[appserver]\n{line}\n") == []


@pytest.mark.parametrize("section", ["uwsgi", "prod"])
def test_values_are_cut_at_comments_in_our_own_section_only(load, section):
    assert values(load(f"[{section}]\na = 1 ; two # three\n", f":{section}")) == [("a", "1 ; two # three")]


def test_settings_keep_their_order_repetitions_and_lines(load):
    assert load("; first\n[uwsgi]\n\nsocket = :1\nvacuum\n# more\nsocket = :2\n") == [
        ("socket", ":1", "site.ini:4"),
        ("vacuum", "", "site.ini:5"),
        ("socket", ":2", "site.ini:7"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_marks_of_other_systems(load, end, mark):
    text = mark + end.join(["[appserver]", "a = 1", "", "b = 2 ; two"]).encode()
    assert load(text) == [("a", "1", "site.ini:2"), ("b", "2", "site.ini:4")]


def test_bytes_that_are_no_utf8_come_through(load):
    [(_, value)] = values(load(b"[uwsgi]\nlogto = /tmp/caf\xe9\n"))
    assert os.fsencode(value) == b"/tmp/caf\xe9"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("%d", "{directory}/"),
        ("%dapp.py", "{directory}/app.py"),
        ("%p", "{directory}/site.ini"),
        ("%o", "site.ini"),
        ("%s", "site.ini"),
        ("%n", "site"),
        ("%e", "ini"),
        ("%c", "{base}"),
        ("%v", "{directory}"),
        ("%h", socket.gethostname()),
        ("%u", str(os.getuid())),
        ("%g", str(os.getgid())),
        ("%k", str(os.cpu_count())),
        ("%%", "%"),
        ("%%d", "%d"),
        ("%%%n", "%site"),
        ("100%", "100%"),
        ("%(key)", "%(key)"),
        ("%y", "%y"),
    ],
)
def test_magic_variables(load, tmp_path, text, expected):
    expected = expected.format(directory=tmp_path, base=tmp_path.name)
    assert values(load(f"[uwsgi]\na = {text}\n")) == [("a", expected)]


def test_magic_variables_are_of_the_files_directory_not_of_ours(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "x.ini").write_text("[uwsgi]\na = %d\nb = %p\n")
    monkeypatch.chdir(tmp_path)
    assert [each.value for each in read("conf/x.ini")] == [f"{tmp_path}/conf/", f"{tmp_path}/conf/x.ini"]


def test_environment_variables(load, monkeypatch):
    monkeypatch.setenv("PORT", "8080")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("ABSENT", raising=False)
    text = "[uwsgi]\na = :$(PORT)\nb = $(PORT)$(EMPTY)-$(PORT)\nc = $(ABSENT)\nd = $PORT\n"
    assert values(load(text)) == [("a", ":8080"), ("b", "8080-8080"), ("c", "$(ABSENT)"), ("d", "$PORT")]


@pytest.mark.parametrize(
    "name, reason", [("absent.ini", "No such file or directory"), (".", "Is a directory"), ("site.ini/x", "Not a directory")]
)  # fmt: skip
def test_an_unreadable_file_is_an_error(load, name, reason):
    load("[uwsgi]\n")
    with pytest.raises(IniError) as caught:
        read(name)
    assert str(caught.value) == f"{name}: {reason}"


def test_a_colon_in_the_name_of_a_file_is_no_section(tmp_path):
    file = tmp_path / "a:b"
    file.write_text("[uwsgi]\na = 1\n")
    assert [each.value for each in read(str(file))] == ["1"]


@pytest.mark.parametrize("value", [None, "", "1", "1 ; one # more", "50%", "%d", "a=b", "[x]"])
def test_what_is_written_reads_the_same(load, value):
    text = written([Setting("first", "x", ""), Setting("key", value, "")])
    assert values(load(text)) == [("first", "x"), ("key", value or "")]
