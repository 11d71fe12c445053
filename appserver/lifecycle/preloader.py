"""A generation's preloader: it loads the application once and forks the workers.

The application's code never runs in the master. Workers share the memory of what was loaded, and
one that has died is replaced at the cost of a fork. Each is forked twice, so that it becomes the
master's own child (which is their subreaper, prctl(2)).
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import traceback
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from appserver import forks, identity, leaving
from appserver.application import LoadError, load
from appserver.lifecycle import privileges, title
from appserver.lifecycle.autoreload import Sources
from appserver.lifecycle.board import Board
from appserver.lifecycle.channel import Channel
from appserver.lifecycle.error import StartError
from appserver.lifecycle.inherited import connections, files, loops
from appserver.lifecycle.orphan import end_orphaned
from appserver.lifecycle.privileges import PrivilegeOptions
from appserver.lifecycle.signals import MASTER, ignore
from appserver.lifecycle.touch import TouchOptions
from appserver.lifecycle.warming import WarmUpOptions
from appserver.lifecycle.worker import Worker
from appserver.patching import Patching
from appserver.plan import ConcurrencyOptions
from appserver.surroundings import prepare

if TYPE_CHECKING:
    from appserver.configuration import Configuration
    from appserver.log.destinations import Log
    from appserver.wsgi import Application

log = logging.getLogger("appserver.lifecycle")

# The real ones, also where gevent replaces them later.
_waitpid, _recv_fds = os.waitpid, socket.recv_fds


class Preloader:
    """Load the application of one generation, then fork a worker whenever the master asks."""

    def __init__(self, configuration: Configuration, logs: Log, generation: int, sock: socket.socket) -> None:
        self._configuration = configuration
        self._logs = logs
        self._generation = generation
        self._sock = sock
        self._channel = Channel(sock.fileno())
        self._board: Board | None = None  # of the worker that this has become

    def run(self) -> int:
        """Serve the master until its end; return the exit code."""
        forks.begin()
        forks.handle(dict.fromkeys(MASTER, ignore))
        title.set(self._configuration.settings, f"preloader (generation {self._generation})")
        self._logs.forked()
        identity.become(0, self._generation)
        settings = self._configuration.settings
        Patching(settings.of(ConcurrencyOptions), self._configuration.plan).tell()
        app: Application | None = None
        try:
            privileges.drop(settings.of(PrivilegeOptions))
            privileges.check_library(settings.of(PrivilegeOptions))
        except StartError as error:
            self._channel.send(f"failed {self._configuration.told(error)}")
            return 1
        end_orphaned("preloader", self._channel.fd, lambda: 0, lambda: os._exit(1))
        autoreload = settings.of(TouchOptions).py_autoreload
        if autoreload:  # Python takes cached bytecode for that of any file of the same second and size
            sys.dont_write_bytecode = True
        try:
            with Sources(self._channel.send) if autoreload else nullcontext():
                prepare(settings, self._configuration.plan, supervised=True)
                if not settings.of(WarmUpOptions).lazy_apps:
                    before, opened, others = connections(), files(), loops()
                    app = load(settings)
                    self._check_threads()
                    self._check_connections(before)
                    self._check_files(opened)
                    self._check_loops(others)
        except LoadError as error:
            if error.__cause__ is not None:  # the master tells the error itself, and where
                log.error("the application raised", exc_info=error.__cause__)  # noqa: TRY400  (its, not ours)
            self._channel.send(f"failed {self._configuration.told(error)}")
            return 1
        self._logs.reclaim()
        self._channel.send("loaded")
        while True:
            data, fds, _, _ = _recv_fds(self._sock, 4096, 2)
            for fd in fds:  # programs of the application do without; Python heeds no flag for that
                os.set_inheritable(fd, False)
            if not data:
                return 0
            verb, *words = data.decode().split()
            if verb == "reopen-logs":
                self._logs.reopen()
            else:
                number, strict = words
                self._spawn(app, int(number), strict == "strict", fds)

    def _check_threads(self) -> None:
        """Warn of threads that a fork does not take along; greenlets it does, but see `_check_loops`."""
        options = self._configuration.settings.of(ConcurrencyOptions)
        if options.gevent and options.gevent_monkey_patch:
            return
        alive = sys._current_frames()  # noqa: SLF001  (who only asked for its name stays noted for good)
        main = threading.main_thread()
        names = [each.name for each in threading.enumerate() if each is not main and each.ident in alive]
        if names:
            log.warning(
                "the application has started threads while it was loaded, which its workers do not have: "
                "%s; set lazy-apps = true", ", ".join(names),
            )  # fmt: skip

    def _check_connections(self, before: dict[int, str]) -> None:
        """Warn of connections that all workers would write to and read from, each as if it were alone."""
        made = (peer for inode, peer in connections().items() if inode not in before)
        peers = [peer for peer in dict.fromkeys(made) if not self._logs.reaches(peer)]
        if peers:
            log.warning(
                "the application has connected to %s while it was loaded, and its workers share that"
                " connection: unless its library notices forks, they get each other's replies;"
                " close it before (engine.dispose() of SQLAlchemy), or set lazy-apps = true",
                ", ".join(peers),
            )

    def _check_files(self, before: dict[int, str]) -> None:
        """Warn of files that all workers would read and write at one place, and lock for each other."""
        made = [path for inode, path in files().items() if inode not in before]
        if made:
            log.warning(
                "the application has opened %s to read and to write while it was loaded, and its workers"
                " share that: unless its library notices forks, they damage a database, and all hold a lock;"
                " close it before, or set lazy-apps = true",
                ", ".join(made),
            )

    def _check_loops(self, others: list[Any]) -> None:
        """Warn of asyncio's loops that all workers would have, and with each what wakes it."""
        made = [repr(each) for each in loops() if not any(each is other for other in others)]
        if made:
            log.warning(
                "the application has made a loop of asyncio while it was loaded, %s, and its workers share"
                " it: what runs in it hangs, or fails with 'no running event loop';"
                " make it in each worker (uwsgidecorators.postfork), or set lazy-apps = true",
                ", ".join(made),
            )

    def _spawn(self, app: Application | None, number: int, strict: bool, fds: list[int]) -> None:
        """Fork a worker, whose channel and board are *fds*."""
        try:
            between = forks.fork()
        except OSError as error:
            Channel(fds[0]).send(f"failed cannot start a process: {error.strerror}")
            _close(fds)
            return
        if between:
            _close(fds)
            with suppress(ChildProcessError):  # what the application does about SIGCHLD has reaped it
                _waitpid(between, 0)
            return
        code = 1
        try:
            if forks.fork():
                os._exit(0)
            code = self._work(app, number, strict, fds)
        except SystemExit as error:
            forks.leave(error)
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            log.exception(
                "worker %d ends: the application called sys.exit(%r) outside of a request", number, error.code
            )
        except BaseException:
            log.exception("worker %d failed", number)
            traceback.print_exc()
        finally:
            with suppress(Exception):
                lost = self._logs.close()
                if self._board is not None:
                    self._board.note_lost(lost)
            os._exit(code)

    def _work(self, app: Application | None, number: int, strict: bool, fds: list[int]) -> int:
        self._sock.close()
        identity.become(number, self._generation)
        configuration = self._configuration
        title.set(configuration.settings, f"worker {number} (generation {self._generation})")
        channel, board = fds
        self._board = Board.of(configuration, board)
        try:
            worker = Worker(configuration, self._logs, Channel(channel), self._board, strict=strict)
            return worker.run(app)
        finally:
            leaving.finish()  # os._exit follows, because of the stack above us


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
