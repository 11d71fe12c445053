"""The receiver between a simulated Mongrel2 and loops that the test plays, in one process."""

from __future__ import annotations

import errno
import os
import select
import socket
from threading import Thread
from types import SimpleNamespace

import gevent
import pytest
import zmq
from greenlet import GreenletExit

from appserver.listeners import subscription
from appserver.listeners.pull import Pull
from appserver.listeners.receiver import Receiver
from appserver.listeners.rendezvous import Rendezvous
from appserver.listeners.share import Share
from appserver.protocols import handoff
from appserver.protocols.handoff import Frames, frame, frames
from tests.support.fronts import poll
from tests.support.mongrel2 import TIMEOUT, Client, Mongrel2, tnetstring

LARGE = b"x" * 5_000_000


class Loop:
    """What a thread of a worker is to the receiver."""

    def __init__(self, rendezvous, cores=1):
        self.packets, self.stream = rendezvous.join(cores)
        self.packets.settimeout(TIMEOUT)
        self.stream.settimeout(TIMEOUT)
        self._frames = Frames()
        self._heard = []

    def take(self):
        """Take a packet with one request; return its number and the path."""
        found = [each for each in frames(self.packets.recv(1 << 20)) if each.kind == handoff.REQUEST]
        assert len(found) == 1
        return found[0].number, found[0].data.split(b" ", 3)[2].decode()

    def take_nothing(self):
        """See that nothing waits but perhaps the end; the caller knows that it would by now."""
        if select.select([self.packets], [], [], 0)[0]:
            assert self.packets.recv(1 << 20) == b""

    def hear(self):
        """Return the next frame from the stream, after the welcome."""
        while True:
            while not self._heard:
                data = self.stream.recv(1 << 16)
                assert data, "the receiver has gone"
                self._heard += self._frames.feed(data)
            if (found := self._heard.pop(0)).kind != handoff.WELCOME:
                return found

    def say(self, kind, number=0, data=b""):
        self.stream.sendall(frame(kind, number, data))

    def answer(self, number, text=""):
        self.say(handoff.LAST, number, answer(text))

    def close(self):
        self.packets.close()
        self.stream.close()


def answer(text):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text.encode())


class Between:
    """Do something once between an event of *epoll* and what the receiver does for it."""

    def __init__(self, epoll):
        self._epoll = epoll
        self.todo = None

    def poll(self, timeout):
        events = self._epoll.poll(timeout)
        todo = self.todo
        if events and todo is not None:
            self.todo = None
            todo()
        return events

    def __getattr__(self, name):
        return getattr(self._epoll, name)


class Running:
    """A receiver in a thread, the other ends of all that it has."""

    def __init__(self, peer, *, queue=100, timeout=60.0, uploads="", run=True):
        self.peer = peer
        self.counted = []
        self.reopened = []
        self.listener = SimpleNamespace(
            pull=peer.send_spec, publish=peer.recv_spec, timeout=timeout, unheard=timeout,
            count=self.counted.append, tell_strange=lambda: None,
            options=SimpleNamespace(
                zeromq_queue=queue, mongrel2_keepalive=0, zeromq_max_message=0
            ),
            mongrel2=SimpleNamespace(mongrel2_upload_dir=str(uploads), mongrel2_chroot=""),
        )  # fmt: skip
        self.rendezvous = Rendezvous()
        self.master, self._control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.loops = []
        self.receiver = Receiver(
            self.listener, self.rendezvous, self._control.fileno(), lambda: self.reopened.append(1)
        )
        self.codes = []
        self.thread = Thread(target=lambda: self.codes.append(self.receiver.run()))
        if run:
            self.thread.start()

    def loop(self, cores=1):
        self.loops.append(Loop(self.rendezvous, cores))
        return self.loops[-1]

    def request(self, path="/a", client=None, **more):
        return (client or self.peer.client()).send(path, **more)

    def drain(self):
        self.master.send(b"drain")

    def ended(self):
        self.thread.join(TIMEOUT)
        return self.codes == [0]

    def close(self):
        self.master.close()
        for each in self.loops:
            each.close()
        if self.thread.ident is not None:
            self.thread.join(TIMEOUT)
        self._control.close()
        self.rendezvous.close()
        assert not self.thread.is_alive()


@pytest.fixture
def start():
    made = []
    with Mongrel2() as peer:

        def started(**options):
            made.append(Running(options.pop("peer", peer), **options))
            return made[-1]

        yield started
        for each in made:
            each.close()


# From Mongrel2 to a loop and back


def test_a_request_goes_to_a_loop_and_its_answer_back(start):
    running = start()
    loop = running.loop()
    client = running.request("/first")
    number, path = loop.take()
    assert path == "/first"
    loop.answer(number, "done")
    assert client.answer().body == b"done"


def test_nothing_is_pulled_before_there_is_a_loop(start):
    running = start()
    sent = []
    sender = Thread(target=lambda: sent.append(running.request()))
    sender.start()
    assert running.peer.attached.wait(TIMEOUT)
    assert sent == [], "Mongrel2 has nobody to send it to"
    number, _ = running.loop().take()
    sender.join()
    running.loops[0].answer(number, "late")
    assert sent[0].answer().body == b"late"


def test_the_pieces_of_an_answer_and_its_end(start):
    running = start()
    loop = running.loop()
    client = running.request()
    number, _ = loop.take()
    loop.say(handoff.PIECE, number, b"HTTP/1.1 200 OK\r\n\r\n")
    loop.say(handoff.PIECE, number, b"a")
    loop.say(handoff.LAST_CLOSE, number, b"b")
    assert client.closed() == 4
    assert client.messages[1:] == [b"a", b"b", b""]


def test_a_large_request_arrives_however_slowly_it_is_read(start):
    running = start()
    loop = running.loop(2)
    client = running.request("/large", method="POST", body=LARGE)
    told = loop.hear()
    assert told.kind == handoff.REQUEST
    assert told.data.endswith(LARGE + b",")
    loop.answer(told.number, "all")
    assert client.answer().body == b"all"


def test_a_large_answer_arrives(start):
    running = start()
    loop = running.loop()
    client = running.request()
    number, _ = loop.take()
    text = "y" * 20_000_000
    loop.answer(number, text)
    assert client.answer().body == text.encode()


def test_a_request_that_needs_no_answer_ends(start):
    running = start()
    loop = running.loop()
    first = running.request("/first")
    number, _ = loop.take()
    running.request("/second")
    loop.say(handoff.END, number)
    assert loop.take()[1] == "/second"
    assert first.messages == []


def test_words_about_unknown_requests_change_nothing(start):
    running = start()
    loop = running.loop()
    for kind in (handoff.PIECE, handoff.LAST, handoff.LAST_CLOSE, handoff.CLOSE, handoff.END, 250):
        loop.say(kind, 77, b"x")
    client = running.request()
    number, _ = loop.take()
    loop.answer(number)
    client.answer()
    loop.answer(number, "twice")
    other = running.request()
    loop.answer(loop.take()[0])
    other.answer()
    assert len(client.messages) == 1


# Notices


def test_a_notice_goes_to_the_loop_that_has_the_connection(start):
    running = start()
    loops = [running.loop(), running.loop()]
    clients = [running.request(f"/{number}") for number in range(2)]
    taken = {}
    for loop in loops:
        number, path = loop.take()
        taken[path] = loop, number
    for kind in ("credits", "disconnect"):
        for index in (1, 0):
            running.peer.notice(clients[index], kind)
            loop, number = taken[f"/{index}"]
            told = loop.hear()
            assert (told.kind, told.number) == (handoff.NOTICE, number)
            assert kind.encode() in told.data


def test_of_a_client_that_left_nothing_is_answered_but_all_is_logged(start):
    """The loop writes the access line of what waits, so it gets that as well."""
    running = start()
    loop = running.loop()
    client = running.request("/first")
    number, _ = loop.take()
    running.request("/second", client)
    running.peer.notice(client)
    assert loop.hear().kind == handoff.NOTICE
    loop.say(handoff.END, number)
    came = frames(loop.packets.recv(1 << 20))
    assert [(each.kind, each.number) for each in came] == [(handoff.GONE, 2), (handoff.REQUEST, 2)]
    loop.say(handoff.END, 2)
    fence = running.request("/fence")
    loop.answer(loop.take()[0])
    fence.answer()
    assert client.messages == []


def test_what_is_no_request_is_counted(start):
    running = start()
    loop = running.loop()
    first = running.request()
    loop.answer(loop.take()[0])
    first.answer()
    for message in (b"", b"x", b"uuid x /", b"uuid 7 @* nonsense", b"uuid 7 @* 3:abc,0:,"):
        running.peer.raw(message)
    client = running.request()
    loop.answer(loop.take()[0])
    client.answer()
    assert len(running.counted) == 5


# WebSocket


class Talker:
    """A client whose connection has switched, as *loop* has said."""

    def __init__(self, running, loop, path):
        self.peer = running.peer
        self.client = running.request(path)
        self.number, _ = loop.take()
        loop.say(handoff.SWITCHED, self.number)
        loop.say(handoff.PIECE, self.number, b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.peer.wait(lambda: self.client.messages)

    def say(self, payload):
        fields = {"METHOD": "WEBSOCKET", "FLAGS": "0x82", "VERSION": "HTTP/1.1"}
        self.peer.raw(self.peer.message(self.client.number, "/", fields, payload))


def test_a_client_that_says_more_than_its_loop_takes_is_let_go(start):
    """And no other one, nor is anybody held up."""
    running = start()
    busy = running.loop(cores=2)
    flood, quiet = (Talker(running, busy, f"/{each}") for each in range(2))
    free = running.loop()
    quiet.say(b"first")
    for _ in range(100):
        flood.say(bytes(100_000))
    assert flood.client.closed() == 3
    assert flood.client.messages[1] == b"\x88\x2c\x03\xf0too many messages wait for the application"
    quiet.say(b"last")
    other = running.request("/other")
    free.answer(free.take()[0], "at once")
    assert other.answer().body == b"at once"
    told = []
    while not told or not told[-1].data.endswith(b"4:last,"):
        told.append(busy.hear())
    assert [each.kind for each in told if each.number == quiet.number] == [handoff.BODY] * 2
    of_flood = [each for each in told if each.number == flood.number]
    assert of_flood[-1].kind == handoff.GONE
    assert 4_000_000 < sum(len(each.data) for each in of_flood) < 6_000_000
    assert len(quiet.client.messages) == 1


def test_a_client_whose_loop_takes_what_it_says_may_say_any_amount(start):
    running = start()
    loop = running.loop()
    talker = Talker(running, loop, "/")
    for _ in range(10):
        for _ in range(20):
            talker.say(bytes(100_000))
        for _ in range(20):
            assert loop.hear().kind == handoff.BODY
    assert len(talker.client.messages) == 1


# Too many


def test_what_nobody_has_room_for_is_refused(start):
    running = start(queue=2)
    loop = running.loop()
    first = running.request("/first")
    number, _ = loop.take()
    waiting = [running.request(f"/{each}") for each in range(2)]
    refused = running.request("/refused").answer()
    assert (refused.status, refused.headers["connection"], refused.ended) == (503, "close", "length")
    assert int(refused.headers["retry-after"]) >= 1
    loop.answer(number, "first")
    assert first.answer().body == b"first"
    for each, client in enumerate(waiting):
        number, path = loop.take()
        assert path == f"/{each}"
        loop.answer(number, path)
        assert client.answer().body == path.encode()


def test_what_there_is_no_room_for_is_refused_in_its_turn(start):
    running = start(queue=1)
    loop = running.loop()
    client = running.request("/first")
    number, _ = loop.take()
    waiting = running.request("/waiting")
    running.request("/refused", client)
    running.request("/fence").answer()
    assert client.messages == []
    loop.answer(number, "first")
    assert client.answer().body == b"first"
    assert client.answer().status == 503
    assert client.closed() == 3
    loop.answer(loop.take()[0])
    waiting.answer()


def test_nobody_who_has_left_is_refused(start):
    running = start(queue=1)
    loop = running.loop()
    client = running.request("/first")
    number, _ = loop.take()
    running.request("/waiting")
    running.request("/refused", client)
    running.peer.notice(client)
    assert loop.hear().kind == handoff.NOTICE
    loop.say(handoff.END, number)
    number, path = loop.take()
    assert path == "/waiting"
    loop.answer(number)
    fence = running.request("/fence")
    loop.answer(loop.take()[0])
    fence.answer()
    assert client.messages == []


def uploaded(running, directory, name, client=None):
    """Send the end of an upload whose file is there; return the file."""
    file = directory / name
    file.write_bytes(b"body")
    headers = {"x-mongrel2-upload-start": name, "x-mongrel2-upload-done": name, "content-length": "4"}
    running.request(f"/{name}", client, method="POST", headers=headers)
    return file


def test_the_files_of_uploads_that_there_is_no_room_for_are_removed(start, tmp_path):
    """At once, in their turn, and behind an answer that has ended the connection."""
    running = start(queue=1, uploads=tmp_path)
    loop = running.loop()
    client = running.request("/first")
    number, _ = loop.take()
    waiting = uploaded(running, tmp_path, "waiting")
    refused = [uploaded(running, tmp_path, "refused"), uploaded(running, tmp_path, "behind", client)]
    refused.append(uploaded(running, tmp_path, "last", client))
    forged = tmp_path / "forged"
    forged.write_bytes(b"body")
    headers = {"x-mongrel2-upload-start": "forged", "x-mongrel2-upload-done": "forged"}
    assert running.request("/forged", method="POST", headers=headers, body=b"body").answer().status == 503
    assert not any(each.exists() for each in refused)
    assert waiting.exists()
    assert forged.exists()
    loop.say(handoff.LAST_CLOSE, number, answer("first"))
    client.closed()
    assert loop.take()[1] == "/waiting"
    assert waiting.exists(), "it is the loop's"


def test_the_files_of_uploads_that_nobody_is_left_for_are_removed(start, tmp_path):
    running = start(uploads=tmp_path)
    loop = running.loop()
    running.request("/first")
    loop.take()
    waiting = uploaded(running, tmp_path, "waiting")
    running.drain()
    loop.close()
    assert running.ended()
    assert not waiting.exists()


def test_the_files_of_uploads_to_a_mongrel2_that_has_gone_are_removed(start, tmp_path):
    running = start(uploads=tmp_path)
    loop = running.loop()
    client = running.request("/first")
    number, _ = loop.take()
    waiting = uploaded(running, tmp_path, "waiting")
    behind = uploaded(running, tmp_path, "behind", client)
    poll(lambda: running.receiver._dispatch.size == 2, "they have not come")
    running.peer.restart()
    told = loop.hear()
    assert (told.kind, told.number) == (handoff.GONE, number)
    assert not waiting.exists()
    assert not behind.exists()


def test_the_files_of_uploads_that_a_loop_cannot_tell_of_are_removed(tmp_path):
    """It gives up what waits for it when the receiver has gone."""
    file = tmp_path / "m2.a"
    file.write_bytes(b"body")
    fields = {"x-mongrel2-upload-start": "m2.a", "x-mongrel2-upload-done": "m2.a", "content-length": "4"}
    message = b"uuid 7 /a " + tnetstring(fields) + b"0:,"
    packets = iter([frame(handoff.PROBE, 0) + frame(handoff.REQUEST, 1, message), b""])
    share = object.__new__(Share)
    share._requests = {}
    share._packets = SimpleNamespace(recv=lambda _: next(packets))
    share.listener = SimpleNamespace(
        mongrel2=SimpleNamespace(mongrel2_upload_dir=str(tmp_path), mongrel2_chroot="")
    )
    assert share._orphans() == frame(handoff.ORPHAN, 0, b"uuid 7 ")
    assert not file.exists()


def test_what_a_loop_cannot_do_is_not_the_last_that_it_hears(caplog):
    told = []

    def go_on():
        told.append("told")
        raise ValueError("a defect")

    share = object.__new__(Share)
    share.listener = SimpleNamespace(pull="tcp://a")
    share._slow = set()
    share._requests = {1: SimpleNamespace(go_on=go_on), 2: SimpleNamespace(go_on=lambda: told.append("good"))}
    share._frames = Frames()
    share._stream = SimpleNamespace(recv=lambda _: frame(handoff.GO_ON, 1) + frame(handoff.GO_ON, 2))
    share._hear()
    assert told == ["told", "good"]
    assert "ValueError: a defect" in caplog.text


def test_a_subscription_looks_again_whatever_a_look_raises(monkeypatch, caplog):
    monkeypatch.setattr(subscription, "POLL_ATTACHED", 0)
    looks = iter([0.0, ValueError("a defect"), 0.0, KeyError(), 0.0])

    class Failing(subscription.Subscription):
        def _look(self):
            found = next(looks, None)
            if found is None:
                raise GreenletExit
            if isinstance(found, Exception):
                raise found
            return found

    following = object.__new__(Failing)
    following._name = "mongrel2"
    gevent.spawn(following._follow).join()
    assert next(looks, None) is None
    assert caplog.text.count("Mongrel2 cannot be seen to") == 2


# Loops that end


def test_what_a_loop_that_ends_has_not_begun_goes_to_others(start):
    running = start()
    dying = running.loop()
    clients = [running.request("/a")]
    number, _ = dying.take()
    dying.answer(number)  # it is quick, so it gets more than it has room for
    clients[0].answer()
    clients = [running.request(f"/{each}") for each in range(3)]
    first, _ = dying.take()
    other = running.loop()
    dying.close()
    assert clients[0].answer().status == 502
    assert clients[0].closed() == 2
    paths = []
    for _ in range(2):
        number, path = other.take()
        paths.append(path)
        other.answer(number, path)
        assert clients[int(path[1:])].answer().body == path.encode()
    assert sorted(paths) == ["/1", "/2"]
    assert first


def test_an_answer_that_has_begun_is_broken_off_at_a_loop_s_end(start):
    running = start()
    loop = running.loop()
    client = running.request()
    number, _ = loop.take()
    loop.say(handoff.PIECE, number, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    loop.close()
    assert client.closed() == 2
    assert client.messages[1] == b""


def test_what_a_loop_said_before_its_end_counts(start):
    running = start()
    loop = running.loop()
    client = running.request()
    number, _ = loop.take()
    text = "z" * 1_000_000
    loop.answer(number, text)
    loop.close()
    assert client.answer().body == text.encode()
    running.loop()
    other = running.request()
    running.loops[1].answer(running.loops[1].take()[0])
    other.answer()
    assert len(client.messages) == client.taken


def test_half_a_frame_at_a_loop_s_end_is_nothing(start):
    running = start()
    loop = running.loop()
    client = running.request()
    number, _ = loop.take()
    loop.stream.sendall(frame(handoff.LAST, number, answer("whole"))[:-1])
    loop.close()
    assert client.answer().status == 502


# Loops that leave


def test_a_loop_that_leaves_gets_no_more_and_may_end_when_it_has_answered(start):
    running = start()
    leaving = running.loop(2)
    client = running.request("/0")
    number, path = leaving.take()
    leaving.say(handoff.LEAVE)
    more = running.request("/more")  # for which it would have had a core
    _, at_other = running.loop(1).take()
    assert at_other == "/more"
    leaving.answer(number, path)
    assert client.answer().body == b"/0"
    assert leaving.hear().kind == handoff.FAREWELL
    leaving.take_nothing()
    leaving.close()
    assert more.messages == []


def test_what_a_loop_that_leaves_has_not_taken_goes_to_others(start):
    running = start()
    leaving, other = running.loop(3), running.loop(3)
    client = running.request("/a")
    select.select([leaving.packets, other.packets], [], [], TIMEOUT)
    holder = next(each for each in (leaving, other) if select.select([each.packets], [], [], 0)[0])
    holder.say(handoff.LEAVE)
    assert holder.hear().kind == handoff.FAREWELL
    holder.take_nothing()
    remaining = other if holder is leaving else leaving
    number, path = remaining.take()
    assert path == "/a"
    remaining.answer(number)
    client.answer()


def test_while_all_leave_the_rest_is_answered(start):
    """As at the end of the server: the receiver is told first."""
    running = start()
    loop = running.loop()
    client = running.request("/0")
    number, _ = loop.take()
    waiting = [running.request(f"/{each}") for each in range(1, 4)]
    running.request("/refused", running.peer.client())
    running.drain()
    loop.say(handoff.LEAVE)
    loop.answer(number, "0")
    assert client.answer().body == b"0"
    for each in range(1, 4):
        number, path = loop.take()
        loop.answer(number, path)
        assert waiting[each - 1].answer().body == path.encode()
    loop.answer(loop.take()[0])
    assert loop.hear().kind == handoff.FAREWELL
    assert running.ended()


def test_when_nobody_is_left_what_waits_is_refused(start):
    running = start()
    loop = running.loop()
    running.request("/0")
    loop.take()
    waiting = running.request("/1")
    fence = Thread(target=lambda: running.request("/2"))
    fence.start()
    fence.join()
    running.drain()
    loop.close()
    assert waiting.answer().status == 503
    assert running.ended()


def test_the_end_of_the_master_is_an_order_to_drain(start):
    running = start()
    loop = running.loop()
    client = running.request()
    number, _ = loop.take()
    running.master.close()
    loop.answer(number, "last")
    assert client.answer().body == b"last"
    assert loop.hear().kind == handoff.FAREWELL
    assert running.ended()


def ends_with_one_behind(start):
    """Have a receiver end whose loop is so far behind with reading that there is room for no more."""
    running = start()
    loop = running.loop()
    client = running.request()
    number, _ = loop.take()
    (consumer,) = running.receiver._dispatch.consumers
    while not consumer.writes:
        for _ in range(100):
            running.peer.notice(client, "credits")
        poll(lambda: not running.receiver._more, "it does not read")
    loop.answer(number)
    client.answer()
    running.drain()
    poll(lambda: consumer.released, "it goes on")
    return running, loop


def test_who_is_behind_with_reading_hears_of_the_end(start):
    """It would wait for another receiver else, which does not come."""
    running, loop = ends_with_one_behind(start)
    while (told := loop.hear()).kind == handoff.NOTICE:
        pass
    assert told.kind == handoff.FAREWELL
    assert running.ended()


def test_who_has_ended_without_reading_is_not_waited_for(start):
    running, loop = ends_with_one_behind(start)
    loop.close()
    assert running.ended()


@pytest.mark.parametrize("end", ["drain", "end", "word", "second word"])
def test_who_leaves_because_all_do_gets_the_rest(start, end):
    """A loop may have heard of the end before the receiver has, and say so behind an answer."""
    ends = {"drain": Running.drain, "end": lambda running: running.master.close(), "word": lambda _: None}
    ends["second word"] = lambda running: (running.master.send(b"reopen-logs"), running.drain())
    running = start(run=False)
    between = running.receiver._epoll = Between(running.receiver._epoll)
    running.thread.start()
    loop, blocked = running.loop(), running.loop()
    for each in range(2):
        running.request(f"/{each}")
    number, _ = loop.take()
    blocked.take()
    client = running.request("/rest")
    poll(lambda: running.receiver._dispatch.size == 1, "the request does not arrive")

    def leave():
        ends[end](running)
        loop.say(handoff.LEAVE, end == "word")

    between.todo = leave
    loop.answer(number)
    number, path = loop.take()
    loop.answer(number, path)
    assert client.answer().body == b"/rest"
    blocked.close()
    assert loop.hear().kind == handoff.FAREWELL
    assert running.ended()


def test_who_has_been_let_go_gets_nothing_at_the_end(start):
    """A reload and a stop at once: what has said farewell may not be there any more."""
    running = start()
    gone, loop = running.loop(), running.loop()
    first = running.request("/0")
    select.select([gone.packets, loop.packets], [], [], TIMEOUT)
    if select.select([loop.packets], [], [], 0)[0]:
        gone, loop = loop, gone
    gone.answer(gone.take()[0])
    first.answer()
    gone.say(handoff.LEAVE)
    assert gone.hear().kind == handoff.FAREWELL
    running.drain()
    clients = [running.request(f"/{each}") for each in range(2)]
    for client in clients:
        number, path = loop.take()
        loop.answer(number, path)
        assert client.answer().body == path.encode()
    gone.take_nothing()
    assert loop.hear().kind == handoff.FAREWELL
    assert running.ended()


def test_requests_that_come_at_the_very_end_are_waited_for(start):
    """Mongrel2 ends the connection, and what it had sent before is dealt out at once."""
    running = start(run=False)
    receiver = running.receiver

    class Pull:
        last = 0.0
        told = True

        def __init__(self):
            self.messages = [running.peer.message(9, "/last", {})]

        def take(self):
            return self.messages.pop(0) if self.messages else None

        def quiet(self):
            return not self.last

        def ended(self):
            return True

    running.loop(2)
    receiver._join()
    receiver._dispatch.draining = True
    receiver._pull = Pull()
    receiver._pull.last = 1.0
    assert not receiver._over()
    assert [job.connection[1] for job in receiver._dispatch.jobs.values()] == [b"9"]
    receiver._dispatch.finish(1)
    assert receiver._over()
    receiver._pull = None
    running.drain()
    assert receiver.run() == 0


# Loops that are stuck


def test_what_a_stuck_loop_does_not_take_goes_to_an_idle_one(start):
    running = start()
    loops = [running.loop(), running.loop()]
    client = running.request("/a")
    select.select([each.packets for each in loops], [], [], TIMEOUT)
    stuck, idle = loops if select.select([loops[0].packets], [], [], 0)[0] else loops[::-1]
    number, path = idle.take()  # the other one does not take it
    assert path == "/a"
    idle.answer(number, "done")
    assert client.answer().body == b"done"
    # Whatever comes goes to the other one, until the probe has been taken.
    for _ in range(3):
        client = running.request("/b")
        idle.answer(idle.take()[0])
        client.answer()
    assert [each.kind for each in frames(stuck.packets.recv(1 << 20))] == [handoff.PROBE]
    first = running.request("/c")
    ready = select.select([each.packets for each in loops], [], [], TIMEOUT)[0]
    busy = next(each for each in loops if each.packets in ready)
    busy.take()
    second = running.request("/d")
    other = next(each for each in loops if each is not busy)
    assert other.take()[1] == "/d"
    assert first.messages == second.messages == []


# Mongrel2 and its ends


def test_a_restart_of_mongrel2_ends_what_is_in_hand(start):
    running = start()
    loop = running.loop(2)
    old = running.request("/old")
    number, _ = loop.take()
    running.peer.restart()
    told = loop.hear()
    assert (told.kind, told.number) == (handoff.GONE, number)
    new = running.request("/new", old)  # of the same number
    second, path = loop.take()
    assert path == "/new"
    loop.answer(number, "old")
    loop.answer(second, "new")
    assert new.answer().body == b"new"
    assert len(new.messages) == 1


def test_an_answer_of_which_mongrel2_takes_only_a_part_is_not_continued(start):
    """It takes nothing for the whole time-out, then goes on: the client may not miss something between."""
    with Mongrel2(rcvhwm=1) as peer:
        running = start(peer=peer, timeout=0.2)
        running.receiver._clients.credits.uncontrolled = 1
        loop = running.loop()
        client = running.request()
        number, _ = loop.take()
        loop.say(handoff.PIECE, number, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.wait(lambda: client.messages)
        peer.reading.clear()
        writer = Thread(target=lambda: [loop.say(handoff.PIECE, number, LARGE[:20000]) for _ in range(4000)])
        writer.start()
        told = loop.hear()
        assert (told.kind, told.number) == (handoff.GONE, number)
        peer.reading.set()
        writer.join()
        loop.say(handoff.LAST, number, b"0\r\n\r\n")
        other = running.request("/other")
        loop.answer(loop.take()[0], "other")
        assert other.answer().body == b"other"
        assert b"0\r\n\r\n" not in client.messages
        assert 1 < len(client.messages) < 4001


def test_it_subscribes_once_there_are_the_means(start, monkeypatch, caplog):
    failures = iter([zmq.ZMQError(errno.EMFILE)] * 3)

    def failing(*arguments):
        for error in failures:
            raise error
        return Pull(*arguments)

    monkeypatch.setattr("appserver.listeners.receiver.Pull", failing)
    running = start()
    loop = running.loop()
    client = running.request()
    loop.answer(loop.take()[0], "late")
    assert client.answer().body == b"late"
    assert caplog.text.count("nothing can be subscribed to: Too many open files") == 1


# What another receiver has left


def test_what_the_receiver_before_has_left_is_broken_off(start):
    running = start()
    loop = running.loop()
    waiting, begun = running.peer.client(), running.peer.client()
    loop.say(handoff.ORPHAN, 0, f"{running.peer.uuid} {waiting.number} ".encode())
    loop.say(handoff.ORPHAN, 1, f"{running.peer.uuid} {begun.number} ".encode())
    loop.say(handoff.ORPHAN, 1, b"nonsense")
    assert waiting.answer().status == 502
    assert waiting.closed() == 2
    assert begun.closed() == 1


def test_a_loop_that_was_blocked_may_tell_later(start):
    """The receiver has attached long before, with other loops."""
    running = start()
    other = running.loop()
    client = running.request()
    other.answer(other.take()[0])
    client.answer()
    late, orphan = running.loop(), running.peer.client()
    late.say(handoff.ORPHAN, 0, f"{running.peer.uuid} {orphan.number} ".encode())
    assert orphan.answer().status == 502


def test_it_is_told_too_late_when_mongrel2_has_been_restarted(start):
    """The next Mongrel2 numbers its clients anew: this would be somebody else's."""
    running = start()
    loop = running.loop()
    client = running.request()
    loop.answer(loop.take()[0])
    client.answer()
    running.peer.restart()
    again = running.request("/again", Client(running.peer, client.number))
    number, _ = loop.take()
    loop.say(handoff.ORPHAN, 0, f"{running.peer.uuid} {client.number} ".encode())
    loop.answer(number, "again")
    assert again.answer().body == b"again"
    assert len(again.messages) == 1


# The receiver itself


def test_logs_are_reopened_when_the_master_says_so(start):
    running = start()
    running.master.send(b"reopen-logs")
    poll(lambda: running.reopened, "nobody reopens them")
    loop = running.loop()
    client = running.request()
    loop.answer(loop.take()[0])
    client.answer()


def test_loops_that_come_and_go_leave_nothing_open(start):
    running = start()
    stays = running.loop()
    client = running.request()
    stays.answer(stays.take()[0])
    client.answer()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        loop = running.loop()
        if number % 2:
            loop.say(handoff.LEAVE)
            assert loop.hear().kind == handoff.FAREWELL
        loop.close()
    poll(lambda: len(os.listdir("/proc/self/fd")) == before, "descriptors are left")
    client = running.request()
    stays.answer(stays.take()[0])
    client.answer()
    assert len(running.receiver._loops._by_fd) == 2, "by the stream and by the life of its process"


def test_nothing_to_do_costs_nothing(start):
    """It looks whether Mongrel2 is still there, and does nothing else."""
    running = start()
    loop = running.loop()
    client = running.request()
    loop.answer(loop.take()[0])
    client.answer()
    turns = []
    take = running.receiver._turn

    def turn():
        turns.append(1)
        take()

    running.receiver._turn = turn
    before = len(turns)
    select.select([loop.packets, loop.stream], [], [], 1.0)
    assert len(turns) - before <= 6


# Limits


def test_while_mongrel2_takes_no_answers_its_requests_wait_with_it(start):
    """Refusals would pile up here else; what is not read waits in Mongrel2, as do its clients."""
    with Mongrel2(rcvhwm=1) as peer:
        running = start(peer=peer, queue=1)
        loop = running.loop()
        first = running.request("/first")
        number, _ = loop.take()
        peer.reading.clear()
        running.request("/second")  # all there is room for
        sent = []
        sender = Thread(target=lambda: sent.extend(running.request(f"/{each}") for each in range(20000)))
        sender.start()
        poll(lambda: running.receiver._outlet.full, "it reads on")
        sender.join(1.0)
        assert len(running.receiver._outlet) <= 1000 + 2 * 256, "those of a batch more at most"
        peer.reading.set()
        sender.join(TIMEOUT)
        assert not sender.is_alive()
        for each in sent:
            each.closed()
        assert not running.receiver._outlet
        loop.answer(number, "done")
        assert first.answer().body == b"done"


def test_loops_beyond_the_descriptors_wait(start, monkeypatch):
    """One that has no room is not turned away: it joins when another leaves."""
    running = start(run=False)
    running.receiver._loops._most = 2
    running.thread.start()
    loops = [running.loop() for _ in range(3)]
    clients = [running.request(f"/{each}") for each in range(2)]
    for loop in loops[:2]:
        number, _ = loop.take()
        loop.answer(number)
    for each in clients:
        each.answer()
    loops[2].take_nothing()
    assert running.receiver._loops.crowded
    loops[0].close()
    loops[1].close()
    running.request("/late")
    assert loops[2].take()[1] == "/late"
