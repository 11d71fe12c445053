"""Files whose change asks for something."""

from __future__ import annotations

import os
import signal

import pytest

from appserver.lifecycle.touch import Touched, TouchOptions, Watched, touched_command
from appserver.options import BadValue, Catalogue, Setting
from tests.lifecycle.conftest import without_descriptors
from tests.support.fronts import poll


def test_changes_are_told_once(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for file in (one, two):
        file.touch()
    touched = Touched([str(one), str(two)])
    assert touched.changed() == []
    os.utime(two, ns=(1, 1))
    assert touched.changed() == [str(two)]
    assert touched.changed() == []


def test_another_file_of_the_same_time_is_a_change(tmp_path):
    file, other = tmp_path / "file", tmp_path / "other"
    for each in (file, other):
        each.touch()
        os.utime(each, ns=(1, 1))
    touched = Touched([str(file)])
    other.rename(file)
    assert touched.changed() == [str(file)]


def test_a_file_that_comes_is_a_change_and_one_that_goes_is_none(tmp_path):
    file = tmp_path / "file"
    touched = Touched([str(file)])
    assert touched.changed() == []
    file.touch()
    assert touched.changed() == [str(file)]
    file.unlink()
    assert touched.changed() == []
    file.touch()
    assert touched.changed() == [str(file)]


def test_paths_survive_a_change_of_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touched = Touched(["file"])
    monkeypatch.chdir("/")
    (tmp_path / "file").touch()
    assert touched.changed() == [f"{tmp_path}/file"]


def test_what_follows_misses_no_change_and_tells_none_twice(tmp_path):
    files = [tmp_path / name for name in "abcde"]
    for file in files:
        file.touch()
    old, kept, new, command, other = map(str, files)
    before = Watched(TouchOptions(touch_reload=(old, kept), touch_exec=((command, "x"), (other, "y"))))
    after = Watched(TouchOptions(touch_reload=(kept, new), touch_exec=((other, "x"), (command, "x"))))
    for number, file in enumerate(files):
        os.utime(file, ns=(number, number))
    again = Watched(TouchOptions(touch_reload=(kept, new), touch_exec=((other, "x"), (command, "x"))))
    again.follow(before)
    assert again.look() == [("reload", kept)]
    assert again.look_for_programs() == [("x", command)]
    before.look()
    before.look_for_programs()
    after.follow(before)
    assert after.look() == [("reload", new)]
    assert after.look_for_programs() == [("x", other)]


def test_a_file_that_is_touched_as_a_reload_ends_asks_for_another(site):
    """The master looks four times a second, and most times not before the new worker serves."""
    file, gate = site.directory / "touched", site.directory / "gate"
    file.touch()
    os.mkfifo(gate)
    site.configure(touch_reload=file).start()
    text = site.app.read_text()
    site.app.write_text(f"open({str(gate)!r}).read()\n{text}")
    site.server.process.send_signal(signal.SIGHUP)
    with gate.open("w"):  # it is open when the application has come to it
        site.app.write_text(text)
    os.utime(file, ns=(1, 1))
    site.wait_until("touched has changed: reload")
    site.wait_until(r"generation \d has taken over")


def test_options():
    given = [
        Setting(name, value, "site.ini:1")
        for name, value in (("touch-reload", "a"), ("touch-reload", "b"), ("python-auto-reload", "2"))
    ]
    settings, problems = Catalogue([TouchOptions]).build(given)
    assert problems == []
    assert settings.of(TouchOptions) == TouchOptions(touch_reload=("a", "b"), py_autoreload=2.0)


@pytest.mark.parametrize("text", ["", "file", " file ", " "])
def test_a_file_without_a_command(text):
    with pytest.raises(BadValue, match="a file, a blank and a shell's command"):
        touched_command(text)


def test_a_file_that_is_touched_runs_a_command(site):
    file, told = site.directory / "touched", site.directory / "told"
    file.touch()
    site.configure(touch_exec=f"{file} echo $PPID >> {told}; exit 3").start()
    os.utime(file, ns=(1, 1))
    poll(lambda: told.exists() and told.read_text(), "the command does not run")
    assert int(told.read_text()) == site.server.process.pid
    site.wait_until(rf"{file} has changed: echo ")
    site.wait_until(r"exit 3: exit code 3$")


def test_a_command_that_cannot_be_run_ends_nothing(site):
    file, told = site.directory / "touched", site.directory / "told"
    file.touch()
    site.configure(touch_exec=f"{file} echo >> {told}").start()
    with without_descriptors(site.server.process.pid):
        os.utime(file, ns=(1, 1))
        site.wait_until("ERROR echo >> .*: cannot start a process: Too many open files$")
    os.utime(file, ns=(2, 2))
    poll(told.exists, "the command does not run")


@pytest.mark.parametrize("backup", ["", "backup"])
def test_a_file_that_is_touched_rotates_the_logs(site, backup):
    file, log = site.directory / "touched", site.directory / "log"
    file.touch()
    backups = {"log_backupname": str(site.directory / backup)} if backup else {}
    site.configure(touch_logrotate=file, logto=log, logfile_chmod=640, processes=2, **backups)
    site.launch()
    poll(lambda: log.exists() and "ready" in log.read_text(), "the server does not start")
    os.utime(file, ns=(1, 1))

    def moved():
        return [path for path in site.directory.iterdir() if path.name.startswith(("log.", "backup"))]

    poll(lambda: moved() and log.exists(), "the log is not moved")
    [old] = moved()
    assert old.name == "backup" if backup else old.name[4:].isdigit()
    assert "touched has changed: rotate-logs" in old.read_text()
    assert log.stat().st_mode & 0o777 == 0o640
    site.server.process.terminate()
    assert site.server.process.wait(30) == 0
    assert log.read_text().rstrip().endswith("stopped")
    assert "stopped" not in old.read_text()
