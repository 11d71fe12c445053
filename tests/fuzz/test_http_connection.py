"""A connection's life as a state machine: whatever is said on it in whatever pieces, the codec keeps in step."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from appserver.protocols.codec import ProtocolError
from appserver.protocols.http import HttpCodec, RequestLimits
from tests.protocols.feeding import BASE, READERS

BODIES = st.binary(max_size=40) | st.just(b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
NAMES = st.integers(0, 999)
BAD = [
    b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\nb\r\n\r\n",
    b"GET / HTTP/3.0\r\nHost: h\r\n\r\n", b"GET /#x HTTP/1.1\r\nHost: h\r\n\r\n",
]  # fmt: skip


class Connection(RuleBasedStateMachine):
    """What is said, and what has to come of it."""

    reader = ""

    def __init__(self):
        super().__init__()
        self.codec = HttpCodec(BASE, READERS[self.reader], RequestLimits(chunks=1000))
        self.wire = b""  # that has been said and not been sent
        self.expected = []
        self.found = []
        self.x, self.body = None, b""
        self.over = False  # nothing more is read

    def says(self, wire, told):
        if not self.ends:
            self.wire += wire
            self.expected.append(told)

    @rule(name=NAMES)
    def get(self, name):
        self.says(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % name, (f"/{name}", b""))

    @rule(name=NAMES, body=BODIES)
    def post(self, name, body):
        self.says(
            b"POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (name, len(body), body),
            (f"/{name}", body),
        )

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
        self.says(bad, "refused")

    @rule(name=NAMES)
    def last(self, name):
        if not self.ends:
            wire = b"GET /%d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % name
            self.says(wire, (f"/{name}", b""))
            self.expected.append("closed")

    @property
    def ends(self):
        return bool(self.expected) and self.expected[-1] in {"refused", "closed"}

    @rule(share=st.floats(0, 1))
    def comes(self, share):
        """Send a part of what has been said."""
        if self.over or not self.wire:
            return
        at = max(1, int(len(self.wire) * share))
        data, self.wire = self.wire[:at], self.wire[at:]
        try:
            while True:
                if self.x is None:
                    self.x, data = self.codec.receive(data), b""
                    if self.x is None:
                        return
                if self.x.body_left:
                    self.body += self.codec.receive_body(self.x, data)
                    data = b""
                    if self.x.body_left:
                        return
                self.found.append((self.x.environ["PATH_INFO"], self.body))
                if not self.x.keep_alive:
                    self.found.append("closed")
                    self.over = True
                    return
                self.x, self.body = None, b""
                if not self.codec.buffer:
                    return
        except ProtocolError:
            self.found.append("refused")
            self.over = True

    @invariant()
    def keeps_in_step(self):
        assert self.found == self.expected[: len(self.found)]

    def teardown(self):
        while self.wire and not self.over:
            self.comes(1)
        assert self.found == self.expected


@pytest.mark.parametrize("reader", READERS)
def test_a_connection_keeps_in_step(reader):
    kind = type(f"Connection{reader}", (Connection,), {"reader": reader})
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(kind, settings=settings(max_examples=60, stateful_step_count=30))
