"""Whose processes end with whom."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

import pytest

from appserver.lifecycle import lifetime

ADOPT = """
import os
from appserver.lifecycle.lifetime import adopt_orphans
adopt_orphans()
read, write = os.pipe()
if not (child := os.fork()):
    if not (orphan := os.fork()):
        os.close(write)
        os.read(read, 1)  # until its parent is reaped
        os._exit(7)
    os._exit(0)
os.waitpid(child, 0)
os.close(write)
pid, status = os.wait()
print(pid != child, os.waitstatus_to_exitcode(status))
"""

DIE = """
import os, signal, sys, time
from appserver.lifecycle.lifetime import die_with_parent
parent = os.getpid()
if not (child := os.fork()):
    die_with_parent({parent}, signal.SIGKILL)
    print("told", flush=True)
    signal.pause()
{wait}
os._exit(0)
"""


def test_orphans_are_adopted():
    done = subprocess.run([sys.executable, "-c", ADOPT], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("True 7\n", "")


def test_a_process_ends_with_its_parent():
    with subprocess.Popen(
        [sys.executable, "-c", DIE.format(parent="parent", wait="sys.stdin.read()")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == b"told\n"
        process.stdin.close()
        assert process.stdout.read() == b""  # nobody holds the pipe any more


def test_a_parent_that_is_gone_already_is_noticed():
    wait = "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)"
    code = DIE.format(parent="parent + 1", wait=wait)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert done.stdout == f"{-signal.SIGKILL}\n"


def test_a_kernel_that_does_not_know_it_is_told(monkeypatch):
    monkeypatch.setattr(lifetime, "_PR_SET_CHILD_SUBREAPER", 12345678)
    with pytest.raises(OSError, match=r"cannot be the reaper of orphans \(PR_SET_CHILD_SUBREAPER\): Invalid"):
        lifetime.adopt_orphans()


def test_an_absent_prctl_is_told(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    with pytest.raises(OSError, match="the C library has no prctl; this server needs Linux"):
        lifetime.die_with_parent(os.getppid(), signal.SIGTERM)
