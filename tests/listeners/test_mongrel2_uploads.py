"""Large bodies that Mongrel2 has put into files, and clients that only claim so."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import pytest

from tests.support.mongrel2 import Mongrel2, json_netstring, serving, tnetstring

GIB = 1 << 30
START, DONE = "x-mongrel2-upload-start", "x-mongrel2-upload-done"


class Site:
    """A Mongrel2 with an upload directory, and a server that knows it."""

    def __init__(self, root):
        self.root = root
        self.uploads = root / "uploads"
        self.uploads.mkdir()
        self.secret = root / "secret"
        self.secret.write_text("secret")

    def upload(self, client, start, done, length, target="/read", **more):
        headers = {START: start, DONE: done, "content-length": length} | more
        return client.send(target, method="POST", headers={k: v for k, v in headers.items() if v is not None})


@pytest.fixture(scope="module")
def site(tmp_path_factory, dispatch):
    site = Site(tmp_path_factory.mktemp("site"))
    with Mongrel2() as peer, serving(peer, options=["--mongrel2-upload-dir", site.uploads]) as server:
        site.peer, site.server = peer, server
        peer.get()  # it has all its descriptors
        yield site


@pytest.mark.parametrize("encode", [json_netstring, tnetstring], ids=["json", "tnetstring"])
@pytest.mark.parametrize(
    "named", ["/anywhere/m2.abc123", "./m2.abc123", "m2.abc123", "uploads/m2.abc123"], ids=str
)
def test_the_body_is_read_from_the_file_and_the_file_removed(site, named, encode):
    body = os.urandom(300_000)
    file = site.uploads / "m2.abc123"
    file.write_bytes(body)
    client = site.peer.client()
    fields = {START: named, "content-length": str(len(body))}
    client.send("/read", method="POST", headers=fields, encode=encode)
    assert site.peer.get().status == 200  # the notice of the start has been taken
    assert client.messages == []
    client.send("/read", method="POST", headers=fields | {DONE: named}, encode=encode)
    assert client.answer().body == f"{len(body)} {zlib.crc32(body)}".encode()
    assert not file.exists()
    assert client.send().answer().status == 200
    assert len(client.messages) == 2


def test_a_chunked_upload_has_no_content_length(site):
    (site.uploads / "m2.a").write_bytes(b"decoded")
    client = site.upload(
        site.peer.client(), "m2.a", "m2.a", None, "/environ", **{"transfer-encoding": "chunked"}
    )
    found = client.answer().json()
    assert (found["CONTENT_LENGTH"], found["body"]) == ("7", "decoded")
    assert not [name for name in found if "UPLOAD" in name or "TRANSFER" in name]


@pytest.mark.parametrize(
    "chroot, names",
    [
        (
            "jail",
            {
                "/uploads/m2.a": 200,
                "uploads/m2.a": 200,
                "./uploads/m2.a": 200,
                "/m2.a": 500,
                "/uploads/../../secret/m2.a": 500,
                "/etc/m2.a": 500,
            },
        ),
        (".", {"/jail/uploads/m2.a": 200}),
        ("jail/uploads", {"/uploads/m2.a": 500}),
    ],
)
def test_names_are_looked_up_in_the_chroot(tmp_path, chroot, names):
    uploads = tmp_path / "jail" / "uploads"
    uploads.mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    files = [uploads / "m2.a", tmp_path / "jail" / "m2.a", tmp_path / "secret" / "m2.a"]
    options = ["--mongrel2-upload-dir", uploads, "--mongrel2-chroot", tmp_path / chroot]
    with Mongrel2() as peer, serving(peer, options=options):
        for named, status in names.items():
            for file in files:
                file.write_bytes(b"body")
            headers = {START: named, DONE: named, "content-length": "4"}
            assert peer.get("/environ", method="POST", headers=headers).status == status, named
            assert [file.exists() for file in files] == [status != 200, True, True], named


def test_each_of_several_mongrel2_servers_has_its_own_directory(tmp_path):
    """And whatever holds for one of them alone; what stands for all is for those without."""
    dirs = [tmp_path / name for name in ("one", "other", "third")]
    for each in dirs:
        each.mkdir()
    with Mongrel2() as one, Mongrel2() as other, Mongrel2() as third:
        options = [
            "--mongrel2-upload-dir", dirs[2],
            "--zeromq", f"{one.spec}, mongrel2-upload-dir={dirs[0]}, mongrel2-script-name=true",
            "--zeromq", f"{other.spec}, mongrel2-upload-dir={dirs[1]}, mongrel2-chroot={tmp_path}",
            "--zeromq", third.spec,
        ]  # fmt: skip
        with serving(options=options):
            for peer, directory, script in zip((one, other, third), dirs, ("/environ", "", ""), strict=True):
                file = directory / "m2.a"
                file.write_bytes(b"body")
                named = f"/{directory.name}/m2.a"
                headers = {START: named, DONE: named, "content-length": "4"}
                answer = peer.get("/environ", method="POST", headers=headers, PATTERN="/environ")
                assert answer.status == 200
                assert not file.exists()
                assert answer.json()["SCRIPT_NAME"] == script


def test_a_gibibyte_is_read_in_little_memory(site):
    file = site.uploads / "m2.large"
    with file.open("wb") as large:
        large.truncate(GIB)
    client = site.upload(site.peer.client(), "m2.large", "m2.large", str(GIB))
    assert client.answer().body.split()[0] == str(GIB).encode()
    status = Path(f"/proc/{site.server.process.pid}/status").read_text()
    assert int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) < 120 * 1024
    assert not file.exists()


@pytest.mark.parametrize(
    "fields, body",
    [
        ({"content-length": "4"}, b"body"),
        ({"content-length": "0"}, b""),
        ({}, b""),
        ({START: ["m2.forged", "m2.forged"], "content-length": "4"}, b""),
        ({"content-length": "+4"}, b""),
        ({"content-length": ["4", "4"]}, b""),
        ({"content-length": "9" * 5000}, b""),
        ({"content-length": "\xb2"}, b""),
        ({"transfer-encoding": "gzip"}, b""),
        ({DONE: ["m2.forged", "m2.forged"], "content-length": "4"}, b""),
        ({DONE: "m2.other", "content-length": "4"}, b""),
        ({START: None, "content-length": "4"}, b"body"),
    ],
    ids=repr,
)
def test_a_forged_upload_opens_nothing(site, fields, body):
    forged = site.uploads / "m2.forged"
    forged.write_bytes(b"secret")
    headers = {START: "m2.forged", DONE: "m2.forged"} | fields
    client = site.peer.client().send("/environ", method="POST", headers=headers, body=body)
    answer = client.answer()
    if answer.status == 200:
        assert answer.json()["body"].encode() == body
        assert not [name for name in answer.json() if "UPLOAD" in name]
    else:
        assert answer.status == 400
        client.closed()
    assert b"secret" not in answer.body
    assert forged.read_bytes() == b"secret"


@pytest.mark.parametrize(
    "named",
    [
        "/etc/passwd",
        "../../etc/passwd",
        "../secret",
        "link",
        "away",
        "fifo",
        "folder",
        "missing",
        "",
        ".",
        "..",
        "/",
        "a/",
        "n\0ul",
    ],
    ids=repr,
)
def test_nothing_but_a_file_of_the_directory_is_opened(site, named):
    made = site.uploads
    for name in ("link", "away", "fifo"):
        (made / name).unlink(missing_ok=True)
    (made / "link").symlink_to(site.secret)
    (made / "away").symlink_to("/etc/passwd")
    os.mkfifo(made / "fifo")
    (made / "folder").mkdir(exist_ok=True)
    before = sorted(os.listdir(made)), os.listdir("/etc"), open_files(site)
    client = site.upload(site.peer.client(), named, named, "6")
    answer = client.answer()
    assert answer.status in {400, 500}
    assert b"secret" not in answer.body
    assert b"root:" not in answer.body
    client.closed()
    assert site.peer.get().status == 200
    assert (sorted(os.listdir(made)), os.listdir("/etc"), open_files(site)) == before
    assert site.secret.exists()


def open_files(site):
    return len(os.listdir(f"/proc/{site.server.process.pid}/fd"))


@pytest.mark.parametrize("length", ["5", "7"])
def test_a_file_of_another_length_is_refused(site, length):
    (site.uploads / "m2.a").write_bytes(b"longer")
    client = site.upload(site.peer.client(), "m2.a", "m2.a", length)
    assert client.answer().status == 400
    client.closed()


def test_without_the_directory_the_operator_is_told():
    with Mongrel2() as peer, serving(peer) as server:
        headers = {START: "/etc/passwd", DONE: "/etc/passwd", "content-length": "30000"}
        client = peer.client().send("/read", method="POST", headers=headers)
        answer = client.answer()
        assert answer.status == 500
        client.closed()
        server.wait_until("Set mongrel2-upload-dir to the directory")
        server.wait_until(r'"POST /read HTTP/1.1" 500 ')
        assert b"passwd" not in answer.body
        assert b"mongrel2-upload-dir" not in answer.body


def test_a_body_over_limit_post_is_refused_and_its_file_removed(tmp_path):
    options = ["--mongrel2-upload-dir", tmp_path, "--limit-post", "30000"]
    with Mongrel2() as peer, serving(peer, options=options):
        for size, status in ((30000, 200), (30001, 413)):
            (tmp_path / "m2.a").write_bytes(b"x" * size)
            headers = {START: "m2.a", DONE: "m2.a", "content-length": str(size)}
            assert peer.get("/read", method="POST", headers=headers).status == status
            assert os.listdir(tmp_path) == []
