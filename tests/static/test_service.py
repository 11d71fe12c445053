"""Static files: which are served, and with what fields."""

from __future__ import annotations

import gzip
import os
import re
import time
from email.utils import formatdate
from urllib.parse import unquote

import pytest

from appserver.file_wrapper import FileWrapper
from appserver.options import BadValue, options_of
from appserver.static.options import StaticOptions, expiry, expiry_of_type, serve_mode
from appserver.static.service import Static

PAST = 1_600_000_000


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Make files to serve, and some that may not be."""
    monkeypatch.chdir(tmp_path)
    files = {
        "static/a.txt": "hello, world", "static/a.txt.gz": "", "static/sub/index.html": "<p>", "static/x.css": "body{}",
        "static/empty": "", "static/script.php": "<?", "static/caf\xe9": "e", "staticfoo/a.txt": "no", "secret": "no",
        "shared/s.txt": "shared", "robots.txt": "none", "static/archive.tar.gz": "tar",
    }  # fmt: skip
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (PAST, PAST))
    (tmp_path / "static/a.txt.gz").write_bytes(gzip.compress(b"hello, world"))
    os.symlink("../secret", tmp_path / "static/out")
    os.symlink("a.txt", tmp_path / "static/in")
    os.symlink("../shared", tmp_path / "static/shared")
    os.mkfifo(tmp_path / "static/pipe")
    return tmp_path


class Answer:
    def __init__(self, status, headers, body):
        self.status = int(status[:3])
        self.headers = dict(headers)
        assert len(self.headers) == len(headers)
        self.body = body


def ask(options, path, method="GET", query="", ruled=None, **fields):
    """Return the answer, or None where the application was asked."""
    told = []

    def app(environ, start_response):
        return None

    def start_response(status, headers):
        told.append((status, headers))

    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "REQUEST_URI": path + query, "wsgi.file_wrapper": FileWrapper,
        **{f"HTTP_{name.upper()}": value for name, value in fields.items()},
    }  # fmt: skip
    result = Static(options, app, ruled)(environ, start_response)
    if result is None:
        assert not told
        return None
    body = b"".join(result)
    if hasattr(result, "close"):
        result.close()
    [(status, headers)] = told
    return Answer(status, headers, body)


MAP = StaticOptions(static_map=(("/static", "static"), ("/robots.txt", "robots.txt")))


def test_a_file_is_served_with_what_caches_need(tree):
    answer = ask(MAP, "/static/a.txt")
    status = os.stat("static/a.txt")
    assert (answer.status, answer.body) == (200, b"hello, world")
    assert answer.headers == {
        "Content-Type": "text/plain", "ETag": f'"{status.st_mtime_ns:x}-c"', "Accept-Ranges": "bytes",
        "Last-Modified": formatdate(PAST, usegmt=True), "Content-Length": "12",
    }  # fmt: skip


@pytest.mark.parametrize(
    "path, body",
    [
        ("/static/sub/index.html", b"<p>"), ("/static/in", b"hello, world"), ("/static/empty", b""), ("/robots.txt", b"none"),
        ("/static//a.txt", b"hello, world"), ("/static/caf\xc3\xa9", b"e"),
    ],
)  # fmt: skip
def test_what_is_below_the_directory_is_served(tree, path, body):
    assert ask(MAP, path).body == body


@pytest.mark.parametrize(
    "path",
    [
        "/static", "/static/", "/static/sub", "/static/sub/", "/static/none", "/static/../secret", "/static/../static/a.txt/",
        "/static/out", "/static/shared/s.txt", "/staticfoo/a.txt", "/static/pipe", "/static/a.txt/x", "/static/a\0.txt",
        "/static/../../../../../../etc/passwd", "/static//etc/passwd", "/robots.txtx", "/", "", "/static/caf\xe9",
        "/static/\u20ac", "/static/sub/../a.txt", "/static/./x.css", "/static/sub/..", "/static/" + "x" * 5000,
    ],
)  # fmt: skip
def test_all_else_is_the_applications(tree, path):
    assert ask(MAP, path) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_the_applications(tree, method):
    assert ask(MAP, "/static/a.txt", method) is None


def test_links_may_lead_where_it_is_safe(tree):
    options = StaticOptions(static_map=MAP.static_map, static_safe=("shared",))
    assert ask(options, "/static/shared/s.txt").body == b"shared"
    assert ask(options, "/static/out") is None


def test_the_whole_path_counts_for_static_map2_and_check_static(tree):
    assert ask(StaticOptions(static_map2=(("/static", "."),)), "/static/a.txt").body == b"hello, world"
    assert ask(StaticOptions(check_static=("static",)), "/a.txt").body == b"hello, world"
    assert ask(StaticOptions(check_static=("static",)), "/") is None


def test_an_index_is_served_for_its_directory(tree):
    options = StaticOptions(static_map=MAP.static_map, static_index=("none.html", "index.html"))
    assert ask(options, "/static/sub/").body == b"<p>"
    assert ask(options, "/static/") is None


def ruled(app):
    """Refuse indexes, and tell the path of what else is asked for."""

    def rules(environ, start_response):
        if environ["PATH_INFO"].endswith("index.html"):
            start_response("403 Forbidden", [("X-Path", environ["PATH_INFO"])])
            return []
        return app(environ, start_response)

    return rules


@pytest.mark.parametrize("path", ["/static/sub/", "/static/sub", "/static/sub/index.html", "/static/sub//"])
@pytest.mark.parametrize(
    "options",
    [
        {"static_map": (("/static", "static"),)},
        {"static_map2": (("/static", "."),)},
        {"check_static": (".",)},
    ],
)
def test_rules_see_the_path_of_the_index(tree, options, path):
    options = StaticOptions(**options, static_index=("none.html", "index.html"))
    answer = ask(options, path, ruled=ruled)
    assert (answer.status, answer.headers["X-Path"][:12], answer.body) == (403, "/static/sub/", b"")
    assert answer.headers["X-Path"].endswith("/index.html")
    assert ask(options, "/static/a.txt", ruled=ruled).body == b"hello, world"


def test_the_path_of_an_index_is_as_wsgi_has_it(tree):
    (tree / "static" / "\u00e9.index.html").write_text("x")
    options = StaticOptions(static_map=MAP.static_map, static_index=("\u00e9.index.html",))
    assert ask(options, "/static", ruled=ruled).headers["X-Path"] == "/static/\u00c3\u00a9.index.html"


def test_endings_are_skipped(tree):
    options = StaticOptions(static_map=MAP.static_map, static_skip_ext=(".php",))
    assert ask(options, "/static/script.php") is None
    assert ask(MAP, "/static/script.php") is not None


def test_the_directory_is_that_of_the_start(tree):
    static = Static(MAP, lambda *_: None)
    os.chdir("/")
    environ = {"REQUEST_METHOD": "HEAD", "PATH_INFO": "/static/a.txt"}
    assert static(environ, lambda *_: None) == []


def test_head_has_the_fields_and_no_body(tree):
    get, head = ask(MAP, "/static/a.txt"), ask(MAP, "/static/a.txt", "HEAD")
    assert (head.headers, head.body) == (get.headers, b"")


@pytest.mark.parametrize("path, kind", [("/static/x.css", "text/css"), ("/static/empty", "application/octet-stream"), ("/static/archive.tar.gz", "application/octet-stream")])  # fmt: skip
def test_types(tree, path, kind):
    assert ask(MAP, path).headers["Content-Type"] == kind


def test_types_of_ones_own(tree):
    (tree / "types").write_text("text/x-mine css\n")
    options = StaticOptions(static_map=MAP.static_map, mimefile=("types",))
    assert ask(options, "/static/x.css").headers["Content-Type"] == "text/x-mine"


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "svgz", "bz2", "xz", "br", "Z"])
def test_types_of_ones_own_for_what_is_coded(tree, ending):
    (tree / "types").write_text("application/x-mine gz tgz svgz bz2 xz Z br\n")
    (tree / f"static/y.{ending}").write_text("y")
    options = StaticOptions(static_map=MAP.static_map, mimefile=("types",))
    answer = ask(options, f"/static/y.{ending}")
    assert answer.headers["Content-Type"] == "application/x-mine"
    assert "Content-Encoding" not in answer.headers
    (tree / "types").write_text("text/x-mine css\n")
    assert ask(options, f"/static/y.{ending}").headers["Content-Type"] == "application/octet-stream"


class TestConditions:
    def test_a_client_that_has_it_is_told_so(self, tree):
        tag = ask(MAP, "/static/a.txt").headers["ETag"]
        for value in (tag, f'"other", W/{tag}', "*"):
            answer = ask(MAP, "/static/a.txt", if_none_match=value)
            assert (answer.status, answer.body) == (304, b"")
            assert answer.headers["ETag"] == tag
            assert "Content-Length" not in answer.headers
        assert ask(MAP, "/static/a.txt", if_none_match='"other"').status == 200

    @pytest.mark.parametrize("seconds, status", [(0, 304), (1, 304), (-1, 200)])
    def test_dates(self, tree, seconds, status):
        since = formatdate(PAST + seconds, usegmt=True)
        assert ask(MAP, "/static/a.txt", if_modified_since=since).status == status
        assert ask(MAP, "/static/a.txt", if_modified_since=since, if_none_match='"x"').status == 200

    @pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
    def test_a_date_is_one_of_utc_in_each_of_its_forms(self, tree, monkeypatch, zone):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            for form in ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"):
                before, then = (time.strftime(form, time.gmtime(each)) for each in (PAST - 1, PAST))
                assert ask(MAP, "/static/a.txt", if_modified_since=before).status == 200
                assert ask(MAP, "/static/a.txt", if_modified_since=then).status == 304
                assert ask(MAP, "/static/a.txt", range="bytes=0-4", if_range=then).status == 206
        finally:
            monkeypatch.undo()
            time.tzset()

    def test_what_is_no_date_is_none(self, tree):
        assert ask(MAP, "/static/a.txt", if_modified_since="yesterday").status == 200
        assert ask(MAP, "/static/a.txt", if_unmodified_since="yesterday").status == 200

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_a_client_gets_nothing_of_another_version_than_it_wants(self, tree, method):
        tag = ask(MAP, "/static/a.txt").headers["ETag"]
        for value, status in (
            (tag, 200), ("*", 200), (f'"other" , {tag}', 200), ('"other"', 412), (f"W/{tag}", 412), ("", 412)
        ):  # fmt: skip
            assert ask(MAP, "/static/a.txt", method, if_match=value).status == status
        for seconds, status in ((0, 200), (1, 200), (-1, 412)):
            since = formatdate(PAST + seconds, usegmt=True)
            assert ask(MAP, "/static/a.txt", method, if_unmodified_since=since).status == status
        refused = ask(MAP, "/static/a.txt", method, if_match='"other"', range="bytes=0-4")
        assert (refused.status, refused.headers, refused.body) == (412, {"Content-Length": "0"}, b"")

    def test_conditions_are_looked_at_in_their_order(self, tree):
        """RFC 9110 section 13.2.2."""
        tag, past = ask(MAP, "/static/a.txt").headers["ETag"], formatdate(PAST - 1, usegmt=True)
        for fields, status in (
            ({"if_match": tag, "if_unmodified_since": past}, 200),
            ({"if_match": '"other"', "if_none_match": tag}, 412),
            ({"if_match": tag, "if_none_match": tag}, 304),
            ({"if_unmodified_since": past, "if_modified_since": formatdate(PAST, usegmt=True)}, 412),
            ({"if_match": tag, "if_none_match": '"other"', "range": "bytes=0-4"}, 206),
        ):
            assert ask(MAP, "/static/a.txt", **fields).status == status


class TestRanges:
    @pytest.mark.parametrize(
        "asked, told, body",
        [
            ("bytes=0-4", "bytes 0-4/12", b"hello"), ("bytes=7-", "bytes 7-11/12", b"world"),
            ("bytes=-5", "bytes 7-11/12", b"world"), ("bytes=-50", "bytes 0-11/12", b"hello, world"),
            ("bytes=11-500", "bytes 11-11/12", b"d"),
        ],
    )  # fmt: skip
    def test_a_part_is_served(self, tree, asked, told, body):
        answer = ask(MAP, "/static/a.txt", range=asked)
        assert (answer.status, answer.body) == (206, body)
        assert (answer.headers["Content-Range"], answer.headers["Content-Length"]) == (told, str(len(body)))

    @pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=-", "bytes=4-2", "items=0-1", "bytes=a-b", ""])
    def test_what_is_not_one_range_gets_the_whole(self, tree, asked):
        answer = ask(MAP, "/static/a.txt", range=asked)
        assert (answer.status, answer.body) == (200, b"hello, world")

    @pytest.mark.parametrize("asked", ["bytes=12-", "bytes=100-200", "bytes=-0"])
    def test_nothing_of_it(self, tree, asked):
        answer = ask(MAP, "/static/a.txt", range=asked)
        assert (answer.status, answer.body, answer.headers["Content-Range"]) == (416, b"", "bytes */12")

    def test_if_range(self, tree):
        tag = ask(MAP, "/static/a.txt").headers["ETag"]
        date = formatdate(PAST, usegmt=True)
        for value, status in (
            (tag, 206),
            (date, 206),
            ('"other"', 200),
            (formatdate(PAST - 9, usegmt=True), 200),
        ):
            assert ask(MAP, "/static/a.txt", range="bytes=0-1", if_range=value).status == status

    def test_head_has_no_ranges(self, tree):
        assert ask(MAP, "/static/a.txt", "HEAD", range="bytes=0-1").status == 200


class TestGzip:
    OPTIONS = (
        {"static_gzip_all": True}, {"static_gzip_ext": (".txt",)}, {"static_gzip_dir": ("static",)},
        {"static_gzip": (re.compile(r"a\.t"),)},
    )  # fmt: skip

    @pytest.mark.parametrize("options", OPTIONS)
    def test_the_zipped_file_is_served_to_whom_takes_it(self, tree, options):
        options = StaticOptions(static_map=MAP.static_map, **options)
        answer = ask(options, "/static/a.txt", accept_encoding="br, gzip")
        assert gzip.decompress(answer.body) == b"hello, world"
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Content-Type"] == "text/plain"
        plain = ask(options, "/static/a.txt", accept_encoding="br")
        assert (plain.body, plain.headers["Vary"]) == (b"hello, world", "Accept-Encoding")
        assert plain.headers["ETag"] != answer.headers["ETag"]

    @pytest.mark.parametrize("options", OPTIONS)
    @pytest.mark.parametrize(
        "accepted, coding",
        [("gzip, br", "br"), ("br;q=0.1, gzip", "br"), ("BR", "br"), ("*", "br"), ("*, br;q=0", "gzip"), ("gzip", "gzip"), ("brotli", None)],
    )  # fmt: skip
    def test_brotli_comes_first(self, tree, options, accepted, coding):
        (tree / "static/a.txt.br").write_text("brotli")
        options = StaticOptions(static_map=MAP.static_map, **options)
        answer = ask(options, "/static/a.txt", accept_encoding=accepted)
        assert answer.headers.get("Content-Encoding") == coding
        assert (answer.headers["Content-Type"], answer.headers["Vary"]) == ("text/plain", "Accept-Encoding")
        if coding == "br":
            assert answer.body == b"brotli"

    @pytest.mark.parametrize(
        "accepted, zipped",
        [("gzip", 1), ("GZIP;q=0.5", 1), ("gzip;q=0", 0), ("*", 1), ("*;q=0", 0), ("gzip;q=0, *", 0), ("", 0), ("x-gzip", 0), ("gzip;q=.", 1)],
    )  # fmt: skip
    def test_qualities(self, tree, accepted, zipped):
        options = StaticOptions(static_map=MAP.static_map, static_gzip_all=True)
        assert (
            "Content-Encoding" in ask(options, "/static/a.txt", accept_encoding=accepted).headers
        ) == bool(zipped)

    def test_files_without_one_are_served_as_they_are(self, tree):
        options = StaticOptions(static_map=MAP.static_map, static_gzip_all=True)
        assert ask(options, "/static/x.css", accept_encoding="gzip").body == b"body{}"


@pytest.mark.parametrize("since", ["", "_mtime"])
@pytest.mark.parametrize(
    "name, value",
    [
        ("static_expires", expiry(r"static/x\.css$ 60")), ("static_expires_path_info", expiry("^/static/x 60")),
        ("static_expires_uri", expiry(r"\?v=1$ 60")), ("static_expires_type", expiry_of_type("text/css=60")),
    ],
)  # fmt: skip
def test_files_expire(tree, name, value, since, monkeypatch):
    """After the answer, or after their last change."""
    monkeypatch.setattr("appserver.static.service.time", lambda: PAST + 1000.7)
    options = StaticOptions(static_map=MAP.static_map, **{name + since: (value,)})
    expected = formatdate(PAST + (60 if since else 1060), usegmt=True)
    assert ask(options, "/static/x.css", query="?v=1").headers["Expires"] == expected
    assert "Expires" not in ask(options, "/static/a.txt").headers


@pytest.mark.parametrize("since", ["", "_mtime"])
@pytest.mark.parametrize("of", ["path_info", "uri"])
def test_files_expire_by_paths_as_the_bytes_that_the_file_has(tree, of, since):
    (tree / "static" / "\u00e9.txt").write_text("x")
    name = f"static_expires_{of}{since}"
    declared = {each.field: each for each in options_of(StaticOptions)}[name]
    options = StaticOptions(static_map=MAP.static_map, **{name: (declared.convert("/\u00e9\\. 60"),)})
    assert "Expires" in ask(options, "/static/\u00c3\u00a9.txt").headers


def test_there_is_one_time_of_expiry(tree):
    """The name counts before the path, the path before the target, the target before the type."""
    rules = {
        "static_expires_mtime": (expiry("static/x 1"),), "static_expires_path_info_mtime": (expiry("^/static/[xa] 2"),),
        "static_expires_uri_mtime": (expiry("^/static/[xac] 3"),), "static_expires_type_mtime": (expiry_of_type("text/css=4"),),
    }  # fmt: skip
    for count, name in enumerate(list(rules), 1):
        options = StaticOptions(static_map=MAP.static_map, **rules)
        expires = ask(options, "/static/x.css").headers["Expires"]
        assert expires == formatdate(PAST + count, usegmt=True)
        del rules[name]


@pytest.mark.parametrize(
    "text, mode",
    [
        ("direct", "direct"), ("X-Sendfile", "x-sendfile"), ("xsendfile", "x-sendfile"), ("NGINX", "x-accel-redirect"),
        ("XAccelRedirect", "x-accel-redirect"), ("X-Accel-Redirect", "x-accel-redirect"),
    ],
)  # fmt: skip
def test_who_sends_files_has_several_names(text, mode):
    assert serve_mode(text) == mode


@pytest.mark.parametrize("text", ["", "apache", "x-accel"])
def test_nobody_else_sends_files(text):
    with pytest.raises(BadValue, match=r"^direct, x-sendfile or x-accel-redirect$"):
        serve_mode(text)


@pytest.mark.parametrize(
    "mode, name", [("x-sendfile", "X-Sendfile"), ("x-accel-redirect", "X-Accel-Redirect")]
)
def test_the_front_end_may_send_it(tree, mode, name):
    options = StaticOptions(static_map=MAP.static_map, file_serve_mode=mode)
    answer = ask(options, "/static/x.css")
    assert (answer.headers[name], answer.body) == (f"{tree}/static/x.css", b"")


ODD = ["a%20b.txt", "what?.txt", "a b.txt", "caf\xe9.txt", "a+b#c.txt", "a;b=c&d.txt", "end ", "q\"'.txt"]


@pytest.mark.parametrize("name", ODD)
def test_nginx_is_told_a_path_that_it_unescapes(tree, name):
    (tree / "static" / name).write_text("odd")
    options = StaticOptions(static_map=MAP.static_map, file_serve_mode="x-accel-redirect")
    told = ask(options, "/static/" + name.encode().decode("latin-1")).headers["X-Accel-Redirect"]
    assert (unquote(told), told.isascii()) == (f"{tree}/static/{name}", True)
    assert not {" ", "?", "#", '"'} & set(told)


@pytest.mark.parametrize("name", ODD)
def test_x_sendfile_has_what_all_front_ends_read_alike(tree, name):
    (tree / "static" / name).write_text("odd")
    octets = name.encode().decode("latin-1")
    answer = ask(StaticOptions(static_map=MAP.static_map, file_serve_mode="x-sendfile"), f"/static/{octets}")
    if "%" in name or name.endswith(" "):
        assert ("X-Sendfile" in answer.headers, answer.body) == (False, b"odd")
    else:
        assert answer.headers["X-Sendfile"] == f"{tree}/static/{octets}"


def test_a_link_to_a_name_with_a_line_break_is_no_error(tree):
    (tree / "static/a\nb").write_text("odd")
    os.symlink("a\nb", tree / "static/odd")
    options = StaticOptions(static_map=MAP.static_map, file_serve_mode="x-sendfile")
    assert ask(options, "/static/odd").body == b"odd"


@pytest.fixture
def between(monkeypatch):
    """Return a list of what is to happen, once each, between a file's opening and the reading of its name."""
    steps, real = [], os.readlink

    def readlink(path, *more, **given):
        if steps and str(path).startswith("/proc/self/fd/"):
            steps.pop(0)()
        return real(path, *more, **given)

    monkeypatch.setattr("os.readlink", readlink)
    return steps


def replacing(path, text):
    """Return what puts another file in the place of *path*, as deployments do."""

    def step():
        new = path.with_name("new")
        new.write_text(text)
        os.replace(new, path)

    return step


class TestReplacedFiles:
    """What is replaced by rename(2) after it was opened has no name any more by which to judge it."""

    @pytest.mark.parametrize("linked", [False, True], ids=["one name", "two names"])
    @pytest.mark.parametrize("times", [1, 3])
    def test_the_new_file_is_served_as_what_it_is(self, tree, between, times, linked):
        if linked:
            os.link(tree / "static/x.css", tree / "static/other")
        between += [replacing(tree / "static/x.css", f"new{number}") for number in range(times)]
        answer = ask(MAP, "/static/x.css")
        assert (answer.body, answer.headers["Content-Type"]) == (b"new%d" % (times - 1), "text/css")
        assert not between

    @pytest.mark.parametrize("path", ["script.php", "settings.py"])
    def test_what_may_not_be_served_still_is_not(self, tree, between, path):
        (tree / "static" / path).write_text("no")
        between.append(replacing(tree / "static" / path, "no"))
        options = StaticOptions(static_map=MAP.static_map, static_skip_ext=(".php",))
        assert ask(options, f"/static/{path}") is None
        assert not between

    def test_what_is_replaced_all_the_time_is_the_applications(self, tree, between):
        before = len(os.listdir("/proc/self/fd"))
        between += [replacing(tree / "static/x.css", "new")] * 1000
        assert ask(MAP, "/static/x.css") is None
        assert len(between) > 900
        assert len(os.listdir("/proc/self/fd")) == before

    def test_what_is_removed_is_the_applications(self, tree, between):
        between.append((tree / "static/x.css").unlink)
        assert ask(MAP, "/static/x.css") is None

    def test_a_file_may_be_named_so(self, tree, between):
        (tree / "static/x.css (deleted)").write_text("odd")
        assert ask(MAP, "/static/x.css (deleted)").body == b"odd"
        between.append(replacing(tree / "static/x.css", "new"))
        assert ask(MAP, "/static/x.css").body == b"new"


def test_no_descriptor_is_left_open(tree):
    before = len(os.listdir("/proc/self/fd"))
    options = StaticOptions(
        static_map=MAP.static_map, static_gzip_all=True, static_skip_ext=(".php",), static_index=("a.txt",)
    )
    for path in ("a.txt", "in", "out", "pipe", "sub", "", "empty", "script.php", "x.css", "shared/s.txt"):
        for fields in (
            {},
            {"range": "bytes=0-0"},
            {"range": "bytes=99-"},
            {"if_none_match": "*"},
            {"accept_encoding": "gzip"},
        ):
            for method in ("GET", "HEAD"):
                ask(options, f"/static/{path}", method, **fields)
    indexed = StaticOptions(static_map=MAP.static_map, static_index=("index.html",))
    assert ask(indexed, "/static/sub", ruled=ruled).status == 403
    assert len(os.listdir("/proc/self/fd")) == before
