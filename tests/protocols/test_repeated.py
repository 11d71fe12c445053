"""Variables that have come before are found by their bytes, and mean what they meant when they were new."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appserver.protocols import fastcgi, uwsgi
from appserver.protocols.cgi import exchange, merged
from appserver.protocols.codec import ProtocolError
from appserver.protocols.repeated import MOST, REPEATED

from .feeding import BASE
from .wire import GET, fastcgi_request, uwsgi_packet

FRONTS = pytest.mark.parametrize(
    ("module", "codec", "packet"),
    [(uwsgi, uwsgi.UwsgiCodec, uwsgi_packet), (fastcgi, fastcgi.FastcgiCodec, fastcgi_request)],
    ids=["uwsgi", "fastcgi"],
)
NAMES = st.sampled_from(sorted(REPEATED)) | st.sampled_from(
    ["HTTP_COOKIE", "HTTP_PROXY", "wsgi.input", "appserver.x", "REMOTE_ADDR", "REQUEST_URI", "X\x01"]
)
VALUES = st.sampled_from(["", "GET", "http", "5", "a", "a b", "a\tb", "a\x00b", "\x7f", "\xe9", "v" * 300])


@pytest.fixture(autouse=True)
def forgotten():
    uwsgi._known.clear()
    fastcgi._known.clear()


def verdict(read, given):
    try:
        return read(given).environ
    except ProtocolError as error:
        return error.status


@FRONTS
@settings(max_examples=300)
@given(variables=st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_what_is_known_means_what_it_meant(module, codec, packet, variables):
    every = [*GET.items(), *variables]
    module._known.clear()
    new = verdict(codec(dict(BASE)).receive, packet(every))
    assert verdict(codec(dict(BASE)).receive, packet(every)) == new  # with all known by now
    assert verdict(lambda given: exchange(dict(BASE), merged(given), codec(dict(BASE))), every) == new


@FRONTS
@pytest.mark.parametrize(
    "name",
    ["HTTP_COOKIE", "HTTP_AUTHORIZATION", "REQUEST_URI", "QUERY_STRING", "CONTENT_LENGTH", "REMOTE_ADDR"],
)
def test_what_is_secret_or_never_the_same_is_not_kept(module, codec, packet, name):
    codec(dict(BASE)).receive(packet(GET | {name: "5"}))
    assert (name, "5") not in module._known.values()
    assert ("REQUEST_METHOD", "GET") in module._known.values()


@FRONTS
def test_what_is_empty_is_kept_and_what_is_long_is_not(module, codec, packet):
    codec(dict(BASE)).receive(packet(GET | {"QUERY_STRING": "", "HTTP_USER_AGENT": "u" * 300}))
    assert ("QUERY_STRING", "") in module._known.values()
    assert not any(name == "HTTP_USER_AGENT" for name, _ in module._known.values())


@FRONTS
def test_a_control_character_is_refused_each_time(module, codec, packet):
    for _ in range(3):
        with pytest.raises(ProtocolError, match="control character"):
            codec(dict(BASE)).receive(packet(GET | {"HTTP_USER_AGENT": "a\x01b"}))


@FRONTS
def test_a_flood_is_forgotten(module, codec, packet):
    for number in range(MOST + 5):
        codec(dict(BASE)).receive(packet(GET | {"HTTP_USER_AGENT": f"u{number}"}))
        assert len(module._known) <= MOST
