"""Daemons: servers in the background, whose start is waited for in the foreground (daemon(7))."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from appserver.lifecycle.error import StartError
from appserver.log.sinks import move_away, open_given
from appserver.options import BadValue, option

_READY = b"\0"
_STDERR = 2


def log_file(text: str) -> str:
    """Convert ``daemonize``: a file; uWSGI's UDP addresses are refused."""
    if re.fullmatch(r"[^/]*:\d+", text):
        raise BadValue("a file for the log; instead of UDP use logger = zeromq:ENDPOINT beside it")
    if not text:
        raise BadValue("a file for the log")
    return text


@dataclass(frozen=True)
class DaemonOptions:
    """Background."""

    daemonize: str = option(
        "", "Run in the background and log to this file; return when the application is loaded.",
        short="d", convert=log_file, expects="file",
        example="/var/log/mysite.log",
        note="The start is waited for; it fails in the foreground. A new file is given to `uid` and `gid`.",
        restart=True,
    )  # fmt: skip
    daemonize2: str = option(
        "", "As daemonize; where both are given, this one counts.", convert=log_file, expects="file",
        example="/var/log/mysite.log", restart=True,
    )  # fmt: skip

    @property
    def file(self) -> str:
        """The log of the daemon; empty for a server in the foreground."""
        return self.daemonize2 or self.daemonize


class Daemon:
    """The background process, as it sees itself: what it owes to the foreground, and its log."""

    def __init__(self, path: str, chmod: int | None, owner: tuple[int, int], report: int) -> None:
        self.path = path
        self._chmod = chmod
        self._owner = owner
        self._report: int | None = report

    def ready(self) -> None:
        """Let the foreground end with exit code 0; safe twice."""
        self._tell(_READY)

    def failed(self, text: str) -> None:
        """Let the foreground print why there is no server, and end with exit code 1; safe twice."""
        self._tell(text.encode("utf-8", "backslashreplace") or b"no reason given")

    def close(self) -> None:
        """Close this process's way to the foreground, as a child must whose parent tells it; safe twice."""
        self._tell(b"")

    def reopen(self) -> None:
        """Open the log anew under its path, after rotation; raise `OSError` and keep the old one."""
        _redirect(_opened(self.path, self._chmod, self._owner))

    def rotate(self, most: int, backup: str) -> bool:
        """Move the log away if it has *most* bytes, and begin a new one; tell whether; raise `OSError`."""
        if os.fstat(_STDERR).st_size < most:
            return False
        move_away(self.path, _STDERR, most, backup)
        self.reopen()
        return True

    def _tell(self, news: bytes) -> None:
        fd, self._report = self._report, None
        if fd is None:
            return
        with suppress(BrokenPipeError):  # nobody waits any more
            while news:
                news = news[os.write(fd, news) :]
        os.close(fd)


def daemonize(options: DaemonOptions, chmod: int | None = None, owner: tuple[int, int] = (-1, -1)) -> Daemon:
    """Go to the background: return in the daemon, and end this process once that is ready or failed.

    The log gets the permissions *chmod*, or 640 if it is a new one, which is given to *owner*, a user and a
    group: workers open what a master that stays root has begun. Must run before any thread or event loop
    exists. Raise `StartError`, still in the foreground, where the log cannot be opened or no process be
    started.
    """
    path = os.path.abspath(options.file)
    option = "daemonize2" if options.daemonize2 else "daemonize"
    try:
        log = _opened(path, chmod, owner)
    except OSError as error:
        raise StartError(
            option, f"the log cannot be opened: {error.strerror}: {options.file}", options.file
        ) from None
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()  # lest both processes write it
    news, report = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until somebody is there to catch it
    try:
        child = os.fork()
        if child:
            os.close(report)
            _wait(child, news, options.file)
        os.close(news)
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if os.fork():  # who leads no session cannot get a terminal
            os._exit(0)
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        raise StartError(
            option,
            f"cannot start a process: {error.strerror}; raise their limit (ulimit -u, TasksMax of systemd)",
        ) from None
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _redirect(log)
    return Daemon(path, chmod, owner, report)


def _wait(child: int, news: int, path: str) -> NoReturn:
    """Wait in the foreground for the daemon's news, tell them and exit."""
    told = b""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        _, status = os.waitpid(child, 0)
        if status:  # it could start no other, and has said so here
            os._exit(1)
        while data := os.read(news, 65536):
            told += data
    except KeyboardInterrupt:
        _say(f"no longer waiting; the server goes on starting, and its log is {path}")
        os._exit(130)
    if told == _READY:
        os._exit(0)
    _say(told.decode("utf-8", "replace") or f"the server ended while it started; its log {path} may tell why")
    os._exit(1)


def _say(text: str) -> None:
    with suppress(OSError):
        os.write(2, "".join(f"appserver: {line}\n" for line in text.splitlines()).encode())


def _opened(path: str, chmod: int | None, owner: tuple[int, int]) -> int:
    mode = 0o640 if chmod is None else chmod  # uWSGI's
    log = open_given(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode, owner)
    if chmod is not None:
        with suppress(OSError):  # another's file
            os.fchmod(log, chmod)
    return log


def _redirect(log: int) -> None:
    os.dup2(log, 1)
    os.dup2(log, _STDERR)
    os.close(log)
