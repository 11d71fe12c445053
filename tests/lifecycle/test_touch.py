"""Files whose change asks for something."""

from __future__ import annotations

import os

from appserver.lifecycle.touch import Touched, TouchOptions
from appserver.options import Catalogue, Setting


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


def test_options():
    given = [
        Setting(name, value, "site.ini:1")
        for name, value in (("touch-reload", "a"), ("touch-reload", "b"), ("python-auto-reload", "2"))
    ]
    settings, problems = Catalogue([TouchOptions]).build(given)
    assert problems == []
    assert settings.of(TouchOptions) == TouchOptions(touch_reload=("a", "b"), py_autoreload=2.0)
