"""A reload has each option that has changed take effect, or tells that only a restart does it."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from appserver.binding import BindOptions
from appserver.configuration import Configuration
from appserver.hooks import HookOptions
from appserver.reference import example
from tests.lifecycle.conftest import children, refused
from tests.lifecycle.test_autoreload import needs_watchfiles
from tests.lifecycle.test_stats import read
from tests.support.fronts import poll

CATALOGUE = Configuration([]).catalogue
OPTIONS = {option.name: option for option in CATALOGUE.by_name.values()}
RESTART = sorted(name for name, option in OPTIONS.items() if option.restart)
WAITS = "{} has changed, which takes effect at a restart"

# Notes which options a master reads, and of which configuration they are, the first one or another.
NOTING = """
import os, sys

from appserver.configuration import Configuration

MASTER = os.getpid()
within = configurations = 0
seen = set()


def checking(do):
    def checked(self, *arguments, **options):
        global within
        within += 1
        try:
            return do(self, *arguments, **options)
        finally:
            within -= 1
    return checked


def begin(self, *arguments, _begin=Configuration.__init__, **options):
    global configurations
    configurations += 1
    _begin(self, *arguments, **options)


def watch(owner):
    fields = set(owner.__dataclass_fields__)
    make, code = owner.__init__, {owner.__init__.__code__, owner.__eq__.__code__}

    def made(self, *arguments, **options):
        object.__setattr__(self, "_number", configurations)
        make(self, *arguments, **options)

    def read(self, name):
        value = object.__getattribute__(self, name)
        if name in fields and not within and os.getpid() == MASTER:
            frame = sys._getframe(1)
            if frame.f_code not in code and frame.f_globals["__name__"] not in {"dataclasses", "appserver.options"}:
                note = f"{self._number} {owner.__name__}.{name}"
                if note not in seen:
                    seen.add(note)
                    with open("noted", "a") as file:
                        file.write(note + "\\n")
        return value

    owner.__init__, owner.__getattribute__ = made, read


for owner in Configuration([]).catalogue.owners:
    watch(owner)
configurations = 0
Configuration.__init__ = checking(begin)
for name in ("tell", "at_restart", "supervised"):
    if isinstance(do := vars(Configuration)[name], property):
        setattr(Configuration, name, property(checking(do.fget)))
    else:
        setattr(Configuration, name, checking(do))
"""


def reload(site, number=2):
    site.server.process.send_signal(signal.SIGHUP)
    site.wait_until(f"generation {number} has taken over")


def title(site):
    return Path(f"/proc/{site.server.process.pid}/cmdline").read_text().rstrip("\0")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def watchers(site):
    """Return how many processes of the master's watch files."""
    found = 0
    for pid in children(site.server.process.pid):
        with suppress(OSError):  # it has ended meanwhile
            found += "watcher.py" in Path(f"/proc/{pid}/cmdline").read_text()
    return found


def test_what_a_master_reads_of_its_first_options_alone_is_told(site, monkeypatch):
    """All that it reads is read again by a reload, or marked; the rest is read by each generation."""
    (site.directory / "sitecustomize.py").write_text(NOTING)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site.directory), os.getcwd()]))
    options = {"stats": "./stats.sock", "control-socket": "./control.sock", "pidfile": "./pid"}
    site.configure("socket = ./uwsgi.sock", "exec-as-user-atexit = true", **options).start()
    reload(site)
    assert site.server.stop() == 0
    noted = re.findall(r"(\d+) (\w+\.\w+)\n", (site.directory / "noted").read_text())
    first = {name for number, name in noted if number == "1"}
    second = {name for number, name in noted if number == "2"}
    marked = {f"{option.owner.__name__}.{option.field}" for option in OPTIONS.values() if option.restart}
    assert {"LogOptions.logto", "PidOptions.pidfile", "HookOptions.hook_asap"} <= first & marked
    assert {"BindOptions.listen", "StatsOptions.stats", "TitleOptions.procname"} <= first & second
    assert first - second - marked == {"BindOptions.reuse_port"}  # each socket tells of it


@pytest.mark.parametrize("name", RESTART)
def test_what_only_a_restart_changes_is_told_with_its_place(name, tmp_path):
    old, new = tmp_path / "old.ini", tmp_path / "new.ini"
    old.write_text("[appserver]\nhttp-socket = :0\nmodule = x\nmaster = true\n")
    new.write_text(f"{old.read_text()}{name} = {example(OPTIONS[name])}\n")
    without, having = Configuration([str(old)]), Configuration([str(new)])
    assert having.problems == having.at_restart() == []
    added = Configuration([str(new)], first=without)
    [told] = added.at_restart()
    assert told.startswith(f"{new}:5: {name} = ")
    assert told.endswith(f": {WAITS.format(name)}")
    removed = Configuration([str(old)], first=having)
    assert removed.at_restart() == [WAITS.format(name)]
    owner, field = OPTIONS[name].owner, OPTIONS[name].joins or OPTIONS[name].field
    first, second = (getattr(each.settings.of(owner), field) for each in (without, having))
    assert getattr(added.settings.of(owner), field) == first != second
    assert getattr(removed.settings.of(owner), field) == second


def test_what_does_not_wait_is_that_of_the_reload_beside_what_does():
    """Where both are of one owner, and where another option is made of what waits."""
    first = Configuration(["--module", "x", "--http-socket", ":0", "--gid", str(os.getegid())])
    commands = ["--exec-as-root", "a", "--exec-as-user-atexit", "b"]
    second = Configuration(["--module", "x", "--http-socket", ":0", *commands], first=first)
    hooks = second.settings.of(HookOptions)
    assert (hooks.exec_as_root, hooks.exec_as_user_atexit) == ((), ("b",))
    assert second.settings.of(BindOptions).chown_socket == (-1, os.getegid())
    assert not second.supervised


def identity(status):
    """Return the users and the groups that a file of proc(5) tells of."""
    told = dict(line.split(":", 1) for line in Path(status).read_text().splitlines())
    return [told[name].split() for name in ("Uid", "Gid", "Groups")]


@pytest.mark.skipif(os.getuid() != 0, reason="only root has privileges to drop")
@pytest.mark.parametrize("master", ["root", "dropped"])
@pytest.mark.parametrize(
    "after", [{}, {"gid": 2345}, {"gid": 1234, "add_gid": 44}, {"uid": 1234, "gid": 1234}]
)
def test_privileges_are_those_of_the_start(site, master, after):
    """In workers and programs that a reload, and the time after it, begins."""
    touched, told = site.directory / "touched", site.directory / "told"
    options = {
        "master_as_root": str(master == "root").lower(),
        "touch_exec": f"{touched} cat /proc/self/status > {told}.new; mv {told}.new {told}",
    }
    site.configure(gid=1234, add_gid=33, **options).start()
    before = identity(f"/proc/{site.told()['pid']}/status")
    assert before == [["0"] * 4, ["1234"] * 4, ["33", "1234"]]
    site.configure(**after, **options)
    reload(site)
    assert identity(f"/proc/{site.told()['pid']}/status") == before
    touched.touch()
    poll(told.exists, "nothing is run")
    assert identity(told) == before


def test_it_is_told_at_each_reload_until_it_is_as_before(site):
    site.configure().start()
    site.configure("umask = 027")
    reload(site, 2)
    reload(site, 3)
    site.configure()
    reload(site, 4)
    told = "WARNING " + str(site.ini) + ":5: umask = 027: " + WAITS.format("umask")
    assert site.count(told) == site.count("takes effect at a restart") == 2


def test_a_configuration_that_wants_no_master_any_more_is_told(site):
    site.configure().start()
    site.configure(master="false")
    reload(site)
    assert "WARNING no option asks for a master any more, which takes effect at a restart" in site.log
    assert site.told()["version"] == 1


def test_socket_files_get_the_mode_of_a_reload(site):
    paths = [site.directory / name for name in ("uwsgi.sock", "stats.sock")]
    mounts = ["socket = ./uwsgi.sock", "stats = ./stats.sock"]
    site.configure(*mounts, chmod_socket="600").start()
    before = [path.stat().st_ino for path in paths]
    for number, wanted in ((2, "666"), (3, "660")):
        site.configure(*mounts, chmod_socket=wanted)
        reload(site, number)
        assert [mode(path) for path in paths] == [int(wanted, 8)] * 2
    site.configure(f"{mounts[0]}, chmod-socket=640", mounts[1])
    reload(site, 4)
    umask = int(re.search(r"Umask:\s*(\d+)", Path("/proc/self/status").read_text())[1], 8)
    assert [mode(path) for path in paths] == [0o640, 0o777 & ~umask]
    assert [path.stat().st_ino for path in paths] == before
    assert "takes effect at a restart" not in site.log


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_socket_files_get_the_owner_of_a_reload(site):
    path = site.directory / "uwsgi.sock"
    site.configure("socket = ./uwsgi.sock").start()
    for number, (wanted, owners) in enumerate(
        [
            ("nobody", (65534, os.getegid())),
            (":1234", (os.geteuid(), 1234)),
            ("", (os.geteuid(), os.getegid())),
        ],
        2,
    ):
        lines = [f"chown-socket = {wanted}"] if wanted else []
        site.configure("socket = ./uwsgi.sock", *lines)
        reload(site, number)
        assert (path.stat().st_uid, path.stat().st_gid) == owners


def test_a_mode_that_others_have_set_stays_where_the_options_do(site):
    path = site.directory / "uwsgi.sock"
    site.configure("socket = ./uwsgi.sock", chmod_socket="600").start()
    path.chmod(0o644)
    site.configure("socket = ./uwsgi.sock", chmod_socket="600", listen=10)
    reload(site)
    assert mode(path) == 0o644


def test_a_reload_that_fails_leaves_sockets_as_they_are(site):
    path = site.directory / "uwsgi.sock"
    site.configure("socket = ./uwsgi.sock", chmod_socket="600").start()
    site.configure("socket = ./uwsgi.sock", chmod_socket="666", procname_master="new", module="absent")
    site.server.process.send_signal(signal.SIGHUP)
    site.wait_until("the reload failed, generation 1 keeps serving")
    assert mode(path) == 0o600
    assert title(site) != "new"


def test_as_many_connections_may_wait_as_a_reload_says(site):
    def most():
        document = json.loads(read(str(site.directory / "stats.sock")))
        return [each["max_queue"] for each in document["sockets"]]

    mounts = ["socket = ./uwsgi.sock", "stats = ./stats.sock"]
    site.configure(*mounts, listen=50).start()
    assert most() == [50, 50]
    site.configure(*mounts, listen=70)
    reload(site)
    assert most() == [70, 70]


def test_a_socket_that_becomes_shared_is_told(site):
    site.configure().start()
    name = ":".join(map(str, site.address))
    site.configure(http_socket=f"{name}, reuse-port=true")
    reload(site, 2)
    reload(site, 3)
    site.configure(http_socket=name)
    reload(site, 4)
    assert site.count("WARNING http " + name + ": " + WAITS.format("reuse-port")) == 2
    assert site.count("takes effect at a restart") == 2


def test_a_socket_that_becomes_abstract_is_another(site):
    path = site.directory / "uwsgi.sock"
    site.configure(f"socket = {path}", "stats = ./stats.sock", vacuum="true").start()
    site.configure(f"socket = {path}", "stats = ./stats.sock", vacuum="true", abstract_socket="true")
    reload(site)
    assert not path.exists()
    assert not (site.directory / "stats.sock").exists()
    assert read("@./stats.sock")
    site.configure(f"socket = @{path}", "stats = @./stats.sock")
    reload(site, 3)
    assert site.count("statistics: ") == 2


def test_the_title_of_the_master_is_that_of_a_reload(site):
    site.configure(procname_master="old").start()
    assert title(site) == "old"
    site.configure(procname_master="new")
    reload(site)
    assert title(site) == "new"


def test_what_is_run_at_the_end_is_what_a_reload_says(site):
    told = site.directory / "told"
    site.configure(f"exec-as-user-atexit = echo old >> {told}").start()
    site.configure(f"exec-as-user-atexit = echo $SETTING >> {told}", env="SETTING=new")
    reload(site)
    assert site.server.stop() == 0
    assert told.read_text() == "new\n"


def test_commands_have_the_surroundings_of_a_reload(site):
    touched, told, elsewhere = (site.directory / name for name in ("touched", "told", "elsewhere"))
    elsewhere.mkdir()
    site.configure(env="SETTING=old").start()
    site.configure(
        f"touch-exec = {touched} echo $SETTING $(pwd) >> {told}",
        env="SETTING=new", chdir=elsewhere, pythonpath=site.directory,
    )  # fmt: skip
    reload(site)
    touched.touch()
    assert poll(lambda: told.exists() and told.read_text(), "nothing is run") == f"new {elsewhere}\n"


@needs_watchfiles
def test_a_reload_begins_and_ends_to_watch_imported_files(site):
    changes = count(2)

    def change():
        number = next(changes)
        text = re.sub(r"VERSION = \d", f"VERSION = {number}", site.app.read_text())
        site.app.write_text(text)
        return number

    site.configure().start()
    assert watchers(site) == 0
    site.configure(py_autoreload=1)
    reload(site, 2)
    assert watchers(site) == 1
    number = change()
    site.wait_until(r"app\.py has changed: reload")
    site.wait_until("generation 3 has taken over")
    assert site.told()["version"] == number
    site.configure()
    reload(site, 4)
    assert watchers(site) == 0


@needs_watchfiles
def test_a_reload_that_fails_watches_as_before(site):
    site.configure().start()
    site.configure(py_autoreload=1, module="absent")
    site.server.process.send_signal(signal.SIGHUP)
    site.wait_until("the reload failed, generation 1 keeps serving")
    assert watchers(site) == 0
    assert not refused(site.address)
