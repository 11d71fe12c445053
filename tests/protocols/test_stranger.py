"""Whoever talks to the wrong port is told apart, by each codec, from its first bytes."""

import itertools

import pytest

from appserver.protocols.codec import ProtocolError
from appserver.protocols.fastcgi import FastcgiCodec
from appserver.protocols.http import HttpCodec
from appserver.protocols.readers import h11_fields
from appserver.protocols.scgi import ScgiCodec
from appserver.protocols.uwsgi import UwsgiCodec

from .wire import GET, fastcgi_request, scgi_request, uwsgi_packet

CODECS = {
    "HTTP": lambda: HttpCodec({}, h11_fields),
    "uwsgi": lambda: UwsgiCodec({}),
    "FastCGI": lambda: FastcgiCodec({}),
    "SCGI": lambda: ScgiCodec({}),
}
FIRST = {
    "HTTP": b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "uwsgi": uwsgi_packet(GET),
    "FastCGI": fastcgi_request(GET),
    "SCGI": scgi_request(GET),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(40)),
}
PAIRS = [(spoken, heard) for spoken, heard in itertools.product(CODECS, FIRST) if spoken != heard]


@pytest.mark.parametrize(("spoken", "heard"), PAIRS)
def test_it_is_named(spoken, heard):
    codec = CODECS[spoken]()
    with pytest.raises(ProtocolError, match=f"speaks {spoken}, and somebody speaks {heard} to it") as caught:
        codec.receive(FIRST[heard])
    assert caught.value.hint
    assert caught.value.answer is (heard == "HTTP")
    if heard == "HTTP":
        assert codec.refuse(caught.value).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("spoken", CODECS)
@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"]
)
def test_the_proxy_protocol_is_named_with_the_option(spoken, header):
    codec = CODECS[spoken]()
    with pytest.raises(
        ProtocolError, match=f"speaks {spoken}, and somebody speaks the PROXY protocol"
    ) as caught:
        codec.receive(header + FIRST[spoken])
    assert "enable-proxy-protocol" in caught.value.hint
    assert caught.value.answer is (spoken == "HTTP")


@pytest.mark.parametrize("spoken", CODECS)
def test_noise_gets_no_name(spoken):
    with pytest.raises(ProtocolError) as caught:
        CODECS[spoken]().receive(b"\xff\xfe\n\xfd" * 8)
    assert "somebody speaks" not in str(caught.value) or "something else" in str(caught.value)
