"""The same hostile bytes through a real Apache, as strict as it comes and as lenient as it can be made."""

from __future__ import annotations

import json

import pytest

from tests.listeners.conftest import Site
from tests.security.conftest import LAST
from tests.security.test_http_fronts import agrees, calls, say
from tests.security.wires import BEHIND, CHUNKS, HEADS, POST, TE, mutations, parameters
from tests.support.apache import apache

pytestmark = pytest.mark.peers

SCHEMES = {"http": "http", "uwsgi": "uwsgi", "fastcgi": "fcgi", "scgi": "scgi"}
# The second takes bare LF, folded lines, blanks in front of colons, and lines with many blanks.
STRICTNESS = {"strict": "", "lenient": "Unsafe"}
FRONTS = [f"{how}-{name}" for how in STRICTNESS for name in SCHEMES]


@pytest.fixture(scope="module")
def fronts(tmp_path_factory):
    """Return the ports of Apache by what it speaks, and how strictly."""
    directory = tmp_path_factory.mktemp("apache")
    directory.chmod(0o755)
    site = Site(tmp_path_factory.mktemp("site"), "noting:app", list(SCHEMES))
    sites = []
    for options in STRICTNESS.values():
        for name, scheme in SCHEMES.items():
            address = site.server.addresses[name]
            how = {"http": "nocanon", "fastcgi": "enablereuse=on"}.get(name, "")
            sites.append(
                [
                    *([f"HttpProtocolOptions {options}"] if options else []),
                    "AllowEncodedSlashes NoDecode",
                    "SetEnv ap_trust_cgilike_cl 1",
                    *('<Location "/closed">', "Require all denied", "</Location>"),
                    f"ProxyPass / {scheme}://{address}/ retry=0 {how}",
                ]
            )
    try:
        with apache(directory, [f"proxy_{scheme}" for scheme in SCHEMES.values()], *sites) as ports:
            yield dict(zip(FRONTS, ports, strict=True))
        assert site.server.stop() == 0
        assert "Traceback" not in site.server.log
    finally:
        site.close()


@pytest.fixture(params=FRONTS)
def front(request, fronts):
    """Return the address of Apache for each protocol and strictness in turn."""
    found = f"127.0.0.1:{fronts[request.param]}"
    calls(found)
    return found


@pytest.mark.parametrize("case, status, head", parameters(HEADS))
def test_a_head(front, case, status, head):
    agrees(front, f"{head}\r\n{BEHIND}".encode("latin-1") + LAST)


@pytest.mark.parametrize("case, status, chunks", parameters(CHUNKS))
def test_chunks(front, case, status, chunks):
    agrees(front, f"{POST}{TE}\r\n{chunks}{BEHIND}".encode("latin-1") + LAST)


def test_H7_mutations(front):
    """A sample: what reaches the server here has been read by Apache as well."""
    length = f"Content-Length: {len(BEHIND)}\r\n\r\n".encode()
    for number, (_, _, line) in enumerate(mutations()):
        if number % 31 == 0:
            agrees(front, POST.encode() + line + b"\r\n" + length + BEHIND.encode() + LAST)


def test_the_environ(request, front):
    """What the application sees is what the client has sent, decoded once, and nothing that is the front's alone to say."""
    # Apache decodes twice itself for uwsgi, and refuses what a slash or a per cent sign comes of.
    target, path = (
        ("/caf%C3%A9%20b", "b")
        if "uwsgi" in request.node.callspec.id
        else ("/caf%C3%A9%20%2541%2Fb", "%41/b")
    )
    heard = say(
        front,
        f"GET {target}?a=%26 HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\nCookie: b=2\r\nX-Word: v\r\nX-Word: w\r\n"
        "Proxy: evil\r\nX_Word: evil\r\nConnection: close\r\n\r\n".encode(),
    )
    fields = json.loads(heard.split(b"\r\n\r\n", 1)[1])["fields"]
    assert (fields["PATH_INFO"], fields["QUERY_STRING"]) == (f"/caf\xc3\xa9 {path}", "a=%26")
    assert (fields["HTTP_COOKIE"].replace(",", ";"), fields["HTTP_X_WORD"]) == ("a=1; b=2", "v, w")
    assert "evil" not in fields.values()


PATHS = {
    "/a//b/": "/a/b/", "/closed/../x": "/x", "/x/closed/..": "/x/", "//": "/", "/closed/..": "/",
    "/x/closed%2Fy/..": "/x/", "/a%2Fb": "/a/b", "http://h/x//y": "/x/y", "http://h?x": "/",
}  # fmt: skip
# With `nocanon` it passes on what the client sent, and for uwsgi it refuses what is escaped.
NORMALISED = [
    (front, target)
    for front in FRONTS
    for target in PATHS
    if not front.endswith("http") and not (front.endswith("uwsgi") and "%" in target)
]


@pytest.mark.parametrize("front, target", NORMALISED, indirect=["front"])
def test_E9_the_path_is_as_apache_understands_it(front, target):
    """Its rules were about the path that it has normalised."""
    heard = say(front, f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    fields = json.loads(heard.split(b"\r\n\r\n", 1)[1])["fields"]
    assert (fields["SCRIPT_NAME"], fields["PATH_INFO"]) == ("", PATHS[target])


@pytest.mark.parametrize("target", ["/closed", "/x/../closed/y", "//closed", "/%63losed"])
def test_E9_what_apache_closes_is_closed(front, target):
    heard = say(front, f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    assert heard.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("status", ["404%20Not%20Found", "ok"])
def test_R14_an_application_s_status_is_no_status(front, status):
    heard = say(front, f"GET /status/{status} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    assert heard.startswith(b"HTTP/1.1 200 ")
