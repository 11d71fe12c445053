"""What only nginx can show: connections it keeps to the server, and what operators add to its files."""

from __future__ import annotations

import os
import tempfile
from urllib.parse import quote

import pytest

from tests.peers.client import curl, established, get, together
from tests.peers.conftest import APPS, PATHS
from tests.support.fronts import Nginx, poll

pytestmark = pytest.mark.peers

KEPT = pytest.mark.parametrize("path, backend", [("nginx-fastcgi", 9000), ("nginx-http", 8080)])


@KEPT
def test_nginx_uses_its_connection_again(site, path, backend):
    """All connections to the listener that are there after each of many requests are the same one."""
    port = site.configs.port(backend)
    get(site.url(path, "/environ"))
    kept = established(port)
    assert kept
    for number in range(20):
        get(site.url(path, f"/x/{number}"), "-d", "x" * number)
        get(site.url(path, "/pieces?count=30&size=3000"))
        assert established(port) == kept


@KEPT
def test_an_answer_that_breaks_off_ends_the_connection_and_no_other_request(site, path, backend):
    for _ in range(3):
        get(site.url(path, "/environ"))
        assert curl(site.url(path, "/fail?after=100")).exit in {18, 56}


@pytest.mark.parametrize("path", ["nginx-uwsgi", "nginx-scgi"])
def test_protocols_without_kept_connections_leave_none(site, path):
    backend = {"nginx-uwsgi": 3031, "nginx-scgi": 4000}[path]
    get(site.url(path, "/environ"))
    poll(lambda: not established(site.configs.port(backend)), "the connection is still there")


@pytest.mark.parametrize("path", ["nginx-http", "nginx-uwsgi", "nginx-fastcgi", "nginx-scgi"])
def test_many_clients_at_once(site, path):
    replies = together(8, lambda number: [get(site.url(path, f"/x/{number}-{turn}")) for turn in range(5)])
    for number, mine in enumerate(replies):
        assert [reply.json["PATH_INFO"] for reply in mine] == [f"/x/{number}-{turn}" for turn in range(5)]


@pytest.mark.parametrize("pass_", ["uwsgi", "fastcgi", "scgi"])
def test_an_operator_s_own_host_counts(start, pass_):
    """Debian's stock files set HTTP_HOST; a line behind the include sets it again, as many sites do."""
    start.configs.edit(
        "nginx.conf", "own.conf",
        (rf"{pass_}_param HTTP_HOST [^;]+;", f"{pass_}_param HTTP_HOST $http_host;"),
    )  # fmt: skip
    start("site.ini", "--wsgi-file", APPS)
    start(Nginx, "own.conf")
    port = {"uwsgi": 8101, "fastcgi": 8102, "scgi": 8103}[pass_]
    reply = get(start.configs.url(port, "/environ"), "-H", "Host: site.example:81")
    assert reply.status == 200
    assert reply.json["HTTP_HOST"] == "site.example:81"


@pytest.mark.parametrize("path", ["nginx-http", "nginx-uwsgi", "nginx-fastcgi", "nginx-scgi"])
@pytest.mark.parametrize(
    "target, host, told",
    [
        ("/environ", "site.example:81", "site.example:81"),
        ("/environ", "Site.Example:81", "Site.Example:81"),
        ("/environ", "site.example", "site.example"),
        ("/environ", "[::1]:81", "[::1]:81"),
        ("http://site.example/environ", "site.example:81", "site.example:81"),
        # What a client likes is no host that it has asked for.
        ("http://site.example/environ", "other.example", "site.example"),
        ("http://site.example/environ", "other.example:81", "site.example"),
        ("http://site.example/environ", "not.site.example:81", "site.example"),
    ],
)
def test_the_host_is_the_one_asked_for_with_its_port(site, path, target, host, told):
    reply = get(site.url(path, "/"), "--request-target", target, "-H", f"Host: {host}")
    assert reply.json["HTTP_HOST"] == told


@pytest.mark.parametrize("pass_", ["uwsgi", "fastcgi", "scgi"])
@pytest.mark.parametrize("between", [r"\n", r"\n\t"])
def test_a_certificate_of_the_client_arrives(start, pass_, between):
    """What nginx has as $ssl_client_raw_cert, and with tabs as $ssl_client_cert."""
    lines = ("-----BEGIN CERTIFICATE-----", "MIIBszCCAVmgAwIBAgIUe+/=", "-----END CERTIFICATE-----")
    start.configs.edit(
        "nginx.conf", "own.conf",
        (rf"({pass_}_param HTTP_HOST [^;]+;)",
         lambda found: f'{found[1]} {pass_}_param SSL_CLIENT_CERT "{between.join(lines)}";'),
    )  # fmt: skip
    start("site.ini", "--wsgi-file", APPS)
    start(Nginx, "own.conf")
    port = {"uwsgi": 8101, "fastcgi": 8102, "scgi": 8103}[pass_]
    reply = get(start.configs.url(port, "/environ"))
    assert reply.json["SSL_CLIENT_CERT"].split() == " ".join(lines).split()


@pytest.mark.parametrize("pass_", ["uwsgi", "fastcgi", "scgi"])
def test_unix_sockets(start, pass_):
    """nginx's workers are another user: they may connect because of chmod-socket."""
    option = {"uwsgi": "socket", "fastcgi": "fastcgi-socket", "scgi": "scgi-socket"}[pass_]
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = f"{directory}/app.sock"
        start.configs.edit("nginx.conf", "unix.conf", (rf"{pass_}_pass [^;]+;", f"{pass_}_pass unix:{path};"))
        server = start(None, f"--{option}", path, "--chmod-socket=666", "--vacuum", "--wsgi-file", APPS)
        start(Nginx, "unix.conf")
        port = {"uwsgi": 8101, "fastcgi": 8102, "scgi": 8103}[pass_]
        for size in (0, 100, 1_000_000):
            reply = get(start.configs.url(port, "/size"), "--data-binary", "@-", input=bytes(size))
            assert reply.body == b"%d" % size
        assert server.stop() == 0
        assert not os.path.exists(path)


@pytest.mark.parametrize("length", ["", "&length=1000000"])
@pytest.mark.parametrize("kept", ["on", "off"])
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_cut_answer_of_fastcgi_shows_over_a_unix_socket(start, kept, buffering, length):
    """nginx takes the end of a connection for that of an answer, unless it has read something that is no record."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = f"{directory}/app.sock"
        start.configs.edit(
            "nginx.conf", "unix.conf",
            (r"fastcgi_pass [^;]+;\s+fastcgi_keep_conn on;",
             f"fastcgi_pass unix:{path}; fastcgi_keep_conn {kept}; fastcgi_buffering {buffering};"),
        )  # fmt: skip
        start(None, "--fastcgi-socket", path, "--chmod-socket=666", "--wsgi-file", APPS)
        start(Nginx, "unix.conf")
        for after in (100, 200_000):
            # It says nothing at all where it reads the end together with the head.
            assert curl(start.configs.url(8102, f"/fail?after={after}{length}")).exit in {18, 52, 56}
        get(start.configs.url(8102, "/pieces?count=30&size=3000"))


@pytest.mark.parametrize("length", ["", "&length=1000000"])
@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("path", ["nginx-http", "nginx-uwsgi", "nginx-fastcgi", "nginx-scgi"])
def test_an_answer_of_a_worker_that_is_killed_does_not_pass_for_a_whole_one(start, path, buffering, length):
    """By default nginx asks over HTTP/1.0 and keeps no connection; END_REQUEST it never waits for."""
    port, listener = PATHS[path]
    pass_ = listener.replace("http", "proxy")
    start.configs.edit(
        "nginx.conf", "plain.conf",
        (rf"{pass_}_pass [^;]+;", rf"\g<0> {pass_}_buffering {buffering};"),
        ("proxy_http_version [^;]+;", ""), ("fastcgi_keep_conn on;", ""), ("keepalive 16;", ""),
    )  # fmt: skip
    start("site.ini", "--wsgi-file", APPS, "--processes=2")
    start(Nginx, "plain.conf")
    assert curl(start.configs.url(port, f"/killed?after=100{length}")).exit in {18, 52, 56}
    assert len(get(start.configs.url(port, "/pieces?count=30&size=3000")).body) == 90_000


NAMES = ["a b.txt", "a%20b.txt", "what?.txt", "caf\xe9.txt", "a+b#c.txt", "up%2f..%2fa b.txt", "end "]


@pytest.mark.parametrize("path", ["nginx-http", "nginx-uwsgi", "nginx-fastcgi", "nginx-scgi"])
def test_files_that_nginx_sends_are_those_that_were_asked_for(start, path):
    """nginx unescapes the path of X-Accel-Redirect; its workers are another user, and must read the files."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        for name in NAMES:
            with open(f"{directory}/{name}", "w") as file:
                file.write(name)
        start.configs.edit(
            "nginx.conf", "accel.conf",
            (r"location / \{", rf"location {directory}/ {{ internal; root /; }} \g<0>"),
        )  # fmt: skip
        start(
            "site.ini",
            "--wsgi-file",
            APPS,
            f"--static-map=/s={directory}",
            "--file-serve-mode=x-accel-redirect",
        )
        start(Nginx, "accel.conf")
        for name in NAMES:
            reply = get(start.configs.url(PATHS[path][0], f"/s/{quote(name, safe='')}"))
            assert (reply.status, reply.body.decode()) == (200, name)
