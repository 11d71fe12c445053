"""Processes that cannot be started, and whose end it was that waitpid(2) told, where pids come again."""

from __future__ import annotations

import asyncio
import errno
import os
import signal

import pytest

from appserver.lifecycle.child import Child, Children

PID = 4194304  # which no process has


def with_children(monkeypatch, do):
    """Run *do* with children, and a function that lets the process with `PID` end with a status."""
    ends = []

    def waitpid(pid, options):
        if not ends:
            raise ChildProcessError
        return ends.pop()

    async def main():
        children = Children()

        def end(status):
            ends.append((PID, status))
            children.reap()

        def child():
            return Child(children, "child", lambda _: None)

        do(children, child, end)

    monkeypatch.setattr(os, "waitpid", waitpid)
    asyncio.run(main())


def test_a_process_may_end_before_its_pid_is_known(monkeypatch):
    def do(children, child, end):
        one = child()
        end(7)
        children.known(one, PID)
        assert one.exited.result() == 7
        one.close()

    with_children(monkeypatch, do)


def test_the_end_of_a_stranger_is_not_that_of_a_child_with_its_pid(monkeypatch):
    def do(children, child, end):
        end(7)
        one = child()
        children.known(one, PID)
        assert not one.exited.done()
        end(9)
        assert one.exited.result() == 9
        two = child()  # and so on
        children.known(two, PID)
        assert not two.exited.done()
        one.close()
        two.close()

    with_children(monkeypatch, do)


def test_a_fork_that_fails_leaves_nothing_behind(monkeypatch):
    def fork():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        fds = []

        async def main():
            children = Children()
            for _ in range(2):
                with pytest.raises(BlockingIOError):
                    children.fork("child", lambda _: None, lambda _: 0)
                fds.append(len(os.listdir("/proc/self/fd")))
            assert children.private == set()

        asyncio.run(main())
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
        assert fds[0] == fds[1]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
