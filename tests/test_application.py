"""Loading the application: where it is named, and what happens where it is not there."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest

from appserver.application import OPTIONS, ApplicationOptions, LoadError, load, settle, variable
from appserver.cli import main
from appserver.configuration import Configuration
from appserver.options import BadValue, Settings
from appserver.surroundings import prepare
from tests.support.server import ROOT

APP = """
def application(environ, start_response):
    return ["application"]

def other(environ, start_response):
    return ["other"]

def factory():
    return other

class Site:
    @staticmethod
    def app(environ, start_response):
        return ["nested"]

    @staticmethod
    def make():
        return Site

number = 5
"""


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """Give every test a directory to work in, and the process back as it was."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "prefix", sys.prefix)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if not name.startswith(("appserver.", "site")):
            del sys.modules[name]


def write(directory, name, text=APP):
    file = directory / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return str(file)


def loaded(**options):
    """Return what the application that the options name answers."""
    settings = Settings(
        {owner: owner() for owner in OPTIONS} | {ApplicationOptions: ApplicationOptions(**options)}, []
    )
    prepare(settings)
    app = load(settings)
    settle(settings)
    return app({}, None)[0]


def refused(**options):
    with pytest.raises(LoadError) as caught:
        loaded(**options)
    return caught.value.option, str(caught.value)


@pytest.mark.parametrize(
    "options, answer",
    [
        ({"module": "mod"}, "application"),
        ({"module": "mod:"}, "application"),
        ({"module": "mod:application"}, "application"),
        ({"module": "mod:other"}, "other"),
        ({"module": "mod", "callable": "other"}, "other"),
        ({"module": "mod:application", "callable": "other"}, "application"),
        ({"module": "mod:Site.app"}, "nested"),
        ({"module": "mod:factory()"}, "other"),
        ({"module": "mod", "callable": "factory()"}, "other"),
        ({"module": "mod:Site.make().app"}, "nested"),
        ({"module": "pkg.sub:Site.app"}, "nested"),
        ({"wsgi_file": "mod.py"}, "application"),
        ({"wsgi_file": "mod.py", "callable": "other"}, "other"),
        ({"wsgi_file": "mod.py", "callable": "Site.make().app"}, "nested"),
        ({"wsgi_file": "../other-place/my-site.v2.py"}, "application"),
        ({"wsgi_file": "django.wsgi"}, "application"),
    ],
)
def test_an_application_is_found(directory, options, answer):
    for name in ("mod.py", "pkg/__init__.py", "pkg/sub.py", "../other-place/my-site.v2.py", "django.wsgi"):
        write(directory / "work", name)
    assert loaded(**options) == answer


def test_a_file_is_a_module_that_knows_its_path(directory):
    file = write(
        directory,
        "app.py",
        "import sys\ndef application(*_): return [(__file__, sys.modules[__name__].__spec__.origin)]\n",
    )
    assert loaded(wsgi_file=file) == (file, file)


def test_a_file_that_has_failed_is_run_again(directory):
    file = write(directory, "app.py", "raise RuntimeError('not yet')\n")
    assert "RuntimeError: not yet" in refused(wsgi_file=file)[1]
    write(directory, "app.py", APP + "# of another size than before\n")
    assert loaded(wsgi_file=file) == "application"


@pytest.mark.parametrize(
    "options, option, reason",
    [
        ({}, "module", "no application: set module = package.module:callable or wsgi-file = file.py"),
        ({"module": "mod", "wsgi_file": "mod.py"}, "wsgi-file",
         "module and wsgi-file both name an application; remove one"),
        ({"module": "absent_mod"}, "module",
         ("the application absent_mod cannot be loaded: No module named 'absent_mod'; correct the name, or set"
          " pythonpath to the directory that has it (the directory is {cwd})")),
        ({"module": ":app"}, "module", "the application  cannot be loaded: ValueError: Empty module name"),
        ({"module": "mod:absent"}, "module", "mod has no absent; it has application, other, factory, Site: write mod:application"),
        ({"module": "mod:Site.absent"}, "module", "mod has no Site.absent; it has application, other, factory, Site: write mod:application"),
        ({"module": "empty"}, "module", "empty has no application; it has nothing that could be called"),
        ({"module": "mod:number"}, "module", "mod:number is int, which cannot be called"),
        ({"module": "mod:number()"}, "module",
         "the application mod cannot be loaded: TypeError: 'int' object is not callable"),
        ({"wsgi_file": "absent.py"}, "wsgi-file", "there is no file absent.py (the directory is {cwd})"),
        ({"wsgi_file": "."}, "wsgi-file", "there is no file . (the directory is {cwd})"),
        ({"wsgi_file": "mod.py", "callable": "number"}, "wsgi-file", "mod.py:number is int, which cannot be called"),
        ({"module": "mod", "chdir": "absent"}, "chdir", "No such file or directory: absent"),
        ({"module": "mod", "virtualenv": "absent"}, "virtualenv",
         "there is no {cwd}/absent/lib/python{python}/site-packages; the environment must be made by Python {python}"),
    ],
)  # fmt: skip
def test_without_an_application_there_is_a_reason(directory, options, option, reason):
    write(directory / "work", "mod.py")
    write(directory / "work", "empty.py", "import os\n")
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert refused(**options) == (option, reason.format(cwd=directory / "work", python=python))


FRAMEWORK = """
from typing import Any, Optional

def helper(environ, start_response): ...

class Framework:
    def route(self, function):
        return function
    def __call__(self, environ, start_response):
        return ["framework"]

class Proxy:
    def __call__(self, *arguments, **more): ...

request = Proxy()
"""
MADE = """
from typing import Any, Optional
from mod_framework import Framework, helper, request

class View:
    def __call__(self): ...

view = View()

@Framework().route
def index(): ...

def users(name, page): ...

app = Framework()
"""


@pytest.mark.parametrize(
    "options, told",
    [
        ({"module": "mod_made"}, "mod_made has no application; it has app, users, View, view, index: write mod_made:app"),
        ({"wsgi_file": "./mod_made.py"},
         "./mod_made.py has no application; it has app, users, View, view, index: set callable = app"),
        ({"module": "mod_request"}, "mod_request has no application; it has nothing that could be called"),
        ({"module": "mod_views"}, "mod_views has no application; it has index"),
    ],
)  # fmt: skip
def test_the_object_that_is_the_application_is_named(directory, options, told):
    """Its class is the framework's, as Flask's is."""
    write(directory / "work", "mod_framework.py", FRAMEWORK)
    write(directory / "work", "mod_made.py", MADE)
    write(directory / "work", "mod_request.py", "from typing import Any\nfrom mod_framework import *\n")
    write(directory / "work", "mod_views.py", "from mod_framework import *\ndef index(): ...\n")
    assert refused(**options)[1] == told


@pytest.mark.parametrize(
    "text, told",
    [
        ("".join(f"def {name}(environ, start_response): ...\n" for name in ("page", "lines", "a", "b", "main", "app")),
         "it has app, main, page, lines, a: write hello:app"),
        ("def page(): ...\ndef create_app(name='x'): ...\n", "it has create_app, page: write hello:create_app()"),
        ("def application_factory(): ...\n", "it has application_factory: write hello:application_factory()"),
        ("def create_app(): ...\ndef page(environ, start_response): ...\n", "it has page, create_app: write hello:page"),
        ("def create_app(config): ...\n", "it has create_app"),
        ("def create_table(): ...\n", "it has create_table"),
        ("class create_app: ...\n", "it has create_app"),
    ],
)  # fmt: skip
def test_usual_names_come_first_and_factories_are_called(directory, text, told):
    write(directory / "work", "hello.py", text)
    assert refused(module="hello")[1] == f"hello has no application; {told}"
    if ": write hello:" in told:
        told = told.replace(": write hello:", ": set callable = ")
    assert refused(wsgi_file="./hello.py")[1] == f"./hello.py has no application; {told}"


KINDS = """
import functools

async def asgi(scope, receive, send): ...

class Asgi:
    async def __call__(self, scope, receive, send): ...

class Maker:
    def app(self): ...
    async def asgi(self, scope, receive, send): ...
    def wsgi(self, environ, start_response): return ["wsgi"]
    def __call__(self, environ, start_response): return ["wsgi"]

class Answer:
    def __init__(self, environ, start_response): ...
    def __iter__(self): return iter(["wsgi"])
    def __getitem__(self, number): return "wsgi"

class Derived(int):
    def __new__(cls, *arguments): return ["wsgi"]

class Any_:
    def __new__(cls, *arguments): return ["wsgi"]

class Meta(type):
    def __call__(cls, environ, start_response): return ["wsgi"]

class Made(metaclass=Meta):
    def __init__(self): ...

async def generated(scope, receive, send):
    yield b""

def create_app(config=None): ...
def create(config, *, debug): ...
def perhaps(config=None, debug=False): return ["wsgi"]
def wsgi(environ, start_response): return ["wsgi"]
def anything(*arguments, **more): return ["wsgi"]

@functools.wraps(create_app)
def wrapped(*arguments): return ["wsgi"]

def signed(*arguments): return ["wsgi"]
signed.__signature__ = __import__("inspect").signature(create_app)

def injected(extra, environ, start_response): return ["wsgi"]
partial = functools.partial(injected, 1)
partial_asgi = functools.partial(asgi)
made, called = Maker(), Asgi()
static = type("Static", (), {"__call__": staticmethod(wsgi)})()
"""


@pytest.mark.parametrize("name", ["asgi", "called", "made.asgi", "generated", "partial_asgi"])
def test_what_is_of_asgi_is_no_application(directory, name):
    write(directory / "work", "mod_kinds.py", KINDS)
    assert refused(module=f"mod_kinds:{name}") == (
        "module",
        f"mod_kinds:{name} is of ASGI (async def): put an adapter to WSGI around it, or take a server of ASGI",
    )


@pytest.mark.parametrize("name", ["create_app", "made.app", "Maker"])
def test_a_factory_that_is_not_called_is_no_application(directory, name):
    write(directory / "work", "mod_kinds.py", KINDS)
    told = "takes no environ, so it is what makes the application: write"
    assert refused(module=f"mod_kinds:{name}")[1] == f"mod_kinds:{name} {told} {name}()"
    assert refused(wsgi_file="mod_kinds.py", callable=name)[1] == f"mod_kinds.py:{name} {told} {name}()"


@pytest.mark.parametrize(
    "name, signature",
    [("create", "(config, *, debug)"), ("injected", "(extra, environ, start_response)")],
)
def test_what_cannot_be_called_as_an_application_is_none(directory, name, signature):
    write(directory / "work", "mod_kinds.py", KINDS)
    told = f"cannot be called with (environ, start_response), as WSGI does: it is {name}{signature}"
    assert refused(module=f"mod_kinds:{name}")[1] == f"mod_kinds:{name} {told}"


@pytest.mark.parametrize(
    "name",
    [
        "wsgi",
        "anything",
        "perhaps",
        "wrapped",
        "signed",
        "partial",
        "made",
        "made.wsgi",
        "Answer",
        "Any_",
        "Derived",
        "Made",
        "static",
    ],
)
def test_what_may_be_an_application_is_taken(directory, name):
    write(directory / "work", "mod_kinds.py", KINDS)
    assert loaded(module=f"mod_kinds:{name}") == "wsgi"


@pytest.fixture
def private(directory):
    """Return a directory with an application in it, and a function to become somebody who may not read what it names."""
    write(directory, "private/app.py")
    os.chmod(directory, 0o755)

    def close(name):
        os.chmod(directory / name, 0)
        if os.getuid() == 0:
            os.seteuid(65534)

    yield directory / "private", close
    if os.getuid() == 0:
        os.seteuid(0)
    for path in (directory / "private", *(directory / "private").rglob("*")):
        os.chmod(path, 0o700)


@pytest.mark.parametrize("name", ["private", "private/app.py"])
def test_a_file_that_may_not_be_read_is_not_called_missing(private, name):
    directory, close = private
    close(name)
    option, told = refused(wsgi_file=f"{directory}/app.py")
    assert option == "wsgi-file"
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert told == f"user {user} cannot read {directory}/app.py: Permission denied"


def test_an_environment_that_may_not_be_read_is_not_called_missing(private):
    directory, close = private
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = directory / "lib" / python / "site-packages"
    packages.mkdir(parents=True)
    write(directory.parent / "work", "mod.py")
    close("private")
    option, told = refused(module="mod", virtualenv=str(directory))
    assert option == "virtualenv"
    assert told.endswith(f" cannot read {packages}: Permission denied")


@pytest.mark.parametrize(
    "code, told",
    [
        ("import absent_mod", "ModuleNotFoundError: No module named 'absent_mod'"),
        ("def (:", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt: "),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def application(): raise ValueError('no')", None),
    ],
)
@pytest.mark.parametrize("kind", ["module", "wsgi_file"])
def test_an_application_that_fails_is_told_with_its_cause(directory, kind, code, told):
    write(directory / "work", "bad.py", code + "\n")
    options = {kind: "bad.py" if kind == "wsgi_file" else "bad"}
    if told is None:  # a factory that fails
        options["callable"] = "application()"
        told = "ValueError: no"
    with pytest.raises(LoadError) as caught:
        loaded(**options)
    assert told in str(caught.value)
    assert type(caught.value.__cause__).__name__ == told.partition(":")[0]


class TestSurroundings:
    """What is set up before the application is loaded."""

    def test_chdir_is_where_modules_and_files_are_found(self, directory):
        write(directory / "site", "mod_there.py")
        assert loaded(module="mod_there", chdir="../site") == "application"
        assert os.getcwd() == str(directory / "site")
        assert loaded(wsgi_file="mod_there.py") == "application"

    def test_pythonpath_may_be_a_pattern_below_chdir(self, directory):
        for name in ("b", "a", "[c]"):
            write(directory, f"site/more-{name}/mod_glob_{name.strip('[]')}.py")
        write(directory, "site/more-file", "")
        patterns = ("more-[ab]", "more-[c]", "nothing-*")
        loaded(module="mod_glob_b", chdir="../site", pythonpath=patterns)
        names = ["more-a", "more-b", "more-[c]", "nothing-*"]
        assert sys.path[:4] == [str(directory / "site" / name) for name in names]

    def test_pythonpath_comes_first_in_the_order_given(self, directory):
        for name in ("one", "two", "work"):
            write(directory, f"{name}/mod_path.py", f"def application(*_): return ['{name}']\n")
        write(directory, "two/mod_two.py", "def application(*_): return ['two']\n")
        assert loaded(module="mod_path", pythonpath=("../one", str(directory / "two"))) == "one"
        assert loaded(module="mod_two") == "two"

    def test_env_is_set_before_the_module_runs(self, directory):
        write(directory, "work/mod_env.py",
              "import os\nfound = os.environ['GREETING'] + os.environ['B']\ndef application(*_): return [found]\n")  # fmt: skip
        assert loaded(module="mod_env", env=(("GREETING", "hello"), ("B", "1"), ("B", "2"))) == "hello2"

    def test_envdir_sets_the_first_line_of_each_file_and_unsets_for_empty_ones(self, directory):
        write(directory, "env/ONE", "first \t\nsecond\n")
        write(directory, "env/EMPTY_LINE", "\n")
        write(directory, "env/LINES", "a\0b")
        write(directory, "env/GONE", "")
        write(directory, "env/.hidden", "x")
        os.environ["GONE"] = "there"
        write(directory, "work/mod.py")
        loaded(module="mod", envdir=("../env",))
        assert (os.environ["ONE"], os.environ["EMPTY_LINE"], os.environ["LINES"]) == ("first", "", "a\nb")
        assert "GONE" not in os.environ
        assert ".hidden" not in os.environ

    def test_env_and_unenv_count_in_their_order_and_envdir_after_both(self, directory):
        """As in uWSGI."""
        write(directory, "env/THERE", "of the directory\n")
        write(directory, "work/mod.py")
        lines = ("unenv = A", "env = A=1", "env = B=2", "unenv = B", "env = B=3", "env = C=4", "unenv = C",
                 "unenv = NEVER", "env = THERE=5", "envdir = ../env", "unenv = THERE")  # fmt: skip
        os.environ["A"] = os.environ["C"] = "before"
        write(directory, "work/site.ini", "\n".join(["[uwsgi]", "module = mod", *lines]))
        prepare(Configuration(["site.ini"]).settings)
        assert (os.environ["A"], os.environ["B"]) == ("1", "3")
        assert "C" not in os.environ
        assert os.environ["THERE"] == "of the directory"

    def test_pyargv_is_behind_the_programs_name(self, directory, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["appserver", "site.ini"])
        write(
            directory,
            "work/mod_argv.py",
            "import sys\nfound = sys.argv\ndef application(*_): return [found]\n",
        )
        assert loaded(module="mod_argv", pyargv=("--config", "x")) == ["appserver", "--config", "x"]

    def test_imports_come_before_the_application_and_files_may_be_among_them(self, directory):
        write(directory, "work/mod_first.py", "import sys\nsys.mod_order = ['first']\n")
        write(directory, "more/second.py", "import sys\nsys.mod_order.append('second')\n")
        write(
            directory,
            "work/mod_last.py",
            "import sys\nfound = sys.mod_order\ndef application(*_): return [found]\n",
        )
        assert loaded(module="mod_last", import_=("mod_first", "../more/second.py")) == ["first", "second"]
        del sys.mod_order

    def test_chdir2_comes_after_the_application(self, directory):
        write(
            directory,
            "work/mod_cwd.py",
            "import os\nfound = os.getcwd()\ndef application(*_): return [found]\n",
        )
        assert loaded(module="mod_cwd", chdir2="/") == str(directory / "work")
        assert os.getcwd() == "/"

    @pytest.mark.parametrize(
        "options, option, reason",
        [
            ({"chdir2": "absent"}, "chdir2", "No such file or directory: absent"),
            ({"envdir": ("absent",)}, "envdir", "No such file or directory: absent"),
            ({"import_": ("absent_mod",)}, "import",
             "the module absent_mod cannot be loaded: No module named 'absent_mod'; correct the name, or set "),
            ({"import_": ("absent.py",)}, "import", "there is no file absent.py (the directory is "),
        ],
    )  # fmt: skip
    def test_what_cannot_be_set_up_is_an_error(self, directory, options, option, reason):
        write(directory, "work/mod.py")
        told, why = refused(module="mod", **options)
        assert told == option
        assert why.startswith(reason)

    @pytest.mark.parametrize("relative", [False, True])
    def test_a_virtual_environments_packages_are_used(self, directory, environment, relative):
        options = {"virtualenv": str(environment)}
        if relative:
            options = {"virtualenv": environment.name, "chdir": str(environment.parent)}
        assert loaded(module="mod_of_venv", **options) == "from the environment"
        assert sys.prefix == os.environ["VIRTUAL_ENV"] == str(environment)

    def test_the_command_takes_all_of_it(self, directory, environment, capsys):
        write(directory, "site/mod_all.py",
              "import os, mod_of_venv, mod_of_path\nassert os.environ['A'] == 'b c'\napplication = mod_of_venv.application\n")  # fmt: skip
        write(directory, "more/mod_of_path.py", "")
        write(directory, "site.ini", "[uwsgi]\nchdir = %dsite\nenv = A = b c\npp = %dmore\n"
              f"home = {environment}\nmodule = mod_all\nhttp = :0\n")  # fmt: skip
        assert main(["--check", "../site.ini"]) == 0
        assert "\napplication: mod_all\n" in capsys.readouterr().out


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Make a virtual environment with a module in its site-packages."""
    directory = tmp_path_factory.mktemp("environments") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    [packages] = directory.glob("lib/python*/site-packages")
    write(packages, "mod_of_venv.py", "def application(*_): return ['from the environment']\n")
    return directory


@pytest.mark.parametrize(
    "text, pair", [("A=b", ("A", "b")), (" A = b = c ", ("A", "b = c")), ("A=", ("A", ""))]
)
def test_variables(text, pair):
    assert variable(text) == pair


@pytest.mark.parametrize("text", ["A", "", "=b", " = b"])
def test_bad_variables(text):
    with pytest.raises(BadValue, match=r"^NAME=value$"):
        variable(text)


@pytest.mark.parametrize(
    "code, last",
    [
        ("import absent_mod", "ModuleNotFoundError: No module named 'absent_mod'"),
        ("x = (", "SyntaxError: '(' was never closed"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("callable_ = 1", ""),
    ],
)
def test_no_server_without_an_application(directory, code, last):
    write(directory, "work/bad.py", code + "\n")
    write(directory, "work/site.ini", "[uwsgi]\nhttp = 127.0.0.1:0\nwsgi = bad\n")
    done = subprocess.run(
        [sys.executable, "-m", "appserver", "site.ini"], capture_output=True, text=True, timeout=30,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    *trace, problem = done.stderr.splitlines()
    assert "listening" not in done.stderr
    if last:
        assert trace[0] == "Traceback (most recent call last):" or last.startswith("SyntaxError")
        assert trace[-1] == last
        assert [line for line in trace if line.startswith("  File ")] == [
            line for line in trace if "bad.py" in line
        ]
        assert problem.startswith("appserver: site.ini:3: wsgi = bad: the application bad cannot be loaded: ")
        assert last.partition(":")[0] in problem
    else:
        assert trace == []
        assert (
            problem
            == "appserver: site.ini:3: wsgi = bad: bad has no application; it has nothing that could be called"
        )
