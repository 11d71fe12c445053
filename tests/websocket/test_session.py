"""What a session makes of a client's frames, over a wire that keeps what is done to it."""

from __future__ import annotations

import zlib

import pytest
from gevent import get_hub

from appserver.listeners import patience
from appserver.listeners.patience import Limits, Patience
from appserver.websocket import session as sessions
from appserver.websocket.deflate import Deflate
from appserver.websocket.frames import BINARY, TEXT, closing, frame
from appserver.websocket.messages import Messages
from appserver.websocket.options import WebSocketOptions
from appserver.websocket.session import CLOSED, CLOSING, OPEN, Session
from tests.support.websockets import CLOSE, FIN, KEY, PING, PONG, masked

READ_AHEAD = 262_144
RSV1 = 0x40


class Request:
    """The part of a request that a session knows."""

    def __init__(self):
        self.environ = {"HTTP_SEC_WEBSOCKET_KEY": KEY}
        self.uri = "/"
        self.begun = False
        self.headers = ()
        self.sent = 0
        self.core = None

    def reset(self):
        pass

    def start_response(self, status, headers):
        pass

    def switch(self, fields):
        return b""


class Wire:
    """Keep what goes to the client; *waits* says whether it can be made to."""

    pending = untaken = 0
    together = None
    cancels = False

    def __init__(self, waits):
        self.hub = get_hub()
        self.x = Request()
        self.waits = waits
        self.paused = self.ended = self.broken = False
        self.written = []

    def patience(self, seconds):
        return Patience(Limits(pause=seconds, head=60, body=60, send=60, rate=500, idle=60), seconds)

    def deflate(self, limit):
        return Deflate(limit)

    def messages(self, limit, deflate):
        return Messages(limit, deflate)

    def open(self, head, peer):
        self.peer = peer

    def write(self, data):
        self.written.append(data)

    def pause(self):
        self.paused = self.waits
        return self.waits

    def resume(self):
        self.paused = False

    def end(self):
        self.ended = True

    def cut(self):
        self.broken = True


@pytest.fixture
def opened():
    """Return a function that opens a session over a wire of one kind or the other."""
    sessions = []

    def opening(*, waits=True, size=1):
        session = Session(Wire(waits), WebSocketOptions(websocket_max_size=size))
        session.accept(None, [])
        session.receives = True
        sessions.append(session)
        return session

    yield opening
    for each in sessions:
        each.lost()


@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 1])
def test_messages_without_bytes_are_bounded(opened, kind, size):
    session = opened()
    message = masked(FIN | kind, b"x" * size)
    count = 0
    while not session.wire.paused:
        session.feed(message)
        count += 1
        assert count < READ_AHEAD / 100, "there is no end"
    while not session.caught_up:
        session.pop()
        count -= 1
    assert count > 0, "it goes on before all is taken"
    session.resume()
    assert not session.wire.paused
    for _ in range(count):
        session.pop()
    with pytest.raises(IndexError):
        session.pop()
    for _ in range(10 * READ_AHEAD // 160):  # as many as are taken, however many these are
        session.feed(message)
        session.pop()
    assert not session.wire.paused


def test_messages_without_bytes_end_one_that_cannot_be_made_to_wait(opened):
    session = opened(waits=False)
    count = 0
    while session.state == OPEN:
        session.feed(masked(FIN | BINARY, b""))
        count += 1
        assert count < 16 * READ_AHEAD / 100, "there is no end"
    assert session.state == CLOSED
    assert session.wire.written == [closing(1008, "too many messages wait for the application")]
    assert session.wire.ended


def test_one_that_waits_no_more_is_bounded_as_well(opened):
    """It has gone, and what it has said before is read: all that may be."""
    session = opened()
    while not session.wire.paused:
        session.feed(masked(FIN | BINARY, b""))
    session.wire.waits = False
    session.resume()
    assert not session.wire.paused
    count = 0
    while session.state == OPEN:
        session.feed(masked(FIN | BINARY, b""))
        count += 1
        assert count < 16 * READ_AHEAD / 100, "there is no end"
    assert session.close_code == 1008
    assert session.wire.ended


def packed(text):
    """Return a message as a client packs it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return masked(FIN | RSV1 | TEXT, (packer.compress(text.encode()) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4])


LONG = "a" * 200_000
WIDE = "\N{GRINNING FACE}" + "a" * 200_000


@pytest.mark.parametrize(("text", "ahead"), [(LONG, 2), (WIDE, 1)])
def test_no_more_is_unpacked_than_may_wait(opened, monkeypatch, text, ahead):
    """A piece may be unpacked to a thousand times its size; what is wide in memory counts as it is there."""
    session = opened(size=256)
    taken = []
    monkeypatch.setattr(
        session, "_take", lambda event, take=session._take: (taken.append(event), take(event))
    )
    session.feed(b"".join(packed(text + str(number)) for number in range(20)) + masked(FIN | PING, b"last"))
    assert session.wire.paused
    assert len(taken) == ahead
    for number in range(20):
        assert session.pop().data == text + str(number)
        assert len(taken) <= number + 1 + ahead
        if session.caught_up:
            session.resume()
    assert not session.wire.paused
    assert session.wire.written == [frame(PONG, b"last")]
    session.feed(packed("next"))
    assert session.pop().data == "next"


@pytest.mark.parametrize("how", ["close", "left"])
def test_what_was_left_is_taken_at_the_end(opened, how):
    """The client's answer to a close frame, or its own, stands behind it."""
    session = opened(size=256)
    session.feed(packed(LONG) * 9 + masked(FIN | CLOSE, b"\x03\xe8"))
    assert session.wire.paused
    assert session.state == OPEN
    if how == "close":
        session.close(1001, "")
    else:
        session.wire.waits = False
        session.resume()
    assert session.state == CLOSED
    assert session.close_code == (1001 if how == "close" else 1000)
    assert session.wire.ended


def test_a_message_alone_is_never_too_many(opened):
    session = opened(waits=False, size=4096)
    session.feed(packed("\N{GRINNING FACE}" + "a" * 4_000_000))
    assert session.state == OPEN


PINGS = b"".join(masked(FIN | PING, b"%d" % number) for number in range(2000))
PONGS = b"".join(frame(PONG, b"%d" % number) for number in range(2000))


def test_the_pings_of_one_piece_are_answered_by_one_write(opened):
    session = opened()
    session.feed(PINGS)
    assert session.wire.written == [PONGS]
    session.feed(masked(FIN | PING, b"next"))
    assert session.wire.written == [PONGS, frame(PONG, b"next")]
    session.feed(masked(FIN | PONG, b"unasked"))
    assert session.wire.x.sent == len(PONGS) + 6


@pytest.mark.parametrize(("end", "answer"), [
    (masked(FIN | CLOSE, b"\x03\xe8"), closing(1000, "")), (masked(0x83, b""), closing(1002, "Invalid opcode 0x3")),
])  # fmt: skip
def test_pings_are_answered_before_the_end(opened, end, answer):
    session = opened()
    session.feed(PINGS + end + masked(FIN | PING, b"too late"))
    assert session.wire.written == [PONGS, answer]
    assert session.wire.ended


def test_who_does_not_read_need_not_hear_the_answers(opened):
    session = opened()
    session.wire.pending = READ_AHEAD + 1
    session.feed(PINGS)
    session.wire.pending = 0
    session.feed(masked(FIN | PING, b"next"))
    assert session.wire.written == [frame(PONG, b"next")]


def test_pings_are_not_answered_after_our_close(opened):
    session = opened()
    session.feed(PINGS[:1])
    session.close(1000, "")
    session.feed(PINGS[1:] + masked(FIN | CLOSE, b"\x03\xe8"))
    assert session.wire.written == [closing(1000, "")]


# Time


class Clock:
    """Seconds that pass when they are told to, as a session is looked at once in each."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def pass_by(self, session, seconds, takes=0):
        """Let seconds pass, in each of which the client takes so many bytes."""
        for _ in range(seconds):
            self.now += 1
            session.wire.untaken = max(0, session.wire.untaken - takes)
            session.tick(self.now)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(patience, "monotonic", made)
    monkeypatch.setattr(sessions, "monotonic", made)
    return made


def send(session, size):
    session.write(bytes(size))
    session.wire.untaken += size


def test_a_slow_client_gets_all_that_was_sent_before_the_close_frame(opened, clock):
    session = opened()
    send(session, 4_000_000)
    session.close(1000, "")
    clock.pass_by(session, 40, takes=100_000)
    assert session.wire.untaken == 0
    clock.pass_by(session, 5)
    assert (session.wire.ended, session.wire.broken) == (False, False)
    clock.pass_by(session, 1)
    assert session.state == CLOSED
    assert session.wire.ended, "it is not answered"
    assert not session.wire.broken, "what it has not read yet is not lost"


@pytest.mark.parametrize(("takes", "seconds"), [(0, 6), (100, 10), (400, 30)])
def test_a_client_that_takes_less_than_the_rate_is_cut_in_the_end(opened, clock, takes, seconds):
    session = opened()
    send(session, 4_000_000)
    session.close(1000, "")
    clock.pass_by(session, 4, takes)
    assert not session.wire.broken
    clock.pass_by(session, seconds - 4, takes)
    assert session.wire.broken


def test_the_time_to_answer_a_ping_begins_when_it_is_taken(opened, clock):
    session = opened()
    send(session, 10_000_000)
    clock.pass_by(session, 100, takes=100_000)
    assert session.wire.written.count(frame(PING, b"")) == 1
    assert session.wire.untaken == 0
    clock.pass_by(session, 30)
    assert not session.wire.broken
    clock.pass_by(session, 1)
    assert session.wire.broken


def test_an_answered_ping_is_followed_by_the_next_when_it_is_silent_again(opened, clock):
    session = opened()
    for count in (1, 2, 3):
        clock.pass_by(session, 31)
        assert session.wire.written.count(frame(PING, b"")) == count
        session.feed(masked(FIN | PONG, b""))
    assert not session.wire.broken


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("answers", [True, False])
def test_what_came_while_the_loop_was_held_up_is_read_before_the_client_is_overdue(
    opened, clock, closes, answers
):
    session = opened()
    if closes:
        session.close(1000, "")
    clock.pass_by(session, 32 - 30 * closes)
    clock.now += 100  # a call that blocks, or a stopped process
    clock.pass_by(session, 1)
    session.tick(clock.now)  # libev makes up for some of what it missed
    assert session.state == (CLOSING if closes else OPEN)
    if answers:
        session.feed(masked(FIN | CLOSE, b"\x03\xe8") if closes else masked(FIN | PONG, b""))
    clock.now += 100  # and another one, behind what was read
    clock.pass_by(session, 1)
    assert session.state == (OPEN if answers and not closes else CLOSED)


@pytest.mark.parametrize("alive", [True, False])
def test_a_client_that_waits_is_asked_too_and_needs_only_take_the_ping(opened, clock, alive):
    """Its answer is behind what is not read."""
    session = opened()
    while not session.wire.paused:
        session.feed(masked(FIN | BINARY, b""))
    clock.pass_by(session, 31)
    assert session.wire.written == [frame(PING, b"")]
    session.wire.untaken = 0 if alive else 2
    clock.pass_by(session, 31)
    assert session.wire.broken is not alive
    assert session.state == (OPEN if alive else CLOSED)
