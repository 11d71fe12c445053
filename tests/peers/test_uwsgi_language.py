"""The language of ini files against a real uWSGI: the same effective options (``uwsgi --show-config``)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appserver.ini.reader import NAMES, Reader

UWSGI = shutil.which("uwsgi")
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "uwsgi-ini"

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(UWSGI is None, reason="uwsgi is not installed (Debian: uwsgi-core)"),
]

ENVIRONMENT = {"HOME": "/home/x", "GIVEN": "g v", "NESTED": "$(GIVEN)", "EMPTY": "", "PATH": "/usr/bin:/bin"}


def of_uwsgi(name, directory):
    """Return all options of a file as uWSGI has them; without a socket it goes no further."""
    done = subprocess.run(
        [UWSGI, "--show-config", "--ini", name],
        cwd=directory, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=50,
    )  # fmt: skip
    text = done.stderr.decode("utf-8", "surrogateescape")
    match = re.search(
        r"^;uWSGI instance configuration\n\[uwsgi\]\n(.*?)^;end of configuration",
        text,
        re.MULTILINE | re.DOTALL,
    )
    if match is None:
        return None, text
    pairs = [line.partition(" = ") for line in match[1].rstrip("\n").split("\n")]
    assert pairs[0][0] == "show-config"
    return [(key, value) for key, _, value in pairs[1:]], text


def of_ours(name, directory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        for variable, value in ENVIRONMENT.items():
            patch.setenv(variable, value)
        reader = Reader(NAMES.__contains__)
        reader.read(name)
        return [(each.name, each.value or "") for each in reader.settings()], reader.problems


def compare(name, directory):
    """Read a file with both; where uWSGI refuses to start, there must be a problem here, too."""
    theirs, told = of_uwsgi(name, directory)
    ours, problems = of_ours(name, directory)
    if theirs is None:
        assert problems, told
    else:
        assert ours == theirs
        assert problems == []


PIECES = st.sampled_from(
    ["x", "7", "-3", " ", "=", ";", "#", '"', "(", ")", "$", "@", "%%", "%Y", "%d", "%p", "%n", "%s", "%e", "%c", "%o",
     "%x", "%0", "%1", "%9", "%h", "%k", "%u", "%U", "%g", "%G", "%v", "%j", "%i", "%D", "%N", "%X", "%O", "$(GIVEN)",
     "$(NESTED)", "$(UNSET)", "$(EMPTY)", "$$(GIVEN)", "@(data)", "@(empty)", "@(exec://echo run)", "%(_)", "%()", "%(a)", "%(a 2)",
     "%(a + 2)", "%(a - 5 * 3)", "%(a / 2)", "%(a / 0)", "%(a ++)", "%(a 4 --)", "%(nope)", "%(nope 1)", "%(a(b)c)",
     "%(%(a))", "$(%(a))", "%( a  z )"]
)  # fmt: skip
KEYS = "bcdef"  # a key's value names only what comes before it, lest uWSGI expand without end


def values(key):
    """Return values for *key* that refer to no key behind it."""
    earlier = st.sampled_from("a" + KEYS[: KEYS.index(key)] if key in KEYS else "z")
    return st.lists(PIECES | earlier.map(lambda name: f"%({name})"), max_size=5).map("".join)


PLAIN = st.sampled_from(KEYS).flatmap(lambda key: values(key).map(lambda value: f"{key} = {value}"))
LINES = (
    PLAIN | PLAIN
    | st.sampled_from(["a = 6", "a = 12", "a=a b", "a", "a =", "  ; b = 1", "# b = 1", "", "\t", " a\t =\t 5 \r", "A = 1"])
    | st.sampled_from(["[two]", "[uwsgi]", "[ uwsgi]", "[uwsgi] ; x", "[odd", "[]"])
    | st.sampled_from(["ini = :two", "include = other.ini", "ini = other.ini:two", "ini = other.ini:none", "ini = site.ini:three"])
    | st.sampled_from(["set = a=1", "set = b=%(a)2", "set-placeholder = p=%(a)3", "set-ph = a=$(GIVEN)", "set = c="])
    | st.sampled_from(["endif", "endfor =", "end", "end-if = x", "end-for"])
)  # fmt: skip
BLOCKS = st.sampled_from(
    ["if-env = GIVEN", "if-env = GIVEN=g v", "if-env = GIVEN=other", "if-env = UNSET", "ifenv = EMPTY", "if-not-env = UNSET",
     "if-not-env = GIVEN=other", "if-not-env = GIVEN", "if-exists = data", "if-not-exists = data", "if-exists = nope",
     "if-file = data", "if-not-file = .", "if-dir = .", "ifdir = data", "if-not-dir = /nope", "if-opt = a", "if-opt = a=6",
     "if-not-opt = a", "if-not-opt = c", "if-not-opt = a=12", "if-reload =", "if-not-reload =", "if-hostname = nope",
     "if-not-hostname = nope", "if-hostname-match = .", "for = 1 2  x", "for = one", "for-times = 3", "for-times = 0",
     "for-readline = many", "for-glob = da*", "for-glob = nope*", "if-plugin = nope"]
)  # fmt: skip
BLOCK = st.tuples(
    BLOCKS, st.lists(PLAIN | st.sampled_from(["a = 6", "a = %(_)1", "x%(_) = 1"]), max_size=3)
).map(lambda block: "\n".join([block[0], *block[1], "end"]))
FILE = st.lists(LINES | BLOCK, max_size=12).map(lambda lines: "\n".join(["[uwsgi]", *lines]))


@pytest.fixture
def directory(tmp_path):
    place = tmp_path / "a.b" / "conf.d"
    place.mkdir(parents=True)
    (place / "data").write_text("from a file\n")
    (place / "empty").write_text("\n")
    (place / "many").write_text("one\ntwo %(_)\n\nthree")
    (place / "other.ini").write_text("[uwsgi]\nb = %n %N %s\nother = %(a)\n[two]\nc = %x %X\n")
    return place


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    text=FILE,
    tail=st.sampled_from(["", "\n", "\n[two]\nb = 2 %x\nd = %(b)\n[three]\ne = %o\n"]),
    whole=st.booleans(),
)
@pytest.mark.timeout(600)
def test_generated_files_have_the_same_options(directory, text, tail, whole):
    path = directory / "site.ini"
    path.write_text(text + tail)
    compare(str(path) if whole else "site.ini", directory)


@pytest.mark.parametrize(
    "text",
    [
        "if-env = GIVEN\nfor = 1 2\na = 1\nend\nend\na = 2",
        "if-env = UNSET\nfor = 1 2\na = 1\nend\nb = 2\nend\na = 2",
        "for = 1 2\nif-env = GIVEN\na = 1\nend",
        "ini = nope.ini\na = 1",
        "a = @(nope)",
        "a = x@(data)y@(data)",
        "set = a",
        "set-ph = ini=a",
        "for-times = 2\nini = other.ini\nend\nb = 1",
        "if-env = GIVEN\ninclude = other.ini\na = 1",
        "a = 100%\nb = 2\nc = 3",
        "a = 1\n%",
        "a = %",
        "inherit = other.ini\na = %(b) $(GIVEN)\nother = 1",
        "inherit = $(DATA).ini\nb = 2\nc = %(other)",
        "[uwsgi] ; comment\na = 1",
        "if-env = GIVEN\na = 1",
        "if-opt = b\na = 1\nb = 2\nend",
        "if-not-opt = a\na = 1\nb = 2\nend",
        "ini =\na = 1",
        "a = %(ini) %(set)\nini = other.ini\nset = x=1",
    ],
)
def test_what_is_rare_has_the_same_options(directory, text):
    (directory / "site.ini").write_text(f"[uwsgi]\n{text}")
    compare("site.ini", directory)


def disarmed(data):
    """Return a file in which every option is a variable, so that uWSGI does nothing but read it."""
    keys = set(re.findall(rb"(?m)^[ \t]*([^=\s;#\[][^=\n]*?)[ \t]*(?:=|$)", data)) - {
        each.encode() for each in NAMES
    }

    def renamed(match):
        return match[1] + b"v-" + match[2] if match[2].strip() in keys else match[0]

    data = re.sub(rb"(?m)^([ \t]*)([^=\s;#\[][^=\n]*?)(?=[ \t]*(?:=|$))", renamed, data)
    data = re.sub(rb"(%\()([\w-]+)(?=\))", renamed, data)
    return re.sub(rb"(?m)^([ \t]*if-(?:not-)?opt[ \t]*=[ \t]*)([\w-]+)", renamed, data)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real files is not here")
def test_real_files_have_the_same_options(tmp_path):
    names = sorted(path.name for path in CORPUS.glob("*.ini"))
    assert len(names) > 100
    for name in names:
        (tmp_path / name).write_bytes(disarmed((CORPUS / name).read_bytes()))
    refused = 0
    for name in names:
        theirs, told = of_uwsgi(name, tmp_path)
        ours, problems = of_ours(name, tmp_path)
        if theirs is None:
            refused += 1
            assert problems, (name, told)
        else:
            assert (name, ours, problems) == (name, theirs, [])
    assert refused < 25  # they include what is not there, or have templates' own signs
