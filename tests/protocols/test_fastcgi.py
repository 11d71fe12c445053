"""FastCGI."""

import pytest

from appserver.protocols.codec import ProtocolError
from appserver.protocols.fastcgi import (
    ABORT,
    DATA,
    GET_VALUES,
    PARAMS,
    STDIN,
    VARIABLES,
    FastcgiCodec,
    pair,
    record,
)

from .feeding import CUTS, fastcgi, feed, summary
from .wire import GET, begin, fastcgi_request, padded, params

POST = GET | {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5"}
BARE = {"REQUEST_METHOD": "POST", "REQUEST_URI": "/"}
BIG = b"0123456789abcdef" * 20000


SERVED = {
    "GET": (fastcgi_request(GET), "GET /a b"),
    "POST": (fastcgi_request(POST, b"hello"), "POST /a b hello"),
    "small records": (fastcgi_request(POST, b"hello", step=1), "POST /a b hello"),
    "padded": (fastcgi_request(POST, b"hello", step=3, padding=255), "POST /a b hello"),
    "a body without length": (fastcgi_request(BARE, b"hello"), "POST / hello"),
    "a body that was chunked": (
        fastcgi_request(BARE | {"HTTP_TRANSFER_ENCODING": "chunked"}, b"hello"), "POST / hello"),
    "a body of a length that Caddy does not know": (
        fastcgi_request(BARE | {"CONTENT_LENGTH": "-1"}, b"hello"), "POST / hello"),
    "no body, which Caddy does not know": (fastcgi_request(GET | {"CONTENT_LENGTH": "-1"}), "GET /a b"),
    "another id": (fastcgi_request(POST, b"hello", request=65535), "POST /a b hello"),
    "long values": (fastcgi_request(POST | {"A" * 128: "v" * 300, "B": "w" * 128}, b"hello"), "POST /a b hello"),
    "management between": (
        begin() + record(GET_VALUES, 0, b"") + params(GET) + record(PARAMS, 1, b"") + record(77, 0, b"x")
        + record(STDIN, 1, b""), "GET /a b"),
    "records of others between": (
        record(STDIN, 9, b"x") + begin() + record(PARAMS, 9, b"junk") + params(GET) + record(ABORT, 9, b"")
        + record(PARAMS, 1, b"") + record(STDIN, 9, b"") + record(DATA, 1, b"d") + record(STDIN, 1, b""),
        "GET /a b"),
}  # fmt: skip


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name", SERVED)
def test_is_served(name, how):
    wire, expected = SERVED[name]
    assert summary(fastcgi(wire, how)) == [expected]
    assert fastcgi(wire[:-1], how) == []


@pytest.mark.parametrize("variables", [{}, {"HTTP_TRANSFER_ENCODING": "chunked"}])
def test_a_length_that_caddy_does_not_know_is_none(variables):
    [(environ, body)] = fastcgi(fastcgi_request(BARE | {"CONTENT_LENGTH": "-1"} | variables, b"hello"))
    assert body == b"hello"
    assert "CONTENT_LENGTH" not in environ


@pytest.mark.parametrize("given, made", [(POST, BARE), (BARE, POST | {"CONTENT_LENGTH": "2"})])
def test_the_application_may_change_the_length_while_the_body_comes(given, made):
    codec = FastcgiCodec({})
    wire = fastcgi_request(given, b"hello")
    body = record(STDIN, 1, b"hello") + record(STDIN, 1, b"")
    x = codec.receive(wire.removesuffix(body))
    x.environ.clear()
    x.environ.update(made)
    assert b"".join(codec.receive_body(x, body)) == b"hello"
    assert x.body_left == 0


def test_a_body_is_taken_as_it_comes():
    codec = FastcgiCodec({})
    wire = fastcgi_request(POST | {"CONTENT_LENGTH": str(len(BIG))}, BIG, padding=3)
    at = wire.index(BIG[:9])
    x = codec.receive(wire[:at])
    assert codec.receive_body(x, wire[at : at + 1000]) == (BIG[:1000],)
    assert codec.buffer == b""


LARGE, OTHER = record(STDIN, 1, b"a" * 9000), record(STDIN, 9, bytes(1000))  # of another request, and skipped


@pytest.mark.parametrize(
    ("wire", "body", "kept"),
    [
        (LARGE * 3, [b"a" * 9000] * 3, memoryview),
        (LARGE * 3 + record(STDIN, 1, b"b"), [b"a" * 9000] * 3 + [b"b"], memoryview),
        (LARGE * 3 + OTHER * 3, [b"a" * 9000] * 3, memoryview),
        (LARGE * 3 + OTHER * 4, [b"a" * 27000], bytes),  # it would keep more than itself
        (LARGE + record(STDIN, 1, b"b") * 2, [b"a" * 9000 + b"bb"], bytes),  # more pieces than they are worth
        (record(STDIN, 1, b"b" * 100) * 90, [b"b" * 9000], bytes),
        (record(STDIN, 1, b"b"), [b"b"], bytes),
        (OTHER, [], None),
    ],
)
def test_records_of_a_body_are_put_together_but_large_ones(wire, body, kept):
    codec = FastcgiCodec({})
    x = codec.receive(begin() + params(BARE) + record(PARAMS, 1, b""))
    pieces = codec.receive_body(x, wire)
    assert [bytes(piece) for piece in pieces] == body
    assert {type(piece) for piece in pieces} == ({kept} if kept else set())


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 260])
def test_what_is_left_of_a_body_is_read_over_in_the_middle_of_a_record(cut):
    codec = FastcgiCodec({})
    head, _, tail = fastcgi_request(POST, b"hello", padding=255).partition(b"hello")
    rest = b"hello" + tail
    x = codec.receive(head)
    codec.receive_body(x, rest[:cut])
    assert x.body_left != 0  # the answer came first
    found = codec.receive(rest[cut:] + fastcgi_request(GET, request=2))
    assert found.environ["REQUEST_URI"] == GET["REQUEST_URI"]
    assert codec.request == 2


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name", SERVED)
def test_what_follows_is_the_next_request(name, how):
    wire, expected = SERVED[name]
    found = fastcgi(wire + wire + b"GET / HTTP/1.1\r\n\r\n", how)
    assert summary(found) == [expected, expected, "400"]


def test_the_connection_is_kept_where_asked():
    assert len(fastcgi(fastcgi_request(GET) * 3)) == 3
    assert len(fastcgi(fastcgi_request(GET, flags=0) * 3)) == 1


@pytest.mark.parametrize("step", [1, 2, 3, 7, 126, 127, 128, 129, 255, 256])
@pytest.mark.parametrize("padding", [0, 1, 7, 8, 254, 255])
def test_streams_are_cut_anywhere(step, padding):
    """A pair may be split at every byte of its lengths, its name and its value."""
    variables = POST | {"SHORT": "v" * 127, "LONG": "v" * 128, "N" * 200: "", "EMPTY": ""}
    [(environ, body)] = fastcgi(fastcgi_request(variables, b"hello", step=step, padding=padding))
    assert {k: v for k, v in variables.items() if v}.items() <= environ.items()
    assert body == b"hello"


def test_the_largest_records():
    wire = begin() + params(BARE) + record(PARAMS, 1, b"")
    wire += (
        padded(STDIN, 1, BIG[:65535], 255)
        + padded(STDIN, 1, BIG[65535:131070], 255)
        + padded(STDIN, 1, b"", 255)
    )
    [(_, body)] = fastcgi(wire)
    assert body == BIG[:131070]


def pairs(data):
    return dict(VARIABLES.every(data, 0, len(data)))


def lying(kind, size):
    """Return the start of pairs whose name, value or both claim *size* bytes."""
    large = (size | 1 << 31).to_bytes(4, "big")
    return {"name": large + b"\x01", "value": b"\x01" + large, "both": large * 2}[kind] + b"A"


REFUSED = {
    "400": [
        *(begin() + record(PARAMS, 1, lying(kind, size)) + record(PARAMS, 1, b"")  # F1
          for kind in ("name", "value", "both") for size in (2, 200, 0x7FFFFFFF, 0x7FFFFFF8)),
        *(begin() + record(PARAMS, 1, tail) + record(PARAMS, 1, b"")
          for tail in (b"\x01", b"\x80", b"\x80\0\0\0", b"\x01\x80", b"\x01\x00", b"\0\xff\xff\xff", b"\x00\x01")),
        begin() + begin(), begin() + params(GET) + begin(), begin() + params(GET) + record(PARAMS, 1, b"") + begin(),  # F5
        record(1, 1, bytes(7)), record(1, 1, bytes(9)), record(1, 1, b""),
        begin() + record(STDIN, 1, b"x"), begin() + params(GET) + record(STDIN, 1, b""),
        begin() + params(BARE) + record(PARAMS, 1, b"") + params(GET),
        fastcgi_request(POST, b"hello!"),  # F10
        fastcgi_request(POST, b"hell"), fastcgi_request(POST, b""), fastcgi_request(POST, b"hello!", step=1),
        fastcgi_request(POST, b"hello world", step=5),
        fastcgi_request({"SERVER_PROTOCOL": "HTTP/1.1"}), fastcgi_request({}),
        *(fastcgi_request(GET | {"CONTENT_LENGTH": length}) for length in ("+5", "-5", "abc", "1_0", "9" * 30)),
        fastcgi_request({"REQUEST_METHOD": "GET", "REQUEST_URI": "/x.php%0aY"}),  # F14
        fastcgi_request(GET | {"PATH_INFO": "/x\nY"}), fastcgi_request(GET | {"HTTP_X": "a\0b"}),
        fastcgi_request(GET | {"A\rB": "x"}), fastcgi_request(GET | {"HTTP_HOST": "a/b"}),
        record(GET_VALUES, 0, b"\x05"), record(GET_VALUES, 0, lying("both", 0x7FFFFFFF)),
        b"\x02" + begin()[1:], b"\x00" + begin()[1:], begin() + b"\x02" + params(GET)[1:],  # F7
        b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01",
        begin() + params(BARE) + record(PARAMS, 1, b"") + record(STDIN, 1, b"x") + record(ABORT, 1, b""),
    ],
    "431": [begin() + record(PARAMS, 1, b"\0" * 65535) + record(PARAMS, 1, b"\0\0")],
    "501": [fastcgi_request(GET | {"REQUEST_METHOD": "TRACE"})],
}  # fmt: skip


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize(
    "verdict, wire",
    [
        pytest.param(v, w, id=f"{v}-{n}-{w[8:40]!r}")
        for v, wires in REFUSED.items()
        for n, w in enumerate(wires)
    ],
)
def test_is_refused(verdict, wire, how):
    assert fastcgi(wire + fastcgi_request(GET), how) == [verdict]


@pytest.mark.parametrize("length", ["", "5"])
def test_the_length_is_counted_over_many_records(length):
    codec = FastcgiCodec({})
    x = codec.receive(begin() + params(BARE | {"CONTENT_LENGTH": length}) + record(PARAMS, 1, b""))
    read = [codec.receive_body(x, record(STDIN, 1, b"b")) for _ in range(5)]
    assert read == [(b"b",)] * 5
    assert x.body_left  # the end of the stream is still to come
    if length:
        with pytest.raises(ProtocolError, match="longer than its CONTENT_LENGTH"):
            codec.receive_body(x, record(STDIN, 1, b"b"))
    else:
        assert codec.receive_body(x, record(STDIN, 1, b"b") + record(STDIN, 1, b"")) == (b"b",)
        assert x.body_left == 0


UNENDED = begin() + params(GET | {"CONTENT_LENGTH": "0"}) + record(PARAMS, 1, b"")
ENDING = record(STDIN, 1, b"")


@pytest.mark.parametrize("request_id", [1, 2])
@pytest.mark.parametrize("end", [b"", ENDING, ENDING * 2, padded(STDIN, 1, b"", 3)])
def test_a_length_of_0_needs_no_end_of_the_body(end, request_id):
    """haproxy 2.6 leaves it away; that of others may come late, wherever the pieces are cut."""
    wire = UNENDED + end + fastcgi_request(POST, b"hello", request=request_id)
    # Where nothing ends it, the next request comes behind the answer.
    for at in range(len(wire)) if end else [len(UNENDED)]:
        assert summary(fed(wire[:at], wire[at:])) == ["GET /a b", "POST /a b hello"], at
    assert summary(fastcgi(wire, "bytes")) == ["GET /a b", "POST /a b hello"]


def fed(*pieces):
    return feed(FastcgiCodec({}), pieces)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_the_end_of_no_body_may_come_while_the_answer_is_made(step):
    """The connection keeps what comes then, and gives it to the codec with the next request."""
    codec = FastcgiCodec({})
    assert codec.receive(UNENDED).body_left == 0
    assert not codec.exact, "something may come"
    later, backlog = ENDING + fastcgi_request(GET, request=2), b""
    for at in range(0, len(later), step):
        backlog += later[at : at + step]
        assert not codec.aborted(backlog)
    assert summary(feed(codec, [backlog])) == ["GET /a b"]


@pytest.mark.parametrize("behind", [b"", ENDING])
def test_one_that_has_come_whole_is_followed_by_nothing(behind):
    codec = FastcgiCodec({})
    assert codec.receive(UNENDED + ENDING + behind).body_left == 0
    assert codec.exact


BODY = record(STDIN, 1, b"x") + ENDING


def test_a_body_of_more_than_0_bytes_is_refused():
    """At once where it has come; the request has begun where it comes later."""
    assert fed(UNENDED + BODY) == ["400"]
    assert fed(UNENDED + BODY[:3], BODY[3:]) == ["400"]
    for pieces in ([BODY], [BODY[:3], BODY[3:]], [BODY + fastcgi_request(GET)], [ENDING + BODY]):
        [(_, body), refusal] = fed(UNENDED, *pieces)
        assert (body, refusal) == (b"", "400")


def test_nobody_is_told_of_a_body_that_comes_behind_the_answer():
    codec = FastcgiCodec({})
    codec.receive(UNENDED)
    with pytest.raises(ProtocolError, match="longer than its CONTENT_LENGTH") as caught:
        codec.receive(BODY)
    assert not caught.value.answer, "there is no request that it could be for"


@pytest.mark.parametrize(
    "body, hint", [([], 'fastcgi_param CONTENT_LENGTH "";'), ([b"hell"], ""), ([b"h", b"e"], "")]
)
def test_it_is_told_how_to_say_that_no_body_is_passed_on(body, hint):
    """nginx has the client's length in its list also where it passes no body on."""
    codec = FastcgiCodec({})
    x = codec.receive(begin() + params(POST) + record(PARAMS, 1, b""))
    for piece in body:
        codec.receive_body(x, record(STDIN, 1, piece))
    with pytest.raises(ProtocolError, match=r"ends \d bytes before its CONTENT_LENGTH") as caught:
        codec.receive_body(x, record(STDIN, 1, b""))
    assert (hint in caught.value.hint) if hint else not caught.value.hint


# Pairs


@pytest.mark.parametrize(
    "name, value, head",
    [
        (b"", b"", b"\0\0"),
        (b"n", b"v", b"\1\1"),
        (b"n" * 127, b"", b"\x7f\0"),
        (b"n" * 128, b"v", b"\x80\0\0\x80\1"),
        (b"n", b"v" * 70000, b"\1\x80\x01\x11\x70"),
    ],
)
def test_pairs(name, value, head):
    assert pair(name, value) == head + name + value
    expected = {name.decode("latin-1"): value.decode("latin-1"), "a": "b"}
    assert pairs(pair(name, value) + pair(b"a", b"b")) == expected


def test_long_lengths_of_short_values_are_read():
    assert pairs(b"\x80\0\0\1\x80\0\0\1ab") == {"a": "b"}


def test_php_variables_are_strings():
    [(environ, _)] = fastcgi(
        fastcgi_request(GET | {"PHP_VALUE": "auto_prepend_file=x", "PHP_ADMIN_VALUE": "y"})
    )
    assert environ["PHP_VALUE"] == "auto_prepend_file=x"
