"""Commands and actions at the stages of the server's life."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appserver.application import ApplicationOptions, LoadError
from appserver.hooks import HookError, HookOptions, action, command, run
from appserver.options import BadValue, Settings, UnsupportedValue, options_of
from appserver.surroundings import run_hooks
from tests.support.clients import UwsgiClient
from tests.support.fronts import poll
from tests.support.server import Server


def test_the_examples_of_hooks_can_be_repeated(tmp_path, monkeypatch):
    """By the next start, and at some stages by each reload."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    hooks = [each for each in options_of(HookOptions) if each.name.startswith("hook-")]
    examples = {each.field: (action(each.example.replace("/run/mysite", str(tmp_path))),) for each in hooks}
    for _ in range(2):
        for each in hooks:
            run(HookOptions(**examples), each.name.removeprefix("hook-"))


@pytest.mark.parametrize(
    "hook, check",
    [
        ("mkdir:made", lambda: os.path.isdir("made")),
        ("creat:made", lambda: Path("made").read_text() == ""),
        ("write:made a b", lambda: Path("made").read_text() == "a b"),
        ("writen:made a", lambda: Path("made").read_text() == "a\n"),
        ("append:there +", lambda: Path("there").read_text() == "x+"),
        ("appendn:there +", lambda: Path("there").read_text() == "x+\n"),
        ("unlink:there", lambda: not os.path.exists("there")),
        ("chmod:there 640", lambda: os.stat("there").st_mode & 0o777 == 0o640),
        (f"chown:there {os.getuid()} {os.getgid()}", lambda: os.stat("there").st_uid == os.getuid()),
        ("chdir:sub", lambda: os.getcwd().endswith("/sub")),
        ("putenv:HOOKED=a=b", lambda: os.environ["HOOKED"] == "a=b"),
        ("exec:echo $HOME > made", lambda: os.path.exists("made")),
        ("safeexec:false", lambda: True),
        ("print:hello", lambda: True),
        ("unix_signal:15 gracefully_kill_them_all", lambda: True),
    ],
)
def test_actions(tmp_path, monkeypatch, hook, check):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    (tmp_path / "there").write_text("x")
    (tmp_path / "sub").mkdir()
    run(HookOptions(hook_asap=(action(hook),)), "asap")
    assert check()


@pytest.mark.parametrize(
    "options, option, reason",
    [
        ({"exec_asap": ("exit 3",)}, "exec-asap", "the command exited with 3"),
        ({"exec_asap": ("kill -9 $$",)}, "exec-asap", "the command was ended by signal 9"),
        ({"hook_asap": (("exec", "false"),)}, "hook-asap", "the command exited with 1"),
        ({"hook_asap": (("mkdir", "/proc/x"),)}, "hook-asap", "No such file or directory"),
        (
            {"hook_asap": (("chmod", "/ 8"),)},
            "hook-asap",
            "it is malformed: invalid literal for int() with base 8: '8'",
        ),
        ({"hook_asap": (("chown", "/"),)}, "hook-asap", "it is malformed: "),
    ],
)
def test_what_fails_is_told(options, option, reason):
    with pytest.raises(HookError) as caught:
        run(HookOptions(**options), "asap")
    assert caught.value.option == option
    assert str(caught.value).startswith(reason)


def test_the_first_failure_is_the_last_action(tmp_path):
    with pytest.raises(HookError):
        run(HookOptions(exec_asap=("false", f"touch {tmp_path}/made")), "asap")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "mount:proc", "unix_signal:9 kill_them_all", "mkdir", "!exec:x"])
def test_actions_that_are_not_here(text):
    with pytest.raises(UnsupportedValue):
        action(text)


def test_commands():
    assert command("a b") == "a b"
    with pytest.raises(BadValue):
        command("")


STAGES = ["asap", "as-root", "as-user", "pre-app", "post-app", "as-user-atexit"]
APP = "import os\nos.system('echo load >> told')\ndef application(e, s):\n    s('200 OK', [])\n    return [b'x']\n"


@pytest.mark.parametrize("master", [False, True])
def test_the_stages_come_in_their_order(tmp_path, master):
    (tmp_path / "app.py").write_text(APP)
    lines = [f"exec-{stage} = echo {stage} >> {tmp_path}/told" for stage in STAGES]
    lines += [
        f"hook-{stage} = appendn:{tmp_path}/told hook-{stage}"
        for stage in [*STAGES, "post-fork", "master-start"]
    ]
    (tmp_path / "site.ini").write_text(
        "\n".join(["[appserver]", "module = app", "http = 127.0.0.1:0", f"master = {master}", *lines])
    )
    with Server("--ini", "site.ini", cwd=tmp_path, env={"PYTHONPATH": os.pathsep.join(sys.path)}) as server:
        assert server.stop() == 0
    told = (tmp_path / "told").read_text().split()
    expected = [f"{kind}{stage}" for stage in STAGES for kind in ("hook-", "")]
    assert [each for each in told if each in expected] == expected
    assert told.index("pre-app") < told.index("load") < told.index("hook-post-app")
    assert ("hook-master-start" in told) is master
    assert ("hook-post-fork" in told) is master


@pytest.mark.parametrize("stage", ["asap", "as-user", "pre-app"])
@pytest.mark.parametrize("master", [False, True])
def test_a_failure_keeps_the_server_from_starting(tmp_path, stage, master):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "site.ini").write_text(
        f"[appserver]\nmodule = app\nhttp = 127.0.0.1:0\nmaster = {master}\nexec-{stage} = exit 4\n"
    )
    server = Server("--ini", "site.ini", cwd=tmp_path)
    assert server.process.wait(20) == 1
    server.__exit__()
    assert f"site.ini:5: exec-{stage} = exit 4: the command exited with 4" in server.log


def test_check_runs_no_command(tmp_path, capsys, monkeypatch):
    from appserver.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "app_checked.py").write_text("def application(*_): pass\n")
    lines = [f"exec-{stage} = touch {tmp_path}/made" for stage in STAGES]
    (tmp_path / "site.ini").write_text(
        "\n".join(["[appserver]", "module = app_checked", "http = :0", *lines])
    )
    assert main(["--check", "site.ini"]) == 0
    assert not (tmp_path / "made").exists()


def surrounded(tmp_path, *lines):
    """Write a site, each of whose hooks tells what surrounds it, and return its environment."""
    (tmp_path / "app" / "variables").mkdir(parents=True)
    (tmp_path / "app" / "variables" / "FILE").write_text("file")
    (tmp_path / "served").mkdir()
    surroundings = f"s$SET f$FILE g$GONE $(pwd) >> {tmp_path}/told"
    (tmp_path / "app" / "app.py").write_text(
        f"import os, uwsgi\nuwsgi.post_fork_hook = lambda: os.system('echo post_fork_hook {surroundings}')\n"
        "def application(e, s):\n    s('200 OK', [])\n    return []\n"
    )
    text = ["[uwsgi]", "wsgi-file = app.py", f"socket = {tmp_path}/sock", *lines]
    text += ["chdir = app", f"chdir2 = {tmp_path}/served"]
    text += ["env = SET=set", "unenv = GONE", "envdir = %d/app/variables"]
    for kind, stages in {"exec": STAGES, "hook": [*STAGES, "master-start", "post-fork"]}.items():
        do = "exec:" if kind == "hook" else ""
        text += [f"{kind}-{stage} = {do}echo {kind}-{stage} {surroundings}" for stage in stages]
    (tmp_path / "site.ini").write_text("\n".join(text))
    (tmp_path / "told").touch()
    for path in (tmp_path, tmp_path / "app", tmp_path / "served", tmp_path / "told"):
        path.chmod(0o777)
    return {"PYTHONPATH": os.pathsep.join(sys.path), "GONE": "there"}


def told_of(tmp_path):
    """Return what surrounded each hook when it ran first."""
    told = {}
    for line in (tmp_path / "told").read_text().splitlines():
        hook, _, rest = line.partition(" ")
        told.setdefault(hook, rest)
    return told


@pytest.mark.parametrize("master", [False, True])
def test_hooks_have_the_variables_and_the_directory_of_the_application(tmp_path, master):
    env = surrounded(tmp_path, f"master = {str(master).lower()}")
    with Server("--ini", "site.ini", cwd=tmp_path, env=env) as server:
        assert server.stop() == 0
    told = told_of(tmp_path)
    for hook, rest in told.items():
        early = hook.endswith(("-as-root", "-as-user"))
        where = f"{tmp_path}" if early or hook.endswith("-asap") else f"{tmp_path}/app"
        if hook.endswith("-as-user-atexit") and not master:  # the process that has served
            where = f"{tmp_path}/served"
        assert rest == f"sset f{'' if hook.endswith('-asap') else 'file'} g {where}", hook
    assert len(told) == 2 * len(STAGES) + 2 * master + 1


@pytest.mark.peers
@pytest.mark.skipif(shutil.which("uwsgi") is None, reason="uwsgi is not installed (Debian: uwsgi-core)")
@pytest.mark.parametrize("master", [False, True])
def test_hooks_are_surrounded_as_in_a_real_uwsgi(tmp_path, master):
    """It runs those of as-root and as-user as root alone, and again and again while it is that."""
    env = surrounded(tmp_path, f"master = {str(master).lower()}", "die-on-term = true")
    with Server("--ini", "site.ini", cwd=tmp_path, env=env) as server:
        assert server.stop() == 0
    ours = told_of(tmp_path)
    (tmp_path / "told").write_text("")
    command = ["uwsgi", "--plugins", "python3", "--ini", "site.ini"]
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **env}, stdout=null, stderr=null)
    try:
        begun = {"hook-post-fork", "hook-master-start"} if master else {"hook-post-fork"}
        poll(lambda: begun <= set(told_of(tmp_path)), "uwsgi does not start")
        with UwsgiClient(f"{tmp_path}/sock") as client:  # a signal that comes before its loop is lost
            client.send("GET", "/")
            assert client.receive().status == 200
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        process.kill()
        process.wait()
    theirs = told_of(tmp_path)
    assert {hook: ours[hook] for hook in theirs if hook in ours} == {
        hook: rest for hook, rest in theirs.items() if hook in ours
    }
    assert {"exec-asap", "hook-pre-app", "exec-as-user-atexit"} <= set(theirs)


def settings(*, hooks, **options):
    values = {ApplicationOptions: ApplicationOptions(**options), HookOptions: HookOptions(**hooks)}
    return Settings(values, [])


@pytest.fixture
def variables():
    """Give back the variables of this process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_the_process_does_not_keep_what_surrounds_hooks(tmp_path, monkeypatch, variables):
    monkeypatch.chdir(tmp_path)
    os.environ.update(CHANGED="before", GONE="before")
    (tmp_path / "app").mkdir()
    before = dict(os.environ)
    env = (("CHANGED", "set"), ("NEW", "set"), ("GONE", None))
    hooks = {"hook_master_start": (("writen", "here x"), ("exec", "echo $CHANGED$NEW$GONE > there"))}
    run_hooks(settings(hooks=hooks, env=env, chdir="app"), "master-start")
    assert (dict(os.environ), os.getcwd()) == (before, str(tmp_path))
    assert ((tmp_path / "app/here").read_text(), (tmp_path / "app/there").read_text()) == ("x\n", "setset\n")


def test_the_process_keeps_what_hooks_change(tmp_path, monkeypatch, variables):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app" / "below").mkdir(parents=True)
    hooks = {"hook_master_start": (("putenv", "NEW=hook"), ("putenv", "OWN=hook"), ("chdir", "below"))}
    run_hooks(settings(hooks=hooks, env=(("NEW", "set"),), chdir="app"), "master-start")
    assert (os.environ["NEW"], os.environ["OWN"], os.getcwd()) == ("hook", "hook", f"{tmp_path}/app/below")


def test_a_stage_without_hooks_wants_no_surroundings(tmp_path):
    run_hooks(settings(hooks={}, envdir=(f"{tmp_path}/none",)), "as-root")
    hooks = {"exec_as_root": ("true",)}
    with pytest.raises(LoadError) as caught:
        run_hooks(settings(hooks=hooks, envdir=(f"{tmp_path}/none",)), "as-root")
    assert (caught.value.option, str(caught.value)) == (
        "envdir", f"No such file or directory: {tmp_path}/none"
    )  # fmt: skip


def test_hooks_of_the_exit_do_without_surroundings_that_have_gone(tmp_path, monkeypatch, caplog, variables):
    monkeypatch.chdir(tmp_path)
    hooks = {"exec_as_user_atexit": ("echo $SET > told",)}
    gone = {"envdir": (f"{tmp_path}/variables",), "chdir": f"{tmp_path}/release"}
    run_hooks(settings(hooks=hooks, env=(("SET", "x"),), **gone), "as-user-atexit")
    assert ((tmp_path / "told").read_text(), os.getcwd(), "SET" in os.environ) == (
        "x\n",
        str(tmp_path),
        False,
    )
    assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"] == [
        f"envdir: No such file or directory: {tmp_path}/variables",
        f"chdir: No such file or directory: {tmp_path}/release",
    ]
