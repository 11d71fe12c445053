"""What only Mongrel2 can show: its connections, messages, uploads, and its coming and going."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.peers.client import Raw, connections, curl, get, together
from tests.peers.conftest import APPS
from tests.support.fronts import Mongrel2, Nginx, poll
from tests.support.server import Server

pytestmark = pytest.mark.peers

BOTH = pytest.mark.parametrize("path", ["mongrel2-tnetstring", "mongrel2-json"])


# Connections


@BOTH
def test_a_connection_is_kept_for_several_requests(site, path):
    with Raw(site.port(path)) as client:
        for number in range(5):
            answer = client.get(f"/slow?seconds=0&{number}")
            assert answer.body.decode() == f"seconds=0&{number}"
        assert client.get("/pieces?count=20&size=100").chunks
        assert client.get("/environ", method="HEAD").body == b""
        assert client.get("/x/unknown/../").status == 200
        assert not client.get("/slow?seconds=0").closed


@BOTH
def test_connection_close_is_obeyed(site, path):
    with Raw(site.port(path)) as client:
        answer = client.get("/environ", "Connection: close")
        assert (answer.status, answer.header("Connection")) == (200, "close")
        assert client.closed()


@BOTH
def test_http_1_0_is_closed(site, path):
    with Raw(site.port(path)) as client:
        answer = client.get("/environ", version="HTTP/1.0")
        assert (answer.status, answer.header("Connection")) == (200, "close")
        assert client.closed()


@BOTH
def test_a_stream_to_http_1_0_ends_with_the_connection(site, path):
    with Raw(site.port(path)) as client:
        answer = client.get("/pieces?count=50&size=1000", version="HTTP/1.0")
        assert answer.header("Transfer-Encoding") is None
        assert len(answer.body) == 50_000
        assert answer.closed


@BOTH
def test_http_1_0_is_kept_where_it_asks_for_that(site, path):
    with Raw(site.port(path)) as client:
        for _ in range(3):
            answer = client.get("/environ", "Connection: keep-alive", version="HTTP/1.0")
            assert answer.header("Connection") == "keep-alive"


@BOTH
def test_pipelined_requests_are_answered_in_order(site, path):
    """The first ones take longest, and many may run at once."""
    wanted = [f"seconds={(5 - number) * 0.02:.2f}&{number}" for number in range(6)]
    with Raw(site.port(path)) as client:
        client.send("".join(f"GET /slow?{query} HTTP/1.1\r\nHost: a\r\n\r\n" for query in wanted))
        assert [client.answer().body.decode() for _ in wanted] == wanted


@BOTH
def test_a_kept_connection_survives_a_pause_in_a_stream(demo, path):
    with Raw(demo.port(path)) as client:
        for _ in range(2):
            assert client.get("/stream").body.count(b"mongrel2") == 5


# Messages


@BOTH
def test_json_is_a_method_like_any_other(site, path):
    with Raw(site.port(path)) as client:
        for _ in range(2):
            assert b'"REQUEST_METHOD": "JSON"' in client.get("/x", method="JSON").body
    assert get(site.url(path, "/environ")).status == 200


@BOTH
def test_bytes_that_are_no_json_and_no_utf8_arrive(site, path):
    with Raw(site.port(path)) as client:
        answer = client.get("/environ", 'X-Odd: a\tb \xe9 "q" \\ end')
        assert b'"HTTP_X_ODD": "a\\tb \\u00e9 \\"q\\" \\\\ end"' in answer.body


@BOTH
def test_the_forwarded_address_is_mongrel2_s_and_remote_addr_cannot_be_forged(site, path):
    found = get(
        site.url(path, "/environ"), "-H", "Remote_Addr: 9.9.9.9", "-H", "X-Forwarded-For: 9.9.9.9"
    ).json
    assert (found["REMOTE_ADDR"], found["HTTP_X_FORWARDED_FOR"]) == ("127.0.0.1", "127.0.0.1")


@BOTH
def test_50_clients_get_a_stream_of_102_pieces_whole(site, path, tmp_path):
    """A client is dropped by Mongrel2 that has more than 16 messages to read."""
    wanted = b"".join(b"%01100d" % number for number in range(102))
    subprocess.run(
        ["curl", "-q", "-sS", "--max-time", "50", "--parallel", "--parallel-immediate", "--parallel-max", "50",
         "-o", tmp_path / "#1", site.url(path, "/pieces?count=102&size=1100&[1-50]")],
        check=True,
    )  # fmt: skip
    whole = [number for number in range(1, 51) if (tmp_path / str(number)).read_bytes() == wanted]
    assert len(whole) == 50


@BOTH
def test_a_slow_client_gets_a_stream_whole(site, path):
    """It reads after all has been sent that anybody would send to it."""
    with Raw(site.port(path)) as client:
        client.send("GET /pieces?count=400&size=10000 HTTP/1.1\r\nHost: a\r\n\r\n")
        site.server.wait_until(r"/pieces\?count=400.* 200 4000000 ")
        answer = client.answer()
        assert answer.complete
        assert len(answer.body) == 4_000_000


# Uploads


def uploads(stack):
    return {path.name for path in stack.mongrel2.uploads.iterdir()}


@BOTH
@pytest.mark.parametrize("size", [20_480, 20_481, 1_000_000])
def test_an_upload_leaves_no_file(site, path, size):
    assert get(site.url(path, "/size"), "--data-binary", "@-", input=bytes(size)).body == b"%d" % size
    assert uploads(site) == set()


@BOTH
def test_an_upload_that_is_given_up_leaves_the_server_well(site, path):
    with Raw(site.port(path)) as client:
        client.send("POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + "x" * 300_000)
    assert get(site.url(path, "/size"), "-d", "12345").body == b"5"


def forged(*paths):
    names = ("Start", "Done")
    return [item for name, path in zip(names, paths, strict=False)
            for item in ("-H", f"X-Mongrel2-Upload-{name}: {path}")]  # fmt: skip


@BOTH
def test_forged_upload_headers_open_and_delete_nothing(site, path):
    """Neither a file of the system, nor one in the directory of the uploads."""
    victim = site.mongrel2.uploads / "mongrel2.upload.victim"
    victim.write_bytes(b"somebody else's")
    hostname = Path("/etc/hostname").read_bytes()
    try:
        for name in ("/etc/hostname", "uploads/mongrel2.upload.victim", f"{victim}", "../../etc/hostname"):
            for headers in (forged(name, name), forged(name), ["-H", f"X-Mongrel2-Upload-Done: {name}"]):
                found = get(site.url(path, "/environ"), *headers, "-d", "small").json
                assert found["body"] == "small"
                found |= get(site.url(path, "/environ"), *headers).json
                assert found["body"] == ""
                assert not [key for key in found if "UPLOAD" in key]
            # Here Mongrel2 makes a file and names it as the start; the end is still the client's word.
            for how in ([], ["-H", "Transfer-Encoding: chunked"]):
                sent = [*forged(name, name), *how, "--data-binary", "@-"]
                reply = curl(site.url(path, "/size"), *sent, input=bytes(30_000))
                assert reply.status == 400 or reply.body == b"30000"
        assert victim.read_bytes() == b"somebody else's"
        poll(lambda: uploads(site) == {victim.name}, "an upload's file is left")
    finally:
        victim.unlink()
    assert Path("/etc/hostname").read_bytes() == hostname


def test_an_upload_without_a_configured_directory_is_refused_and_explained(start):
    server = start(None, "--zeromq", start.configs.specs(), "--wsgi-file", APPS)
    start(Mongrel2)
    reply = get(start.configs.url(6767, "/size"), "--data-binary", "@-", input=bytes(30_000))
    assert reply.status == 500
    server.wait_until("Set mongrel2-upload-dir")
    assert get(start.configs.url(6767, "/size"), "-d", "12345").body == b"5"


# Coming and going


@pytest.mark.timeout(300)
def test_the_first_answer_of_each_start_arrives(start):
    """A publisher that has just connected loses what it sends; nothing may be sent before it is heard.

    The hardest case: Mongrel2 has held the request until somebody came, so it is there at once.
    """
    start(Mongrel2)
    for number in range(10):
        with Raw(start.configs.port(6767)) as client:
            client.send(f"GET /environ?{number} HTTP/1.1\r\nHost: a\r\n\r\n")
            with Server("--ini", start.configs.ini("site.ini")) as server:
                assert f"/environ?{number}" in client.answer().body.decode()
                assert get(start.configs.url(6767)).status == 200
                assert server.stop() == 0


def test_mongrel2_may_come_later_and_come_again(start):
    server = start("mongrel2.ini")
    url = start.configs.url(6767)
    mongrel2 = start(Mongrel2)
    assert get(url).status == 200
    for _ in range(3):
        mongrel2.stop()
        assert curl(url).exit == 7  # nobody listens
        mongrel2.start()
        assert get(url).status == 200
    assert server.stop() == 0
    assert "ERROR" not in server.log
    assert "Traceback" not in server.log


def test_a_stop_answers_what_has_been_sent(start, tmp_path):
    server = start("mongrel2.ini", "--wsgi-file", APPS)
    start(Mongrel2)
    with connections(16, start.configs.port(6767)) as clients:
        for client in clients:
            assert client.get("/thread").status == 200
        for number, client in enumerate(clients):
            path = tmp_path / f"begun-{number}"
            client.send(f"GET /slow?seconds=0.2&path={path} HTTP/1.1\r\nHost: a\r\n\r\n")
        poll(lambda: len(list(tmp_path.glob("begun-*"))) >= 8, "the requests have not come")
        assert server.stop() == 0
        assert [client.answer().status for client in clients] == [200] * 16


# Threads


def threads_of(port, clients):
    return [client.get("/thread").body.decode() for client in clients]


def test_8_threads_serve_8_blocking_requests_at_once(start):
    """Each of them waits in the application until all of them are there."""
    server = start("mongrel2.ini", "--threads", 8, "--wsgi-file", APPS, env={"MEET": "8"})
    assert "8 threads, each subscribed by itself" in server.log
    start(Mongrel2)
    port = start.configs.port(6767)
    with connections(8, port) as clients:
        # Mongrel2 deals requests out in turn to those that are connected: wait until all are.
        poll(lambda: len(set(threads_of(port, clients))) == 8, "not all threads have subscribed")
        answers = together(8, lambda number: clients[number].get("/meet"))
    assert [answer.status for answer in answers] == [200] * 8
    assert len({answer.body for answer in answers}) == 8


def test_beside_another_socket_threads_are_forced_to_one(start):
    server = start("mongrel2.ini", "--http-socket", "127.0.0.1:0", "--wsgi-file", APPS)
    forced = server.wait_until(r"WARNING threads = 8 is forced to 1: (.*)")
    assert "http 127.0.0.1:" in forced[1]
    assert len(server.warnings) == 1
    start(Mongrel2)
    for _ in range(10):
        assert get(start.configs.url(6767, "/thread")).body == b"MainThread"


def test_the_command_of_the_original_documentation(start):
    server = start(
        None, "--zeromq", start.configs.specs(), "--threads", "8", "--module", "werkzeug.testapp:test_app"
    )  # fmt: skip
    start(Mongrel2)
    page = get(start.configs.url(6767, "/path/%2541?a=b")).body.decode()
    assert "WSGI Information" in page
    assert "/path/%41" in page
    assert server.stop() == 0


def test_both_front_ends_attach_to_a_server_that_runs(start):
    """The page is there before nginx and Mongrel2 are."""
    start("site.ini")
    assert get(start.configs.url(8080)).status == 200
    start(Mongrel2)
    start(Nginx)
    for port in (6767, 8101, 8102, 8103, 8104):
        assert get(start.configs.url(port)).status == 200
