"""``--show-config``: an ini file that loads to the same configuration, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appserver.configuration import Configuration
from appserver.ini.written import written
from appserver.reference import example

CATALOGUE = Configuration([]).catalogue
OPTIONS = sorted(CATALOGUE.by_name)
TEXT = st.text(st.sampled_from("ab $%@()#;=[]\\\"':/.-\t\u00e9\udcff1"), max_size=12)


def lines(name):
    """Return settings of one option: its example, or any text where it takes any."""
    declared = CATALOGUE.by_name[name]
    value = st.just(example(declared).replace("%%", "%"))
    if declared.flag:
        value = st.sampled_from(["", "true", "no", "0"])
    elif declared.convert is str:
        value |= TEXT
    return value.map(lambda value: (name, value))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("shown")


def effective(configuration):
    settings = configuration.settings
    mounts = [(owner, setting.value) for owner, setting in settings.mounts]
    return [settings.of(owner) for owner in configuration.catalogue.owners], mounts


@given(
    settings=st.lists(st.sampled_from(OPTIONS).flatmap(lines), max_size=8),
    variables=st.dictionaries(st.sampled_from(["va", "vb"]), TEXT),
)
def test_what_is_shown_loads_to_the_same(directory, settings, variables):
    arguments = [f"--{name}={value}" if value else f"--{name}=" for name, value in settings]
    arguments += [f"--set-ph={name}={value}" for name, value in variables.items()]
    before = Configuration(arguments)
    text, lost = written(before.effective())
    assert lost == []
    path = directory / "shown.ini"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    after = Configuration([str(path)])
    if before.mistakes:  # a value of random text contains itself, say
        return
    assert after.mistakes == []
    assert effective(after) == effective(before)


@pytest.mark.parametrize("name", sorted({option.name for option in CATALOGUE.by_name.values()}))
def test_every_option_is_shown(name):
    declared = CATALOGUE.by_name[name]
    value = example(declared).replace("%%", "%")
    configuration = Configuration([f"--{name}={value}"])
    assert [each.value for each in configuration.effective()] == [value]


def test_only_what_counts_is_shown(tmp_path):
    (tmp_path / "site.ini").write_text(
        "[uwsgi]\nbase = 1\nthreads = 2\nif-env = NOPE_NOT_SET\nlisten = 9\nend\nthreads = %(base)\nenv = A=1\nenv = B=2\nthunder-lock\n"
    )
    text, _ = written(Configuration([str(tmp_path / "site.ini")]).effective())
    assert text == "[appserver]\nthreads = 1\nenv = A=1\nenv = B=2\n"
