"""SCGI netstrings that no honest nginx sends; the cases of docs/security/scgi.md."""

from __future__ import annotations

import pytest

from tests.protocols.feeding import scgi
from tests.protocols.wire import GET, netstring, scgi_request
from tests.security.rig import body_of, customized, status_of, through, without_body

POST = GET | {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5"}
BLOCK = scgi_request(GET).partition(b":")[2][:-1]
SIZE = len(BLOCK)


# In each the bytes up to the first that is bad are all that may be looked at.
REFUSED = [
    *(
        pytest.param(length + b":" + BLOCK + b",", status, id=f"S'1-{length!r}")
        for length, status in (
            (b"0%d" % SIZE, "400"), (b"+%d" % SIZE, "400"), (b"-%d" % SIZE, "400"), (b"%d " % SIZE, "400"),
            (b"0x1f", "400"), (b"1_0", "400"), (b"", "400"), (b"1e3", "400"), (b"\xb2", "400"),
            (b"999999999", "431"), (b"1000000000", "400"), (b"2147483648", "400"), (b"9" * 30, "400"),
        )
    ),
    pytest.param(b"1234567890123", "400", id="S'1-no colon"),
    pytest.param(netstring(BLOCK[:-7]), "400", id="S'3-no SCGI"),
    pytest.param(netstring(BLOCK[:-2] + b"2\0"), "400", id="S'3-SCGI=2"),
    pytest.param(netstring(b""), "400", id="S'4-empty"),
    pytest.param(netstring(BLOCK + b"odd\0"), "400", id="S'4-a name without value"),
    pytest.param(netstring(BLOCK[:-1]), "400", id="S'4-no NUL at the end"),
    pytest.param(netstring(BLOCK + b"\0x\0"), "400", id="S'4-no name"),
    pytest.param(netstring(BLOCK, b";"), "400", id="S'4-another end than a comma"),
    pytest.param(b"%d:%b," % (SIZE - 1, BLOCK), "400", id="S'4-one byte shorter"),
    pytest.param(b"%d:%b,x" % (SIZE + 1, BLOCK), "400", id="S'4-one byte longer"),
    pytest.param(scgi_request([*POST.items(), ("CONTENT_LENGTH", "6")], b"hello"), "400", id="S'5-two lengths"),
    *(
        pytest.param(scgi_request(POST | {"CONTENT_LENGTH": text}, b"hello"), "400", id=f"S'5-{text!r}")
        for text in ("+5", "-5", "abc", "1_0", "5,5", "9" * 30)
    ),
    *(
        pytest.param(scgi_request(GET | {name: f"/a{bad}b"}), "400", id=f"S'4-{bad!r} in {name}")
        for bad in "\r\n"
        for name in ("REQUEST_METHOD", "PATH_INFO", "REQUEST_URI", "HTTP_X", "MY_PARAM")
    ),
]  # fmt: skip


@pytest.mark.parametrize("wire, status", REFUSED)
def test_refused_by_the_codec(wire, status, how):
    assert scgi(wire + scgi_request(GET), how) == [status]


@pytest.mark.parametrize("wire, status", REFUSED)
def test_refused_by_the_server(server, wire, status, how):
    """At most one answer, the end of the connection, and no call of the application."""
    before = server.calls()
    answer = server.raw("scgi", wire + scgi_request(GET), how)
    assert status_of(answer) in {status, ""}  # who does not speak SCGI is not answered
    assert answer.count(b"Status:") <= 1
    assert server.calls() == before


@pytest.mark.parametrize(
    "variables, body",
    [
        pytest.param(POST, b"hello", id="S'2-somewhere"),
        pytest.param({"REQUEST_METHOD": "GET", "PATH_INFO": "/a b"}, b"", id="S'2-nowhere"),
        pytest.param(GET | {"CONTENT_LENGTH": ""}, b"", id="S'2-empty"),
        pytest.param([*POST.items(), ("CONTENT_LENGTH", "5")], b"hello", id="S'5-the same one twice"),
        pytest.param([("CONTENT_LENGTH", "0"), *GET.items()], b"", id="S'5-0 and none"),
        pytest.param([*POST.items(), ("CONTENT_LENGTH", "")], b"", id="S'5-none behind one"),
    ],
)
def test_content_length_need_not_be_the_first(server, variables, body, how):
    """S'2: nginx sends it first, its own tests do not."""
    found = body_of(server.raw("scgi", scgi_request(variables, body), how, end=True))
    assert (found["PATH_INFO"], found["the.body"]) == ("/a b", body.decode())


def test_a_value_with_nul_is_another_variable(server, how):
    """S'4: a front end that lets a NUL through shifts names and values; that ends in a refusal."""
    before = server.calls()
    assert status_of(server.raw("scgi", scgi_request(GET | {"HTTP_X": "a\0b"}), how)) == "400"
    assert server.calls() == before


@pytest.mark.parametrize("body", [b"", b"hell"])
def test_a_short_body_does_not_reach_the_application(server, body, how):
    """S'5: the connection ends before the body does."""
    before = server.calls()
    assert status_of(server.raw("scgi", scgi_request(POST, body), how, end=True)) == "400"
    assert server.calls() == before


def test_a_short_body_that_is_streamed_raises(streaming, how):
    """S'5."""
    before = streaming.calls()
    streaming.raw("scgi", scgi_request(POST, b"hell"), how, end=True)
    assert streaming.calls()[len(before) :] == ["POST /a b", "ClientGone"]


def test_a_second_request_is_neither_served_nor_read(server, how):
    """S'5: one request a connection, and one answer."""
    before = server.calls()
    answer = server.raw("scgi", scgi_request(POST, b"hello" + scgi_request(GET)), how)
    assert answer.count(b"Status: 200 OK") == 1
    assert body_of(answer)["the.body"] == "hello"
    assert server.calls()[len(before) :] == ["POST /a b"]


# Through nginx


@pytest.mark.peers
@pytest.mark.parametrize(
    "target, status",
    [
        pytest.param("/own", 400, id="S'3-SCGI=2"),
        pytest.param("/bare", 200, id="S'2-few variables"),
        pytest.param("/few", 200, id="S'2-no method and no URI"),
        *(pytest.param(f"/length?is={text}", 400, id=f"S'5-{text}") for text in ("+5", "-5", "abc", "7")),
        pytest.param("/length?is=0", 200, id="S'5-the same twice"),
        pytest.param("/a%0ab", 400, id="S'4-LF in the path"),
        pytest.param("/a%0Db", 400, id="S'4-CR in the path"),
        pytest.param("/method?is=PUT", 400, id="S'4-two methods"),
    ],
)
def test_through_nginx(server, nginx, target, status):
    through(server, nginx, "scgi", target, status)


@pytest.mark.peers
def test_no_body_is_passed_on_by_nginx(server, nginx):
    """S'5: an empty length behind the client's says so."""
    without_body(server, nginx, "scgi")


@pytest.mark.peers
def test_an_operator_s_parameters_arrive_through_nginx(nginx):
    """S'2."""
    customized(nginx, "scgi")
