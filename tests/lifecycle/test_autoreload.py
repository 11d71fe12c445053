"""Reload during development: which files count, and how their changes are heard of."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import types
from contextlib import suppress

import pytest

from appserver.lifecycle import autoreload, watcher
from appserver.lifecycle.autoreload import Autoreload, Sources
from appserver.lifecycle.error import StartError

needs_watchfiles = pytest.mark.skipif(
    importlib.util.find_spec("watchfiles") is None, reason="the extra autoreload is not installed"
)


class Odd:
    def __getattr__(self, name):
        raise RuntimeError(name)


def noted(load):
    """Return what is told of the files that *load* loads."""
    found = {}
    with (
        suppress(ZeroDivisionError),
        Sources(lambda text: found.update(json.loads(text.removeprefix("sources ")))),
    ):
        load()
    return found


def test_the_files_of_applications_and_libraries_count(monkeypatch, tmp_path):
    module = types.ModuleType("mine")
    module.__file__ = "mine.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mine", module)
    monkeypatch.setitem(sys.modules, "odd", Odd())
    monkeypatch.setitem(sys.modules, "namespace", types.ModuleType("namespace"))
    monkeypatch.setitem(sys.modules, "gone", None)
    files = noted(lambda: None)
    assert files[f"{tmp_path}/mine.py"] is None
    assert files[pytest.__file__] == watcher.look(pytest.__file__)
    assert os.__file__ not in files
    assert json.__file__ not in files
    assert autoreload.__file__ not in files


def test_a_source_is_looked_at_before_it_is_read(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    one, two = tmp_path / "appserver_test_one.py", tmp_path / "appserver_test_two.py"
    one.write_text(f"import os\nos.utime({str(one)!r}, ns=(1, 1))\nimport appserver_test_two\n")
    two.write_text("1 / 0\n")
    before = {str(file): watcher.look(str(file)) for file in (one, two)}
    files = noted(lambda: importlib.import_module("appserver_test_one"))
    assert {file: files[file] for file in before} == before  # though it has been touched, and the other fails
    assert watcher.look(str(one)) != before[str(one)]
    assert noted(lambda: None).keys().isdisjoint(before)


def test_many_files_are_told_in_messages_that_a_channel_takes(monkeypatch, tmp_path):
    names = [f"{tmp_path}/{number}{'x' * 200}.py" for number in range(1000)]
    for name in names:
        module = types.ModuleType(name)
        module.__file__ = name
        monkeypatch.setitem(sys.modules, name, module)
    sizes = []
    with Sources(lambda text: sizes.append(len(text))):
        pass
    assert len(sizes) >= 10
    assert max(sizes) < 65536


def looks(*files):
    return {str(file): watcher.look(str(file)) for file in files}


async def next_of(queue):
    return await asyncio.wait_for(queue.get(), 20)


def replace(path, text):
    """Write a file as editors do."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


@needs_watchfiles
def test_changes_are_heard_of(tmp_path):
    one, two, other = (tmp_path / name / f"{name}.py" for name in ("one", "two", "other"))
    for file in (one, two, other):
        file.parent.mkdir()
        file.touch()

    async def run():
        queue = asyncio.Queue()
        watching = Autoreload(queue.put_nowait)
        try:
            watching.watch(looks(one, two, f"{tmp_path}/absent/x.py"))
            replace(one, "changed")  # before the watching has begun
            assert await next_of(queue) == [str(one)]
            replace(two, "changed")
            assert await next_of(queue) == [str(two)]
            one.unlink()
            assert await next_of(queue) == [str(one)]
            watching.watch(looks(other))
            replace(two, "nobody cares")
            replace(other, "changed")
            assert await next_of(queue) == [str(other)]
        finally:
            watching.stop()
            watching.stop()
        watching.watch(looks(one))

    asyncio.run(run())


@needs_watchfiles
def test_the_watcher_is_a_process_that_ends_with_the_master(tmp_path):
    code = f"""
import asyncio, os
from appserver.lifecycle.autoreload import Autoreload
async def main():
    watching = Autoreload(print)
    watching.watch({{{str(tmp_path / "x.py")!r}: None}})
    print(watching._process.pid, len(os.listdir("/proc/self/task")), flush=True)
    os._exit(0)
asyncio.run(main())
"""
    read, write = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=write, text=True, timeout=20
    )
    os.close(write)
    pid, threads = done.stdout.split()
    assert threads == "1"
    assert int(pid) > 0
    assert os.read(read, 1000) == b""  # the watcher, which has the other end, is gone
    os.close(read)


@needs_watchfiles
def test_signals_to_all_processes_do_not_end_the_watching(tmp_path):
    file = tmp_path / "one.py"
    file.touch()

    async def run():
        queue = asyncio.Queue()
        watching = Autoreload(queue.put_nowait)
        process = watching._process
        try:
            watching.watch(looks(file))
            for number in (None, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR2):
                if number is not None:  # the first change tells that it has begun
                    process.send_signal(number)
                replace(file, f"changed {number}")
                assert await next_of(queue) == [str(file)]
            assert watching._process is process
        finally:
            watching.stop()

    asyncio.run(run())


@needs_watchfiles
def test_a_watcher_that_has_died_is_started_again(tmp_path, caplog):
    file = tmp_path / "one.py"
    file.touch()

    async def run():
        queue = asyncio.Queue()
        watching = Autoreload(queue.put_nowait)
        try:
            watching.watch(looks(file))
            for number in range(2):
                watching._process.kill()
                replace(file, f"changed {number}")
                assert await next_of(queue) == [str(file)]
                watching.watch(looks(file))
        finally:
            watching.stop()

    asyncio.run(run())
    assert caplog.text.count("the watcher of files has ended; it is started again in 0.1 s") == 2


def test_a_watcher_that_cannot_be_started_again_is_when_it_can(tmp_path, monkeypatch, caplog):
    silent = tmp_path / "watcher.py"
    silent.write_text("import sys\nprint('[\"x\"]', flush=True)\nsys.stdin.read()\n")
    monkeypatch.setattr(watcher, "__file__", str(silent))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    start, errors = subprocess.Popen, [OSError(11, "Resource temporarily unavailable")]

    def popen(*arguments, **options):
        if len(begun) == 1 and errors:
            raise errors.pop()
        begun.append(start(*arguments, **options))
        return begun[-1]

    begun = []
    monkeypatch.setattr(subprocess, "Popen", popen)

    async def run():
        queue = asyncio.Queue()
        watching = Autoreload(queue.put_nowait)
        try:
            assert await next_of(queue) == ["x"]
            begun[0].kill()
            assert await next_of(queue) == ["x"]
        finally:
            watching.stop()

    asyncio.run(run())
    assert "py-autoreload: cannot start a process: Resource temporarily unavailable" in caplog.text


def test_a_watcher_that_has_died_is_not_started_again_after_the_end(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)

    async def run():
        watching = Autoreload(None)
        watching._begin_again()
        watching.stop()
        assert watching._again.cancelled()

    asyncio.run(run())


def test_a_watcher_that_cannot_watch_says_why_and_fails_nobody(tmp_path, monkeypatch, caplog):
    broken = tmp_path / "watcher.py"
    broken.write_text("print('\"too many watches\"')")
    monkeypatch.setattr(watcher, "__file__", str(broken))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)

    async def run():
        watching = Autoreload(None)
        watching._process.wait()
        ended = asyncio.get_running_loop().create_future()
        monkeypatch.setattr(autoreload.log, "error", lambda *args: ended.set_result(args))
        assert await asyncio.wait_for(ended, 20) == ("py-autoreload has ended: %s", "too many watches")
        watching.watch({"x": None})
        watching.stop()

    asyncio.run(run())


def test_without_the_library_the_command_to_get_it_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StartError) as caught:
        Autoreload(print)
    assert caught.value.option == "py-autoreload"
    assert str(caught.value) == "it needs the library watchfiles: pip install watchfiles"
