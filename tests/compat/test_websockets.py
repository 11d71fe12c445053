"""uWSGI's calls for WebSocket, as its documentation uses them, and python-engineio."""

from __future__ import annotations

import json
from itertools import count

import pytest

from tests.listeners.conftest import serving
from tests.support.fronts import poll
from tests.support.websockets import HANDSHAKE, HttpWebSocket, Mongrel2WebSocket, UwsgiWebSocket

MODES = {
    "http": (["http", "fastcgi"], {"gevent": 50}), "threads": (["http", "fastcgi"], {"threads": 8}),
    "uwsgi": (["uwsgi"], {"gevent": 50}),
    "mongrel2": (["mongrel2"], {"gevent": 50, "zeromq_dispatch": "shared"}),
    "mongrel2-threads": (["mongrel2"], {"threads": 8, "zeromq_dispatch": "shared"}),
}  # fmt: skip
CALLS = (
    "websocket_handshake", "websocket_recv", "websocket_recv_nb", "websocket_send", "websocket_send_binary",
    "request_context", "connection_fd", "disconnect",
)  # fmt: skip
ABSENT = ("websocket_send_from_sharedarea", "websocket_send_binary_from_sharedarea", "is_connected")

_tokens = count(1)


@pytest.fixture(scope="module", params=MODES)
def site(request, tmp_path_factory):
    listeners, options = MODES[request.param]
    directory = tmp_path_factory.mktemp("site")
    with serving(directory, "uwsgi_sockets", listeners, warm_up="none", **options) as found:
        yield found


@pytest.fixture
def token():
    return f"t{next(_tokens)}t"


@pytest.fixture
def connect(site):
    """Return a function that opens a WebSocket, and returns its client and the answer."""
    clients = []

    def connecting(target, **changes):
        client = new(site)
        clients.append(client)
        return client, client.connect_to(target, **changes)

    yield connecting
    for each in clients:
        each.__exit__(None, None, None)
    site.forget_log()


def new(site):
    if site.mongrel2:
        client = Mongrel2WebSocket(site.mongrel2)
    elif "uwsgi" in site.server.addresses:
        client = UwsgiWebSocket(site.server.addresses["uwsgi"])
    else:
        client = HttpWebSocket(site.server.addresses["http"])
    return client.__enter__()


def get(site, target):
    with site.client("mongrel2" if site.mongrel2 else next(iter(site.server.addresses))) as client:
        client.send("GET", target)
        return client.receive()


def only(*modes):
    return pytest.mark.parametrize("site", modes, indirect=True)


def test_they_are_there(site):
    assert json.loads(get(site, f"/has?{','.join(CALLS)}").body) == [True] * len(CALLS)
    assert json.loads(get(site, f"/has?{','.join(ABSENT)}").body) == [False] * len(ABSENT)


@pytest.mark.parametrize("options", [{}, {"gevent": 1}, {"processes": 2}])
def test_they_are_not_where_one_call_would_hold_up_all_others(tmp_path, options):
    with serving(tmp_path, "uwsgi_sockets", ["http"], warm_up="none", **options) as site:
        assert json.loads(get(site, f"/has?{','.join(CALLS)}").body) == [False] * len(CALLS)


def test_the_echo_of_the_documentation(connect, site, token):
    client, _ = connect(f"/echo?{token}")
    for message in ("hello", "grüß", "x" * 60_000, ""):
        client.say(message)
        assert client.message() == message
    client.say(b"bytes")
    assert client.message() == "bytes", "each message is sent as text"
    client.say_close()
    client.closed()
    site.log(rf"{token} raised ConnectionClosed, an OSError")
    site.log(rf'/echo\?{token} HTTP/1\.1" 101 ')
    assert "Traceback" not in site.server.log, "it ends as they all do"


def test_the_chat_of_the_documentation(connect, site, token):
    """One select waits for the WebSocket and for something else."""
    guests = [connect(f"/chat?{token}{number}")[0] for number in range(3)]
    for each in guests:
        assert each.message() == "welcome"
    for sender in guests[:2]:
        for message in ("hello", "all", "of you"):  # they may be there together
            sender.say(message)
        for each in guests:
            assert [each.message() for _ in range(3)] == ["said: hello", "said: all", "said: of you"]
    guests[0].say_close()
    guests[0].closed()
    site.log(rf"{token}0 raised ConnectionClosed, an OSError")
    guests[1].leave()  # without a word: it is no cancellation, as the select tells of it
    site.log(rf"{token}1 raised ConnectionClosed, an OSError")
    guests[2].say("alone")
    assert guests[2].message() == "said: alone"
    assert "Traceback" not in site.server.log


def test_a_descriptor_tells_of_messages_and_of_the_end(connect, site, token):
    client, _ = connect(f"/looks?{token}")
    assert json.loads(client.message()) == [True, ""], "there is nothing, and nobody waits for it"
    client.say("two")
    client.say("messages")
    assert client.message() == b"two messages"
    assert client.message() == "true", "all is received"
    client.say_close()
    client.closed()
    site.log(rf"{token} ends ConnectionClosed\n.*{token} ends ConnectionClosed")
    site.log(rf'/looks\?{token} HTTP/1\.1" 101 ')


@pytest.mark.parametrize("leaves", [False, True])
def test_it_is_closed_when_the_call_is_over(connect, site, token, leaves):
    before = int(get(site, "/descriptors").body)
    for number in range(3):
        client, _ = connect(f"/looks?{token}{number}")
        client.message()
        client.say("one")
        assert client.message() == "true"
        if leaves:
            client.leave()
        else:
            client.say_close()
            client.closed()
        site.log(rf'/looks\?{token}{number} HTTP/1\.1" 101 ')
    assert int(get(site, "/descriptors").body) == before


def test_what_is_text_and_what_is_not(connect):
    client, _ = connect("/kinds")
    assert [client.message() for _ in range(3)] == ["grüß", "grüß", "array"]
    assert [client.message() for _ in range(3)] == ["grüß".encode(), "grüß".encode(), b"array"]
    assert client.message().endswith("uwsgi.websocket_send_binary sends other bytes")
    assert client.closed() == (1000, "")


@pytest.mark.parametrize(
    "offered, wanted, chosen",
    [(None, "", None), ("a", "", "a"), ("a, b", "", "a"), ("a, b", "b", "b"), ("a, b", "a,%20b", None)],
)
def test_the_subprotocol(connect, offered, wanted, chosen):
    """What an application passes on may be all that the client offers."""
    if chosen is None and wanted:
        wanted, chosen = "a,b", "a"
    client, answer = connect(f"/protocol?{wanted}", Sec_WebSocket_Protocol=offered)
    assert answer.header("Sec-WebSocket-Protocol") == chosen
    assert client.closed() == (1000, "")


def test_who_disconnects_before_the_handshake_refuses(site):
    client = new(site)
    assert client.ask("/away").status == 403
    client.__exit__(None, None, None)


@pytest.mark.parametrize(
    "site, how", [("http", "greenlet"), ("http", "thread"), ("threads", "thread")], indirect=["site"]
)
def test_elsewhere_the_context_of_the_request_is_passed_on(connect, site, how):
    client, _ = connect(f"/{how}")
    client.say(b"message")
    assert client.message() == "there is no request here: pass on what uwsgi.request_context() returns in it"
    assert client.message() == b"message"
    assert client.closed() == (1000, "")


def test_a_request_that_asks_for_none_is_answered_so(site, token):
    answer = get(site, f"/protocol?{token}")
    assert (answer.status, answer.body) == (400, b"this is a WebSocket, and the request asks for none\n")
    site.log(rf"{token} raised NoWebSocket, an OSError")
    assert "Traceback" not in site.server.log


@only("http", "threads")
def test_a_front_end_that_carries_none_is_told(site, token):
    with site.client("fastcgi") as client:
        client.send("GET", f"/protocol?{token}", list(HANDSHAKE.items()))
        answer = client.receive()
    assert answer.status == 501
    assert answer.body.startswith(b"WebSocket comes neither over FastCGI nor")
    poll(lambda: f"{token} raised NoWebSocket" in site.server.log, "it is not told")
    assert "Traceback" not in site.server.log
