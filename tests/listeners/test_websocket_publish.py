"""One message to many WebSockets, slow ones among them; and libraries that want a socket."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack, contextmanager
from select import select
from threading import Thread

import pytest

from tests.listeners.test_websocket import MODES, client_of
from tests.support.messages import as_json, netstring
from tests.support.websockets import BINARY, FIN, PING, PONG, TEXT, masked

OPTIONS = {"websocket_backlog": 256}
MONGREL2 = ("mongrel2", "mongrel2-shared")


def start(serve, front, module="sockets:app", **options):
    listeners, more = MODES[front]
    return serve(module, listeners, **(more | options))


@contextmanager
def clients(site, count, target="/subscribe", first="subscribed"):
    with ExitStack() as stack:
        found = [stack.enter_context(client_of(site)) for _ in range(count)]
        for each in found:
            each.connect_to(target)
            if first:
                assert each.message() == first
        yield found


@pytest.mark.parametrize("front", MODES)
def test_a_message_reaches_all_who_have_subscribed(serve, front):
    site = start(serve, front)
    count = 1 if front == "one" else 4
    with clients(site, count) as found:
        found[0].say("hello to all")
        for each in found:
            assert each.message() == "hello to all"
        found[-1].say("70000")
        for each in found:
            assert each.message() == "70000"
        if count > 1:
            found[0].say("stop")
            assert found[0].message() == "stopped"
            found[1].say("without the first")
            for each in found[1:]:
                assert each.message() == "without the first"
            found[0].say("from outside")
            for each in found[1:]:
                assert each.message() == "from outside"
            assert not found[0].wire.buffer
        for each in found:
            each.say_close()
            assert each.closed() == (1000, "")


@pytest.mark.parametrize("options", [{}, {"processes": 2}], ids=["alone", "workers"])
def test_what_cannot_be_a_channel_is_told_before_anything_is_done(serve, options):
    site = start(serve, "http", **options)
    with client_of(site) as client:
        client.connect_to("/bad-channels")
        told = json.loads(client.message())
    surrogate = (
        "ValueError: the channel '\\ud800' has a surrogate, which no other worker can be told of; try text that"
        " UTF-8 has bytes for"
    )
    assert told == [
        *["TypeError: a channel is str, not int: 5; try str(channel)"] * 3,
        *["TypeError: a channel is str, not bytes: b'x'; try channel.decode()"] * 3,
        *["TypeError: a channel is str, not NoneType: None; try str(channel)"] * 3,
        *[surrogate] * 3,
    ]


@pytest.mark.parametrize("options", [{}, {"processes": 2}], ids=["alone", "workers"])
@pytest.mark.parametrize("front", ["http", "threads"])
def test_a_child_of_the_application_is_told_that_it_reaches_nobody(serve, front, options):
    site = start(serve, front, **options)
    with client_of(site) as client:
        client.connect_to("/fork")
        assert client.message() == (
            "nobody can be reached on channel 'news' from a process that the application has forked;"
            " publish in the server's process, when the child has told it"
        )
        assert client.closed() == (1000, "")


@pytest.mark.parametrize("front", MONGREL2)
@pytest.mark.parametrize("flow", [(), [("DOWNLOAD_CREDITS", "102400")]], ids=["", "flow-control"])
def test_it_is_one_message_for_up_to_128_clients_of_mongrel2(serve, front, flow):
    site = start(serve, front, gevent=200)
    received = []
    keep = site.mongrel2._keep
    site.mongrel2._keep = lambda message: (received.append(message), keep(message))
    with ExitStack() as stack:
        found = [stack.enter_context(client_of(site)) for _ in range(150)]
        for each in found:
            each.more_fields = dict(flow)
            each.connect_to("/subscribe")
            assert each.message() == "subscribed"
        received.clear()
        found[0].say("to all of them")
        for each in found:
            assert each.message() == "to all of them"
    ids = [len(each.split(b":", 1)[1].split(b", ", 1)[0].split()) for each in received if b"to all" in each]
    assert sorted(ids) == [22, 128]


@pytest.mark.parametrize("front", MONGREL2)
def test_answers_leave_one_by_one_where_mongrel2_controls_the_flow(serve, front):
    """Else those beyond some burst leave together."""
    site = start(serve, front)
    received = []
    keep = site.mongrel2._keep
    site.mongrel2._keep = lambda message: (received.append(message), keep(message))
    with client_of(site) as client:
        client.more_fields = {"DOWNLOAD_CREDITS": "102400"}
        client.connect_to("/echo")
        for number in range(100):
            client.say(f"message {number}")
            with site.client("mongrel2") as other:  # has it seen to, and not waited for
                assert other.request("GET", "/plain").status == 200
        assert [client.message() for _ in range(100)] == [f"message {number}" for number in range(100)]
    assert sum(b"message" in each for each in received) > 50


@pytest.mark.parametrize("front", ["http", "mongrel2", "mongrel2-shared"])
def test_one_that_does_not_read_holds_up_nobody_and_is_let_go(serve, front):
    """What waits for it is bounded. (Mongrel2 tells who reads if it controls the flow.)"""
    site = start(serve, front, **OPTIONS)
    with ExitStack() as stack:
        slow, *others = [stack.enter_context(client_of(site)) for _ in range(3)]
        for each in (slow, *others):
            each.more_fields = {"DOWNLOAD_CREDITS": "102400"}
            each.connect_to("/subscribe")
            assert each.message() == "subscribed"
        for _ in range(300):
            others[0].say(b"50000")
            for each in others:
                assert read(each) == bytes(50_000)
            if site.count("the client reads too slowly"):
                break
        site.log("/subscribe is closed with 1013: the client reads too slowly")
        others[0].say("still here")
        for each in others:
            assert each.message() == "still here"


def read(client):
    """Read a message, and have Mongrel2 tell so."""
    found = client.message()
    if hasattr(client, "mongrel2"):
        headers = netstring(as_json({"METHOD": "JSON", "DOWNLOAD_CREDITS": str(len(found) + 4)}), b",")
        client.mongrel2.push(client.number, "@*", headers, b'{"type":"credits"}')
    return found


@pytest.mark.parametrize("front", ["http", "threads"])
def test_who_sends_waits_for_a_client_that_does_not_read(serve, front, token):
    site = start(serve, front)
    with client_of(site) as client:
        client.connect_to(f"/push?{token}")
        site.log(f"{token} sent 1$")
        client.leave()
        site.log(f"{token} (cannot: 1006|raised Cancelled)")
    with client_of(site) as client:
        client.connect_to(f"/push?{token}-b")
        for _ in range(200):
            assert client.message() == bytes(65536)
        client.say_close()


@pytest.mark.parametrize("front", ["http", "threads"])
def test_a_client_that_says_more_than_is_taken_has_to_wait(serve, front, token):
    site = start(serve, front, stream_reload_mercy=0)
    with client_of(site) as client:
        client.connect_to(f"/slow-reader?{token}")
        site.log(f"{token} waits")
        client.sock.settimeout(0.2)

        def say_much():
            for _ in range(1000):
                client.say(bytes(65536))

        with pytest.raises(TimeoutError):
            say_much()


@pytest.mark.parametrize("front", ["http", "threads"])
def test_a_client_of_messages_without_bytes_has_to_wait(serve, front, token):
    """It is read no further, and nothing is lost."""
    site = start(serve, front)
    with client_of(site) as client, client_of(site) as other:
        client.connect_to(f"/late-reader?{token}")
        site.log(f"{token} waits")
        count = 60_000
        data = masked(FIN | TEXT, b"") * count + masked(FIN | PING, b"read") + masked(FIN | BINARY, b"end")
        sending = Thread(target=client.send_bytes, args=(data,))
        sending.start()
        other.connect_to("/echo")
        for _ in range(200):  # turns of the loop, in each of which it could read on
            other.say("a turn")
            assert other.message() == "a turn"
        assert select([client.sock], [], [], 0)[0] == [], "the ping has been read"
        other.say_close()
        assert other.closed() == (1000, "")
        with client_of(site) as third:
            third.connect_to("/go")
        assert client.frame() == (FIN | PONG, b"read")
        assert client.message() == str(count)
        sending.join()


@pytest.mark.parametrize("code", [1006, 1000])
@pytest.mark.parametrize(
    "data", [masked(FIN | BINARY, bytes(8192)) * 34, masked(FIN | TEXT, b"") * 4000], ids=len
)
@pytest.mark.parametrize("front", ["http", "threads"])
def test_a_client_that_leaves_while_it_has_to_wait_is_missed(serve, front, token, data, code):
    """Its end, and what it says at last, stand behind more than is read for an application that takes nothing."""
    site = start(serve, front, **{"import": "hasty"})
    with client_of(site) as client:
        client.connect_to(f"/slow-reader?{token}")
        site.log(f"{token} waits")
        client.send_bytes(data)
        if code == 1000:
            client.say_close(1000)
        client.leave()
        site.log(f"{token} (raised Cancelled|found {code})")  # whatever comes first
        site.log(rf'\?{token} HTTP/1\.1" 101 ')


@pytest.mark.parametrize(("count", "size"), [(100, 65536), (33_000, 0)])
@pytest.mark.parametrize("front", MONGREL2)
def test_a_client_of_mongrel2_that_says_more_than_is_taken_is_let_go(serve, front, token, count, size):
    """Nothing can make it wait."""
    site = start(serve, front)
    with client_of(site) as client:
        client.connect_to(f"/slow-reader?{token}")
        site.log(f"{token} waits")
        for _ in range(count):
            client.say(bytes(size))
        assert client.closed() == (1008, "too many messages wait for the application")
        site.log(f"{token} (raised Cancelled|found 1008)")  # whatever comes first


@pytest.mark.parametrize("front", MODES)
def test_a_silent_client_is_asked_and_given_up(serve, front, token):
    options = {"import": "hasty", "websocket_ping_interval": "0.01", "websocket_ping_timeout": "0.01"}
    site = start(serve, front, **options)
    with client_of(site) as client:
        client.connect_to(f"/echo?{token}")
        assert client.frame() == (FIN | PING, b"")
        site.log(rf"does not answer any more: /echo\?{token}")
        site.log(f"{token} ended 1006")


@pytest.mark.parametrize("front", MODES)
def test_a_stop_closes_with_1001(serve, front, token):
    site = start(serve, front, stream_reload_mercy="0.1")
    with client_of(site) as client:
        client.connect_to(f"/echo?{token}")
        client.say("before")
        assert client.message() == "before"
        site.server.process.terminate()
        assert client.closed() == (1001, "the server stops")
        client.say_close(1001)
        client.end()
        assert site.server.process.wait(20) == 0
    assert site.server.stop() == 0
    assert site.count(f"{token} ended 1001 the server stops") == 1
    assert site.count(rf'\?{token} HTTP/1.1" 101 ') == 1
    assert "stopped with requests in hand" not in site.server.log
    assert "Traceback" not in site.server.log


@pytest.mark.parametrize("front", ["http", "mongrel2", "mongrel2-shared"])
def test_a_stop_ends_a_call_that_does_not_listen(serve, front, token):
    site = start(serve, front, stream_reload_mercy="0.1")
    with client_of(site) as client:
        client.connect_to(f"/send-and-wait?{token}")
        site.log(f"{token} waits")
        site.server.process.terminate()
        assert client.closed()[0] == 1001
        client.say_close(1001)
        assert site.server.process.wait(20) == 0
    site.log(f"{token} raised Ended")


@pytest.mark.parametrize("front", MODES)
def test_a_time_limit_is_for_each_message(serve, front, token):
    """Waiting for the client does not count, however long that takes."""
    site = start(serve, front, harakiri="0.5")
    with client_of(site) as client:
        client.connect_to(f"/crunch?{token}")
        for _ in range(4):
            client.say("0.2")
            assert client.message() == "done"
        if "threads" in front:  # a thread that sleeps costs its process
            return
        client.say("60")
        site.log("harakiri: GET /crunch.*takes more than 0.5 s")
        assert client.closed() == (1011, "")


# Libraries that speak WebSocket by themselves


@pytest.mark.parametrize("front", ["http", "threads", "mongrel2"])
def test_a_time_limit_ends_with_the_handshake(serve, front):
    """Nobody knows when such a library waits for its client."""
    site = start(serve, front, "flask_sockets:app", harakiri="0.5")
    with client_of(site) as client, client_of(site) as other:
        client.connect_to("/echo")
        other.send("GET", "/stuck")
        site.log("harakiri: GET /stuck HTTP/1.1 takes more than 0.5 s")
        assert other.receive().status == 504
        client.say("later")
        assert client.message() == "later"
        assert not site.count("harakiri: GET /echo")


@pytest.mark.parametrize("front", ["http", "threads", *MONGREL2])
def test_flask_sock(serve, front):
    site = start(serve, front, "flask_sockets:app")
    with client_of(site) as client:
        client.connect_to("/echo")
        for message in ("hello", "x" * 70000, b"\x00\xff" * 40000):
            client.say(message)
            assert client.message() == message
        client.say_close()
        assert client.closed()[0] == 1000
        client.end()
    site.log('"GET /echo HTTP/1.1" 101 ')
    with client_of(site) as client:
        client.connect_to("/bye")
        assert client.message() == "bye"
        assert client.closed()[0] == 1000
        client.say_close()
        client.end()
    site.log('"GET /bye HTTP/1.1" 101 ')
    with client_of(site) as client:
        client.connect_to("/echo")
        client.leave()
    assert "Traceback" not in site.server.log


@pytest.mark.parametrize("front", ["http", "threads", *MONGREL2])
def test_flask_sock_sends_more_than_is_taken_at_once(serve, front):
    """The library does not look how much its socket has sent, nor whether another thread is sending."""
    site = start(serve, front, "flask_sockets:app")
    with client_of(site) as client:
        client.connect_to("/burst")
        client.say("abcdefgh")
        for number in range(50):
            client.send_frame(FIN | PING, b"%d" % number)
        frames = [client.frame() for _ in range(58)]
        texts = [payload for first, payload in frames if first == FIN | TEXT]
        assert [(set(text), len(text)) for text in texts] == [({letter}, 300_000) for letter in b"abcdefgh"]
        assert [payload for first, payload in frames if first == FIN | PONG] == [b"%d" % n for n in range(50)]
        client.say("enough")
        assert client.closed()[0] == 1000


@pytest.mark.parametrize("leave", ["leave", "say_close"])
@pytest.mark.parametrize("front", ["http", *MONGREL2])
def test_a_call_of_flask_sock_that_waits_for_something_else_is_cancelled(serve, front, leave):
    """Only the library hears of the end, and its thread cannot tell a call that waits elsewhere."""
    site = start(serve, front, "flask_sockets:app")
    with client_of(site) as client:
        client.connect_to("/news")
        site.log("waits")
        getattr(client, leave)()
        site.log("raised Cancelled")
        site.log('"GET /news HTTP/1.1" 101 ')
    assert "Traceback" not in site.server.log


def test_a_call_of_flask_sock_that_has_closed_by_itself_goes_on(serve):
    site = start(serve, "http", "flask_sockets:app")
    with client_of(site) as client:
        client.connect_to("/tidy")
        assert client.closed()[0] == 1000
        client.say_close()
        client.end()
        assert site.log(r"raised (\w+)")[1] == "Empty"


@pytest.mark.parametrize("leave", ["leave", "say_close"])
@pytest.mark.parametrize("front", ["http", *MONGREL2])
def test_a_call_of_flask_sock_that_knows_of_the_end_goes_on(serve, front, leave):
    """It cleans up, in its own time."""
    site = start(serve, front, "flask_sockets:app")
    with client_of(site) as client:
        client.connect_to("/save")
        client.say("hello")
        assert client.message() == "hello"
        getattr(client, leave)()
        assert site.log(r"raised (\w+)")[1] == "Empty"
    assert "Traceback" not in site.server.log


@pytest.mark.parametrize("query", ["", "open"])
@pytest.mark.parametrize("front", ["http", "threads", *MONGREL2])
def test_a_library_may_say_the_last_after_the_call(serve, front, query):
    """Its thread answers the client's closing, and may be slower than the application to see it."""
    site = start(serve, front, "threaded_socket:app")
    with client_of(site) as client:
        client.connect_to(f"/?{query}")
        client.say("first")
        site.log(r'"GET /\?(open)? HTTP/1.1" 101 ')
        client.say("second")
        assert client.message() == "last"
        client.end()
    assert "Traceback" not in site.server.log


def test_flask_sock_is_told_where_it_would_hang(serve):
    site = start(serve, "one", "flask_sockets:app")
    with client_of(site) as client:
        assert client.ask("/echo").status == 500
    site.log("a library that speaks WebSocket by itself would block the loop here: use gevent = N")


@pytest.mark.parametrize("front", ["http", "threads", "mongrel2-shared"])
def test_a_message_reaches_all_workers(serve, front):
    """A WebSocket holds a core; a worker without a free one leaves the next client to another."""
    site = start(serve, front, processes=2, **{"threads" if front == "threads" else "gevent": 2})
    with clients(site, 4) as found:
        assert len(set(re.findall(r"subscribed by (\d+)", site.server.log))) == 2
        for number, sender in enumerate(found):
            sender.say(f"from {number}")
            for each in found:
                assert each.message() == f"from {number}"
        found[0].say(b"300000")
        for each in found:
            assert each.message() == bytes(300_000)
