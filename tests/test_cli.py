"""The command line: what it takes, what it prints, and what it refuses."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from appserver import __version__
from appserver.arguments import CommandLine
from appserver.cli import main
from appserver.configuration import Configuration
from appserver.foreign import ELSEWHERE
from appserver.options import Kind
from appserver.plan import ConcurrencyOptions
from tests.support.server import ROOT, Server

APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"it works"]
"""


@pytest.fixture(autouse=True)
def _restored(tmp_path, monkeypatch):
    """Give every test a directory with an application, and leave nothing of it behind."""
    (tmp_path / "served.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("served", None)


@pytest.fixture
def catalogue():
    return Configuration([]).catalogue


def ini(text, name="site.ini"):
    with open(name, "w") as file:
        file.write(text)
    return name


def settings(catalogue, *arguments):
    line = CommandLine(arguments, catalogue)
    assert line.problems == []
    return [(each.name, each.value) for each in line.settings if each.kind is Kind.OPTION]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--threads", "8"], [("threads", "8")]),
        (["--threads=8"], [("threads", "8")]),
        (["--env=A=b=c"], [("env", "A=b=c")]),
        (["--logto="], [("logto", "")]),
        (["-p", "4"], [("processes", "4")]),
        (["-p4"], [("processes", "4")]),
        (["-p=4"], [("processes", "4")]),
        (["-w", "a.b:c"], [("module", "a.b:c")]),
        (["-wa.b:c"], [("module", "a.b:c")]),
        (["-s", ":3031"], [("socket", ":3031")]),
        (["-s:3031"], [("socket", ":3031")]),
        (["-M"], [("master", None)]),
        (["--master"], [("master", None)]),
        (["--master=false"], [("master", "false")]),
        (["-l", "64"], [("listen", "64")]),
        (["-b", "32768"], [("buffer-size", "32768")]),
        (["-z", "30"], [("socket-timeout", "30")]),
        (["-H", "venv"], [("virtualenv", "venv")]),
        (["-C", "660"], [("chmod-socket", "660")]),
        (["-L"], [("disable-logging", None)]),
        (["-ML"], [("master", None), ("disable-logging", None)]),
        (["-MLp4"], [("master", None), ("disable-logging", None), ("processes", "4")]),
        (["-MLp", "4"], [("master", None), ("disable-logging", None), ("processes", "4")]),
        (["-Mp=4"], [("master", None), ("processes", "4")]),
        (["a.b:c"], [("module", "a.b:c")]),
        (["--http", ":1", "--http-socket", ":2"], [("http", ":1"), ("http-socket", ":2")]),
        (["--env", "A=$(GIVEN)", "--env", "B=$(NOT_GIVEN)"], [("env", "A=x y"), ("env", "B=$(NOT_GIVEN)")]),
        (["--env", "--check"], [("env", "--check")]),
        (["--chmod-socket", "--threads", "2"], [("chmod-socket", None), ("threads", "2")]),
        (["--chmod", "660"], [("chmod", "660")]),
        (["--chmod-socket=660", "-M"], [("chmod-socket", "660"), ("master", None)]),
        (["--log-date", "-M"], [("log-date", None), ("master", None)]),
        (["--logdate", "%H:%M", "--http-keepalive"], [("logdate", "%H:%M"), ("http-keepalive", None)]),
        (["-C", "-M", "-C"], [("chmod-socket", None), ("master", None), ("chmod-socket", None)]),
    ],
)
def test_options_are_taken_from_the_arguments(catalogue, monkeypatch, arguments, expected):
    monkeypatch.setenv("GIVEN", "x y")
    monkeypatch.delenv("NOT_GIVEN", raising=False)
    assert settings(catalogue, *arguments) == expected


def test_every_option_and_alias_is_an_argument(catalogue):
    for name, declared in catalogue.by_name.items():
        arguments = [f"--{name}"] if declared.flag else [f"--{name}", "value"]
        assert settings(catalogue, *arguments) == [(name, None if declared.flag else "value")]


@pytest.mark.parametrize(
    "arguments", [["--ini", "site.ini"], ["--ini=site.ini"], ["site.ini"], ["./site.ini"], ["--ini", "site.ini:uwsgi"], ["site.ini:uwsgi"]]
)  # fmt: skip
def test_an_ini_file_is_named_in_several_ways(catalogue, arguments):
    ini("[uwsgi]\nthreads = 3\n")
    assert settings(catalogue, *arguments) == [("threads", "3")]


@pytest.mark.parametrize("name", ["site.ini", "./site.ini", "site.ini:uwsgi"])
def test_a_file_is_no_value_of_an_option_that_needs_none(catalogue, name):
    """uWSGI takes no word behind such an option for its value."""
    ini("[uwsgi]\nthreads = 3\n")
    assert settings(catalogue, "--log-date", name) == [("log-date", None), ("threads", "3")]


@pytest.mark.parametrize(
    "name, near",
    [
        ("http-port", "http-socket"), ("error_log", "logto"), ("logfile", "logto"), ("wsgi-module", "module"),
        ("worker-class", "gevent"), ("user", "uid"), ("emperors", ""), ("plugin_dir", "plugin-dir"), ("thread", "threads"),
    ],
)  # fmt: skip
def test_what_is_suggested(catalogue, name, near):
    """What other servers call it, and never an option that is not supported for one that it looks like."""
    assert catalogue.suggestion(name) == (f"; did you mean {near}?" if near else "")


def test_what_others_call_it_is_no_name_here_and_means_one_that_is(catalogue):
    assert [name for name in ELSEWHERE if catalogue.knows(name)] == []
    assert set(ELSEWHERE.values()) <= set(catalogue.by_name)


@pytest.mark.parametrize("name", ["conf", "odd:name", "conf:prod"])
def test_a_file_that_exists_is_no_module(catalogue, name):
    ini("[uwsgi]\nthreads = 3\n[prod]\nthreads = 3\n", name.partition(":prod")[0])
    assert settings(catalogue, name) == [("threads", "3")]


@pytest.mark.parametrize(
    "arguments, threads", [(["site.ini", "--threads", "5"], 5), (["--threads", "5", "site.ini"], 3)]
)
def test_what_comes_last_counts(catalogue, arguments, threads):
    ini("[uwsgi]\nthreads = 2\nthreads = 3\nhttp = :1\n")
    line = CommandLine(["--http", ":2", *arguments], catalogue)
    built, problems = catalogue.build(line.settings)
    assert problems == []
    assert built.of(ConcurrencyOptions).threads == threads
    assert [setting.value for _, setting in built.mounts] == [":2", ":1"]


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["--thread", "8"], "--thread: there is no such option; did you mean threads?"),
        (["--http_socket=:80"], "--http_socket: there is no such option; did you mean http-socket?"),
        (["--xyzzyx"], "--xyzzyx: there is no such option"),
        (["-k"], "-k: there is no such option; see appserver --help"),
        (["-Mk"], "-k: there is no such option; see appserver --help"),
        (["--threads"], "--threads: a value is missing; expected number"),
        (["-p"], "-p: a value is missing; expected number or auto"),
        (["-v"], "-v: a value is missing; expected text"),
        (["-y", "site.yaml"], "-y site.yaml: only ini files are read; write this one as an ini file"),
        (["site.yaml"], "site.yaml: only ini files are read; write this one as an ini file"),
        (["served.py"], "served.py: it is a Python file, not an ini file; set wsgi-file = served.py"),
        (["served.py:app"],
         "served.py: it is a Python file, not an ini file; set wsgi-file = served.py and callable = app"),
        (["table.py"], "table.py: it is a Python file, not an ini file; set wsgi-file = table.py"),
        (["-w"], "-w: a value is missing; expected module[:callable]"),
        (["--ini"], "--ini: a value is missing; expected a file"),
        (["--ini="], "--ini: a value is missing; expected a file"),
        (["missing.ini"], "missing.ini: No such file or directory"),
        (["my/site.wsgi"], "my/site.wsgi: No such file or directory"),
        (["mysite.wsgi", "--http-socket", ":8080"],
         "mysite.wsgi: No such file or directory; for a module write mysite.wsgi:application"),
        (["served"],
         "served: No such file or directory; for a module write served:application"),
        (["absent"], "absent: No such file or directory"),
        (["--lazy-apps", "false"],
         "false: it is taken for an ini file, and there is none; a flag has its value behind =, as in --lazy-apps=false"),
        (["--listen", "many"], "--listen many: expected a whole number, 0 or more"),
        (["-p0"], "-p 0: expected a whole number, 1 or more, or auto"),
        (["--vacuum=maybe"], "--vacuum maybe: expected true or false"),
        ([], "nothing to listen on: set http-socket = :8080, socket = /path.sock or zeromq = ..."),
        (["--http-socket", ":0"], "no application: set module = package.module:callable or wsgi-file = file.py"),
        (["--http-socket", ":0", "-w", "served:app", "--gevent", "2", "--threads", "3"],
         "--gevent 2: gevent = 2 and threads = 3: greenlets run in one thread; remove one"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_explained(capsys, arguments, problem):
    with open("site.yaml", "w") as file:
        file.write("uwsgi:\n  http-socket: :0\n")
    with open("table.py", "w") as file:
        file.write("X = [\n    [1, 2],\n    [3, 4],\n]\n")
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert err == f"appserver: {problem}\n"
    assert out == ""


def test_a_python_without_a_gil_is_refused(capsys, monkeypatch):
    """As a free-threaded one is with PYTHON_GIL=0; otherwise it takes its GIL as gevent is loaded."""
    names = (each for each in dir(sys.flags) if not each.startswith("_"))
    flags = {each: getattr(sys.flags, each) for each in names}
    monkeypatch.setattr(sys, "flags", SimpleNamespace(**{**flags, "gil": 0}))
    assert main(["--http-socket", ":0", "--module", "served:app"]) == 1
    assert capsys.readouterr().err == (
        "appserver: Python is told to run without its GIL, which gevent needs: leave out PYTHON_GIL=0 and -X gil=0\n"
    )


def test_variables_of_uwsgi_are_told_that_are_not_read(capsys, monkeypatch):
    """Those that would be options; Kubernetes sets others for a service of that name."""
    nothing = "appserver: nothing to listen on: set http-socket = :8080, socket = /path.sock or zeromq = ..."
    monkeypatch.setenv("UWSGI_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("UWSGI_RELOADS", "1")
    assert main([]) == 1
    assert capsys.readouterr().err == f"{nothing}\n"
    monkeypatch.setenv("UWSGI_INI", "site.ini")
    monkeypatch.setenv("UWSGI_HTTP", ":0")
    assert main([]) == 1
    told = "UWSGI_* variables are read only with --uwsgi-env or APPSERVER_UWSGI_ENV=true"
    assert capsys.readouterr().err == f"{nothing}; UWSGI_HTTP and UWSGI_INI: {told}\n"
    monkeypatch.delenv("UWSGI_INI")
    monkeypatch.setenv("UWSGI_HTTP", "")
    assert main(["--uwsgi-env"]) == 1
    assert told not in capsys.readouterr().err


def test_the_value_of_an_unknown_option_is_no_file(capsys):
    assert main(["--thread", "8", "--unknwon=3", "--nope", "--vacuum=7"]) == 1
    assert [line.split(":")[1] for line in capsys.readouterr().err.splitlines()] == [
        " --thread", " --unknwon", " --nope", " --vacuum 7",
    ]  # fmt: skip


def test_check_reports_what_would_be_served_and_binds_nothing(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ini(f"[appserver]\nmodule = served:app\nhttp-socket = {address}\nsocket = ./u.sock\n"
            "zeromq = tcp://127.0.0.1:1,tcp://127.0.0.1:2\nthreads = 8\n")  # fmt: skip
        assert main(["site.ini", "--check"]) == 0
    out, err = capsys.readouterr()
    assert out.partition("\n\n")[2].splitlines() == [
        f"listener: http {address}",
        "listener: uwsgi ./u.sock",
        "listener: mongrel2 tcp://127.0.0.1:1,tcp://127.0.0.1:2",
        "application: served:app",
        "concurrency: one request at a time; connections are served concurrently",
        (f"warning: threads = 8 is forced to 1: beside mongrel2 there is http {address}, uwsgi ./u.sock;"
         " use gevent = N to run several requests at once"),
        "5 honoured; the server would start",
    ]  # fmt: skip
    assert err == ""
    assert not os.path.exists("u.sock")


def test_check_lists_five_mistakes_at_once(capsys):
    ini("[appserver]\nhtp-socket = :8080\nlisten = lots\nscgi-socket = 4000\n"
        "zeromq = tcp://127.0.0.1:9999\nmodule = absent_module:app\nhttp = :0\n")  # fmt: skip
    assert main(["--ini", "site.ini", "--check"]) == 2
    err = capsys.readouterr().err
    assert [line for line in err.splitlines() if line.startswith("appserver: ")] == [
        "appserver: site.ini:2: htp-socket = :8080: there is no such option; did you mean http-socket?",
        "appserver: site.ini:3: listen = lots: expected a whole number, 0 or more",
        "appserver: site.ini:4: scgi-socket = 4000: expected host:port, :port, /path.sock, ./path.sock, @abstract or fd://N",
        ("appserver: site.ini:5: zeromq = tcp://127.0.0.1:9999: expected Mongrel2's send_spec,recv_spec,"
         " such as tcp://127.0.0.1:9999,tcp://127.0.0.1:9998"),
        ("appserver: site.ini:6: module = absent_module:app: the application absent_module cannot be loaded:"
         " No module named 'absent_module'; correct the name, or set pythonpath to the directory that has it"
         f" (the directory is {os.getcwd()})"),
    ]  # fmt: skip
    assert "Traceback" not in err, "nothing of the application has run"


def test_without_check_nothing_is_loaded_while_options_are_wrong(capsys):
    ini("[appserver]\nhttp = :0\nlisten = lots\nmodule = absent_module:app\n")
    assert main(["site.ini"]) == 1
    assert (
        capsys.readouterr().err
        == "appserver: site.ini:3: listen = lots: expected a whole number, 0 or more\n"
    )


CONFIG = """[appserver]
http-socket = 127.0.0.1:0
chmod-socket
env = A=b
env = PERCENT=100%%
vacuum
vacuum = false
chdir =
"""


@pytest.mark.parametrize(
    "arguments", [[], ["--env", "NOTE=one ; two # three"], ["-p4", "-M", "--logto=x%d.log"], ["--nope"]]
)
def test_show_config_prints_an_ini_that_loads_to_the_same(catalogue, capsys, arguments):
    ini(CONFIG)
    code = main(["site.ini", *arguments, "--show-config"])
    shown = capsys.readouterr().out
    if "--nope" in arguments:
        assert code == 1  # and yet it is shown
    else:
        assert code == 0
    ini(shown, "shown.ini")
    before, _ = catalogue.build(CommandLine(["site.ini", *arguments], catalogue).settings)
    after, problems = catalogue.build(CommandLine(["shown.ini"], catalogue).settings)
    assert problems == []
    for owner in catalogue.owners:
        assert after.of(owner) == before.of(owner)
    assert [each.value for _, each in after.mounts] == [each.value for _, each in before.mounts]


def test_show_config_keeps_bytes_that_are_no_utf8(capfdbinary):
    with open("site.ini", "wb") as file:
        file.write(b"[uwsgi]\nlogto = caf\xe9.log\n")
    assert main(["site.ini", "--show-config"]) == 0
    assert capfdbinary.readouterr().out == b"[appserver]\nlogto = caf\xe9.log\n"


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"appserver {__version__}\n"


def test_a_profiler_has_its_say_at_the_end(tmp_path):
    command = [sys.executable, "-m", "cProfile", "-o", "profile", "-m", "appserver", "--version"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "profile").stat().st_size


def test_help_may_be_read_in_part():
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "appserver", "--help"], stdout=write, stderr=subprocess.PIPE
        )
    finally:
        os.close(write)
    assert done.stderr == b""
    assert done.returncode == 0


def test_the_original_documentations_command_line_works(tmp_path):
    pull, publish = (f"ipc://{tmp_path}/{name}" for name in ("pull", "publish"))
    with Server(
        "--zeromq", f"{pull},{publish}", "--threads", 8, "--module", "werkzeug.testapp:test_app"
    ) as server:
        assert server.addresses == {"mongrel2": f"{pull},{publish}"}
        assert "serves werkzeug.testapp:test_app: 8 threads, each subscribed by itself" in server.log
        assert server.stop() == 0


@pytest.mark.parametrize("arguments", [["--http", ":0", "--module", "x"], ["--check"]])
def test_a_current_directory_that_has_been_removed_is_told(tmp_path, arguments):
    here = tmp_path / "here"
    here.mkdir()
    done = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", sys.executable, "-m", "appserver", *arguments],
        cwd=here, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1,
        "appserver: the current directory has been removed; start the server in one that is there (try cd /)\n",
    )
