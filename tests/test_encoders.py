"""What becomes of lines: encoders, and the routes to loggers with names."""

from __future__ import annotations

import json
import logging
import re
import time
from types import SimpleNamespace

import pytest

from appserver.configuration import Configuration
from appserver.log.access import AccessOptions
from appserver.log.destinations import Log
from appserver.log.encoders import Ruled, Rules, encoder, route
from appserver.log.options import LogOptions
from appserver.options import BadValue, UnsupportedValue

from .support.logs import Lines


@pytest.mark.parametrize(
    "text, expected",
    [
        ("prefix >", '>a "b"'), ("suffix  <", 'a "b"<'), ("nl", 'a "b"'), ("format [${msg}]", '[a "b"]'),
        ("format ${msgnl}${nope}", 'a "b"'), ('json {"m": "${msg}"}', r'{"m": "a \"b\""}'), ("strftime", 'a "b"'),
    ],
)  # fmt: skip
def test_encoders(text, expected):
    assert encoder(text).encode('a "b"') == expected


def test_times():
    line = encoder(
        'json {"unix": ${unix}, "micros": ${micros}, "year": "${strftime:%Y}", "msg": "${msg}"}'
    ).encode("\n\x00")
    told = json.loads(line)
    assert abs(told["unix"] - time.time()) < 60
    assert abs(told["micros"] / 1e6 - told["unix"]) < 60
    assert told["msg"] == "\n\x00"
    assert re.fullmatch(r"\d{4}", told["year"])
    assert re.fullmatch(r"\d{4}", encoder("strftime").encode("%Y"))


@pytest.mark.parametrize(
    "line", ["\0", "nul \0 here", "\0\0%", "sur \udc80 here", "100%", "%100000d", "\n%-", ""]
)
@pytest.mark.parametrize(
    "text",
    [
        "prefix >",
        "suffix <",
        "nl",
        "format ${msg}",
        'json {"m": "${msg}"}',
        "strftime",
        "format ${strftime:\0}",
    ],
)
def test_encoders_take_every_text(text, line):
    assert isinstance(encoder(text).encode(line), str)
    assert encoder("strftime").encode(line) == line


@pytest.mark.parametrize("text", ["", "gzip", "jason {}", ":x"])
def test_unknown_encoders(text):
    with pytest.raises(BadValue, match=r"^prefix, suffix"):
        encoder(text)


@pytest.mark.parametrize("text", ["", "name", "name ", "name ("])
def test_bad_routes(text):
    with pytest.raises(BadValue):
        route(text)


def written(lines, **rules):
    sinks = {"": Lines(), "errors": Lines(), "other": Lines()}
    ruled = Ruled(list(sinks.items()), Rules(**rules))
    for line in lines:
        ruled.write(line)
    return {name: sink.lines for name, sink in sinks.items()}


def test_lines_go_by_their_text_to_the_logger_of_that_name():
    assert written(["an ERROR", "fine"], routes=[route("errors ERROR")]) == {
        "": ["fine"], "errors": ["an ERROR"], "other": [],
    }  # fmt: skip


def test_a_route_to_a_name_that_no_logger_has_is_none():
    assert written(["an ERROR"], routes=[route("erors ERROR")]) == {
        "": ["an ERROR"], "errors": [], "other": [],
    }  # fmt: skip


def test_encoders_may_be_for_one_logger():
    routes = [route("errors x"), route("other x")]
    assert written(["x", "y"], encoders=[encoder("prefix:errors >"), encoder("suffix <")], routes=routes) == {
        "": ["y<"], "errors": [">x<"], "other": ["x<"],
    }  # fmt: skip


def test_lines_are_dropped():
    assert written(
        ["a", "ab", "b", "c"], drained=[re.compile("c")], kept=[re.compile("a"), re.compile("^b$")]
    )[""] == ["a", "ab", "b"]


def test_a_log_has_all_of_it(tmp_path):
    log = Log(
        LogOptions(
            logger=(f"file:{tmp_path}/all", f"bad file:{tmp_path}/bad"), log_route=(route("bad boom"),),
            log_encoder=(encoder("prefix:bad >"),), log_drain=(re.compile("quiet"),), log_date="%%",
        )
    )  # fmt: skip
    try:
        for text in ("hello", "boom", "quiet"):
            logging.getLogger("appserver").info(text)
    finally:
        log.close()
    assert (tmp_path / "all").read_text() == "[%] INFO hello\n"
    assert (tmp_path / "bad").read_text() == ">[%] INFO boom\n"


class TestRoutes:
    """Which lines of a whole log go where."""

    def written(self, directory, capsys, **options):
        """Write four lines, and return what each file has of them, and stderr."""

        def placed(text):
            name, _, file = text.rpartition(" ")
            return f"{name} file:{directory}/{file}".strip()

        loggers = {name: tuple(map(placed, options.pop(name, ()))) for name in ("logger", "req_logger")}
        log = Log(LogOptions(**loggers, **options, log_date="%%"), AccessOptions(log_format="%(uri) line"))
        try:
            for text in ("fine", "ERROR"):
                logging.getLogger("appserver").info(text)
            for uri in ("/ok", "/err"):
                x = SimpleNamespace(environ={}, uri=uri)
                log.access.line(x, "200", 0)
        finally:
            log.close()
        words = {path.name: path.read_text() for path in directory.iterdir()} | {
            "stderr": capsys.readouterr().err
        }
        return {
            name: [
                each for each in ("fine", "ERROR", "/ok", "/err") if f"{each}\n" in text.replace(" line", "")
            ]
            for name, text in words.items()
        }

    def test_requests_are_routed_to_a_logger_that_is_no_req_logger(self, tmp_path, capsys):
        found = self.written(
            tmp_path, capsys, logger=("err err",), req_logger=("req",), log_req_route=(route("err /err"),)
        )
        assert found == {"err": ["/err"], "req": ["/ok"], "stderr": ["fine", "ERROR"]}

    def test_a_name_that_no_logger_has_loses_nothing(self, tmp_path, capsys):
        found = self.written(
            tmp_path, capsys, logger=("all", "err err"),
            log_route=(route("er ERROR"),), log_req_route=(route("er /err"),),
        )  # fmt: skip
        assert found == {"all": ["fine", "ERROR", "/ok", "/err"], "err": [], "stderr": []}

    def test_loggers_with_names_have_no_lines_of_requests_but_those_routed_there(self, tmp_path, capsys):
        found = self.written(tmp_path, capsys, logger=("all", "err err"), log_route=(route("err ERROR"),))
        assert found == {"all": ["fine", "/ok", "/err"], "err": ["ERROR"], "stderr": []}

    def test_what_no_route_takes_is_on_stderr_where_all_have_names(self, tmp_path, capsys):
        found = self.written(
            tmp_path, capsys, logger=("err err",), req_logger=("api api",),
            log_route=(route("err ERROR"),), log_req_route=(route("api /ok"),),
        )  # fmt: skip
        assert found == {"err": ["ERROR"], "api": ["/ok"], "stderr": ["fine", "/err"]}


def test_routes_and_loggers_in_vain_are_told_with_their_places(tmp_path):
    ini = tmp_path / "site.ini"
    ini.write_text(
        "[appserver]\nhttp-socket = :0\nmodule = x\nlogger = errors file:/x\nreq-logger = api file:/y\n"
        "log-route = errrors ERROR\nlog-req-route = errors /err\nlog-req-route = ap /api\n"
    )
    ignored = "is ignored; the names are"
    assert Configuration(["--ini", str(ini)]).dangers() == [
        f"{ini}:6: log-route = errrors ERROR: no logger has the name errrors, so the route {ignored} errors",
        f"{ini}:8: log-req-route = ap /api: no logger has the name ap, so the route {ignored} api, errors",
        f"{ini}:5: req-logger = api file:/y: no route leads to api, so no line does; remove the name",
    ]
    ini.write_text("[appserver]\nhttp-socket = :0\nmodule = x\nlogger = file:/x\nlog-route = a b\n")
    [told] = Configuration(["--ini", str(ini)]).dangers()
    assert told.endswith("no logger has the name a, so the route is ignored; none has a name")


@pytest.mark.parametrize("convert, text", [("logger", "syslog:uwsgi"), ("logger", "mine rsyslog:127.0.0.1"), ("logto", "127.0.0.1:9000"), ("logto", ":9000")])  # fmt: skip
def test_what_uwsgi_has_and_we_have_not_is_told_apart(convert, text):
    from appserver.log.options import destination, log_file

    with pytest.raises(UnsupportedValue):
        (destination if convert == "logger" else log_file)(text)


class TestRotation:
    def test_a_new_file_is_begun(self, tmp_path):
        from appserver.log.sinks import FileSink

        path, old = tmp_path / "log", tmp_path / "old"
        sink = FileSink(str(path), most=10, backup=str(old))
        for line in ("12345", "67890", "abcde", "fghij", "k"):
            sink.write(line)
        sink.close()
        assert (old.read_text(), path.read_text()) == ("abcde\nfghij\n", "k\n")

    def test_the_time_is_in_the_name_otherwise(self, tmp_path):
        from appserver.log.sinks import FileSink

        sink = FileSink(str(tmp_path / "log"), most=1)
        sink.write("a")
        sink.write("b")
        sink.close()
        [old] = tmp_path.glob("log.*")
        assert re.fullmatch(r"log\.\d+", old.name)

    def test_processes_that_share_a_file_lose_no_line(self, tmp_path):
        import os

        from appserver.log.sinks import FileSink

        names = []
        for number in range(3):
            pid = os.fork()
            if not pid:
                sink = FileSink(str(tmp_path / "log"), most=2000, backup=str(tmp_path / f"old.{number}"))
                for line in range(40):
                    sink.write(f"{number} {line} {'x' * 20}")
                os._exit(0)
            names.append(pid)
        for pid in names:
            os.waitpid(pid, 0)
        lines = [line for path in tmp_path.iterdir() for line in path.read_text().splitlines()]
        assert len(set(lines)) == len(lines) == 120

    def test_permissions(self, tmp_path):
        from appserver.log.sinks import FileSink

        FileSink(str(tmp_path / "log"), 0o604).close()
        assert (tmp_path / "log").stat().st_mode & 0o777 == 0o604

    def test_the_form_of_uwsgis_file_logger(self, tmp_path):
        log = Log(
            LogOptions(
                logger=(f"file:logfile={tmp_path}/log,maxsize=10,backupname={tmp_path}/old",), log_date="%%"
            )
        )
        try:
            for text in ("one", "two"):
                logging.getLogger("appserver").info(text)
        finally:
            log.close()
        assert ((tmp_path / "old").read_text(), (tmp_path / "log").read_text()) == (
            "[%] INFO one\n",
            "[%] INFO two\n",
        )
