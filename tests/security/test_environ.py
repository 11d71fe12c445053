"""What a client, and who pretends to be a front end, can do to the environ: nothing (docs/security/environ.md)."""

from __future__ import annotations

import json
import re
import socket
from contextlib import ExitStack

import pytest

from tests.listeners.conftest import FRONTS, HTTP_FRONTS, Site
from tests.support.answers import Wire, read_response
from tests.support.server import Server
from tests.support.simulated import GUARD

ECHO = "appserver.parity.echo:application"
EVERY = ("http", "uwsgi", "fastcgi", "scgi", "mongrel2", "mongrel2-tnetstring")
CGI = ("uwsgi", "fastcgi", "scgi")
PEER = {"http": "127.0.0.1"}  # who the listener hears; the tests' front ends name 192.0.2.7
FORGED = [
    ("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Port", "1"), ("Forwarded", "for=203.0.113.9;proto=https;host=evil.example"),
]  # fmt: skip


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Return servers that are started when a test first asks for their options."""
    found = {}
    with ExitStack() as stack:

        def site(**options):
            key = json.dumps(options, sort_keys=True)
            if key not in found:
                found[key] = Site(tmp_path_factory.mktemp("site"), ECHO, **options)
                stack.callback(found[key].close)
            return found[key]

        yield site


@pytest.fixture
def plain(sites):
    return sites()


@pytest.fixture
def trusting(sites):
    return sites(
        trusted_proxies="127.0.0.1, 192.0.2.0/24",
        trusted_headers="x-forwarded-for, x-forwarded-proto, x-forwarded-host, x-forwarded-port",
    )


def environ(site, front, target="/", headers=(), *, method="GET", **more):
    """Return what the application is given for a request."""
    with site.client(front) as client:
        answer = client.request(method, target, headers, **more)
    assert answer.status == 200, answer
    return json.loads(answer.body)["environ"]


def refused(site, front, *headers, target="/", **more):
    with site.client(front) as client:
        answer = client.request("GET", target, headers, **more)
    assert answer.status == 400, answer


def own(found):
    """Return what tells who the client is and what it asked for."""
    return {
        key: found.get(key)
        for key in ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT", "HTTPS")
    }


@pytest.mark.parametrize("front", HTTP_FRONTS)
def test_E1_underscores_are_no_dashes(plain, front):
    headers = [("X_Forwarded_For", "203.0.113.9"), ("X-Other", "1"), ("X_Other", "2")]
    found = environ(plain, front, headers=headers)
    assert found.get("HTTP_X_FORWARDED_FOR") == (None if front == "http" else "192.0.2.7")
    assert found["HTTP_X_OTHER"] == "1"


@pytest.mark.parametrize("front", HTTP_FRONTS)
def test_E2_fields_with_underscores_frame_nothing(plain, front):
    headers = [
        ("Content_Length", "5"),
        ("Transfer_Encoding", "chunked"),
        ("Host_", "evil"),
        ("Content_Type", "a/b"),
    ]
    found = environ(plain, front, headers=headers)
    assert not {
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "HTTP_TRANSFER_ENCODING",
        "HTTP_HOST_",
        "HTTP_CONTENT_LENGTH",
    } & set(found)
    assert found["HTTP_HOST"] == "localhost"


@pytest.mark.parametrize("front", EVERY)
def test_E3_no_client_sets_http_proxy(plain, front):
    found = environ(plain, front, headers=[("Proxy", "http://evil.example:1")])
    assert "HTTP_PROXY" not in found


@pytest.mark.parametrize("front", EVERY)
def test_E4_nobody_is_believed_by_default(plain, front):
    assert own(environ(plain, front, headers=FORGED)) == own(environ(plain, front))


@pytest.mark.parametrize("front", EVERY)
def test_E4_peers_outside_the_list_are_not_believed_and_leave_nothing(sites, front):
    site = sites(trusted_proxies="198.51.100.0/24")
    found = environ(site, front, headers=FORGED)
    assert own(found) == own(environ(site, front))
    assert not [key for key in found if "FORWARDED" in key]


@pytest.mark.parametrize("front", EVERY)
def test_E4_the_last_hop_that_is_no_proxy_is_the_client(trusting, front):
    chain = "198.51.100.66, 203.0.113.9, 192.0.2.8"
    found = environ(trusting, front, headers=[("X-Forwarded-For", chain), *FORGED[1:4]])
    if front.startswith("mongrel2"):  # the tests' Mongrel2 has a word of its own before the client's
        chain = f"192.0.2.7, {chain}"
    assert found["HTTP_X_FORWARDED_FOR"] == chain
    assert own(found) == {
        "REMOTE_ADDR": "203.0.113.9", "wsgi.url_scheme": "https", "HTTPS": "on", "HTTP_HOST": "evil.example",
        "SERVER_NAME": "evil.example", "SERVER_PORT": "1",
    }  # fmt: skip
    assert "REMOTE_PORT" not in found
    assert "HTTP_FORWARDED" not in found, "trusted-headers does not name it"


@pytest.mark.parametrize("front", EVERY)
def test_E4_the_standard_field(sites, front):
    site = sites(trusted_proxies="127.0.0.1, 192.0.2.0/24", trusted_headers="forwarded")
    value = 'for=198.51.100.66;proto=http, for="[2001:db8::9]:77";proto=https;host=a.example, for=192.0.2.8'
    found = environ(site, front, headers=[*FORGED[:4], ("Forwarded", value)])
    assert (found["REMOTE_ADDR"], found["REMOTE_PORT"]) == ("2001:db8::9", "77")
    assert (found["wsgi.url_scheme"], found["HTTP_HOST"]) == ("https", "a.example")
    assert not [key for key in found if "X_FORWARDED" in key]


@pytest.mark.parametrize("front", ["http", "uwsgi", "mongrel2"])
def test_E4_garbage_is_ignored_and_counted(trusting, front):
    trusting.forget_log()
    for _ in range(2):
        found = environ(trusting, front, headers=[("X-Forwarded-For", "203.0.113.9, \xfe\xff")])
        assert found["REMOTE_ADDR"] == PEER.get(front, "192.0.2.7")
    assert trusting.log(r"X-Forwarded-For (was ignored|is malformed)")
    assert trusting.count("X-Forwarded-For") == 1, "told once, not for every request"


@pytest.mark.parametrize("front", EVERY)
def test_E5_a_scheme_that_is_told_twice_is_never_mixed(trusting, front):
    refused(trusting, front, ("X-Forwarded-Proto", "http, https"))
    refused(
        trusting,
        front,
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Proto", "https"),
        **repeated(front, "https"),
    )
    found = environ(trusting, front, headers=[("X-Forwarded-Proto", "https, https")])
    assert found["wsgi.url_scheme"] == "https"


def repeated(front, value):
    """Return more for a client that sends variables: nginx before 1.23 repeats them as they came."""
    return {"params": [("HTTP_X_FORWARDED_PROTO", value)]} if front in CGI else {}


LINE = b"PROXY TCP4 203.0.113.9 127.0.0.1 56324 443\r\n"
BINARY = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x15" + bytes([203, 0, 113, 9, 127, 0, 0, 1]) + b"\xdc\x04\1\xbb"
    b"\x04\0\6a\0b\0c\0"
)  # fmt: skip
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    """Return the addresses of sockets that want the PROXY protocol, and of one that does not."""
    directory = tmp_path_factory.mktemp("proxied")
    (directory / "site.ini").write_text(
        f"[appserver]\nmodule = {ECHO}\nenable-proxy-protocol = true\n"
        "http-socket = 127.0.0.1:0, trusted-proxies=127.0.0.1\n"
        "http-socket = 127.0.0.1:0, trusted-proxies=192.0.2.1\n"
        "http-socket = 127.0.0.1:0, enable-proxy-protocol=false\n"
        f"http-socket = {directory}/unix.sock, trusted-proxies=127.0.0.1\n"
    )
    with Server("--ini", directory / "site.ini") as server:
        yield server, [address for _, address in server.all_addresses]


def said(address, *pieces):
    """Say *pieces* on one connection; return what is answered to each, None where the connection ends."""
    if address[0] == "/":
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(GUARD)
        sock.connect(address)
    else:
        host, _, port = address.rpartition(":")
        sock = socket.create_connection((host, int(port)), GUARD)

    def more():
        try:
            return sock.recv(65536)
        except ConnectionResetError:
            return b""

    found = []
    with sock:
        wire = Wire(more)
        for piece in pieces:
            try:
                sock.sendall(piece)
            except OSError:
                found.append(None)
                continue
            if wire.buffer or wire.fill():
                answer = read_response(wire, "GET")
                body = json.loads(answer.body)["environ"] if answer.status == 200 else None
                found.append((answer.status, body and (body["REMOTE_ADDR"], body.get("REMOTE_PORT"))))
            else:
                found.append(None)
    return found


@pytest.mark.parametrize("head", [LINE, BINARY])
def test_E6_the_proxy_protocol_names_the_client_of_a_whole_connection(proxied, head):
    _, (trusted, *_) = proxied
    client = (200, ("203.0.113.9", "56324"))
    assert said(trusted, head + GET, GET) == [client, client]


def test_E6_a_check_of_the_balancer_keeps_its_address(proxied):
    _, (trusted, *_) = proxied
    ((status, (address, _)),) = said(trusted, LOCAL + GET)
    assert (status, address) == (200, "127.0.0.1")


@pytest.mark.parametrize("head", [LINE, BINARY, LOCAL])
def test_E6_it_is_read_only_where_it_is_configured(proxied, head):
    _, (_, _, without, _) = proxied
    ((status, _),) = said(without, head + GET)
    assert status == 400


@pytest.mark.parametrize(
    "head", [b"", b"PROXY " + b"x" * 102, LINE[:-2] + b"\n", BINARY[:12] + b"\x31" + BINARY[13:], b" " + LINE]
)
def test_E6_a_bad_one_ends_the_connection(proxied, head):
    _, (trusted, *_) = proxied
    assert said(trusted, head + GET, GET) == [(400, None), None]


def test_E6_only_trusted_peers_are_heard_where_there_is_a_list(proxied):
    server, (_, foreign, _, unix) = proxied
    assert said(foreign, LINE + GET) == [None]
    assert said(unix, LINE + GET) == [None], "a Unix socket is no address: `unix` names it"
    server.wait_until(r"a peer was turned away \(1 so far\): 127.0.0.1 is not in trusted-proxies")
    server.wait_until(r"a peer was turned away \(1 so far\): unix is not in trusted-proxies")


@pytest.mark.parametrize("second", [LINE, BINARY, LOCAL])
def test_E7_there_is_no_second_one(proxied, second):
    _, (trusted, *_) = proxied
    assert said(trusted, LINE + GET, second + GET, GET)[1:] == [(400, None), None]


@pytest.mark.parametrize("front", EVERY)
def test_E8_paths_are_decoded_once(plain, front):
    found = environ(plain, front, "/%2541%25%32%46?a=%2541")
    assert (found["PATH_INFO"], found["QUERY_STRING"]) == ("/%41%2F", "a=%2541")
    assert found["REQUEST_URI"] == "/%2541%25%32%46?a=%2541"


@pytest.mark.parametrize("front", EVERY)
@pytest.mark.parametrize(
    "target, path",
    [
        ("/a/../b", "/a/../b"), ("//", "//"), ("//a//b", "//a//b"), ("/./a/.", "/./a/."), ("/%2e%2e/%2E", "/../."),
        ("/a%2Fb", "/a/b"), ("/a;b=c/d", "/a;b=c/d"), ("/a%5c", "/a\\"), ("/%C3%A9", "/\xc3\xa9"), ("/+%20", "/+ "),
    ],
)  # fmt: skip
def test_E9_paths_are_as_sent(plain, front, target, path):
    found = environ(plain, front, target)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"], found["REQUEST_URI"]) == ("", path, target)


@pytest.mark.parametrize("front", EVERY)
def test_E10_repeated_fields_are_joined(plain, front):
    found = environ(
        plain, front, headers=[("Cookie", "a=1"), ("Cookie", "b=2"), ("Accept", "x"), ("Accept", "y")]
    )
    assert (found["HTTP_COOKIE"], found["HTTP_ACCEPT"]) == ("a=1; b=2", "x, y")


@pytest.mark.parametrize("front", EVERY)
@pytest.mark.parametrize("name", ["Authorization", "User-Agent", "If-Modified-Since"])
def test_E10_what_can_be_there_once_is_not_repeated(plain, front, name):
    refused(plain, front, (name, "a"), (name, "b"))


@pytest.mark.parametrize("front", HTTP_FRONTS)
@pytest.mark.parametrize("name", ["Host", "Content-Type", "Content-Length"])
def test_E10_nor_what_front_ends_make_variables_of(plain, front, name):
    refused(plain, front, (name, "1"), (name, "2"))


@pytest.mark.parametrize("front", EVERY)
def test_E11_names_of_the_servers_own_keys(plain, front):
    names = [
        "wsgi.input",
        "wsgi.multithread",
        "Server-Name",
        "Remote-User",
        "Script-Name",
        "Path-Info",
        "Request-Method",
    ]
    headers = [(name, "evil") for name in names]
    found, usual = environ(plain, front, headers=headers), environ(plain, front)
    changed = {key for key in found if found[key] != usual.get(key)} - {"REMOTE_PORT", "appserver.queued"}
    assert changed == {f"HTTP_{name.upper().replace('-', '_')}" for name in names}


@pytest.mark.parametrize("front", HTTP_FRONTS)
@pytest.mark.parametrize("name", ["SERVER_NAME", "REMOTE_USER", "HTTP_", "HTTP_HOST", "REMOTE_ADDR"])
def test_E11_names_of_variables_are_no_fields(plain, front, name):
    found, usual = environ(plain, front, headers=[(name, "evil")]), environ(plain, front)
    assert "evil" not in found.values()
    assert set(found) - {"appserver.queued"} == set(usual) - {"appserver.queued"}


@pytest.mark.parametrize("front", CGI)
@pytest.mark.parametrize("name", ["wsgi.url_scheme", "wsgi.input", "appserver.listener", "wsgi.file_wrapper"])
def test_E11_variables_are_no_objects_of_the_servers(plain, front, name):
    found, usual = environ(plain, front, params=[(name, "evil")]), environ(plain, front)
    assert found[name] == usual[name]


MOUNTED = """
def named(name):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [f"{name} {environ['SCRIPT_NAME']} {environ['PATH_INFO']}".encode()]
    return application


app, root = named("app"), named("root")
"""


@pytest.fixture(scope="module")
def mounted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("mounted")
    (directory / "mounted.py").write_text(MOUNTED)
    site = Site(
        directory, "mounted:root", chdir=directory, mount="/app=mounted:app", manage_script_name="true"
    )
    yield site
    site.close()


@pytest.mark.parametrize("front", EVERY)
@pytest.mark.parametrize(
    "target, told",
    [
        ("/app", "app /app "), ("/app/x", "app /app /x"), ("/application", "root  /application"),
        ("/app%2Fx", "app /app /x"), ("/App", "root  /App"), ("//app/x", "root  //app/x"), ("/apps/../app", "root  /apps/../app"),
    ],
)  # fmt: skip
def test_E12_a_mount_ends_at_a_slash(mounted, front, target, told):
    with mounted.client(front) as client:
        assert client.request("GET", target, [("Script-Name", "/app")]).body.decode() == told


@pytest.mark.parametrize("front", HTTP_FRONTS)
def test_E12_no_client_tells_script_name(plain, front):
    found = environ(plain, front, "/x", [("SCRIPT_NAME", "/evil"), ("Script-Name", "/evil")])
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("", "/x")


@pytest.mark.parametrize("front", ["uwsgi", "scgi"])
def test_E12_a_front_end_tells_script_name(plain, front):
    found = environ(plain, front, "/m/x", params=[("SCRIPT_NAME", "/m"), ("PATH_INFO", "/x")])
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/m", "/x")


@pytest.mark.parametrize("front", CGI)
@pytest.mark.parametrize(
    "name, value, scheme",
    [
        ("HTTPS", "on", "https"), ("HTTPS", "1", "https"), ("HTTPS", "off", "http"), ("HTTPS", "evil", "http"),
        ("REQUEST_SCHEME", "https", "https"), ("REQUEST_SCHEME", "ftp", "http"), ("UWSGI_SCHEME", "https", "https"),
        ("UWSGI_SCHEME", "javascript", "http"), ("wsgi.url_scheme", "https", "http"), ("HTTP_HTTPS", "on", "http"),
    ],
)  # fmt: skip
def test_E13_a_front_end_tells_one_of_two_schemes(plain, front, name, value, scheme):
    assert environ(plain, front, params=[(name, value)])["wsgi.url_scheme"] == scheme


@pytest.mark.parametrize("front", EVERY)
@pytest.mark.parametrize("value", ["ftp", "javascript:", "HTTPS\t", "wss", "ws", "on", ""])
def test_E13_a_proxy_does_too(trusting, front, value):
    expected = "https" if value.strip() in {"HTTPS", "wss"} else "http"
    assert environ(trusting, front, headers=[("X-Forwarded-Proto", value)])["wsgi.url_scheme"] == expected


@pytest.mark.parametrize("front", HTTP_FRONTS)
def test_E13_no_client_tells_the_scheme(plain, front):
    headers = [("HTTPS", "on"), ("Https", "on"), ("Request-Scheme", "https"), ("X-Forwarded-Proto", "https"),
               ("X-Forwarded-Ssl", "on"), ("Front-End-Https", "on"), ("Url-Scheme", "https")]  # fmt: skip
    assert environ(plain, front, headers=headers[1:])["wsgi.url_scheme"] == "http"


def test_every_listener_gives_the_same_environ(plain):
    """Those of the running server, asked as front ends do by `appserver parity`."""
    from appserver.parity.command import _PROBE
    from appserver.parity.comparing import differences
    from appserver.protocols import fronts

    answers = {}
    for name, address in plain.server.all_addresses:
        if name != "mongrel2":
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port)), GUARD) as sock:
                sock.sendall(getattr(fronts, name)(_PROBE))
                data = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))
            answers[name] = fronts.answer(fronts.stdout(data)[0] if name == "fastcgi" else data, "POST")
    assert len(answers) == 4
    for name, answer in answers.items():
        assert [str(each) for each in differences(answers["http"], answer)] == [], name


def test_the_table_of_fronts_is_whole():
    assert {re.sub("-.*", "", each) for each in FRONTS} == {re.sub("-.*", "", each) for each in EVERY}


@pytest.fixture(scope="module")
def allowing(tmp_path_factory):
    directory = tmp_path_factory.mktemp("allowing")
    lines = [
        f"{name} = 127.0.0.1:0, allow={allow}"
        for name in ("http-socket", "socket", "fastcgi-socket", "scgi-socket")
        for allow in ("10.0.0.0/8", "127.0.0.0/8")
    ]
    (directory / "site.ini").write_text("\n".join(["[appserver]", f"module = {ECHO}", *lines, ""]))
    with Server("--ini", directory / "site.ini") as server:
        yield server


def test_U10_peers_outside_allow_are_turned_away_unread(allowing):
    addresses = [address for _, address in allowing.all_addresses]
    assert len(addresses) == 8
    for address in addresses[::2]:
        assert said(address, GET) == [None]
    assert len(re.findall("a peer was turned away", allowing.log)) == 4
    assert said(addresses[1], GET)[0][0] == 200
