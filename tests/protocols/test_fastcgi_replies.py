"""What a FastCGI codec says outside any answer, and what it hears while one is made."""

import pytest

from appserver.exchange import Exchange
from appserver.protocols.codec import ProtocolError
from appserver.protocols.fastcgi import ABORT, DATA, GET_VALUES, PARAMS, STDIN, FastcgiCodec, pair, record

from .feeding import CUTS, cut, feed, summary
from .wire import GET, begin, fastcgi_request, params

POST = GET | {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5"}


def end(request, status, app=0):
    return record(3, request, app.to_bytes(4, "big") + bytes([status, 0, 0, 0]))


def unknown(kind):
    return record(11, 0, bytes([kind]) + bytes(7))


def told(codec, wire, how="whole"):
    """Feed *wire* and return what the codec says outside any answer."""
    feed(codec, cut(wire, how))
    return codec.replies


SAID = [
    (record(GET_VALUES, 0, b"".join(pair(n, b"") for n in (b"FCGI_MAX_CONNS", b"FCGI_MPXS_CONNS", b"X"))),
     record(10, 0, pair(b"FCGI_MPXS_CONNS", b"0"))),
    (record(GET_VALUES, 0, b""), record(10, 0, b"")),
    (record(GET_VALUES, 0, pair(b"FCGI_MPXS_CONNS", b"") * 3855), record(10, 0, pair(b"FCGI_MPXS_CONNS", b"0"))),
    (record(12, 0, b"x"), unknown(12)), (record(255, 0, b""), unknown(255)), (record(0, 0, b""), unknown(0)),
    (record(GET_VALUES + 1, 0, b""), unknown(10)),
    (begin() + record(200, 1, b"x"), unknown(200)),
    (begin(role=2), end(1, 3)), (begin(role=3), end(1, 3)), (begin(role=9), end(1, 3)),
    (begin(role=0), end(1, 3)), (begin(role=257), end(1, 3)),
    (begin() + begin(2), end(2, 1)),
    (begin() + begin(2) + params(GET, 2) + record(STDIN, 2, b"x") + begin(3), end(2, 1) + end(3, 1)),
    (begin() + record(ABORT, 1, b""), end(1, 0, 1)),
    (begin() + params(GET) + record(ABORT, 1, b"") + record(PARAMS, 1, b""), end(1, 0, 1)),
    (record(ABORT, 1, b""), b""), (record(ABORT, 0, b""), unknown(ABORT)),
]  # fmt: skip


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("wire, said", SAID)
def test_says(wire, said, how):
    assert told(FastcgiCodec({}), wire, how) == said


def test_a_refused_request_leaves_the_other_alone():
    wire = (
        begin() + begin(2) + params(POST) + params(GET, 2) + record(PARAMS, 1, b"") + record(PARAMS, 2, b"")
    )
    wire += (
        record(STDIN, 2, b"evil!")
        + record(STDIN, 1, b"hello")
        + record(STDIN, 2, b"")
        + record(STDIN, 1, b"")
    )
    codec = FastcgiCodec({})
    assert summary(feed(codec, [wire])) == ["POST /a b hello"]
    assert codec.replies == end(2, 1)


def test_the_next_request_may_begin_after_an_abort():
    codec = FastcgiCodec({})
    wire = begin() + params(POST) + record(ABORT, 1, b"") + record(STDIN, 1, b"old") + fastcgi_request(GET)
    assert summary(feed(codec, [wire])) == ["GET /a b"]
    assert codec.replies == end(1, 0, 1)


@pytest.mark.parametrize("kind", [PARAMS, STDIN, ABORT, DATA, 3, 6, 200])
def test_stray_records_are_forgotten(kind):
    codec = FastcgiCodec({})
    stray = record(kind, 7, b"x" * 24) * 1000
    for _ in range(100):
        assert codec.receive(stray) is None
        while codec.behind:
            assert codec.receive(b"") is None
        assert codec.buffer == codec.replies == b""
        assert not codec.params
        assert not codec.stdin
    assert summary(feed(codec, [fastcgi_request(GET)])) == ["GET /a b"]


@pytest.mark.parametrize(
    "wire", [record(99, 0, b""), record(GET_VALUES, 0, b""), begin(role=2), begin(5) + record(ABORT, 5, b"")]
)
def test_a_peer_that_only_makes_us_talk_is_left(wire):
    codec = FastcgiCodec({})
    assert feed(codec, [wire * 1000, fastcgi_request(GET), wire * 900])[-1:] != ["400"]
    with pytest.raises(ProtocolError, match="makes us talk") as caught:
        codec.receive(wire * 200)
    assert not caught.value.answer


BUSY = fastcgi_request(GET)


@pytest.mark.parametrize("behind", range(9))
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_an_abort_is_seen_while_the_answer_is_made(behind, step):
    """Wherever the pieces are cut: the first *behind* bytes have come with the request itself."""
    codec = FastcgiCodec({})
    after = record(STDIN, 1, b"")[:behind] if behind == 8 else record(ABORT, 1, b"")[:behind]
    later = record(77, 0, b"x") + record(ABORT, 2, b"") + record(ABORT, 1, b"")
    if behind < 8:
        later = record(ABORT, 1, b"")[behind:] + later
    x = codec.receive(BUSY + after)
    assert isinstance(x, Exchange)
    codec.receive_body(x, b"")
    assert x.body_left == 0
    backlog, seen = b"", []
    for at in range(0, len(later), step):
        backlog += later[at : at + step]
        seen.append(codec.aborted(backlog))
    assert any(seen)
    assert codec.replies.startswith(end(1, 0, 1))


def test_looking_for_an_abort_is_linear():
    codec = FastcgiCodec({})
    x = codec.receive(BUSY)
    codec.receive_body(x, b"")
    backlog = b""
    for _ in range(3000):
        backlog += record(STDIN, 4, b"x" * 10)
        assert not codec.aborted(backlog)
        assert codec.scanned == len(backlog)
    assert summary(feed(codec, [backlog + fastcgi_request(POST, b"hello")])) == ["POST /a b hello"]
    assert codec.scanned == 0
