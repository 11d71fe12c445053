"""Variables whose form is known mean what they meant when they were new."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appserver.protocols import fastcgi, forms, scgi, uwsgi
from appserver.protocols.cgi import exchange, merged
from appserver.protocols.codec import ProtocolError
from appserver.protocols.mongrel2 import parse
from appserver.protocols.mongrel2_fields import JSON, TNETSTRINGS
from appserver.protocols.repeated import LONG, MOST, REPEATED
from appserver.protocols.uwsgi import UwsgiVariables

from .memories import everything, forget, kept, learning
from .memories import forms as forms_of
from .wire import GET, fastcgi_request, m2_message, netstring, scgi_request, uwsgi_packet

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
    forget()
    with learning():
        yield


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
    new = verdict(codec(OURS).receive, packet(every))
    for _ in range(3):  # with all known by now, and what follows what
        assert verdict(codec(OURS).receive, packet(every)) == new
    every = [*every, ("SCGI", "1")] if codec is scgi.ScgiCodec else every
    assert verdict(lambda given: exchange(merged(given) | OURS, codec(OURS)), every) == new


@FRONTS
@settings(max_examples=200)
@given(requests=st.lists(st.lists(SIMILAR, min_size=1, max_size=3), min_size=1, max_size=8))
def test_what_has_come_before_changes_nothing(known, codec, packet, requests):
    packets = [packet([*GET.items(), *(each for part in parts for each in part)]) for parts in requests]
    alone = []
    for each in packets:
        known.forget()
        alone.append(verdict(codec(OURS).receive, each))
    for _ in range(2):
        assert [verdict(codec(OURS).receive, each) for each in packets] == alone


@FRONTS
@pytest.mark.parametrize(
    "name",
    ["HTTP_COOKIE", "HTTP_AUTHORIZATION", "REQUEST_URI", "QUERY_STRING", "CONTENT_LENGTH", "REMOTE_ADDR"],
)
def test_what_is_secret_or_never_the_same_is_not_kept(known, codec, packet, name):
    for value in ("55555", "66666", "66666"):
        codec(OURS).receive(packet(GET | {name: value, "HTTP_ACCEPT": "a"}))
        assert value not in everything(known)
    assert forms_of(known)
    for form in forms_of(known):
        assert form.whole[name] == ""
        assert name in form.keys
    assert ("REQUEST_METHOD", "GET") in kept(known)
    assert name not in dict(kept(known))


@FRONTS
def test_what_is_empty_is_kept_and_what_is_long_is_not(known, codec, packet):
    codec(OURS).receive(packet(GET | {"QUERY_STRING": "", "HTTP_USER_AGENT": "u" * 300}))
    assert ("QUERY_STRING", "") in kept(known)
    assert "HTTP_USER_AGENT" not in dict(kept(known))
    assert "u" * 300 not in everything(known)


@FRONTS
def test_a_control_character_is_refused_each_time(known, codec, packet):
    for _ in range(4):
        with pytest.raises(ProtocolError, match="control character"):
            codec(OURS).receive(packet(GET | {"HTTP_USER_AGENT": "a\x01b"}))


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
        x = codec(OURS).receive(packet(GET | {"SSL_CLIENT_CERT": pem, "MY_CERT": pem}))
        assert (x.environ["SSL_CLIENT_CERT"], x.environ["MY_CERT"]) == (pem, pem)


@FRONTS
@pytest.mark.parametrize("pem", PEM.values(), ids=list(PEM))
def test_a_certificate_in_a_field_is_refused_with_a_hint(known, codec, packet, pem):
    with pytest.raises(ProtocolError, match="HTTP_X has a control character") as caught:
        codec(OURS).receive(packet(GET | {"HTTP_X": pem}))
    assert "$ssl_client_escaped_cert" in caught.value.hint


@FRONTS
@pytest.mark.parametrize("name", ["REMOTE_USER", "QUERY_STRING", "PATH_INFO", "MY_PARAM"])
def test_what_a_client_may_have_said_has_no_lines(known, codec, packet, name):
    """nginx's $remote_user is whatever Authorization says."""
    with pytest.raises(ProtocolError, match="control character"):
        codec(OURS).receive(packet(GET | {name: PEM["raw"]}))


@FRONTS
@pytest.mark.parametrize("value", ["\n".join([*LINES, ":"]), "\n".join(["x", *LINES]), "a\nb", "\n"])
def test_other_lines_are_refused(known, codec, packet, value):
    with pytest.raises(ProtocolError, match="control character"):
        codec(OURS).receive(packet(GET | {"SSL_CLIENT_CERT": value}))


@FRONTS
def test_a_flood_is_forgotten(known, codec, packet):
    for number in range(MOST + 5):
        codec(OURS).receive(
            packet(GET | {"HTTP_USER_AGENT": f"u{number}", f"HTTP_X_{number}": "x", "X" * LONG: "x"})
        )
        assert len(known._keys) <= MOST
        assert len(forms_of(known)) <= forms.MOST
    assert f"HTTP_X_{number}" in known._keys
    assert max(map(len, known._keys)) < LONG, "they would be much together"


def looked_at(known, *variables):
    """Read variables and return the names of those that are looked at: all where their form is not known."""
    packet = uwsgi_packet(list(variables))
    found = known.filled(packet, packet.decode("latin-1"), 4, len(packet), NOTHING)
    assert known.read(packet, 4, len(packet), NOTHING) == dict(variables)
    if found is None:
        return [name for name, _ in variables]
    assert found == dict(variables)
    return known._memory.latest.keys


NOTHING = {}
METHOD, ROOT, SCHEME = ("REQUEST_METHOD", "GET"), ("DOCUMENT_ROOT", "/d"), ("REQUEST_SCHEME", "http")
FIREFOX, CURL, ANY = ("HTTP_USER_AGENT", "f"), ("HTTP_USER_AGENT", "c"), ("HTTP_ACCEPT", "*/*")


def uri(number):
    return "REQUEST_URI", f"/{number}"


def test_only_what_varies_is_looked_at_again():
    known = UwsgiVariables("too long")
    seen = [looked_at(known, METHOD, uri(n), ROOT, SCHEME, FIREFOX, ANY) for n in range(3)]
    assert seen[0] == [name for name, _ in (METHOD, uri(0), ROOT, SCHEME, FIREFOX, ANY)]
    assert seen[1:] == [["REQUEST_URI"]] * 2
    [form] = forms_of(known)
    assert form.last == uwsgi_packet([ROOT, SCHEME, FIREFOX, ANY])[4:]  # found by one comparison
    assert [step.said for step in form.steps] == [uwsgi_packet([METHOD])[4:] + b"\x0b\0REQUEST_URI"]


def test_clients_that_take_turns_are_looked_at_where_they_differ():
    known = UwsgiVariables("too long")
    for n in range(6):
        looked_at(known, METHOD, uri(n), ROOT, SCHEME, FIREFOX if n % 2 else CURL, ANY)
    for browser in (FIREFOX, CURL, CURL, FIREFOX, ("HTTP_USER_AGENT", "another")):
        assert looked_at(known, METHOD, uri(7), ROOT, SCHEME, browser, ANY) == [
            "REQUEST_URI",
            "HTTP_USER_AGENT",
        ]
    assert known._memory.misses == 2


def test_what_comes_at_times_is_known_with_it_and_without():
    known = UwsgiVariables("too long")
    cookie = "HTTP_COOKIE", "secret"
    for n in range(4):
        looked_at(known, METHOD, uri(n), ROOT, *([cookie] if n % 2 else []), SCHEME, ANY)
    assert looked_at(known, METHOD, uri(5), ROOT, cookie, SCHEME, ANY) == ["REQUEST_URI", "HTTP_COOKIE"]
    assert looked_at(known, METHOD, uri(5), ROOT, SCHEME, ANY) == ["REQUEST_URI"]


@pytest.mark.parametrize(("known", "form"), [(TNETSTRINGS, "tnetstring"), (JSON, "json")])
def test_fields_of_mongrel2_are_known_by_their_keys(known, form):
    fields = {
        "host": "h",
        "cookie": "c00kie",
        "METHOD": "GET",
        "VERSION": "HTTP/1.1",
        "URI": "/u/r/i",
        "content-length": "55555",
    }
    head = json.dumps(fields, separators=(",", ":")).encode()
    for _ in range(3):
        message = m2_message(fields, form=form, head=netstring(head) if form == "json" else None)
        assert parse(message).fields == {
            "HTTP_HOST": "h",
            "HTTP_COOKIE": "c00kie",
            "REQUEST_METHOD": "GET",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REQUEST_URI": "/u/r/i",
            "CONTENT_LENGTH": "55555",
        }
    assert dict(kept(known)).keys() == {"HTTP_HOST", "REQUEST_METHOD", "SERVER_PROTOCOL"}
    assert not [value for value in ("c00kie", "/u/r/i", "55555") if value in everything(known)]


def test_what_is_asked_of_fastcgi_is_no_variable_of_a_request():
    asked = fastcgi.record(fastcgi.GET_VALUES, 0, fastcgi.pair(b"FCGI_MPXS_CONNS", b"") * 2)
    codec = fastcgi.FastcgiCodec(dict(OURS))
    assert codec.receive(asked) is None
    assert codec.replies == fastcgi.record(
        fastcgi.GET_VALUES_RESULT, 0, fastcgi.pair(b"FCGI_MPXS_CONNS", b"0")
    )
    assert not fastcgi.VARIABLES._keys
    assert not forms_of(fastcgi.VARIABLES)


def test_what_is_given_twice_has_no_form():
    known = UwsgiVariables("too long")
    packet = uwsgi_packet([METHOD, ANY, ("HTTP_ACCEPT", "b"), ROOT])
    for _ in range(4):
        assert known.read(packet, 4, len(packet), {}) == dict([METHOD, ("HTTP_ACCEPT", "*/*, b"), ROOT])
    assert not forms_of(known)


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
    for value in "vw":  # what is like it and plain is known
        looked_at(known, METHOD, ("HTTP_X", value), ROOT)
        looked_at(known, METHOD, ("HTTP_DNT", value), ROOT)
    variables = [METHOD, variable, ROOT]
    packet = uwsgi_packet(variables)

    def taken(read):
        try:
            return read()
        except ProtocolError as error:
            return str(error)

    expected = taken(lambda: merged(variables))
    for _ in range(4):
        assert taken(lambda: known.read(packet, 4, len(packet), NOTHING)) == expected
    assert known.key(variable[0]) == variable[0] or not any(
        variable[0] in form.whole for form in forms_of(known)
    )


def test_what_repeats_passes():
    ours = {"wsgi.url_scheme"}  # which only Mongrel2 may tell
    assert all(uwsgi.VARIABLES.key(name) == name for name in REPEATED - ours)
    assert not any(map(uwsgi.VARIABLES.key, ours))


def test_a_packet_that_ends_within_what_is_expected():
    known = UwsgiVariables("too long")
    for _ in range(3):
        looked_at(known, METHOD, ROOT, SCHEME)
    for packet in (uwsgi_packet([METHOD, ROOT]), uwsgi_packet([METHOD])):
        behind = packet + uwsgi_packet([METHOD, ROOT, SCHEME])[len(packet) :]  # as a body would
        for _ in range(2):
            assert "REQUEST_SCHEME" not in known.read(behind, 4, len(packet), NOTHING)
