"""The master's view of the processes that it has: their channels, and their ends."""

from __future__ import annotations

import array  # noqa: F401  (since Python 3.14 socket.send_fds imports it; a master's user may not be allowed to)
import asyncio
import logging
import os
import signal
import socket
import sys
import traceback
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger("appserver.lifecycle")

_LARGEST = 1 << 20  # bytes of a message


class Private(Protocol):
    """What the master has open and no child may keep."""

    def close(self) -> None:
        """Close this process's copy."""


def told(status: int | None) -> str:
    """Return how a process ended, in words, given its status as waitpid(2) gives it."""
    if status is None:
        return "it has gone"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:  # a real-time signal
            return f"killed by signal {number}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"


async def first(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:  # noqa: ASYNC109
    """Wait until one of *futures* is done, for *timeout* seconds at most; none is cancelled."""
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


class Child:
    """A process with a channel to it: messages are words, one a datagram.

    ``heard`` is called with each message, in the master's loop, unless `hear` is another. ``exited`` is done
    with the status of waitpid(2), or None where that is not known.
    """

    def __init__(self, children: Children, name: str, heard: Callable[[str], None] | None = None) -> None:
        self.name = name
        self.pid = 0
        self.after = children.strangers  # ends that were noted before it began are not its own
        self.killed = False  # by this process
        self._doom = 0  # a signal that came before the pid was known
        self.exited: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._children = children
        self._heard = heard
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs: socket.socket | None = theirs
        self._ours.setblocking(False)
        children.private.add(self._ours)
        asyncio.get_running_loop().add_reader(self._ours, self._readable)

    def _readable(self) -> None:
        try:
            data = self._ours.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            text = data.decode("utf-8", "replace")
            if text.startswith("hello "):
                self._children.known(self, int(text[6:]))
            else:
                self.hear(text)
            return
        self.close()
        if not self.pid and not self.exited.done():
            self.exited.set_result(None)

    def hear(self, message: str) -> None:
        """Take what the process says."""
        if self._heard is not None:
            self._heard(message)

    def send(self, text: str, fds: Sequence[int] = ()) -> None:
        """Send a message, perhaps with descriptors; a process that has gone hears nothing."""
        with suppress(OSError):
            if fds:
                socket.send_fds(self._ours, [text.encode()], fds)
            else:
                self._ours.send(text.encode())

    def started(self) -> None:
        """Close the end that the process has now."""
        if self.theirs is not None:
            self.theirs.close()
            self.theirs = None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, unless it has ended; as soon as its pid is known."""
        self.killed = True
        if not self.pid:
            self._doom = number
        elif not self.exited.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def identify(self, pid: int) -> None:
        """Note which process it is."""
        self.pid = pid
        if self._doom:
            self.kill(self._doom)

    def close(self) -> None:
        """Close the channel; safe twice. A process that listens to it takes that for its end."""
        self.started()
        if self._ours.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._ours)
            self._children.private.discard(self._ours)
            self._ours.close()


class Children:
    """All processes of a master, and those that others have left to it."""

    def __init__(self) -> None:
        self.private: set[Private] = set()  # closed in every child
        self._by_pid: dict[int, Child] = {}
        self.strangers = 0  # ends of processes that were nobody's then
        # The last of them, numbered: a process may end before its hello is read. Pids come again.
        self._early: dict[int, tuple[int, int]] = {}

    def fork(self, name: str, heard: Callable[[str], None], run: Callable[[socket.socket], int]) -> Child:
        """Start a process that ends with what *run* returns; *run* has the channel to this one.

        Raise `OSError`, with nothing left open or blocked, where there can be none.
        """
        child = Child(self, name, heard)
        theirs = child.theirs
        assert theirs is not None
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with warnings.catch_warnings():
                # The threads that 3.12 warns of are those of log collectors; children make their own.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            child.close()
            raise
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            child.started()
            self.known(child, pid)
            return child
        code = 1
        try:
            self._leave_master(before)
            code = run(theirs)
        except BaseException:  # noqa: BLE001  (nothing of the master may run in its child)
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stderr.flush()
            os._exit(code)

    def _leave_master(self, mask: set[int | signal.Signals]) -> None:
        """Undo in a child what belongs to the master alone: its signals, loop and channels."""
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        asyncio.events._set_running_loop(None)  # noqa: SLF001  (there is no public way)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of 3.14, which has no other way
            asyncio.set_event_loop_policy(None)  # which has the loop as the current one
        for each in self.private:
            each.close()
        self.private.clear()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def known(self, child: Child, pid: int) -> None:
        """Note which process a child is."""
        number, status = self._early.pop(pid, (0, 0))
        if number > child.after:
            child.exited.set_result(status)
        else:
            self._by_pid[pid] = child
        child.identify(pid)

    def reap(self) -> None:
        """Take note of every process that has ended; strangers' are reaped as well."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = self._by_pid.pop(pid, None)
            if child is None:
                self.strangers += 1
                self._early[pid] = (self.strangers, status)
                while len(self._early) > 1000:  # strangers', as PID 1 of a container has them
                    del self._early[next(iter(self._early))]
            elif not child.exited.done():
                child.exited.set_result(status)
