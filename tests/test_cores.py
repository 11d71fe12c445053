"""Cores by themselves, with tasks that only tell when they run."""

from __future__ import annotations

import gc
import logging
import socket
import sys
import threading
import weakref
from contextvars import ContextVar
from functools import partial
from itertools import count
from types import SimpleNamespace

import gevent
import pytest
from gevent import get_hub, getcurrent
from gevent.event import Event
from gevent.exceptions import BlockingSwitchOutError

from appserver.cores.contract import CORE, DONE, IN_HAND
from appserver.cores.greenlets import GreenletCores
from appserver.cores.threads import ThreadCores
from appserver.fairqueue import QueueOptions
from appserver.interrupt import spoilt

marks = count()


class Task:
    """Note in *told* what happens; `work` waits for *until* where that is given."""

    x = None

    def __init__(self, name, told, until=None, listener=None, after=None):
        self.name = name
        self.told = told
        self.until = until
        self.listener = listener
        self.after = after  # called when it is done
        self.core = None  # its mark: who knows a core has it for himself

    def work(self):
        self.core = vars(getcurrent()).setdefault("mark", next(marks))
        self.told.append(self.name)
        if self.until is not None:
            self.until.wait()

    def refuse(self, error):
        self.told.append(f"{self.name} refused: {error.status[:3]}")

    def abort(self):
        self.told.append(f"{self.name} aborted")

    def done(self):
        self.told.append(f"{self.name} done")
        if self.after is not None:
            self.after()

    def cut(self):
        self.told.append(f"{self.name} cut")


@pytest.fixture
def started():
    """Make cores, and take them down."""
    made = []

    def start(count, load=None, max_queue=1000):
        cores = GreenletCores(count, load or [0, 0], QueueOptions(max_queue=max_queue))
        made.append(cores)
        return cores

    yield start
    for cores in made:
        cores.stop()


def in_one_turn(call):
    """Call in the hub, as watchers are called, and return what that returned when the turn is over."""
    returned = []
    timer = get_hub().loop.timer(0)
    timer.start(lambda: returned.append(call()))
    turns(2)
    timer.close()
    return returned[0]


def turns(count):
    for _ in range(count):
        gevent.sleep(1e-9)  # a timer


def followed(name, ended):
    """Return a task whose end is told."""
    task = Task(name, [])
    weakref.finalize(task, ended.append, name)
    return task


def read_all_locals():
    frame = sys._getframe()
    while frame is not None:
        frame.f_locals  # noqa: B018  (the frame keeps what it answers)
        frame = frame.f_back


class TestThoseOfOneTurn:
    def test_the_first_runs_at_once_and_the_others_when_all_have_come(self, started):
        cores, told = started(1), []

        def come():
            for name in "abc":
                cores.run_soon(Task(name, told))
            return list(told)

        assert in_one_turn(come) == ["a", "a done"]
        assert told == ["a", "a done", "b", "b done", "c", "c done"]

    def test_each_turn_has_its_first(self, started):
        cores, told = started(1), []
        for name in "abc":
            in_one_turn(lambda name=name: cores.run_soon(Task(name, told)))
            assert told[-2:] == [name, f"{name} done"]

    def test_one_core_runs_them_all(self, started):
        load, told = [0, 0], []
        cores = started(2, load)
        tasks = [Task(name, told) for name in "abcd"]
        in_one_turn(lambda: [cores.run_soon(task) for task in tasks])
        assert len({task.core for task in tasks}) == 1
        assert (load[DONE], load[IN_HAND]) == (4, 0)
        in_one_turn(lambda: [cores.run_soon(Task(name, told, Event())) for name in "efg"])
        assert told[8:] == ["e", "f"], "there are as many cores as before"

    def test_behind_one_that_waits_another_core_goes_on(self, started):
        cores, told, go = started(3), [], Event()
        tasks = [Task(name, told, go if name in "ac" else None) for name in "abcd"]
        in_one_turn(lambda: [cores.run_soon(task) for task in tasks])
        assert told == ["a", "b", "b done", "c", "d", "d done"]
        assert len({task.core for task in tasks}) == 3
        go.set()
        turns(2)
        assert told[6:] == ["a done", "c done"]

    def test_without_a_free_core_they_queue_up(self, started):
        load, told, go = [0, 0], [], Event()
        cores = started(2, load)
        in_one_turn(lambda: [cores.run_soon(Task(name, told, go)) for name in "abcd"])
        assert told == ["a", "b"]
        assert load[IN_HAND] == 4
        assert cores.full()
        go.set()
        turns(8)
        assert sorted(told) == ["a", "a done", "b", "b done", "c", "c done", "d", "d done"]
        assert (load[DONE], load[IN_HAND]) == (4, 0)

    def test_the_last_ones_are_refused_where_too_many_wait(self, started):
        told, go = [], Event()
        cores = started(1, max_queue=1)
        in_one_turn(lambda: [cores.run_soon(Task(name, told, go)) for name in "abcd"])
        turns(2)
        assert told == ["a", "c refused: 503", "c done", "d refused: 503", "d done"]
        go.set()
        turns(4)
        assert told[5:] == ["a done", "b", "b done"]

    def test_what_comes_while_they_run_is_for_the_next_turn(self, started):
        """A client that has sent many requests at once does not keep the others waiting."""
        cores, told, seen = started(1), [], []

        def another():
            get_hub().loop.run_callback(told.append, "callback")
            cores.run_soon(Task("b2", told))
            seen.append(list(told))

        in_one_turn(
            lambda: [
                cores.run_soon(task)
                for task in (Task("a", told), Task("b1", told, after=another), Task("c", told))
            ]
        )
        turns(2)
        assert seen == [["a", "a done", "b1", "b1 done"]]
        assert told == ["a", "a done", "b1", "b1 done", "c", "c done", "callback", "b2", "b2 done"]

    def test_one_that_waits_in_the_queue_goes_first(self, started):
        """A listener that always brings more does not keep another one's requests waiting."""
        cores, told = started(1), []
        second = Task("b", told, after=lambda: cores.run(Task("other", told, listener="other")))
        in_one_turn(lambda: [cores.run_soon(task) for task in (Task("a", told), second, Task("c", told))])
        turns(4)
        assert told == ["a", "a done", "b", "b done", "other", "other done", "c", "c done"]

    def test_who_waits_for_a_free_core_is_called_between_them(self, started):
        cores, told = started(1), []
        first = Task("b", told, after=lambda: cores.when_free(lambda: told.append("invited")))
        in_one_turn(lambda: [cores.run_soon(task) for task in (Task("a", told), first, Task("c", told))])
        turns(2)
        assert sorted(told) == ["a", "a done", "b", "b done", "c", "c done", "invited"]

    def test_a_stop_drops_them(self, started):
        cores, told = started(1), []

        def come():
            for name in "ab":
                cores.run_soon(Task(name, told))
            cores.stop()

        in_one_turn(come)
        turns(2)
        assert told == ["a", "a done"]


class TestAllOfASource:
    """What accepts, or reads from Mongrel2, gives one task after the other."""

    def test_one_core_fetches_and_runs_them(self, started):
        load, told, waiting = [0, 0], [], []
        cores = started(2, load)
        tasks = [Task(name, told) for name in "abc"]
        fetchers = []

        def source():
            fetchers.append(id(getcurrent()))  # not itself: one that is known runs nothing more
            return tasks[len(fetchers) - 1] if len(fetchers) <= len(tasks) else None

        in_one_turn(lambda: cores.run_all(source, waiting.append))
        assert told == ["a", "a done", "b", "b done", "c", "c done"]
        assert len(set(fetchers)) == len({task.core for task in tasks}) == 1
        assert fetchers[0] != id(get_hub())
        assert (load[DONE], load[IN_HAND], waiting) == (3, 0, [])
        assert cores._latest is None, "nothing is kept of the last one"

    def test_behind_one_that_waits_another_core_goes_on(self, started):
        load, told, go, waiting = [0, 0], [], Event(), []
        cores = started(3, load)
        tasks = [Task(name, told, go if name in "ac" else None) for name in "abcd"]
        left = list(tasks)
        in_one_turn(lambda: cores.run_all(lambda: left.pop(0) if left else None, waiting.append))
        assert told == ["a", "b", "b done", "c", "d", "d done"]
        assert waiting == [tasks[0], tasks[2]]
        assert load[IN_HAND] == 2
        go.set()
        turns(2)
        assert told[6:] == ["a done", "c done"]
        assert (load[DONE], load[IN_HAND]) == (4, 0)
        assert not cores.full()

    def test_what_finds_no_core_queues_up(self, started):
        told, go, waiting = [], Event(), []
        cores = started(1)
        tasks = [Task(name, told, go) for name in "abc"]
        left = list(tasks)
        in_one_turn(lambda: cores.run_all(lambda: left.pop(0) if left else None, waiting.append))
        assert told == ["a"]
        assert waiting == tasks
        go.set()
        turns(6)
        assert told == ["a", "a done", "b", "b done", "c", "c done"]

    def test_in_another_greenlet_than_the_hub_they_queue_up(self, started):
        told = []
        cores = started(1)
        left = [Task(name, told) for name in "ab"]
        cores.run_all(lambda: left.pop(0) if left else None)
        assert told == []
        turns(4)
        assert told == ["a", "a done", "b", "b done"]

    def test_a_source_that_fails_costs_no_core(self, started, caplog):
        load, told = [0, 0], []
        cores = started(1, load)
        left = [Task("a", told), None]

        def source():
            return left.pop(0) or 1 / 0

        in_one_turn(lambda: cores.run_all(source))
        assert told == ["a", "a done"]
        assert "ZeroDivisionError" in caplog.text
        in_one_turn(lambda: cores.run(Task("b", told)))
        assert told[2:] == ["b", "b done"]
        assert load[IN_HAND] == 0

    def test_what_goes_on_later_asks_the_source_no_more(self, started):
        told, go = [], Event()
        cores = started(2)
        left = [Task("a", told, go), None]
        in_one_turn(lambda: cores.run_all(lambda: left.pop(0)))
        left.append(Task("b", told))
        go.set()
        turns(3)
        assert told == ["a", "a done"]

    def test_one_within_another_leaves_that_its_rest(self, started):
        """A connection that ends makes room for another, which is accepted there."""
        told = []
        cores = started(2)
        inner = [Task("i", told), None]
        first = Task("a", told, after=lambda: cores.run_all(lambda: inner.pop(0)))
        left = [first, Task("b", told), Task("c", told), None]
        in_one_turn(lambda: cores.run_all(lambda: left.pop(0)))
        turns(4)
        assert sorted(told) == ["a", "a done", "b", "b done", "c", "c done", "i", "i done"]
        assert not left

    @pytest.mark.parametrize("name", ["b", "end"])
    def test_nothing_waits_in_the_source(self, started, name):
        """A `__del__` of the application's may want to, and another core would take what comes later first."""
        load, told, waiting, refused = [0, 0], [], [], []
        cores = started(3, load)
        tasks = {each: Task(each, told) for each in "abc"} | {"end": None}
        left = [*tasks]

        def source():
            found = left.pop(0)
            if found == name:
                for _ in range(3):
                    with pytest.raises(BlockingSwitchOutError):
                        gevent.sleep()
                    refused.append(getcurrent() is not get_hub())
            return tasks[found]

        in_one_turn(lambda: cores.run_all(source, waiting.append))
        assert told == ["a", "a done", "b", "b done", "c", "c done"]
        assert (load[DONE], load[IN_HAND], waiting) == (3, 0, [])
        assert refused == [True] * 3
        assert not cores.full()

    @pytest.mark.parametrize("of", ["the hub", "another greenlet"])
    def test_garbage_keeps_nobody_in_the_source(self, started, monkeypatch, of):
        """Its `__del__` may want to wait; who reads messages in a greenlet would have one that nobody runs."""
        told, refused = [], []
        monkeypatch.setattr(sys, "unraisablehook", lambda raised: refused.append(type(raised.exc_value)))
        cores = started(3)
        left = [Task("a", told), Task("b", told), None]

        class Litter:
            def __init__(self):
                self.itself = self

            def __del__(self):
                gevent.sleep()

        def source():
            Litter()
            gc.collect()
            return left.pop(0)

        if of == "the hub":
            in_one_turn(lambda: cores.run_all(source))
        else:
            reading = gevent.spawn(cores.run_all, source)
            turns(1)
            assert reading.ready()
            turns(3)
        assert told == ["a", "a done", "b", "b done"]
        assert refused == [BlockingSwitchOutError] * 3

    def test_who_fails_to_wait_ends_alone(self, started, caplog):
        told, go = [], Event()
        cores = started(2)
        left = [Task("a", told, go), Task("b", told), None]

        def waits(task):
            raise MemoryError

        in_one_turn(lambda: cores.run_all(lambda: left.pop(0), waits))
        assert told == ["a", "a cut", "b", "b done"]
        assert "MemoryError" in caplog.text
        go.set()
        turns(2)
        assert not cores.full()


class TestWhatARequestLeavesBehind:
    """Cores go from one request to the next; what belongs to one of them does not."""

    @pytest.mark.parametrize("error", [gevent.Timeout, gevent.GreenletExit, SystemExit])
    def test_what_is_raised_too_late_is_nobody_s(self, started, error):
        """As by a `gevent.Timeout` that nobody has cancelled, or `gevent.kill`."""
        load, told = [0, 0], []
        cores = started(1, load)
        known = Known("a", told)
        in_one_turn(lambda: cores.run(known))
        in_one_turn(lambda: known.known.throw(error()))
        in_one_turn(known.known.switch)
        del known.known  # it may serve others
        for name in "bc":
            in_one_turn(lambda name=name: cores.run(Task(name, told)))
        assert told == ["a", "a done", "b", "b done", "c", "c done"]
        assert (load[DONE], load[IN_HAND]) == (3, 0)

    def test_one_that_somebody_knows_serves_nobody_else(self, started):
        cores, told = started(1), []
        for name in "abc":
            in_one_turn(lambda name=name: cores.run(Task(name, told)))
        told.clear()
        tasks = [Known(name, told) for name in "abc"]
        for task in tasks:
            in_one_turn(lambda task=task: cores.run(task))
        assert len({task.known for task in tasks}) == 3
        assert len(list(cores.stacks())) == 1
        known = tasks[0].known
        in_one_turn(lambda: known.throw(ValueError()))
        assert known.dead
        assert told == ["a", "a done", "b", "b done", "c", "c done"]

    def test_the_first_request_is_no_exception(self, started):
        cores, told = started(1), []
        first = Known("a", told)
        in_one_turn(lambda: cores.run(first))
        in_one_turn(lambda: cores.run(Known("b", told)))
        in_one_turn(lambda: first.known.throw(ValueError()))
        assert first.known.dead
        assert told == ["a", "a done", "b", "b done"]

    def test_one_that_is_known_no_more_ends(self, started):
        cores, ended = started(1), []
        for number in range(3):
            task = Known("a", [])
            in_one_turn(lambda task=task: cores.run(task))
            weakref.finalize(task.known, ended.append, number)
        in_one_turn(lambda: cores.run(Task("b", [])))
        del task
        gc.collect()
        assert sorted(ended) == [0, 1, 2]

    def test_who_reads_all_locals_does_not_know_it(self, started):
        """As those do who report errors with them."""
        cores = started(1)
        tasks = [Task(name, []) for name in "abcd"]
        tasks[2].until = SimpleNamespace(wait=read_all_locals)
        for task in tasks:
            in_one_turn(lambda task=task: cores.run(task))
        assert len({task.core for task in tasks}) == 1

    def test_an_idle_core_keeps_nothing_of_a_request(self, started):
        cores, ended = started(2), []
        in_one_turn(lambda: [cores.run(followed(name, ended)) for name in "ab"])
        in_one_turn(lambda: [cores.run_soon(followed(name, ended)) for name in "cdef"])
        assert sorted(ended) == list("abcdef")

    def test_one_in_which_a_call_was_ended_serves_nobody_else(self, started):
        cores, tasks = started(2), [Task(name, []) for name in "abcdef"]
        tasks[1].until = tasks[4].until = SimpleNamespace(wait=lambda: spoilt.add(getcurrent()))
        for task in tasks[:3]:
            in_one_turn(lambda task=task: cores.run(task))
        in_one_turn(lambda: [cores.run_soon(task) for task in tasks[3:]])
        a, b, c, d, e, f = (task.core for task in tasks)
        assert a == b != c
        assert c == d == e != f
        in_one_turn(lambda: cores.run(Task("g", [])))
        assert not spoilt

    def test_a_thread_that_one_core_has_for_itself_keeps_what_a_new_one_would(self, started):
        cores, told, own, made = started(1), [], threading.local(), Made([])

        def work():
            told.append((getattr(own, "value", None), made.value, list(made.list), made.given))
            own.value = made.value = 1
            made.list.append(1)
            if len(told) == 2:
                spoilt.add(getcurrent())

        hub = get_hub()
        for _ in range(4):
            task = Task("", [])
            task.work = work
            in_one_turn(lambda task=task: cores.run(task))
        assert told == [(None, 0, [], []), (1, 1, [1], []), (None, 0, [], []), (1, 1, [1], [])]
        assert get_hub() is hub

    def test_one_that_somebody_knows_does_not_go_on_with_the_next_of_a_turn(self, started):
        cores, tasks = started(2), [Task("a", []), Known("b", []), Task("c", []), Task("d", [])]
        in_one_turn(lambda: [cores.run_soon(task) for task in tasks])
        a, b, c, d = (task.core for task in tasks)
        assert a == b != c == d

    def test_cores_have_numbers(self, started):
        cores, until = started(3), Event()
        tasks = [Known(name, [], until) for name in "abc"]
        for task in tasks:
            in_one_turn(lambda task=task: cores.run(task))
        assert [getattr(task.known, CORE) for task in tasks] == [1, 2, 3]
        until.set()
        turns(2)
        known = Known("d", [])
        in_one_turn(lambda: cores.run(known))
        assert known.known not in [task.known for task in tasks]
        assert getattr(known.known, CORE) in {1, 2, 3}, "it has the number of the one in whose place it is"

    def test_one_that_nobody_knows_serves_the_next(self, started):
        cores, told = started(1), []
        tasks = [Task(name, told) for name in "abc"]
        for task in tasks:
            in_one_turn(lambda task=task: cores.run(task))
        assert len({task.core for task in tasks}) == 1

    def test_context_variables(self, started):
        cores, told = started(1), []
        tasks = [Setting(name, told) for name in "abcde"]
        for task in tasks[:2]:
            in_one_turn(lambda task=task: cores.run(task))
        in_one_turn(lambda: [cores.run_soon(task) for task in tasks[2:]])
        assert told == ["none"] * 5
        assert len({task.core for task in tasks}) == 1

    def test_an_error(self, started, caplog):
        load, told = [0, 0], []
        cores = started(1, load)
        in_one_turn(lambda: cores.run(Task("a", told, after=lambda: 1 / 0)))
        in_one_turn(lambda: cores.run(Task("b", told)))
        assert told == ["a", "a done", "a cut", "b", "b done"]
        assert (load[DONE], load[IN_HAND]) == (2, 0)
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert record.exc_info[0] is ZeroDivisionError


class Failing(Task):
    """Raise wherever it can: *error* in `work` and in `refuse`."""

    def __init__(self, name, told, *, ended=False, error=ZeroDivisionError):
        super().__init__(name, told, after=lambda: 1 / 0)
        self.x = SimpleNamespace(ended=ended, environ={})
        self.error = error

    def work(self):
        super().work()
        raise self.error

    def refuse(self, error):
        super().refuse(error)
        raise self.error

    def cut(self):
        super().cut()
        raise ZeroDivisionError


class TestWhatRaises:
    @pytest.mark.parametrize("error", [ZeroDivisionError, gevent.Timeout, SystemExit])
    def test_a_task(self, started, error):
        load, told = [0, 0], []
        cores = started(1, load)
        in_one_turn(lambda: [cores.run_soon(Failing(name, told, error=error)) for name in "ab"])
        in_one_turn(lambda: cores.run(Task("c", told)))
        ended = [f"{name}{what}" for name in "ab" for what in ("", " aborted", " done", " cut")]
        assert told == [*ended, "c", "c done"]
        assert (load[DONE], load[IN_HAND]) == (3, 0)

    def test_behind_a_whole_answer(self, started):
        """Nothing is missing."""
        told = []
        in_one_turn(lambda: started(1).run(Failing("a", told, ended=True)))
        assert told == ["a", "a done", "a cut"]

    def test_one_that_is_refused(self, started):
        load, told, opened = [0, 0], [], Event()
        cores = started(1, load, max_queue=0)
        in_one_turn(lambda: cores.run(Task("a", told, opened)))
        for name in "bc":
            in_one_turn(lambda name=name: cores.run(Failing(name, told)))
        turns(3)
        ended = [f"{name}{what}" for name in "bc" for what in (" refused: 503", " aborted", " done", " cut")]
        assert told == ["a", *ended]
        assert load[IN_HAND] == 1
        opened.set()
        turns(3)
        in_one_turn(lambda: cores.run(Task("d", told)))
        assert told[-3:] == ["a done", "d", "d done"]
        assert load[IN_HAND] == 0

    def test_in_a_thread(self):
        load, told, ended = [0, 0], [], Event()
        cores = ThreadCores(1, load, QueueOptions())
        try:
            cores.run(Failing("a", told))
            cores.run(Task("b", told, after=ended.set))
            assert ended.wait(10)
            assert sorted(told) == ["a", "a aborted", "a cut", "a done", "b", "b done"]
            assert (load[DONE], load[IN_HAND]) == (2, 0)
        finally:
            cores.stop()


variable = ContextVar("variable", default="none")


class Made(threading.local):
    value = 0

    def __init__(self, given):
        self.given = given
        self.list = []


class Known(Task):
    """Keep the greenlet that it has had, as what an application leaves behind may do."""

    def work(self):
        self.known = getcurrent()
        super().work()


class Setting(Task):
    """Set a context variable, and note what it was before."""

    def work(self):
        self.core = vars(getcurrent()).setdefault("mark", next(marks))
        self.told.append(variable.get())
        variable.set(self.name)

    def done(self):
        pass


def test_threads_have_context_variables_of_each_request():
    told, ended = [], Event()
    cores = ThreadCores(1, [0, 0], QueueOptions())
    last = Setting("c", told)
    last.done = ended.set
    try:
        for task in (Setting("a", told), Setting("b", told), last):
            cores.run(task)
        assert ended.wait(10)
        assert told == ["none"] * 3
    finally:
        cores.stop()


def test_a_thread_without_work_keeps_nothing_of_a_request():
    cores, told, ended = ThreadCores(1, [0, 0], QueueOptions()), [], Event()
    try:
        task = Task("a", told)
        weakref.finalize(task, ended.set)
        cores.run(task)
        del task
        assert ended.wait(10)
        assert told == ["a", "a done"]
    finally:
        cores.stop()


def test_a_thread_in_which_a_call_was_ended_serves_nobody_else():
    told, ended, own = [], Event(), threading.local()
    cores = ThreadCores(1, [0, 0], QueueOptions())

    def work(*, harmed):
        told.append(
            (getattr(own, "value", None), getattr(getcurrent(), CORE), threading.current_thread().name)
        )
        own.value = 1
        if harmed:
            spoilt.add(getcurrent())

    tasks = [Task("", []) for _ in range(4)]
    for task in tasks:
        task.work = partial(work, harmed=task is tasks[1])
    tasks[-1].after = ended.set
    try:
        for task in tasks:
            cores.run(task)
        assert ended.wait(10)
        assert told == [(value, 1, "core-1") for value in (None, 1, None, 1)]
        assert not spoilt
        assert len(list(cores.stacks())) == 1
    finally:
        cores.stop()


def test_an_error_leaves_a_thread_as_it_was(caplog):
    told, ended = [], Event()
    cores = ThreadCores(1, [0, 0], QueueOptions())
    failing = Task("a", told)
    failing.work = lambda: 1 / 0
    try:
        cores.run(failing)
        cores.run(Task("b", told, after=ended.set))
        assert ended.wait(10)
        assert sorted(told) == ["a aborted", "a done", "b", "b done"]
        assert "ZeroDivisionError" in caplog.text
    finally:
        cores.stop()


def test_threads_take_what_comes_soon_like_anything_else():
    cores, told, ended = ThreadCores(2, [0, 0], QueueOptions()), [], Event()
    try:
        cores.run_soon(Task("a", told, after=ended.set))
        assert ended.wait(10)
        assert told == ["a", "a done"]
    finally:
        cores.stop()


def test_sockets_go_before_an_answer_goes_on(started):
    """What they bring may be that its client has left."""
    told = []
    cores = started(1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watcher = get_hub().loop.io(ours.fileno(), 1)
        task = Task("call", told)

        def work():
            watcher.start(lambda: (watcher.stop(), told.append("socket")))
            theirs.send(b"x")
            cores.turn()
            told.append("next piece")

        task.work = work
        in_one_turn(lambda: cores.run(task))
        turns(2)
        watcher.close()
    assert told == ["socket", "next piece", "call done"]
