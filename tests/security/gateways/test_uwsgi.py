"""uwsgi packets that no honest nginx sends; the cases of docs/security/uwsgi.md."""

from __future__ import annotations

import socket
import struct

import pytest

from appserver.protocols.uwsgi import UwsgiCodec
from tests.peers.client import Raw, curl, get
from tests.protocols.feeding import feed, uwsgi
from tests.protocols.wire import GET, uwsgi_packet
from tests.security.rig import body_of, customized, rig, status_of, through, without_body

POST = GET | {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5"}
PING, PONG = b"\x64\0\0\0", b"\x64\0\0\1"


def pairs(*each):
    return b"".join(struct.pack("<H", len(item)) + item for item in each)


NO_VARIABLES = pytest.param(uwsgi_packet([]), "400", id="U1-no variables")
REFUSED = [
    NO_VARIABLES,
    pytest.param(uwsgi_packet({"SERVER_PROTOCOL": "HTTP/1.1"}), "400", id="U1-no method and no URI"),
    pytest.param(uwsgi_packet([], b"\xff\xffA" + bytes(7), size=10), "400", id="U2-name past the end"),
    pytest.param(uwsgi_packet([], pairs(b"A") + b"\xff\xffx", size=6), "400", id="U2-value past the end"),
    pytest.param(uwsgi_packet([], pairs(b"A") + b"\x01", size=4), "400", id="U2-half a length"),
    *(
        pytest.param(uwsgi_packet([], pairs(b"A", b"b") + b"x" * n, size=6 + n), "400", id=f"U2-{n} bytes behind")
        for n in (1, 2, 3)
    ),
    pytest.param(uwsgi_packet([], pairs(b"", b"x"), size=5), "400", id="U2-no name"),
    pytest.param(uwsgi_packet(GET, modifiers=(5, 0)), "500", id="U3-Perl"),
    pytest.param(uwsgi_packet(GET, modifiers=(17, 0)), "500", id="U3-spooler"),
    pytest.param(uwsgi_packet([], b"import os", modifiers=(22, 0), size=9), "500", id="U3-code to evaluate"),
    pytest.param(uwsgi_packet(GET, modifiers=(31, 0)), "500", id="U3-message"),
    pytest.param(uwsgi_packet(GET, modifiers=(110, 0)), "500", id="U3-signal"),
    pytest.param(uwsgi_packet(GET, modifiers=(173, 0)), "500", id="U3-remote call"),
    *(
        pytest.param(uwsgi_packet(POST | {"CONTENT_LENGTH": text}, b"hello"), "400", id=f"U4-{text!r}")
        for text in ("+5", "-5", "abc", "1_0", "0x5", " 5", "5 ", "5,5", "\xb2", "9" * 30)
    ),
    *(
        pytest.param(uwsgi_packet(GET | {name: f"/a{bad}b"}), "400", id=f"U6-{bad!r} in {name}")
        for bad in "\r\n\0"
        for name in ("REQUEST_METHOD", "PATH_INFO", "REQUEST_URI", "QUERY_STRING", "HTTP_X", "MY_PARAM")
    ),
    pytest.param(uwsgi_packet([*GET.items(), ("A\r\nB", "x")]), "400", id="U6-CR LF in a name"),
    pytest.param(uwsgi_packet([*POST.items(), ("CONTENT_LENGTH", "6")], b"hello"), "400", id="U7-two lengths"),
    pytest.param(uwsgi_packet([*GET.items(), ("REQUEST_METHOD", "PUT")]), "400", id="U7-two methods"),
    pytest.param(uwsgi_packet([*GET.items(), ("REQUEST_METHOD", "")]), "400", id="U7-no method behind one"),
    pytest.param(uwsgi_packet([("REQUEST_METHOD", ""), *GET.items()]), "400", id="U7-a method behind none"),
    pytest.param(uwsgi_packet([*GET.items(), ("CONTENT_LENGTH", "6")]), "400", id="U7-a length behind none"),
    pytest.param(uwsgi_packet([*GET.items(), *[("HTTP_AUTHORIZATION", "a")] * 2]), "400", id="U7-two passwords"),
]  # fmt: skip


@pytest.mark.parametrize("wire, status", REFUSED)
def test_refused_by_the_codec(wire, status, how):
    assert uwsgi(wire + uwsgi_packet(GET), how) == [status]


@pytest.mark.parametrize("wire, status", REFUSED)
def test_refused_by_the_server(server, wire, status, how):
    """One answer, the end of the connection, and no call of the application."""
    before = server.calls()
    answer = server.raw("uwsgi", wire + uwsgi_packet(GET), how)
    assert status_of(answer) == status
    assert answer.count(b"HTTP/1.1") == 1
    assert server.calls() == before


def test_U1_only_a_uri_is_a_get(server, how):
    """U1: what nginx sends that has but two variables."""
    wire = uwsgi_packet({"REQUEST_URI": "/a%20b?c", "SERVER_PROTOCOL": "HTTP/1.1"})
    found = body_of(server.raw("uwsgi", wire, how))
    assert (found["REQUEST_METHOD"], found["PATH_INFO"], found["QUERY_STRING"]) == ("GET", "/a b", "c")


def test_U2_more_than_buffer_size_is_one_line_of_the_log(how):
    """U2: refused before it is read; the line names the option."""
    for small in rig("--buffer-size", "200"):
        wire = uwsgi_packet(GET | {"HTTP_X": "x" * 300})
        answer = small.raw("uwsgi", wire, how)
        assert status_of(answer) == "431"
        assert small.calls() == []
        small.server.wait_until(r"WARNING uwsgi .*Raise buffer-size to \d+ or more")
        assert len(small.server.warnings) == 1


def test_U2_the_largest_packet_is_not_allocated_before_it_comes(server):
    """U2: 65,535 bytes are announced, and the connection ends."""
    before = server.calls()
    assert server.raw("uwsgi", b"\0\xff\xff\0abc", end=True) == b""
    assert server.calls() == before


@pytest.mark.parametrize("modifier", [*range(1, 30), *range(31, 100), *range(101, 256)])
def test_U3_every_other_modifier_is_refused(modifier):
    """U3: 0 and 30 are requests and 100 is a ping; nothing else means anything here."""
    refusal = uwsgi(uwsgi_packet(GET, modifiers=(modifier, 0)))
    assert refusal in (["500"], ["400"])  # 400 where it looks like HTTP or TLS


LOADERS = {
    "UWSGI_FILE": "/etc/passwd", "UWSGI_SCRIPT": "os", "UWSGI_MODULE": "antigravity", "UWSGI_CALLABLE": "x",
    "UWSGI_APPID": "/other", "UWSGI_SETENV": "INJECTED=1", "UWSGI_PYHOME": "/tmp", "UWSGI_CHDIR": "/",
    "UWSGI_POSTFILE": "/etc/passwd", "UWSGI_TOUCH_RELOAD": "/etc/passwd", "UWSGI_CACHE_GET": "x",
}  # fmt: skip


def test_U3_variables_that_load_code_are_text(server, how):
    """U3: they reach the application as they came, and nothing is done about them."""
    found = body_of(server.raw("uwsgi", uwsgi_packet(GET | LOADERS), how))
    assert LOADERS.items() <= found.items()
    assert (found["the.body"], found["the.process"]) == ("", {})
    assert found["the.directory"] != "/"
    assert server.server.process.poll() is None


def test_U3_a_ping_is_answered(server, how):
    """U3: as uWSGI does, without the application."""
    before = server.calls()
    assert server.raw("uwsgi", PING * 3, how, end=True) == PONG * 3
    assert server.calls() == before


def test_U3_pings_without_end_are_not(server):
    """U3: a peer that reads no answers cannot have them pile up here."""
    codec = UwsgiCodec({})
    assert feed(codec, [PING * 1000]) == []
    assert feed(codec, [PING * 1_000_000]) == ["400"]
    assert len(codec.replies) <= 4000
    before = server.calls()
    assert server.raw("uwsgi", PING * 1_000_000, end=True).count(PONG) <= 1000
    assert server.calls() == before


@pytest.mark.parametrize("body", [b"", b"hell"])
def test_U5_a_short_body_does_not_reach_the_application(server, body, how):
    """U5: the connection ends before the body does."""
    before = server.calls()
    assert status_of(server.raw("uwsgi", uwsgi_packet(POST, body), how, end=True)) == "400"
    assert server.calls() == before


def test_U5_a_short_body_that_is_streamed_raises(streaming, how):
    """U5: the application has begun; its read() raises and no success is logged."""
    before = streaming.calls()
    streaming.raw("uwsgi", uwsgi_packet(POST, b"hell"), how, end=True)
    assert streaming.calls()[len(before) :] == ["POST /a b", "ClientGone"]
    assert '/a%20b?x=1" 200' not in streaming.server.log


def test_U7_repeated_variables_are_joined_or_the_last_counts(server):
    """U7: nginx before 1.23 sends each Cookie by itself; an operator's own parameter comes last."""
    repeated = [("HTTP_COOKIE", "a=1"), ("HTTP_COOKIE", "b=2"), ("HTTP_X", "1"), ("HTTP_X", "2"),
                ("SERVER_NAME", "first"), ("SERVER_NAME", "last"), ("HTTP_HOST", "own"),
                ("CONTENT_LENGTH", "")]  # fmt: skip
    found = body_of(server.raw("uwsgi", uwsgi_packet([*POST.items(), *repeated])))
    assert (found["HTTP_COOKIE"], found["HTTP_X"]) == ("a=1; b=2", "1, 2")
    assert (found["SERVER_NAME"], found["HTTP_HOST"]) == ("last", "own")
    assert found["the.body"] == ""
    assert "CONTENT_LENGTH" not in found


def test_U8_a_second_packet_is_neither_served_nor_read(server, how):
    """U8: the end of the connection is the end of the answer, which is not chunked."""
    before = server.calls()
    second = uwsgi_packet(GET | {"PATH_INFO": "/second"})
    answer = server.raw("uwsgi", uwsgi_packet(POST, b"hello" + second), how)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"Transfer-Encoding" not in answer
    assert body_of(answer)["the.body"] == "hello"
    assert server.calls()[len(before) :] == ["POST /a b"]


def test_U9_all_of_the_front_s_own_variables_arrive(server):
    """U9."""
    own = {"REMOTE_ADDR": "192.0.2.9", "REMOTE_PORT": "9", "REMOTE_USER": "alice", "SERVER_PORT": "8443",
           "AUTH_TYPE": "Basic", "DOCUMENT_ROOT": "/srv", "GEOIP_COUNTRY": "CH", "my_param": "x"}  # fmt: skip
    found = body_of(server.raw("uwsgi", uwsgi_packet(GET | own)))
    assert own.items() <= found.items()


def test_U9_keys_of_the_server_cannot_be_set(server):
    """U9: what belongs to WSGI or to a client's Proxy header is not the front's to say."""
    own = {
        "wsgi.url_scheme": "evil",
        "wsgi.input": "evil",
        "appserver.listener": "evil",
        "HTTP_PROXY": "evil",
    }
    found = body_of(server.raw("uwsgi", uwsgi_packet(GET | own)))
    assert "evil" not in found.values()
    assert found["appserver.listener"] == "uwsgi"


@pytest.mark.parametrize("split", range(0, 60, 7))
def test_U2_a_packet_is_read_from_any_pieces(server, split):
    """U2: two pieces, wherever the first one ends."""
    wire = uwsgi_packet(POST, b"hello")
    with server.connect("uwsgi") as client:
        client.sendall(wire[:split])
        client.sendall(wire[split:])
        client.shutdown(socket.SHUT_WR)
        data = b"".join(iter(lambda: client.recv(65536), b""))
    assert body_of(data)["the.body"] == "hello"


# Through nginx


@pytest.mark.peers
@pytest.mark.parametrize(
    "target, status",
    [
        pytest.param("/few", 200, id="U1-no method and no URI, as in nginx's own tests"),
        pytest.param("/bare", 200, id="U1-only a URI"),
        pytest.param("/own", 500, id="U3-another modifier"),
        *(pytest.param(f"/length?is={text}", 400, id=f"U4-{text}") for text in ("+5", "-5", "abc", "1_0")),
        pytest.param("/a%0ab", 400, id="U6-LF in the path"),
        pytest.param("/a%0Db", 400, id="U6-CR in the path"),
        pytest.param("/method?is=PUT", 400, id="U7-two methods"),
        pytest.param("/method?is=GET", 200, id="U7-the same method twice"),
    ],
)
def test_through_nginx(server, nginx, target, status):
    through(server, nginx, "uwsgi", target, status)


@pytest.mark.peers
def test_U7_a_single_field_twice_through_nginx(server, nginx):
    """U7: nginx 1.22 passes both on."""
    before = server.calls()
    for name in ("Authorization", "Content-Type", "User-Agent"):
        reply = curl(nginx.url("uwsgi", "/"), "-H", f"{name}: a", "-H", f"{name}: b")
        assert reply.status == 400
    assert server.calls() == before


@pytest.mark.peers
def test_U7_no_body_is_passed_on_by_nginx(server, nginx):
    """U7: an empty length behind the client's says so."""
    without_body(server, nginx, "uwsgi")


@pytest.mark.peers
def test_U3_loaders_through_nginx(nginx):
    """U3."""
    found = get(nginx.url("uwsgi", "/loaders"), "-d", "body").json
    assert found["UWSGI_FILE"] == "/etc/passwd"
    assert (found["the.body"], found["the.process"]) == ("body", {})


@pytest.mark.peers
def test_U7_repeated_fields_through_nginx(nginx):
    """U7: those of the client's are joined; an operator's parameter takes the place of the client's field."""
    sent = ["-H", "Cookie: a=1", "-H", "Cookie: b=2", "-H", "X-Word: v", "-H", "X-Word: w"]
    found = get(nginx.url("uwsgi", "/"), *sent).json
    assert (found["HTTP_COOKIE"], found["HTTP_X_WORD"]) == ("a=1; b=2", "v, w")
    found = get(nginx.url("uwsgi", "/again"), *sent).json
    assert (found["HTTP_COOKIE"], found["HTTP_X_WORD"]) == ("third=3", "again")


@pytest.mark.peers
def test_U9_an_operator_s_parameters_arrive_through_nginx(nginx):
    """U9."""
    found = customized(nginx, "uwsgi")
    assert (found["REMOTE_ADDR"], found["SERVER_PORT"]) == ("127.0.0.1", str(nginx.ports["uwsgi"]))
    assert found["REMOTE_PORT"].isdigit()


@pytest.mark.peers
def test_U5_a_client_that_leaves_in_its_body_through_nginx(server, nginx):
    """U5: nginx does not pass it on; the server stays well."""
    before = server.calls()
    with Raw(nginx.ports["uwsgi"]) as client:
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
    assert get(nginx.url("uwsgi", "/after")).status == 200
    assert server.calls()[len(before) :] == ["GET /after"]
