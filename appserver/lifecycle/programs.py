"""Programs beside the workers: kept while the server lives, or run by the clock."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from appserver.clock import Clock
from appserver.lifecycle import privileges
from appserver.lifecycle.child import told
from appserver.lifecycle.lifetime import die_with_parent
from appserver.lifecycle.privileges import PrivilegeOptions
from appserver.options import BadValue, option

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from appserver.lifecycle.child import Child, Children
    from appserver.options import Settings

log = logging.getLogger("appserver.lifecycle")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0  # seconds between starts in a crash loop
_YOUNG = 10.0  # seconds of life below which an end counts as part of one
_MERCY = 10.0  # seconds that a program has to end when the server stops
_LOOK = 1.0  # seconds between looks at a pid file


def command(text: str) -> str:
    """Convert ``attach-daemon``: a shell's command."""
    if not text.strip():
        raise BadValue("a shell's command")
    return text.strip()


def smart(text: str) -> tuple[str, str]:
    """Convert ``smart-attach-daemon``: a pid file and a shell's command."""
    path, _, rest = text.strip().partition(" ")
    if not path or not rest.strip():
        raise BadValue("a pid file and a shell's command")
    return path, rest.strip()


def scheduled(text: str) -> tuple[Clock, str]:
    """Convert ``cron``: minute, hour, day, month, weekday and a shell's command."""
    words = text.split(None, 5)
    try:
        clock = Clock(*map(int, words[:5]))
        return clock, words[5]
    except (ValueError, TypeError, IndexError):
        raise BadValue("minute hour day month weekday command; -1 is any, -5 every fifth") from None


@dataclass(frozen=True)
class ProgramOptions:
    """Other programs."""

    attach_daemon: tuple[str, ...] = option(
        (), "Run this command by the shell beside the workers, and again whenever it ends.", convert=command,
        expects="command", example="/srv/mysite/venv/bin/celery worker",
        note="It is run with the site's privileges, and not restarted by a reload.",
    )  # fmt: skip
    smart_attach_daemon: tuple[tuple[str, str], ...] = option(
        (), "Start a program that goes to the background whenever its pid file names no process.",
        convert=smart, expects="pidfile command", example="/run/x.pid memcached -d -P /run/x.pid",
        note="It is left alone when the server stops.",
    )  # fmt: skip
    cron: tuple[tuple[Clock, str], ...] = option(
        (), "Run a command by the shell in the minutes that match: -1 is any, -5 every fifth.",
        convert=scheduled, expects="minute hour day month weekday command",
        example="0 3 -1 -1 -1 /srv/mysite/clean",
    )  # fmt: skip
    unique_cron: tuple[tuple[Clock, str], ...] = option(
        (), "The same, unless the command still runs since the time before.", convert=scheduled,
        expects="minute hour day month weekday command", example="-5 -1 -1 -1 -1 /srv/mysite/fetch",
    )  # fmt: skip


class Programs:
    """Keep the programs that the options name, as children of the master."""

    def __init__(self, settings: Settings, children: Children) -> None:
        self._options = settings.of(ProgramOptions)
        self._privileges = settings.of(PrivilegeOptions)
        self._children = children
        self._running: set[Child] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start them all, in the master's loop."""
        options = self._options
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
        self._run(text).exited.add_done_callback(partial(_tell, text))

    def _run(self, text: str) -> Child:
        """Start a command in a session of its own."""
        master = os.getpid()

        def execute(_: object) -> int:
            os.setsid()
            privileges.drop(self._privileges)
            die_with_parent(master)
            os.execv("/bin/sh", ["/bin/sh", "-c", text])  # noqa: S606  (it is the site's own)

        child = self._children.fork(text, lambda _: None, execute)
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
                child = self._run(text)
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
        while True:
            await asyncio.sleep(60 - time.time() % 60)
            if not clock.matches(time.localtime()):
                continue
            if unique and last is not None and not last.exited.done():
                log.warning("%s: it still runs (pid %d), and is not run again", text, last.pid)
                continue
            last = self._run(text)
            last.exited.add_done_callback(partial(_tell, text))


def _tell(text: str, ended: asyncio.Future[int | None]) -> None:
    if ended.result():
        log.error("%s: %s", text, told(ended.result()))


def _signal(child: Child, number: int) -> None:
    """Send a signal to a program and to all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


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
