"""What Mongrel2 lets through, and what it never sends; the cases of docs/security/mongrel2.md."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

import pytest
import zmq

from appserver.listeners.pull import Pull
from appserver.protocols.mongrel2 import envelope, parse
from appserver.protocols.mongrel2_fields import DONE, START
from tests.peers.client import Raw, get
from tests.protocols.feeding import mongrel2
from tests.protocols.wire import M2, UUID, m2_message, netstring
from tests.security.rig import APP
from tests.support import fronts
from tests.support.fronts import Configs, poll
from tests.support.mongrel2 import ENCODERS, Mongrel2, tnetstring
from tests.support.server import Server

DISCONNECT = b'{"type":"disconnect"}'
forms = pytest.mark.parametrize("form", ["json", "tnetstring"])
encoded = pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)


@pytest.fixture(scope="module", params=["worker", "shared"])
def attached(request, tmp_path_factory):
    """Return a simulated Mongrel2 and its server, each way in which requests reach the application."""
    uploads = tmp_path_factory.mktemp("uploads")
    with Mongrel2() as peer:
        options = ("--zeromq", peer.spec, "--zeromq-dispatch", request.param, "--gevent", "20")
        with Server(*options, "--module", APP, "--mongrel2-upload-dir", uploads) as server:
            server.uploads = uploads
            yield peer, server
            assert server.stop() == 0
        assert "Traceback" not in server.log
        assert not peer.strays, "an answer for nobody, or for several"


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Return two real Mongrel2, one for each form, in front of one server."""
    fronts.require("mongrel2", "m2sh", "curl")
    configs = Configs(tmp_path_factory.mktemp("real"))
    conf = configs.second_mongrel2("json")
    with ExitStack() as stack:
        found = stack.enter_context(fronts.Mongrel2(configs))
        stack.enter_context(fronts.Mongrel2(configs, conf))
        specs = ("--zeromq", configs.specs(), "--zeromq", configs.specs(10000))
        server = Server(*specs, "--module", APP, "--gevent", "20", "--mongrel2-upload-dir", found.uploads)
        found.server = stack.enter_context(server)
        found.ports = {"tnetstring": configs.port(6767), "json": configs.port(16767)}
        yield found
        assert server.stop() == 0
        assert "Traceback" not in server.log


def calls(peer):
    return peer.get("/calls").json()


def calls_of(real, form):
    return get(f"http://127.0.0.1:{real.ports[form]}/calls").json


# Disconnect notices


NOTICES = [
    pytest.param({"METHOD": "JSON"}, DISCONNECT, id="M1-as Mongrel2 sends it"),
    pytest.param({"METHOD": "JSON", "PATH": "@*", "x": "y"}, DISCONNECT, id="M1-more headers"),
    pytest.param({"METHOD": "JSON"}, b'{"type":"unknown"}', id="M1-another type"),
    pytest.param({"METHOD": "JSON"}, b"", id="M1-no body"),
    pytest.param({"METHOD": "JSON"}, b"[1]", id="M1-a list"),
    pytest.param({"METHOD": "JSON"}, b"\xff{", id="M1-no JSON"),
    pytest.param({"METHOD": "JSON", "DOWNLOAD_CREDITS": "1"}, b'{"type":"credits"}', id="M1-credits"),
]


@encoded
@pytest.mark.parametrize("fields, body", NOTICES)
def test_a_notice_is_never_answered(attached, fields, body, encode):
    """M1: whoever it is about: a client that waits, one that has been answered, and an unknown one."""
    peer, _ = attached
    answered = peer.client()
    answered.send("/x").answer()
    before = len(answered.messages)
    for number in (answered.number, 999_999):
        for _ in range(3):
            peer.raw(peer.message(number, "@*", fields, body, encode))
    peer.get("/x")
    assert len(answered.messages) == before
    assert peer.messages[999_999] == []


@pytest.mark.parametrize(
    "tail", [b"", b" ", b" 2:{},", b" 5:{},0:,", b" 2:{]0:,", b" 9:{,0:,", b" 2:{},9:x,"]
)
def test_M1_what_looks_like_a_notice_is_not_answered_either(attached, tail):
    """M1, M10: malformed messages of Mongrel2's own path."""
    peer, _ = attached
    for _ in range(3):
        peer.raw(b"%b 888888 @*%b" % (peer.uuid.encode(), tail))
    peer.get("/x")
    assert peer.messages[888_888] == []


def test_M2_answers_and_notices_come_to_an_end(attached):
    """M1, M2: Mongrel2 sends a notice for every message to a client that has gone; here it does, too."""
    peer, _ = attached
    clients = [peer.client().send(f"/nap/0.{number % 5}") for number in range(12)]
    for client in clients[:6]:
        peer.notice(client)
    told = dict.fromkeys(range(12), 0)
    for _ in range(5):
        poll(lambda: all(client.messages for client in clients[6:]), "the others are not answered")
        for number, client in enumerate(clients):
            while told[number] < len(client.messages):
                told[number] += 1
                peer.notice(client)
        calls(peer)
    assert sum(told.values()) <= 12, "one late answer each"


@encoded
def test_M3_a_forged_notice_is_a_request(attached, encode):
    """M3: METHOD JSON with a path and a VERSION is what a client sends; it stops nobody's answer."""
    peer, _ = attached
    victim = peer.client().send("/stream")
    peer.wait(lambda: len(victim.messages) > 1)
    for path in ("/x", "/@*"):
        answer = (
            peer.client().send(path, method="JSON", body=DISCONNECT, encode=encode).answer(head_only=True)
        )
        assert answer.status == 200
    seen = len(victim.messages)
    peer.wait(lambda: len(victim.messages) > seen)
    peer.notice(victim)
    poll(lambda: "closed" in calls(peer), "the stream is not closed")


# Uploads


@forms
@pytest.mark.parametrize(
    "length, body",
    [
        pytest.param("2", b"hi", id="M4-a body"),
        pytest.param("0", b"", id="M4-no body"),
        pytest.param(None, b"", id="M4-no length"),
        pytest.param(str(2**31), b"", id="M4-2^31, 0 to Mongrel2"),
        pytest.param(str(2**32), b"", id="M4-2^32, 0 to Mongrel2"),
        pytest.param("9" * 18, b"", id="M4-18 digits, 0 to Mongrel2"),
        pytest.param("+5", b"", id="M4-a sign"),
        pytest.param(["5", "5"], b"", id="M4-two lengths"),
    ],
)
def test_a_forged_upload_opens_no_file(attached, length, body, form):
    """M4: not read, not removed, and none of it in the environ."""
    peer, server = attached
    victim = server.uploads / "mongrel2.upload.victim"
    victim.write_bytes(b"secret")
    headers = {START: "uploads/mongrel2.upload.victim", DONE: "uploads/mongrel2.upload.victim"}
    if length is not None:
        headers["content-length"] = length
    answer = peer.get("/x", method="POST", headers=headers, body=body, encode=ENCODERS[form])
    assert answer.status in {200, 400}
    if answer.status == 200:
        assert "UPLOAD" not in json.dumps(answer.json())
        assert answer.json()["the.body"] == body.decode()
    assert b"secret" not in answer.body
    assert victim.read_bytes() == b"secret"


# Lengths and codings


AMBIGUOUS = [
    pytest.param({"content-length": "5", "transfer-encoding": "chunked"}, b"hello", id="M5-both"),
    pytest.param({"transfer-encoding": "gzip"}, b"", id="M5-another coding"),
    pytest.param({"transfer-encoding": "Chunked"}, b"", id="M5-in capitals, which Mongrel2 does not know"),
    pytest.param({"transfer-encoding": "chunked "}, b"", id="M5-a blank behind it, with which Mongrel2 does not know it"),
    pytest.param({"transfer-encoding": ["chunked", "chunked"]}, b"", id="M5-twice"),
    pytest.param({"content-length": "+5"}, b"hello", id="M6-a sign"),
    pytest.param({"content-length": "5abc"}, b"hello", id="M6-letters behind"),
    pytest.param({"content-length": ["5", "6"]}, b"hello", id="M6-two"),
    pytest.param({"content-length": ["5", "5"]}, b"hello", id="M6-the same one twice"),
    pytest.param({"content-length": "4"}, b"hello", id="M6-too short"),
    pytest.param({"content-length": "6"}, b"hello", id="M6-too long"),
    pytest.param({"content-length": "-5"}, b"", id="M6-negative"),
    pytest.param({"content-length": "4294967301"}, b"", id="M6-2^32+5"),
]  # fmt: skip


@forms
@pytest.mark.parametrize("headers, body", AMBIGUOUS)
def test_what_has_two_meanings_is_refused_with_all_behind_it(attached, headers, body, form):
    """M5, M6: one 400 and the end; what Mongrel2 makes of the rest is no request of anybody."""
    peer, _ = attached
    before = calls(peer)
    client = peer.client()
    client.send("/x", method="POST", headers=headers, body=body, encode=ENCODERS[form])
    client.send("/smuggled", encode=ENCODERS[form])
    assert client.answer().status == 400
    client.closed()
    client.send("/smuggled", encode=ENCODERS[form])
    assert calls(peer) == before
    assert len(client.messages) == 2


@forms
def test_M5_nothing_behind_the_end_of_a_connection_is_served(attached, form):
    """M5, M14: the client has said that it is the last one."""
    peer, _ = attached
    before = calls(peer)
    client = peer.client().send("/first", headers={"connection": "close"}, encode=ENCODERS[form])
    client.send("/second", encode=ENCODERS[form])
    assert client.answer().status == 200
    client.closed()
    assert calls(peer)[len(before) :] == ["GET /first"]


# The environ


def test_M7_repeated_fields_are_joined(attached):
    """M7."""
    peer, _ = attached
    headers = {"cookie": ["a=1", "b=2"], "x-a": ["1", "2", "3", "4", "5"], "accept": ["text/html", "*/*"]}
    found = peer.get("/x", headers=headers).json()
    assert (found["HTTP_COOKIE"], found["HTTP_X_A"]) == ("a=1; b=2", "1, 2, 3, 4, 5")
    assert found["HTTP_ACCEPT"] == "text/html, */*"
    for name in ("host", "authorization", "content-type"):
        assert peer.get("/x", headers={name: ["a", "a"]}).status == 400


CLIENT_KEYS = {
    "method": "PUT", "path": "/other", "version": "9", "uri": "/other", "query": "q", "pattern": "/p",
    "url-scheme": "https", "remote-addr": "1.2.3.4", "flags": "0x81", "upload-stream": "0",
    "upload-stream-done": "1", "download-credits": "5", "peer-cert-sha1": "ab", "remote_addr": "6.6.6.6",
    "url_scheme": "https", "upload_stream": "0", "peer_cert_sha1": "ab",
}  # fmt: skip


@encoded
def test_M8_a_client_s_names_and_mongrel2_s_never_mix(attached, encode):
    """M8: those in capitals are Mongrel2's; those with an underscore are dropped."""
    peer, _ = attached
    found = peer.get("/x?y", headers=CLIENT_KEYS, encode=encode).json()
    assert (found["REQUEST_METHOD"], found["PATH_INFO"], found["QUERY_STRING"]) == ("GET", "/x", "y")
    assert (found["REMOTE_ADDR"], found["wsgi.url_scheme"]) == ("192.0.2.7", "http")
    assert (found["HTTP_METHOD"], found["HTTP_REMOTE_ADDR"]) == ("PUT", "1.2.3.4")
    assert "6.6.6.6" not in found.values()
    assert "PEER_CERT_SHA1" not in found


FIELDS = [
    pytest.param({}, b"", id="M9-GET"),
    pytest.param({"METHOD": "POST", "content-length": "5"}, b"hello", id="M9-POST"),
    pytest.param({"cookie": ["a=1", "b=2"], "x-a": ["1", "", "3"]}, b"", id="M9-lists"),
    pytest.param({"x-a": 'quote " and \\ and \\u0041'}, b"", id="M9-quotes"),
    pytest.param({"x-a": "\xe9\xff\x85 tab\there"}, b"", id="M13-bytes that are no UTF-8"),
    pytest.param({"x-a": "\xc3\xa9"}, b"\xff\xfe\0", id="M13-UTF-8, and a body of any bytes"),
]


@pytest.mark.parametrize("fields, body", FIELDS)
def test_both_forms_give_the_same_environ(fields, body):
    """M9, M13; the captures of Mongrel2's own are compared by tests/protocols/test_captures.py."""
    fields = M2 | fields | ({"content-length": str(len(body))} if body else {})
    one, other = (mongrel2(m2_message(fields, body, form=form)) for form in ("json", "tnetstring"))
    assert one == other
    assert one[1] == body
    values = {key: value for key, value in fields.items() if key == "x-a" and isinstance(value, str)}
    assert all(one[0]["HTTP_X_A"] == value for value in values.values())


# Malformed messages


def nested(depth):
    content = b"0:]"
    for _ in range(depth):
        content = b"%d:%b]" % (len(content), content)
    return content


GOOD = tnetstring(M2)
MALFORMED = [
    pytest.param(b"/ " + GOOD, id="M10-no body"),
    pytest.param(b"/ " + GOOD + b"5:abc,", id="M10-size past the end"),
    pytest.param(b"/ " + GOOD + b"1073741824:abc,", id="M10-1 GiB"),
    pytest.param(b"/ " + GOOD + b"-1:abc,", id="M10-negative size"),
    pytest.param(b"/ " + GOOD + b"99999999999999999999:abc,", id="M10-20 digits"),
    pytest.param(b"/ " + GOOD + b"0:,0:,", id="M10-bytes behind the body"),
    pytest.param(b'/ 4:{"a",0:,', id="M10-bad JSON"),
    pytest.param(b"/ 1000000:" + b"[" * 1_000_000 + b",0:,", id="M10-JSON nested 1,000,000 deep"),
    pytest.param(b"/ " + netstring(b"1:a," + nested(10000), b"}") + b"0:,", id="M10-nested 10,000 deep"),
    pytest.param(b"/ " + netstring(nested(10000), b"]") + b"0:,", id="M10-a list nested 10,000 deep"),
    pytest.param(b"/ 2147483648:{},0:,", id="M10-headers of 2 GiB"),
]


@pytest.mark.parametrize("tail", MALFORMED)
def test_a_malformed_message_ends_its_connection_and_nothing_else(attached, tail):
    """M10: 400 for whom it is about, and the next message is served."""
    peer, _ = attached
    client = peer.client()
    peer.raw(b"%b %d %b" % (peer.uuid.encode(), client.number, tail))
    assert client.answer().status == 400
    client.closed()
    assert peer.get("/x").status == 200


@pytest.mark.parametrize(
    "message",
    [b"", b"word", UUID, UUID + b" 1", UUID + b" -1 / " + GOOD + b"0:,", b" 1 / " + GOOD, bytes(256)],
)
def test_M10_a_malformed_message_of_nobody_is_dropped(attached, message):
    """M10: counted; nothing is answered."""
    peer, _ = attached
    peer.raw(message)
    assert peer.get("/x").status == 200


# Answers


def test_M11_an_answer_is_for_one_client(attached):
    """M11: Mongrel2 takes 128 ids of a message at most; there is never more than one here."""
    peer, _ = attached
    clients = [peer.client().send(f"/x?{number}") for number in range(200)]
    for number, client in enumerate(clients):
        assert client.answer().json()["QUERY_STRING"] == str(number)
    assert not peer.strays
    assert envelope((b"u", b"12"), [b"x"]) == b"u 2:12, x"


@pytest.mark.parametrize("uuid", ["other-uuid", "00000000-0000"])
def test_M11_an_answer_goes_to_whom_the_message_says(uuid):
    """M11: the id is only ever that of the message."""
    assert parse(m2_message(M2).replace(UUID, uuid.encode())).connection == (uuid.encode(), b"7")


def test_M15_two_handlers_of_one_name_are_both_dealt_to():
    """M15: PUSH does not look at identities, so a second one takes nothing from the first but its share."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        port = push.bind_to_random_port("tcp://127.0.0.1")
        pulls = [Pull(context, f"tcp://127.0.0.1:{port}", "appserver-1") for _ in range(2)]
        found = [0, 0]
        deadline = time.monotonic() + 10

        def dealt():
            push.send(b"message")
            for number, pull in enumerate(pulls):
                while pull.take() is not None:
                    found[number] += 1
            return min(found) > 3

        while not dealt():
            assert time.monotonic() < deadline, found
        for each in pulls:
            each.close()


# What one client can do to others


def test_M10_a_client_cannot_have_its_requests_pile_up(attached):
    """M10: 100 of a connection may wait; the next one ends it, and the others go on."""
    peer, server = attached
    client = peer.client().send("/nap/0.5")
    for number in range(3000):
        client.send(f"/x?{number}")
    assert peer.get("/x").status == 200
    assert client.answer().status == 200
    peer.wait(lambda: b"" in client.messages)
    statuses = [int(each.split(b" ", 2)[1]) for each in client.messages if each]
    assert statuses.count(503) == 1
    assert statuses[-1] == 503
    assert len(statuses) <= 102
    before = calls(peer)
    client.send("/late")
    assert calls(peer) == before
    assert server.process.poll() is None


# Through a real Mongrel2

BOTH = pytest.mark.parametrize("form", ["json", "tnetstring"])
HOST = "Host: 127.0.0.1\r\n"
FORGED = "X-Mongrel2-Upload-Start: {0}\r\nX-Mongrel2-Upload-Done: {0}\r\n"


def ask(real, form, text):
    """Send bytes on a new connection and return the first answer, None where there is none."""
    with Raw(real.ports[form]) as client:
        client.send(text)
        return client.answer()


@pytest.mark.peers
@BOTH
@pytest.mark.parametrize(
    "lines, body",
    [
        pytest.param("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", id="M5-both"),
        pytest.param("Content-Length: 5\r\nContent-Length: 6\r\n", "hello", id="M6-two"),
        pytest.param("Content-Length: +5\r\n", "hello", id="M6-a sign"),
        pytest.param("Content-Length: 5abc\r\n", "hello", id="M6-letters behind"),
        pytest.param("Content-Length: 0x5\r\n", "", id="M6-hexadecimal"),
        pytest.param("Content-Length: -5\r\n", "", id="M6-negative"),
        pytest.param("Content-Length: 4294967301\r\n", "", id="M6-2^32+5"),
        pytest.param("Transfer-Encoding: xchunked\r\n", "", id="M5-another coding"),
    ],
)
def test_two_meanings_through_mongrel2(real, form, lines, body):
    """M5, M6: refused; the application sees neither it nor what is behind it."""
    before = calls_of(real, form)
    smuggled = f"GET /smuggled HTTP/1.1\r\n{HOST}\r\n"
    assert ask(real, form, f"POST /x HTTP/1.1\r\n{HOST}{lines}\r\n{body}{smuggled}").status == 400
    assert calls_of(real, form) == before


@pytest.mark.peers
@BOTH
@pytest.mark.parametrize(
    "lines, body",
    [
        pytest.param("Content-Length: 2\r\n", "hi", id="M4-a body"),
        pytest.param("", "", id="M4-no body"),
        *(
            pytest.param(f"Content-Length: {length}\r\n", "", id=f"M4-{length}")
            for length in (2**31, 2**32, 6 << 30, 10**17, -1, "abc")
        ),
    ],
)
@pytest.mark.parametrize("name", ["uploads/mongrel2.upload.victim", "/etc/hostname"])
def test_forged_uploads_through_mongrel2(real, form, lines, body, name):
    """M4: what Mongrel2 takes for no length at all opens and removes nobody's file."""
    victim = real.uploads / "mongrel2.upload.victim"
    victim.write_bytes(b"secret")
    answer = ask(real, form, f"POST /x HTTP/1.1\r\n{HOST}{lines}{FORGED.format(name)}\r\n{body}")
    assert answer.status in {200, 400}
    assert b"UPLOAD" not in answer.body
    assert b"secret" not in answer.body
    assert victim.read_bytes() == b"secret"
    victim.unlink()


@pytest.mark.peers
@BOTH
def test_M3_forged_notices_through_mongrel2(real, form):
    """M3: over HTTP, as Mongrel2's own path, and as a message of a JSON socket."""
    forged = f"HTTP/1.1\r\n{HOST}Content-Length: 21\r\n\r\n" + DISCONNECT.decode()
    with Raw(real.ports[form]) as victim:
        victim.send(f"GET /stream HTTP/1.1\r\n{HOST}\r\n")
        assert victim.take(5)
        before = calls_of(real, form).count("closed")
        assert json.loads(ask(real, form, f"JSON /x {forged}").body)["REQUEST_METHOD"] == "JSON"
        assert ask(real, form, f"JSON @* {forged}").status in {400, 404}
        assert ask(real, form, '@* {"type":"disconnect"}\0').status in {400, 404}
        assert victim.take(50)
        assert calls_of(real, form).count("closed") == before
    poll(lambda: calls_of(real, form).count("closed") > before, "the stream is not closed")


@pytest.mark.peers
@BOTH
def test_M2_notices_come_to_an_end_with_mongrel2(real, form):
    """M1, M2: twelve clients leave while they are answered; then there is nothing more to be done."""
    log = real.directory / "logs" / ("error.log" if form == "tnetstring" else "mongrel2-json-error.log")
    for number in range(12):
        with Raw(real.ports[form]) as client:
            client.send(f"GET /{('large/2000000', 'nap/0.05')[number % 2]} HTTP/1.1\r\n{HOST}\r\n")
    for _ in range(20):
        assert calls_of(real, form)
    pid = real.server.process.pid
    size = log.stat().st_size if log.exists() else 0
    used = cpu(pid)
    for _ in range(20):
        calls_of(real, form)
    assert cpu(pid) - used < 100, "ticks of 10 ms for 20 requests, and none for notices"
    assert not log.exists() or log.stat().st_size < size + 100_000


def cpu(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))


@pytest.mark.peers
@BOTH
def test_M8_the_environ_through_mongrel2(real, form):
    """M7, M8, M13: repeated fields, names of Mongrel2's own, and bytes of any kind."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in CLIENT_KEYS.items())
    lines += 'X-A: 1\r\nX-A: 2\r\nCookie: a=1\r\nCookie: b=2\r\nX-Odd: caf\xe9 \xff "q" \\u0041 a\tb\r\n'
    found = json.loads(ask(real, form, f"GET /x?y HTTP/1.1\r\n{HOST}{lines}\r\n").body)
    assert (found["REQUEST_METHOD"], found["PATH_INFO"], found["QUERY_STRING"]) == ("GET", "/x", "y")
    assert (found["REMOTE_ADDR"], found["wsgi.url_scheme"]) == ("127.0.0.1", "http")
    assert (found["HTTP_X_A"], found["HTTP_COOKIE"]) == ("1, 2", "a=1; b=2")
    assert found["HTTP_X_ODD"] == 'caf\xe9 \xff "q" \\u0041 a\tb'
    assert "6.6.6.6" not in found.values()
    assert "PEER_CERT_SHA1" not in found


@pytest.mark.peers
def test_M9_both_forms_give_the_same_environ_through_mongrel2(real):
    """M9."""
    text = f"POST /a%20b/%2541?c=%20 HTTP/1.1\r\n{HOST}Content-Length: 3\r\nCookie: a=1\r\nCookie: b=2\r\nX: \xe9\r\n\r\nabc"
    one, other = (json.loads(ask(real, form, text).body) for form in ("json", "tnetstring"))
    assert one == other
    assert one["PATH_INFO"] == "/a b/%41"


@pytest.mark.peers
@BOTH
def test_M14_connections_through_mongrel2(real, form):
    """M14: answers without a body leave the connection usable; HTTP/1.0 is not chunked and ends."""
    with Raw(real.ports[form]) as client:
        assert client.get("/x", method="HEAD").body == b""
        assert client.get("/x").status == 200
        before = calls_of(real, form)
        client.send("GET /x HTTP/1.0\r\n\r\n" + f"GET /behind HTTP/1.1\r\n{HOST}\r\n")
        answer = client.answer()
        assert answer.header("Transfer-Encoding") is None
        assert client.closed()
    assert calls_of(real, form)[len(before) :] == ["GET /x"]
