"""Whose turn it is, seen from another thread."""

import threading

from appserver.listeners.turns import Turns

LINE = 1, (b"uuid", b"7")


class Request:
    line = LINE
    error = None
    closes = False
    gone = False


class Looking(dict):
    """A dict of which something else is done behind each change."""

    def __init__(self, look):
        super().__init__()
        self.look = look

    def __setitem__(self, *arguments):
        super().__setitem__(*arguments)
        self.look()

    def __delitem__(self, *arguments):
        super().__delitem__(*arguments)
        self.look()

    def pop(self, *arguments):
        taken = super().pop(*arguments)
        self.look()
        return taken


def elsewhere(function, *arguments):
    """Call a function in another thread, and wait for it as long as it is not kept out."""
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join(0.2)
    return thread


def test_a_connection_with_requests_is_never_seen_without():
    turns, found = Turns(), []
    turns._first = Looking(lambda: elsewhere(lambda: found.append(turns.first(LINE))))
    first, second = Request(), Request()
    assert turns.enter(first)
    assert not turns.enter(second)
    assert turns.leave(first) is second
    assert found == [second]


def test_what_comes_just_when_its_connection_has_ended_is_no_request_any_more():
    turns, threads = Turns(), []
    turns._first = Looking(lambda: threads.append(elsewhere(turns.enter, second)))
    first, second = Request(), Request()
    first.closes = True
    assert turns.enter(first)
    assert turns.leave(first) is None
    threads[0].join()
    assert second.gone


def test_what_comes_while_the_first_one_leaves_waits_for_nobody():
    turns, threads, entered = Turns(), [], []

    class Leaving(dict):
        def get(self, line):  # `leave` has looked for those behind, and found none
            threads.append(elsewhere(lambda: entered.append(turns.enter(second))))

    first, second = Request(), Request()
    assert turns.enter(first)
    turns._behind = Leaving({None: ()})
    assert turns.leave(first) is None
    turns._behind = {}
    threads[0].join()
    assert entered == [True]
    assert turns.first(LINE) is second
