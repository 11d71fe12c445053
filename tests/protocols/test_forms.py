"""A request that has a known form says what it said before anything was known, in every notation."""

from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appserver.protocols import fastcgi, forms, mongrel2_fields, tnetstring
from appserver.protocols.codec import ProtocolError
from appserver.protocols.http import HttpCodec

from .memories import MEMORIES, everything, forget, kept, learning, parts
from .memories import forms as forms_of

LINE = b"GET / HTTP/1.0\r\n"
BASE = {"wsgi.run_once": False, "appserver.listener": "one"}
OTHER = {"wsgi.run_once": True, "appserver.listener": "two", "HTTP_VIA": "ours"}
BASES = (BASE, OTHER)


def latin(text):
    return text.encode("latin-1")


def field(key):
    """Return the name of a field."""
    return key.removeprefix("HTTP_").replace("_", "-").lower()


class Notation:
    """One way to write names and values: how it is written, and read."""

    def __init__(self, name):
        self.name = name
        self.known = MEMORIES[name]
        self.fields = name in {"tnetstring", "json", "http"}  # have names of their own, not of variables

    def block(self, variables):
        pairs = [(field(name) if self.fields else name, value) for name, value in variables]
        if self.name == "json":
            return latin("{" + ",".join(f'"{name}":"{value}"' for name, value in pairs) + "}")
        return b"".join(self._one(latin(name), latin(value)) for name, value in pairs)

    def _one(self, name, value):
        if self.name == "uwsgi":
            return b"".join(len(part).to_bytes(2, "little") + part for part in (name, value))
        if self.name == "fastcgi":
            return fastcgi.pair(name, value)
        if self.name == "scgi":
            return name + b"\0" + value + b"\0"
        if self.name == "tnetstring":
            return tnetstring.encode(name) + tnetstring.encode(value)
        return name + b": " + value + b"\r\n"

    def read(self, block, base=BASE, behind=b""):
        """Return all that is read, or the status of a refusal."""
        try:
            return self._read(block, base, behind)
        except ProtocolError as error:
            return error.status

    def _read(self, block, base, behind):
        if self.name == "http":
            codec = HttpCodec(base)
            x = codec.receive(LINE + block + b"\r\n" + behind)
            return None if x is None else (x.environ, codec.buffer)
        if not self.fields:
            return self.known.read(block + behind, 0, len(block), base)
        tag = b"}" if self.name == "tnetstring" else b","
        given, aside, named = mongrel2_fields.read(block + tag + behind, 0, len(block), base)
        return given if named is None else mongrel2_fields.checked(named) | base, aside

    def environ(self, variables, base=BASE):
        """Return the environ of what is plain."""
        found = self.read(self.block(variables), base)
        return found if isinstance(found, dict) else found[0]

    def filled(self, variables, base=BASE):
        """Return what is known of variables, None where that is nothing."""
        block = self.block(variables)
        if self.name == "http":
            data = LINE + block + b"\r\n"
            return self.known.filled(data, data.decode("latin-1"), len(LINE), len(LINE) + len(block), base)
        end = len(block)
        data = block + {"tnetstring": b"}", "json": b","}.get(self.name, b"")
        text = data[:end].decode("latin-1")
        return self.known.filled(data, text, 0, end - (self.name == "json"), base)


ALL = {name: Notation(name) for name in MEMORIES}
EVERY = pytest.mark.parametrize("way", ALL.values(), ids=list(ALL))


@pytest.fixture(autouse=True)
def forgotten():
    forget()
    with learning():
        yield


# Few of them, in one order at most times. HTTP_X, HTTP_Y and HTTP_Z always vary, two have names of the same length, and
# one is passed on nowhere.
NAMES = ["HTTP_ACCEPT", "HTTP_X", "HTTP_VIA", "HTTP_Y", "CONTENT_TYPE", "HTTP_PROXY", "HTTP_DNT", "HTTP_Z"]
VALUES = [
    "a", "b", "", "0", "\xa6", "a\xa6b", " a", "a ", " ", "\xa6 ", " \xa6", "a b", "a\tb", "\t", "\x01", "\xe9", "\x85",
]  # fmt: skip
USUAL = st.sampled_from(VALUES[:3])
ANY = st.sampled_from(VALUES)


@st.composite
def similar(draw):
    """Return variables most of which are like those of others."""
    found = [(name, draw(USUAL)) for name in NAMES if name != "HTTP_PROXY" and draw(st.integers(0, 3))]
    how = draw(st.sampled_from(["as they are", "as they are", "values", "more", "order"]))
    if how == "values" and found:
        at = draw(st.integers(0, len(found) - 1))
        found[at] = found[at][0], draw(ANY)
    elif how == "more":
        found.insert(draw(st.integers(0, len(found))), (draw(st.sampled_from(NAMES)), draw(ANY)))
    elif how == "order":
        found = draw(st.permutations(found))
    return found


def check_that_each_reads_as_alone(way, asked):
    """Read requests with nothing remembered, and behind each other several times."""
    alone = []
    for each in asked:
        forget()
        alone.append(way.read(*each))
    forget()
    for _ in range(3):
        assert [way.read(*each) for each in asked] == alone


@EVERY
@settings(max_examples=400)
@given(requests=st.lists(st.tuples(similar(), st.sampled_from(BASES)), min_size=2, max_size=8))
def test_what_has_come_before_changes_nothing(way, requests):
    asked = [(way.block(variables), base) for variables, base in requests]
    check_that_each_reads_as_alone(way, asked)


def changed(data, block):
    """Return a block with some bytes changed, and what is behind it: at times its own rest."""
    block = bytearray(block)
    how = data.draw(st.sampled_from(["none", "cut", "set", "delete", "repeat"]))
    at = data.draw(st.integers(0, len(block)))
    if how == "cut":
        return bytes(block[:at]), bytes(block[at:])
    if how == "set":
        block[at : at + 1] = data.draw(
            st.sampled_from([bytes([byte]) for byte in b"\0\1\4\x06\x81\x0b \"',:}12aA\r\n\x80\xff"])
        )
    elif how == "delete":
        del block[at : at + data.draw(st.integers(1, 4))]
    elif how == "repeat":
        block[at:at] = block[at : at + 12]
    return bytes(block), data.draw(st.sampled_from([b"", b"x", bytes(block)]))


@EVERY
@settings(max_examples=400)
@given(requests=st.lists(similar(), min_size=2, max_size=6), data=st.data())
def test_what_is_malformed_changes_nothing_either(way, requests, data):
    asked = []
    for variables in requests:
        block, behind = changed(data, way.block(variables))
        asked.append((block, data.draw(st.sampled_from(BASES)), behind))
    check_that_each_reads_as_alone(way, asked)


SECRET = "5ecret"


@EVERY
@settings(max_examples=200)
@given(requests=st.lists(similar(), min_size=1, max_size=8))
@example(requests=[[("HTTP_X", "")], [("HTTP_X", "a")]])
def test_what_varies_is_in_no_form(way, requests):
    forget()
    for variables in requests:
        with suppress(ProtocolError):
            way.read(
                way.block(
                    [
                        (name, SECRET if name in {"HTTP_X", "HTTP_Y", "HTTP_Z"} else value)
                        for name, value in variables
                    ]
                )
            )
        assert SECRET not in everything(way.known)
    for form in forms_of(way.known):
        assert all(form.whole[key] == "" for key in form.keys if key in {"HTTP_X", "HTTP_Y", "HTTP_Z"})
        assert {"HTTP_X", "HTTP_Y", "HTTP_Z"} & form.whole.keys() <= set(form.keys)


ACCEPT, VIA, DNT, X, Y = (
    ("HTTP_ACCEPT", "a"),
    ("HTTP_VIA", "v"),
    ("HTTP_DNT", "1"),
    ("HTTP_X", "x"),
    ("HTTP_Y", "y"),
)


def as_before(way, *variables, base=BASE):
    """Return whether these have a known form, which says what is read without it."""
    found = way.filled(variables, base)
    assert found is None or found == base | dict(variables)
    return found is not None


@EVERY
def test_what_has_come_has_a_form(way):
    assert not as_before(way, ACCEPT, X, VIA)
    assert way.environ([ACCEPT, X, VIA]).items() >= dict([ACCEPT, X, VIA]).items()
    for value in ("x", "y", "", "\xa6", "a \xa6b"[2:], "a" * 5000):
        assert as_before(way, ACCEPT, ("HTTP_X", value), VIA)
    [form] = forms_of(way.known)
    assert form.keys == ["HTTP_X"]
    assert form.whole == BASE | {"HTTP_ACCEPT": "a", "HTTP_X": "", "HTTP_VIA": "v"}
    assert kept(way.known) == {ACCEPT, VIA}


@EVERY
def test_a_form_is_for_its_names_in_their_order(way):
    way.environ([ACCEPT, X, VIA])
    for others in ([X, ACCEPT, VIA], [ACCEPT, VIA], [ACCEPT, X], [ACCEPT, X, VIA, DNT], [DNT, ACCEPT, X, VIA], [ACCEPT],
                   [ACCEPT, Y, VIA], [ACCEPT, ACCEPT, X, VIA], [ACCEPT, X, X, VIA], [X], [VIA]):  # fmt: skip
        assert not as_before(way, *others)
    for others in ([X, ACCEPT, VIA], [ACCEPT, VIA], [ACCEPT, X], [ACCEPT, X, VIA, DNT], [ACCEPT, X, Y, VIA]):
        way.environ(others)
        assert as_before(way, *others)
    assert as_before(way, ACCEPT, X, VIA)
    assert len(forms_of(way.known)) == 6


@EVERY
def test_a_value_that_differs_once_varies_from_then_on(way):
    way.environ([ACCEPT, VIA, DNT])
    assert not as_before(way, ACCEPT, ("HTTP_VIA", "w"), DNT)
    way.environ([ACCEPT, ("HTTP_VIA", "w"), DNT])
    for value in "vwxyz":
        assert as_before(way, ACCEPT, ("HTTP_VIA", value), DNT)
    assert kept(way.known) == {ACCEPT, DNT}
    assert forms_of(way.known)[0].keys == ["HTTP_VIA"]


@EVERY
def test_what_is_behind_a_value_that_varies_is_learned_anew(way):
    way.environ([ACCEPT, VIA, DNT])
    way.environ([ACCEPT, VIA])
    assert as_before(way, ACCEPT, VIA, DNT)
    way.environ([("HTTP_ACCEPT", "b"), VIA])
    assert not as_before(way, ("HTTP_ACCEPT", "b"), VIA, DNT)
    way.environ([("HTTP_ACCEPT", "c"), VIA, DNT])
    assert as_before(way, ("HTTP_ACCEPT", "b"), VIA, DNT)
    assert as_before(way, ("HTTP_ACCEPT", "b"), VIA)


@EVERY
def test_names_of_the_same_length_are_told_apart(way):
    for _ in range(3):
        for one in (X, Y):
            way.environ([ACCEPT, one, VIA])
    assert as_before(way, ACCEPT, X, VIA)
    assert as_before(way, ACCEPT, Y, VIA)
    assert not as_before(way, ACCEPT, ("HTTP_Z", "z"), VIA)
    assert as_before(way, ACCEPT, X, VIA)
    assert way.known._memory.misses == 2, "each was learned once"


@EVERY
@pytest.mark.parametrize("count", range(4))
def test_a_request_that_ends_within_a_form_says_no_more(way, count):
    """Behind it there may be a body that looks like the rest."""
    variables = [ACCEPT, X, VIA, Y]
    for _ in range(2):
        way.read(way.block(variables))
    block, rest = way.block(variables[:count]), way.block(variables[count:])
    with_rest = way.read(block, BASE, rest)
    forget()
    assert way.read(block, BASE, rest) == with_rest
    if not isinstance(with_rest, str) or count:
        environ = with_rest if isinstance(with_rest, dict) else with_rest[0]
        assert not {name for name, _ in variables[count:]} & environ.keys()


@EVERY
def test_nothing_is_learned_of_what_has_not_come_whole(way):
    variables = [
        ("HTTP_HOST", "www.example.org"),
        ("HTTP_ACCEPT", "text/html;q=0.9"),
        X,
        ("CONTENT_TYPE", "a/b"),
    ]
    block = way.block(variables)
    expected = way.read(block)
    for learned in (False, True):
        for end in range(len(block)):
            forget()
            if learned:
                way.read(block)
            if not way.fields:
                with suppress(ProtocolError):
                    assert set(way.known.every(block, 0, end)) <= set(variables)
            for behind in (b"", block[end:]):
                before = way.read(block[:end], BASE, behind)
                assert kept(way.known) <= set(variables)
                if isinstance(before, str):
                    assert len(forms_of(way.known)) == learned
            for _ in range(2):
                assert way.read(block) == expected


@EVERY
@pytest.mark.parametrize("value", ["a\x01", "\x7f", "a\tb", "\x85", "\xad"])
def test_what_is_not_printable_is_looked_at_each_time(way, value):
    for other in "ab":
        way.environ([ACCEPT, ("HTTP_X", other), ("HTTP_VIA", other)])
    for variables in ([ACCEPT, ("HTTP_X", value), VIA], [ACCEPT, X, ("HTTP_VIA", value)]):
        for _ in range(2):
            assert way.filled(variables) is None
            way.read(way.block(variables))
    assert value not in everything(way.known)


@EVERY
def test_what_comes_twice_has_no_form(way):
    for variables in ([ACCEPT, X, X], [ACCEPT, ACCEPT], [X, ACCEPT, ("HTTP_X", "z")]):
        found = [way.read(way.block(variables)) for _ in range(3)]
        assert found[0] == found[1] == found[2]
    assert not forms_of(way.known)


@EVERY
def test_what_is_in_the_base_has_no_form_and_stays(way):
    for _ in range(3):
        found = way.read(way.block([ACCEPT, VIA]), OTHER)
        if way.name != "http":  # whose listeners have nothing in it that a field could be
            environ = found if isinstance(found, dict) else found[0]
            assert environ["HTTP_VIA"] == "ours"
    assert not forms_of(way.known)


@EVERY
def test_listeners_do_not_mix(way):
    one, two = {"appserver.listener": "one"}, {"appserver.listener": "two"}
    assert as_before(way, ACCEPT, X, base=one) is False
    way.environ([ACCEPT, X], one)
    assert as_before(way, ACCEPT, X, base=one)
    assert not as_before(way, ACCEPT, X, base=two)
    assert not as_before(way, ACCEPT, X, base=dict(one)), "it is the object that counts"
    way.environ([ACCEPT, X], two)
    for base in (one, two, one):
        assert as_before(way, ACCEPT, X, base=base)
        assert way.environ([ACCEPT, X], base)["appserver.listener"] == base["appserver.listener"]


@EVERY
def test_what_is_given_is_the_callers_to_change(way):
    for _ in range(3):
        environ = way.environ([ACCEPT, X])
        assert environ["HTTP_ACCEPT"] == "a"
        environ.clear()
    assert BASE["appserver.listener"] == "one"


@EVERY
def test_listeners_are_so_many(way):
    bases = [{"appserver.listener": str(number)} for number in range(forms._BASES + 3)]
    for base in bases:
        way.environ([ACCEPT, X], base)
        assert len(way.known._memories) <= forms._BASES
    assert as_before(way, ACCEPT, X, base=bases[-1])
    assert not as_before(way, ACCEPT, X, base=bases[0])


@EVERY
def test_a_flood_of_forms_is_forgotten(way):
    for number in range(forms.MOST + 5):
        way.known._memory.misses = 0  # so that each is learned
        way.environ([ACCEPT, (f"HTTP_X_{number}", "x"), (f"HTTP_Y_{number}", "y"), VIA])
        assert way.known._memory.count <= forms.MOST
        assert all(
            len(part.behind) <= forms._BESIDE
            for part in (way.known._memory.root, *way.known._memory.root.behind)
        )
    assert len(forms_of(way.known)) <= forms.MOST
    assert len(parts(way.known)) <= 4 * forms.MOST
    assert as_before(way, ACCEPT, (f"HTTP_X_{number}", "x"), (f"HTTP_Y_{number}", "y"), VIA)


@EVERY
def test_only_so_many_follow_one_part(way):
    names = [f"HTTP_X_{number:03}" for number in range(forms._BESIDE + 1)]
    for name in names:
        way.environ([ACCEPT, (name, "x")])
    way.environ([ACCEPT, X])  # is the latest, which is found without them
    known = [as_before(way, ACCEPT, (name, "x")) for name in names]
    assert known == [False, False, *[True] * (forms._BESIDE - 1)]


@EVERY
def test_less_is_learned_where_nothing_is_known_of_most(way):
    learned = []
    for number in range(2 * forms._AT_FIRST + 2 * forms._RARELY):
        before = way.known._memory.count
        way.environ([ACCEPT, (f"HTTP_X_{number}", "x")])
        learned.append(way.known._memory.count != before)
    assert all(learned[: forms._AT_FIRST])
    later = learned[forms._AT_FIRST :]
    assert sum(later) == len(later) // forms._RARELY
    way.environ([DNT, X])
    for _ in range(forms._RARELY - 1):
        way.environ([DNT, X])
    assert as_before(way, DNT, X), "what comes often is learned yet"


@EVERY
def test_what_is_long_has_no_form(way):
    some = [(f"HTTP_X_{number}", "v" * 200) for number in range(15)]
    room = (
        forms._LONGEST - len(way.block([ACCEPT, *some, X])) + (way.name == "json")
    )  # whose end does not count
    fits = [ACCEPT, *some, ("HTTP_X", "x" * (room + 1))]
    assert 250 < room < 1000  # its length is told by as many bytes
    if way.name == "tnetstring":
        fits[-1] = "HTTP_X", "x" * (room - 1)
    if way.name == "fastcgi":
        fits[-1] = "HTTP_X", "x" * (room - 2)
    longer = [*fits[:-1], ("HTTP_X", fits[-1][1] + "x")]
    way.environ(longer)
    assert not forms_of(way.known)
    way.environ(fits)
    assert as_before(way, *fits)
    assert as_before(way, *longer), "though no longer one is learned"


@EVERY
def test_what_has_many_names_has_no_form(way):
    many = [(f"HTTP_X_{number}", "v") for number in range(forms._MANY + 1)]
    if way.name != "http":  # where there may be no more, see test_lines
        way.environ(many)
    assert not forms_of(way.known)
    way.environ(many[1:])
    assert as_before(way, *many[1:])


@EVERY
def test_forgetting_forgets_all(way):
    for value in "ab":
        way.environ([("HTTP_ACCEPT", value), X])
    way.known.forget()
    assert everything(way.known).strip() == ""
    assert not as_before(way, ACCEPT, X)


@pytest.mark.parametrize("value", ["a ", " ", "\xa6 ", "a \xa6 "])
@pytest.mark.parametrize("name", ["tnetstring", "json"])
def test_a_blank_behind_a_value_of_mongrel2s_is_cut_though_the_form_is_known(name, value):
    way = ALL[name]
    for other in "abc":
        way.environ([ACCEPT, ("HTTP_X", other), ("HTTP_Y", other)])
    for variables in ([ACCEPT, ("HTTP_X", value), Y], [ACCEPT, X, ("HTTP_Y", value)]):
        given, _ = way.read(way.block(variables))
        assert {key: given[key] for key in given.keys() - BASE.keys()} == {
            key: text.rstrip(" ") for key, text in variables
        }


@pytest.mark.parametrize("size", [127, 128, 65535])
def test_a_length_of_fastcgis_may_be_told_in_one_byte_or_four(size):
    way = ALL["fastcgi"]
    way.environ([ACCEPT, X, VIA])
    assert as_before(way, ACCEPT, ("HTTP_X", "v" * size), VIA)
    longer = b"\x06\x80\0\0\1HTTP_Xx"  # than it needs to be
    environ = way.read(way.block([ACCEPT]) + longer + way.block([VIA]))
    assert environ == BASE | dict([ACCEPT, X, VIA])
    assert way.known._memory.misses == 1, "it was filled in"


def test_a_name_of_fastcgis_whose_length_takes_four_bytes_has_no_form():
    way = ALL["fastcgi"]
    name = "HTTP_" + "X" * 130
    for _ in range(2):
        assert way.environ([ACCEPT, (name, "x")])[name] == "x"
    assert not forms_of(way.known)


@pytest.mark.parametrize("name", ["tnetstring", "json"])
def test_what_is_about_a_message_is_set_aside_though_the_form_is_known(name):
    way = ALL[name]
    for number in range(3):
        fields = {
            "METHOD": "GET",
            "DOWNLOAD_CREDITS": str(number),
            "x-mongrel2-upload-start": f"/{number}",
            "x": "y",
        }
        if name == "json":
            block = latin("{" + ",".join(f'"{key}":"{value}"' for key, value in fields.items()) + "}")
        else:
            block = b"".join(tnetstring.encode(each) for entry in fields.items() for each in entry)
        given, aside = way.read(block)
        assert given == BASE | {"REQUEST_METHOD": "GET", "HTTP_X": "y"}
        assert aside == {"DOWNLOAD_CREDITS": str(number), "x-mongrel2-upload-start": f"/{number}"}
    assert way.known._memory.misses == 1, "two were filled in"
    given, aside = way.read(way.block([("HTTP_X", "y")]))
    assert not aside
    assert given == BASE | {"HTTP_X": "y"}
