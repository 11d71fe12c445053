"""Connections' lives as state machines: whatever is said on them in whatever pieces, the codecs keep in step."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from appserver.protocols.codec import ProtocolError
from appserver.protocols.http import HttpCodec, RequestLimits
from appserver.protocols.mongrel2 import Mongrel2Codec, parse
from appserver.protocols.scgi import ScgiCodec
from appserver.protocols.uwsgi import UwsgiCodec
from tests.fuzz.conversation import CLOSED, REFUSED, Conversation
from tests.protocols.feeding import BASE, READERS
from tests.protocols.wire import GET, M2, UUID, m2_message, netstring, scgi_request, uwsgi_packet

SETTINGS = settings(max_examples=60, stateful_step_count=30, deadline=None)
BODIES = st.binary(max_size=40) | st.just(b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
NAMES = st.integers(0, 999)
BAD = [
    b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\nb\r\n\r\n",
    b"GET / HTTP/3.0\r\nHost: h\r\n\r\n", b"GET /#x HTTP/1.1\r\nHost: h\r\n\r\n",
]  # fmt: skip


class Http(Conversation):
    """Requests one after the other on a kept connection."""

    reader = ""

    def codec(self):
        return HttpCodec(BASE, READERS[self.reader], RequestLimits(chunks=1000))

    @rule(name=NAMES)
    def get(self, name):
        self.says(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % name, (f"/{name}", b""))

    @rule(name=NAMES, body=BODIES)
    def post(self, name, body):
        head = b"POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (name, len(body))
        self.says(head + body, (f"/{name}", body))

    @rule(
        name=NAMES,
        chunks=st.lists(BODIES.filter(bool), max_size=4),
        trailer=st.sampled_from([b"", b"Cookie: g\r\n", b"X: y\r\n"]),
    )
    def post_chunks(self, name, chunks, trailer):
        coded = b"".join(b"%x;e\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        head = b"POST /%d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" % name
        self.says(head + coded + b"0\r\n" + trailer + b"\r\n", (f"/{name}", b"".join(chunks)))

    @rule(bad=st.sampled_from(BAD))
    def bad(self, bad):
        self.says(bad, REFUSED)

    @rule(name=NAMES)
    def last(self, name):
        self.says(
            b"GET /%d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % name, (f"/{name}", b""), CLOSED
        )


@pytest.mark.parametrize("reader", READERS)
def test_http(reader):
    run_state_machine_as_test(type(f"Http{reader}", (Http,), {"reader": reader}), settings=SETTINGS)


class Packets(Conversation):
    """uwsgi or SCGI: one request on each connection, and whatever stands behind it is not read."""

    bad_ones = ()

    def packet(self, variables, body):
        """Return a request."""
        raise NotImplementedError

    @rule(
        name=NAMES,
        body=BODIES,
        more=st.dictionaries(st.sampled_from(["HTTP_X", "A", "B" * 300]), st.text("ab\xe9 ", max_size=300)),
    )
    def request(self, name, body, more):
        variables = {
            **GET,
            "REQUEST_URI": f"/{name}",
            "PATH_INFO": f"/{name}",
            "CONTENT_LENGTH": str(len(body)),
            **more,
        }
        self.says(self.packet(variables, body), (f"/{name}", body), CLOSED)

    @rule(name=NAMES, chunks=st.lists(BODIES.filter(bool), max_size=4))
    def chunks(self, name, chunks):
        """As nginx passes them on without buffering."""
        variables = {
            **GET,
            "REQUEST_URI": f"/{name}",
            "PATH_INFO": f"/{name}",
            "HTTP_TRANSFER_ENCODING": "chunked",
        }
        coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        self.says(self.packet(variables, coded + b"0\r\n\r\n"), (f"/{name}", b"".join(chunks)), CLOSED)

    @rule(data=st.data())
    def bad(self, data):
        self.says(data.draw(st.sampled_from(self.bad_ones)), REFUSED)

    @precondition(lambda self: self.ends)
    @rule()
    def another_connection(self):
        self.teardown()
        self.connect()


class Uwsgi(Packets):
    """Packets, and pings before them."""

    bad_ones = (
        uwsgi_packet([]), uwsgi_packet(GET, modifiers=(5, 0)), uwsgi_packet(GET | {"PATH_INFO": "/a\nb"}),
        uwsgi_packet([], b"\xff\xffA" + bytes(7), size=10), uwsgi_packet(GET | {"CONTENT_LENGTH": "+1"}),
    )  # fmt: skip

    def codec(self):
        return UwsgiCodec({})

    def packet(self, variables, body):
        return uwsgi_packet(variables, body)

    @rule(count=st.integers(1, 3))
    def ping(self, count):
        self.says(b"\x64\0\0\0" * count)


class Scgi(Packets):
    """Netstrings."""

    bad_ones = (
        netstring(b""), b"0" + scgi_request(GET), scgi_request(GET)[:-1] + b";", b"x", scgi_request(GET | {"CONTENT_LENGTH": "+1"}),
        scgi_request(GET | {"PATH_INFO": "/a\nb"}), b"999999999:",
    )  # fmt: skip

    def codec(self):
        return ScgiCodec({})

    def packet(self, variables, body):
        return scgi_request(variables, body)


@pytest.mark.parametrize("kind", [Uwsgi, Scgi])
def test_packets(kind):
    run_state_machine_as_test(kind, settings=SETTINGS)


class Messages(RuleBasedStateMachine):
    """Mongrel2's messages come whole: what is to be kept in step is that nothing of one is left for the next."""

    def __init__(self):
        super().__init__()
        self.codec = Mongrel2Codec({})

    def told(self, wire):
        """Return what has come of a message, by the codec that has had all the others, and by a new one."""
        found = []
        for codec in (self.codec, Mongrel2Codec({})):
            try:
                message = parse(wire)
                x = codec.exchange(message)
            except ProtocolError as error:
                found.append(error.status)
            else:
                found.append((message.connection, x.environ, message.body, x.keep_alive))
        assert found[0] == found[1]
        return found[0]

    @rule(
        name=NAMES,
        body=BODIES,
        form=st.sampled_from(["json", "tnetstring"]),
        method=st.sampled_from(["POST", "JSON"]),
    )
    def request(self, name, body, form, method):
        fields = M2 | {"METHOD": method, "URI": f"/{name}", "content-length": str(len(body))}
        connection, environ, found, _ = self.told(m2_message(fields, body, f"/{name}".encode(), form))
        assert (connection, environ["PATH_INFO"], environ["REQUEST_METHOD"], found) == (
            (UUID, b"7"),
            f"/{name}",
            method,
            body,
        )

    @rule(form=st.sampled_from(["json", "tnetstring"]))
    def notice(self, form):
        wire = m2_message({"METHOD": "JSON"}, b'{"type":"disconnect"}', b"@*", form)
        assert parse(wire).notice == "disconnect"
        assert self.told(wire) == "501 Not Implemented"

    @rule(wire=st.sampled_from([
        m2_message(M2 | {"METHOD": "a b"}), m2_message(M2 | {"VERSION": "HTTP/2.0"}), m2_message(M2 | {"host": "a/b"}),
        m2_message(M2, head=b"5:x,"), m2_message(M2 | {"content-length": "+1"}, b"x"), b"x", m2_message(M2)[:-1],
        m2_message(M2 | {"x": "a\nb"}), m2_message({}),
    ]))  # fmt: skip
    def bad(self, wire):
        assert isinstance(self.told(wire), str)


Messages.TestCase.settings = SETTINGS
TestMessages = Messages.TestCase
