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
    """A dict that has another thread look whose turn it is while the first one leaves."""

    def __init__(self, turns, found):
        super().__init__()
        self.thread = threading.Thread(target=lambda: found.append(turns.first(LINE)))

    def pop(self, *arguments):
        taken = super().pop(*arguments)
        self.thread.start()
        self.thread.join(0.2)  # as long as it is kept out
        return taken


def test_a_connection_with_requests_is_never_seen_without():
    turns, found = Turns(), []
    turns._first = Looking(turns, found)
    first, second = Request(), Request()
    assert turns.enter(first)
    assert not turns.enter(second)
    assert turns.leave(first) is second
    turns._first.thread.join()
    assert found == [second]
