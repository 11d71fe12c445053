"""Ini files: sections, comments, variables, and where each setting stands."""

from __future__ import annotations

import os
import re
import socket
import sys

import pytest

from appserver.ini.reader import Reader
from appserver.options import Kind


def taken(name):
    """Return the settings of a file that has no problems."""
    reader = Reader()
    reader.read(name)
    settings = reader.settings()
    assert reader.problems == []
    return [(each.name, each.value, each.place) for each in settings if each.kind is Kind.OPTION]


def refused(name):
    """Return the only problem of a file."""
    reader = Reader()
    reader.read(name)
    reader.settings()
    [problem] = reader.problems
    return problem


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that reads text as ``site.ini`` in the working directory."""
    monkeypatch.chdir(tmp_path)

    def load(text, section=""):
        with open("site.ini", "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return taken(f"site.ini{section}")

    return load


def test_lines_end_with_lf_alone(load):
    """As uWSGI's do; a CR is a blank at both ends of a line, and a % takes it away."""
    text = "[uwsgi]\r\na = x%\r\nb = y\rz\r\n\r\nc\r = 1 \r\n"
    assert load(text) == [("a", "x", "site.ini:2"), ("b", "y\rz", "site.ini:3"), ("c", "1", "site.ini:5")]


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
        ("[uwsgi]\na = 1\n[uwsgi] ; mine\nb = 1\n", "", [("a", "1")]),
        ("[appserver] ; mine\na = 1\n", "", [("a", "1")]),
        ("[uwsgi\na = 1\n", ":uwsg", [("a", "1")]),
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
    load(text + "\n[known]\n", ":known")
    with open("site.ini", "w") as file:
        file.write(text)
    assert refused(f"site.ini{section}") == problem


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


@pytest.mark.parametrize("section", ["appserver", "uwsgi"])
@pytest.mark.parametrize("line", ["logto = a\0b", "include = a\0b", "a\0b =", "set = c=\0"])
def test_a_nul_byte_is_an_error(tmp_path, monkeypatch, section, line):
    """It would end a path or a variable in uWSGI, and can be in none in Python."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.ini").write_text(f"; \0\n[{section}]\n{line}\n")
    told = "it has a NUL byte; remove that, or save a file in UTF-16 as UTF-8"
    assert refused("site.ini") == f"site.ini:3: {line}: {told}"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_in_utf16_is_told_as_such(tmp_path, monkeypatch, encoding):
    """Also one without a byte order mark."""
    monkeypatch.chdir(tmp_path)
    mark = "\ufeff".encode("utf-16-be") if encoding == "utf-16-be" else b""
    (tmp_path / "site.ini").write_bytes(mark + "[uwsgi]\nmodule = é\n".encode(encoding))
    told = "it is in UTF-16, as some editors of Windows save files; save it as UTF-8"
    assert refused("site.ini") == f"site.ini: {told}"


@pytest.mark.parametrize("source", ["value", "exec://printf 'a\\0b'"])
def test_a_nul_byte_that_is_read_is_an_error(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "value").write_bytes(b"a\0b")
    (tmp_path / "site.ini").write_text(f"[uwsgi]\nlogto = @({source})\n")
    told = "it has a NUL byte, which no value can have"
    assert refused("site.ini") == f"site.ini:2: logto = @({source}): {told}: {source}"


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
        ("%(key)", "%(key)"),
        ("%y%Y-%Z.", "-."),
        ("%1", "{second}"),
        ("%x%b", "uwsgi{binary}"),
    ],
)
def test_magic_variables(load, tmp_path, text, expected):
    second = str(tmp_path).split("/")[2]
    binary = os.path.abspath(sys.argv[0])
    expected = expected.format(directory=tmp_path, base=tmp_path.name, second=second, binary=binary)
    assert values(load(f"[uwsgi]\na = {text}\n", ":uwsgi")) == [("a", expected)]


def test_a_percent_sign_takes_the_end_of_the_line_with_it_and_is_told(load):
    load("[uwsgi]\na = 100%\nb = 2 %Y\nc = 3\n")
    reader = Reader()
    reader.read("site.ini")
    assert [(each.name, each.value, each.place) for each in reader.settings()[1:]] == [
        ("a", "100b = 2", "site.ini:2"), ("c", "3", "site.ini:4"),
    ]  # fmt: skip
    assert reader.warnings == [
        "site.ini:2: a = 100b = 2: % and %Y is no variable and taken away with the end of the line, as in uWSGI; write %% for a percent sign"
    ]


@pytest.mark.parametrize("value, sign", [("%Y", "%Y"), ("100%", "%"), ("%-1", "%-")])
def test_a_percent_sign_that_names_nothing_is_a_mistake_in_our_own_section(load, value, sign):
    load("[appserver]\n")
    with open("site.ini", "w") as file:
        file.write(f"[appserver]\na = {value}\n")
    assert f": {sign} is no variable; write %% for a percent sign" in refused("site.ini")


def test_magic_variables_are_of_the_files_directory_not_of_ours(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "x.ini").write_text("[uwsgi]\na = %d\nb = %p\n")
    monkeypatch.chdir(tmp_path)
    assert [value for _, value, _ in taken("conf/x.ini")] == [f"{tmp_path}/conf/", f"{tmp_path}/conf/x.ini"]


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
    assert refused(name) == f"{name}: {reason}"


def test_a_colon_in_the_name_of_a_file_is_no_section(tmp_path):
    file = tmp_path / "a:b"
    file.write_text("[uwsgi]\na = 1\n")
    assert [value for _, value, _ in taken(str(file))] == ["1"]


# Includes


def test_an_include_stands_where_it_is_named(load, tmp_path):
    (tmp_path / "other.ini").write_text("[uwsgi]\nb = %n %N\n[two]\nb = two\n")
    assert load("[uwsgi]\na = 1\nini = other.ini\nc = 3\ninclude = other.ini:two\n") == [
        ("a", "1", "site.ini:2"), ("b", "other site", "other.ini:2"), ("c", "3", "site.ini:4"), ("b", "two", "other.ini:4"),
    ]  # fmt: skip


def test_a_colon_alone_names_a_section_of_the_file_that_was_read_last(load):
    text = "[uwsgi]\nini = :base\na = %(b)\n[base]\nb = 1\nini = :more\n[more]\nc = %x\n"
    assert values(load(text)) == [("b", "1"), ("c", "more"), ("a", "1")]


def test_includes_may_have_environment_variables_in_their_names(load, tmp_path, monkeypatch):
    (tmp_path / "other.ini").write_text("[uwsgi]\nb = 2\n")
    monkeypatch.setenv("WHICH", "other")
    assert values(load("[uwsgi]\nini = $(WHICH).ini\n")) == [("b", "2")]


def test_what_is_inherited_comes_last_and_is_not_expanded(load, tmp_path):
    (tmp_path / "other.ini").write_text("[uwsgi]\nb = %(a) %n\n")
    assert values(load("[uwsgi]\nname = other\ninherit = %(name).ini\na = 1\nc = %(b)\n")) == [
        ("name", "other"), ("a", "1"), ("c", "%(b)"), ("b", "%(a) other"),
    ]  # fmt: skip


def test_a_section_that_is_included_has_the_rules_of_what_includes_it(load):
    for section, value in (("appserver", "1"), ("uwsgi", "1 ; one")):
        assert values(load(f"[{section}]\nini = :base\n[base]\na = 1 ; one\n")) == [("a", value)]


@pytest.mark.parametrize(
    "line, problem",
    [
        ("ini = nope.ini", "nope.ini: No such file or directory"),
        ("ini = :nope", "site.ini: no section [nope]; it has [appserver]"),
        ("ini =", "expected a file"),
        ("ini = http://x/site.ini", "http://x/site.ini: only files are read"),
        ("yaml = site.yaml", "only ini files are read; write this one as an ini file"),
        ("ini = site.ini", None),
        ("inherit = site.ini", None),
        ("set = a", "expected name=value"),
        ("set-ph = module=x", "module is an option and cannot be a variable; use set = module=x"),
        ("else", "there is no condition before it"),
        ("a = @(nope)", "No such file or directory: nope"),
        ("a = @(http://x/y)", "http:// is not supported; name a file or exec://COMMAND"),
        ("a = x%(a)", "it contains itself, so that its expansion has no end"),
    ],
)
def test_mistakes_name_their_line(tmp_path, monkeypatch, line, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.ini").write_text(f"[appserver]\n{line}\n")
    reader = Reader({"module"}.__contains__)
    reader.read("site.ini")
    reader.settings()
    written = f"{line} =" if line == "else" else line
    if problem is None:
        assert len(reader.problems) == 1
        assert re.search(r"itself|included by files that it includes", reader.problems[0])
    else:
        assert reader.problems == [f"site.ini:2: {written}: {problem}"]


@pytest.mark.parametrize("name", ["site.yaml", "site.YML", "site.json", "site.js", "site.xml"])
@pytest.mark.parametrize("option", ["ini", "include", "config", "inherit"])
def test_a_file_of_another_format_is_no_ini_file_without_sections(tmp_path, monkeypatch, name, option):
    """Nothing would be read of it, and uWSGI reads all."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text('{"uwsgi": {}}')
    (tmp_path / "site.ini").write_text(f"[uwsgi]\n{option} = {name}\n")
    reader = Reader()
    reader.read("site.ini")
    reader.settings()
    told = f"{name}: only ini files are read; write this one as an ini file"
    assert reader.problems == [f"site.ini:2: {option} = {name}: {told}"]
    assert reader.warnings == []


def test_the_name_of_an_ini_file_may_end_as_it_likes(load):
    load("[uwsgi]\na = 1\n")
    os.rename("site.ini", "site.yaml")
    assert values(taken("site.yaml")) == [("a", "1")]


def test_a_section_that_is_missing_is_only_told_where_uwsgi_does_no_more(load):
    load("[uwsgi]\na = 1\n")
    with open("site.ini", "w") as file:
        file.write("[uwsgi]\nini = :nope\n")
    reader = Reader()
    reader.read("site.ini")
    assert reader.warnings == ["site.ini:2: ini = :nope: site.ini: no section [nope]; it has [uwsgi]"]
    assert reader.problems == []


# Variables


def test_variables_have_the_first_value_and_options_all(load):
    assert values(load("[uwsgi]\na = 1\na = 2\nb = %(a)\n")) == [("a", "1"), ("a", "2"), ("b", "1")]


def test_set_writes_an_option_and_set_placeholder_only_a_variable(load):
    assert values(load("[uwsgi]\nset = a=1\nset-ph = b=2\nset-placeholder = c=%(a)\nd = %(a)%(b)x%(c)\n")) == [
        ("a", "1"), ("d", "12x1"),
    ]  # fmt: skip


def test_what_was_written_is_kept_beside_what_it_became(load):
    load("[uwsgi]\na = 1\n")
    with open("site.ini", "w") as file:
        file.write("[uwsgi]\nfor = x y\na = %(_)%(b)\nend\nb = 1\n")
    reader = Reader()
    reader.read("site.ini")
    assert [(each.value, each.written) for each in reader.settings() if each.name in "ab"] == [
        ("x1", "%(_)%(b)"), ("y1", "%(_)%(b)"), ("1", None),
    ]  # fmt: skip


def test_files_and_commands_are_put_in(load, tmp_path):
    (tmp_path / "secret").write_text("s3cret\n\n")
    assert values(load("[uwsgi]\na = @(secret)\nb = <@(exec://echo hello; echo)>\n")) == [
        ("a", "s3cret\n"), ("b", "<hello\n>"),
    ]  # fmt: skip


# Conditions and loops


def test_what_a_condition_leaves_out_is_kept_as_such(load, monkeypatch):
    monkeypatch.delenv("NOPE", raising=False)
    load("[uwsgi]\na = 1\n")
    with open("site.ini", "w") as file:
        file.write("[uwsgi]\nif-env = NOPE\na = 1\nelse\na = 2\nendif\n")
    reader = Reader()
    reader.read("site.ini")
    reader.settings()
    assert [(each.name, each.kind.value) for each in reader.all] == [
        ("ini", "language"), ("if-env", "language"), ("a", "skipped"), ("else", "language"), ("a", "option"),
        ("endif", "language"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text, expected",
    [
        ("if-env = A\nx = %(_)\nelse\nx = no\nend", ["one"]),
        ("if-env = A=two\nx = %(_)\nelse\nx = no\nend", ["no"]),
        ("if-not-env = A=two\nx = %(_)\nend", ["one"]),
        ("if-not-opt = x\nx = 1\nelse\nx = 2\nend", ["1"]),
        ("if-not-opt = x\nx = 1\nx = 2\nend", ["1"]),
        ("if-env = A\nelse\nx = 1\nend\nx = 2", ["2"]),
        ("if-plugin = python3\nx = 1\nend", ["1"]),
        ("if-reload\nx = 1\nelse\nx = 2\nend", ["2"]),
        ("for = 1 2\nx = a%(_)\nendfor", ["a1", "a2"]),
        ("for-times = 2\nx = %(_)%(_)\nend", ["11", "22"]),
    ],
)
def test_conditions_and_loops(load, monkeypatch, text, expected):
    monkeypatch.setenv("A", "one")
    assert [value for name, value in values(load(f"[uwsgi]\n{text}\n")) if name == "x"] == expected


@pytest.mark.parametrize(
    "text, problem",
    [
        ("for = 1\nelse\nend", "3: else =: else stands in for, which is no condition"),
        ("if-exists = .\nelse\nelse\nend", "4: else =: else stands twice in one condition"),
        ("for-times = many\nx = 1\nend", "3: x = 1: many is no number of times"),
        ("for-readline = nope\nx = 1\nend", "3: x = 1: No such file or directory: nope"),
        ("if-hostname-match = (\nx = 1\nend", "3: x = 1: ( is no regular expression: "),
        (
            "if-exists = .\nfor = 1\nend",
            "3: for = 1: it stands within another condition or loop, which uWSGI refuses, too",
        ),
    ],
)
def test_conditions_and_loops_that_make_no_sense(tmp_path, monkeypatch, text, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.ini").write_text(f"[uwsgi]\n{text}\n")
    assert refused("site.ini").startswith(f"site.ini:{problem}")


def test_files_that_include_themselves_twice_come_to_an_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.ini").write_text("[appserver]\ninclude = site.ini\ninclude = site.ini\n")
    reader = Reader()
    reader.read("site.ini")
    assert any("more than 1000 files: do some" in problem for problem in reader.problems)
    assert len(reader.problems) < 3000
