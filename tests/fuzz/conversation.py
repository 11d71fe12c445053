"""What is said on a connection, in whatever pieces, and what has to come of it."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.protocols.feeding import Reading

REFUSED, CLOSED = "refused", "closed"


class Conversation(RuleBasedStateMachine):
    """A peer that says things, which come as the network has it; a codec that has to keep in step."""

    def __init__(self):
        super().__init__()
        self.connect()

    def codec(self):
        """Return a new connection's codec."""
        raise NotImplementedError

    def connect(self):
        self.reading = Reading(self.codec())
        self.wire = b""  # that has been said and not been sent
        self.expected = []  # paths and bodies, then what ends it

    def says(self, wire, *told):
        """Say *wire*, of which *told* comes; nothing does once the connection has ended."""
        self.wire += wire
        if not self.ends:
            self.expected += told

    @property
    def ends(self):
        """Whether nothing more is read behind what has been said."""
        return bool(self.expected) and self.expected[-1] in {REFUSED, CLOSED}

    @property
    def found(self):
        """What the codec has made of it."""
        found = [
            REFUSED if isinstance(each, str) else (each[0]["PATH_INFO"], each[1])
            for each in self.reading.found
        ]
        return [*found, CLOSED] if self.reading.closed else found

    @rule(share=st.floats(0, 1))
    def comes(self, share):
        """Send a part of what has been said."""
        at = max(1, int(len(self.wire) * share))
        data, self.wire = self.wire[:at], self.wire[at:]
        if data:
            self.reading.take(data)

    @invariant()
    def keeps_in_step(self):
        assert self.found == self.expected[: len(self.found)]

    def teardown(self):
        self.comes(1)
        assert self.found == self.expected
