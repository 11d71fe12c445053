"""What is counted for the statistics, and what the counting costs."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from gevent import get_hub
from greenlet import greenlet

from appserver import wsgi
from appserver.cores.contract import CORE
from appserver.errors import BodyError
from appserver.file_wrapper import FileWrapper
from appserver.gateway import Gateway
from appserver.lifecycle.board import Board
from appserver.listeners.mongrel2 import Mongrel2Listener
from appserver.listeners.share import Share
from appserver.mounts import Managed, Mounts
from appserver.static.options import StaticOptions
from appserver.static.service import Static
from appserver.stats.ledger import Ledger, by_listener, counted
from appserver.stats.tally import (
    BYTES,
    EXCEPTIONS,
    MICROSECONDS,
    READ_ERRORS,
    REQUESTS,
    ROUTED,
    RUNNING,
    STATIC,
    WRITE_ERRORS,
)
from tests.test_budget import CASES, Recorder, application, calls_of, forget

COLUMNS = {
    "requests": REQUESTS, "exceptions": EXCEPTIONS, "static": STATIC, "routed": ROUTED, "running": RUNNING,
    "write": WRITE_ERRORS, "read": READ_ERRORS, "bytes": BYTES, "micros": MICROSECONDS,
}  # fmt: skip


class Core(greenlet):
    """Run something as the core of a number does."""

    def __init__(self, number, run):
        super().__init__(run)
        setattr(self, CORE, number)


@pytest.fixture
def board():
    made = Board(1, cores=3, listeners=2)
    yield made
    made.close()


def served(board, app=application, *, listener=0, core=1, channel=None, access=None):
    """Serve one request in a core, and return the numbers of all cores that are not 0."""
    codec, data, _ = CASES["http"]
    counting = board.tally(0).counting(listener, app, access)
    gateway = Gateway(counting, counting)
    Core(core, lambda: gateway.respond(codec.receive(data), channel or Recorder())).switch()
    return numbers(board)


def numbers(board):
    found = {name: board.tally(0).total(column) for name, column in COLUMNS.items()}
    found["micros"] = 0  # they differ
    return {name: number for name, number in found.items() if number}


def test_a_request_is_counted(board):
    channel = Recorder()
    assert served(board, channel=channel) == {"requests": 1, "bytes": len(channel.sent[0])}
    assert board.tally(0).rows[1][MICROSECONDS] > 0


def test_each_core_and_listener_counts_for_itself(board):
    for core, listener in [(1, 0), (2, 0), (2, 1), (3, 1), (3, 1)]:
        served(board, core=core, listener=listener)
    tally = board.tally(0)
    assert [row[REQUESTS] for row in tally.rows] == [0, 1, 2, 2]
    assert tally.of_listener(0) == {"requests": 2, "refused": 0, "connections": 0}
    assert tally.of_listener(1) == {"requests": 3, "refused": 0, "connections": 0}


def test_a_look_counts_what_is_in_hand_and_not_what_may_come(board):
    tally = board.tally(0)
    tally.look([SimpleNamespace(in_hand=lambda: 0, busy=lambda: 1), SimpleNamespace(in_hand=lambda: 7)])
    assert tally.of_listener(0)["connections"] == 0
    assert tally.of_listener(1)["connections"] == 7


def test_an_idle_mongrel2_has_nothing_in_hand():
    """Though more may come, for which a stop would wait."""
    listener = object.__new__(Mongrel2Listener)
    listener._intakes = {}
    assert listener.in_hand() == 0
    intake = listener._intakes[get_hub()] = object.__new__(Share)
    intake.in_hand, intake._released = 0, False
    assert (listener.in_hand(), listener.busy()) == (0, 1)
    intake.in_hand = 3
    assert (listener.in_hand(), listener.busy()) == (3, 3)


def test_what_no_core_answers_was_refused(board):
    assert served(board, core=0) == {}
    assert board.tally(0).of_listener(0) == {"requests": 0, "refused": 1, "connections": 0}


def test_a_request_runs_until_its_answer_has_ended(board):
    def app(environ, start_response):
        seen.append(board.tally(0).rows[1][RUNNING])
        start_response("200 OK", [])
        yield b"x"
        seen.append(board.tally(0).rows[1][RUNNING])

    seen = []
    assert served(board, app)["requests"] == 1
    assert seen == [1, 1]
    assert board.tally(0).rows[1][RUNNING] == 0


def failing(error):
    def app(environ, start_response):
        raise error

    return app


@pytest.mark.parametrize(
    "error, column",
    [
        (RuntimeError("x"), "exceptions"),
        (SystemExit(3), "exceptions"),
        (BodyError("400 Bad Request", "x"), "read"),
        (wsgi.Harakiri(), None),  # the watchdog counts it
        (wsgi.Ended(), None),
    ],
)
def test_failures(board, error, column):
    found = served(board, failing(error))
    assert found.pop("requests") == 1
    assert found.pop("bytes") > 0
    assert found == ({column: 1} if column else {})


def test_a_client_that_has_gone_is_no_exception(board):
    channel = Recorder()
    channel.gone = True
    assert served(board, failing(ConnectionError("x")), channel=channel) == {"requests": 1, "write": 1}


def test_each_application_that_is_mounted_counts_for_itself():
    """What nobody was given counts for none."""
    board = Board(1, cores=3, listeners=2, mounts=["", "/hello", "/no"])
    managed = {"/hello": failing(RuntimeError("x")), "/no": application}
    served(board, Managed(managed, Mounts(managed, application)), core=2)
    for core in (1, 2, 3):
        served(board, Managed(["/no"], Mounts({"/no": application}, application)), core=core, listener=1)
    served(board, Managed(["/no"], Mounts({"/no": application}, None)))
    served(board, failing(RuntimeError("x")))
    tally = board.tally(0)
    assert tally.of_application("") == {"requests": 3, "exceptions": 0}
    assert tally.of_application("/hello") == {"requests": 1, "exceptions": 1}
    assert tally.of_application("/no") == {"requests": 0, "exceptions": 0}
    assert numbers(board)["requests"] == 6
    assert numbers(board)["exceptions"] == 2
    assert [tally.of_listener(number)["requests"] for number in range(2)] == [3, 3]
    board.close()


def test_files_are_static(board, tmp_path):
    def app(environ, start_response):
        environ["wsgi.file_wrapper"] = FileWrapper
        return static(environ, start_response)

    (tmp_path / "hello").write_text("x")
    static = Static(StaticOptions(check_static=(str(tmp_path),)), application)
    found = served(board, app)
    assert (found["requests"], found["static"]) == (1, 1)
    served(board, failing(RuntimeError("x")))
    assert board.tally(0).of_application("") == {"requests": 1, "exceptions": 1}, (
        "it is alone, and was given one"
    )


def test_lines_are_written_all_the_same(board):
    class Lines:
        def line(self, x, status, seconds):
            told.append((x.uri, status))

    told = []
    served(board, access=Lines())
    assert told == [("/hello", "200")]


def test_a_worker_and_its_master_see_the_same_numbers(board):
    other = Board(1, board.fd, cores=3, listeners=2)
    served(other)
    other.beat()
    other.note_harakiri()
    other.note_signal()
    other.row(0)[:] = memoryview(bytearray((5).to_bytes(8, "little") + (2).to_bytes(8, "little"))).cast("Q")
    assert (board.beats, board.harakiris, board.signals, board.requests, board.in_hand) == (1, 1, 1, 5, 2)
    assert numbers(board)["requests"] == 1


def test_without_stats_there_is_nothing_to_count_in():
    board = Board(2)
    assert board.tally(0) is None
    assert Path(f"/proc/self/fd/{board.fd}").stat().st_size == 8 * (5 + 2 * 2)
    board.close()


def test_threads_lose_nothing():
    """Each has its own row."""
    board = Board(1, cores=4, listeners=1)

    def run(number):
        setattr(greenlet.getcurrent(), CORE, number)
        codec, data, _ = CASES["uwsgi"]
        for _ in range(500):
            gateway.respond(codec.__class__({}).receive(data), Recorder())

    counting = board.tally(0).counting(0, application, None)
    gateway = Gateway(counting, counting)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert numbers(board)["requests"] == 2000
    board.close()


class Ended:
    """A process that has counted something."""

    def __init__(self, number=1):
        self.number = number
        self.board = Board(1, cores=3, listeners=1)
        self.names = [("http", "a:1")]
        served(self.board, failing(RuntimeError("x")))
        self.board.row(0)[0] = 1
        self.board.close()


def test_sums_go_on_when_a_process_ends():
    ledger = Ledger()
    first, second = Ended(), Ended()
    for each in (first, second):
        ledger.begin(each)
    before = ledger.of(1, [first, second])
    assert (before["requests"], before["exceptions"]) == (2, 2)
    ledger.end(first)
    assert ledger.of(1, [second]) == before
    assert ledger.of_listeners([second])["http", "a:1"]["requests"] == 2
    ledger.end(second)
    assert ledger.of(1, []) == before
    assert ledger.of_listeners([])["http", "a:1"]["requests"] == 2
    assert ledger.spawns == {1: 2}
    assert ledger.of(2, []) == {}
    assert counted(first.board)["exceptions"] == by_listener(first)["http", "a:1"]["requests"] == 1


@pytest.mark.parametrize("name", CASES)
def test_counting_costs_two_calls_a_request(board, name):
    """Nothing without ``stats``: test_budget; with it one at the beginning, and one at the end."""
    codec, data, allowed = CASES[name]
    counting = board.tally(0).counting(0, application, None)
    gateway = Gateway(counting, counting)
    channel = Recorder()

    def once():
        x = codec.receive(data)
        if x.body_left:
            x.codec.receive_body(x, b"")
        gateway.respond(x, channel)

    forget()
    for _ in range(2):
        Core(1, once).switch()
    calls = []
    Core(1, lambda: calls.append(calls_of(once))).switch()
    assert calls[0] <= allowed + 2
