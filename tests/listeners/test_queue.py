"""The queue in front of the application: what waits, what is refused, and whose turn it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.listeners.conftest import FRONTS, KEPT_FRONTS, LISTENERS, MOUNTS, STREAM_FRONTS, clients_of
from tests.listeners.test_concurrency import gate_in
from tests.support.fronts import poll

MODES = {"gevent": (LISTENERS, 1, {"gevent": 1}), "threads": (tuple(MOUNTS), 2, {"threads": 2})}
CASES = [("gevent", front) for front in FRONTS] + [("threads", front) for front in STREAM_FRONTS]


def refused(answer):
    """Return whether an answer is a whole 503 that says when to come again."""
    return (answer.status, answer.header("Retry-After"), answer.complete) == (503, "1", True)


def called(client):
    """Return what has run in the application, once a core is free: a thread is not yet when its answer comes."""
    answer = poll(
        lambda: (got := client.request("GET", "/peak")).status == 200 and got, "no core becomes free"
    )
    return json.loads(answer.body)["order"]


@pytest.fixture
def held(serve, tmp_path):
    """Return a function that starts a server and fills its cores until the gate opens."""
    with ExitStack() as stack:

        def start(mode, **options):
            listeners, cores, some = MODES[mode]
            site = serve("blocking:app", listeners, **some, **options)
            gate = stack.enter_context(gate_in(tmp_path))
            holding = clients_of(site, stack, ["http"] * cores)
            for client in holding:
                client.send("GET", f"/hold?{gate.path}")
            gate.wait_for(cores)
            return site, gate, holding, stack

        yield start


@pytest.mark.parametrize("mode, front", CASES)
def test_what_may_not_wait_is_answered_503(held, mode, front):
    site, gate, holding, stack = held(mode, max_queue=0)
    (client,) = clients_of(site, stack, [front])
    for method, body in (("GET", b""), ("POST", b"x" * 100000), ("GET", b"")):
        answer = client.request(method, "/overlap", body=body)
        assert refused(answer), answer
        assert answer.body == b"Too many requests wait.\n"
        assert not answer.closed or front not in KEPT_FRONTS
    assert client.request("HEAD", "/overlap").body == b""
    gate.open()
    assert {each.receive().status for each in holding} == {200}
    assert called(client) == [], "the application was called"
    site.log(r"ERROR no core is free for a request: 0 others wait \(max-queue\); it is answered 503$")
    assert site.count(r'"(GET|POST|HEAD) /overlap HTTP/1.1" 503 ') == 4
    assert site.count("ERROR no core is free") == 1


@pytest.mark.parametrize("mode, front", CASES)
def test_what_waits_too_long_is_answered_503(held, mode, front):
    site, gate, holding, stack = held(mode, queue_timeout="0.1")
    client, other = clients_of(site, stack, [front] * 2)
    other.send("GET", "/overlap")
    answer = client.request("GET", "/overlap")
    assert refused(answer), answer
    assert answer.body == b"The request has waited too long.\n"
    assert refused(other.receive())
    waited = site.log(r'"GET /overlap HTTP/1.1" 503 \d+ \S+ms queued (\S+)ms$')[1]
    assert float(waited) >= 100
    site.log("ERROR no core is free for a request: queue-timeout is over; it is answered 503")
    gate.open()
    assert {each.receive().status for each in holding} == {200}
    assert called(client) == [], "the application was called"


@pytest.mark.parametrize("mode", MODES)
def test_the_time_in_the_queue_is_logged(held, tmp_path, mode):
    site, gate, holding, stack = held(mode, master="true", control_socket=tmp_path / "control")
    (waiting,) = clients_of(site, stack, ["http"])
    waiting.send("GET", "/peak")
    poll(lambda: in_hand(site) == len(holding) + 1, "the request does not arrive")
    gate.open()
    told = json.loads(waiting.receive().body)
    assert told["queued"] > 0
    assert (
        site.log(r'"GET /peak HTTP/1.1" 200 \d+ \S+ms queued (\S+)ms$')[1] == f"{told['queued'] * 1000:.1f}"
    )
    assert {each.receive().status for each in holding} == {200}
    unqueued = r'"GET /peak HTTP/1.1" 200 \d+ \S+ms$'
    poll(
        lambda: waiting.request("GET", "/peak") and site.count(unqueued),
        "what has not waited is said to have",
    )


def test_pipelined_requests_are_refused_in_order(held):
    """However many come at once, each is answered, and the connection goes on."""
    site, gate, holding, stack = held("gevent", max_queue=0)
    (client,) = clients_of(site, stack, ["http"])
    client.connect()
    client.sock.sendall(client.encode("GET", "/overlap") * 2000)
    for _ in range(2000):
        client.methods.append("GET")
        assert refused(client.receive())
    gate.open()
    assert holding[0].receive().status == 200
    assert client.request("GET", "/peak").status == 200


@pytest.mark.parametrize("mode, front", CASES)
def test_who_leaves_gives_up_the_place(held, mode, front):
    """Clients that give up and come again do not fill the queue with requests that nobody waits for."""
    site, gate, holding, stack = held(mode, max_queue=2)
    for count in (2, 4, 6):
        for client in clients_of(site, stack, [front] * 2):
            client.send("GET", "/overlap?left")
            client.close()
        poll(lambda count=count: site.count(r'"GET /overlap\?left HTTP/1.1" 499 ') == count, "nobody leaves")
    waiting = clients_of(site, stack, [front] * 2)
    for client in waiting:
        client.send("GET", "/overlap")
    gate.open()
    assert {each.receive().status for each in [*holding, *waiting]} == {200}
    assert site.count("no core is free") == 0
    (client,) = clients_of(site, stack, ["http"])
    assert len(called(client)) == 2, "the application was called for those that left"


# Fair between listeners


def in_hand(site):
    """Return how many requests the workers have, as the control socket tells."""
    command = [sys.executable, "-m", "appserver", "ctl", "--ini", str(site.ini), "status"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    return sum(map(int, re.findall(r"(\d+) in hand", told)))


FEW = 5


@pytest.mark.parametrize("flooding", ["http", "mongrel2"])
def test_a_flood_on_one_listener_leaves_others_their_turns(serve, tmp_path, flooding):
    """Of 220 that wait, the 20 of the quiet listeners come within the first 5 rounds."""
    site = serve("blocking:app", gevent=1, master="true", control_socket=tmp_path / "control")
    with ExitStack() as stack:
        gate = stack.enter_context(gate_in(tmp_path))
        holding, teller = clients_of(site, stack, ["http"] * 2)
        holding.send("GET", f"/hold?{gate.path}")
        gate.wait_for(1)
        flood = clients_of(site, stack, [flooding] * 200)
        for client in flood:
            client.send("GET", "/overlap")
        poll(lambda: in_hand(site) == 201, "the flood does not arrive")
        others = [
            each
            for front in ("http", "uwsgi", "fastcgi-kept", "scgi", "mongrel2")
            for each in clients_of(site, stack, [front] * FEW)
            if front != flooding
        ]
        for client in others:
            client.send("GET", "/overlap")
        poll(lambda: in_hand(site) == 201 + len(others), "the others do not arrive")
        gate.open()
        assert {each.receive().status for each in [holding, *flood, *others]} == {200}
        order = json.loads(teller.request("GET", "/peak").body)["order"]
    assert len(order) == 220
    first = Counter(order[: 5 * FEW])
    assert first == Counter(dict.fromkeys(["http", "uwsgi", "fastcgi", "scgi", "mongrel2"], FEW))


@pytest.mark.parametrize("mode", MODES)
def test_a_flood_does_not_take_the_places_of_others(serve, tmp_path, mode):
    """Where the queue is full, the flood's own requests are refused, whoever comes last."""
    listeners, cores, options = MODES[mode]
    site = serve(
        "blocking:app", listeners, max_queue=40, master="true", control_socket=tmp_path / "control", **options
    )
    with ExitStack() as stack:
        gate = stack.enter_context(gate_in(tmp_path))
        holding = clients_of(site, stack, ["http"] * cores)
        for client in holding:
            client.send("GET", f"/hold?{gate.path}")
        gate.wait_for(cores)
        flood = clients_of(site, stack, ["http"] * 100)
        for client in flood:
            client.send("GET", "/overlap")
        poll(lambda: in_hand(site) == cores + 40, "the flood is not bounded")
        others = clients_of(site, stack, ["uwsgi", "fastcgi-kept", "scgi"] * FEW)
        for client in others:
            client.send("GET", "/overlap")
        poll(lambda: site.count('"GET /overlap HTTP/1.1" 503 ') == 60 + len(others), "nobody gives way")
        gate.open()
        assert Counter(each.receive().status for each in flood) == {
            503: 60 + len(others),
            200: 40 - len(others),
        }
        assert {each.receive().status for each in [*holding, *others]} == {200}


@pytest.mark.parametrize("mode", MODES)
def test_a_flood_over_kept_connections_lets_others_be_accepted(serve, mode):
    """With several workers one without a free core accepts nothing; and yet each listener has its turn."""
    listeners, _, options = MODES[mode]
    site = serve("blocking:app", listeners, processes=2, **options)
    quiet = [front for front in FRONTS if front.partition("-")[0] in listeners and front != "http"]
    with ExitStack() as stack:
        flood = clients_of(site, stack, ["http"] * 40)
        for client in flood:
            client.connect()
        for client in flood:
            client.sock.sendall(client.encode("GET", "/overlap") * 100)
        for client in clients_of(site, stack, quiet * 4):
            assert client.request("GET", "/peak").status == 200
        before = site.count('"GET /overlap HTTP/1.1" 200 ')
    assert before < 600, "a few requests of others have waited for too many of 4000"
