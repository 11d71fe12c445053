"""``--check``: what it says of every kind of line, its exit codes, and how it looks."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from functools import partial

import pytest

from appserver.application import ApplicationOptions
from appserver.cli import main
from appserver.configuration import Configuration
from appserver.lifecycle import privileges
from appserver.lifecycle.touch import TouchOptions
from appserver.plan import ConcurrencyOptions
from appserver.static.options import StaticOptions
from tests.support.server import ROOT

APP = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'x']\n"


@pytest.fixture(autouse=True)
def _directory(tmp_path, monkeypatch):
    (tmp_path / "checked.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("checked", None)


def ini(*lines, section="uwsgi", name="site.ini"):
    with open(name, "w") as file:
        file.write("\n".join([f"[{section}]", "module = checked:app", "http = :0", *lines, ""]))


def judged(*lines, section="uwsgi", arguments=()):
    """Return the verdicts about *lines*, which begin at line 4."""
    ini(*lines, section=section)
    verdicts = Configuration(["site.ini", *arguments]).verdicts
    return [
        (each.judgement.value, each.text) for each in verdicts if each.setting.place.rpartition(":")[2] >= "4"
    ]


@pytest.mark.parametrize(
    "line, word, text",
    [
        ("threads = 2", "honoured", "Application calls at once in native threads."),
        ("workers = 2", "honoured", "Worker processes; auto = as many as processors may be used."),
        ("thunder-lock = true", "unnecessary", "The kernel wakes one worker for each connection; there is no lock to take."),
        ("plugins = python3", "unnecessary", "Python is built in; there are no plug-ins to load for it."),
        ("cache2 = name=x", "unsupported", "There is no shared cache: use Redis or memcached."),
        ("logger = syslog", "unsupported", "Expected zeromq:ENDPOINT, file:PATH or stdio."),
        ("harakari = 30", "unknown", "There is no such option; did you mean harakiri? It is a variable that only uwsgi.opt has."),
        ("buffer_size = 1", "unknown", "There is no such option; did you mean buffer-size? It is a variable that only uwsgi.opt has."),
        ("xyzzy = 1", "unknown", "There is no such option. It is a variable that only uwsgi.opt has."),
        ("env = A=1 ; one", "dangerous", "uWSGI has no comments behind a value: all of it is the value."),
        ("processes = 8 ; note", "wrong",
         "Expected a whole number, 1 or more, or auto; uWSGI takes it for 8, and has no comments behind a value, so put this one on a line of its own."),
        ("vacuum = false # not yet", "wrong",
         "Expected true or false; uWSGI takes it for true, and has no comments behind a value, so put this one on a line of its own."),
        ("harakiri = soon", "wrong", "Expected a number of seconds; uWSGI takes it for 0."),
        ("listen = -4", "wrong", "Expected a whole number, 0 or more; uWSGI refuses it."),
        ("chmod-socket = 88", "wrong", "Expected three octal digits, such as 660."),
        ("chmod-socket = 664 ; mode", "wrong",
         "Expected three octal digits, such as 660; uWSGI has no comments behind a value, so put this one on a line of its own."),
        ("http = :20313,127.0.0.1:3031", "wrong",
         "Expected one address: no router passes requests on to 127.0.0.1:3031, so leave out what follows :20313."),
        ("http = :20313, 127.0.0.1:3031, allow=127.0.0.1", "wrong",
         "Expected one address: no router passes requests on to 127.0.0.1:3031, so leave out what follows :20313."),
        ("http = :x,127.0.0.1:3031", "wrong", "Expected host:port with a port from 0 to 65535."),
        ("http = :80, allow=x", "wrong", "Expected addresses, networks such as 10.0.0.0/8, unix, or none for allow."),
        ("= 127.0.0.1:9000", "unknown", "There is no name before the =. It is a variable that only uwsgi.opt has."),
        ("set = threads", "wrong", "Expected name=value."),
        ("if-exists = %(base)/x", "dangerous", "Nothing is expanded here, as in uWSGI: the text counts as it stands."),
        ("route-run = break", "wrong", "Expected a colon behind break, as in break:, and what it takes, if anything."),
        ("if-env = NOT_THERE", "honoured", "It belongs to the language of the file and has been obeyed."),
    ],
)  # fmt: skip
def test_verdicts(line, word, text):
    assert judged(line) == [(word, text)]


@pytest.mark.parametrize(
    "name",
    [
        "touch-reload", "touch-chain-reload", "touch-logreopen", "touch-logrotate", "check-static", "static-safe",
        "static-gzip-dir",
    ],
)  # fmt: skip
def test_an_empty_path_is_not_the_working_directory(name):
    told = "xpected a path; an empty one names nothing"
    assert judged(f"{name} =") == [("unsupported", f"E{told}.")]
    lenient = Configuration(["site.ini"])
    assert lenient.problems == []
    for owner in (TouchOptions, StaticOptions):
        assert lenient.settings.of(owner) == owner()
    assert judged(f"{name} =", section="appserver") == [("wrong", f"E{told}.")]
    assert Configuration(["site.ini"]).problems == [f"site.ini:4: {name} =: e{told}"]


@pytest.mark.parametrize(
    "line, there",
    [
        ("socket = /tmp/site.sock", True),
        ("http-socket = site.sock, listen=8", True),
        ("stats = /tmp/stats.sock", True),
        ("socket = @site", False),
        ("socket = 127.0.0.1:3031", False),
        ("socket = fd://3", False),
        ("socket = no address", False),
        ("print = /tmp/site.sock", False),
    ],
)
def test_a_mode_is_dangerous_where_a_path_has_it(line, there):
    told = "Everybody on this machine may talk to the application as if they were its front end; try 660."
    calm = "Permissions of Unix sockets."
    word, text = ("dangerous", told) if there else ("honoured", calm)
    assert judged("chmod-socket = 666", line)[0] == (word, text)


@pytest.mark.parametrize("name", ["defaults.ini", "base"])
def test_the_name_of_a_file_is_told_as_it_is_written(name):
    assert judged(f"ini = {name}")[0] == ("wrong", f"{name}: No such file or directory.")


def test_what_a_condition_leaves_out():
    assert judged("if-env = NOT_THERE", "nonsense = 1", "end")[1] == (
        "skipped", "The condition or loop that it stands in leaves it out.",
    )  # fmt: skip


def test_variables_that_are_used_are_honoured():
    assert judged("a = 1", "set-ph = b=2", "env = X=%(a + b)")[:3] == [
        ("honoured", "A variable, for %(a) and uwsgi.opt."),
        ("honoured", "It belongs to the language of the file and has been obeyed."),
        ("honoured", "A variable, for %(b) and uwsgi.opt."),
    ]


@pytest.mark.parametrize("section", ["uwsgi", "appserver"])
@pytest.mark.parametrize("behind", [True, False])
def test_set_on_the_command_line_makes_variables_too(section, behind):
    ini("callable = %(base)", section=section)
    arguments = ["--set", "base=checked", "--set=threads=3"]
    configuration = Configuration(["site.ini", *arguments] if behind else [*arguments, "site.ini"])
    assert configuration.problems == []
    assert configuration.settings.of(ApplicationOptions).callable == "checked"
    verdict = next(each for each in configuration.verdicts if each.setting.name == "base")
    assert (verdict.judgement.value, verdict.text) == ("honoured", "A variable, for %(base) and uwsgi.opt.")
    assert configuration.settings.of(ConcurrencyOptions).threads == 3


def test_set_of_what_nothing_uses_is_told():
    ini()
    configuration = Configuration(["site.ini", "--set", "bufer-size=1", "--set=port=2"])
    assert configuration.problems == []
    told = "It is a variable that only uwsgi.opt has."
    assert configuration.warnings == [
        f"--set bufer-size 1: unknown: There is no such option; did you mean buffer-size? {told}",
        f"--set port 2: unknown: There is no such option. {told}",
    ]


def test_set_of_an_option_is_as_strict_as_the_option():
    ini()
    assert Configuration(["site.ini", "--set=threads=x"]).problems == [
        "--set threads x: expected a whole number, 1 or more"
    ]
    [problem] = Configuration(["site.ini", "--set=cache2=x"]).problems
    assert problem.startswith("--set cache2 x: it is not supported.")


def test_a_value_without_a_name_is_told():
    assert judged("= 127.0.0.1:9000", section="appserver") == [("wrong", "There is no name before the =.")]
    assert Configuration(["site.ini"]).problems == [
        "site.ini:4:  = 127.0.0.1:9000: there is no name before the ="
    ]
    assert Configuration(["--check", "site.ini:nope"]).problems[0].endswith("; it has [appserver]")


@pytest.mark.parametrize("processes, told", [("2", "2"), ("", "1")])
def test_cheaper_is_no_more_than_processes(processes, told):
    lines = ["cheaper = 3", f"processes = {processes}" if processes else "master"]
    ini(*lines)
    assert Configuration(["site.ini"]).problems == [
        f"site.ini:4: cheaper = 3: expected no more than the option processes says, {told}"
    ]
    ini("cheaper = 3", "processes = 3")
    assert Configuration(["site.ini"]).problems == []
    ini("cheaper = 3", "processes = four")
    [problem] = Configuration(["site.ini"]).problems
    assert problem.startswith("site.ini:5: processes = four: expected ")


def test_a_value_that_does_not_count_says_which_does():
    assert judged("threads = 2", "threads = 3")[0] == (
        "honoured", "Application calls at once in native threads. The later one counts: site.ini:5: threads = 3.",
    )  # fmt: skip


def test_our_own_section_is_stricter():
    assert judged("harakari = 1", section="appserver") == [
        ("wrong", "There is no such option; did you mean harakiri?")
    ]
    assert judged("cache2 = x", section="appserver") == [
        ("wrong", "There is no shared cache: use Redis or memcached.")
    ]
    assert judged("thunder-lock", section="appserver")[0][0] == "unnecessary"
    assert judged("threads = 2 ; two", section="appserver")[0][0] == "honoured"


def test_strict_is_as_strict_in_uwsgis_section():
    assert judged("strict = true", "harakari = 1")[1] == (
        "wrong",
        "There is no such option; did you mean harakiri?",
    )


def test_a_file_that_comes_behind_an_argument_is_told(capsys):
    ini("threads = 2")
    assert main(["--threads", "4", "site.ini", "--check"]) == 0
    out = capsys.readouterr().out
    assert "command line\n       dangerous    --threads = 4\n" in out
    assert "site.ini:4: threads = 2 is read later and counts; name the file first." in " ".join(out.split())


@pytest.mark.parametrize(
    "line, arguments, code",
    [
        ("threads = 2", [], 0), ("threads = 2", ["--strict"], 0), ("cache2 = x", [], 0), ("cache2 = x", ["--strict"], 1),
        ("harakari = 1", [], 0), ("harakari = 1", ["--strict"], 2), ("threads = x", [], 2), ("module = absent_one", [], 2),
        ("thunder-lock", ["--strict"], 0), ("env = A=%Y", ["--strict"], 1),
    ],
)  # fmt: skip
def test_exit_codes(line, arguments, code, capsys):
    ini(line)
    assert main(["--check", "site.ini", *arguments]) == code
    out, err = capsys.readouterr()
    assert ("the server would start" in out) is (code < 2)
    assert ("the server would not start" in out) is (code == 2)
    assert bool(err) is (code == 2)


def test_the_report(capsys):
    with open("base.ini", "w") as file:
        file.write("[uwsgi]\nthreads = 2\n")
    ini(
        "ini = base.ini",
        "port = 8080",
        "pyargv = --port %(port)",
        "env = PORT=%(port)",
        "harakari = 30",
        "\x1b[2J = 1",
    )
    assert main(["--check", "site.ini"]) == 0
    assert capsys.readouterr().out == (
        "site.ini\n"
        "    2  honoured     module = checked:app\n"
        "                    The application: pkg.mod, pkg.mod:callable or pkg.mod:factory().\n"
        "    3  honoured     http = :0\n"
        "                    Serve HTTP on this address.\n"
        "    4  honoured     ini = base.ini\n"
        "                    It belongs to the language of the file and has been obeyed.\n"
        "base.ini\n"
        "    2  honoured     threads = 2\n"
        "                    Application calls at once in native threads.\n"
        "site.ini\n"
        "    5  honoured     port = 8080\n"
        "                    A variable, for %(port) and uwsgi.opt.\n"
        "    6  honoured     pyargv = --port %(port)  ->  --port 8080\n"
        "                    Words for the application's sys.argv, behind the program's name.\n"
        "    7  honoured     env = PORT=***\n"
        "                    Set an environment variable for the application, and for what hooks and other\n"
        "                    options run.\n"
        "    8  unknown      harakari = 30\n"
        "                    There is no such option; did you mean harakiri? It is a variable that only\n"
        "                    uwsgi.opt has.\n"
        "    9  unknown      \\x1b[2J = 1\n"
        "                    There is no such option. It is a variable that only uwsgi.opt has.\n"
        "\n"
        "listener: http :0\n"
        "application: checked:app\n"
        "concurrency: up to 2 requests at once in threads\n"
        "7 honoured, 2 unknown; the server would start\n"
    )


def test_the_report_for_machines(capsys):
    ini("threads = %k", "harakari = 1", "cores = x")
    assert main(["--check", "--json", "site.ini", "--env", "A=1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"lines", "listeners", "application", "concurrency", "warnings", "problems", "exit"}
    assert told["listeners"] == [{"name": "http", "address": ":0"}]
    assert (told["application"], told["problems"], told["exit"]) == ("checked:app", [], 0)
    assert told["lines"][3]["option"] == "harakari"
    assert told["lines"][3] == {
        "file": "site.ini", "line": 5, "place": "site.ini:5", "option": "harakari", "value": "1", "written": "1",
        "verdict": "unknown",
        "text": "There is no such option; did you mean harakiri? It is a variable that only uwsgi.opt has.",
    }  # fmt: skip
    assert (told["lines"][-1]["file"], told["lines"][-1]["line"]) == ("command line", None)
    assert len(told["warnings"]) == 2


@pytest.mark.parametrize("end", ["", "raise RuntimeError('no database')\n"])
def test_what_the_application_prints_is_not_in_it(tmp_path, end):
    """Nor what its children do: a program reads the report."""
    text = "import atexit, os\nprint('loading')\nos.system('echo child')\natexit.register(print, 'leaving')\n"
    (tmp_path / "checked.py").write_text(f"{text}{APP}{end}")
    ini()
    done = subprocess.run(
        [sys.executable, "-m", "appserver", "--check", "--json", "site.ini"],
        capture_output=True, text=True, timeout=30, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert json.loads(done.stdout)["exit"] == done.returncode == (2 if end else 0)
    assert {"loading", "child", "leaving"} <= set(done.stderr.splitlines())


ALWAYS = "without cheaper there are always 3, as processes says; set cheaper, or remove this"
CLAMPED = "the server begins with {}, as uWSGI does: no less than cheaper, 2, and no more than processes, 3"


@pytest.mark.parametrize(
    "lines, told",
    [
        (["cheaper-initial = 2"], ALWAYS),
        (["cheaper-step = 2"], ALWAYS),
        (["cheaper-initial = 3", "cheaper = 2"], ""),
        (["cheaper-initial = 4", "cheaper = 2"], CLAMPED.format(3)),
        (["cheaper-initial = 1", "cheaper = 2"], CLAMPED.format(2)),
        (["min-worker-lifetime = 8", "max-worker-lifetime = 2"],
         "max-worker-lifetime is less, 2, and only that counts; uWSGI does not start so; make it less than that"),
        (["min-worker-lifetime = 8", "max-worker-lifetime = 9"], ""),
        (["min-worker-lifetime = 8"], ""),
        (["max-worker-lifetime = 2"], ""),
    ],
)  # fmt: skip
def test_what_is_in_vain_beside_other_options_is_told(capsys, lines, told):
    ini("processes = 3", *lines)
    assert main(["--check", "site.ini"]) == 0
    warnings = [each for each in capsys.readouterr().out.splitlines() if each.startswith("warning: ")]
    assert warnings == ([f"warning: site.ini:5: {lines[0]}: {told}"] if told else [])


def test_what_reading_has_found_is_in_the_report(capsys):
    with open("other.ini", "w") as file:
        file.write("[elsewhere]\n")
    lines = ["wsgi-file = nope.py", "add-header = X-Load: 100%", "processes = 4", "include = other.ini"]
    ini(*lines, "cache2 = x")
    found = [
        "site.ini:5: add-header = X-Load: 100processes = 4: % is no variable and taken away with the end of the line, as in uWSGI; write %% for a percent sign",
        "site.ini:7: include = other.ini: other.ini: no section [appserver] or [uwsgi]; it has [elsewhere]",
        "site.ini:4: wsgi-file = nope.py: site.ini:2: module = checked:app is the application, as in uWSGI; remove one of them",
    ]
    assert main(["--check", "site.ini", "--strict"]) == 1
    out = capsys.readouterr().out
    assert [each for each in out.splitlines() if each.startswith("warning: ")] == [
        f"warning: {each}" for each in found
    ]
    assert main(["--check", "--json", "site.ini"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"][:3] == found


def test_colours_are_for_terminals(monkeypatch):
    from appserver.check import Report

    ini("harakari = 1")
    report = Report(Configuration(["site.ini"]))
    assert "\033[33munknown     \033[0m" in report.text(colour=True)
    assert "\033" not in report.text(colour=False)


MISSING = (
    "socket = gone/site.sock",
    "fastcgi-socket = gone/site.sock, chmod-socket=660",
    "stats = gone/stats.sock",
    "control-socket = gone/control.sock",
    "pidfile = gone/pid",
    "pidfile2 = gone/pid",
    "safe-pidfile = gone/pid",
    "logto = gone/log",
    "logto2 = gone/log",
    "daemonize = gone/log",
    "daemonize2 = gone/log",
    "logger = file:gone/log",
    "req-logger = file:logfile=gone/log,maxsize=1000",
)


class TestUnavailable:
    """Addresses that this machine does not have; others may."""

    @pytest.mark.parametrize(
        "line, address, why",
        [
            ("socket = 192.0.2.1:3031", "192.0.2.1:3031",
             "Cannot assign requested address; no interface of this machine has the address"),
            ("scgi-socket = a..b:1", "a..b:1", "that is no host name"),
            ("stats = 192.0.2.1:9191", "192.0.2.1:9191", "Cannot assign requested address"),
        ],
    )  # fmt: skip
    def test_one_is_told_and_the_server_may_start_elsewhere(self, capsys, line, address, why):
        ini(line)
        assert main(["--check", "site.ini"]) == 0
        assert (
            f"warning: site.ini:4: {line}: cannot listen on {address} here: {why}" in capsys.readouterr().out
        )

    def test_a_name_that_nobody_knows(self, capsys, monkeypatch):
        ini("socket = db.invalid:3031")

        def getaddrinfo(*arguments, **options):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        assert main(["--check", "site.ini"]) == 0
        told = "cannot listen on db.invalid:3031 here: Name or service not known"
        assert f"warning: site.ini:4: socket = db.invalid:3031: {told}\n" in capsys.readouterr().out

    def test_one_that_is_taken_is_not_told_as_its_server_may_run(self, capsys):
        with socket.create_server(("127.0.0.1", 0)) as other:
            ini(f"socket = 127.0.0.1:{other.getsockname()[1]}")
            assert main(["--check", "site.ini"]) == 0
        assert "cannot listen" not in capsys.readouterr().out

    def test_a_port_that_wants_rights(self, capsys, monkeypatch):
        ini("socket = 127.0.0.1:80")

        def bind(sock, where):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr("socket.socket.bind", bind)
        assert main(["--check", "site.ini"]) == 0
        told = "cannot listen on 127.0.0.1:80 here: Permission denied; ports below 1024 and foreign directories need more rights"
        assert f"warning: site.ini:4: socket = 127.0.0.1:80: {told}" in capsys.readouterr().out


ABSENT = (
    ("static-map = /files=gone", "the application gets what begins with /files"),
    ("static-map2 = /=gone", "the application gets what begins with /"),
    ("check-static = gone", "the application gets all requests"),
    ("static-safe = gone", "no link can lead there"),
    ("static-gzip-dir = gone", "no file can be below it"),
    ("mimefile = gone", "it gives no types"),
)
UPLOADS = (
    "mongrel2-upload-dir = gone\nzeromq = tcp://127.0.0.1:9999,tcp://127.0.0.1:9998",
    "zeromq = tcp://127.0.0.1:9999,tcp://127.0.0.1:9998, mongrel2-upload-dir=gone",
)


class TestAbsent:
    """What is only read need not be there, but is missed."""

    @pytest.mark.parametrize(
        "line, without", [*ABSENT, *((line, "large bodies are refused") for line in UPLOADS)]
    )
    def test_it_is_told_and_the_server_would_start(self, capsys, tmp_path, line, without):
        ini(line)
        assert main(["--check", "site.ini"]) == 0
        out = capsys.readouterr().out
        first, _, _ = line.partition("\n")
        assert f"warning: site.ini:4: {first}: there is no {tmp_path}/gone: {without}\n" in out
        assert main(["--check", "--strict", "site.ini"]) == 1
        (tmp_path / "gone").mkdir()
        capsys.readouterr()
        assert main(["--check", "site.ini"]) == 0
        assert "gone:" not in capsys.readouterr().out

    @pytest.mark.parametrize(
        "line, directory, file, told",
        [
            ("static-map = /files={}", 0o711, 0, False),  # to be listed is not needed
            ("static-map = /files={}", 0, 0o644, True),
            ("mimefile = {}/file", 0o711, 0o644, False),
            ("mimefile = {}/file", 0o711, 0, True),
            ("mimefile = {}/file", 0, 0o644, True),
        ],
    )
    def test_one_that_may_not_be_read_is_not_called_missing(self, line, directory, file, told):
        with tempfile.TemporaryDirectory() as beside:
            kept = f"{beside}/kept"
            os.mkdir(kept)
            with open(f"{kept}/file", "w"):
                os.chmod(f"{kept}/file", file)
            ini(line.format(kept))
            configuration = Configuration(["site.ini"])
            os.chmod(beside, 0o755)
            os.chmod(kept, directory)
            if root := os.geteuid() == 0:
                os.seteuid(65534)
            try:
                found = configuration.absent()
            finally:
                if root:
                    os.seteuid(0)
                os.chmod(kept, 0o700)
        assert [" cannot be read by this user: " in each for each in found] == [True] * told

    def test_a_link_that_leads_nowhere(self, tmp_path):
        (tmp_path / "gone").symlink_to("nowhere")
        ini("static-map = /files=gone")
        [told] = Configuration(["site.ini"]).absent()
        assert f"there is no {tmp_path}/gone: " in told

    def test_a_relative_one_is_below_chdir(self, capsys, tmp_path):
        (tmp_path / "below").mkdir()
        ini("chdir = below", f"pythonpath = {tmp_path}", "static-map = /files=gone")
        assert main(["--check", "site.ini"]) == 0
        assert f"there is no {tmp_path}/below/gone: " in capsys.readouterr().out

    @pytest.mark.parametrize("line", ["exec-pre-app = mkdir gone", "hook-asap = mkdir:gone"])
    def test_nothing_is_known_of_what_a_hook_may_make(self, capsys, line):
        ini(line, "static-map = /files=gone")
        assert main(["--check", "site.ini"]) == 0
        assert "there is no" not in capsys.readouterr().out


class TestDirectories:
    """Those of what a start makes have to be there."""

    @pytest.mark.parametrize("line", MISSING)
    def test_one_that_is_missing_is_told(self, capsys, tmp_path, line):
        ini(line)
        assert main(["--check", "site.ini"]) == 2
        out, err = capsys.readouterr()
        why = f"there is no directory {tmp_path}/gone; make it, or choose another path"
        assert err == f"appserver: site.ini:4: {line}: {why}\n"
        assert out.endswith("; the server would not start\n")
        (tmp_path / "gone").mkdir()
        assert main(["--check", "site.ini"]) == 0

    @pytest.mark.parametrize("line", MISSING)
    def test_a_file_in_its_place_is_told(self, capsys, tmp_path, line):
        ini(line)
        (tmp_path / "gone").touch()
        assert main(["--check", "site.ini"]) == 2
        why = f"{tmp_path}/gone is no directory; choose another path"
        assert capsys.readouterr().err == f"appserver: site.ini:4: {line}: {why}\n"
        deeper = line.replace("gone/", "gone/deeper/")
        ini(deeper)
        assert main(["--check", "site.ini"]) == 2
        assert capsys.readouterr().err == f"appserver: site.ini:4: {deeper}: {why}\n"

    @pytest.mark.parametrize(
        "line, kind, told",
        [
            *((line, "directory", "the log cannot be opened: Is a directory: {}")
              for line in MISSING if "/log" in line),
            *((line, "directory", "cannot use the pid file {}: Is a directory") for line in MISSING if "pid" in line),
            *((line, kind, "cannot listen on {}: a file that is no socket is there; move it away or choose another path")
              for line in MISSING if ".sock" in line for kind in ("file", "directory")),
            ("pidfile = gone/pid", "file", "cannot use the pid file {}: the file there holds something else than a pid"),
            ("pidfile = gone/pid", "link", "cannot use the pid file {}: it is a symbolic link; name the file itself"),
            ("pidfile = gone/pid", "fifo", "cannot use the pid file {}: it is no regular file; choose another path"),
        ],
    )  # fmt: skip
    def test_what_is_in_the_way_is_told_as_by_the_start(self, capsys, tmp_path, line, kind, told):
        ini(line)
        path = re.search(r"gone/[a-z.]+", line)[0]
        os.mkdir("gone")
        if kind == "file":
            (tmp_path / path).write_text("text")
        else:
            {"directory": os.mkdir, "fifo": os.mkfifo, "link": partial(os.symlink, "/")}[kind](path)
        assert main(["--check", "site.ini"]) == 2
        found = capsys.readouterr().err
        assert found.startswith(f"appserver: site.ini:4: {line}: {told.format(path)}")
        done = subprocess.run(
            [sys.executable, "-m", "appserver", "site.ini"],
            capture_output=True, text=True, timeout=30, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert told.format(path) in done.stderr

    def test_what_a_start_takes_over_is_no_problem(self, capsys):
        """Of a server that runs, too: who checks is about to reload it."""
        with open("log", "w") as log, open("pid", "w") as pid, socket.socket(socket.AF_UNIX) as sock:
            log.write("text")
            pid.write(f"{os.getpid()}\n")
            pid.flush()
            fcntl.flock(pid, fcntl.LOCK_EX)
            sock.bind("x.sock")
            sock.listen()
            ini("logto = log", "pidfile = pid", "socket = x.sock", "logger = file:/dev/null")
            assert main(["--check", "site.ini"]) == 0
        assert capsys.readouterr().err == ""

    def test_it_is_below_where_the_server_starts(self, capsys, tmp_path):
        (tmp_path / "inside").mkdir()
        ini("chdir = inside", "logto = logs/log", "pidfile2 = run/pid", f"pythonpath = {tmp_path}")
        (tmp_path / "logs").mkdir()
        assert main(["--check", "site.ini"]) == 2
        err = capsys.readouterr().err
        assert f"site.ini:6: pidfile2 = {tmp_path}/inside/run/pid: there is no directory" in err
        assert "logs" not in err

    @pytest.mark.parametrize(
        "lines",
        [
            ["socket = @gone/site.sock"],
            ["socket = gone/site.sock", "abstract-socket = true"],
            ["socket = gone/site.sock, abstract-socket=true"],
            ["logto = gone/log", "logto2 = log"],
            ["daemonize = gone/log", "daemonize2 = log"],
            ["logger = zeromq:tcp://127.0.0.1:1/gone/log"],
            ["pidfile = gone/pid", "pidfile = pid"],
            ["pidfile = gone/pid", "exec-asap = mkdir gone"],
            ["pidfile = gone/pid", "hook-asap = mkdir:gone"],
        ],
        ids=" ".join,
    )
    def test_one_that_is_not_needed_or_is_made_is_not(self, capsys, lines):
        ini(*lines, section="appserver")
        main(["--check", "site.ini"])
        assert "directory" not in capsys.readouterr().err


@pytest.mark.parametrize("installed", [False, True])
def test_what_watches_modules_has_to_be_installed(capsys, tmp_path, monkeypatch, installed):
    """Where the server is, and not where the application brings its own."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "watchfiles.py").touch()
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name: (installed or None) if name == "watchfiles" and str(tmp_path / "own") not in sys.path else found(name),
    )  # fmt: skip
    ini("py-autoreload = 1", "pythonpath = own")
    assert main(["--check", "site.ini"]) == (0 if installed else 2)
    told = "site.ini:4: py-autoreload = 1: it needs the library watchfiles: pip install watchfiles"
    assert capsys.readouterr().err == ("" if installed else f"appserver: {told}\n")


class TestUnset:
    """Variables of the environment that are not set: they are left as they are written."""

    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch):
        for name in ("PORT", "WORKERS", "NONE_1"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GIVEN", "$(PORT)")

    @pytest.mark.parametrize(
        "line, told",
        [
            ("http-socket = :$(PORT)",
             "expected host:port with a port from 0 to 65535; the environment variable PORT is not set"),
            ("http-socket = :$(GIVEN)",
             "expected host:port with a port from 0 to 65535; the environment variable PORT is not set"),
            ("processes = $(WORKERS)",
             "expected a whole number, 1 or more, or auto; uWSGI takes it for 0; the environment variable WORKERS is not set"),
            ("listen = $(WORKERS)$(NONE_1)$(WORKERS)",
             "expected a whole number, 0 or more; uWSGI takes it for 0; the environment variables WORKERS and NONE_1 are not set"),
            ("processes = $(no-such:-name)", "expected a whole number, 1 or more, or auto; uWSGI takes it for 0"),
            ("ini = $(NONE_1).ini", "$(NONE_1).ini: No such file or directory; the environment variable NONE_1 is not set"),
            ("pyargv = @($(NONE_1))",
             "No such file or directory: $(NONE_1); the environment variable NONE_1 is not set"),
        ],
    )  # fmt: skip
    def test_a_problem_names_them(self, line, told):
        [(word, text)] = judged(line)
        problem = Configuration(["site.ini"]).problems[-1]
        assert problem.startswith("site.ini:4: ")
        assert problem.endswith(told)
        assert (word, text) == ("wrong", f"{told[0].upper()}{told[1:]}.")

    @pytest.mark.parametrize("section", ["uwsgi", "appserver"])
    @pytest.mark.parametrize("line", ["pyargv = --port $(PORT)", "env = A=$(PORT)", "logto = $(PORT).log"])
    def test_a_value_that_is_taken_is_dangerous(self, line, section):
        told = "It is taken as it is written, as in uWSGI; the environment variable PORT is not set."
        assert judged(line, section=section) == [("dangerous", told)]

    @pytest.mark.parametrize(
        "line",
        [
            "exec-pre-app = echo $(hostname)",
            "hook-pre-app = exec:echo $(hostname)",
            "cron = 0 3 -1 -1 -1 tar cf $(date).tar /srv",
            "touch-exec = /srv/x echo $(hostname)",
            "attach-daemon = x $(hostname)",
            "pyargv = $(PORT:-8080)",
            "pyargv = $(9) $() $(a b)",
            "pyargv = @(exec://echo $(echo 1))",
        ],
    )
    def test_what_a_shell_takes_or_has_another_form_is_not(self, line):
        assert judged(line)[0][0] == "honoured"


class TestEnvironment:
    def test_variables_are_settings_before_all_others(self, monkeypatch):
        monkeypatch.setenv("APPSERVER_THREADS", "4")
        monkeypatch.setenv("APPSERVER_HTTP_SOCKET", "127.0.0.1:1")
        ini()
        configuration = Configuration(["site.ini"])
        assert [each.address for each in configuration.listeners] == ["127.0.0.1:1", ":0"]
        assert configuration.plan.reason == "up to 4 requests at once in threads"

    def test_the_rest_counts_more(self, monkeypatch):
        monkeypatch.setenv("APPSERVER_THREADS", "4")
        ini("threads = 2")
        assert Configuration(["site.ini"]).plan.cores == 2

    def test_a_file_that_counts_more_is_told_with_what_can_be_done(self, monkeypatch):
        monkeypatch.setenv("APPSERVER_THREADS", "4")
        ini("threads = 2")
        [warning] = Configuration(["site.ini"]).warnings
        assert warning.endswith(
            " = 4: dangerous: site.ini:4: threads = 2 is read later and counts; remove it there, or give --threads"
            " behind the file."
        )
        assert Configuration(["site.ini", "--threads", "4"]).warnings == []

    def test_bad_values_and_names_that_are_none(self, monkeypatch):
        monkeypatch.setenv("APPSERVER_THREADS", "many")
        monkeypatch.setenv("APPSERVER_SERVICE_HOST", "10.0.0.1")
        ini()
        configuration = Configuration(["site.ini"])
        assert configuration.problems == ["$APPSERVER_THREADS = many: expected a whole number, 1 or more"]
        assert any(
            each.startswith("$APPSERVER_SERVICE_HOST = 10.0.0.1: unknown: ")
            for each in configuration.warnings
        )

    def test_what_the_build_asks_for_is_no_option(self, monkeypatch):
        monkeypatch.setenv("APPSERVER_COMPILE", "1")
        ini()
        configuration = Configuration(["site.ini"])
        assert configuration.warnings == []
        assert not [each for each in configuration.verdicts if "COMPILE" in str(each)]

    @pytest.mark.parametrize("asked", [False, True])
    @pytest.mark.parametrize("how", ["argument", "variable"])
    def test_those_of_uwsgi_are_read_where_it_is_asked_for(self, monkeypatch, capsys, asked, how):
        monkeypatch.setenv("UWSGI_THREADS", "3")
        monkeypatch.setenv("UWSGI_RELOADS", "1")
        monkeypatch.setenv("APPSERVER_UWSGI_ENV", "true" if asked and how == "variable" else "0")
        ini()
        more = ["--uwsgi-env"] if asked and how == "argument" else []
        assert Configuration(["site.ini", *more]).plan.cores == (3 if asked else 1)
        assert main(["--check", "site.ini", *more]) == 0
        assert ("environment\n       honoured     $UWSGI_THREADS = 3\n" in capsys.readouterr().out) is asked


def test_module_counts_where_there_is_a_file_too(capsys):
    ini("wsgi-file = nope.py")
    assert Configuration(["site.ini"]).warnings == [
        "site.ini:4: wsgi-file = nope.py: site.ini:2: module = checked:app is the application, as in uWSGI; remove one of them"
    ]
    assert main(["--check", "site.ini"]) == 0


@pytest.mark.parametrize("text", ["http", "fastcgi", "scgi", "uwsgi", "http11"])
def test_what_is_spoken_on_a_plain_socket_is_an_option(text):
    ini("socket = :1", "uwsgi-socket = :2", f"protocol = {text}")
    names = [each.name for each in Configuration(["site.ini"]).listeners]
    assert names == ["http", text.removesuffix("11"), "uwsgi"]


@pytest.mark.parametrize("euid", [0, 1234])
def test_who_would_have_to_start_it(capsys, monkeypatch, euid):
    """It is not said by the exit code: who checks may be another one than who starts."""
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    monkeypatch.setattr(os, "getresuid", lambda: (euid, euid, euid))
    monkeypatch.setattr(privileges, "drop", lambda options: None)
    ini("uid = 4321", "gid = 4322")
    assert main(["--check", "--strict", "site.ini"]) == 0
    more = " as root: user 1234 cannot become user 4321 with the group 4322 (of 4322)" if euid else ""
    assert capsys.readouterr().out.endswith(f"; the server would start{more}\n")


def test_a_user_without_a_group_is_a_problem(capsys):
    ini("uid = 4321")
    assert main(["--check", "site.ini"]) == 2
    told = "site.ini:4: uid = 4321: user 4321 has no account and so no group; set gid, too"
    assert capsys.readouterr().err == f"appserver: {told}\n"


def test_letters_of_uwsgi_on_the_command_line():
    """Also those of options that are none here, together and with their values."""
    ini()
    arguments = ["site.ini", "-MTi", "-m", "-p", "4", "-v", "30", "-O2", "-S", "threads=2", "-r"]
    configuration = Configuration(arguments)
    assert (configuration.problems, configuration.warnings) == ([], [])
    assert configuration.settings.of(ConcurrencyOptions).processes == 4
    given = {each.name: each.value for each in configuration.given if re.match("-[A-Za-z]", each.place)}
    assert given == {
        "set": "threads=2", "threads": "2", "master": None, "enable-threads": None, "single-interpreter": None, "memory-report": None,
        "processes": "4", "max-vars": "30", "optimize": "2", "reaper": None,
    }  # fmt: skip


def test_options_of_uwsgi_on_the_command_line(capsys):
    ini()
    arguments = ["site.ini", "--thunder-lock", "--plugin", "python3", "--need-app", "--offload-threads=2"]
    configuration = Configuration(arguments)
    assert configuration.problems == []
    assert main(["site.ini", "--cache2", "name=x"]) == 1
    assert capsys.readouterr().err == (
        "appserver: --cache2 name=x: it is not supported. There is no shared cache: use Redis or memcached.\n"
    )
