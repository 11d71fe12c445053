"""What the gateway says of answers that are none: the application's fault, in a line that names it."""

from __future__ import annotations

import pytest
from greenlet import getcurrent

from appserver.errors import ConnectionClosed
from appserver.gateway import Gateway
from appserver.protocols.upgrade import Upgrade
from tests.protocols.answering import exchange


class Recorded(list):
    """A list that is no plain one, and so is iterated."""


class FailsToBegin:
    def __iter__(self):
        raise TypeError("of its own")


class Old:
    """Iterable by its items alone, as Python allows."""

    def __getitem__(self, index):
        return [b"a", b"b"][index]


async def coroutine(environ, start_response):
    start_response("200 OK", [])


def answered(caplog, result, *, call=None):
    """Return what is sent for a result of the application, and what is logged."""

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return result

    x = exchange()
    channel = x.channel
    Gateway(call or app, None).respond(x, channel)
    return channel.wire, [(each.message, each.exc_info) for each in caplog.records]


@pytest.mark.parametrize(
    "result, told",
    [
        (None, "the application returned NoneType, which is no iterable"),
        (5, "the application returned int, which is no iterable"),
        (["text"], "a piece of the body is str, not bytes"),
        ((b"a", None), "a piece of the body is NoneType, not bytes"),
        (Recorded(["text"]), "a piece of the body is str, not bytes"),
        ("text", "a piece of the body is str, not bytes"),
        ({"key": 1}, "a piece of the body is str, not bytes"),
    ],
    ids=repr,
)
def test_what_is_no_answer_is_named_without_a_stack(caplog, result, told):
    wire, logged = answered(caplog, result)
    assert wire.startswith(b"HTTP/1.1 500 ")
    assert logged == [(f"-: GET /: {told}", None)]


def test_a_coroutine_is_named_and_closed(caplog):
    wire, logged = answered(caplog, None, call=coroutine)
    assert wire.startswith(b"HTTP/1.1 500 ")
    assert logged == [("-: GET /: the application returned coroutine, which is no iterable", None)]


def test_what_an_iterable_raises_has_its_stack(caplog):
    wire, [(told, exc_info)] = answered(caplog, FailsToBegin())
    assert wire.startswith(b"HTTP/1.1 500 ")
    assert told == "-: GET /: the application raised TypeError"
    assert str(exc_info[1]) == "of its own"


@pytest.mark.parametrize(
    "error, told",
    [
        (ConnectionError(), None),  # as simple-websocket's users raise it for Werkzeug
        (ConnectionError("refused by the database"), "the application raised ConnectionError"),
        (ConnectionResetError(), "the application raised ConnectionResetError"),
    ],
    ids=repr,
)
def test_a_call_that_has_a_websocket_may_end_without_an_answer(caplog, error, told):
    plain = exchange()
    x, channel, aborted = Upgrade(plain.environ, plain.codec), plain.channel, []
    channel.abort = lambda: aborted.append(error)

    def app(environ, start_response):
        x.switched = True
        raise error

    Gateway(app, None).respond(x, channel)
    assert [each.message for each in caplog.records] == ([f"-: GET /: {told}"] if told else [])
    assert aborted == ([error] if told else [])


@pytest.mark.parametrize("own", [True, False])
def test_the_end_of_another_call_s_websocket_is_a_failure(caplog, own):
    """Of its own a call may let it through; the client of this one has not left."""
    plain = exchange()
    x, channel, aborted = Upgrade(plain.environ, plain.codec), plain.channel, []
    channel.abort = lambda: aborted.append(True)

    def app(environ, start_response):
        x.switched = True
        raise ConnectionClosed(1006, "", x if own else exchange())

    Gateway(app, None).respond(x, channel)
    told = [] if own else ["-: GET /: the application raised ConnectionClosed"]
    assert [each.message for each in caplog.records] == told
    assert bool(aborted) is not own


def test_what_has_items_is_iterable(caplog):
    wire, logged = answered(caplog, Old())
    assert wire.endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    assert logged == []


@pytest.mark.parametrize("fails", [False, True])
def test_a_call_that_is_over_has_no_core(fails):
    """What is to end it would end the next call of that core."""
    x = exchange()
    seen = []

    def app(environ, start_response):
        seen.append(x.core)
        if fails:
            raise RuntimeError
        start_response("204 No Content", [])
        return []

    Gateway(app, None).respond(x, x.channel)
    assert seen == [getcurrent()]
    assert (x.core, x.channel) == (None, None)
