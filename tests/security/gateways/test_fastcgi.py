"""FastCGI records that no honest nginx sends; the cases of docs/security/fastcgi.md."""

from __future__ import annotations

import socket
import struct
import tracemalloc

import pytest

from appserver.protocols.fastcgi import (
    ABORT,
    BEGIN,
    END,
    GET_VALUES,
    GET_VALUES_RESULT,
    PARAMS,
    STDERR,
    STDIN,
    STDOUT,
    UNKNOWN_TYPE,
    FastcgiCodec,
    pair,
    record,
)
from tests.peers.client import curl, get, memory, together
from tests.protocols.feeding import cut, fastcgi, feed, summary
from tests.protocols.wire import GET, begin, fastcgi_request, padded, params
from tests.security.rig import body_of, customized, received, rig, status_of, through, without_body
from tests.support.fronts import GUARD, poll

POST = GET | {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5"}
BARE = {"REQUEST_METHOD": "POST", "REQUEST_URI": "/"}
ENDED = record(PARAMS, 1, b"")


def records(data):
    """Return the records of *data* as their type, request and content."""
    found = []
    while data:
        version, kind, request, size, padding = struct.unpack(">BBHHBx", data[:8])
        assert version == 1
        assert len(data) >= 8 + size + padding, "a record is cut"
        found.append((kind, request, data[8 : 8 + size]))
        data = data[8 + size + padding :]
    return found


def stdout(data, request=1):
    return b"".join(content for kind, number, content in records(data) if (kind, number) == (STDOUT, request))


def ends(data):
    """Return the ends of requests: their number, application status and protocol status."""
    return [
        (request, *struct.unpack(">IB3x", content)) for kind, request, content in records(data) if kind == END
    ]


def lying(size, *, name=False, value=False):
    large = struct.pack(">I", size | 1 << 31)
    return (large if name else b"\1") + (large if value else b"\1") + b"A"


REFUSED = [
    *(
        pytest.param(begin() + record(PARAMS, 1, lying(size, **which)) + ENDED, "400", id=f"F1-{size:#x}-{n}")
        for size in (0x7FFFFFFF, 0x7FFFFFF8, 0x40000000, 4)
        for n, which in enumerate(({"name": True}, {"value": True}, {"name": True, "value": True}))
    ),
    *(
        pytest.param(begin() + record(PARAMS, 1, cut) + ENDED, "400", id=f"F1-cut {cut!r}")
        for cut in (b"\1", b"\x80", b"\x80\0\0\0", b"\1\1", b"\1\1a", b"\1\x80\0\0")
    ),
    pytest.param(begin() + record(PARAMS, 1, b"x" * 65535) + record(PARAMS, 1, b"xx"), "431", id="F1-too many"),
    pytest.param(begin() + record(STDIN, 1, b"x"), "400", id="F3-body before the variables"),
    pytest.param(begin() + params(GET) + record(STDIN, 1, b""), "400", id="F3-body among the variables"),
    pytest.param(begin() + params(BARE) + ENDED + params(BARE), "400", id="F3-variables after their end"),
    pytest.param(begin() + begin(), "400", id="F5-begun twice"),
    pytest.param(begin() + params(GET) + begin(), "400", id="F5-begun again among its variables"),
    pytest.param(begin() + params(BARE) + ENDED + begin(), "400", id="F5-begun again before its body"),
    pytest.param(record(BEGIN, 1, bytes(7)), "400", id="F6-short BEGIN"),
    pytest.param(b"\2" + begin()[1:], "400", id="F7-version 2"),
    pytest.param(b"\0" + begin()[1:], "400", id="F7-version 0"),
    pytest.param(begin() + b"\2" + ENDED[1:], "400", id="F7-version 2 later"),
    pytest.param(record(GET_VALUES, 0, b"\x7f"), "400", id="F8-cut name"),
    pytest.param(record(GET_VALUES, 0, lying(0x7FFFFFFF, name=True)), "400", id="F8-long name"),
    *(
        pytest.param(fastcgi_request(POST | {"CONTENT_LENGTH": str(length)}, b"hello"), "400", id=f"F10-{length!r}")
        for length in (4, 6, "+5", "-5", "1_0", "abc", "9" * 30)
    ),
    *(
        pytest.param(fastcgi_request(GET | {name: f"/a{bad}b"}), "400", id=f"F14-{bad!r} in {name}")
        for bad in "\r\n\0"
        for name in ("REQUEST_METHOD", "PATH_INFO", "REQUEST_URI", "HTTP_X", "PHP_VALUE")
    ),
    pytest.param(
        fastcgi_request({"REQUEST_METHOD": "GET", "REQUEST_URI": "/x.php%0aY", "SCRIPT_NAME": "/x.php"}),
        "400", id="F14-LF in a path that is still to be split"),
]  # fmt: skip


@pytest.mark.parametrize("wire, status", REFUSED)
def test_refused_by_the_codec(wire, status, how):
    assert fastcgi(wire + fastcgi_request(GET), how) == [status]


@pytest.mark.parametrize("wire, status", REFUSED)
def test_refused_by_the_server(server, wire, status, how):
    """At most one answer, the end of the connection, and no call of the application."""
    before = server.calls()
    answer = server.raw("fastcgi", wire + fastcgi_request(GET), how)
    assert server.calls() == before
    if answer:
        assert status_of(stdout(answer)) == status
        assert stdout(answer).count(b"Status:") == 1
        assert ends(answer) == [(1, 0, 0)] or ends(answer)[0][1] != 0


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0x7FFFFFF8])
def test_F1_lengths_of_2_gib_are_not_allocated(size):
    """F1: it is the records' own length that memory is used for."""
    codec = FastcgiCodec({})
    tracemalloc.start()
    try:
        assert feed(codec, [begin() + record(PARAMS, 1, lying(size, name=True, value=True)) + ENDED]) == [
            "400"
        ]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


BLOCK = b"".join(
    pair(name.encode(), value.encode()) for name, value in (POST | {"L" * 200: "v" * 300}).items()
)


@pytest.mark.parametrize("padding", [0, 1, 7, 255])
def test_F2_variables_are_split_at_every_byte(padding):
    """F2."""
    for at in range(1, len(BLOCK)):
        wire = begin() + padded(PARAMS, 1, BLOCK[:at], padding) + padded(PARAMS, 1, BLOCK[at:], padding)
        wire += padded(PARAMS, 1, b"", padding) + padded(STDIN, 1, b"hello", padding) + record(STDIN, 1, b"")
        [(environ, body)] = fastcgi(wire)
        assert (environ["L" * 200], body) == ("v" * 300, b"hello")


def test_F2_variables_of_a_byte_a_record(server, how):
    """F2."""
    answer = server.raw("fastcgi", fastcgi_request(POST, b"hello", step=1, padding=3, flags=0), how)
    assert body_of(stdout(answer))["the.body"] == "hello"
    assert ends(answer) == [(1, 0, 0)]


HALVES = begin() + record(PARAMS, 1, BLOCK[:40]), record(PARAMS, 1, BLOCK[40:]) + ENDED


def test_F2_a_request_has_begun_until_its_variables_have_ended():
    """F2: with any of its bytes, also where a record has just ended; so no time for idle ones is given to it."""
    codec = FastcgiCodec({})
    wire = b"".join(HALVES)
    for at in range(len(wire)):
        assert (codec.partial or codec.buffer != b"") == (at > 0), at
        x = codec.receive(wire[at : at + 1])
        assert (x is not None) == (at == len(wire) - 1)
    assert (codec.partial, codec.buffer) == (False, b"")
    for first in (record(GET_VALUES, 0, b""), record(STDIN, 9, b""), begin() + record(ABORT, 1, b"")):
        codec = FastcgiCodec({})
        assert feed(codec, [first]) == []
        assert not codec.partial, "nothing has begun"


def test_F2_variables_that_stop_between_two_records(how):
    """F2: the time for a head is over for them, too, and the log says so; as it does of a peer that leaves."""
    for slow in rig("--header-timeout", "1"):
        answer = slow.raw("fastcgi", HALVES[0], how)
        assert status_of(stdout(answer)) == "408"
        assert ends(answer) == [(1, 0, 0)]
        slow.server.wait_until("WARNING fastcgi .*The request did not come in time")
        assert slow.raw("fastcgi", HALVES[0], how, end=True) == b""
        slow.server.wait_until("WARNING fastcgi .*The request ends in its middle")
        assert slow.calls() == []


STRAYS = [
    pytest.param(record(STDIN, 9, b"x" * 100), id="F3-STDIN"),
    pytest.param(record(STDIN, 9, b""), id="F3-empty STDIN"),
    pytest.param(record(PARAMS, 9, b"junk"), id="F3-PARAMS"),
    pytest.param(record(ABORT, 9, b""), id="F3-ABORT"),
]


@pytest.mark.parametrize("stray", STRAYS)
def test_records_of_a_request_that_was_never_begun(server, stray, how):
    """F3: dropped, before, between and behind those of one that was."""
    wire = stray + begin(flags=0) + stray + params(POST) + stray + ENDED + stray
    wire += record(STDIN, 1, b"hello") + stray + record(STDIN, 1, b"")
    answer = server.raw("fastcgi", wire, how)
    assert body_of(stdout(answer))["the.body"] == "hello"
    assert ends(answer) == [(1, 0, 0)]


@pytest.mark.parametrize("stray", STRAYS)
def test_stray_records_need_no_memory(stray):
    """F3: read as they come and forgotten; the time is that of looking at each head once."""
    codec = FastcgiCodec({})
    block = stray * 1000
    tracemalloc.start()
    try:
        for _ in range(30):
            assert codec.receive(block) is None
            while codec.behind:  # until then nothing more is read
                assert codec.receive(b"") is None
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert (codec.buffer, codec.replies, codec.said) == (b"", b"", 0)
    assert summary(feed(codec, [fastcgi_request(GET)])) == ["GET /a b"]


def test_F3_a_million_stray_records_at_a_server(server):
    """F3: its memory stays, and others are served meanwhile."""
    pid = server.server.process.pid
    before = memory(pid, "VmRSS")
    with server.connect("fastcgi") as client:
        for _ in range(1000):
            client.sendall(record(STDIN, 9, b"") * 1000)
            assert server.calls() is not None
        client.sendall(fastcgi_request(GET, flags=0))
        assert status_of(stdout(received(client))) == "200"
    assert memory(pid, "VmRSS") < before + 16


def test_F8_answers_to_management_records_are_bounded():
    """F3, F8: a peer that asks for ever and reads nothing is given up."""
    for asked in (record(GET_VALUES, 0, b""), record(77, 0, b""), begin(1) + begin(2) * 10, begin(1, role=9)):
        codec = FastcgiCodec({})
        assert feed(codec, [asked * 1100]) == ["400"]
        assert len(codec.replies) < 64000


@pytest.mark.parametrize("padding", [0, 255])
def test_F4_the_largest_records(server, padding, how):
    """F4: 65,535 bytes of content and 255 of padding; empty ones behind the end mean nothing."""
    body = bytes(range(256)) * 512
    sent = body[: 131070 if how == "whole" else 700]
    cut = 65535 if how == "whole" else 512
    wire = begin(flags=0) + params(BARE) + ENDED
    wire += padded(STDIN, 1, sent[:cut], padding) + padded(STDIN, 1, sent[cut:], padding)
    answer = server.raw(
        "fastcgi", wire + padded(STDIN, 1, b"", padding) + padded(STDIN, 1, b"", padding), how
    )
    assert body_of(stdout(answer))["the.body"].encode("latin-1") == sent


def test_F5_a_second_request_at_once_is_told_that_it_cannot_be(server, how):
    """F5: CANT_MPX_CONN, and the first goes on."""
    wire = begin(1, flags=0) + params(POST) + begin(2) + params(GET, 2) + record(PARAMS, 2, b"") + ENDED
    answer = server.raw(
        "fastcgi", wire + record(STDIN, 1, b"hello") + record(STDIN, 2, b"") + record(STDIN, 1, b""), how
    )
    assert ends(answer) == [(2, 0, 1), (1, 0, 0)]
    assert body_of(stdout(answer))["the.body"] == "hello"


@pytest.mark.parametrize(
    "role",
    [pytest.param(2, id="F6-AUTHORIZER"), pytest.param(3, id="F6-FILTER"), pytest.param(9, id="F6-unknown")],
)
def test_other_roles(server, role, how):
    """F6: UNKNOWN_ROLE; what belongs to it is dropped, and the connection goes on."""
    before = server.calls()
    wire = begin(1, role=role) + params(GET) + ENDED + record(STDIN, 1, b"")
    answer = server.raw("fastcgi", wire + fastcgi_request(GET, request=2, flags=0), how)
    assert ends(answer) == [(1, 0, 3), (2, 0, 0)]
    assert server.calls()[len(before) :] == ["GET /a b"]


@pytest.mark.parametrize("kind", [12, 77, 255])
def test_F7_unknown_types(server, kind, how):
    """F7: UNKNOWN_TYPE names it."""
    answer = server.raw("fastcgi", record(kind, 0, b"x") + fastcgi_request(GET, flags=0), how)
    assert records(answer)[0] == (UNKNOWN_TYPE, 0, bytes([kind]) + bytes(7))
    assert ends(answer) == [(1, 0, 0)]


def test_F8_get_values_is_answered(server, how):
    """F8: with what is known of the three that nginx and libfcgi ask for."""
    asked = b"".join(pair(name, b"") for name in (b"FCGI_MAX_CONNS", b"FCGI_MAX_REQS", b"FCGI_MPXS_CONNS"))
    answer = server.raw("fastcgi", record(GET_VALUES, 0, asked) + fastcgi_request(GET, flags=0), how)
    assert records(answer)[0] == (GET_VALUES_RESULT, 0, pair(b"FCGI_MPXS_CONNS", b"0"))


def test_F9_abort_before_the_body(server, how):
    """F9: the application was not called; the end comes, and the next request is served."""
    before = server.calls()
    wire = begin() + params(POST) + record(ABORT, 1, b"") + fastcgi_request(GET, request=2, flags=0)
    answer = server.raw("fastcgi", wire, how)
    assert ends(answer) == [(1, 1, 0), (2, 0, 0)]
    assert server.calls()[len(before) :] == ["GET /a b"]


def test_F9_abort_while_the_application_reads(streaming, how):
    """F9: its read() raises, and END_REQUEST says so."""
    before = streaming.calls()
    with streaming.connect("fastcgi") as client:
        client.sendall(begin() + params(POST) + ENDED + record(STDIN, 1, b"he"))
        poll(lambda: streaming.calls()[len(before) :] == ["POST /a b"], "the application is not called")
        for piece in cut(record(ABORT, 1, b""), how):
            client.sendall(piece)
        answer = received(client)
    assert streaming.calls()[len(before) :] == ["POST /a b", "ClientGone"]
    assert ends(answer) == [(1, 1, 0)]


def test_F9_abort_while_the_application_streams(server, how):
    """F9: close() is called."""
    before = server.calls()
    with server.connect("fastcgi") as client:
        client.sendall(fastcgi_request(GET | {"PATH_INFO": "/stream"}))
        assert client.recv(1)
        for piece in cut(record(ABORT, 1, b""), how):
            client.sendall(piece)
        answer = received(client)
    assert answer.endswith(record(END, 1, struct.pack(">IB3x", 1, 0)))
    assert server.calls()[len(before) :] == ["GET /stream", "closed"]


@pytest.mark.parametrize("told", ["server", "streaming"])
def test_F10_a_length_without_any_body_names_its_cure(request, told, how):
    """F10: read ahead or as it comes; nginx says so where it passes no body on."""
    site = request.getfixturevalue(told)
    answer = stdout(site.raw("fastcgi", fastcgi_request(POST, flags=0), how))
    assert status_of(answer) == "400"
    assert b'fastcgi_param CONTENT_LENGTH "";' in answer


def unended(path="/a b", flags=0):
    """Return a request without a body, and without the end of it."""
    return begin(flags=flags) + params(GET | {"PATH_INFO": path, "CONTENT_LENGTH": "0"}) + ENDED


def test_F10_a_length_of_0_and_a_body(server):
    """F10: refused where the body is there; else the request has been served without it, and the connection ends."""
    before = server.calls()
    assert status_of(stdout(server.raw("fastcgi", unended() + record(STDIN, 1, b"x")))) == "400"
    assert server.calls() == before
    with server.connect("fastcgi") as client:
        client.sendall(unended(flags=1))
        answer = client.recv(65536)
        while not ends(answer):
            answer += client.recv(65536)
        client.sendall(record(STDIN, 1, b"x") + fastcgi_request(GET | {"PATH_INFO": "/next"}))
        assert received(client) == b""
    assert body_of(stdout(answer))["the.body"] == ""
    assert server.calls()[len(before) :] == ["GET /a b"]


def test_F10_a_length_of_0_needs_no_end_of_the_body(server, streaming):
    """F10: haproxy 2.6 sends none; read ahead or as it comes."""
    for site in (server, streaming):
        answer = site.raw("fastcgi", unended())
        assert body_of(stdout(answer))["the.body"] == ""
        assert ends(answer) == [(1, 0, 0)]


def test_F10_the_end_of_no_body_may_be_late(server):
    """F10: it breaks no connection under an answer that has not come yet."""
    before = server.calls()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(GUARD)
        client.connect(("127.0.0.1", server.port("fastcgi")))
        client.sendall(unended("/large/30000"))
        poll(lambda: server.calls()[len(before) :], "the application is not called")
        server.calls()  # the loop has gone on since, and the answer is the kernel's
        client.sendall(record(STDIN, 1, b""))
        answer = received(client)
    assert ends(answer) == [(1, 0, 0)]


@pytest.mark.parametrize("body", [b"hell", b"hello!"])
def test_F10_a_streamed_body_of_another_length(streaming, body, how):
    """F10: reading raises at the place where the two differ; it is no success."""
    before = streaming.calls()
    answer = streaming.raw("fastcgi", fastcgi_request(POST, body, flags=0), how, end=True)
    assert status_of(stdout(answer)) == "400"
    assert (
        "POST /a b" not in streaming.calls()[len(before) :] or "BodyError" in streaming.calls()[len(before) :]
    )


def test_F11_10_000_requests_on_one_connection(server):
    """F11: nothing is left of them."""
    pid = server.server.process.pid
    ask = fastcgi_request(GET | {"PATH_INFO": "/ignored"})
    before = 0
    with server.connect("fastcgi") as client:
        for number in range(10000):
            client.sendall(ask)
            data = b""
            while data[-16:-8] != record(END, 1, bytes(8))[:8]:
                data += client.recv(65536)
            if number == 1000:
                before = memory(pid, "VmRSS")
    assert memory(pid, "VmRSS") < before + 4


def test_F11_without_keep_conn_the_connection_ends(server, how):
    """F11: behind END_REQUEST, whatever else has been sent."""
    answer = server.raw("fastcgi", fastcgi_request(GET, flags=0) * 3, how)
    assert ends(answer) == [(1, 0, 0)]


def test_F12_errors_of_the_application_stay_here_unless_asked_for(server):
    """F12: nginx would put them into the buffer of the answer's head."""
    wire = fastcgi_request(GET | {"PATH_INFO": "/errors/9000"}, flags=0)
    assert STDERR not in [kind for kind, _, _ in records(server.raw("fastcgi", wire))]
    server.server.wait_until("e{9000}")
    wire = fastcgi_request(GET | {"PATH_INFO": "/errors/150000"}, flags=0)
    for telling in rig("--fastcgi-stderr"):
        found = records(telling.raw("fastcgi", wire))
        told = b"".join(content for kind, _, content in found if kind == STDERR)
        assert told == b"e" * 150_000 + b"\n"
        assert found[-1][0] == END
        assert "eee" not in telling.server.log


@pytest.mark.parametrize("size", [65519, 65520, 65527, 65528, 65529, 65535, 65536, 131072, 1_000_000])
def test_F13_large_answers_are_split(server, size):
    """F13: no record has more than 65,535 bytes, and END_REQUEST is the last."""
    wire = fastcgi_request(GET | {"PATH_INFO": f"/large/{size}"}, flags=0)
    found = records(server.raw("fastcgi", wire))
    body = b"".join(content for kind, _, content in found if kind == STDOUT).partition(b"\r\n\r\n")[2]
    assert body == bytes(size)
    assert [kind for kind, _, _ in found].index(END) == len(found) - 1
    assert found[-2] == (STDOUT, 1, b"")


def test_F15_php_variables_are_text(server):
    """F15."""
    own = {"PHP_VALUE": "auto_prepend_file=/etc/passwd", "PHP_ADMIN_VALUE": "open_basedir=/",
           "SCRIPT_FILENAME": "/etc/passwd", "DOCUMENT_ROOT": "/etc", "LD_PRELOAD": "INJECTED"}  # fmt: skip
    found = body_of(stdout(server.raw("fastcgi", fastcgi_request(GET | own, flags=0))))
    assert own.items() <= found.items()
    assert (found["the.body"], found["the.process"]) == ("", {})


# Through nginx


@pytest.mark.peers
@pytest.mark.parametrize(
    "target, status",
    [
        *(
            pytest.param(f"/length?is={text}", 400, id=f"F10-{text}")
            for text in ("+5", "-5", "abc", "1_0", "7")
        ),
        pytest.param("/a%0ab", 400, id="F14-LF in the path"),
        pytest.param("/own/x%0Ay", 400, id="F14-LF in a path that nginx splits"),
        pytest.param("/own/x", 200, id="F14-a path that nginx splits"),
        pytest.param("/method?is=PUT", 400, id="F14-two methods"),
        pytest.param("/few", 200, id="F14-no method and no URI"),
        pytest.param("/bare", 200, id="F14-only a URI"),
    ],
)
def test_through_nginx(server, nginx, target, status):
    through(server, nginx, "fastcgi", target, status)


@pytest.mark.peers
def test_F10_no_body_is_passed_on_by_nginx(server, nginx):
    """F10: an empty length behind the client's says so; where there is none, the answer names it."""
    without_body(server, nginx, "fastcgi")
    before = server.calls()
    reply = curl(nginx.url("fastcgi", "/unsaid"), "-d", "hello")
    assert (reply.exit, reply.status) == (0, 400)
    assert b'fastcgi_param CONTENT_LENGTH "";' in reply.body
    assert server.calls() == before


@pytest.mark.peers
def test_F15_php_variables_through_nginx(nginx):
    """F15."""
    found = get(nginx.url("fastcgi", "/loaders"), "-d", "body").json
    assert found["PHP_VALUE"] == "auto_prepend_file=/etc/passwd"
    assert (found["the.body"], found["the.process"]) == ("body", {})


@pytest.mark.peers
def test_F15_an_operator_s_parameters_arrive_through_nginx(nginx):
    """F15."""
    customized(nginx, "fastcgi")


@pytest.mark.peers
def test_F13_large_answers_through_nginx(nginx):
    """F13: eight at once."""
    replies = together(8, lambda number: get(nginx.url("fastcgi", f"/large/{65520 + number}")))
    assert [reply.body for reply in replies] == [bytes(65520 + number) for number in range(8)]


@pytest.mark.peers
def test_F9_a_client_that_leaves_through_nginx(server, nginx):
    """F9: nginx closes the connection to us, and the stream is closed."""
    before = server.calls()
    assert curl(nginx.url("fastcgi", "/stream"), "--max-time", "1", "-o", "/dev/null").exit == 28
    server.server.wait_until("GET /stream.* 499 ")
    assert server.calls()[len(before) :] == ["GET /stream", "closed"]
