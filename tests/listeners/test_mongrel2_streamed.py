"""Bodies that come in pieces (``upload.stream``): read as they come, never whole where they are not."""

from __future__ import annotations

import re
import zlib

import pytest

from tests.support.mongrel2 import Mongrel2, serving, wait_for_file

MIB = 1 << 20
MOST = 131072 + 20480  # bytes that are taken ahead of the application


@pytest.fixture(scope="module")
def attached(dispatch):
    options = ["--gevent", "20", "--limit-post", "3000000"]
    with Mongrel2() as peer, serving(peer, options=options) as server:
        yield peer, server


@pytest.fixture
def peer(attached):
    return attached[0]


class Upload:
    """A client whose body Mongrel2 passes on for credit, as src/upload.c does."""

    def __init__(self, peer, body, target="/read", first=4000, *, chunked=False, client=None, **headers):
        self.peer, self.body, self.chunked = peer, body, chunked
        self.client = client or peer.client()
        self.sent = 0 if chunked else first
        fields = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(body))}
        self.client.send(
            target, method="POST", headers=fields | headers, body=body[: self.sent], UPLOAD_STREAM="0"
        )
        self.charged = 0
        self.over = False

    def credit(self):
        """Return the bytes that may be sent, which may be none."""
        granted = sum(map(int, re.findall(rb"7:credits,\d+:(\d+)#", b"".join(self.orders))))
        return granted - self.charged

    @property
    def orders(self):
        return self.peer.orders[self.client.number]

    @property
    def cancelled(self):
        return b"6:cancel,4:true!" in b"".join(self.orders)

    @property
    def released(self):
        """Whether its connection was ended, and Mongrel2's task then told to look for that."""
        return b"" in self.client.messages and self.credit() >= MIB

    def piece(self, size=20480):
        """Wait for credit and send a piece, the last one with its mark."""
        self.peer.wait(lambda: self.credit() > 0 or self.cancelled)
        if self.cancelled:
            self.over = True
            return
        size = size if self.chunked else min(size, self.credit())
        data = self.body[self.sent : self.sent + size]
        last = not data if self.chunked else self.sent + len(data) == len(self.body)
        self.raw(data, self.sent, last)
        self.sent += len(data)
        self.charged += len(data)
        self.over = last

    def raw(self, data, offset, last=False):
        fields = {"UPLOAD_STREAM": str(offset)} | ({"UPLOAD_STREAM_DONE": "1"} if last else {})
        self.peer.raw(self.peer.message(self.client.number, "/read", fields, data))

    def all(self):
        while not self.over:
            self.piece()
        return self.client


def told(body):
    return f"{len(body)} {zlib.crc32(body)}".encode()


BODY = bytes(range(256)) * 5000


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("protocol", ["tnetstring", "json"])
def test_a_body_arrives_whole_and_the_connection_is_kept(dispatch, protocol, chunked):
    with Mongrel2(protocol=protocol) as peer, serving(peer):
        client = Upload(peer, BODY, chunked=chunked).all()
        assert client.answer().body == told(BODY)
        assert client.send("/echo?text=b").answer().body == b"b"


def test_a_body_that_is_all_there_is_no_stream(peer):
    client = peer.client().send(
        "/environ", method="POST", body=b"hello", UPLOAD_STREAM="0", UPLOAD_STREAM_DONE="1"
    )
    assert client.answer().json()["body"] == "hello"


@pytest.mark.parametrize("chunked", [False, True])
def test_the_environ_tells_the_length_where_it_is_known(peer, chunked):
    client = Upload(peer, b"x" * 50_000, "/environ", chunked=chunked).all()
    found = client.answer().json()
    assert len(found["body"]) == 50_000
    assert found.get("CONTENT_LENGTH") == (None if chunked else "50000")
    assert not [key for key in found if "UPLOAD" in key]


def test_it_is_read_as_it_comes(peer, tmp_path):
    """The application has the first pieces before there are more."""
    upload = Upload(peer, b"a" * 4000 + b"b" * 1000 + b"c" * 1000, f"/progress?path={tmp_path}")
    for size in (4000, 5000):
        wait_for_file(tmp_path / str(size))
        upload.piece(1000)
    assert upload.client.answer().body == b"6000"


def test_no_more_is_taken_than_is_read(peer, tmp_path):
    """However fast it comes, it waits at Mongrel2."""
    upload = Upload(peer, bytes(2 * MIB), f"/late?gates={tmp_path}")
    wait_for_file(tmp_path / "asked-0")
    while upload.credit() > 0:
        upload.piece()
        peer.get()
    assert upload.sent <= MOST
    (tmp_path / "0").touch()
    assert upload.all().answer().body == told(bytes(2 * MIB))


def test_who_still_reads_when_the_answer_is_made_does_not_take_the_rest_for_the_end(peer, tmp_path):
    upload = Upload(peer, BODY, f"/impatient?path={tmp_path}/outcome")
    wait_for_file(tmp_path / "outcome")
    assert (tmp_path / "outcome").read_text() == "ClientGone: the request has ended"
    assert upload.all().answer().body == b"impatient"


@pytest.mark.parametrize("catch", ["", "1"])
def test_a_body_that_is_cut_raises(attached, tmp_path, catch):
    peer, server = attached
    upload = Upload(peer, BODY, f"/cut?path={tmp_path}/raised&case={catch}")
    upload.piece()
    peer.notice(upload.client)
    wait_for_file(tmp_path / "raised")
    assert (tmp_path / "raised").read_text().startswith("ClientGone")
    server.wait_until(rf"POST /cut\S*raised&case={catch} .* 499 ")


def test_a_body_shorter_than_its_length_raises(attached, tmp_path):
    peer, server = attached
    upload = Upload(peer, BODY, f"/cut?path={tmp_path}/raised")
    upload.piece()
    upload.raw(b"end", upload.sent, last=True)
    assert upload.client.answer().status == 400
    assert "Content-Length says 1280000" in (tmp_path / "raised").read_text()
    server.wait_until(r"WARNING mongrel2 \S+: POST /cut\S*: The body has .* its Content-Length says 1280000")


def test_a_body_with_a_gap_raises(peer, tmp_path):
    upload = Upload(peer, BODY, f"/cut?path={tmp_path}/raised")
    upload.piece()
    upload.raw(b"later", upload.sent + 1_000_000)
    wait_for_file(tmp_path / "raised")
    assert "does not follow" in (tmp_path / "raised").read_text()


def test_a_body_that_nobody_reads_is_read_over(peer):
    """The answer does not wait for it; the connection does, and can be used again."""
    upload = Upload(peer, bytes(MIB), "/echo?text=unread")
    peer.wait(lambda: upload.client.messages)
    client = upload.all()
    assert client.answer().body == b"unread"
    assert client.send("/echo?text=b").answer().body == b"b"


def test_a_client_that_does_not_go_on_is_cut_off_after_the_answer(attached):
    peer, server = attached
    upload = Upload(peer, bytes(MIB), "/echo?text=given-up")
    assert upload.client.answer().body == b"given-up"
    peer.wait(lambda: upload.released)
    assert not upload.cancelled, "Mongrel2 would close the descriptor under its own task"
    server.wait_until("POST /echo.text=given-up .* 200 ")


def test_a_client_that_sends_nothing_is_cut_off(tmp_path):
    with Mongrel2() as peer, serving(peer, options=["--gevent", "2", "--socket-timeout", "1"]) as server:
        upload = Upload(peer, BODY, f"/cut?path={tmp_path}/raised")
        upload.piece()
        peer.wait(lambda: upload.released)
        server.wait_until("POST /cut.* 499 ")
        assert (tmp_path / "raised").read_text().startswith("ClientGone")


def test_a_body_that_another_greenlet_still_reads(tmp_path):
    """The application does not wait for it; its client does not go on. The core is free, and a stop is quick."""
    with Mongrel2() as peer, serving(peer, options=["--gevent", "2", "--socket-timeout", "1"]) as server:
        for number in range(4):
            upload = Upload(peer, BODY, f"/impatient?path={tmp_path}/{number}")
            assert upload.client.answer().body == b"impatient"
            peer.wait(lambda upload=upload: upload.released)
            wait_for_file(tmp_path / str(number))
            assert (tmp_path / str(number)).read_text().startswith("ClientGone")
        assert peer.get("/echo?text=a").body == b"a"
        assert server.stop() == 0
        assert "Traceback" not in server.log


def test_one_greenlet_reads_and_another_answers():
    """Neither takes the place of the other where both wait for the client."""
    with Mongrel2(credit=102400) as peer, serving(peer, options=["--gevent", "2"]):
        upload = Upload(peer, BODY * 8, "/duplex")
        while not upload.over:
            upload.piece()
            upload.client.read()
        upload.client.read_until(lambda data: data.endswith(b"0\r\n\r\n"))
        assert b"".join(upload.client.messages).count(b"z") >= len(BODY * 8)


def test_one_behind_an_answer_that_closes_is_released(peer):
    client = peer.client()
    client.send("/echo?text=a", headers={"connection": "close"})
    upload = Upload(peer, BODY, client=client)
    peer.wait(lambda: upload.released)


def test_one_that_there_is_no_room_for_is_released(dispatch, tmp_path):
    if dispatch == "worker":
        return
    options = ["--processes", "1", "--master", "--zeromq-queue", "1"]
    with Mongrel2() as peer, serving(peer, options=options):
        first = peer.client().send(f"/gated?gates={tmp_path}&pieces=1")
        wait_for_file(tmp_path / "asked-0")
        peer.client().send("/echo?text=waits")
        upload = Upload(peer, BODY)
        assert upload.client.answer().status == 503
        peer.wait(lambda: upload.released)
        (tmp_path / "0").touch()
        first.answer()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_the_limit_is_refused(peer, chunked):
    upload = Upload(peer, bytes(4 * MIB), chunked=chunked)
    client = upload.all() if chunked else upload.client
    answer = client.answer()
    assert answer.status == 413


def test_a_request_that_is_refused_is_closed_once_its_body_has_come(peer):
    upload = Upload(peer, bytes(100_000), host="a b")
    peer.wait(lambda: upload.client.messages)
    assert upload.client.messages[0].startswith(b"HTTP/1.1 400 ")
    assert b"" not in upload.client.messages
    assert upload.all().closed() == 2


def test_a_piece_of_nobody_s_body_is_cut_off(peer):
    """Else Mongrel2 would wait for credit without an end."""
    client = peer.client()
    for fields in ({"UPLOAD_STREAM": "4000"}, {"UPLOAD_STREAM": "4000", "UPLOAD_STREAM_DONE": "1"}):
        peer.raw(peer.message(client.number, "/x", fields, b"data"))
    assert [b"cancel" in order for order in client.orders(2)] == [True, True]
    assert peer.get("/echo?text=a").body == b"a"


def test_many_at_once(peer):
    uploads = [Upload(peer, bytes([number]) * 300_000) for number in range(15)]
    while not all(upload.over for upload in uploads):
        for upload in uploads:
            if not upload.over:
                upload.piece()
    for number, upload in enumerate(uploads):
        assert upload.client.answer().body == told(bytes([number]) * 300_000)


def test_threads_share_the_pieces():
    """Each gets some, whichever has the request, and in any order."""
    with Mongrel2() as peer, serving(peer, options=["--threads", "4"]) as server:
        if "4 threads" in server.log:
            peer.meet(4)
        for _ in range(4):
            assert Upload(peer, BODY).all().answer().body == told(BODY)


def test_several_processes_need_the_receiver(dispatch):
    with Mongrel2() as peer, serving(peer, options=["--processes", "2"]) as server:
        upload = Upload(peer, BODY)
        if dispatch == "worker":
            upload.all()
            assert upload.client.answer().status == 501
            server.wait_until("Set zeromq-dispatch = shared, or upload.temp_store")
        else:
            assert upload.all().answer().body == told(BODY)
            upload = Upload(peer, BODY, "/die")  # a worker dies with it
            assert upload.client.answer().status == 502
            upload.piece()
            peer.wait(lambda: upload.cancelled)


def test_a_stop_waits_for_the_rest_of_a_body():
    with Mongrel2() as peer, serving(peer, options=["--gevent", "2"]) as server:
        upload = Upload(peer, BODY)
        upload.piece()
        server.process.terminate()
        assert upload.all().answer().body == told(BODY)
        assert server.stop() == 0
