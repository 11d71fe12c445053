"""Programs beside the workers: kept while the server lives, or run by the clock."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from appserver.clock import Schedule
from appserver.lifecycle import privileges
from appserver.lifecycle.child import told
from appserver.lifecycle.lifetime import die_with_parent
from appserver.lifecycle.options import ProgramOptions
from appserver.lifecycle.privileges import PrivilegeOptions
from appserver.surroundings import enter

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from appserver.clock import Clock
    from appserver.lifecycle.child import Child, Children
    from appserver.options import Settings

log = logging.getLogger("appserver.lifecycle")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0  # seconds between starts in a crash loop
_YOUNG = 10.0  # seconds of life below which an end counts as part of one
_MERCY = 10.0  # seconds that a program has to end when the server stops
_LOOK = 1.0  # seconds between looks at a pid file


class Programs:
    """Keep the programs that the options name, as children of the master.

    What starts has the surroundings of ``settings``, which a reload may have changed since it was asked for.
    """

    def __init__(self, settings: Settings, children: Children) -> None:
        self.settings = settings
        self._children = children
        self._running: set[Child] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start them all, in the master's loop."""
        options = self.settings.of(ProgramOptions)
        for each in options.attach_daemon:
            self._go_on(self._keep(each))
        for path, each in options.smart_attach_daemon:
            self._go_on(self._watch(path, each))
        for clock, each in options.cron:
            self._go_on(self._schedule(clock, each, unique=False))
        for clock, each in options.unique_cron:
            self._go_on(self._schedule(clock, each, unique=True))

    def _go_on(self, task: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(task))

    async def stop(self) -> None:
        """Have all of them end, and kill those that do not in time."""
        for task in self._tasks:
            task.cancel()
        if not self._running:
            return
        for child in self._running:
            _signal(child, signal.SIGTERM)
        ended = {child.exited for child in self._running}
        await asyncio.wait(ended, timeout=_MERCY)
        for child in list(self._running):
            if not child.exited.done():
                log.error("%s (pid %d) does not end and is killed", child.name, child.pid)
                _signal(child, signal.SIGKILL)
                await child.exited

    def run(self, text: str) -> None:
        """Run a command once, and tell of it if it fails."""
        if (child := self._run(text)) is not None:
            child.exited.add_done_callback(partial(_tell, text))

    def _run(self, text: str) -> Child | None:
        """Start a command in its own session; where there can be no process, log that and return None."""
        master = os.getpid()

        def execute(_: object) -> int:
            os.setsid()
            privileges.drop(self.settings.of(PrivilegeOptions))
            die_with_parent(master)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would keep that
                signal.signal(number, signal.SIG_DFL)
            enter(self.settings)
            os.execv("/bin/sh", ["/bin/sh", "-c", text])  # noqa: S606  (it is the site's own)

        try:
            child = self._children.fork(text, lambda _: None, execute)
        except OSError as error:
            log.error("%s: cannot start a process: %s", text, error.strerror)  # noqa: TRY400
            return None
        self._running.add(child)
        child.exited.add_done_callback(lambda _: self._ended(child))
        return child

    def _ended(self, child: Child) -> None:
        self._running.discard(child)
        child.close()

    async def _keep(self, text: str) -> None:
        """Start a program, and again whenever it ends; slower where it ends again and again."""
        pause = 0.0
        while True:
            began = time.monotonic()
            child = self._run(text)
            if child is None:
                pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                await asyncio.sleep(pause)
                continue
            log.info("%s: started (pid %d)", text, child.pid)
            status = await asyncio.shield(child.exited)
            young = time.monotonic() - began < _YOUNG
            pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE) if young else _FIRST_PAUSE
            log.error("%s (pid %d) ended: %s; started again in %.1f s", text, child.pid, told(status), pause)
            await asyncio.sleep(pause)

    async def _watch(self, path: str, text: str) -> None:
        """Start a program that leaves its pid in a file, whenever the process with that pid is not there."""
        pause = _LOOK
        while True:
            if not _lives(path):
                if (child := self._run(text)) is not None:
                    log.info("%s: started, as %s names no process", text, path)
                    status = await asyncio.shield(child.exited)
                    if status:
                        log.error("%s: %s", text, told(status))
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = _LOOK
            await asyncio.sleep(pause)

    async def _schedule(self, clock: Clock, text: str, *, unique: bool) -> None:
        last: Child | None = None
        schedule = Schedule(clock)
        while True:
            await asyncio.sleep(schedule.pause())
            if not schedule.due():
                continue
            if unique and last is not None and not last.exited.done():
                log.warning("%s: it still runs (pid %d), and is not run again", text, last.pid)
                continue
            last = self._run(text)
            if last is not None:
                last.exited.add_done_callback(partial(_tell, text))


def _tell(text: str, ended: asyncio.Future[int | None]) -> None:
    if ended.result():
        log.error("%s: %s", text, told(ended.result()))


def _signal(child: Child, number: int) -> None:
    """Send a signal to a program and to all that it has started."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:  # it has just been forked, and has no session yet
        child.kill(number)
    except PermissionError:
        pass


def _lives(path: str) -> bool:
    """Tell whether a pid file names a process that is there."""
    try:
        with open(path) as file:
            os.kill(int(file.read()), 0)
    except PermissionError:  # another user's
        return True
    except (OSError, ValueError):
        return False
    return True
