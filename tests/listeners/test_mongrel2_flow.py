"""Answers under ``download.flow_control``: what Mongrel2 has told is all that a client is sent."""

from __future__ import annotations

import pytest

from tests.support.mongrel2 import Mongrel2, serving

CREDIT = 102400
MIB = 1 << 20


@pytest.fixture(scope="module")
def attached(dispatch):
    with Mongrel2(credit=CREDIT) as peer, serving(peer, options=["--gevent", "20"]) as server:
        yield peer, server
        assert not peer.overrun


@pytest.fixture
def peer(attached):
    return attached[0]


def full(client):
    """Wait until no more can be outstanding, and for whatever would come nevertheless."""
    client.peer.wait(lambda: client.peer.outstanding[client.number] > CREDIT - 16384)
    for _ in range(3):
        client.peer.get()
    assert client.peer.outstanding[client.number] <= CREDIT
    return client


@pytest.mark.parametrize(
    "target, size",
    [
        (f"/large?size={MIB}", MIB),
        (f"/large?size={CREDIT + 1}", CREDIT + 1),
        ("/stream?pieces=40&size=65536", 40 * 65536),
        ("/stream?pieces=40&size=65536&length=1", 40 * 65536),
        ("/stream?pieces=3&size=1048576", 3 * MIB),
        ("/stream?pieces=20000&size=100", 2_000_000),
    ],
)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_client_is_sent_no_more_than_it_has_credit_for(peer, target, size, version):
    client = peer.client().send(target, version=version)
    full(client)
    assert b"" not in client.messages
    if version == "HTTP/1.0":
        client.read_until(lambda _: b"" in client.messages)
    else:
        chunked = "/stream" in target and "length" not in target
        client.read_until(lambda data: data.endswith(b"0\r\n\r\n") if chunked else len(data) > size)
    assert len(client.answer().body) == size


def test_credit_belongs_to_the_connection(peer):
    """Each request of a kept connection finds what those before it have left."""
    client = peer.client()
    for _ in range(2):
        client.send("/large?size=30000").answer()
    client.send("/large?size=60000")
    full(client)
    client.read_until(lambda data: data.count(b"x") > 120_000)
    assert len(client.answer().body) == 60000
    assert client.send("/echo?text=b").answer().body == b"b"


def test_a_stream_waits_for_its_client(peer, tmp_path):
    """The application is asked for no more than a little ahead, until the client reads."""
    client = peer.client().send(f"/counted?path={tmp_path}/count&pieces=64&size=65536")
    full(client)
    assert 2 <= len((tmp_path / "count").read_bytes()) <= 16
    client.read_until(lambda data: data.endswith(b"0\r\n\r\n"))
    assert len(client.answer().body) == 64 * 65536
    assert len((tmp_path / "count").read_bytes()) == 64


def test_a_slow_client_holds_no_core(peer):
    """There are 20."""
    slow = [full(peer.client().send(f"/large?size={MIB}")) for _ in range(25)]
    assert peer.get("/echo?text=a").body == b"a"
    for client in slow:
        client.read_until(lambda data: len(data) > MIB)
        assert len(client.answer().body) == MIB


def test_an_answer_behind_one_that_waits_comes_after_it(peer):
    client = peer.client().send(f"/large?size={MIB}")
    full(client)
    client.send("/echo?text=second")
    client.read_until(lambda data: data.endswith(b"second"))
    assert len(client.answer().body) == MIB
    assert client.answer().body == b"second"


def test_a_client_that_asks_on_and_on_reads_before_the_next_answer_is_made(attached, tmp_path):
    """Else it would have all of them lie in memory, as many as it asks for."""
    peer, server = attached
    client = peer.client()
    for number in range(50):
        client.send(f"/large?size={MIB}&of={tmp_path.name}&number={number}")
    full(client)
    assert server.log.count(f"&of={tmp_path.name}&number=") == 1
    for number in range(3):
        client.read_until(lambda data, least=(number + 1) * MIB: len(data) > least)
        assert len(client.answer().body) == MIB
    assert server.log.count(f"&of={tmp_path.name}&number=") <= 5
    peer.notice(client)
    server.wait_until(rf"&of={tmp_path.name}&number=49 HTTP/1.1\" 499 ")


def test_threads_hear_from_each_other_that_a_client_reads(dispatch):
    """A notice reaches any of them, and the next request is another one's."""
    with Mongrel2(credit=CREDIT) as peer, serving(peer, options=["--threads", "4"]) as server:
        peer.meet(4)
        client = peer.client()
        for number in range(20):
            client.send(f"/large?size={MIB}&number={number}")
        full(client)
        assert server.log.count("&number=") == 1
        client.read_until(lambda data: len(data) > 20 * MIB)
        assert [len(client.answer().body) for _ in range(20)] == [MIB] * 20


def test_the_next_answer_is_made_once_it_is_known_that_mongrel2_tells_nothing(dispatch):
    with Mongrel2() as peer, serving(peer, options=["--gevent", "2"]):
        client = peer.client()
        for text in ("second", "third"):
            client.send(f"/large?size={MIB}").send(f"/echo?text={text}")
        for text in (b"second", b"third"):
            assert len(client.answer().body) == MIB
            assert client.answer().body == text


def test_a_client_that_leaves_gives_up_what_waits(attached, tmp_path):
    peer, server = attached
    client = peer.client().send(f"/counted?path={tmp_path}/count&pieces=64&size=65536&left=1")
    full(client)
    peer.notice(client)
    server.wait_until(r"GET /counted\S*left=1 .* 499 ")
    sent = len(client.messages)
    peer.notice(client, "credits", {"DOWNLOAD_CREDITS": "100000"})
    peer.get()
    assert len(client.messages) == sent


def test_mongrel2_is_asked_about_a_client_that_does_not_read(peer):
    """It tells of a connection that is no more where a message is for it."""
    client = peer.client().send(f"/large?size={MIB}")
    full(client)
    assert client.orders()[0] == b"9:3:ctl,0:}]"
    peer.notice(client)
    assert peer.get("/echo?text=a").body == b"a"


def test_a_client_that_never_reads_is_dropped(tmp_path):
    options = ["--gevent", "2", "--socket-timeout", "2", "--min-rate", "100000000"]
    with Mongrel2(credit=CREDIT) as peer, serving(peer, options=options) as server:
        client = peer.client().send(f"/counted?path={tmp_path}/count&pieces=64&size=65536")
        full(client)
        peer.wait(lambda: b"26:3:ctl,16:6:cancel,4:true!}]" in peer.orders[client.number])
        server.wait_until(r"GET /counted.* 499 ")
        server.wait_until("a client that reads nothing is dropped")


@pytest.mark.parametrize("options", [[], ["--min-rate", "0"]])
def test_a_client_has_time_to_read_what_the_kernel_has(options):
    """Mongrel2 tells of nothing before much of that is read: it is asked for more than a time-out."""
    with Mongrel2(credit=CREDIT) as peer, serving(peer, options=["--socket-timeout", "1", *options]):
        client = peer.client().send(f"/large?size={MIB}")
        full(client)
        assert set(client.orders(5)) == {b"9:3:ctl,0:}]"}
        client.read_until(lambda data: len(data) > MIB)
        assert len(client.answer().body) == MIB


def known_before(peer):
    """Return a client whose first request another server has had: nothing tells of its credit any more."""
    client = peer.client()
    client.begun = True
    return client


@pytest.mark.parametrize("target", [f"/large?size={MIB}", f"/stream?pieces=16&size=65536&length={MIB}"])
@pytest.mark.parametrize("options", [("--gevent", "2"), ("--threads", "2")], ids=["gevent", "threads"])
def test_a_connection_that_is_older_than_the_server(options, target):
    """Of a server that is started again, or of another one behind the same Mongrel2."""
    with Mongrel2(credit=CREDIT) as peer, serving(peer, options=options):
        for _ in range(2):
            client = known_before(peer).send(target)
            client.read_until(lambda data: len(data) > MIB)
            assert len(client.answer().body) == MIB
        assert not peer.overrun


@pytest.mark.parametrize("options", [("--gevent", "2"), ("--threads", "2")], ids=["gevent", "threads"])
def test_a_mongrel2_that_tells_nothing_does_not_control_the_flow(options, tmp_path):
    """The first answer shows that; those behind it are sent at once."""
    with Mongrel2() as peer, serving(peer, options=options):
        target = f"/counted?path={tmp_path}/count&pieces=64&size=65536"
        assert len(peer.client().send(target).answer().body) == 64 * 65536
        client = peer.client().send(f"/large?size={MIB}")
        assert len(client.answer().body) == MIB
        assert len(client.messages) == 1


def test_a_stop_waits_for_what_waits_for_credit():
    with Mongrel2(credit=CREDIT) as peer, serving(peer, options=["--gevent", "2"]) as server:
        client = peer.client().send(f"/large?size={MIB}")
        full(client)
        server.process.terminate()
        client.read_until(lambda data: len(data) > MIB)
        assert len(client.answer().body) == MIB
        assert server.stop() == 0


def test_mongrel2_may_come_again_without_flow_control():
    with Mongrel2(credit=CREDIT) as peer, serving(peer) as server:
        full(peer.client().send(f"/large?size={MIB}"))
        peer.credit = 0
        peer.restart()
        server.wait_until(r"(?s)subscribed.*subscribed")
        assert len(peer.get(f"/large?size={MIB}").body) == MIB


def test_several_processes_need_the_receiver(dispatch):
    """Credits reach any of them where each subscribes by itself."""
    with Mongrel2(credit=CREDIT) as peer, serving(peer, options=["--processes", "2"]) as server:
        assert peer.get("/echo?text=a").body == b"a"
        if dispatch == "worker":
            server.wait_until("download.flow_control needs zeromq-dispatch = shared")
        else:
            for client in [full(peer.client().send(f"/large?size={MIB}")) for _ in range(4)]:
                client.read_until(lambda data: len(data) > MIB)
                assert len(client.answer().body) == MIB
            assert "download.flow_control" not in server.log
