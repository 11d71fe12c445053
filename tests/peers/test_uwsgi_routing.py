"""Rules of ``route`` against a real uWSGI: the same answers to the same requests, of one file."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers.client import get
from tests.support.fronts import accepts, poll
from tests.support.ports import free_port
from tests.support.server import Server

UWSGI = shutil.which("uwsgi")
PLUGINS = Path("/usr/lib/uwsgi/plugins")

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(
        UWSGI is None or not (PLUGINS / "python3_plugin.so").exists(),
        reason="uwsgi is not installed (Debian: uwsgi-core, uwsgi-plugin-python3)",
    ),
]

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"app ", environ["PATH_INFO"].encode("latin-1"), b" ",
            environ.get("SCRIPT_NAME", "").encode(), environ.get("SEEN", "").encode("latin-1"),
            environ.get("REMOTE_USER", "").encode("latin-1")]
"""
FILE = """[uwsgi]
plugins = python3,router_redirect,router_basicauth
http-socket = 127.0.0.1:$(PORT)
wsgi-file = app.py
mount = /in=app.py
manage-script-name = true
static-map = /s=files
static-map2 = /t=mapped
check-static = files
static-index = index.html
route = \\.html$ basicauth:A realm,me:pass,word
route = ^/basic basicauth:A realm,me:pass,word
route = ^/chain basicauth-next:A,me:pass,word
route = ^/chain basicauth-next:B,you:pass
route = ^/chain basicauth:B,
route = ^/returned return:418
route = ^/moved redirect:/s/a.txt?${PATH_INFO}
route = ^/s/gone redirect-permanent:/s/a.txt
route = ^/posix[[:digit:]]+$ break:403 Forbidden
route-if = regexp:${PATH_INFO};^/cond[^[:alnum:]_]$ break:403 Forbidden
route = ^/word\\w$ break:403 Forbidden
route-referer = ^$ addheader:X-Referer: none
route-referer = ^(?!https://www\\.example/) break:403 Forbidden
route-user-agent = ^(?!curl) break:403 Forbidden
route-remote-user = ^(?!admin$) break:403 Forbidden
route-host = ^(?!127\\.0\\.0\\.1:|www\\.example$) break:400 Bad Request
route = refused break:403 Forbidden
route-if-not = ipv4in:${REMOTE_ADDR};127.0.0.0/8 break:403 Forbidden
route-if = startswith:${PATH_INFO};/t/odd break:404 Not Found
route-run = addheader:X-Frame-Options: DENY
route = ^/(.*) addheader:X-Path: $1
route = ^/(given) addheader:X-Given: ${cookie[a]}|${cookie[b]}|${qs[c]}|${qs[d]}|${NOPE}|$0
route-if = equal:${qs[c]};no addheader:X-Given: no
route = ^/given redirect:/${cookie[a]}/${qs[c]}
route = ^/last last:
route-run = addheader:X-Last: no
add-header = X-Price: 5 \u20ac
route = ^/\u00e9$ addheader:X-Matched: \u00e0
route-if = equal:${PATH_INFO};/\u00e9 addvar:SEEN=5 \u20ac
route = ^/to/ redirect:/\u00e9
"""
TARGETS = [
    "/", "/s/a.txt", "/a.txt", "/t/a.txt", "/s/refused.txt", "/refused.txt", "/t/odd.txt", "/s/none", "/s/refused/none",
    "/moved", "/s/gone", "/last", "/last.txt", "/s/last.txt",
    "/s/dir", "/s/dir/", "/dir", "/s/dir/index.html", "/t/dir",
    "/in", "/in/basic", "/in/s/a.txt", "/in/s/refused.txt", "/in/moved", "/in/s/dir", "/inner", "/in/in/basic",
    "/posix12", "/posixd", "/posix:", "/cond-", "/cond_", "/word1", "/word%C3", "/cond%C3",
    "/%C3%89t%C3%A9", "/%C3%A0", "/%80%9f", "/a%09b", "/moved/%C3%89", "/%C3%A9", "/to/", "/returned",
    "/given", "/given?c=1&d=", "/given?d&c=&c=%20x&d=2=3", "/?c=no",
]  # fmt: skip
FIELDS = (
    "Location",
    "X-Frame-Options",
    "X-Last",
    "X-Path",
    "X-Price",
    "X-Matched",
    "X-Given",
    "Content-Type",
)


@contextmanager
def served(directory, text):
    """Run a real uWSGI and ours, which read the same file, and return their ports."""
    (directory / "app.py").write_text(APP)
    ports = [free_port(), free_port()]
    for name, port in zip(("theirs.ini", "ours.ini"), ports, strict=True):
        (directory / name).write_text(text.replace("$(PORT)", str(port)), encoding="utf-8")
    with (directory / "uwsgi.log").open("wb") as log:
        theirs = subprocess.Popen(
            [UWSGI, "--die-on-term", "theirs.ini"],
            cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip

    def running():
        assert theirs.poll() is None, (directory / "uwsgi.log").read_text()
        return accepts(ports[0])

    try:
        poll(running, "uwsgi does not start")
        with Server("--ini", "ours.ini", cwd=directory):
            yield ports
    finally:
        theirs.terminate()
        theirs.wait(20)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    for name in ("files/a.txt", "files/refused.txt", "files/last.txt", "mapped/t/a.txt", "mapped/t/odd.txt",
                 "files/dir/index.html", "mapped/t/dir/index.html"):  # fmt: skip
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    with served(directory, FILE) as ports:
        yield ports


@pytest.mark.parametrize("manage", ["true", "false"])
def test_what_is_mounted_nowhere_goes_to_the_first_application(tmp_path, manage):
    (tmp_path / "other.py").write_text(APP.replace("app ", "other "))
    with served(
        tmp_path,
        "[uwsgi]\nplugins = python3\nhttp-socket = 127.0.0.1:$(PORT)\nmount = /one=app.py\nmount = /two=other.py\n"
        f"manage-script-name = {manage}\n",
    ) as ports:
        for target in ("/", "/x", "/one/x", "/two/x", "/twofold"):
            theirs, ours = (get(f"http://127.0.0.1:{port}{target}") for port in ports)
            assert (ours.status, ours.body) == (theirs.status, theirs.body), target


@pytest.mark.parametrize("target", TARGETS)
def test_answers_are_the_same(servers, target):
    theirs, ours = (get(f"http://127.0.0.1:{port}{target}", "-b", "a=1; b=; c=3;b=4") for port in servers)
    assert ours.status == theirs.status
    if theirs.status == 200:
        assert ours.body == theirs.body
    for name in FIELDS if theirs.status == 200 else FIELDS[:-1]:
        assert ours.header(name) == theirs.header(name), name


@pytest.mark.parametrize(
    "arguments",
    [
        ["-H", "Referer: https://www.example/"], ["-H", "Referer: https://spam.example/"], ["-H", "Referer;"],
        ["-H", "User-Agent:"], ["-A", "wget"], ["-H", "User-Agent;"], ["-H", "Host: www.example"], ["-H", "Host: spam"],
        ["-0", "-H", "Host:"],
    ],
)  # fmt: skip
def test_what_is_lacking_is_not_what_is_empty(servers, arguments):
    theirs, ours = (get(f"http://127.0.0.1:{port}/", *arguments) for port in servers)
    assert ours.status == theirs.status
    assert ours.header("X-Referer") == theirs.header("X-Referer")


@pytest.mark.parametrize(
    "credentials", ["", "me:pass,word", "me:pass", "you:pass", "you:", ":", "me:pass,words"]
)
@pytest.mark.parametrize("target", ["/basic", "/chain"])
def test_the_same_are_let_in(servers, target, credentials):
    theirs, ours = (
        get(f"http://127.0.0.1:{port}{target}", *(["-u", credentials] if credentials else []))
        for port in servers
    )
    assert ours.status == theirs.status
    assert ours.header("WWW-Authenticate") == theirs.header("WWW-Authenticate")
    if theirs.status == 200:
        assert ours.body == theirs.body
