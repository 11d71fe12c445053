"""HTTP requests that are refused, and what they would have smuggled: docs/security/http.md."""

from __future__ import annotations

import pytest

from tests.security.conftest import CUTS, LAST, connect, speak
from tests.security.wires import BEHIND, CHUNKS, CL, HEADS, LINE, POST, TE, TOKEN, mutations, parameters

cuts = pytest.mark.parametrize("how", CUTS)


@cuts
@pytest.mark.parametrize("case, status, head", parameters(HEADS))
def test_a_head_is_refused(door, how, case, status, head):
    door.refuses(f"{head}\r\n{BEHIND}", status, how)


@cuts
@pytest.mark.parametrize("case, status, chunks", parameters(CHUNKS))
def test_chunks_are_refused(door, how, case, status, chunks):
    door.refuses(f"{POST}{TE}\r\n{chunks}{BEHIND}", status, how)


@pytest.mark.parametrize("case, status, chunks", parameters(CHUNKS))
def test_chunks_end_what_reads_them(streaming, case, status, chunks):
    """The application may have been called by then; its read raises, and nothing else is served."""
    said = streaming.speak(f"{POST}{TE}\r\n{chunks}{BEHIND}")
    assert said.statuses == [int(status)]
    assert set(streaming.calls()) <= {"POST /bad"}


def test_H7_nothing_hides_a_transfer_encoding(door):
    """Beside a Content-Length no odd byte makes the body's end a matter of opinion (CL.TE)."""
    length = f"Content-Length: {len(BEHIND)}\r\n".encode()
    last = LAST.replace(b"Connection", b"X")
    for place, byte, line in mutations():
        wire = POST.encode() + line + b"\r\n" + length + b"Connection: close\r\n\r\n" + BEHIND.encode() + last
        said = door.speak(wire)
        assert len(said.answers) == 1, (place, byte)
        status = said.statuses[0]
        assert status == 400 or (status == 200 and said.told()["body"] == BEHIND), (place, byte, said)
    assert set(door.calls()) == {"POST /bad"}


def test_H7_nothing_hides_a_content_length(door):
    """With a length that is shorter than the chunks what hides behind it is not served (TE.CL)."""
    wire = b"Content-Length: 4\r\n\r\n5c\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
    for place, byte, line in mutations():
        if byte not in TOKEN + b":" and not place.startswith(
            "X: y%b"
        ):  # those make another name, for anybody
            assert door.speak(POST.encode() + line + b"\r\n" + wire).statuses == [400], (place, byte)
    assert door.calls() == []


def served(door, head, body="", how="whole"):
    """Return what the application has seen of a request, behind which another one is served."""
    said = door.speak(f"{head}\r\n{body}".encode("latin-1") + LAST, how)
    assert said.statuses == [200, 200]
    assert said.told(1)["request"] == "GET /last"
    return said.told()


OTHERS = [("Content-Encoding: gzip\r\n", "HTTP_CONTENT_ENCODING"), ("TE: trailers\r\n", "HTTP_TE")]


@cuts
@pytest.mark.parametrize("line, key", OTHERS)
def test_H8_other_codings_are_not_ours(door, how, line, key):
    told = served(door, POST + CL + line, "\x1f\x8b\x00\x00\xff", how)
    assert told["body"] == "\x1f\x8b\x00\x00\xff"
    assert told["fields"][key] == line.split(": ")[1].strip()


@cuts
def test_H12_zeros_before_a_length_are_decimal(door, how):
    assert served(door, POST + "Content-Length: 005\r\n", "hello", how)["body"] == "hello"


UNFINISHED = [CL + "\r\nhell", "Content-Length: 10\r\n\r\nhello", TE + "\r\n5\r\nhel", TE + "\r\n5\r\nhello\r\n",
              TE + "\r\n5\r\nhello\r\n0\r\n", TE + "\r\n5\r\nhello\r\n0\r\nX: y\r\n", TE + "\r\n5\r\nhello\r\n0\r\n\r",
              TE + "\r\n5"]  # fmt: skip


@cuts
@pytest.mark.parametrize("rest", UNFINISHED, ids=[f"H{13 if each.startswith('C') else 23}-{n}" for n, each in enumerate(UNFINISHED)])  # fmt: skip
def test_an_unfinished_body_is_none(door, how, rest):
    door.refuses(POST + rest, 400, how, half=True)


@pytest.mark.parametrize("rest", UNFINISHED, ids=[f"H{13 if each.startswith('C') else 23}-{n}" for n, each in enumerate(UNFINISHED)])  # fmt: skip
def test_an_unfinished_body_ends_what_reads_it(streaming, token, rest):
    """It is no success in the log either: the client has gone, as far as anybody knows."""
    said = streaming.speak(f"POST /half?{token} HTTP/1.1\r\nHost: h\r\n{rest}", half=True)
    assert 200 not in said.statuses
    streaming.site.log(rf'"POST /half\?{token} HTTP/1\.1" (499|400) ')


@cuts
@pytest.mark.parametrize("byte", ["\x85", "\xa0", "\xff"])
def test_H19_bytes_beyond_ascii_are_kept(door, how, byte):
    told = served(door, LINE + f"X-A: {byte}a{byte}\r\nX-B:{byte}\r\n", how=how)
    assert (told["fields"]["HTTP_X_A"], told["fields"]["HTTP_X_B"]) == (f"{byte}a{byte}", byte)


@cuts
@pytest.mark.parametrize("case, chunks", [
    ("H22", "5;ext=1\r\nhello\r\n0\r\n\r\n"), ("H22", '5;a="b;\\"c";d\r\nhello\r\n0;e=f\r\n\r\n'),
    ("H22", '5 ; a = "" ;b\t=c;\td\r\nhello\r\n0 ;e\r\n\r\n'),
    ("H22", "5;" + "x" * 4090 + "\r\nhello\r\n0\r\n\r\n"), ("H24", "5\r\nhello\r\n00000000\r\n\r\n"),
    ("H24", "00005\r\nhello\r\n000000000000000\r\n\r\n"), ("H26", "5\r\nhello\r\n0\r\nX-Trailer: t\r\n\r\n"),
])  # fmt: skip
def test_chunks_are_decoded(door, how, case, chunks):
    assert served(door, POST + TE, chunks, how)["body"] == "hello"


def test_H25_many_small_chunks(door):
    """100,000 chunks cost what their bytes cost: in pieces of any size, as nothing is looked at twice."""
    chunks = "1\r\nx\r\n" * 100_000
    assert served(door, POST + TE, chunks + "0\r\n\r\n")["body"] == "x" * 100_000


@cuts
def test_H26_trailers_never_reach_the_environ(door, how):
    trailers = "Cookie: evil\r\nContent-Type: evil\r\nX-Forwarded-For: 192.0.2.1\r\n"
    plain = served(door, POST + TE, "0\r\n\r\n")
    assert served(door, POST + TE, f"0\r\n{trailers}\r\n", how) == plain


@cuts
def test_H30_a_good_request_and_a_bad_one(door, how):
    said = door.speak(f"GET /good HTTP/1.1\r\nHost: h\r\n\r\nGET /bad HTTP/1.1\r\n\r\n{LAST.decode()}", how)
    assert said.statuses == [200, 400]
    assert door.calls() == ["GET /good"]


@cuts
@pytest.mark.parametrize(
    "bad", ["GET\r\n\r\n", LINE + "X\r\n\r\n", POST + CL + TE + "\r\n0\r\n\r\n", LINE + "Host: g\r\n\r\n"]
)
def test_H31_nothing_is_read_behind_a_bad_request(door, how, bad):
    door.refuses(bad + LAST.decode(), 400, how)


@cuts
def test_H33_hosts_that_are_some(door, how):
    for host in (
        "h",
        "h:",
        "h:8080",
        "[::1]",
        "[::1]:80",
        "192.0.2.1:1",
        "a-b.example",
        "A_b.example",
        "h%41",
    ):
        assert served(door, f"GET / HTTP/1.1\r\nHost: {host}\r\n", how=how)["fields"]["HTTP_HOST"] == host


@cuts
@pytest.mark.parametrize("target, path, query", [
    ("http://h/a%20b?c", "/a b", "c"), ("HTTP://H", "/", ""), ("https://h?x=/y", "/", "x=/y"), ("http://h//e/", "//e/", ""),
])  # fmt: skip
def test_H34_the_absolute_form(door, how, target, path, query):
    fields = served(door, f"GET {target} HTTP/1.1\r\nHost: h\r\n", how=how)["fields"]
    assert (fields["PATH_INFO"], fields["QUERY_STRING"], fields["HTTP_HOST"]) == (path, query, "h")


def test_H34_the_asterisk_of_options(door):
    assert served(door, "OPTIONS * HTTP/1.1\r\nHost: h\r\n")["request"] == "OPTIONS *"


def expecting(door, wire, then):
    """Say *wire*, and *then* only when the server has said something; return all that it says."""
    with connect(door.address) as sock:
        sock.sendall(wire.encode())
        heard = sock.recv(65536)
        sock.sendall(then)
        while data := sock.recv(65536):
            heard += data
    return heard


def test_H40_an_expectation_is_met_before_the_body(door, streaming):
    for each in (door, streaming):
        wire = POST + CL + "Expect: 100-Continue\r\nConnection: close\r\n\r\n"
        heard = expecting(each, wire, b"hello")
        assert heard.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert heard.count(b"HTTP/1.1 ") == 2


def test_H40_no_expectation_is_met_where_the_request_is_refused(door):
    door.refuses(POST + CL + TE + "Expect: 100-continue\r\n\r\n", 400)


@cuts
def test_H40_an_expectation_of_http_1_0_is_none(door, how):
    wire = b"POST /old HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
    said = door.speak(wire, how)
    assert said.statuses == [200]
    assert said.told()["body"] == "hello"
    said = door.speak(wire.replace(b"100-continue", b"x"), how)
    assert said.statuses == [200]


@pytest.mark.parametrize("mode", [{"gevent": 4}, {"threads": 4}], ids=["gevent", "threads"])
def test_H29_a_pipeline_keeps_its_order(serve, token, tmp_path, mode):
    """The first is answered late; the others wait for it, and other connections do not."""
    site = serve("semantics:app", ["http"], **mode)
    release = tmp_path / "go"
    wire = (
        f"GET /late/{token}?{release} HTTP/1.1\r\nHost: h\r\n\r\nGET /result/list HTTP/1.1\r\nHost: h\r\n\r\n"
    )
    with connect(site.server.addresses["http"]) as sock:
        sock.sendall(wire.encode() + LAST.replace(b"/last", b"/result/generator"))
        site.log(f"begun {token}")
        assert speak(site.server.addresses["http"], LAST.replace(b"/last", b"/result/list")).statuses == [200]
        release.touch()
        heard = b"".join(iter(lambda: sock.recv(65536), b""))
    assert [part.split(b"\r\n\r\n", 1)[1] for part in heard.split(b"HTTP/1.1 200 OK\r\n")[1:]] == [
        b"late", b"one,two,three", b"4\r\none,\r\n4\r\ntwo,\r\n5\r\nthree\r\n0\r\n\r\n",
    ]  # fmt: skip
