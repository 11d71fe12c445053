"""Bytes that real servers sent: nginx 1.22 and Mongrel2 1.12."""

from pathlib import Path

import pytest

from appserver.protocols.mongrel2 import Mongrel2Codec, parse
from appserver.protocols.mongrel2_fields import START

from .feeding import CUTS, fastcgi, http, mongrel2, scgi, summary, uwsgi

CAPTURES = Path(__file__).parents[2].parent / "shared" / "captures"

pytestmark = pytest.mark.skipif(
    not CAPTURES.is_dir(), reason="the captures of nginx and Mongrel2 are not beside this repository"
)


def read(name):
    return (CAPTURES / name).read_bytes()


def names(folder, pattern="*.msg"):
    """Return a folder's captures; of notices after the end only the folder itself knows how many."""
    return sorted(path.name for path in (CAPTURES / folder).glob(pattern)) or ["none"]


# nginx

NGINX = {
    "get.0": "GET /hello", "head.0": "HEAD /hello", "get-http10.0": "GET /h10", "get-5k-header.0": "GET /long",
    "get-query-cookies-repeat.0": "GET /a b/c/d/e", "put.0": "PUT /f DATA", "post-empty.0": "POST /echo",
    "post-small.0": "POST /echo hello=world", "chunked.0": "POST /echo hello world", "expect-100.0": "POST /echo hello",
    "two-keepalive.0": "GET /k1", "two-keepalive.1": "GET /k2", "websocket.0": "GET /ws",
}  # fmt: skip
SPOKEN = {"nginx-http": http, "nginx-uwsgi": uwsgi, "nginx-scgi": scgi, "nginx-fcgi": fastcgi}
# proxy_pass sends the path as the client wrote it, uwsgi_params and the like as nginx understood it;
# and nginx drops Host where an HTTP/1.0 client sent none.
OVER_HTTP = {"get-query-cookies-repeat.0": "GET /a b/c/d//e", "get-http10.0": "400"}


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("case", NGINX)
@pytest.mark.parametrize("folder", SPOKEN)
def test_nginx(folder, case, how):
    expected = OVER_HTTP.get(case, NGINX[case]) if folder == "nginx-http" else NGINX[case]
    found = SPOKEN[folder](read(f"{folder}/{case}.bin"), how=how)
    assert summary(found) == [expected]


def test_every_case_of_nginx_is_known():
    for folder in SPOKEN:
        known = {f"{case}.bin" for case in NGINX}
        if folder == "nginx-fcgi":
            known |= {f"nokeep-{case}" for case in known}
        assert set(names(folder, "*.bin")) == known


@pytest.mark.parametrize("case", NGINX)
def test_nginx_without_keep_conn(case):
    [(kept, body)] = fastcgi(read(f"nginx-fcgi/{case}.bin"))
    [(closed, same)] = fastcgi(read(f"nginx-fcgi/nokeep-{case}.bin"))
    assert same == body
    assert {k: v for k, v in closed.items() if k not in PORTS} == {
        k: v for k, v in kept.items() if k not in PORTS
    }


# The client's port is another for each request, and each protocol has a listener of its own.
PORTS = {"REMOTE_PORT", "SERVER_PORT"}
# What our own listener fills in for HTTP from its socket, and nginx from its configuration.
SOCKET = {"SERVER_NAME", "REMOTE_ADDR", "wsgi.url_scheme"}


@pytest.mark.parametrize("case", [case for case in NGINX if case not in OVER_HTTP])
def test_nginx_says_the_same_by_every_protocol(case):
    environs = {folder: dict(speak(read(f"{folder}/{case}.bin"))[0][0]) for folder, speak in SPOKEN.items()}
    over_http = environs["nginx-http"]
    for folder, environ in environs.items():
        common = environ.keys() & over_http.keys() - PORTS - SOCKET
        assert {"REQUEST_METHOD", "REQUEST_URI", "PATH_INFO", "QUERY_STRING", "SCRIPT_NAME", "HTTP_HOST",
                "HTTP_USER_AGENT", "SERVER_PROTOCOL"} <= common  # fmt: skip
        assert {key: environ[key] for key in common} == {key: over_http[key] for key in common}, folder
        # Header by header: proxy_pass adds X-Forwarded-For here and drops what concerns its own connection.
        hop = {"HTTP_X_FORWARDED_FOR", "HTTP_CONNECTION", "HTTP_UPGRADE", "HTTP_EXPECT"}
        headers = {key for key in environ if key.startswith("HTTP_")} - hop
        assert headers == {key for key in over_http if key.startswith("HTTP_")} - hop, folder


@pytest.mark.parametrize("case", NGINX)
def test_nginx_says_the_same_by_its_three_cgi_protocols(case):
    environs = [
        dict(speak(read(f"{folder}/{case}.bin"))[0][0])
        for folder, speak in SPOKEN.items()
        if folder != "nginx-http"
    ]
    common = set.intersection(*map(set, environs)) - PORTS
    assert len(common) >= 12
    for environ in environs[1:]:
        assert {key: environ[key] for key in common} == {key: environs[0][key] for key in common}


# Mongrel2

M2 = {
    "get.0": "GET /hello", "head.0": "HEAD /hello", "get-conn-close.0": "GET /c", "get-http10.0": "GET /h10",
    "get-http10-host.0": "GET /h10", "get-xff.0": "GET /xff", "get-query-cookies-repeat.0": "GET /a b/c;p=1",
    "get-fragment-absuri.0": "GET //localhost/abs", "host-unknown.0": "GET /x", "keepalive.0": "GET /k1",
    "keepalive.1": "GET /k2", "late-close.0": "GET /l1", "late-close.1": "GET /l2", "multi-id.0": "GET /m1",
    "multi-id.1": "GET /m2", "pipelined.0": "GET /p1", "pipelined.1": "GET /p2", "close-message.0": "GET /close",
    "extended.0": "GET /ext", "disconnect.0": "GET /gone", "disconnect-mid.0": "GET /half", "cancel.0": "GET /cancel",
    "invalid-reply.0": "GET /inv", "delete.0": "DELETE /f.txt", "patch.0": "PATCH /x z", "put.0": "PUT /f.txt DATA",
    "post-small.0": "POST /echo hello=world", "post-empty.0": "POST /echo", "post-nolength.0": "POST /echo",
    "post-binary.0": "POST /echo \x00\x01, }:\xff\xfe\r\n", "post-20000.0": "POST /echo " + "B" * 20000,
    "slow-post.0": "POST /echo 1234567890", "expect-100b.0": "POST /echo hello", "forged-upload-done.0": "POST /echo abc",
    "bad-toolong-url.0": "GET /" + "u" * 300, "download.0": "GET /big",
    # what Mongrel2 passes on and nobody may serve
    "bad-neg-length.0": "400", "cl-and-chunked.0": "400", "two-content-lengths.0": "400",
}  # fmt: skip
FOLDERS = ["m2-json", "m2-tnet", "m2-flow-json"]
EVERY = [(folder, name.removesuffix(".msg")) for folder in FOLDERS for name in names(folder)]
UPLOADS = ("upload.", "upload-", "chunked-request.", "forged-upload-done-chunked.")


@pytest.mark.parametrize("folder, case", EVERY)
def test_mongrel2(folder, case):
    message = read(f"{folder}/{case}.msg")
    parsed = parse(message)
    found = mongrel2(message)
    if parsed.path == b"@*":
        assert parsed.notice in {"disconnect", "credits"}
        assert found == "501"
        return
    assert parsed.notice is None
    if case.startswith(("websocket.", "ws-")):
        assert (parsed.first_byte >= 0) == ("FLAGS" in parsed.aside)
        assert found == "501" if "FLAGS" in parsed.aside else summary([found])[0].startswith("GET /ws")
    elif case.startswith("upload-stream"):
        assert found == "501"
    elif case.startswith(UPLOADS):
        check_upload(parsed)
    else:
        assert summary([found]) == [M2[case]]


def check_upload(parsed):
    """Check a message with an empty body whose file is the body: its size is what counts."""
    assert START in parsed.aside
    assert parsed.body == b""
    given = parsed.fields.get("CONTENT_LENGTH")
    x = Mongrel2Codec({}).exchange(parsed, int(given) if given else 30)
    assert x.environ["CONTENT_LENGTH"] == (given or "30")
    assert x.environ["REQUEST_METHOD"] == "POST"
    assert not [key for key in x.environ if "UPLOAD" in key]


BOTH = sorted(set(names("m2-json")) & set(names("m2-tnet")))


@pytest.mark.parametrize("name", BOTH)
def test_both_forms_of_mongrel2_say_the_same(name):
    """The two were recorded one after the other, on two ports and with random keys and file names."""
    as_json, as_tnet = (
        mongrel2(read(f"m2-json/{name}")),
        mongrel2(read(f"m2-tnet/{name}").replace(b":6768", b":6767")),
    )
    if isinstance(as_json, str):
        assert as_tnet == as_json
    else:
        assert as_tnet == as_json
        assert as_json[0].keys() >= {"REQUEST_URI", "PATH_INFO", "QUERY_STRING", "SERVER_NAME", "REMOTE_ADDR"}


def test_a_rich_request_of_mongrel2():
    environ, _ = mongrel2(read("m2-json/get-query-cookies-repeat.0.msg"))
    assert environ["QUERY_STRING"] == "x=1&y=%2F&z=a+b&x=2"
    assert environ["REQUEST_URI"] == "/a%20b/c;p=1?x=1&y=%2F&z=a+b&x=2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2; c=3"
    assert environ["HTTP_X_MULTI"] == "one, two"
    assert environ["HTTP_X_EMPTY"] == ""
    assert environ["HTTP_X_QUOTE"] == '"q\\"'
    assert environ["HTTP_X_UTF8"] == "\xc3\xa9\xff"
    assert "HTTP_X_UNDER" not in environ
