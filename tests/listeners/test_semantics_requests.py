"""What a request becomes for the application, the same through every listener."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.listeners.conftest import CGI_FRONTS, HTTP_FRONTS, KEPT_FRONTS, STREAM_FRONTS, Site, over, serving

LIMIT = 6 << 20
OPTIONS = {"post_buffering": 262144, "limit_post": LIMIT}


def environ_of(client, *arguments, **more):
    answer = client.request(*arguments, **more)
    assert (answer.status, answer.complete) == (200, True), answer
    return json.loads(answer.body)


def test_get(client):
    environ = environ_of(client, "GET", "/environ")
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["PATH_INFO"] == "/environ"
    assert environ["QUERY_STRING"] == ""
    assert environ["REQUEST_URI"] == "/environ"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["HTTP_HOST"] == "localhost"
    assert environ["SERVER_NAME"]
    assert environ["SERVER_PORT"].isdigit()
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.version"] == [1, 0]
    assert environ["wsgi.input_terminated"] is True
    assert environ["wsgi.run_once"] is False
    assert environ["wsgi.multithread"] is False
    assert environ["wsgi.multiprocess"] is False
    assert environ["appserver.listener"] == client.front.partition("-")[0]
    assert environ.get("CONTENT_LENGTH") == ("0" if client.front == "scgi" else None)  # SCGI requires it
    assert "CONTENT_TYPE" not in environ


def test_remote_addr(client):
    told = environ_of(client, "GET", "/environ")["REMOTE_ADDR"]
    assert told == ("127.0.0.1" if client.front == "http" else "192.0.2.7")


@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "M-SEARCH"]
)
def test_methods(client, method):
    assert environ_of(client, method, "/environ")["REQUEST_METHOD"] == method


@pytest.mark.parametrize(
    "target, path, query",
    [
        ("/environ?a=1&b=%202", "/environ", "a=1&b=%202"),
        ("/environ?", "/environ", ""),
        ("/environ??x?", "/environ", "?x?"),
        ("/environ/a%20b", "/environ/a b", ""),
        ("/environ/%2541", "/environ/%41", ""),
        ("/environ/%C3%A9", "/environ/\xc3\xa9", ""),
        ("/environ/%e9", "/environ/\xe9", ""),
        ("/environ/%2Fx%2f", "/environ//x/", ""),
        ("/environ/a%3Fb?c%3Fd", "/environ/a?b", "c%3Fd"),
        ("/environ/100%/%zz", "/environ/100%/%zz", ""),
        ("/environ/a/../b/./c", "/environ/a/../b/./c", ""),
        ("/environ//double//", "/environ//double//", ""),
        ("/environ/;p=1,2", "/environ/;p=1,2", ""),
        ("/environ/+?+", "/environ/+", "+"),
    ],
)
def test_target(client, target, path, query):
    environ = environ_of(client, "GET", target)
    assert environ["PATH_INFO"] == path
    assert environ["QUERY_STRING"] == query
    assert environ["REQUEST_URI"] == target


@pytest.mark.parametrize("uri", ["http://localhost/environ?q", "HTTP://LOCALHOST/environ?q"])
@over("http")
def test_absolute_form(client, uri):
    environ = environ_of(client, "GET", uri)
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/environ", "q")


@pytest.mark.parametrize("host", ["localhost", "example.org:8080", "[::1]:8080", "192.0.2.1"])
def test_host(client, host):
    assert environ_of(client, "GET", "/environ", [("Host", host)])["HTTP_HOST"] == host


def test_repeated_headers_are_joined(client):
    headers = [("X-Many", "one"), ("x-many", "two, three"), ("X-MANY", "four")]
    assert environ_of(client, "GET", "/environ", headers)["HTTP_X_MANY"] == "one, two, three, four"


def test_repeated_cookies_are_joined(client):
    headers = [("Cookie", "a=1"), ("Cookie", "b=2; c=3")]
    assert environ_of(client, "GET", "/environ", headers)["HTTP_COOKIE"] == "a=1; b=2; c=3"


@pytest.mark.parametrize("value", ["", "\xe9\xff caf\xc3\xa9", 'q"uote\\d', "in\tside", "a" * 8000])
def test_header_values(client, value):
    assert environ_of(client, "GET", "/environ", [("X-Value", value)])["HTTP_X_VALUE"] == value


@pytest.mark.parametrize("name", ["Host", "Authorization", "Content-Type"])
@over(*HTTP_FRONTS)
def test_headers_that_may_not_be_repeated(client, name):
    answer = client.request("GET", "/environ", [(name, "a"), (name, "b")])
    assert answer.status == 400


def test_proxy_header_is_dropped(client):
    environ = environ_of(client, "GET", "/environ", [("Proxy", "http://evil.example"), ("X-Kept", "1")])
    assert "HTTP_PROXY" not in environ
    assert environ["HTTP_X_KEPT"] == "1"


@over(*HTTP_FRONTS)
def test_underscores_do_not_pass_for_dashes(client):
    headers = [("X-Forwarded-For", "192.0.2.7"), ("X_Forwarded_For", "evil"), ("Content_Length", "5")]
    if client.front != "http":  # Mongrel2 has sent the first itself
        del headers[0]
    environ = environ_of(client, "GET", "/environ", headers)
    assert environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.7"
    assert "CONTENT_LENGTH" not in environ
    assert "evil" not in environ.values()


@over(*HTTP_FRONTS)
def test_headers_named_like_variables(client):
    names = ["wsgi.input", "wsgi.url_scheme", "appserver.listener", "REMOTE-USER", "REMOTE-ADDR", "PATH-INFO"]
    environ = environ_of(client, "GET", "/environ", [(name, "evil") for name in names])
    assert [key for key, value in environ.items() if value == "evil" and not key.startswith("HTTP_")] == []
    assert "REMOTE_USER" not in environ


@over(*CGI_FRONTS)
def test_variables_of_the_front_end(client):
    params = [("REMOTE_USER", "ann"), ("AUTH_TYPE", "Basic"), ("X_CUSTOM", "\xe9 1"), ("EMPTY", ""),
              ("SERVER_NAME", "last.example"), ("PHP_VALUE", "a=b")]  # fmt: skip
    environ = environ_of(client, "GET", "/environ", params=params)
    assert {name: environ[name] for name, _ in params} == dict(params)


@over(*CGI_FRONTS)
def test_front_ends_cannot_set_the_servers_own(client):
    names = ["wsgi.url_scheme", "wsgi.multithread", "wsgi.input", "wsgi.errors", "wsgi.file_wrapper",
             "appserver.listener", "appserver.listeners", "wsgi.evil"]  # fmt: skip
    environ = environ_of(client, "GET", "/environ", params=[(name, "evil") for name in names])
    assert "evil" not in environ.values()
    assert environ["appserver.listener"] == client.front.partition("-")[0]


@over(*CGI_FRONTS)
@pytest.mark.parametrize(
    "name, value", [("HTTPS", "on"), ("REQUEST_SCHEME", "https"), ("UWSGI_SCHEME", "https")]
)
def test_https(client, name, value):
    assert environ_of(client, "GET", "/environ", params=[(name, value)])["wsgi.url_scheme"] == "https"


@over(*CGI_FRONTS)
def test_only_known_schemes(client):
    params = [("REQUEST_SCHEME", "javascript"), ("UWSGI_SCHEME", "file")]
    assert environ_of(client, "GET", "/environ", params=params)["wsgi.url_scheme"] == "http"


@over("mongrel2", "mongrel2-tnetstring")
def test_https_of_mongrel2(client):
    fields = {"URL_SCHEME": "https"}
    assert environ_of(client, "GET", "/environ", fields=fields)["wsgi.url_scheme"] == "https"


@over("uwsgi", "scgi")
def test_script_name_of_the_front_end(client):
    params = [("SCRIPT_NAME", "/app"), ("PATH_INFO", "/environ")]
    environ = environ_of(client, "GET", "/app/environ", params=params)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/app", "/environ")


# Bodies


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 262144, 262145, 1 << 20, 5 << 20, LIMIT])
def test_body_sizes(client, size):
    body = (bytes(range(251)) * (size // 251 + 1))[:size]
    told = environ_of(client, "POST", "/digest", body=body)
    assert told["size"] == size
    assert told["sha256"] == hashlib.sha256(body).hexdigest()
    if size:
        assert told["length"] == str(size)


@pytest.mark.parametrize("name", ["http", "uwsgi", "scgi"])
def test_what_nobody_reads_behind_a_body_breaks_no_unix_socket(tmp_path, name):
    """Over TCP the end of a connection leaves in a way that no close breaks."""
    with (
        serving(tmp_path, "semantics:app", [name], addresses={name: tmp_path / "socket"}) as site,
        site.client(name) as client,
    ):
        for size in (100, 65536, 131072, 200_000, 262144):
            fields = [("Connection", "close")] if name == "http" else []
            client.start(client.encode("POST", "/digest", fields, bytes(size)) + b"\r\n")
            client.methods.append("POST")
            answer = client.receive()
            assert (json.loads(answer.body)["size"], answer.complete) == (size, True)


@pytest.mark.parametrize("sizes", [[], [1], [5, 65536, 1], [262144, 262144, 1], [1] * 2000])
@over("http")
def test_chunked_bodies(client, sizes):
    body = (
        b"".join(b"%x;ext=1\r\n%b\r\n" % (size, b"y" * size) for size in sizes) + b"0\r\nX-Trailer: 1\r\n\r\n"
    )
    told = environ_of(client, "POST", "/digest", [("Transfer-Encoding", "chunked")], body)
    assert told["size"] == sum(sizes)
    assert told["length"] == str(sum(sizes))


def test_content_type(client):
    headers = [("Content-Type", "text/x; charset=utf-8")]
    assert environ_of(client, "POST", "/environ", headers, b"1")["CONTENT_TYPE"] == "text/x; charset=utf-8"


LINES = b"first\nsecond line\n\nlast\r\nno end"


@pytest.mark.parametrize(
    "way, pieces",
    [
        ("read", [LINES, b""]),
        ("read-minus", [LINES]),
        ("read-size", [LINES[at : at + 4] for at in range(0, len(LINES), 4)]),
        ("read-more", [LINES, b"", b""]),
        ("readline", LINES.splitlines(keepends=True)),
        ("readlines", LINES.splitlines(keepends=True)),
        ("readlines-hint", LINES.splitlines(keepends=True)),
        ("iterate", LINES.splitlines(keepends=True)),
        ("mixed", [b"f", b"irst\n", b"second line\n", b"\n", b"last\r\n", b"no end", b""]),
    ],
)
def test_reading(client, way, pieces):
    answer = client.request("POST", f"/reading/{way}", body=LINES)
    assert json.loads(answer.body) == [piece.decode() for piece in pieces]


def test_reading_lines_by_size(client):
    answer = client.request("POST", "/reading/readline-size", body=b"abcd\nef\n")
    assert json.loads(answer.body) == ["abc", "d\n", "ef\n"]


@pytest.mark.parametrize("size", [100, 300000])
def test_reading_ends_at_the_end_of_the_body(client, size):
    answer = client.request("POST", "/reading/read-more", body=b"z" * size)
    assert [len(piece) for piece in json.loads(answer.body)] == [size, 0, 0]


@pytest.mark.parametrize("size", [100, 1 << 20])
@over(*KEPT_FRONTS)
def test_body_that_nobody_reads(client, size):
    for _ in range(3):
        answer = client.request("POST", "/ignore", body=b"GET /evil HTTP/1.1\r\n\r\n" + b"x" * size)
        assert (answer.body, answer.closed) == (b"not read\n", False)
    assert environ_of(client, "GET", "/environ")["PATH_INFO"] == "/environ"


def test_limit_post(client, site, token):
    answer = client.request("POST", f"/digest?{token}", body=b"x" * (LIMIT + 1))
    assert (answer.status, answer.complete) == (413, True)
    assert b"limit-post" in answer.body
    assert environ_of(client, "GET", f"/counts/{token}") == {"seen": 0, "closed": 0}


def test_limit_post_has_an_access_line(client, site, token):
    answer = client.request("POST", f"/digest?{token}", body=b"x" * (LIMIT + 1))
    assert answer.status == 413
    line = rf'"POST /digest\?{token} HTTP/1\.1" 413 {len(answer.body)} '
    site.log(line)
    assert environ_of(client, "GET", "/environ")
    assert site.count(line) == 1


@over("http")
def test_limit_post_holds_for_chunks(client, token):
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    body = chunk * 7 + b"0\r\n\r\n"
    answer = client.request("POST", f"/digest?{token}", [("Transfer-Encoding", "chunked")], body)
    assert (answer.status, answer.closed) == (413, True)
    assert environ_of(client, "GET", f"/counts/{token}") == {"seen": 0, "closed": 0}


@over(*CGI_FRONTS, "http")
def test_temporary_files_are_closed(client, site):
    def files():
        return environ_of(client, "GET", "/open-files")

    before = files()
    for _ in range(5):
        client.request("POST", "/ignore", body=b"x" * 300000)
    assert files() <= before + 1  # the connection of the next client may be there already


def test_requests_leave_nothing_to_the_collector(client):
    environ_of(client, "GET", "/garbage")
    for _ in range(25):
        client.request("GET", "/environ")
        client.request("POST", "/digest", body=b"x" * 1000)
    assert environ_of(client, "GET", "/garbage") < 25


@pytest.fixture(scope="module")
def sockets(tmp_path_factory):
    """Return a server whose listeners are on Unix sockets."""
    directory = tmp_path_factory.mktemp("sockets")
    paths = {
        "http": directory / "http.sock", "uwsgi": directory / "uwsgi.sock",
        "fastcgi": f"@{directory}/fastcgi", "scgi": directory / "scgi.sock",
    }  # fmt: skip
    found = Site(directory, "semantics:app", tuple(paths), paths)
    yield found
    found.close()


@pytest.mark.parametrize("front", STREAM_FRONTS)
def test_unix_sockets(sockets, front):
    with sockets.client(front) as client:
        assert environ_of(client, "POST", "/digest", body=b"x" * 100000)["size"] == 100000
        environ = environ_of(client, "GET", "/environ?q")
    assert environ["QUERY_STRING"] == "q"
    assert isinstance(environ["REMOTE_ADDR"], str)
    assert environ["SERVER_PORT"].isdigit()
