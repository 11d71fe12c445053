"""Processes that listeners want beside the workers, kept across reloads and workers' deaths."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

from appserver.lifecycle import privileges, title
from appserver.lifecycle.child import Child, Children, told
from appserver.lifecycle.privileges import PrivilegeOptions
from appserver.lifecycle.signals import MASTER

if TYPE_CHECKING:
    import socket

    from appserver.listeners.listener import Listener
    from appserver.log.destinations import Log

log = logging.getLogger("appserver.lifecycle")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds between starts in a crash loop
_YOUNG = 10.0  # seconds of life below which a death counts as part of one


class Kept:
    """An attendant that is kept: whose it is, its process, and the task that keeps it."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.child: Child | None = None
        self.task: asyncio.Task[None] | None = None

    def let_go(self) -> None:
        """Begin it no more."""
        if self.task is not None:
            self.task.cancel()

    def send(self, message: str) -> None:
        """Tell it something."""
        if self.child is not None:
            self.child.send(message)


class Attendants:
    """Keep the attendant of each listener that has one."""

    def __init__(self, children: Children, logs: Log) -> None:
        self._children = children
        self._logs = logs
        self.listeners: list[Listener] = []  # all that are bound: an attendant keeps only its own
        self._kept: dict[Listener, Kept] = {}

    def keep(self, listener: Listener) -> None:
        """Start a listener's attendant, and again whenever it dies."""
        if listener.attendant() is not None:
            kept = self._kept[listener] = Kept(listener)
            kept.task = asyncio.get_running_loop().create_task(self._keep(kept))

    def hand_over(self, old: Listener, new: Listener) -> None:
        """Have the attendant of *old* be that of *new*, which has taken over its sockets."""
        if old in self._kept:
            kept = self._kept[new] = self._kept.pop(old)
            kept.listener = new

    async def _keep(self, kept: Kept) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.0
        while True:
            began = loop.time()
            child = kept.child = self._start(kept.listener)
            if child is None:
                pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                await asyncio.sleep(pause)
                continue
            status = await asyncio.shield(child.exited)
            child.close()
            log.error("%s (pid %d) ended: %s; it is started again", child.name, child.pid, told(status))
            young = loop.time() - began < _YOUNG
            pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE) if young else 0.0
            await asyncio.sleep(pause if pause > _FIRST_PAUSE else 0)

    def _start(self, listener: Listener) -> Child | None:
        """Start an attendant; where there can be no process, log that and return None."""
        run = listener.attendant()
        assert run is not None
        name = f"{listener.name} {listener.address}"

        def attend(sock: socket.socket) -> int:
            for other in self.listeners:
                if other is not listener:
                    other.close()
            title.set(listener.settings, name)
            privileges.drop(listener.settings.of(PrivilegeOptions))
            for number in MASTER:
                signal.signal(number, signal.SIG_IGN)
            self._logs.forked()
            try:
                return run(sock.fileno(), self._logs.reopen)
            finally:
                self._logs.close()

        try:
            return self._children.fork(name, lambda _: None, attend)
        except OSError as error:
            log.error("%s: cannot start a process: %s", name, error.strerror)  # noqa: TRY400
            return None

    def send(self, message: str) -> None:
        """Tell all attendants something."""
        for kept in self._kept.values():
            kept.send(message)

    def drain(self) -> None:
        """Have all attendants take what is there, hand it out and end.

        One that has just died is begun again for it: workers may wait for what it says.
        """
        for kept in self._kept.values():
            kept.let_go()
            if kept.child is None or kept.child.exited.done():
                kept.child = self._start(kept.listener)
        self.send("drain")

    async def end(self, listener: Listener) -> None:
        """Drain and end the attendant of a listener that is no longer wanted."""
        kept = self._kept.pop(listener, None)
        if kept is not None:
            kept.let_go()
            kept.send("drain")
            if kept.child is not None:
                await kept.child.exited

    def kill(self) -> None:
        """Kill all."""
        for child in self._running():
            child.kill()

    def _running(self) -> list[Child]:
        return [kept.child for kept in self._kept.values() if kept.child is not None]

    async def wait(self, seconds: float | None) -> None:
        """Wait until all have ended; kill those that have not after *seconds*."""
        children = self._running()
        if children:
            await asyncio.wait({child.exited for child in children}, timeout=seconds)
        for child in children:
            child.kill()
            await child.exited
            child.close()
        self._kept.clear()
