"""An answer in one piece has the bytes of the same answer piece by piece."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appserver.exchange import Exchange
from appserver.protocols.codec import Codec

from .answering import CODECS, Recorder, exchange

every_codec = pytest.mark.parametrize("protocol", CODECS)
LARGEST = 32768  # of a body that is a whole answer
SIZES = st.integers(0, 300) | st.sampled_from([LARGEST - 1, LARGEST])
REQUESTS = st.tuples(
    st.sampled_from(["GET", "HEAD", "POST"]), st.sampled_from(["HTTP/1.1", "HTTP/1.0"]), st.booleans()
)  # and whether the connection is kept
GET = ("GET", "HTTP/1.1", True)


class Chunks(Codec):
    """A codec of somebody else: it chunks every answer, and leaves whole ones to the default."""

    def head(self, x):
        return b"head\n"

    def body(self, x, data):
        assert data, "an empty chunk would be the last"
        return b"%x\r\n" % len(data), data, b"\r\n"

    def end(self, x):
        return b"0\r\n\r\n"


@pytest.mark.parametrize(
    "data, wire",
    [(b"hello", b"head\n5\r\nhello\r\n0\r\n\r\n"), (b"", b"head\n0\r\n\r\n")],
    ids=["body", "empty"],
)
def test_a_codec_that_says_nothing_of_whole_answers_wraps_and_ends_their_body(data, wire):
    environ = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_URI": "/"}
    x = Exchange(environ, Chunks())
    assert x.codec.whole(x, b"head\n", data) == wire
    x.channel = Recorder()
    x.start_response("200 OK", [])
    x.send(data, False, len(data))
    assert x.channel.sends == [(wire, False)]


def test_the_default_is_head_and_body_where_nothing_frames_them():
    x = exchange()
    assert Codec().whole(x, b"head\n", b"hello") == b"head\nhello"
    assert Codec().whole(x, b"head\n", b"") == b"head\n"


def body(size):
    return (bytes(range(256)) * (size // 256 + 1))[:size]


@every_codec
@given(size=SIZES, request=REQUESTS.filter(lambda each: each[0] != "HEAD"), told=st.booleans())
@example(size=0, request=GET, told=True)
@example(size=0, request=GET, told=False)
@example(size=LARGEST, request=GET, told=False)
def test_each_codec_makes_at_once_what_it_makes_of_the_parts(protocol, size, request, told):
    x = exchange(protocol, *request)
    data = body(size)
    x.start_response("200 OK", [("Content-Length", str(size))] if told else [])
    head = x.begin(size)
    assert not x.chunked
    parts = head + b"".join(x.codec.body(x, data) if data else ()) + x.codec.end(x)
    assert x.codec.whole(x, head, data) == parts
    assert Codec.whole(x.codec, x, head, data) == parts


def outcome(x):
    """Return all that an answer leaves behind."""
    return x.sent, x.excess, x.head_size, x.length, x.chunked, x.ended, x.keep_alive


@every_codec
@given(
    size=SIZES | st.sampled_from([LARGEST + 1, 70_000]),
    request=REQUESTS,
    status=st.sampled_from(["200 OK", "204 No Content", "304 Not Modified", "500 Oops"]),
    length=st.sampled_from(["header", "list", "unknown"]),
)
@example(size=0, request=GET, status="200 OK", length="list")
@example(size=0, request=GET, status="200 OK", length="unknown")
@example(size=1, request=GET, status="200 OK", length="unknown")
@example(size=1, request=("HEAD", "HTTP/1.1", True), status="200 OK", length="header")
@example(size=LARGEST + 1, request=GET, status="200 OK", length="header")
def test_an_exchange_sends_the_same_at_once_and_in_parts(protocol, size, request, status, length):
    """Chunked answers and those without a body among them: they are none that a codec makes whole."""
    data = body(size)
    headers = [("Date", "now"), *([("Content-Length", str(size))] if length == "header" else [])]
    total = size if length == "list" else None
    at_once, in_parts = exchange(protocol, *request), exchange(protocol, *request)
    for x in (at_once, in_parts):
        x.start_response(status, list(headers))
    at_once.send(data, False, total)
    head = in_parts.begin(total)
    in_parts.send(data, False)
    assert at_once.channel.wire == head + in_parts.channel.wire
    assert outcome(at_once) == outcome(in_parts)
    assert [more for _, more in at_once.channel.sends] == [False]
