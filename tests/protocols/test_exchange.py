"""start_response and what may not go on the wire (PEP 3333)."""

from enum import Enum

import pytest

from appserver.errors import ApplicationError

from .answering import CODECS, exchange

everywhere = pytest.mark.parametrize("protocol", CODECS)

BAD_HEADERS = [
    *((f"X{bad}", "v") for bad in ("\r", "\n", "\0", " ", ":", "\xe9", "\u20ac", "(", "\r\nSet-Cookie: a")),
    ("", "v"),
    *(("X", f"v{bad}w") for bad in ("\r", "\n", "\0", "\r\n\r\n<script>", "\x0b", "\x0c", "\x1b", "\x7f", "\u20ac",
                                    "\u0100", "\ud800", "\U0001f600", "\u2028", "\x01")),
    ("X", b"v"), (b"X", "v"), ("X", 1), ("X", None), ("X",), ("X", "v", "w"), ["X", "v"], "Xv", None,
    ("Content-Length", ""), ("Content-Length", "-1"), ("Content-Length", "+1"), ("Content-Length", "1 "),
    ("Content-Length", "1_0"), ("Content-Length", "\xb2"), ("Content-Length", "x"), ("content-length", "9" * 19),
    ("Connection", "close\r\n"), ("Upgrade", "\n"),
]  # fmt: skip


@pytest.mark.parametrize("header", BAD_HEADERS, ids=repr)
@everywhere
def test_bad_headers(protocol, header):  # R1, R2
    x = exchange(protocol)
    with pytest.raises(ApplicationError):
        x.start_response("200 OK", [("X-Before", "v"), header])
    assert (x.status, x.headers, x.channel.sends) == ("", [], [])


@pytest.mark.parametrize(
    "status",
    ["200", "200OK", "20 OK", "2000 OK", "9999 X", "099 X", "100 Continue", "101 X", "199 X", "600 X", "abc x", "", " 200 OK",
     "200\tOK", "200 OK\r\nX: y", "200 OK\n", "200 \0", "200 \x7f", "200 \u20ac", "\u0662\u0660\u0660 OK", b"200 OK", 200, None],
    ids=repr,
)  # fmt: skip
@everywhere
def test_bad_statuses(protocol, status):
    x = exchange(protocol)
    with pytest.raises(ApplicationError):
        x.start_response(status, [])
    assert x.status == ""


@pytest.mark.parametrize(
    "headers", [(), {}, None, "X: v", iter([])], ids=lambda headers: type(headers).__name__
)
def test_headers_are_a_list(headers):
    with pytest.raises(ApplicationError, match="not a list"):
        exchange().start_response("200 OK", headers)


class Safe(str):
    """Text of a framework's own, as SafeString and Markup are."""

    __slots__ = ()

    def __str__(self):
        raise AssertionError


class Named(str, Enum):  # noqa: UP042  (which a StrEnum formats otherwise)
    TYPE = "Content-Type"
    PLAIN = "text/plain"
    LENGTH = "content-length"
    OK = "200 OK"


@pytest.mark.parametrize("status", [Safe("200 OK"), Named.OK], ids=["str", "enum"])
@everywhere
def test_kinds_of_str(protocol, status):
    x = exchange(protocol)
    headers = [(Named.TYPE, Named.PLAIN), (Safe("X-A"), "v"), ("X-B", Safe("w")), (Named.LENGTH, Safe("2"))]
    x.start_response(status, headers)
    assert (x.status, x.length) == ("200 OK", 2)
    assert x.headers == [("Content-Type", "text/plain"), ("X-A", "v"), ("X-B", "w"), ("content-length", "2")]
    assert {type(text) for field in x.headers for text in field} | {type(x.status)} == {str}
    x.send(b"ab", False)
    assert b"200 OK\r\n" in x.channel.wire
    assert b"\r\nContent-Type: text/plain\r\nX-A: v\r\nX-B: w\r\n" in x.channel.wire.partition(b"200 OK")[2]


@pytest.mark.parametrize("header", [(Safe("X\r\n"), "v"), ("X", Safe("v\n")), (Safe("X"), b"v")], ids=repr)
def test_kinds_of_str_are_checked(header):
    with pytest.raises(ApplicationError):
        exchange().start_response("200 OK", [header])


def test_two_lengths():
    with pytest.raises(ApplicationError, match="Content-Length is given twice"):
        exchange().start_response("200 OK", [("Content-Length", "5"), ("content-length", "5")])


def test_who_accepts_a_websocket_is_told_how():
    x = exchange()
    with pytest.raises(ApplicationError, match=r"accepted by environ\[\"wsgi.websocket\"\]"):
        x.start_response("101 Switching Protocols", [])


@pytest.mark.parametrize("status", ["200 ", "299 ok", "404 Not Found", "599 \xe9\t!"])
def test_good_statuses(status):
    x = exchange()
    x.start_response(status, [])
    assert x.status == status


def test_start_response_twice():  # R8
    x = exchange()
    x.start_response("200 OK", [])
    with pytest.raises(ApplicationError, match="called twice"):
        x.start_response("200 OK", [])


def exc_info(message):
    error = ValueError(message)
    return ValueError, error, error.__traceback__


def test_exc_info_replaces_what_has_not_gone():
    x = exchange()
    x.start_response("200 OK", [("Content-Length", "5"), ("X-A", "1")])
    x.start_response("500 Oops", [("X-B", "2")], exc_info("early"))
    assert (x.status, x.headers, x.length) == ("500 Oops", [("X-B", "2")], None)


def test_exc_info_is_raised_where_the_head_has_gone():
    x = exchange()
    x.start_response("200 OK", [])
    x.write(b"x")
    sent = list(x.channel.sends)
    with pytest.raises(ValueError, match="late"):
        x.start_response("500 Oops", [], exc_info("late"))
    assert x.channel.sends == sent


def test_the_applications_list_is_not_changed():
    x = exchange()
    headers = [("X-A", "1")]
    x.start_response("200 OK", headers)
    x.send(b"x", False, 1)
    assert headers == [("X-A", "1")]


def test_nothing_without_start_response():
    with pytest.raises(ApplicationError, match="no start_response"):
        exchange().write(b"x")


@pytest.mark.parametrize("data", ["text", 1, None, [b"x"]], ids=repr)
def test_pieces_are_bytes(data):
    x = exchange()
    x.start_response("200 OK", [])
    with pytest.raises(ApplicationError, match="not bytes"):
        x.write(data)
    assert x.channel.sends == []


def test_other_bytes_are_taken():
    x = exchange()
    x.start_response("200 OK", [("Content-Length", "2")])
    x.write(bytearray(b"a"))
    x.write(memoryview(b"b"))
    x.send(b"", False)
    assert x.channel.wire.endswith(b"\r\n\r\nab")


@everywhere
def test_an_empty_write_sends_the_head_and_no_more(protocol):
    x = exchange(protocol)
    write = x.start_response("200 OK", [])
    write(b"")
    assert len(x.channel.sends) == 1
    write(b"")
    assert len(x.channel.sends) == 1
    x.send(b"x", False)
    assert b"x" in x.channel.wire


def test_reset_forgets_an_answer():
    x = exchange()
    x.start_response("200 OK", [("Content-Length", "5")])
    x.reset()
    x.start_response("500 Oops", [])
    assert (x.length, x.headers) == (None, [])
