"""All readers give the same verdict and the same environ for whatever comes."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appserver.protocols.codec import ProtocolError
from appserver.protocols.http import HttpCodec
from appserver.protocols.lines import LINES
from appserver.protocols.readers import HttptoolsFields, h11_fields, reader_named

from .feeding import BASE

SHARED = HttptoolsFields()  # one for all heads, as a listener has


def verdict(head, reader):
    codec = HttpCodec(BASE, reader)
    try:
        x = codec.receive(head)
    except ProtocolError as error:
        return error.status
    if x is None:
        return "unfinished"
    return x.environ, x.keep_alive, x.expect, x.body_left, codec.chunks is not None


def agree(head):
    expected = verdict(head, h11_fields)
    assert verdict(head, SHARED) == expected
    LINES.forget()
    assert verdict(head, None) == expected
    assert verdict(head, None) == expected  # with a form that is known by now
    return expected


METHODS = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "COPY", "LOCK", "MKCOL", "MOVE",
    "PROPFIND", "PROPPATCH", "SEARCH", "UNLOCK", "BIND", "REBIND", "UNBIND", "ACL", "REPORT", "MKACTIVITY",
    "CHECKOUT", "MERGE", "M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE", "PATCH", "PURGE", "MKCALENDAR",
    "LINK", "UNLINK", "SOURCE", "PRI", "DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "PAUSE", "TEARDOWN",
    "GET_PARAMETER", "SET_PARAMETER", "REDIRECT", "RECORD", "FLUSH", "QUERY", "X", "A-B", "A!B", "GETX",
    "GE",
]  # fmt: skip
TARGETS = [
    "/",
    "*",
    "/a?b=c",
    "http://h/p?q",
    "https://H",
    "http://g/",
    "h:80",
    "//h/p",
    "/%41%zz",
    "/#f",
    "x:y",
]


@pytest.mark.parametrize("method", METHODS)
def test_methods_and_targets(method):
    served = 0
    for target in TARGETS:
        for version in ("1.1", "1.0", "2.0"):
            served += isinstance(
                agree(f"{method} {target} HTTP/{version}\r\nHost: h\r\n\r\n".encode()), tuple
            )
    assert bool(served) == (method not in {"CONNECT", "TRACE", "X", "GE"})


PLACES = [
    "G%bT / HTTP/1.1\r\nHost: h", "GET %b HTTP/1.1\r\nHost: h", "GET /%b HTTP/1.1\r\nHost: h",
    "GET /?%b HTTP/1.1\r\nHost: h", "GET http://h%b/ HTTP/1.1\r\nHost: h", "GET / HTTP/1.%b\r\nHost: h",
    "GET /%bHTTP/1.1\r\nHost: h", "GET / HTTP/1.1%b\r\nHost: h", "GET / HTTP/1.1\r\nHost:%bh",
    "GET / HTTP/1.1\r\nHost: h%b", "GET / HTTP/1.1\r\nHost%b: h", "GET / HTTP/1.1\r\nHost: h\r\n%b: x",
    "GET / HTTP/1.1\r\nHost: h\r\nX%b: x", "GET / HTTP/1.1\r\nHost: h\r\n%bX: x", "GET / HTTP/1.1\r\nHost: h\r\nX: %b",
    "GET / HTTP/1.1\r\nHost: h\r\nX:%bx", "GET / HTTP/1.1\r\nHost: h\r\nX: x%b", "GET / HTTP/1.1\r\nHost: h\r\nX: x%bx",
    "GET / HTTP/1.1\r\nHost: h\r\nX: x\r\n%by: z", "GET / HTTP/1.1\r\nHost: h\r\nX: x\r%bY: z",
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %b5", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5%b",
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:%b", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1%b1",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:%bchunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked%b",
    "GET / HTTP/1.1\r\nHost: h\r\nConnection: close%b", "GET / HTTP/1.1\r\nHost: h\r\nConnection:%bupgrade\r\nUpgrade: x",
    "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade:%b", "GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue%b",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_every_byte_in_every_place(place):
    before, after = place.encode().split(b"%b")
    for byte in range(256):
        agree(before + bytes([byte]) + after + b"\r\n\r\n")


FIELDS = {
    "Host": ["h", "H", "g", "", "h:80", "[::1]", "a,b"],
    "Content-Length": ["5", "0", "005", "5,5", "5, 5", "5 5", "+5", "-1", "", "9" * 18, "9" * 19, "9" * 20, "9" * 21, "18446744073709551616"],
    "Transfer-Encoding": ["chunked", "Chunked", "gzip", "gzip, chunked", "chunked, chunked", "identity", ""],
    "Connection": ["close", "keep-alive", "Upgrade", "upgrade, close", "", "Close , x", "close, keep-alive", "proxy"],
    "Upgrade": ["websocket", "h2c", ""],
    "HTTP2-Settings": ["AAA"],
    "Expect": ["100-continue", "100-Continue", "x", ""],
    "Proxy-Connection": ["close", "keep-alive"],
    "Keep-Alive": ["timeout=5"],
    "Cookie": ["a=1", "b=2", ""],
    "Content-Type": ["a/b", "c/d"],
    "X_Under": ["1"],
    "Proxy": ["http://evil"],
    "TE": ["trailers"],
    "Trailer": ["Host"],
    "X-Long": ["x" * 300, "x " * 150, " " * 300, "\t", "\xe9\x80"],
}  # fmt: skip
field = st.sampled_from(list(FIELDS)).flatmap(
    lambda name: st.tuples(
        st.sampled_from([name, name.lower(), name.upper()]),
        st.sampled_from([": ", ":", ":  ", ":\t", " :", ": \t "]),
        st.sampled_from(FIELDS[name]),
        st.sampled_from(["\r\n"] * 12 + [" \r\n", "\t\r\n", "\r\n ", "\n", "\r"]),
    ).map("".join)
)
line = st.builds(
    "{} {} HTTP/{}\r\n".format,
    st.sampled_from([*METHODS[:8], "PATCH", "PRI", "SOURCE", "FOO"]),
    st.sampled_from(TARGETS),
    st.sampled_from(["1.1", "1.1", "1.1", "1.0", "2.0"]),
)
heads = st.builds(
    lambda line, host, fields: f"{line}{host}{''.join(fields)}\r\n".encode("latin-1"),
    line,
    st.sampled_from(["Host: h\r\n"] * 4 + [""]),
    st.lists(field, max_size=5),
)


@settings(max_examples=1500)
@given(heads)
@example(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n")
@example(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\n")
@example(b"GET http://h/ HTTP/1.1\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: h \t\r\n\r\n")
@example(b"GET / HTTP/1.0\r\n\r\n")
@example(b"PRI / HTTP/1.1\r\nHost: h\r\n\r\n")
@example(b"TRACE / HTTP/1.1\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: h\r\nExpect: x\r\nTransfer-Encoding: gzip\r\n\r\n")
def test_generated_heads(head):
    agree(head)


@settings(max_examples=700)
@given(heads, st.data())
def test_mutated_heads(head, data):
    changed = bytearray(head)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        how = data.draw(st.sampled_from(["set", "insert", "delete", "repeat"]))
        if how == "set":
            changed[at] = data.draw(st.integers(0, 255))
        elif how == "insert":
            changed[at:at] = data.draw(
                st.sampled_from([b"\r\n", b"\r", b"\n", b" ", b"\t", b"\0", b":", b",", b"\r\n "])
            )
        elif how == "repeat":
            changed[at:at] = changed[at : at + 20]
        elif len(changed) > 1:
            del changed[at]
    agree(bytes(changed))


@settings(max_examples=200)
@given(st.lists(heads, min_size=2, max_size=6))
def test_what_was_read_before_does_not_matter(several):
    reader = HttptoolsFields()
    alone = [verdict(head, HttptoolsFields()) for head in several]
    assert [verdict(head, reader) for head in several] == alone
    LINES.forget()
    for _ in range(2):
        assert [verdict(head, None) for head in several] == alone


def test_only_blanks_at_the_ends_of_a_value_are_cut():
    blanks = " \t" * 1300
    environ, *_ = agree(f"GET / HTTP/1.1\r\nHost: h\r\nX:{blanks}a{blanks}b{blanks}\r\n\r\n".encode())
    assert environ["HTTP_X"] == f"a{blanks}b"


def test_readers_by_name():
    assert reader_named("h11") is h11_fields
    assert reader_named("auto") is None
    assert isinstance(reader_named("httptools"), HttptoolsFields)
