"""Several applications in one server: which of them gets a request, and what it sees."""

from __future__ import annotations

import sys

import pytest

from appserver import cli
from appserver.application import ApplicationOptions, LoadError, load, mountpoints
from appserver.configuration import Configuration
from appserver.mounts import MOUNT, Managed, Mounts, mount
from appserver.options import BadValue
from appserver.surroundings import prepare


def app(name):
    def application(environ, start_response):
        return [name, environ["SCRIPT_NAME"], environ["PATH_INFO"]]

    return application


def ask(mounts, path, script_name="", environ=None):
    told = []
    environ = {} if environ is None else environ
    environ |= {"SCRIPT_NAME": script_name, "PATH_INFO": path}
    answer = mounts(environ, lambda status, _: told.append(status))
    return told[0][:3] if told else tuple(answer)


def mounted(apps, default, manage):
    mounts = Mounts(apps, default)
    return Managed(apps, mounts) if manage else mounts


APPS = {"/a": app("a"), "/a/b": app("b"), "/long": app("l")}


@pytest.mark.parametrize(
    "path, expected",
    [
        ("/a", ("a", "/a", "")),
        ("/a/", ("a", "/a", "/")),
        ("/a/x", ("a", "/a", "/x")),
        ("/a/b", ("b", "/a/b", "")),
        ("/a/b/c", ("b", "/a/b", "/c")),
        ("/a/bc", ("a", "/a", "/bc")),
        ("/ab", ("d", "", "/ab")),
        ("/", ("d", "", "/")),
        ("", ("d", "", "")),
    ],
)
def test_the_longest_prefix_counts_where_the_server_manages_script_names(path, expected):
    assert ask(mounted(APPS, app("d"), manage=True), path) == expected


@pytest.mark.parametrize(
    "script_name, expected",
    [("/a", "a"), ("/a/", "a"), ("/a/b", "b"), ("", "d"), ("/nope", "d"), ("/a/b/c", "d")],
)
def test_the_front_end_chooses_otherwise(script_name, expected):
    answer = ask(mounted(APPS, app("d"), manage=False), "/a/b/c", script_name)
    assert answer == (expected, script_name, "/a/b/c")


def test_what_has_no_prefix_is_still_the_front_end_s():
    assert ask(mounted(APPS, app("d"), manage=True), "/x", "/long") == ("l", "/long", "/x")


def test_rules_and_files_are_for_what_is_behind_the_prefix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.txt").write_text("file")
    (tmp_path / "behind.py").write_text(
        "def application(environ, start_response):\n    return [environ['SCRIPT_NAME'], environ['PATH_INFO']]\n"
    )
    (tmp_path / "site.ini").write_text(
        "[uwsgi]\nhttp = :0\nmount = /one=behind.py\nmanage-script-name\nstatic-map = /s=files\n"
        "route = ^/admin break:403 Forbidden\nroute = ^/s/ break:404\nroute = ^/one/ break:500\n"
    )
    served = load(Configuration(["site.ini"]).settings)
    for path in ("/one/admin", "/admin"):
        assert ask(served, path, environ={"REQUEST_METHOD": "GET"}) == "403"
    for path in ("/one/s/a.txt", "/s/a.txt"):
        assert ask(served, path, environ={"REQUEST_METHOD": "GET"}) == "404"
    assert ask(served, "/one/x", environ={"REQUEST_METHOD": "GET"}) == ("/one", "/x")


@pytest.mark.parametrize("manage", [False, True])
def test_what_is_mounted_nowhere_is_not_found(manage):
    assert ask(mounted(APPS, None, manage=manage), "/x") == "404"


@pytest.mark.parametrize("manage", [False, True])
def test_an_application_at_the_root_is_the_default(manage):
    assert ask(mounted({**APPS, "": app("root")}, None, manage=manage), "/x") == ("root", "", "/x")


@pytest.mark.parametrize("manage", [False, True])
@pytest.mark.parametrize("prefix", ["/a", "/a/b", ""])
def test_whose_request_it_is_is_noted(manage, prefix):
    environ = {}
    ask(mounted(APPS, app("d"), manage=manage), prefix if manage else "/x", prefix, environ)
    assert environ[MOUNT] == prefix


def test_a_request_of_nobody_is_noted_as_nobodys():
    environ = {}
    assert ask(mounted(APPS, None, manage=True), "/x", environ=environ) == "404"
    assert MOUNT not in environ


@pytest.mark.parametrize(
    "options, found",
    [
        (["--module", "m"], []),
        (["--module", "m", "--mount", "/a=m", "--mount", "/b/=m"], ["", "/a", "/b"]),
        (["--mount", "/a=m"], ["/a"]),
        (["--mount", "/=m", "--mount", "/a=m", "--mount", "/a=n"], ["", "/a"]),
    ],
)
def test_where_applications_are_mounted(options, found):
    assert mountpoints(Configuration(["--http-socket", ":0", *options]).settings) == found


@pytest.mark.parametrize(
    "text, pair",
    [
        ("/a=m:app", ("/a", "m:app")),
        (" /a/ = m.py ", ("/a", "m.py")),
        ("/=m", ("", "m")),
        ("/a=b=c", ("/a", "b=c")),
    ],
)
def test_values(text, pair):
    assert mount(text) == pair


@pytest.mark.parametrize("manage", [True, False])
@pytest.mark.parametrize("text", ["/\u00fc", "/5\u20ac", "/\udcff"])
def test_a_prefix_is_found_as_the_bytes_that_the_file_has(text, manage):
    sent = text.encode("utf-8", "surrogateescape").decode("latin-1")
    environ = {}
    mounts = mounted({text: app("u")}, None, manage=manage)
    path, script_name = (f"{sent}/x", "") if manage else ("/x", sent)
    assert ask(mounts, path, script_name, environ) == ("u", sent, "/x")
    assert environ[MOUNT] == text


@pytest.mark.parametrize("text", ["", "/a", "a=b", "/a=", "=b"])
def test_bad_values(text):
    with pytest.raises(BadValue, match=r"^/prefix=module:callable or /prefix=file.py$"):
        mount(text)


def test_applications_are_loaded_as_module_and_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "def app(environ, start_response):\n    return [__name__, environ['SCRIPT_NAME']]\nother = app\n"
    for name in ("mod_m1.py", "mod_m2.py"):
        (tmp_path / name).write_text(code)
    (tmp_path / "site.ini").write_text(
        "[uwsgi]\nmount = /one=mod_m1:other\nmount = /two=mod_m2.py\ncallable = app\nmanage-script-name\nhttp = :0\n"
    )
    configuration = Configuration(["site.ini"])
    assert configuration.problems == []
    assert configuration.what == "mod_m1:other at /one, mod_m2.py at /two"
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    prepare(configuration.settings)
    mounts = load(configuration.settings)
    assert ask(mounts, "/one/x") == ("mod_m1", "/one")
    assert ask(mounts, "/two") == ("appserver_wsgi_mod_m2", "/two")


FIRST, ROOT = ("first", "", "/x"), ("second", "", "/x")


@pytest.mark.parametrize("manage", ["manage-script-name = true", ""])
@pytest.mark.parametrize(
    "lines, found",
    [
        ("[uwsgi]\nmount = /one=first.py\nmount = /two=second.py", FIRST),
        ("[uwsgi]\nworker-mount = /one/=first.py\nmount = /two=second.py\nno-default-app = false", FIRST),
        ("[uwsgi]\nmount = /one=first.py\nno-default-app = true", "404"),
        ("[uwsgi]\nmount = /one=first.py\nmount = /=second.py", ROOT),
        ("[uwsgi]\nmount = /one=first.py\nmount = /=second.py\nno-default-app = true", ROOT),
        ("[uwsgi]\nmount = /one=first.py\nwsgi-file = second.py\nno-default-app = true", ROOT),
        ("[appserver]\nmount = /one=first.py", "404"),
        ("[appserver]\nmount = /one=first.py\n[uwsgi]\nmount = /two=second.py", "404"),
        ("[appserver]\nmount = /one=first.py\nmount = /=second.py", ROOT),
        ("[appserver]\nmount = /one=first.py\nno-default-app = true", "404"),
    ],
)
def test_what_is_mounted_nowhere_goes_to_the_default(tmp_path, monkeypatch, lines, found, manage):
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text(
            "def application(environ, start_response):\n"
            f"    return ['{name}', environ['SCRIPT_NAME'], environ['PATH_INFO']]\n"
        )
    (tmp_path / "site.ini").write_text(f"{lines}\nhttp = :0\n{manage}\n")
    configuration = Configuration(["site.ini"])
    assert configuration.problems == []
    served, environ = load(configuration.settings), {}
    assert ask(served, "/x", environ=environ) == found
    assert environ.get(MOUNT) == {FIRST: "/one", ROOT: "", "404": None}[found]
    assert ask(served, "/one" if manage else "/", "/one")[0] == "first"


@pytest.mark.parametrize(
    ("lines", "environ", "found"),
    [
        ("[uwsgi]\nmount = /one=first.py", {}, "first"),
        ("[appserver]\nmount = /one=first.py\nno-default-app = false", {}, "first"),
        ("[appserver]", {"APPSERVER_MOUNT": "/one=first.py"}, "404"),
        ("[uwsgi]", {"UWSGI_MOUNT": "/one=first.py", "APPSERVER_UWSGI_ENV": "true"}, "first"),
    ],
)
def test_what_is_shown_of_a_configuration_serves_the_same(
    lines, environ, found, *, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first.py").write_text("def application(environ, start_response):\n    return ['first']\n")
    (tmp_path / "site.ini").write_text(f"{lines}\nhttp = :0\n")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["site.ini", "--show-config"]) == 0
    (tmp_path / "shown.ini").write_text(capsys.readouterr().out)
    for file in ("site.ini", "shown.ini"):
        statuses = []
        served = load(Configuration([file]).settings)
        said = list(served({"PATH_INFO": "/x"}, lambda status, headers: statuses.append(status[:3])))  # noqa: B023
        assert (statuses or said) == [found]
        for name in environ:
            monkeypatch.delenv(name, raising=False)


D, A, B = "d", "a", "b"  # of module, mounted at /a and at the root


@pytest.mark.parametrize(
    ("named", "roots", "strict", "found"),
    [
        ("", True, False, D), ("/a", True, False, A), ("/n", True, False, D),
        ("", False, True, D), ("/a", False, True, A), ("/n", False, True, "404"), ("/n", False, False, D),
    ],
)  # fmt: skip
def test_the_application_without_a_mount_comes_before_that_of_the_root(named, roots, strict, found):
    """As in uWSGI; where what is mounted nowhere goes to none, that is a SCRIPT_NAME that nobody has."""
    apps = {"/a": answering(A)} | ({"": answering(B)} if roots else {})
    mounts = Mounts(apps, answering(D), strict=strict)
    statuses = []
    environ = {"SCRIPT_NAME": named, "PATH_INFO": "/x"}
    said = list(mounts(environ, lambda status, headers: statuses.append(status[:3])))
    assert (statuses or said) == [found]


def answering(name):
    return lambda environ, start_response: [name]


@pytest.fixture
def modules():
    """Have the modules of a test forgotten after it."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.usefixtures("modules")
def test_files_of_the_same_name_are_modules_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = (
        "import pickle\nimport typing\n"
        "class Here{name}: pass\n"
        "class Model:\n    field: 'Here{name}'\n"
        "def application(environ, start_response):\n"
        "    typing.get_type_hints(Model)\n"
        "    return [pickle.loads(pickle.dumps(Model())).__class__ is Model and __name__, __file__]\n"
    )
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same-base.py").write_text(code.format(name=name))
    (tmp_path / "a" / "once.py").write_text(
        "with open('runs', 'a') as file:\n    file.write(__name__ + ' ')\n"
    )
    (tmp_path / "site.ini").write_text(
        "[uwsgi]\nhttp = :0\nmanage-script-name\nimport = a/once.py\nimport = %da/once.py\n"
        "mount = /a=a/same-base.py\nmount = /b=b/same-base.py\nmount = /c=%da/same-base.py\n"
    )
    mounts = load(Configuration(["site.ini"]).settings)
    first = ["appserver_wsgi_same_base", f"{tmp_path}/a/same-base.py"]
    assert mounts({"PATH_INFO": "/a"}, None) == first
    assert mounts({"PATH_INFO": "/b"}, None) == ["appserver_wsgi_same_base_2", f"{tmp_path}/b/same-base.py"]
    assert mounts({"PATH_INFO": "/c"}, None) == first
    assert (tmp_path / "runs").read_text() == "appserver_wsgi_once "


def test_an_application_that_is_not_there_names_its_own_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.ini").write_text(
        "[uwsgi]\nhttp = :0\nmount = /a=absent_mod:app\nmount = /b=other_mod:app\n"
    )
    configuration = Configuration(["site.ini"])
    with pytest.raises(LoadError) as caught:
        load(configuration.settings)
    assert configuration.told(caught.value).startswith("site.ini:3: mount = /a=absent_mod:app: ")


def test_an_application_that_is_not_there_names_the_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configuration = Configuration(["--mount", "/a=absent_mod:app", "--http", ":0"])
    with pytest.raises(LoadError) as caught:
        load(configuration.settings)
    assert caught.value.option == "mount"
    assert configuration.settings.of(ApplicationOptions).module == ""
