"""How answers are framed."""

import bz2
import gzip
import lzma
import os
import tempfile

import pytest
from flup.server import fcgi_base as flup

from appserver.answer import answer as send
from appserver.errors import ApplicationError
from appserver.file_wrapper import BLOCK, FileWrapper
from appserver.protocols.codec import ProtocolError
from appserver.protocols.framing import BUSY, HttpAnswers, refusal

from .answering import CODECS, answer, exchange
from .test_oracle import read

HTTP = ["http", "mongrel2"]
OK = "200 OK"
LENGTH = [("Content-Length", "5")]
HEAD = b"HTTP/1.1 200 OK\r\n"
CLOSE, KEEP, CHUNKED = (
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Transfer-Encoding: chunked\r\n",
)
SIZED = b"Content-Length: 5\r\n"

# version, kept, headers, pieces, length known -> head behind the status line, body, kept
ANSWERS = [
    ("HTTP/1.1", True, LENGTH, [b"hello"], None, SIZED, b"hello", True),
    ("HTTP/1.1", True, [], [b"hello"], 5, SIZED, b"hello", True),
    ("HTTP/1.1", True, [], [], 0, b"Content-Length: 0\r\n", b"", True),
    ("HTTP/1.1", True, [], [b"he", b"llo"], None, CHUNKED, b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", True),
    (
        "HTTP/1.1",
        True,
        [],
        [b"h" * 4096, b""],
        None,
        CHUNKED,
        b"1000\r\n" + b"h" * 4096 + b"\r\n0\r\n\r\n",
        True,
    ),
    (
        "HTTP/1.1",
        False,
        [],
        [b"he", b"llo"],
        None,
        CHUNKED + CLOSE,
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        False,
    ),
    ("HTTP/1.1", False, LENGTH, [b"he", b"llo"], None, SIZED + CLOSE, b"hello", False),
    ("HTTP/1.1", True, [*LENGTH, ("Connection", "close")], [b"hello"], None, SIZED + CLOSE, b"hello", False),
    (
        "HTTP/1.1",
        True,
        [*LENGTH, ("connection", "x, Close")],
        [b"hello"],
        None,
        SIZED + CLOSE,
        b"hello",
        False,
    ),
    ("HTTP/1.1", True, [*LENGTH, ("Connection", "keep-alive")], [b"hello"], None, SIZED, b"hello", True),
    ("HTTP/1.0", False, [], [b"he", b"llo"], None, CLOSE, b"hello", False),
    ("HTTP/1.0", True, [], [b"he", b"llo"], None, CLOSE, b"hello", False),
    ("HTTP/1.0", True, LENGTH, [b"hello"], None, SIZED + KEEP, b"hello", True),
    ("HTTP/1.0", True, [], [b"hello"], 5, SIZED + KEEP, b"hello", True),
    ("HTTP/1.0", False, LENGTH, [b"hello"], None, SIZED + CLOSE, b"hello", False),
]


@pytest.mark.parametrize("protocol", HTTP)
@pytest.mark.parametrize("case", ANSWERS, ids=repr)
def test_http(protocol, case):
    version, kept, headers, pieces, total, head, body, keeps = case
    x = exchange(protocol, "GET", version, kept)
    assert answer(x, OK, headers, *pieces, total=total) == HEAD + head + b"\r\n" + body
    assert x.keep_alive is keeps


@pytest.mark.parametrize("protocol", CODECS)
@pytest.mark.parametrize(
    "case",
    [
        ("HEAD", OK, LENGTH, None, SIZED),
        ("HEAD", OK, [], 9, b"Content-Length: 9\r\n"),
        ("HEAD", OK, [], None, b""),
        ("GET", "204 No Content", [], 9, b""),
        ("GET", "204 No Content", LENGTH, None, b""),
        ("GET", "304 Not Modified", LENGTH, None, SIZED),
        ("GET", "304 Not Modified", [], 9, b""),
        ("HEAD", "204 No Content", LENGTH, None, b""),
    ],
)
def test_answers_without_a_body(protocol, case):
    """R7: no body, nothing that frames one, and the connection stays usable."""
    method, status, headers, total, fields = case
    x = exchange(protocol, method)
    wire = answer(x, status, headers, b"never sent", total=total)
    assert b"never" not in wire
    assert b"Transfer-Encoding" not in wire
    if protocol == "fastcgi":
        wire = b"".join(content for kind, _, content in read(wire) if kind == flup.FCGI_STDOUT)
    first = b"HTTP/1.1 " if protocol in {"http", "mongrel2", "uwsgi"} else b"Status: "
    assert wire == first + status.encode() + b"\r\n" + fields + b"\r\n"
    assert x.keep_alive is (protocol not in {"uwsgi", "scgi"})


@pytest.mark.parametrize(
    "protocol, first", [("uwsgi", b"HTTP/1.1 200 OK\r\n"), ("scgi", b"Status: 200 OK\r\n")]
)
@pytest.mark.parametrize("headers, fields", [(LENGTH, SIZED), ([], b"")])
def test_the_end_of_the_connection_ends_the_answer(protocol, first, headers, fields):
    x = exchange(protocol)
    assert answer(x, OK, headers, b"he", b"llo") == first + fields + b"\r\nhello"
    assert not x.keep_alive


@pytest.mark.parametrize("name", ["Status", "status", "STATUS"])
@pytest.mark.parametrize("protocol", CODECS)
def test_an_application_has_no_status_beside_the_servers(protocol, name):
    """Apache would take the last one; where the status is no field it is a field as any other."""
    wire = answer(exchange(protocol), OK, [("A", "b"), (name, "404 Not Found"), *LENGTH], b"hello")
    cgi = protocol in {"scgi", "fastcgi"}
    assert wire.lower().count(b"status: ") == 1
    assert (b"404" in wire) is not cgi
    assert b"\r\nA: b\r\n" in wire


@pytest.mark.parametrize("protocol", CODECS)
def test_the_framing_is_the_requests_not_the_environs(protocol):
    """An application may do with its environ what it likes."""
    x, same = exchange(protocol, version="HTTP/1.0"), exchange(protocol, version="HTTP/1.0")
    x.environ.clear()
    assert answer(x, OK, [], b"he", b"llo") == answer(same, OK, [], b"he", b"llo")


@pytest.mark.parametrize("size", [1, 65527, 65528, 65529, 65535, 65536, 131056, 131057, 1000000])
def test_fastcgi_records(size):  # F13
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    found = read(answer(exchange("fastcgi"), OK, [], body[: size // 2], body[size // 2 :]))
    assert [kind for kind, _, _ in found[:-1]] == [flup.FCGI_STDOUT] * (len(found) - 1)
    assert all(content for _, _, content in found[:-2])  # an empty record would end the stream
    out = b"".join(content for _, _, content in found[:-1])
    assert out == b"Status: 200 OK\r\n\r\n" + body
    assert found[-2:] == [(flup.FCGI_STDOUT, 1, b""), (flup.FCGI_END_REQUEST, 1, bytes(8))]


@pytest.mark.parametrize("protocol", CODECS)
def test_one_send_for_a_small_answer(protocol):
    x = exchange(protocol)
    answer(x, OK, [], b"hello", total=5)
    assert [more for _, more in x.channel.sends] == [False]


@pytest.mark.parametrize("protocol", CODECS)
def test_an_answer_that_falls_short_is_not_ended(protocol):  # R5
    x = exchange(protocol)
    x.start_response(OK, [("Content-Length", "10")])
    x.write(b"hello")
    with pytest.raises(ApplicationError, match="the body has 5 bytes, its Content-Length says 10"):
        x.send(b"", False)
    wire = x.channel.wire
    assert wire.endswith(b"hello")
    if protocol == "fastcgi":
        assert {kind for kind, _, _ in read(wire)} == {flup.FCGI_STDOUT}
    assert all(more for _, more in x.channel.sends)


@pytest.mark.parametrize("protocol", CODECS)
def test_an_answer_that_is_too_long_is_cut(protocol):
    x = exchange(protocol)
    wire = answer(x, OK, LENGTH, b"hel", b"lo wo", b"rld")
    assert b"wo" not in wire
    assert x.excess == 6
    assert x.sent == 5


class Around:
    """A file around another one, as Django's `File` is."""

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def temporary(path):
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115
    file.write(path.read_bytes())
    file.seek(0)
    return file


FILES = {
    "buffered": lambda path: path.open("rb"),
    "random": lambda path: path.open("rb+"),
    "raw": lambda path: path.open("rb", buffering=0),
    "tempfile": temporary,
    "django": lambda path: Around(path.open("rb")),
    "django tempfile": lambda path: Around(temporary(path)),
    "gzip": gzip.open,
    "gzip django": lambda path: Around(gzip.GzipFile(path)),
    "bz2": bz2.open,
    "lzma": lzma.open,
}


def test_a_file_of_text_is_sent_as_it_is(tmp_path):
    """By its descriptor, though nobody should open it so."""
    (tmp_path / "file").write_bytes(b"caf\xc3\xa9\r\n")
    with open(tmp_path / "file", encoding="utf-8") as file:
        x = exchange()
        x.start_response(OK, [])
        send(FileWrapper(file), x, x.channel)
    assert x.channel.wire.endswith(b"\r\n\r\ncaf\xc3\xa9\r\n")


class Unseen:
    """A file of which the system knows nothing."""

    def __init__(self, file):
        self.read = file.read


@pytest.mark.parametrize("size", [1000, 200000])
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("protocol", CODECS)
def test_what_is_read_of_a_file_is_sent(protocol, kind, size, tmp_path):
    """Compressed ones, and files around them, have a descriptor as well."""
    data = bytes(range(250)) * (size // 250)
    path = tmp_path / "file"
    packing = {"gzip": gzip, "bz2": bz2, "lzma": lzma}.get(kind.partition(" ")[0])
    path.write_bytes(packing.compress(data) if packing else data)
    with FILES[kind](path) as file:
        x = exchange(protocol)
        x.start_response(OK, [("Content-Length", str(size))])
        x.channel.send_file = lambda fd, at, count: x.channel.send([os.pread(fd, count, at)], True) is None
        send(FileWrapper(file), x, x.channel)
    wire = x.channel.wire
    if protocol == "fastcgi":
        wire = b"".join(content for kind, _, content in read(wire) if kind == flup.FCGI_STDOUT)
    assert wire.partition(b"\r\n\r\n")[2] == data


@pytest.mark.parametrize("protocol", CODECS)
def test_no_more_of_a_file_is_read_than_its_length(protocol, tmp_path):
    x = exchange(protocol)
    x.start_response(OK, [("Content-Length", "100000")])
    with open(tmp_path / "large", "wb+") as file:
        file.truncate(1 << 22)
        file.seek(1000)
        send(FileWrapper(Unseen(file)), x, x.channel)
        assert file.tell() == 1000 + 2 * BLOCK
    assert (x.sent, x.excess, x.ended) == (100000, 0, True)


@pytest.mark.parametrize("protocol", CODECS)
def test_date(protocol):
    """Mongrel2 and clients of our own HTTP get one; nginx adds its own."""
    x = exchange(protocol)
    x.start_response(OK, [])
    x.send(b"x", False)
    assert x.channel.wire.count(b"Date: ") == (protocol in HTTP)
    x = exchange(protocol)
    x.start_response(OK, [("date", "mine")])
    x.send(b"x", False)
    assert x.channel.wire.lower().count(b"date: ") == 1


@pytest.mark.parametrize("protocol", CODECS)
def test_header_bytes(protocol):
    wire = answer(exchange(protocol), "200 \xe9", [("X-A", "a\tb \xff"), ("X-A", ""), ("x-B", "c")], b"x")
    assert b"200 \xe9\r\nX-A: a\tb \xff\r\nX-A: \r\nx-B: c\r\n" in wire


@pytest.mark.parametrize("protocol", CODECS)
def test_hop_by_hop_fields_are_dropped(protocol):  # R4
    hop = ["Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"]
    wire = answer(exchange(protocol), OK, [(name, "chunked") for name in hop] + LENGTH, b"hello")
    assert b"chunked" not in wire
    assert SIZED in wire


def test_refusals():
    error = ProtocolError("400 Bad Request", "Because \u20ac \xe9.", hint="Do this.")
    wire = refusal("HTTP/1.1 400 Bad Request", error)
    head, _, body = wire.partition(b"\r\n\r\n")
    assert body == b"Because ? \xe9.\nDo this.\n"
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 400 Bad Request", b"Content-Type: text/plain; charset=iso-8859-1",
        b"Content-Length: %d" % len(body), b"Connection: close",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "protocol, first",
    [
        ("http", b"HTTP/1.1 431 X"),
        ("mongrel2", b"HTTP/1.1 431 X"),
        ("uwsgi", b"HTTP/1.1 431 X"),
        ("scgi", b"Status: 431 X"),
        ("fastcgi", b"Status: 431 X"),
    ],
)
def test_refusals_of_each_protocol(protocol, first):
    x = exchange(protocol)
    wire = x.codec.refuse(ProtocolError("431 X", "no", hint="h"))
    if protocol == "fastcgi":
        *out, end = read(wire)
        assert end == (flup.FCGI_END_REQUEST, 1, bytes(8))
        assert out[-1] == (flup.FCGI_STDOUT, 1, b"")
        wire = out[0][2]
    assert wire.split(b"\r\n")[0] == first
    assert wire.endswith(b"\r\n\r\nno\nh\n")
    assert (b"\r\nDate: " in wire) is x.codec.dated, "front ends of the others add theirs"


def test_a_refusal_has_the_date_of_its_second(monkeypatch):
    for second, said in (
        (784111777, b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (784111778, b"Sun, 06 Nov 1994 08:49:38 GMT"),
    ):
        monkeypatch.setattr("appserver.exchange.time", lambda second=second: second + 0.5)
        assert b"\r\nDate: %b\r\n" % said in HttpAnswers().refuse(BUSY)


@pytest.mark.parametrize("protocol", ["http", "mongrel2", "uwsgi", "scgi", "fastcgi"])
def test_a_refusal_of_head_has_no_body(protocol):
    x = exchange(protocol)
    x.method = "HEAD"
    wire = x.codec.refuse(ProtocolError("431 X", "no"), x)
    assert b"\r\nContent-Length: 3\r\n" in wire
    assert b"no\n" not in wire


def test_fastcgi_errors():
    codec = exchange("fastcgi").codec
    found = read(codec.errors(b"e" * 140000))
    assert b"".join(content for _, _, content in found) == b"e" * 140000
    assert {(kind, request) for kind, request, _ in found} == {(flup.FCGI_STDERR, 1)}
    assert codec.errors(b"") == b""
