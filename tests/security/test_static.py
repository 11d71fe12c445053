"""Static files and those who ask for others: docs/security/static.md."""

from __future__ import annotations

import os
import socket

import pytest

from tests.listeners.conftest import Site
from tests.security.conftest import CUTS, Door

SECRET = b"not for everybody"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return a directory with files to serve in ``static``, and what may not be served around and in it."""
    top = tmp_path_factory.mktemp("files")
    files = {
        "static/a.txt": b"public", "static/sub/index.html": b"<p>", "static/large.bin": b"0123456789" * 1000,
        "static/.env": SECRET, "static/.git/config": SECRET, "static/sub/.htpasswd": SECRET,
        "static/settings.py": SECRET, "static/site.ini": SECRET, "static/__pycache__/a.pyc": SECRET,
        "static/.well-known/security.txt": b"public", "static/.well-known/.env": SECRET,
        "staticfoo/a.txt": SECRET, "secret": SECRET, "outside/s.txt": SECRET, ".hidden/b.txt": b"public",
        "mapped.py": b"public", "static/refused.txt": SECRET, ".hidden/refused.txt": SECRET,
        "static/private/x": SECRET, "static/closed/index.html": SECRET,
    }  # fmt: skip
    for name, data in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    os.symlink("../secret", top / "static/link")
    os.symlink("../outside", top / "static/linked")
    os.symlink("/", top / "static/root")
    os.symlink(".env", top / "static/env.txt")
    os.symlink("/dev/zero", top / "static/zero")
    os.symlink("/proc/self/environ", top / "static/environ")
    os.mkfifo(top / "static/pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(top / "static/socket"))
    return top


@pytest.fixture(scope="module", params=["auto", "h11"])
def files(request, tree, tmp_path_factory):
    options = {
        "http_parser": request.param, "static_map": f"/static={tree}/static", "static_map2": f"/hid={tree}/.hidden",
        "static-map": f"/mapped={tree}/mapped.py", "check_static": f"{tree}/.hidden", "static_index": "index.html",
        "route": "^(/static)?/(refused|private/|closed/index\\.html$) break:403",
    }  # fmt: skip
    site = Site(tmp_path_factory.mktemp("static"), "noting:app", ["http"], **options)
    yield Door(site)
    assert site.server.stop() == 0
    assert "Traceback" not in site.server.log
    site.close()


def get(files, target, how="whole", fields=""):
    said = files.speak(f"GET {target} HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\n\r\n", how)
    [answer] = said.answers
    assert answer.complete
    return answer


def is_the_applications(answer):
    return answer.header("Content-Type") == "application/json" and SECRET not in answer.body


NOT_SERVED = {
    "S1": ["/static/../secret", "/static/%2e%2e/secret", "/static/..%2fsecret", "/static/%2e%2e%2fsecret",
           "/static/..%5csecret", "/static/%2e%2e%5csecret", "/static//etc/passwd", "//etc/passwd", "/static/%2fetc%2fpasswd",
           "/static/sub/../../secret", "/static/../../../../../../../etc/passwd", "/static/..;/secret", "/static/.%2e/secret",
           "/static/%252e%252e/secret", "/static/%c0%ae%c0%ae/secret", "/static/a.txt/", "/static/a.txt/../../secret",
           "/etc/passwd", "/../secret"],
    "S10": ["/static/sub/../a.txt", "/static/sub/../.env", "/static/./.env", "/static/./a.txt", "/static/%2e/a.txt", "/static/sub/%2e%2e/a.txt", "/./b.txt",
            "/static/sub/..", "/static/sub/.", "/x/../static/a.txt",
            "/static/sub/../private/x", "/static/./private/x"],
    "S2": ["/static/link", "/static/linked/s.txt", "/static/root/etc/passwd", "/static/linked", "/static/linked/"],
    "S3": ["/staticfoo/a.txt", "/static../secret", "/static..%2fsecret", "/static%2e%2e/secret", "/statica.txt", "/static"],
    "S4": ["/static/pipe", "/static/zero", "/static/environ", "/static/socket", "/static/", "/static/__pycache__"],
    "S6": ["//evil.example/", "//evil.example/..", "/%2fevil.example/", "/\\evil.example"],
    "S7": ["/static/.env", "/static/.git/config", "/static/sub/.htpasswd", "/static/settings.py", "/static/site.ini",
           "/static/__pycache__/a.pyc", "/static/env.txt", "/static/.well-known/.env"],
}  # fmt: skip


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize(
    "target", [pytest.param(t, id=f"{case}-{n}") for case, targets in NOT_SERVED.items() for n, t in enumerate(targets)]
)  # fmt: skip
def test_it_is_the_applications(files, target, how):
    answer = get(files, target, how)
    assert is_the_applications(answer), answer.body[:100]
    assert answer.header("Location") is None


@pytest.mark.parametrize("target", ["/static/a%00.txt", "/static/%00", "/static/..%00/secret"])
def test_S1_a_nul_is_refused(files, target):
    assert get(files, target).status == 400


@pytest.mark.parametrize("target, body", [
    ("/static/a.txt", b"public"), ("/static/sub/", b"<p>"),
    ("/static/.well-known/security.txt", b"public"), ("/b.txt", b"public"), ("/static//a.txt", b"public"),
    ("/mapped", b"public"),
])  # fmt: skip
def test_S7_what_is_meant_is_served(files, target, body):
    """Also where the directory itself is below one that is hidden, or the file is named by the operator."""
    answer = get(files, target)
    assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize(
    "target",
    [
        "/static/refused.txt", "/refused.txt", "/static/ref%75sed.txt", "/static/private/x",
        "/static/closed/index.html", "/static/closed/", "/static/closed", "/static/clos%65d",
    ],
)  # fmt: skip
def test_S9_a_rule_refuses_a_file(files, target, how):
    answer = get(files, target, how)
    assert (answer.status, answer.body) == (403, b"Forbidden\n")


def test_S7_static_hidden_serves_all(tree, tmp_path):
    options = {"static_map": f"/static={tree}/static", "static_hidden": "true"}
    site = Site(tmp_path, "noting:app", ["http"], **options)
    try:
        for target in NOT_SERVED["S7"]:
            assert get(Door(site), target).body == SECRET, target
    finally:
        site.close()


def test_S5_a_file_that_is_cut_while_it_is_sent(files, tree):
    """The answer is broken off: what has come of it must not pass for the whole."""
    path = tree / "static/cut.bin"
    path.write_bytes(bytes(64 << 20))
    host, _, port = files.address.rpartition(":")
    with socket.create_connection((host, int(port)), 30) as sock:
        sock.sendall(b"GET /static/cut.bin HTTP/1.1\r\nHost: h\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
        os.truncate(path, 1000)
        taken = [b""]
        with pytest.raises(ConnectionResetError):
            taken.extend(iter(lambda: sock.recv(1 << 20), b""))
        assert sum(map(len, taken)) < 64 << 20
    files.site.log("a file became shorter while it was sent")


HUGE = "9" * 5000


@pytest.mark.parametrize("asked, status", [
    ("bytes=0-9", 206), ("bytes=0-" + "9" * 19, 206), ("bytes=-" + "9" * 19, 206), ("bytes=9-0", 200), ("bytes=10000-", 416),
    ("bytes=" + "9" * 19 + "-", 416), (f"bytes=0-{HUGE}", 200), (f"bytes={HUGE}-", 200), (f"bytes=-{HUGE}", 200),
    ("bytes=" + ",".join(["0-"] * 1000), 200), ("bytes=0-1,1-2", 200), ("bytes=-0", 416), ("bytes=--1", 200),
    ("bytes=0-\xb2", 200), ("chunks=0-1", 200),
])  # fmt: skip
def test_S8_ranges(files, asked, status):
    """At most one part of a file is sent, so that no request asks for more than the file."""
    answer = get(files, "/static/large.bin", fields=f"Range: {asked}\r\n")
    assert answer.status == status
    assert len(answer.body) <= 10_000


@pytest.mark.parametrize("field", ["If-Modified-Since", "If-Range", "If-None-Match", "Accept-Encoding"])
@pytest.mark.parametrize("value", ["", "x", HUGE, "\xff", "Thu, 99 Jan 99999 99:99:99 GMT", "Thu, 01 Jan 1970 00:00:00 -9999", ",;=*" * 500, "gzip;q=" + HUGE])  # fmt: skip
def test_S8_conditions_that_are_none(files, field, value):
    answer = get(files, "/static/large.bin", fields=f"{field}: {value}\r\nRange: bytes=0-0\r\n")
    assert answer.status in {200, 206, 304}
