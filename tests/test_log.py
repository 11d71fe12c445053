"""Logs: where lines go, what a request's line says, and that no destination stops the server."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from appserver.log.access import Access
from appserver.log.destinations import Log, LogError
from appserver.log.errors import Errors
from appserver.log.options import LogOptions, destination, endpoint
from appserver.options import BadValue

from .support.logs import Lines

STAMP = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]"


@pytest.fixture
def opened(request, monkeypatch):
    """Return a function that opens a log where nobody has configured `logging`, and closes it after the test."""

    def opened(behind=None, **options):
        monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's
        log = Log(LogOptions(**options), behind=behind)
        request.addfinalizer(log.close)
        return log

    return opened


def exchange(sent=5, **environ):
    base = {
        "appserver.listener": "http", "REMOTE_ADDR": "192.0.2.7", "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/a?b=c", "SERVER_PROTOCOL": "HTTP/1.1",
    }  # fmt: skip
    environ = base | environ
    return SimpleNamespace(
        environ=environ, method=environ["REQUEST_METHOD"], uri=environ["REQUEST_URI"],
        protocol=environ["SERVER_PROTOCOL"], sent=sent,
    )  # fmt: skip


@pytest.mark.parametrize(
    "text, expected",
    [
        ("zeromq:tcp://127.0.0.1:9292", "zeromq:tcp://127.0.0.1:9292"),
        ("zmq:tcp://127.0.0.1:9292", "zeromq:tcp://127.0.0.1:9292"),
        ("zeromq:ipc:///run/log", "zeromq:ipc:///run/log"),
        ("mine zeromq:tcp://127.0.0.1:9292", "mine zeromq:tcp://127.0.0.1:9292"),
        ("mine  file:/var/log/x", "mine file:/var/log/x"),
        ("file:/var/log/x y.log", "file:/var/log/x y.log"),
        ("file:stdio:", "file:stdio:"),
        ("stdio", "stdio:"),
        ("stdio:", "stdio:"),
        ("mine stdio", "mine stdio:"),
    ],
)
def test_destinations(text, expected):
    assert destination(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "file", "file:", "mine file:", "syslog:x", "socket:1:2", "a b stdio", "/var/log/x"]
)
def test_bad_destinations(text):
    with pytest.raises(BadValue, match=r"^zeromq:ENDPOINT, file:PATH or stdio$"):
        destination(text)


@pytest.mark.parametrize("text", ["", "127.0.0.1:9292", "http://x", "tcp://", "tcp:127.0.0.1"])
def test_bad_endpoints(text):
    for convert, value in ((endpoint, text), (destination, f"zeromq:{text}")):
        with pytest.raises(BadValue, match=r"^(a ZeroMQ endpoint, such as )?tcp://"):
            convert(value)


class TestAccess:
    """The line about a request."""

    def line(self, x, status="200"):
        sink = Lines()
        Access(sink).line(x, status, 0.01234)
        [line] = sink.lines
        return line

    def test_what_it_says(self):
        assert re.fullmatch(
            STAMP + r' http 192\.0\.2\.7 "GET /a\?b=c HTTP/1\.1" 200 5 12\.3ms', self.line(exchange())
        )

    @pytest.mark.parametrize("environ, peer", [({"REMOTE_ADDR": ""}, "-"), ({"REMOTE_ADDR": "::1"}, "::1")])
    def test_a_peer_may_have_no_address(self, environ, peer):
        assert f' http {peer} "GET ' in self.line(exchange(**environ))

    def test_without_an_answer_there_is_no_status(self):
        assert ' HTTP/1.1" - 5 ' in self.line(exchange(), "")

    @pytest.mark.parametrize(
        "name, value, shown",
        [
            ("REQUEST_URI", "/a\nb", r" /a\x0ab "),
            ("REQUEST_URI", "/\x00\x1b[31m\x7f", r" /\x00\x1b[31m\x7f "),
            ("REQUEST_URI", '/" 200 0', r" /\x22 200 0 "),
            ("REQUEST_URI", "/\\x0a", r" /\x5cx0a "),
            ("REQUEST_URI", "/caf\xe9\x85", r" /caf\xe9\x85 "),
            ("REQUEST_METHOD", 'G"ET\r', r' "G\x22ET\x0d '),
            ("SERVER_PROTOCOL", 'HTTP"/1.1\n', r' HTTP\x22/1.1\x0a" 200'),
            ("REMOTE_ADDR", '::1\n"x', r' ::1\x0a\x22x "GET'),
        ],
    )
    def test_no_character_of_a_client_makes_a_line_or_a_field(self, name, value, shown):
        line = self.line(exchange(**{name: value}))
        assert shown in line
        assert line.isprintable()
        assert line.count('"') == 2


def test_wsgi_errors_are_lines_of_the_log(caplog):
    stream = Errors()
    assert stream.write("one\n\ntwo\n") == 9
    print("thr", "ee", sep="", file=stream)
    assert caplog.messages[1:] == ["three"]  # one line, though print writes its pieces apart
    stream.writelines(["fo", "ur"])
    stream.flush()
    assert stream.write("\n \n") == 3
    assert caplog.messages == ["one\n\ntwo", "three", "four"]


def test_wsgi_errors_are_no_errors_of_who_collects_those_that_are_logged(caplog, monkeypatch):
    """They are logged by the application as well, or are no errors at all."""
    collected = []
    monkeypatch.setattr(logging.Logger, "callHandlers", lambda logger, record: collected.append(record))
    Errors().write("a note\n")
    assert not collected
    assert caplog.messages == ["a note"]


def test_a_filter_of_its_logger_counts_for_wsgi_errors(caplog, monkeypatch):
    logger = logging.getLogger("appserver.application")
    monkeypatch.setattr(logger, "filters", [lambda record: "secret" not in record.getMessage()])
    for line in ("a secret\n", "a note\n"):
        Errors().write(line)
    assert caplog.messages == ["a note"]


class TestLog:
    """All of it."""

    def test_by_default_everything_goes_to_stderr(self, opened, capsys):
        log = opened()
        logging.getLogger("appserver.listeners").info("ours")
        logging.getLogger("somebody").warning("theirs")
        logging.getLogger("somebody").debug("too much")
        log.access.line(exchange(), "200", 0)
        lines = capsys.readouterr().err.splitlines()
        assert re.fullmatch(STAMP + " INFO ours", lines[0])
        assert re.fullmatch(STAMP + " WARNING theirs", lines[1])
        assert re.fullmatch(STAMP + r' http 192\.0\.2\.7 "GET .* 0\.0ms', lines[2])
        assert len(lines) == 3

    def test_logto_is_instead_of_stderr(self, opened, capsys, tmp_path):
        log = opened(logto=str(tmp_path / "log"))
        logging.getLogger("appserver").info("ours")
        log.access.line(exchange(), "200", 0)
        assert [line.split("] ")[1][:4] for line in (tmp_path / "log").read_text().splitlines()] == [
            "INFO",
            "http",
        ]
        assert capsys.readouterr().err == ""

    def test_logto2_counts_where_there_is_logto_too(self, opened, tmp_path):
        opened(logto=str(tmp_path / "one"), logto2=str(tmp_path / "two"))
        logging.getLogger("appserver").info("ours")
        assert (tmp_path / "two").read_text().endswith("] INFO ours\n")
        assert not (tmp_path / "one").exists()

    def test_all_destinations_get_the_log(self, opened, collector, capsys, tmp_path):
        where, listen = collector
        sock = listen()
        opened(
            logto=str(tmp_path / "a"),
            logger=(f"file:{tmp_path}/b", "stdio:"),
            log_zeromq=(f"zeromq:{where}",),
        )
        logging.getLogger("appserver").info("ours")
        texts = [
            (tmp_path / "a").read_text(),
            (tmp_path / "b").read_text(),
            sock.recv().decode() + "\n",
            capsys.readouterr().err,
        ]
        assert len(set(texts)) == 1
        assert texts[0].endswith("] INFO ours\n")

    def test_req_logger_gets_the_requests_and_only_it(self, opened, collector, capsys):
        where, listen = collector
        sock = listen()
        log = opened(req_logger=(f"zeromq:{where}",))
        logging.getLogger("appserver").info("ours")
        log.access.line(exchange(), "200", 0)
        assert b' http 192.0.2.7 "GET ' in sock.recv()
        assert capsys.readouterr().err.endswith("] INFO ours\n")

    def test_disable_logging_is_about_requests(self, opened, capsys):
        assert opened(disable_logging=True).access is None
        logging.getLogger("appserver").info("ours")
        assert capsys.readouterr().err.endswith("] INFO ours\n")

    def test_a_record_of_several_lines_is_one_message(self, opened, collector):
        where, listen = collector
        sock = listen()
        opened(logger=(f"zeromq:{where}",))
        try:
            {}["x"]
        except KeyError:
            logging.getLogger("appserver").exception("it failed")
        message = sock.recv().decode()
        assert "ERROR it failed\nTraceback" in message
        assert message.endswith("KeyError: 'x'")

    def test_a_bad_call_of_logging_raises_nothing(self, opened, capsys, monkeypatch):
        monkeypatch.setattr(logging, "raiseExceptions", True)
        opened()
        logging.getLogger("somebody").warning("%d", "no number")
        assert "--- Logging error ---" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "options, option, value",
        [
            ({"logto": "{0}/absent/log"}, "logto", "{0}/absent/log"),
            ({"logto2": "{0}/absent/log"}, "logto2", "{0}/absent/log"),
            ({"logger": ("stdio:", "file:{0}/absent/log")}, "logger", "{0}/absent/log"),
            ({"req_logger": ("file:{0}",)}, "req-logger", "{0}"),
            (
                {"logto": "{0}/log", "log_zeromq": ("zeromq:tcp://127.0.0.1:x",)},
                "log-zeromq",
                "tcp://127.0.0.1:x",
            ),
        ],
    )
    def test_what_cannot_be_opened_is_told(self, tmp_path, options, option, value):
        def filled(value):
            return tuple(map(filled, value)) if isinstance(value, tuple) else value.format(tmp_path)

        before = logging.getLogger().handlers[:], logging.getLogger().level
        with pytest.raises(LogError, match=r"^the log cannot be opened: ") as caught:
            Log(LogOptions(**{name: filled(value) for name, value in options.items()}))
        assert (caught.value.option, caught.value.value) == (option, filled(value))
        assert caught.value.value in str(caught.value)
        assert (logging.getLogger().handlers, logging.getLogger().level) == before

    def test_logging_is_given_back(self, opened):
        def state():
            return [(each.handlers[:], each.level, each.propagate) for each in loggers]

        loggers = logging.getLogger(), logging.getLogger("appserver")
        opened().close()  # without the handlers of pytest
        before = state()
        log = Log(LogOptions())
        assert state() != before
        log.close()
        log.close()
        assert state() == before
        assert "addHandler" not in vars(loggers[0])

    def test_warnings_behind_the_end_go_to_stderr(self, opened, capsys, tmp_path):
        log = opened(logto=str(tmp_path / "log"))
        log.close()
        logging.getLogger("mine").info("less")
        logging.getLogger("mine").warning("late")
        logging.getLogger("appserver.wsgi").error("ours")
        assert [line.split("] ")[1] for line in capsys.readouterr().err.splitlines()] == [
            "WARNING late", "ERROR ours",
        ]  # fmt: skip


class TestTheApplications:
    """What an application does with `logging` is what it does without a server."""

    def test_basic_config_takes_effect(self, opened, capsys, tmp_path):
        opened()
        logging.getLogger("mine").info("before")
        logging.basicConfig(filename=tmp_path / "app.log", format="APP %(message)s")
        logging.getLogger("mine").info("no more than others")
        logging.getLogger("mine").warning("mine")
        logging.getLogger("appserver.wsgi").info("ours")
        logging.getLogger().handlers[0].close()
        assert (tmp_path / "app.log").read_text() == "APP mine\n"
        assert [line.split("] ")[1] for line in capsys.readouterr().err.splitlines()] == [
            "INFO before", "INFO ours",
        ]  # fmt: skip

    @pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR])
    @pytest.mark.parametrize("first", ["level", "handler"])
    def test_a_level_of_its_own_stays(self, opened, monkeypatch, level, first):
        root = logging.getLogger()
        monkeypatch.setattr(root, "level", root.level)
        opened()
        if first == "level":
            root.setLevel(level)
        root.addHandler(logging.NullHandler())
        if first == "handler":
            assert root.level == logging.WARNING
            root.setLevel(level)
        root.addHandler(logging.NullHandler())
        assert (root.level, len(root.handlers)) == (level, 2)

    def test_a_level_without_a_handler_holds_for_the_log(self, opened, capsys, monkeypatch):
        root = logging.getLogger()
        monkeypatch.setattr(root, "level", root.level)
        opened()
        root.setLevel(logging.ERROR)
        logging.getLogger("mine").warning("too little")
        root.setLevel(logging.DEBUG)
        logging.getLogger("mine").debug("enough")
        assert capsys.readouterr().err.endswith("] DEBUG enough\n")
        assert logging.lastResort is not None

    def test_nothing_is_written_twice(self, opened, capsys, monkeypatch):
        opened()
        mine = logging.getLogger("mine.own")
        monkeypatch.setattr(mine, "handlers", [logging.StreamHandler()])
        mine.warning("once")
        assert capsys.readouterr().err == "once\n"

    def test_who_has_configured_logging_before_is_left_alone(self, opened):
        root = logging.getLogger()
        opened().close()
        root.addHandler(logging.NullHandler())
        log = Log(LogOptions())
        assert (root.level, len(root.handlers)) == (logging.WARNING, 1)
        log.close()
        assert (root.level, len(root.handlers)) == (logging.WARNING, 1)

    @pytest.mark.parametrize("disable", [True, False])
    def test_dict_config(self, opened, capsys, monkeypatch, disable):
        import logging.config

        root = logging.getLogger()
        monkeypatch.setattr(root, "level", root.level)
        log = opened()
        ours = logging.getLogger("appserver.listeners")
        logging.config.dictConfig({
            "version": 1, "disable_existing_loggers": disable, "formatters": {"short": {"format": "APP %(message)s"}},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "short"}},
            "root": {"level": "INFO", "handlers": ["console"]},
        })  # fmt: skip
        log.reclaim()
        logging.getLogger("mine.configured").info("mine")
        ours.info("ours")
        mine, server = capsys.readouterr().err.splitlines()
        assert mine == "APP mine"
        assert server.endswith("] INFO ours")


def test_files_that_were_moved_away_are_begun_anew(opened, tmp_path):
    log = opened(logto=f"{tmp_path}/log", req_logger=(f"file:{tmp_path}/requests",))
    for name in ("log", "requests"):
        (tmp_path / name).rename(tmp_path / f"{name}.1")
    log.reopen()
    logging.getLogger("appserver").info("a line")
    log.access.line(exchange(), "200 OK", 0.1)
    assert (tmp_path / "log").read_text().endswith(" INFO a line\n")
    assert "GET /a?b=c" in (tmp_path / "requests").read_text()


@pytest.mark.parametrize("first", ["logto", "logger"])
def test_the_backups_of_several_files_do_not_overwrite_each_other(opened, tmp_path, first):
    """One may be given a name of its own, and one stand there twice."""
    path = {name: str(tmp_path / name) for name in ("first", "own", "own.old", "other", "old")}
    others = (f"file:logfile={path['own']},backupname={path['own.old']}", f"file:{path['other']}")
    options = {"logto": path["first"]} if first == "logto" else {"logger": (f"file:{path['first']}",) * 2}
    log = opened(log_backupname=path["old"], req_logger=others, **options)
    for name in ("first", "own", "other"):
        (tmp_path / name).write_text(name)
    log.rotate()
    found = {each.name: text for each in tmp_path.iterdir() if (text := each.read_text())}
    [timed] = [name for name in found if re.fullmatch(r"other\.[0-9]+", name)]
    assert found == {"old": "first", "own.old": "own", timed: "other"}


class Behind:
    """The file of a daemon's stderr."""

    path = "/log"
    calls = ()
    fails = False

    def rotate(self, *arguments):
        self.calls += (arguments,)
        if self.fails:
            raise PermissionError(13, "Permission denied")
        return True


def test_a_log_that_cannot_be_moved_away_is_told_of_once(opened, capsys):
    behind = Behind()
    log = opened(behind=behind, log_maxsize=10, log_backupname="/old")
    assert log.rotate_full()
    behind.fails = True
    assert not log.rotate_full()
    assert not log.rotate_full()
    told = "ERROR the log goes on in the old file: /log cannot be moved away: Permission denied\n"
    assert capsys.readouterr().err.count(told) == 1
    behind.fails = False
    log.rotate()
    assert behind.calls == ((10, "/old"),) * 3 + ((1, "/old"),)


def test_no_file_is_moved_away_where_there_is_no_limit(opened):
    behind = Behind()
    assert not opened(behind=behind).rotate_full()
    assert not opened(log_maxsize=10).rotate_full()
    assert behind.calls == ()


def test_the_backup_is_that_of_logto_where_there_is_one(opened, tmp_path):
    behind = Behind()
    opened(behind=behind, log_backupname="/old", logto=str(tmp_path / "log")).rotate()
    assert behind.calls == ((1, ""),)


CALLBACK = """
import _thread, sys, time
from gevent import get_hub, monkey
start, sleep, Lock = _thread.start_new_thread, time.sleep, _thread.allocate_lock
if sys.argv[1] == "before":
    monkey.patch_all()
import logging
from appserver.log.destinations import Log
from appserver.log.options import LogOptions
log = Log(LogOptions())
if sys.argv[1] == "after":
    monkey.patch_all()
import gevent

handler = logging.getLogger("appserver").handlers[0]
held = Lock()
held.acquire()

def hold():
    with handler.lock:
        held.release()
        sleep(0.1)

def tell():
    start(hold, ())
    held.acquire()
    logging.getLogger("appserver").info("told")

get_hub().loop.run_callback(tell)
gevent.sleep(0.01)
log.close()
"""


@pytest.mark.parametrize("patched", ["before", "after", "never"])
def test_a_callback_of_a_loop_may_log_while_a_native_thread_does(patched):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CALLBACK, patched], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.count("\n"), done.stderr.count("INFO told\n")) == (0, 1, 1)
