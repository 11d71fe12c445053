"""flup's record codec, made by others, reads what we write and writes what we read."""

import socket

import pytest
from flup.server import fcgi_base as flup
from hypothesis import given, settings
from hypothesis import strategies as st

from appserver.protocols import fastcgi as ours
from appserver.protocols.fastcgi import VARIABLES, FastcgiCodec, pair, record

from .feeding import cut, feed
from .wire import begin, padded


class Pipe:
    """As much of a socket as flup wants, in memory."""

    def __init__(self, data=b""):
        self.data = data

    def recv(self, size):
        piece, self.data = self.data[:size], self.data[size:]
        return piece

    def send(self, data):
        self.data += data
        return len(data)

    def fileno(self):
        return -1


def read(wire):
    """Return the records in *wire* as flup reads them."""
    pipe, found = Pipe(wire), []
    while pipe.data:
        item = flup.Record()
        item.read(pipe)
        assert item.version == flup.FCGI_VERSION_1
        found.append((item.type, item.requestId, item.contentData))
    return found


def written(kind, request, content):
    """Return a record as flup writes it."""
    item = flup.Record(kind, request)
    item.contentData, item.contentLength = content, len(content)
    pipe = Pipe()
    item.write(pipe)
    return pipe.data


def flup_begin(request, role=flup.FCGI_RESPONDER, flags=flup.FCGI_KEEP_CONN):
    return written(
        flup.FCGI_BEGIN_REQUEST, request, flup.struct.pack(flup.FCGI_BeginRequestBody, role, flags)
    )


NAMES = {
    "BEGIN": "BEGIN_REQUEST", "ABORT": "ABORT_REQUEST", "END": "END_REQUEST", "PARAMS": "PARAMS", "STDIN": "STDIN",
    "STDOUT": "STDOUT", "STDERR": "STDERR", "DATA": "DATA", "GET_VALUES": "GET_VALUES",
    "GET_VALUES_RESULT": "GET_VALUES_RESULT", "UNKNOWN_TYPE": "UNKNOWN_TYPE", "RESPONDER": "RESPONDER",
    "KEEP_CONN": "KEEP_CONN", "REQUEST_COMPLETE": "REQUEST_COMPLETE", "CANT_MPX_CONN": "CANT_MPX_CONN",
    "OVERLOADED": "OVERLOADED", "UNKNOWN_ROLE": "UNKNOWN_ROLE",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_constants(name):
    assert getattr(ours, name) == getattr(flup, f"FCGI_{NAMES[name]}")


binary = st.binary(max_size=300) | st.integers(120, 140).map(lambda n: b"n" * n) | st.just(b"v" * 70000)


@settings(max_examples=100)
@given(binary, binary)
def test_pairs(name, value):
    assert pair(name, value) == flup.encode_pair(name, value)
    assert flup.decode_pair(pair(name, value)) == (len(pair(name, value)), (name, value))
    twice = flup.encode_pair(name, value) * 2
    assert VARIABLES.every(twice, 0, len(twice)) == [(name.decode("latin-1"), value.decode("latin-1"))] * 2


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(1, 11), st.integers(0, 65535), st.binary(max_size=100))),
    st.integers(0, 255),
)
def test_our_records(items, padding):
    assert read(b"".join(record(*item) for item in items)) == items
    assert read(b"".join(padded(*item, padding) for item in items)) == items


text = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=150)


@settings(max_examples=100)
@given(
    st.dictionaries(text.map("X_".__add__), text, max_size=5),
    st.binary(max_size=400),
    st.integers(1, 65535),
    st.integers(1, 200),
    st.sampled_from(["whole", "bytes"]),
)
def test_requests_that_flup_writes(variables, body, request, step, how):
    variables |= {"REQUEST_METHOD": "POST", "REQUEST_URI": "/p", "CONTENT_LENGTH": str(len(body))}
    stream = b"".join(flup.encode_pair(name.encode(), value.encode()) for name, value in variables.items())
    wire = flup_begin(request)
    for kind, content in ((flup.FCGI_PARAMS, stream), (flup.FCGI_STDIN, body)):
        for at in range(0, len(content), step):
            wire += written(kind, request, content[at : at + step])
        wire += written(kind, request, b"")
    [(environ, found)] = feed(FastcgiCodec({}), cut(wire, how))
    assert found == body
    assert variables.items() <= environ.items()


@settings(max_examples=50)
@given(st.integers(1, 65535), st.lists(st.integers(1, 200000), max_size=3), st.integers(0, 70000))
def test_flup_reads_our_answers(request, sizes, errors):
    codec = FastcgiCodec({})
    x = codec.receive(
        flup_begin(request)
        + written(flup.FCGI_PARAMS, request, flup.encode_pair(b"REQUEST_URI", b"/"))
        + written(flup.FCGI_PARAMS, request, b"")
    )
    x.start_response("200 OK", [("X-A", "b")])
    wire = x.begin() + b"".join(piece for size in sizes for piece in codec.body(x, b"b" * size))
    wire += codec.errors(b"e" * errors) + codec.end(x)
    found = read(wire)
    assert {number for _, number, _ in found} == {request}
    out = b"".join(content for kind, _, content in found if kind == flup.FCGI_STDOUT)
    assert out == b"Status: 200 OK\r\nX-A: b\r\n\r\n" + b"b" * sum(sizes)
    assert sum(len(content) for kind, _, content in found if kind == flup.FCGI_STDERR) == errors
    assert found[-2] == (flup.FCGI_STDOUT, request, b"")
    kind, _, content = found[-1]
    assert kind == flup.FCGI_END_REQUEST
    assert flup.struct.unpack(flup.FCGI_EndRequestBody, content) == (0, flup.FCGI_REQUEST_COMPLETE)


def test_flup_reads_what_we_say_besides():
    codec = FastcgiCodec({})
    asked = b"".join(flup.encode_pair(name.encode(), b"") for name in (
        flup.FCGI_MAX_CONNS, flup.FCGI_MAX_REQS, flup.FCGI_MPXS_CONNS))  # fmt: skip
    codec.receive(written(flup.FCGI_GET_VALUES, 0, asked))
    codec.receive(written(42, 0, b""))
    codec.receive(flup_begin(3, flup.FCGI_AUTHORIZER) + flup_begin(4) + flup_begin(5))
    values, unknown, role, multiplexed = read(codec.replies)
    assert values[:2] == (flup.FCGI_GET_VALUES_RESULT, 0)
    assert flup.decode_pair(values[2])[1] == (flup.FCGI_MPXS_CONNS.encode(), b"0")
    assert unknown == (flup.FCGI_UNKNOWN_TYPE, 0, flup.struct.pack(flup.FCGI_UnknownTypeBody, 42))
    for (kind, request, content), number, status in (
        (role, 3, flup.FCGI_UNKNOWN_ROLE), (multiplexed, 5, flup.FCGI_CANT_MPX_CONN),
    ):  # fmt: skip
        assert (kind, request) == (flup.FCGI_END_REQUEST, number)
        assert flup.struct.unpack(flup.FCGI_EndRequestBody, content) == (0, status)


def test_flup_reads_our_records_from_a_socket():
    here, there = socket.socketpair()
    with here, there:
        here.sendall(begin(7) + record(ours.PARAMS, 7, b"x" * 1000) + padded(ours.STDIN, 7, b"y", 255))
        found = []
        for _ in range(3):
            item = flup.Record()
            item.read(there)
            found.append((item.type, item.requestId, len(item.contentData)))
    assert found == [(1, 7, 8), (4, 7, 1000), (5, 7, 1)]
