"""Privileges: what is dropped, that it is gone for good, and who may not drop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from appserver.lifecycle import privileges
from appserver.lifecycle.error import StartError
from appserver.lifecycle.privileges import PrivilegeOptions, drop, group, umask, user, user_id, warning
from appserver.options import BadValue
from tests.support.server import ROOT, Server

root = pytest.mark.skipif(os.getuid() != 0, reason="only root has privileges to drop")

CHILD = """
import json, os, sys
from appserver.lifecycle.error import StartError
from appserver.lifecycle.privileges import PrivilegeOptions, drop
os.setgroups([0, 4, 20])
for step in json.loads(sys.argv[1]):
    try:
        drop(PrivilegeOptions(**step))
    except StartError as error:
        print(json.dumps([error.option, str(error)]))
        sys.exit()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([[int(word) for word in status[name].split()] for name in ("Uid", "Gid", "Groups")]))
"""


def dropped(*steps):
    """Return Uid, Gid and Groups of a process of root's that has dropped, or what it says instead."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(steps)],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return json.loads(done.stdout)


@root
@pytest.mark.parametrize(
    "options, expected",
    [
        ({"uid": "1234", "gid": 2345}, [[1234] * 4, [2345] * 4, [2345]]),
        ({"uid": "1234", "gid": 2345, "add_gid": [3456, 33]}, [[1234] * 4, [2345] * 4, [33, 2345, 3456]]),
        ({"uid": "nobody"}, [[65534] * 4, [65534] * 4, [65534]]),
        ({"uid": "nobody", "gid": 2345}, [[65534] * 4, [2345] * 4, [2345]]),
        ({"uid": "65534", "add_gid": [33]}, [[65534] * 4, [65534] * 4, [33, 65534]]),
        ({"gid": 2345}, [[0] * 4, [2345] * 4, [2345]]),
        ({"add_gid": [33]}, [[0] * 4, [0] * 4, [0, 33]]),
        ({}, [[0] * 4, [0] * 4, [0, 4, 20]]),
    ],
)
def test_what_is_left(options, expected):
    assert dropped(options) == expected


@root
def test_a_name_brings_the_groups_of_the_account(monkeypatch):
    seen = {}
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 33, 44])
    for name in ("setgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, lambda *args, name=name: seen.update({name: args}))
    monkeypatch.setattr(privileges, "_can_be_root", lambda: False)
    drop(PrivilegeOptions(uid="nobody", gid=2345, add_gid=(55,)))
    assert seen == {
        "setgroups": ([33, 44, 55, 2345],), "setresgid": (2345,) * 3, "setresuid": (65534,) * 3,
    }  # fmt: skip
    assert list(seen) == ["setgroups", "setresgid", "setresuid"]


@root
def test_dropping_twice_to_the_same_user_is_fine():
    step = {"uid": "1234", "gid": 2345, "add_gid": [33]}
    assert dropped(step, step) == [[1234] * 4, [2345] * 4, [33, 2345]]


@root
@pytest.mark.parametrize(
    "second, told",
    [
        (
            {"uid": "root"},
            [
                "uid",
                "user 1234 cannot become user root with the group root (of root); start as root or remove uid",
            ],
        ),
        (
            {"gid": 0},
            [
                "gid",
                "user 1234 cannot become user 1234 with the group root (of root); start as root or remove gid",
            ],
        ),
        (
            {"add_gid": [33]},
            [
                "add-gid",
                (
                    "user 1234 cannot become user 1234 with the group 2345 (of www-data, 2345);"
                    " start as root or remove add-gid"
                ),
            ],
        ),
    ],
)
def test_who_is_not_root_becomes_nobody_else(second, told):
    assert dropped({"uid": "1234", "gid": 2345}, second) == told


@root
def test_root_that_could_be_had_again_is_refused(monkeypatch):
    for name in ("setgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, lambda *_: None)
    with pytest.raises(StartError, match="root's rights could be had again"):
        drop(PrivilegeOptions(uid="nobody"))


def test_a_number_without_account_needs_a_group():
    with pytest.raises(StartError) as caught:
        drop(PrivilegeOptions(uid="4000000000"))
    assert (caught.value.option, str(caught.value)) == (
        "uid", "user 4000000000 has no account and so no group; set gid, too",
    )  # fmt: skip


def test_becoming_oneself_is_always_allowed():
    before = os.getresuid(), os.getresgid()
    drop(PrivilegeOptions(uid=str(os.getuid()), gid=os.getgid(), add_gid=tuple(os.getgroups())))
    assert (os.getresuid(), os.getresgid()) == before


@pytest.mark.parametrize("euid, uid, warns", [(0, "", True), (0, "0", True), (0, "root", True), (0, "nobody", False), (7, "", False)])  # fmt: skip
def test_root_is_warned_about(monkeypatch, euid, uid, warns):
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    assert warning(PrivilegeOptions(uid=uid)) == (
        "the application runs as root; set uid = USER" if warns else ""
    )


@pytest.mark.parametrize("text, number", [("root", 0), ("0", 0), ("1234", 1234), ("", -1)])
def test_the_number_of_the_user(text, number):
    assert user_id(PrivilegeOptions(uid=text)) == number


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, (-1, -1)),
        ({"uid": "1234", "gid": 2345}, (1234, 2345)),
        ({"uid": "nobody"}, (65534, 65534)),
        ({"gid": 2345}, (os.geteuid(), 2345)),
    ],
)
def test_whom_files_are_given_to(options, expected):
    assert privileges.owner(PrivilegeOptions(**options)) == expected


@pytest.mark.parametrize("convert, text, value", [(user, "root", "root"), (user, "12", "12"), (group, "root", 0), (group, "12", 12), (umask, "027", 0o27), (umask, "0", 0), (umask, "0777", 0o777)])  # fmt: skip
def test_values(convert, text, value):
    assert convert(text) == value


@pytest.mark.parametrize(
    "convert, told", [(user, "a user's name or number"), (group, "a group's name or number")]
)
@pytest.mark.parametrize("text", ["", "no-such", "4294967295", "-1", "²", "1x"])
def test_bad_names(convert, told, text):
    with pytest.raises(BadValue, match=f"^{told}; there is no "):
        convert(text)


@pytest.mark.parametrize("text", ["", "8", "rw", "1000", "00022", "-1"])
def test_bad_masks(text):
    with pytest.raises(BadValue, match="octal digits, such as 027"):
        umask(text)


NO_IMPORTS = """
import os, sys

PID = os.getpid()

def hook(event, arguments):
    frame = sys._getframe() if event == "import" and os.getpid() == PID else None
    while frame is not None:
        if frame.f_code.co_filename.endswith("asyncio/runners.py"):
            raise ModuleNotFoundError(f"No module named {arguments[0]!r}")
        frame = frame.f_back

sys.addaudithook(hook)
"""


def test_the_master_imports_nothing_once_it_runs(site):
    """Its user may not be allowed to read Python's directory."""
    (site.directory / "sitecustomize.py").write_text(NO_IMPORTS)
    site.configure(processes=2, max_requests=100, max_worker_lifetime=100, reload_on_rss=1000)
    env = {"PYTHONPATH": f"{site.directory}:{ROOT}"}
    site.server = server = Server("--ini", site.ini, cwd=site.directory, env=env).start()
    os.kill(min(site.pids(2)), signal.SIGKILL)
    site.wait_until(r"worker \d \(pid \d+\) serves$")
    for number in (signal.SIGTTIN, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        server.process.send_signal(number)
    site.wait_until("generation 2 has taken over")
    assert "No module named" not in site.log
    site.configure(proceses=2)  # difflib is for mistakes alone
    server.process.send_signal(signal.SIGHUP)
    site.wait_until(
        "(?s)the reload failed, generation 2 keeps serving\nTraceback .*No module named 'difflib'"
    )
    assert server.stop() == 0
    assert "never retrieved" not in site.log
