"""Which loop gets which request: examples, and a state machine that compares with a model."""

from __future__ import annotations

from collections import deque
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appserver.listeners.dispatch import Dispatch
from appserver.listeners.turns import PIPELINED, REMEMBERED


class Loop:
    """Stands for a consumer: what the dispatch asks of one."""

    def __init__(self, cores=1, limit=None):
        self.cores = cores
        self.limit = limit or max(cores, 3)
        self.in_hand = 0
        self.stuck = self.leaving = self.released = self.swift = False

    @property
    def free(self):
        return self.in_hand < self.cores and not self.stuck and not self.leaving


def client(number):
    return b"uuid", b"%d" % number


def dispatch(*loops, limit=100):
    made = Dispatch(limit)
    made.consumers += loops
    return made


def add(made, *numbers):
    return [made.add(client(number), b"%d" % number, 1) for number in numbers]


def dealt(made):
    return [(job.message, job.consumer) for job in made.deal()]


def numbers(made):
    return [job.number for job in made.deal()]


def test_what_no_loop_gets_is_discarded():
    """What one has had is its own affair, and what is refused in its turn need not be kept for that."""
    discarded = []
    made = Dispatch(2, discarded.append)
    made.consumers.append(Loop())
    add(made, 1)
    assert dealt(made)
    assert add(made, 2, 3) == [True, True]
    assert discarded == []
    assert add(made, 4, 2) == [False, True]
    assert discarded == [b"4", b"2"]
    made.closed(client(9))
    add(made, 9)
    assert discarded[2:] == [b"9"]
    made.refuse_all()
    assert sorted(discarded[3:]) == [b"2", b"3"]
    add(made, 5, 1)
    made.lose_all()
    assert sorted(discarded[5:]) == [b"1", b"5"]
    made.lose_all()
    assert len(discarded) == 7


# Who gets what


def test_nobody_gets_anything_without_loops():
    made = dispatch()
    assert add(made, 1, 2) == [True, True]
    assert dealt(made) == []
    assert (made.size, made.idle()) == (2, False)


def test_the_least_busy_gets_the_next_in_proportion_to_its_cores():
    small, large = Loop(1), Loop(3)
    made = dispatch(small, large)
    add(made, 1, 2, 3, 4, 5)
    assert sorted(consumer.cores for _, consumer in dealt(made)) == [1, 3, 3, 3]
    assert (small.in_hand, large.in_hand, made.size) == (1, 3, 1)


def test_of_two_that_are_equally_busy_it_is_their_turn():
    loops = [Loop(8) for _ in range(3)]
    made = dispatch(*loops)
    add(made, *range(9))
    assert [consumer for _, consumer in dealt(made)] == loops * 3


def test_an_idle_one_is_before_one_that_has_room():
    busy, idle = Loop(10), Loop(1)
    made = dispatch(busy, idle)
    add(made, 1)
    assert dealt(made) == [(b"1", busy)]
    add(made, 2)
    assert dealt(made) == [(b"2", idle)]


@pytest.mark.parametrize("why", ["stuck", "leaving"])
def test_who_is_stuck_or_leaving_gets_nothing(why):
    loop = Loop(5)
    made = dispatch(loop)
    setattr(loop, why, True)
    loop.swift = True
    add(made, 1)
    assert dealt(made) == []
    assert not made.idle()
    setattr(loop, why, False)
    assert made.idle()
    assert dealt(made) == [(b"1", loop)]


def test_who_is_leaving_gets_the_rest_while_all_are():
    leaving, stuck = Loop(), Loop()
    leaving.leaving = stuck.leaving = stuck.stuck = True
    made = dispatch(leaving, stuck)
    made.draining = True
    add(made, 1, 2)
    assert made.idle()
    assert dealt(made) == [(b"1", leaving)]


def test_who_has_been_released_gets_nothing_any_more():
    loop = Loop()
    loop.leaving = loop.released = True
    made = dispatch(loop)
    made.draining = True
    add(made, 1)
    assert dealt(made) == []


def test_who_has_just_answered_gets_a_few_ahead():
    slow, swift = Loop(1), Loop(1)
    made = dispatch(slow, swift)
    add(made, *range(6))
    assert len(dealt(made)) == 2
    assert dealt(made) == []
    swift.swift = True
    assert dealt(made) == [(b"2", swift), (b"3", swift)]
    assert swift.in_hand == swift.limit == 3
    assert dealt(made) == []


# The order of a connection


def test_one_connection_has_one_request_at_a_time():
    loop = Loop(10)
    made = dispatch(loop, Loop(10))
    assert add(made, 1, 1, 2, 1) == [True] * 4
    assert numbers(made) == [1, 3]
    made.finish(1)
    assert numbers(made) == [2]
    made.finish(3)
    assert numbers(made) == []
    made.finish(2)
    assert numbers(made) == [4]
    made.finish(4)
    assert (made.size, made.jobs, loop.in_hand) == (0, {}, 0)


def test_the_next_of_a_connection_goes_to_the_same_loop_while_that_has_room():
    first, second = Loop(2), Loop(2)
    made = dispatch(first, second)
    add(made, 1, 1, 1)
    (job,) = made.deal()
    assert job.consumer is first
    first.in_hand = 2  # one besides
    made.finish(job.number)
    (job,) = made.deal()
    assert job.consumer is first, "though the other one has less to do"
    first.in_hand = 3  # no room when this has ended
    made.finish(job.number)
    (job,) = made.deal()
    assert job.consumer is second


def test_others_do_not_wait_for_a_connection():
    made = dispatch(Loop(2))
    add(made, 1, 1, 1, 2)
    assert numbers(made) == [1, 4]


# Too many


def test_what_is_too_much_is_refused_at_once():
    made = dispatch(limit=2)
    assert add(made, 1, 2, 3) == [True, True, False]
    assert made.size == 2


def test_what_is_too_much_of_a_connection_is_refused_in_its_turn():
    loop = Loop(1)
    made = dispatch(loop, limit=1)
    add(made, 1)
    assert numbers(made) == [1]
    assert add(made, 2, 1, 1) == [True, True, True]
    assert numbers(made) == []
    made.finish(1)
    found = [(job.number, job.refused) for job in made.deal()]
    assert found == [(2, False), (3, True)]  # which ends the connection, and with it what is behind
    assert (made.size, list(made.jobs)) == (0, [2])
    assert add(made, 1) == [True]


def test_a_client_may_have_so_many_requests_waiting():
    """Another has room, however many one of them sends."""
    made = dispatch(limit=1000)
    assert add(made, *[1] * 150) == [True] * 150
    assert add(made, 2) == [True]
    made.consumers.append(Loop(200))
    found = []
    while made.size:
        found += list(made.deal())
        for number in list(made.jobs):
            made.finish(number)
    one = [job for job in found if job.connection == client(1)]
    assert [job.refused for job in one if not job.gone] == [False] * PIPELINED + [True]
    assert sum(job.gone for job in one) == 49


def test_what_follows_the_end_of_a_connection_is_only_logged():
    made = dispatch(Loop(4), limit=4)
    add(made, 1, 1)
    assert numbers(made) == [1]
    made.closed(client(1))
    made.finish(1)
    assert add(made, 1, 2) == [True, True]
    assert [(job.number, job.gone) for job in made.deal()] == [(2, True), (3, True), (4, False)]
    made.lose_all()
    add(made, 1)
    assert [job.gone for job in made.deal()] == [False]


@pytest.mark.parametrize("by", ["reads", "disconnect", "closed"])
def test_the_next_of_a_slow_client_waits_until_it_reads_or_is_gone(by):
    made = dispatch(Loop(4))
    add(made, 1, 1, 2)
    assert numbers(made) == [1, 3]
    made.finish(1, slow=True)
    assert (numbers(made), made.size) == ([], 1)
    getattr(made, by)(client(2))
    assert numbers(made) == []
    getattr(made, by)(client(1))
    assert [(job.number, job.gone) for job in made.deal()] == [(2, by != "reads")]
    getattr(made, by)(client(1))
    made.finish(2)
    assert (made.size, list(made._lines)) == (0, [client(2)])


def test_what_a_slow_client_has_been_answered_is_not_refused():
    made = dispatch(Loop(4))
    add(made, 1, 1)
    numbers(made)
    made.finish(1, slow=True)
    assert [job.number for job in made.refuse_all()] == [2]


def test_of_ended_connections_the_latest_are_remembered():
    made = dispatch(limit=1)
    for number in range(REMEMBERED + 1):
        made.closed(client(number))
    assert len(made._closed) == REMEMBERED
    add(made, 0)
    assert made.size == 1
    assert made._lines


def test_a_refused_request_keeps_no_message():
    made = dispatch(Loop(1), limit=1)
    add(made, 1)
    numbers(made)
    add(made, 2)
    made.add(client(1), b"x" * 1000, 1)
    made.finish(1)
    assert [job.message for job in made.deal()] == [b"2", b""]


def test_what_comes_after_a_refused_one_is_served_in_its_turn():
    loop = Loop(2)
    made = dispatch(loop, limit=1)
    add(made, 1)
    numbers(made)
    add(made, 1, 1)  # the second one is refused
    made.finish(1)
    assert numbers(made) == [2]
    assert made.size == 1
    assert add(made, 3) == [False]
    made.finish(2)
    assert numbers(made) == [3]
    assert add(made, 1) == [True]
    assert [job.refused for job in made.deal()] == [False]


# Taken back


def test_what_is_taken_back_comes_first_and_in_its_order():
    first, second = Loop(3), Loop(3)
    made = dispatch(first)
    add(made, 1, 2, 3, 4)
    given = list(made.deal())
    messages = [(job.number, job.message) for job in given]
    for job in given:
        job.message = b""  # as the consumer does
    made.take_back(iter(messages[1:]))
    assert (made.size, first.in_hand, list(made.jobs)) == (3, 1, [1])
    first.stuck = True
    made.consumers.append(second)
    assert dealt(made) == [(b"2", second), (b"3", second), (b"4", second)]


def test_what_is_taken_back_keeps_its_place_on_its_connection():
    loop = Loop(3)
    made = dispatch(loop)
    add(made, 1, 1)
    assert numbers(made) == [1]
    made.take_back([(1, b"1")])
    assert made.holder(client(1)) is None
    assert numbers(made) == [1]
    assert numbers(made) == []
    made.finish(1)
    assert numbers(made) == [2]


def test_nothing_can_be_taken_back_that_has_ended():
    made = dispatch(Loop())
    add(made, 1)
    numbers(made)
    made.finish(1)
    made.take_back([(1, b"1"), (77, b"x")])
    assert (made.size, dealt(made)) == (0, [])


def test_nothing_ends_twice():
    loop = Loop()
    made = dispatch(loop)
    add(made, 1)
    numbers(made)
    assert made.finish(1).message == b"1"
    assert made.finish(1) is None
    assert loop.in_hand == 0


# Those who leave


def test_a_client_that_has_left_is_noted_wherever_its_requests_are():
    made = dispatch(Loop())
    add(made, 1, 1, 2)
    (job,) = made.deal()
    made.disconnect(client(1))
    made.disconnect(client(99))
    assert job.gone
    made.finish(1)
    assert [(job.number, job.gone) for job in made.deal()] == [(3, False)]
    made.finish(3)
    assert [(job.number, job.gone) for job in made.deal()] == [(2, True)]


def test_the_holder_of_a_connection_is_the_request_that_a_loop_has():
    made = dispatch(Loop())
    add(made, 1, 1)
    assert made.holder(client(1)) is None
    (job,) = made.deal()
    assert made.holder(client(1)) is job
    made.finish(1)
    assert made.holder(client(1)) is None
    assert made.holder(client(2)) is None


def test_a_mongrel2_that_has_left_takes_its_clients_with_it():
    loop = Loop(2)
    made = dispatch(loop)
    add(made, 1, 2, 3, 1)
    numbers(made)
    lost = made.lose_all()
    assert [(job.number, job.gone) for job in lost] == [(1, True), (2, True)]
    assert (made.size, dealt(made)) == (0, [])
    made.add(client(1), b"new", 2)  # the next Mongrel2 numbers its clients anew
    made.finish(1)
    (job,) = made.deal()
    assert (job.message, job.gone, job.attachment) == (b"new", False, 2)
    made.finish(2)
    assert made.holder(client(1)) is job
    made.finish(job.number)
    assert loop.in_hand == 0


def test_what_a_lost_mongrel2_had_asked_for_can_be_taken_back_and_ends():
    loop = Loop(2)
    made = dispatch(loop)
    add(made, 1)
    numbers(made)
    made.lose_all()
    made.add(client(1), b"new", 2)
    made.take_back([(1, b"1")])
    assert made.size == 2
    assert [(job.number, job.gone) for job in made.deal()] == [(1, True), (2, False)]
    made.finish(1)
    made.finish(2)
    assert (made.size, loop.in_hand, made.jobs) == (0, 0, {})


def test_all_that_waits_can_be_refused():
    made = dispatch(Loop())
    add(made, 1, 1, 2, 3)
    numbers(made)
    assert [job.number for job in made.refuse_all()] == [2, 3, 4]
    assert (made.size, dealt(made)) == (0, [])
    made.finish(1)
    assert add(made, 1) == [True]
    assert numbers(made) == [5]


def test_the_requests_of_a_loop():
    first, second = Loop(2), Loop(2)
    made = dispatch(first, second)
    add(made, 1, 2, 3)
    numbers(made)
    assert [job.number for job in made.of(first)] == [1, 3]
    assert [job.number for job in made.of(second)] == [2]
    assert made.of(Loop()) == []


# The model

CLIENTS = st.integers(1, 4)
PICK = st.integers(0, 50)


class Entry:
    """A request as the model sees it."""

    def __init__(self, line, message, refused):
        self.line = line
        self.message = message
        self.refused = refused
        self.gone = False
        self.number = None  # once it has been dealt


class Dealing(RuleBasedStateMachine):
    """Everything that can happen to a dispatch, in any order."""

    def __init__(self):
        super().__init__()
        self.dispatch = Dispatch(5)
        self.messages = count(1)
        self.attachment = 1
        self.lines = {}  # deques of entries, by client: the first may be in hand
        self.given = {}  # entries in hand, by number
        self.strays = []  # in no line: taken back after Mongrel2 has left, or behind the end of a connection
        self.closed = set()
        self.ended = set()
        self.slow = set()  # numbers of answered ones, whose clients have not read enough

    @property
    def waiting(self):
        in_lines = [each for line in self.lines.values() for each in line if not self._had(each)]
        return in_lines + self.strays

    def _had(self, entry):
        return entry in self.given.values() or entry.number in self.slow

    @rule(cores=st.integers(1, 4))
    def join(self, cores):
        if len(self.dispatch.consumers) < 4:
            self.dispatch.consumers.append(Loop(cores))

    @rule(number=CLIENTS)
    def add(self, number):
        message = b"message %d" % next(self.messages)
        room = len(self.waiting) < self.dispatch.limit
        line = self.lines.get(number)
        behind = number in self.closed or (line is not None and line[-1].refused)
        taken = self.dispatch.add(client(number), message, self.attachment)
        assert taken == (room or behind or line is not None)
        if behind:
            if len(self.waiting) < self.dispatch.limit // 2:
                self.strays.append(Entry(number, message, refused=False))
                self.strays[-1].gone = True
                self.strays[-1].number = self.dispatch._ready[-1].number
        elif line is not None or room:
            self.lines.setdefault(number, deque()).append(Entry(number, message, not room))

    @rule()
    def deal(self):
        for job in self.dispatch.deal():
            entry = self._expected(job)
            assert (job.gone, job.refused) == (entry.gone, entry.refused)
            if job.refused:
                assert job.message == b""
                self._ended(entry)
                continue
            assert job.message == entry.message
            assert job.number not in self.ended
            consumer = job.consumer
            assert not consumer.stuck
            assert not consumer.leaving or self.dispatch.draining
            before = consumer.in_hand - 1
            if before < consumer.cores:
                others = [
                    each for each in self.dispatch.consumers if each is not consumer and self._free(each)
                ]
                best = min((each.in_hand / each.cores for each in others), default=1)
                assert consumer is job.before or before / consumer.cores <= best
            else:
                assert consumer.swift
                assert before < consumer.limit
                assert not any(self._free(each) for each in self.dispatch.consumers)
            entry.number = job.number
            self.given[job.number] = entry
            job.message = b""
        heads = [line[0] for line in self.lines.values() if not self._had(line[0])]
        if heads or self.strays:
            assert not any(self._free(each) for each in self.dispatch.consumers)

    def _free(self, each):
        if each.leaving and not self.dispatch.draining:
            return False
        return not each.stuck and each.in_hand < each.cores

    def _expected(self, job):
        for stray in self.strays:
            if stray.number == job.number:
                self.strays.remove(stray)
                return stray
        entry = self.lines[int(job.connection[1])][0]
        assert not self._had(entry), "one at a time"
        return entry

    def _ended(self, entry):
        line = self.lines.get(entry.line)
        if line and line[0] is entry:
            line.popleft()
            if not line:
                del self.lines[entry.line]

    @precondition(lambda self: self.given)
    @rule(pick=PICK, slow=st.booleans())
    def finish(self, pick, slow):
        number = sorted(self.given)[pick % len(self.given)]
        self._finish(number, slow=slow and not self.given[number].gone)

    def _finish(self, number, *, slow=False):
        entry = self.given.pop(number)
        job = self.dispatch.finish(number, slow=slow)
        assert (job.number, job.gone) == (number, entry.gone)
        self.ended.add(number)
        if slow:
            self.slow.add(number)
        else:
            self._ended(entry)
        assert self.dispatch.finish(number) is None

    @rule(number=CLIENTS)
    def read(self, number):
        self.dispatch.reads(client(number))
        self._read(number)

    def _read(self, number):
        line = self.lines.get(number)
        if line and line[0].number in self.slow:
            self._ended(line[0])

    def _take_back(self, found):
        self.dispatch.take_back([(number, self.given[number].message) for number in found])
        for number in found:
            entry = self.given.pop(number)
            line = self.lines.get(entry.line)
            if not line or line[0] is not entry:
                self.strays.append(entry)

    @precondition(lambda self: self.given)
    @rule(pick=PICK, number=st.integers(1, 4))
    def take_back(self, pick, number):
        consumer = self.dispatch.consumers[pick % len(self.dispatch.consumers)]
        self._take_back([job.number for job in self.dispatch.of(consumer)][-number:])

    @precondition(lambda self: self.dispatch.consumers)
    @rule(pick=PICK, unread=st.integers(0, 3))
    def die(self, pick, unread):
        consumer = self.dispatch.consumers[pick % len(self.dispatch.consumers)]
        if unread:
            self._take_back([job.number for job in self.dispatch.of(consumer)][-unread:])
        self.dispatch.consumers.remove(consumer)
        for job in self.dispatch.of(consumer):
            self._finish(job.number)
        assert consumer.in_hand == 0

    @precondition(lambda self: self.dispatch.consumers)
    @rule(pick=PICK, what=st.sampled_from(["stuck", "leaving", "swift"]), value=st.booleans())
    def change(self, pick, what, value):
        setattr(self.dispatch.consumers[pick % len(self.dispatch.consumers)], what, value)

    @rule(number=CLIENTS)
    def disconnect(self, number):
        self.dispatch.disconnect(client(number))
        for entry in self.lines.get(number, ()):
            entry.gone = True
        self._read(number)

    @rule(number=CLIENTS)
    def close(self, number):
        self.dispatch.closed(client(number))
        self.closed.add(number)
        for entry in self.lines.get(number, ()):
            entry.gone = True
        self._read(number)

    @rule()
    def lose_all(self):
        assert {job.number for job in self.dispatch.lose_all()} == set(self.given)
        for entry in self.given.values():
            entry.gone = True
        self.lines.clear()
        self.strays.clear()
        self.closed.clear()
        self.attachment += 1

    @rule()
    def refuse_all(self):
        expected = [each for each in self.waiting if each not in self.strays]
        refused = self.dispatch.refuse_all()
        assert sorted(job.message for job in refused) == sorted(
            b"" if each.refused else each.message for each in expected
        )
        self.strays.clear()
        self.lines = {
            each.line: deque([each])
            for each in self.given.values()
            if not each.gone and self.lines.get(each.line, [None])[0] is each
        }

    @rule()
    def drain(self):
        self.dispatch.draining = True

    @invariant()
    def counts_are_right(self):
        assert self.dispatch.size == len(self.waiting)
        kept = [each for each in self.waiting if not each.refused]
        assert len(kept) <= self.dispatch.limit + 16, "what is taken back was dealt before others came"
        assert set(self.dispatch.jobs) == set(self.given)
        for consumer in self.dispatch.consumers:
            assert consumer.in_hand == len(self.dispatch.of(consumer)) <= consumer.limit
        for number in range(1, 5):
            holder = self.dispatch.holder(client(number))
            line = self.lines.get(number)
            first = line[0].number if line and line[0] in self.given.values() else None
            assert (holder.number if holder else None) == first

    def teardown(self):
        """In the end everything is answered once."""
        for consumer in self.dispatch.consumers:
            consumer.stuck = consumer.leaving = False
        self.dispatch.consumers.append(Loop(10))
        for number in list(self.lines):
            self.read(number)
        while self.waiting or self.given:
            self.deal()
            for number in list(self.given):
                self._finish(number)
        assert (self.dispatch.size, self.dispatch.jobs, self.lines) == (0, {}, {})


Dealing.TestCase.settings = settings(max_examples=300, stateful_step_count=40)
TestDealing = Dealing.TestCase
