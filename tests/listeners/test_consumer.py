"""A loop as the receiver sees it, over real sockets; the clock is the test's."""

from __future__ import annotations

import os
import socket
import subprocess
from itertools import chain

import pytest

from appserver.listeners import consumer as module
from appserver.listeners.consumer import LARGEST, Consumer
from appserver.listeners.dispatch import Job
from appserver.listeners.rendezvous import Rendezvous
from appserver.protocols.handoff import (
    END,
    FAREWELL,
    GONE,
    LAST,
    PIECE,
    PROBE,
    REQUEST,
    Frame,
    Frames,
    frame,
    frames,
)


class Clock:
    """What the module takes for the time."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "monotonic", made)
    return made


class Pair:
    """A consumer, and the sockets of its loop."""

    def __init__(self, cores):
        rendezvous = Rendezvous()
        self.packets, self.stream = rendezvous.join(cores)
        self.consumer = Consumer(*rendezvous.accept())
        rendezvous.close()
        self._frames = Frames()

    def give(self, *jobs):
        for each in jobs:
            self.consumer.give(each)
        return self.consumer.flush()

    def packet(self):
        """Take a packet as the loop does."""
        return frames(self.packets.recv(1 << 20))

    def all_packets(self):
        found = []
        while True:
            try:
                found.append(self.packet())
            except BlockingIOError:
                return found

    def said(self):
        """Return the frames that have come over the stream; the consumer writes whenever it can."""
        found = []
        while True:
            self.consumer.write()
            try:
                found += self._frames.feed(self.stream.recv(1 << 20))
            except BlockingIOError:
                if not self.consumer.writes:
                    return found

    def close(self):
        self.packets.close()
        self.stream.close()
        self.consumer.close()


@pytest.fixture
def pair():
    made = []

    def join(cores=1):
        made.append(Pair(cores))
        return made[-1]

    yield join
    for each in made:
        each.close()


def job(number, message=b"message", gone=False):
    made = Job(number, (b"uuid", b"%d" % number), message, 1)
    made.gone = gone
    return made


def requests(packet):
    return [each.number for each in packet if each.kind == REQUEST]


# Packets


def test_a_request_is_one_packet(pair):
    loop = pair()
    given = job(1)
    assert loop.give(given) == []
    assert loop.all_packets() == [[Frame(REQUEST, 1, b"message")]]
    assert given.message == b"", "the loop has it"


def test_nothing_is_sent_before_the_flush(pair):
    loop = pair()
    loop.consumer.give(job(1))
    assert loop.all_packets() == []
    loop.consumer.flush()
    assert requests(loop.packet()) == [1]
    assert loop.consumer.flush() == []
    assert loop.all_packets() == []


@pytest.mark.parametrize("cores, expected", [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (4, [4, 1]), (100, [5])])
def test_a_packet_has_no_more_requests_than_there_are_cores(pair, cores, expected):
    loop = pair(cores)
    assert loop.give(*(job(number) for number in range(1, 6))) == []
    packets = [requests(packet) for packet in loop.all_packets()]
    assert list(map(len, packets)) == expected
    assert [*chain(*packets)] == [1, 2, 3, 4, 5]


def test_a_packet_has_64_kib_at_the_most(pair):
    loop = pair(100)
    given = [job(number, b"x" * 20000) for number in range(1, 8)]
    assert loop.give(*given) == []
    packets = loop.all_packets()
    assert [requests(packet) for packet in packets] == [[1, 2, 3], [4, 5, 6], [7]]
    assert all(sum(17 + len(each.data) for each in packet) <= LARGEST for packet in packets)
    assert [each.message for each in given] == [b""] * 7


@pytest.mark.parametrize("gone", [False, True])
def test_the_largest_request_of_a_packet_has_one_of_its_own(pair, gone):
    """The loop's buffer, and that of `take_back`, take the frames around it as well."""
    loop = pair(3)
    loop.give(job(1), job(2, b"x" * LARGEST, gone), job(3))
    assert [requests(packet) for packet in loop.all_packets()] == [[1], [2], [3]]
    loop.give(job(4, b"x" * LARGEST, gone))
    assert loop.consumer.take_back() == [(4, b"x" * LARGEST)]
    assert loop.said() == []


def test_larger_requests_go_over_the_stream(pair):
    loop = pair(3)
    large = b"x" * (LARGEST + 1)
    given = [job(1), job(2, large), job(3)]
    assert loop.give(*given) == []
    assert [requests(packet) for packet in loop.all_packets()] == [[1, 3]]
    assert loop.said() == [Frame(REQUEST, 2, large)]
    assert [each.message for each in given] == [b""] * 3


def test_much_more_than_the_stream_takes_goes_over_it_in_pieces(pair):
    loop = pair()
    large = os.urandom(5_000_000)
    loop.give(job(1, large))
    assert loop.consumer.writes
    loop.consumer.say(GONE, 9)
    assert loop.said() == [Frame(REQUEST, 1, large), Frame(GONE, 9, b"")]
    assert not loop.consumer.writes


@pytest.mark.parametrize("size", [7, LARGEST + 1], ids=["packet", "stream"])
def test_a_loop_knows_before_the_request_that_nobody_waits_for_it(pair, size):
    loop = pair(2)
    loop.give(job(1, b"x" * size, gone=True), job(2, b"y" * size))
    came = [*chain(*loop.all_packets()), *loop.said()]
    assert [(each.kind, each.number) for each in came] == [(GONE, 1), (REQUEST, 1), (REQUEST, 2)]


# No room


def fill(loop):
    """Give requests until there is no room; return the numbers sent, and what the last flush has left."""
    number = 0
    while True:
        number += 1
        left = loop.give(job(number, b"x" * 60000))
        if left:
            return list(range(1, number)), left


def test_what_a_full_socket_does_not_take_is_given_back(pair):
    loop = pair()
    sent, left = fill(loop)
    assert left == [(len(sent) + 1, b"x" * 60000)]
    assert len(sent) >= 2
    assert loop.consumer.stuck
    assert [requests(packet) for packet in loop.all_packets()] == [[number] for number in sent]


def test_of_several_packets_only_those_without_room_are_given_back(pair):
    loop = pair(2)
    given = [job(number, b"%d" % number * 30000) for number in range(1, 30)]
    left = loop.give(*given)
    sent = [*chain(*map(requests, loop.all_packets()))]
    assert sent
    assert left
    assert sent + [number for number, _ in left] == list(range(1, 30))
    assert all(message == b"%d" % number * 30000 for number, message in left)
    assert [each.message for each in given[: len(sent)]] == [b""] * len(sent)


def test_what_went_over_the_stream_is_not_given_back(pair):
    loop = pair()
    fill(loop)
    large = b"x" * (LARGEST + 1)
    left = loop.give(job(1001, large), job(1002), job(1003, large))
    assert left == [(1002, b"message")]
    assert requests(loop.said()) == [1001, 1003]


def test_a_loop_that_has_gone_takes_nothing(pair):
    loop = pair()
    loop.packets.close()
    loop.consumer._unread.close()  # the receiver has the other end as well
    assert loop.give(job(1)) == [(1, b"message")]


# Taking back


def test_what_has_not_been_taken_can_be_taken_back(pair):
    loop = pair(2)
    loop.give(*(job(number, b"%d" % number, gone=number == 4) for number in range(1, 6)))
    assert requests(loop.packet()) == [1, 2]
    assert loop.consumer.take_back() == [(3, b"3"), (4, b"4"), (5, b"5")]
    assert loop.all_packets() == []
    assert loop.consumer.take_back() == []
    loop.give(job(6))
    assert requests(loop.packet()) == [6]


def test_it_can_be_taken_back_after_the_loop_s_end_too(pair):
    loop = pair()
    loop.give(job(1), job(2))
    loop.packet()
    loop.packets.close()
    loop.stream.close()
    assert loop.consumer.read() is None
    assert loop.consumer.take_back() == [(2, b"message")]


def test_a_full_socket_can_be_taken_back(pair):
    loop = pair()
    sent, _ = fill(loop)
    assert [number for number, _ in loop.consumer.take_back()] == sent


# Who takes what it is given


def test_who_takes_what_it_is_given_is_not_stuck(pair, clock):
    loop = pair()
    assert not loop.consumer.watched
    loop.give(job(1))
    assert loop.consumer.watched
    loop.packet()
    clock.now += 1
    loop.consumer.look(clock.now)
    assert (loop.consumer.stuck, loop.consumer.watched) == (False, False)


def test_who_does_not_take_it_is_stuck_after_a_moment(pair, clock):
    loop = pair()
    loop.give(job(1))
    clock.now += 0.019
    loop.consumer.look(clock.now)
    assert not loop.consumer.stuck
    clock.now += 0.002
    loop.consumer.look(clock.now)
    assert loop.consumer.stuck
    loop.packet()
    loop.consumer.look(clock.now)
    assert (loop.consumer.stuck, loop.consumer.watched) == (False, False)


def test_the_moment_begins_with_the_first_that_is_not_taken(pair, clock):
    loop = pair()
    for _ in range(3):
        loop.give(job(1))
        clock.now += 0.011
    loop.consumer.look(clock.now)
    assert loop.consumer.stuck


def test_an_answer_gives_it_another_moment(pair, clock):
    loop = pair()
    loop.give(job(1), job(2))
    loop.packet()
    clock.now += 1
    loop.consumer.look(clock.now)
    assert loop.consumer.stuck
    loop.consumer.answered()
    assert not loop.consumer.stuck
    clock.now += 0.019
    loop.consumer.look(clock.now)
    assert not loop.consumer.stuck
    clock.now += 0.002
    loop.consumer.look(clock.now)
    assert loop.consumer.stuck


def test_a_full_socket_is_no_longer_stuck_once_all_is_taken(pair, clock):
    loop = pair()
    fill(loop)
    loop.consumer.look(clock.now)
    assert loop.consumer.stuck
    loop.all_packets()
    loop.consumer.look(clock.now)
    assert not loop.consumer.stuck


def test_a_probe_tells_that_a_stuck_loop_goes_on(pair, clock):
    loop = pair()
    loop.give(job(1))
    clock.now += 1
    loop.consumer.look(clock.now)
    assert loop.consumer.take_back() == [(1, b"message")]
    loop.consumer.probe()
    for _ in range(3):
        loop.consumer.look(clock.now)
        assert (loop.consumer.stuck, loop.consumer.probed, loop.consumer.watched) == (True, True, True)
        clock.now += 0.001
    assert loop.packet() == [Frame(PROBE, 0, b"")]
    loop.consumer.look(clock.now)
    assert (loop.consumer.stuck, loop.consumer.probed, loop.consumer.watched) == (False, False, False)


def test_a_probe_is_not_taken_back_as_a_request(pair, clock):
    loop = pair()
    loop.consumer.probe()
    loop.give(job(1))
    assert not loop.consumer.probed
    assert loop.consumer.take_back() == [(1, b"message")]


def test_who_has_just_answered_is_swift(pair, clock):
    loop = pair()
    assert not loop.consumer.swift
    loop.consumer.answered()
    assert loop.consumer.swift
    clock.now += 0.0019
    assert loop.consumer.swift
    clock.now += 0.0002
    assert not loop.consumer.swift


@pytest.mark.parametrize("cores, limit", [(1, 8), (2, 8), (8, 8), (100, 100)])
def test_few_are_given_ahead(pair, cores, limit):
    assert pair(cores).consumer.limit == limit


# The stream


def test_frames_of_the_loop_are_read_as_they_come(pair):
    loop = pair()
    with pytest.raises(BlockingIOError):
        loop.consumer.read()
    data = frame(PIECE, 1, b"piece") + frame(LAST, 1, b"last")
    loop.stream.send(data[:10])
    assert loop.consumer.read() == []
    loop.stream.send(data[10:] + frame(END, 2))
    assert loop.consumer.read() == [Frame(PIECE, 1, b"piece"), Frame(LAST, 1, b"last"), Frame(END, 2, b"")]


def test_what_was_sent_before_the_end_is_read(pair):
    loop = pair()
    loop.stream.send(frame(LAST, 1, b"last"))
    loop.stream.close()
    assert loop.consumer.read() == [Frame(LAST, 1, b"last")]
    assert loop.consumer.read() is None
    assert loop.consumer.read() is None


def test_a_loop_that_ends_with_unread_words_has_ended(pair):
    """The kernel tells of a reset then."""
    loop = pair()
    loop.consumer.say(GONE, 1)
    loop.stream.close()
    assert loop.consumer.read() is None


def test_the_stream_is_written_as_there_is_room(pair):
    loop = pair()
    loop.consumer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    said = [Frame(GONE, number, b"x" * 1000) for number in range(100)]
    for each in said:
        loop.consumer.say(*each)
    assert loop.consumer.writes
    assert loop.said() == said
    loop.consumer.farewell()
    assert loop.said() == [Frame(FAREWELL, 0, b"")]
    assert loop.consumer.released


def test_nothing_waits_for_a_loop_that_has_gone(pair):
    loop = pair()
    loop.consumer.say(GONE, 1, b"x" * 5_000_000)
    assert loop.consumer.writes
    loop.stream.close()
    loop.consumer.write()
    assert not loop.consumer.writes
    loop.consumer.say(GONE, 2)
    assert not loop.consumer.writes


def test_everything_is_released():
    before = set(os.listdir("/proc/self/fd"))
    loop = Pair(1)
    assert loop.consumer.life >= 0
    loop.close()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_process_that_has_gone_already_is_known_by_its_stream(pair):
    child = subprocess.Popen(["true"])
    child.wait()
    ours, theirs = socket.socketpair()
    packets = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made = Consumer(child.pid, 1, [each.detach() for each in (*packets, ours)])
    assert made.life == -1
    theirs.close()
    assert made.read() is None
    made.close()


def test_frames_count_for_their_job_as_long_as_they_wait(pair):
    """Each by itself, also where the loop is never through with all."""
    made = pair()
    consumer, block = made.consumer, bytes(1_000_000)
    one, other = job(1), job(2)
    consumer.pass_on(one, b"small")
    assert one.ahead == 0, "what the kernel has taken is not counted"
    consumer.pass_on(one, block)
    consumer.pass_on(other, block)
    consumer.pass_on(one, block)
    assert (one.ahead, other.ahead) == (2 * len(block), len(block))
    seen = [(2, 1)]
    while one.ahead:
        made.stream.recv(1 << 16)
        consumer.write()
        if (counts := (one.ahead // len(block), other.ahead // len(block))) != seen[-1]:
            seen.append(counts)
            consumer.pass_on(other, block)
            seen.append((counts[0], counts[1] + 1))
    assert seen == [(2, 1), (1, 1), (1, 2), (1, 1), (1, 2), (0, 2), (0, 3)]
    assert consumer.writes


def test_frames_of_a_loop_that_has_gone_count_no_more(pair):
    made = pair()
    one = job(1)
    made.consumer.pass_on(one, bytes(1_000_000))
    assert one.ahead
    made.stream.close()
    made.consumer.pass_on(one, b"x")
    assert one.ahead == 0
