"""FastCGI as a conversation: records in any order, against a model of what the specification makes of them."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appserver.protocols.fastcgi import ABORT, GET_VALUES, PARAMS, STDIN, FastcgiCodec, pair, record
from tests.protocols.feeding import Reading
from tests.protocols.wire import begin

IDS = st.integers(1, 3)
CUTS = st.lists(st.integers(0, 60), max_size=3)


class Conversation(RuleBasedStateMachine):
    """A front end that begins, continues, aborts and confuses requests; what is served must be what it completed."""

    def __init__(self):
        super().__init__()
        self.connect()

    def connect(self):
        self.reading = Reading(FastcgiCodec({}))
        self.expected = []  # of what it says
        self.current = None  # the id of the request that counts, its block of variables, its body
        self.block = b""
        self.sent = b""
        self.complete = False  # its variables are
        self.number = 0
        self.over = False  # the connection has to be refused

    def tell(self, wire, cuts):
        """Give records to the codec as a connection would, in pieces."""
        at = sorted({min(each, len(wire)) for each in cuts})
        for start, stop in zip([0, *at], [*at, len(wire)], strict=True):
            self.reading.take(wire[start:stop])

    def _bad(self):
        self.over = True

    open_ = precondition(lambda self: not self.over)

    @open_
    @rule(request=IDS, cuts=CUTS)
    def begin(self, request, cuts):
        if self.current is None:
            self.current, self.block, self.sent, self.complete = request, b"", b"", False
            self.number += 1
            self.block_wanted = pair(b"REQUEST_URI", b"/") + pair(b"HTTP_N", b"%d" % self.number)
        elif request == self.current:
            self._bad()
        self.tell(begin(request), cuts)

    @open_
    @rule(request=IDS, size=st.integers(1, 40), cuts=CUTS)
    def params(self, request, size, cuts):
        mine = request == self.current
        if mine and self.complete:
            self._bad()
        content = b"junk"
        if mine and not self.complete:
            content = self.block_wanted[len(self.block) : len(self.block) + size]
            self.block += content
            if not content:
                return
        self.tell(record(PARAMS, request, content), cuts)

    @open_
    @rule(request=IDS, cuts=CUTS)
    def end_of_params(self, request, cuts):
        rest = b""
        if request == self.current:
            if self.complete:
                self._bad()
            else:
                rest = self.block_wanted[len(self.block) :]
                self.complete = True
        wire = record(PARAMS, request, rest) if rest else b""
        self.tell(wire + record(PARAMS, request, b""), cuts)

    @open_
    @rule(request=IDS, content=st.binary(max_size=20), cuts=CUTS)
    def stdin(self, request, content, cuts):
        if request == self.current:
            if not self.complete:
                self._bad()
            elif content:
                self.sent += content
            else:
                self.expected.append((str(self.number), self.sent))
                self.current = None
        self.tell(record(STDIN, request, content), cuts)

    @open_
    @rule(request=IDS, cuts=CUTS)
    def abort(self, request, cuts):
        if request == self.current:
            if self.complete:
                self._bad()  # the connection ends where the body was being read
            self.current = None
        self.tell(record(ABORT, request, b""), cuts)

    @open_
    @rule(kind=st.sampled_from([GET_VALUES, 12, 200]), cuts=CUTS)
    def management(self, kind, cuts):
        self.tell(record(kind, 0, b""), cuts)

    @precondition(lambda self: self.over)
    @rule()
    def another_connection(self):
        self.connect()

    @invariant()
    def what_was_completed_is_served(self):
        served = [each for each in self.reading.found if not isinstance(each, str)]
        assert [(environ["HTTP_N"], body) for environ, body in served] == self.expected
        assert self.reading.refused == self.over
        assert len(self.reading.codec.buffer) < 65800


Conversation.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestConversation = Conversation.TestCase
