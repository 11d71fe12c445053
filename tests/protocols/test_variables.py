"""Variables that have come before are found by their bytes, and mean what they meant when they were new."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appserver.protocols import fastcgi, scgi, tnetstring, uwsgi
from appserver.protocols.cgi import exchange, merged
from appserver.protocols.codec import ProtocolError
from appserver.protocols.mongrel2 import parse
from appserver.protocols.repeated import MOST, REPEATED
from appserver.protocols.uwsgi import UwsgiVariables

from .wire import GET, fastcgi_request, m2_message, scgi_request, uwsgi_packet

FRONTS = pytest.mark.parametrize(
    ("known", "codec", "packet"),
    [
        (uwsgi.VARIABLES, uwsgi.UwsgiCodec, uwsgi_packet),
        (fastcgi.VARIABLES, fastcgi.FastcgiCodec, fastcgi_request),
        (scgi.VARIABLES, scgi.ScgiCodec, scgi_request),
    ],
    ids=["uwsgi", "fastcgi", "scgi"],
)
OURS = {"wsgi.multithread": False, "appserver.listener": "ours"}
NAMES = st.sampled_from(sorted(REPEATED)) | st.sampled_from(
    ["HTTP_COOKIE", "HTTP_PROXY", "wsgi.input", "appserver.x", "REMOTE_ADDR", "REQUEST_URI", "X\x01"]
)
VALUES = st.sampled_from(
    ["", "0", "GET", "http", "5", "a", "a b", "a\tb", "a\x01b", "\x7f", "\xe9", "v" * 300]
)
VARIABLES = st.lists(st.tuples(NAMES, VALUES), max_size=12)
# Few different ones, of which one always varies, in orders and lengths that differ.
SIMILAR = st.lists(
    st.sampled_from(
        [
            ("HTTP_ACCEPT", "a"), ("HTTP_ACCEPT", "b"), ("HTTP_VIA", "v"), ("HTTP_DNT", "1"), ("SERVER_ADDR", "::1"),
            ("HTTP_X", "1"), ("HTTP_X", "2"), ("QUERY_STRING", ""), ("QUERY_STRING", "q"), ("HTTP_PROXY", "p"),
        ]
    ),
    max_size=8,
)  # fmt: skip


@pytest.fixture(autouse=True)
def forgotten():
    for module in (uwsgi, fastcgi, scgi, tnetstring):
        memory(module).forget()


def verdict(read, given):
    try:
        return read(given).environ
    except ProtocolError as error:
        return error.status


@FRONTS
@settings(max_examples=200)
@given(variables=VARIABLES)
def test_what_is_known_means_what_it_meant(known, codec, packet, variables):
    every = [*GET.items(), *variables]
    known.forget()
    new = verdict(codec(dict(OURS)).receive, packet(every))
    for _ in range(3):  # with all known by now, and what follows what
        assert verdict(codec(dict(OURS)).receive, packet(every)) == new
    every = [*every, ("SCGI", "1")] if codec is scgi.ScgiCodec else every
    assert verdict(lambda given: exchange(merged(given) | OURS, codec(dict(OURS))), every) == new


@FRONTS
@settings(max_examples=200)
@given(requests=st.lists(st.lists(SIMILAR, min_size=1, max_size=3), min_size=1, max_size=8))
def test_what_has_come_before_changes_nothing(known, codec, packet, requests):
    packets = [packet([*GET.items(), *(each for part in parts for each in part)]) for parts in requests]
    alone = []
    for each in packets:
        known.forget()
        alone.append(verdict(codec(dict(OURS)).receive, each))
    for _ in range(2):
        assert [verdict(codec(dict(OURS)).receive, each) for each in packets] == alone


@FRONTS
@pytest.mark.parametrize(
    "name",
    ["HTTP_COOKIE", "HTTP_AUTHORIZATION", "REQUEST_URI", "QUERY_STRING", "CONTENT_LENGTH", "REMOTE_ADDR"],
)
def test_what_is_secret_or_never_the_same_is_not_kept(known, codec, packet, name):
    for _ in range(3):
        codec(dict(OURS)).receive(packet(GET | {name: "5", "HTTP_ACCEPT": "a"}))
    assert all(name not in run.entries and name not in run.run.entries for run in runs(known))
    kept = [run.entries for run in known._known.values()]
    assert {"REQUEST_METHOD": "GET"} in kept
    assert not any(name in entries for entries in kept)


def runs(known):
    """Return the variables that are known and are followed by others."""
    return [run for run in (known._start, *known._known.values(), *known._varying.values()) if run.run]


@FRONTS
def test_what_is_empty_is_kept_and_what_is_long_is_not(known, codec, packet):
    codec(dict(OURS)).receive(packet(GET | {"QUERY_STRING": "", "HTTP_USER_AGENT": "u" * 300}))
    found = [name for run in known._known.values() for name in run.entries]
    assert "QUERY_STRING" in found
    assert "HTTP_USER_AGENT" not in found


@FRONTS
def test_a_control_character_is_refused_each_time(known, codec, packet):
    for _ in range(4):
        with pytest.raises(ProtocolError, match="control character"):
            codec(dict(OURS)).receive(packet(GET | {"HTTP_USER_AGENT": "a\x01b"}))


LINES = ("-----BEGIN CERTIFICATE-----", "MIIBszCCAVmgAwIBAgIUe+/=", "-----END CERTIFICATE-----")
PEM = {
    "raw": "\n".join(LINES),
    "tabs": "\n\t".join(LINES),
    "CR": "\r\n".join(LINES),
    "chain": "\n".join([*LINES, *LINES, ""]),
}


@FRONTS
@pytest.mark.parametrize("pem", PEM.values(), ids=list(PEM))
def test_a_certificate_has_lines_in_what_only_a_front_end_can_set(known, codec, packet, pem):
    for _ in range(3):
        x = codec(dict(OURS)).receive(packet(GET | {"SSL_CLIENT_CERT": pem, "MY_CERT": pem}))
        assert (x.environ["SSL_CLIENT_CERT"], x.environ["MY_CERT"]) == (pem, pem)


@FRONTS
@pytest.mark.parametrize("pem", PEM.values(), ids=list(PEM))
def test_a_certificate_in_a_field_is_refused_with_a_hint(known, codec, packet, pem):
    with pytest.raises(ProtocolError, match="HTTP_X has a control character") as caught:
        codec(dict(OURS)).receive(packet(GET | {"HTTP_X": pem}))
    assert "$ssl_client_escaped_cert" in caught.value.hint


@FRONTS
@pytest.mark.parametrize("name", ["REMOTE_USER", "QUERY_STRING", "PATH_INFO", "MY_PARAM"])
def test_what_a_client_may_have_said_has_no_lines(known, codec, packet, name):
    """nginx's $remote_user is whatever Authorization says."""
    with pytest.raises(ProtocolError, match="control character"):
        codec(dict(OURS)).receive(packet(GET | {name: PEM["raw"]}))


@FRONTS
@pytest.mark.parametrize("value", ["\n".join([*LINES, ":"]), "\n".join(["x", *LINES]), "a\nb", "\n"])
def test_other_lines_are_refused(known, codec, packet, value):
    with pytest.raises(ProtocolError, match="control character"):
        codec(dict(OURS)).receive(packet(GET | {"SSL_CLIENT_CERT": value}))


@FRONTS
def test_a_flood_is_forgotten(known, codec, packet):
    for number in range(MOST + 5):
        codec(dict(OURS)).receive(packet(GET | {"HTTP_USER_AGENT": f"u{number}", f"HTTP_X_{number}": "x"}))
        assert len(known._known) <= MOST
        assert len(known._varying) <= MOST


def looked_at(known, *variables):
    """Read variables and return the names of those that are cut, as what follows what tells before."""
    names, rest, last = [], list(variables), known._start
    while rest:
        run = last.run
        if run is not None and list(run.entries.items()) == rest[: run.count]:
            del rest[: run.count]
            last = run.last
            continue
        name, value = rest.pop(0)
        names.append(name)
        same = [single for single in known._known.values() if single.entries == {name: value}]
        last = same[0] if same else known._varying.get(name, known._other)
    packet = uwsgi_packet(list(variables))
    assert known.read(packet, 4, len(packet), {}) == dict(variables)
    return names


METHOD, ROOT, SCHEME = ("REQUEST_METHOD", "GET"), ("DOCUMENT_ROOT", "/d"), ("REQUEST_SCHEME", "http")
FIREFOX, CURL, ANY = ("HTTP_USER_AGENT", "f"), ("HTTP_USER_AGENT", "c"), ("HTTP_ACCEPT", "*/*")


def uri(number):
    return "REQUEST_URI", f"/{number}"


def test_only_what_varies_is_looked_at_again():
    known = UwsgiVariables("too long")
    seen = [looked_at(known, METHOD, uri(n), ROOT, SCHEME, FIREFOX, ANY) for n in range(3)]
    assert seen[0] == [name for name, _ in (METHOD, uri(0), ROOT, SCHEME, FIREFOX, ANY)]
    assert seen[1:] == [["REQUEST_URI"]] * 2
    assert known._start.run.count == 1
    assert known._varying["REQUEST_URI"].run.count == 4  # found by one comparison


def test_clients_that_take_turns_are_looked_at_where_they_differ():
    known = UwsgiVariables("too long")
    for n in range(6):
        looked_at(known, METHOD, uri(n), ROOT, SCHEME, FIREFOX if n % 2 else CURL, ANY)
    for browser in (FIREFOX, CURL, CURL, FIREFOX):
        assert looked_at(known, METHOD, uri(7), ROOT, SCHEME, browser, ANY) == [
            "REQUEST_URI",
            "HTTP_USER_AGENT",
        ]
    assert known._varying["REQUEST_URI"].run.count == 2


def test_what_comes_at_times_is_looked_at():
    known = UwsgiVariables("too long")
    cookie = "HTTP_COOKIE", "secret"
    for n in range(4):
        looked_at(known, METHOD, uri(n), ROOT, *([cookie] if n % 2 else []), SCHEME, ANY)
    assert looked_at(known, METHOD, uri(5), ROOT, cookie, SCHEME, ANY) == ["REQUEST_URI", "HTTP_COOKIE"]
    assert looked_at(known, METHOD, uri(5), ROOT, SCHEME, ANY) == ["REQUEST_URI", "REQUEST_SCHEME"]


def block(module, variables):
    """Return variables without what is around them."""
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in variables]
    if module is uwsgi:
        return uwsgi_packet(pairs)[4:]
    if module is fastcgi:
        return b"".join(fastcgi.pair(*pair) for pair in pairs)
    if module is scgi:
        return b"".join(name + b"\0" + value + b"\0" for name, value in pairs)
    return b"".join(tnetstring.encode(part) for pair in pairs for part in pair)


MODULES = pytest.mark.parametrize(
    "module", [uwsgi, fastcgi, scgi, tnetstring], ids=["uwsgi", "fastcgi", "scgi", "tnetstring"]
)


def memory(module):
    return module.FIELDS if module is tnetstring else module.VARIABLES


@MODULES
@pytest.mark.parametrize("learned", [False, True])
def test_nothing_is_learned_of_a_variable_that_has_not_come_whole(module, learned):
    known = memory(module)
    names = (
        ("host", "accept", "METHOD")
        if module is tnetstring
        else ("HTTP_HOST", "HTTP_ACCEPT", "REQUEST_METHOD")
    )
    variables = dict(zip(names, ("www.example.org", "text/html;q=0.9", "DELETE"), strict=True))
    data = block(module, variables.items())
    for end in range(len(data) + 1):
        known.forget()
        if learned:
            known.read(data, 0, len(data), {})
        assert dict(all_of(known, data, end)).items() <= variables.items()
        for cut in (data[:end], data):  # with nothing behind, and with what looks like the rest
            with suppress(ProtocolError):
                found = known.read(cut, 0, end, {})
                assert found.items() <= variables.items()
        for _ in range(2):
            assert known.read(data, 0, len(data), {}) == variables


def all_of(known, data, end):
    try:
        return known.every(data, 0, end)
    except ProtocolError:
        return []


def reading(known, data, at, end):
    """Return what is read, or that nothing is."""
    try:
        return known.read(data, at, end, {})
    except (ProtocolError, tnetstring._UnusualError):
        return None


@st.composite
def nearly_right(draw):
    """Return variables, some bytes to change in their block, and where it is said to end."""
    variables = [each for part in draw(st.lists(SIMILAR, min_size=1, max_size=3)) for each in part]
    changes = st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from([0, 1, 4, 9, 0x2C, 0x31, 0x3A, 0x41, 0x80]))
    )
    return variables, draw(changes | st.just([])), draw(st.none() | st.integers(0, 400))


@MODULES
@settings(max_examples=200)
@given(blocks=st.lists(nearly_right(), min_size=1, max_size=8))
def test_what_is_malformed_changes_nothing_either(module, blocks):
    known = memory(module)
    asked = []
    for variables, changes, end in blocks:
        fields = [(name.removeprefix("HTTP_").lower(), value) for name, value in variables]
        data = bytearray(block(module, fields if module is tnetstring else variables))
        for place, byte in changes:
            if place < len(data):
                data[place] = byte
        asked.append((bytes(data), 0, len(data) if end is None else min(end, len(data))))
    alone = []
    for each in asked:
        known.forget()
        alone.append(reading(known, *each))
    for _ in range(3):
        assert [reading(known, *each) for each in asked] == alone


def test_fields_of_mongrel2_are_known_by_their_own_names():
    fields = {
        "host": "h",
        "cookie": "c",
        "METHOD": "GET",
        "VERSION": "HTTP/1.1",
        "URI": "/",
        "content-length": "5",
    }
    for _ in range(3):
        assert parse(m2_message(fields, form="tnetstring")).fields == fields
    kept = {name for run in tnetstring.FIELDS._known.values() for name in run.entries}
    assert kept == {"host", "METHOD", "VERSION"}


def test_what_is_asked_of_fastcgi_is_no_variable_of_a_request():
    asked = fastcgi.record(fastcgi.GET_VALUES, 0, fastcgi.pair(b"FCGI_MPXS_CONNS", b"") * 2)
    codec = fastcgi.FastcgiCodec(dict(OURS))
    assert codec.receive(asked) is None
    assert codec.replies == fastcgi.record(
        fastcgi.GET_VALUES_RESULT, 0, fastcgi.pair(b"FCGI_MPXS_CONNS", b"0")
    )
    assert not fastcgi.VARIABLES._varying


def test_runs_have_their_limits():
    known = UwsgiVariables("too long")
    many = [
        (name, name * (200 // len(name))) for name in sorted(REPEATED - {"CONTENT_LENGTH", "QUERY_STRING"})
    ]
    for _ in range(5):
        looked_at(known, *many)
    assert looked_at(known, *many) == []
    assert max(run.run.size for run in runs(known)) <= 2048


def test_what_is_given_twice_is_in_no_run_twice():
    known = UwsgiVariables("too long")
    packet = uwsgi_packet([METHOD, ANY, ("HTTP_ACCEPT", "b"), ROOT])
    for _ in range(4):
        assert known.read(packet, 4, len(packet), {}) == dict([METHOD, ("HTTP_ACCEPT", "*/*, b"), ROOT])
    assert all(run.run.count == len(run.run.entries) for run in runs(known))


@pytest.mark.parametrize(
    "variable",
    [
        ("HTTP_X", "a b"),
        ("HTTP_X", "a\x01b"),
        ("HTTP_DNT", "1"),
        ("HTTP_DNT", "\x01"),
        ("HTTP_X\n", "a"),
        ("HTTP_PROXY", "p"),
        ("HTTP_TRANSFER_ENCODING", ""),
        ("wsgi.input", "i"),
        ("appserver.x", "x"),
        ("REQUEST_METHOD", "GET"),  # a second time
        ("v" * 300, "x"),
        ("wsgi." + "v" * 300, "x"),
    ],
)
def test_what_is_not_plain_is_looked_at_each_time(variable):
    known = UwsgiVariables("too long")
    variables = [METHOD, variable, ROOT]
    packet = uwsgi_packet(variables)

    def taken(read):
        try:
            return read()
        except ProtocolError as error:
            return str(error)

    expected = taken(lambda: merged(variables))
    for _ in range(4):
        assert taken(lambda: known.read(packet, 4, len(packet), {})) == expected
    assert known.passes(variable[0]) or variable[0] not in known._varying


def test_what_repeats_passes():
    assert all(map(uwsgi.VARIABLES.passes, REPEATED))


def test_a_packet_that_ends_within_what_is_expected():
    known = UwsgiVariables("too long")
    for _ in range(3):
        looked_at(known, METHOD, ROOT, SCHEME)
    for packet in (uwsgi_packet([METHOD, ROOT]), uwsgi_packet([METHOD])):
        behind = packet + uwsgi_packet([METHOD, ROOT, SCHEME])[len(packet) :]  # as a body would
        assert "REQUEST_SCHEME" not in known.read(behind, 4, len(packet), {})
